//! The words about enrolled devices.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::session::peers::Peer;

use super::rfc3339;

/// A device that an administrator enrols.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NewDevice {
    /// What it is called.
    pub name: String,
    /// Whose it is; a user of the device's own name when absent.
    #[serde(default)]
    pub user: Option<String>,
    /// Its public key in base64.
    pub public_key: String,
    /// A secret besides the keys, in base64.
    #[serde(default)]
    pub preshared_key: Option<String>,
    /// Its inner address; one of the pool when absent.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// How long it may have sessions, in seconds; for ever when absent.
    #[serde(default)]
    pub lifetime_seconds: Option<u64>,
}

/// An enrolled device.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Device {
    /// Its number.
    pub id: u32,
    /// What it is called.
    pub name: String,
    /// Whose it is.
    pub user: String,
    /// Its public key in base64.
    pub public_key: String,
    /// Whether there is a secret besides the keys.
    pub preshared_key: bool,
    /// Its inner address.
    pub address: String,
    /// The pool that the address is of; absent when it is in none any more.
    pub pool: Option<String>,
    /// `login` or `administrator`.
    pub origin: String,
    /// When it was enrolled first (RFC 3339).
    pub created: String,
    /// Until when it may have sessions (RFC 3339); absent is for ever.
    pub expires: Option<String>,
    /// `connected`, `unreachable`, `away` or `expired`.
    pub state: String,
    /// The session that it has.
    pub session: Option<String>,
    /// Its outer address when it was seen last.
    pub endpoint: Option<String>,
    /// The time that it gave in its latest handshake, by its own clock (RFC 3339).
    pub last_handshake: Option<String>,
    /// The filter of its sessions.
    pub filter: Option<String>,
}

impl From<&Peer> for Device {
    fn from(peer: &Peer) -> Self {
        Self {
            id: peer.id().0,
            name: peer.name().to_owned(),
            user: peer.user().display(),
            public_key: peer.key().to_string(),
            preshared_key: peer.preshared_key().is_some(),
            address: peer.address().to_string(),
            pool: peer.pool().map(str::to_owned),
            origin: peer.origin().as_str().to_owned(),
            created: rfc3339(peer.created()),
            expires: peer.expires().map(rfc3339),
            state: "away".to_owned(),
            session: None,
            endpoint: peer.endpoint().map(|endpoint| endpoint.to_string()),
            last_handshake: time_of(peer.timestamp()).map(rfc3339),
            filter: peer.authorization().filter,
        }
    }
}

/// What a device needs to open its tunnel, but for its private key, which the gateway never has.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Profile {
    /// The device's inner address.
    pub address: String,
    /// DNS servers.
    pub dns: Vec<String>,
    /// Search domains.
    pub dns_suffix: Vec<String>,
    /// The largest inner packet.
    pub mtu: u16,
    /// The gateway's public key in base64.
    pub server_public_key: String,
    /// The secret besides the keys, in base64.
    pub preshared_key: Option<String>,
    /// Where the gateway is: host and port.
    pub endpoint: String,
    /// What goes through the tunnel.
    pub allowed_ips: Vec<String>,
    /// Seconds between keepalives; zero is none.
    pub keepalive: u64,
}

/// Not the secret.
impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile")
            .field("address", &self.address)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Seconds between the epoch of TAI64 and that of Unix, as WireGuard counts them: without leap seconds, but for ten.
const TAI64_EPOCH: u64 = (1 << 62) + 10;

/// Returns the time in a TAI64N label; `None` for zeros, and for what is before 1970.
fn time_of(timestamp: [u8; 12]) -> Option<SystemTime> {
    let (seconds, _) = timestamp.split_first_chunk::<8>()?;
    let seconds = u64::from_be_bytes(*seconds).checked_sub(TAI64_EPOCH)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_read_as_wireguard_writes_it() {
        let mut timestamp = [0; 12];
        assert_eq!(time_of(timestamp), None);
        // `date -d 2026-07-01T00:00:00Z +%s` is 1782864000.
        timestamp[..8].copy_from_slice(&(0x4000_0000_0000_000a_u64 + 1_782_864_000).to_be_bytes());
        assert_eq!(
            time_of(timestamp).map(rfc3339).as_deref(),
            Some("2026-07-01T00:00:00Z")
        );
        assert_eq!(time_of([255; 12]), None);
    }

    #[test]
    fn a_secret_is_not_shown_by_debug() {
        let profile = Profile {
            preshared_key: Some("hidden".into()),
            ..Profile::default()
        };
        assert!(!format!("{profile:?}").contains("hidden"));
    }
}
