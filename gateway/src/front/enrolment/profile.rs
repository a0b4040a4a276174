//! What a device needs to open its tunnel.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use causeway_proto::wireguard::PublicKey;
use ipnet::Ipv4Net;
use serde::{Serialize, Serializer};

use crate::session::admission::Terms;
use crate::session::peers::Peer;
use crate::session::wg_quick::WgQuick;

/// What the gateway tells every device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gateway {
    /// Its public key.
    pub public_key: PublicKey,
    /// Where clients reach it: host and port.
    pub endpoint: String,
    /// What is behind it; empty is everything.
    pub routes: Vec<Ipv4Net>,
    /// Search domains.
    pub dns_suffix: Vec<String>,
    /// How often a device speaks up so that the path stays open; zero is never.
    pub keepalive: Duration,
}

/// The answer to an accepted log-in.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Profile {
    /// The device's inner address.
    pub address: Ipv4Addr,
    /// Its prefix length.
    pub prefix: u8,
    /// The gateway's public key.
    pub server_public_key: String,
    /// A secret besides the keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preshared_key: Option<String>,
    /// Host and port.
    pub endpoint: String,
    /// What goes through the tunnel.
    #[serde(serialize_with = "as_text")]
    pub allowed_ips: Vec<Ipv4Net>,
    /// DNS servers.
    pub dns: Vec<Ipv4Addr>,
    /// Search domains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_suffix: Vec<String>,
    /// The largest inner packet.
    pub mtu: u16,
    /// Seconds between keepalives; zero is none.
    pub keepalive: u64,
    /// When the device has to log in again (RFC 3339); absent is never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// A file for `wg-quick` and the WireGuard apps, with
    /// [`PRIVATE_KEY`](crate::session::wg_quick::PRIVATE_KEY) in the place of the private key.
    pub profile: String,
}

impl Profile {
    /// Puts together what a device needs.
    #[must_use]
    pub fn new(gateway: &Gateway, peer: &Peer, terms: Terms) -> Self {
        let allowed_ips = if gateway.routes.is_empty() {
            vec![Ipv4Net::default()]
        } else {
            gateway.routes.clone()
        };
        let mut profile = Self {
            address: peer.address(),
            prefix: 32,
            server_public_key: gateway.public_key.to_string(),
            preshared_key: peer
                .preshared_key()
                .map(|key| key.expose_base64().as_str().to_owned()),
            endpoint: gateway.endpoint.clone(),
            allowed_ips,
            dns: terms.dns,
            dns_suffix: gateway.dns_suffix.clone(),
            mtu: terms.mtu,
            keepalive: gateway.keepalive.as_secs(),
            expires: peer.expires().map(rfc_3339),
            profile: String::new(),
        };
        profile.profile = profile.text(peer);
        profile
    }

    fn text(&self, peer: &Peer) -> String {
        let dns: Vec<_> = self.dns.iter().map(ToString::to_string).collect();
        let routes: Vec<_> = self.allowed_ips.iter().map(ToString::to_string).collect();
        let written = WgQuick {
            title: &format!("{} of {}", peer.name(), peer.user().display()),
            expires: self.expires.as_deref(),
            private_key: None,
            address: &format!("{}/{}", self.address, self.prefix),
            dns: &dns,
            dns_suffix: &self.dns_suffix,
            mtu: self.mtu,
            public_key: &self.server_public_key,
            preshared_key: self.preshared_key.as_deref(),
            endpoint: &self.endpoint,
            allowed_ips: &routes,
            keepalive: self.keepalive,
        };
        written.text().to_string()
    }
}

fn as_text<S: Serializer>(networks: &[Ipv4Net], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(networks.iter().map(ToString::to_string))
}

fn rfc_3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use causeway_proto::aaa::{Authorization, FramedAddress, Identity, Proof};

    use crate::session::peers::{Enrolment, Origin, Peers, Settings};
    use crate::session::{PoolConfig, Pools};

    use super::*;

    /// A device of alice's that was enrolled at a fixed time.
    fn peer(secret: Option<&str>, reauth: Option<Duration>) -> Arc<Peer> {
        let networks = ["10.99.0.0/24".parse().unwrap()];
        let gateway = Ipv4Addr::new(10, 99, 0, 1);
        let pool = PoolConfig::new("users", &networks, &[], gateway, Duration::ZERO).unwrap();
        let settings = Settings {
            devices_per_user: 5,
            devices: 10,
            pool: None,
            framed_ip: true,
            reauth,
            persist: Duration::ZERO,
            own: None,
        };
        let folder = tempfile::tempdir().unwrap();
        let (peers, _keeper) = Peers::with_clock(
            &folder.path().join("peers.toml"),
            Pools::new(pool, Vec::new()),
            settings,
            || SystemTime::UNIX_EPOCH + Duration::from_secs(1_799_996_400),
        )
        .unwrap();
        let authorization = Authorization {
            user: Identity::new(b"alice").unwrap(),
            proof: Proof::Message(String::new()),
            keys: None,
            address: FramedAddress::Fixed([10, 99, 0, 7].into()),
            pool: None,
            routes: Vec::new(),
            session_timeout: None,
            idle_timeout: None,
            interim: None,
            mtu: None,
            class: Vec::new(),
            filter: None,
            dns: Vec::new(),
            wins: Vec::new(),
            server: "users".into(),
            message: None,
        };
        let enrolment = Enrolment {
            name: "alice's phone".into(),
            key: PublicKey::from_bytes([7; 32]),
            preshared_key: secret.map(|secret| secret.parse().unwrap()),
            authorization,
            method: None,
            origin: Origin::Login,
            lifetime: None,
        };
        peers.enrol(enrolment).unwrap()
    }

    #[test]
    fn a_file_for_wg_quick_says_all_that_is_known() {
        let mut gateway = Gateway {
            public_key: "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
                .parse()
                .unwrap(),
            endpoint: "vpn.example.com:5008".into(),
            routes: vec![
                "10.0.0.0/8".parse().unwrap(),
                "192.0.2.0/24".parse().unwrap(),
            ],
            dns_suffix: vec!["corp.example.com".to_owned()],
            keepalive: Duration::from_secs(25),
        };
        let mut terms = Terms {
            dns: vec![[10, 0, 0, 10].into(), [10, 0, 0, 11].into()],
            mtu: 1400,
        };
        let secret = "FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE=";
        let device = peer(Some(secret), Some(Duration::from_secs(3600)));
        let profile = Profile::new(&gateway, &device, terms.clone());
        for line in [
            "# alice's phone of alice",
            "# to be enrolled again by 2027-01-15T08:00:00Z",
            "Address = 10.99.0.7/32",
            "DNS = 10.0.0.10, 10.0.0.11, corp.example.com",
            "MTU = 1400",
            "PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
            "PresharedKey = FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE=",
            "Endpoint = vpn.example.com:5008",
            "AllowedIPs = 10.0.0.0/8, 192.0.2.0/24",
            "PersistentKeepalive = 25",
        ] {
            assert!(profile.profile.lines().any(|said| said == line), "{line}");
        }
        assert_eq!(profile.expires.as_deref(), Some("2027-01-15T08:00:00Z"));
        gateway.routes.clear();
        gateway.keepalive = Duration::ZERO;
        terms.dns.clear();
        let bare = Profile::new(&gateway, &peer(None, None), terms);
        assert_eq!((&bare.expires, &bare.preshared_key), (&None, &None));
        let text = bare.profile;
        assert!(text.contains("AllowedIPs = 0.0.0.0/0\n"));
        for absent in ["DNS", "Preshared", "Keepalive"] {
            assert!(!text.contains(absent), "{absent}");
        }
    }
}
