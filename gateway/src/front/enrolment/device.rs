//! What the log-in makes of an accept: a device that may open tunnels.

use std::sync::Arc;

use causeway_proto::aaa::{AuthMethod, Authorization, RefuseReason};
use causeway_proto::wireguard::{PresharedKey, PublicKey};
use tracing::{info, warn};

use crate::session::LeaseError;
use crate::session::peers::{EnrolError, Enrolment, Origin, Peer, Peers};

use super::reason::Reason;

/// A device whose user logs in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Device {
    /// What the user calls it; printable, at most [`Device::MAX_NAME`] characters.
    pub(super) name: String,
    /// Its public key.
    pub(super) key: PublicKey,
}

impl Device {
    /// The longest name, in characters.
    const MAX_NAME: usize = 40;
    /// The longest name, in octets: less than devices may have, so that there is room for a number behind it.
    const MAX_OCTETS: usize = 56;

    /// Takes a name that fits into a list on one line and into the comment of a configuration file.
    pub(super) fn new(name: &str, key: PublicKey) -> Option<Self> {
        let name = name.trim();
        let plain =
            |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.' | '\'' | '(' | ')');
        let fits = name.chars().count() <= Self::MAX_NAME
            && name.len() <= Self::MAX_OCTETS
            && name.chars().all(plain);
        fits.then(|| Self {
            name: if name.is_empty() { "device" } else { name }.to_owned(),
            key,
        })
    }

    /// Lets the device open tunnels for a time, or renews it. `secret` is for a new one; the others keep what they have,
    /// because a renewal brings no new configuration.
    pub(super) fn enrol(
        self,
        peers: &Peers,
        authorization: &Authorization,
        secret: PresharedKey,
    ) -> Result<Arc<Peer>, Reason> {
        let user = authorization.user.clone();
        let enrolment = Enrolment {
            name: self.name,
            key: self.key,
            preshared_key: peers.by_key(&self.key).is_none().then_some(secret),
            authorization: authorization.clone(),
            method: Some(AuthMethod::Pap),
            origin: Origin::Login,
            lifetime: None,
        };
        let enrolled = peers.enrol(enrolment);
        let peer = enrolled.map_err(|error| {
            // Nothing that a client says makes an operator look tomorrow.
            info!(event = "not_enrolled", user.name = %user.display(), device = %self.key, %error, "the device was not enrolled");
            if let EnrolError::NoAddress(LeaseError::UnknownPool | LeaseError::FramedOnly) = error {
                warn!(%error, "the policy of a user names a pool that cannot be used for enrolled devices; correct it or [pools]");
            }
            Reason::from(&error)
        })?;
        // An administrator's device, which no log-in prolongs.
        if peer.is_open(peers.now()) {
            Ok(peer)
        } else {
            Err(Reason::NotAllowed)
        }
    }
}

impl From<&EnrolError> for Reason {
    fn from(error: &EnrolError) -> Self {
        match error {
            EnrolError::KeyOfAnother | EnrolError::BadKey => Self::KeyInUse,
            EnrolError::TooManyDevices(_) => Self::TooManyDevices,
            EnrolError::Full => Self::NoAddress,
            EnrolError::BadName | EnrolError::NameTaken | EnrolError::NoTime => Self::NotAllowed,
            EnrolError::NoAddress(error) => match error {
                LeaseError::Exhausted | LeaseError::Taken(_) => Self::NoAddress,
                LeaseError::Unusable(_)
                | LeaseError::Outside(_)
                | LeaseError::FramedOnly
                | LeaseError::UnknownPool => Self::NotAllowed,
            },
        }
    }
}

impl Reason {
    /// Returns the word for the counters of log-ins.
    pub(super) const fn refusal(self) -> RefuseReason {
        match self {
            Self::Rejected => RefuseReason::Rejected,
            Self::NoAnswer | Self::Expired => RefuseReason::NoAnswer,
            Self::Busy | Self::TooManyDevices => RefuseReason::Busy,
            Self::Draining => RefuseReason::Draining,
            Self::NoAddress => RefuseReason::NoAddress,
            Self::NotAllowed | Self::KeyInUse => RefuseReason::BadAuthorization,
        }
    }
}
