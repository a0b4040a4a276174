//! What the gateway made of it.

use super::{Challenge, Grant, Rejection};

/// The gateway's answer to [`super::Credentials`]; the machine turns it into its protocol's words.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub enum Decision {
    /// Come in.
    Admit(Box<Grant>),
    /// Answer this first.
    Challenge(Challenge),
    /// Stay out.
    Refuse(Refusal),
}

/// A refusal: why, and what the authenticator wants the client to hear.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Why.
    pub reason: RefuseReason,
    /// What the authenticator said, if it was asked.
    pub rejection: Rejection,
}

impl Refusal {
    /// A refusal that the authenticator had no part in.
    #[must_use]
    pub fn new(reason: RefuseReason) -> Self {
        Self {
            reason,
            rejection: Rejection::default(),
        }
    }
}

/// Why a client was refused.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RefuseReason {
    /// The authenticator said no.
    Rejected,
    /// Nobody answered in time, or could be asked.
    NoAnswer,
    /// The authenticator said yes but left out what this method needs (keys, MS-CHAP2-Success).
    MissingKeys,
    /// The authenticator asked a question that this client cannot be shown.
    ChallengeNotSupported,
    /// The pool has no free address, or not the one that was asked for.
    NoAddress,
    /// The gateway is full, or this user has enough sessions.
    Busy,
    /// The gateway drains or stops.
    Draining,
    /// What the authenticator allowed makes no sense here (unknown filter or pool, absurd value).
    BadAuthorization,
}

impl RefuseReason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Rejected,
        Self::NoAnswer,
        Self::MissingKeys,
        Self::ChallengeNotSupported,
        Self::NoAddress,
        Self::Busy,
        Self::Draining,
        Self::BadAuthorization,
    ];

    /// Returns the word for log fields and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::NoAnswer => "no_answer",
            Self::MissingKeys => "missing_keys",
            Self::ChallengeNotSupported => "challenge_not_supported",
            Self::NoAddress => "no_address",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::BadAuthorization => "bad_authorization",
        }
    }
}
