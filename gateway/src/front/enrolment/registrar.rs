//! What the log-in makes of an accept: a device that may open tunnels.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::SystemTime;

use causeway_proto::aaa::{Authorization, RefuseReason};
use causeway_proto::wireguard::{PresharedKey, PublicKey};

/// Whoever keeps the devices.
pub trait Registrar: fmt::Debug + Send + Sync {
    /// Lets the user's device open tunnels for a time; a device of the same user with the same key is renewed.
    ///
    /// # Errors
    ///
    /// When this user, or this key, may not.
    fn enrol(
        &self,
        authorization: &Authorization,
        device: &Device,
    ) -> Result<Enrolled, NotEnrolled>;
}

/// A device whose user has logged in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Device {
    /// What the user calls it; printable, at most [`Device::MAX_NAME`] characters.
    pub name: String,
    /// Its public key.
    pub key: PublicKey,
}

impl Device {
    /// The longest name, in characters.
    pub const MAX_NAME: usize = 40;

    /// Takes a name that fits into a list on one line and into the comment of a configuration file.
    #[must_use]
    pub fn new(name: &str, key: PublicKey) -> Option<Self> {
        let name = name.trim();
        let fits = name.chars().count() <= Self::MAX_NAME
            && name.chars().all(|c| {
                c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.' | '\'' | '(' | ')')
            });
        fits.then(|| Self {
            name: if name.is_empty() { "device" } else { name }.to_owned(),
            key,
        })
    }
}

/// A device that may open tunnels.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// Its inner address.
    pub address: Ipv4Addr,
    /// A secret besides the keys.
    pub preshared_key: Option<PresharedKey>,
    /// When it has to log in again; `None` is never.
    pub expires: Option<SystemTime>,
}

/// Why a device may not open tunnels although its user has logged in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotEnrolled {
    /// The user has as many as one may have.
    TooManyDevices,
    /// The key is another user's, or may not be used.
    KeyInUse,
    /// There is no address for it.
    NoAddress,
    /// What the authenticator allowed makes no sense here.
    NotAllowed,
    /// It could not be written down.
    Failed,
}

impl NotEnrolled {
    /// Returns the word for the counters of log-ins.
    #[must_use]
    pub const fn refusal(self) -> RefuseReason {
        match self {
            Self::TooManyDevices | Self::Failed => RefuseReason::Busy,
            Self::NoAddress => RefuseReason::NoAddress,
            Self::KeyInUse | Self::NotAllowed => RefuseReason::BadAuthorization,
        }
    }
}
