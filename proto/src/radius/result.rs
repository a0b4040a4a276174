//! How requests end, and why replies are thrown away: the words for metrics and logs.

/// How a request ended; the label `result` of `causeway_radius_results_total`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RadiusResult {
    /// The server said yes.
    Accept,
    /// The server said no at once: the password, a policy, the dial-in permission.
    RejectFast,
    /// The server said no after a while: a second factor was denied or ran out.
    RejectAfterMfaWait,
    /// The server asked a question.
    Challenge,
    /// The server said nothing to this request while it answered others.
    SilentDiscard,
    /// The server said nothing to anybody.
    ServerSilent,
    /// The server's host refused the datagram, or there is no way to it.
    Unreachable,
    /// Only replies with a wrong response authenticator came.
    BadAuthenticator,
    /// Only replies without a Message-Authenticator came, and one is required.
    MessageAuthenticatorMissing,
    /// Only replies with a wrong Message-Authenticator came.
    MessageAuthenticatorInvalid,
    /// An authentic reply cannot be read, or leaves out what a log-in must have.
    Malformed,
    /// The client left before there was an answer.
    AbandonedByClient,
    /// No request was made: the gateway held the log-in back, or cannot ask.
    NotAsked,
}

impl RadiusResult {
    /// Every result that a request can have; where none was made, none is counted.
    pub const ALL: [Self; 12] = [
        Self::Accept,
        Self::RejectFast,
        Self::RejectAfterMfaWait,
        Self::Challenge,
        Self::SilentDiscard,
        Self::ServerSilent,
        Self::Unreachable,
        Self::BadAuthenticator,
        Self::MessageAuthenticatorMissing,
        Self::MessageAuthenticatorInvalid,
        Self::Malformed,
        Self::AbandonedByClient,
    ];

    /// Returns the word for log fields and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::RejectFast => "reject_fast",
            Self::RejectAfterMfaWait => "reject_after_mfa_wait",
            Self::Challenge => "challenge",
            Self::SilentDiscard => "silent_discard",
            Self::ServerSilent => "server_silent",
            Self::Unreachable => "unreachable",
            Self::BadAuthenticator => "bad_authenticator",
            Self::MessageAuthenticatorMissing => "message_authenticator_missing",
            Self::MessageAuthenticatorInvalid => "message_authenticator_invalid",
            Self::Malformed => "malformed",
            Self::AbandonedByClient => "abandoned_by_client",
            Self::NotAsked => "not_asked",
        }
    }
}

/// Why a datagram from a server was thrown away; the request that it may have meant still waits.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[must_use]
pub enum Discard {
    /// It is no RADIUS packet, or its code answers no Access-Request, or its attributes have no end.
    Malformed,
    /// No request waits under its identifier: a duplicate, an answer to another socket, or a guess.
    UnknownIdentifier,
    /// Its response authenticator is wrong.
    BadAuthenticator,
    /// It has no Message-Authenticator, and one is required.
    MessageAuthenticatorMissing,
    /// Its Message-Authenticator is wrong.
    MessageAuthenticatorInvalid,
}

impl Discard {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::Malformed,
        Self::UnknownIdentifier,
        Self::BadAuthenticator,
        Self::MessageAuthenticatorMissing,
        Self::MessageAuthenticatorInvalid,
    ];

    /// Returns the word for log fields and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownIdentifier => "unknown_identifier",
            Self::BadAuthenticator => "bad_authenticator",
            Self::MessageAuthenticatorMissing => "message_authenticator_missing",
            Self::MessageAuthenticatorInvalid => "message_authenticator_invalid",
        }
    }

    /// Returns how a request ends that got nothing better until its deadline.
    #[must_use]
    pub const fn as_result(self) -> RadiusResult {
        match self {
            Self::Malformed | Self::UnknownIdentifier => RadiusResult::Malformed,
            Self::BadAuthenticator => RadiusResult::BadAuthenticator,
            Self::MessageAuthenticatorMissing => RadiusResult::MessageAuthenticatorMissing,
            Self::MessageAuthenticatorInvalid => RadiusResult::MessageAuthenticatorInvalid,
        }
    }
}
