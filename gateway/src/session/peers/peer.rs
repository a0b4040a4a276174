//! An enrolled device.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use causeway_proto::aaa::{AuthMethod, Authorization, Identity};
use causeway_proto::wireguard::{PeerId, PresharedKey, PublicKey};

use crate::session::pool::{Lease, LeaseError, Pin};

use super::allowed::Allowed;

/// Who enrolled a device.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Origin {
    /// Its user, by logging in.
    Login,
    /// An administrator.
    Administrator,
}

impl Origin {
    /// Returns the word for the file and the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Administrator => "administrator",
        }
    }
}

/// A device as it is now; what changes later is another one of the same id.
#[derive(Debug)]
pub struct Peer {
    pub(super) id: PeerId,
    pub(super) name: Box<str>,
    pub(super) key: PublicKey,
    pub(super) preshared_key: Option<PresharedKey>,
    pub(super) allowed: Allowed,
    pub(super) method: Option<AuthMethod>,
    pub(super) origin: Origin,
    pub(super) address: Ipv4Addr,
    /// Nothing when the address is in no pool any more.
    pub(super) pin: Option<Arc<Pin>>,
    pub(super) created: SystemTime,
    pub(super) expires: Option<SystemTime>,
    pub(super) seen: Arc<Seen>,
}

/// What is noted of a device while it is there; outlives a renewal.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Sight>);

/// Where and when a device was seen last.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Sight {
    pub(super) endpoint: Option<SocketAddr>,
    /// Whether it has a session, or had one when the gateway stopped.
    pub(super) connected: bool,
    pub(super) timestamp: [u8; 12],
}

impl Seen {
    pub(super) fn new(sight: Sight) -> Self {
        Self(Mutex::new(sight))
    }

    pub(super) fn get(&self) -> Sight {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, endpoint: Option<SocketAddr>, timestamp: [u8; 12]) {
        let mut sight = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sight.endpoint = endpoint.or(sight.endpoint);
        // Both are big-endian numbers; the latest is the one that must not come again.
        sight.timestamp = sight.timestamp.max(timestamp);
    }

    pub(super) fn set_connected(&self, connected: bool) {
        let mut sight = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sight.connected = connected;
    }
}

impl Peer {
    /// Returns the number under which the gateway knows it; never given again.
    #[must_use]
    pub const fn id(&self) -> PeerId {
        self.id
    }

    /// Returns what its user or an administrator calls it.
    #[must_use]
    pub const fn name(&self) -> &str {
        &self.name
    }

    /// Returns its public key.
    #[must_use]
    pub const fn key(&self) -> PublicKey {
        self.key
    }

    /// Returns the secret besides the keys.
    #[must_use]
    pub const fn preshared_key(&self) -> Option<&PresharedKey> {
        self.preshared_key.as_ref()
    }

    /// Returns whose it is.
    #[must_use]
    pub const fn user(&self) -> &Identity {
        self.allowed.user()
    }

    /// Returns what the authenticator allowed its sessions; without proof and keys.
    #[must_use]
    pub fn authorization(&self) -> Authorization {
        self.allowed.authorization()
    }

    /// Returns how its user logged in.
    #[must_use]
    pub const fn method(&self) -> Option<AuthMethod> {
        self.method
    }

    /// Returns who enrolled it.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// Returns its inner address.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Returns the pool that the address is of; `None` when it is in none any more.
    #[must_use]
    pub fn pool(&self) -> Option<&str> {
        self.pin.as_ref().map(|pin| pin.pool())
    }

    /// Returns when it was enrolled first.
    #[must_use]
    pub const fn created(&self) -> SystemTime {
        self.created
    }

    /// Returns until when it may have sessions; `None` is for ever.
    #[must_use]
    pub const fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// Returns whether it may have a session at that time, which is to be that of [`super::now`].
    #[must_use]
    pub fn is_open(&self, now: SystemTime) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// Returns for how long it may still have sessions; `None` is for ever.
    #[must_use]
    pub fn time_left(&self, now: SystemTime) -> Option<Duration> {
        let expires = self.expires?;
        Some(expires.duration_since(now).unwrap_or_default())
    }

    /// Returns where it was seen last.
    #[must_use]
    pub fn endpoint(&self) -> Option<SocketAddr> {
        self.seen.get().endpoint
    }

    /// Returns where it was when it had a session, if it had one when the gateway stopped.
    #[must_use]
    pub fn connected_at(&self) -> Option<SocketAddr> {
        let sight = self.seen.get();
        sight.endpoint.filter(|_| sight.connected)
    }

    /// Returns the timestamp of its latest handshake; zeros when there was none.
    #[must_use]
    pub fn timestamp(&self) -> [u8; 12] {
        self.seen.get().timestamp
    }

    /// Lends its address to a session.
    pub(in crate::session) fn lease(&self) -> Result<Lease, LeaseError> {
        self.pin
            .as_ref()
            .ok_or(LeaseError::Outside(self.address))?
            .lease()
    }

    /// The same device with another end.
    pub(super) fn until(&self, expires: Option<SystemTime>) -> Self {
        Self {
            id: self.id,
            name: self.name.clone(),
            key: self.key,
            preshared_key: self.preshared_key.clone(),
            allowed: self.allowed.clone(),
            method: self.method,
            origin: self.origin,
            address: self.address,
            pin: self.pin.clone(),
            created: self.created,
            expires,
            seen: Arc::clone(&self.seen),
        }
    }
}

/// Returns the name under which a user's devices are counted.
pub(super) fn folded(user: &Identity) -> Vec<u8> {
    user.as_bytes().to_ascii_lowercase()
}
