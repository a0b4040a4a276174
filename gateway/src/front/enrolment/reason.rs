//! How far a log-in is, and why it failed.

use std::sync::Arc;

use causeway_proto::aaa::RefuseReason;

use super::profile::Profile;

/// How far a log-in is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    /// The authenticator is asked.
    Pending,
    /// It asks for a code, with these words.
    Challenge(Option<String>),
    /// The device may open its tunnel.
    Accepted(Arc<Profile>),
    /// It may not.
    Refused(Reason),
}

impl State {
    pub(super) const fn is_final(&self) -> bool {
        match self {
            Self::Pending | Self::Challenge(_) => false,
            Self::Accepted(_) | Self::Refused(_) => true,
        }
    }
}

/// Why a log-in failed, as its client may know it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reason {
    /// Name, password or second factor are wrong: which, nobody is told.
    Rejected,
    NoAnswer,
    Busy,
    Draining,
    NoAddress,
    NotAllowed,
    TooManyDevices,
    KeyInUse,
    /// The code was not typed in time.
    Expired,
}

impl Reason {
    #[cfg(test)]
    const ALL: [Self; 9] = [
        Self::Rejected,
        Self::NoAnswer,
        Self::Busy,
        Self::Draining,
        Self::NoAddress,
        Self::NotAllowed,
        Self::TooManyDevices,
        Self::KeyInUse,
        Self::Expired,
    ];

    /// Returns the word for programs.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::NoAnswer => "no_answer",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::NoAddress => "no_address",
            Self::NotAllowed => "not_allowed",
            Self::TooManyDevices => "too_many_devices",
            Self::KeyInUse => "key_in_use",
            Self::Expired => "expired",
        }
    }

    /// Returns the sentence for people.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Rejected => {
                "The user name, the password or the second factor was not accepted. Check them and log in again."
            }
            Self::NoAnswer => {
                "Nobody answered in time. If your phone asked you to approve, it may have been too late; log in again."
            }
            Self::Busy => {
                "Another log-in of yours is still open, there were too many attempts, or the gateway is full. Wait a minute and log in again."
            }
            Self::Draining => {
                "This gateway is about to be shut down. Log in again in a few minutes, or use another one."
            }
            Self::NoAddress => {
                "You have logged in, but the gateway has no free address. Tell your administrator."
            }
            Self::NotAllowed => {
                "You have logged in, but your account may not use this gateway. Tell your administrator."
            }
            Self::TooManyDevices => {
                "You have as many devices as you may have. Ask your administrator to remove one."
            }
            Self::KeyInUse => {
                "This key belongs to another device. Make a new key and log in again."
            }
            Self::Expired => "The code was not entered in time. Log in again.",
        }
    }

    /// Returns whether the same log-in may succeed later, or elsewhere.
    pub(super) const fn is_passing(self) -> bool {
        match self {
            Self::Busy | Self::Draining | Self::NoAddress => true,
            Self::Rejected
            | Self::NoAnswer
            | Self::NotAllowed
            | Self::TooManyDevices
            | Self::KeyInUse
            | Self::Expired => false,
        }
    }
}

impl From<RefuseReason> for Reason {
    fn from(reason: RefuseReason) -> Self {
        match reason {
            RefuseReason::Rejected => Self::Rejected,
            RefuseReason::NoAnswer => Self::NoAnswer,
            RefuseReason::NoAddress => Self::NoAddress,
            RefuseReason::Busy => Self::Busy,
            RefuseReason::Draining => Self::Draining,
            RefuseReason::MissingKeys
            | RefuseReason::ChallengeNotSupported
            | RefuseReason::BadAuthorization => Self::NotAllowed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_its_own_word_and_a_way_on() {
        let words: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            let text = reason.text();
            assert!(
                ["og in again", "administrator", "use another"]
                    .iter()
                    .any(|way| text.contains(way)),
                "{text}"
            );
        }
    }
}
