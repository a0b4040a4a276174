//! Why a session ended, with the numbers that accounting and the log use.

/// The reason for which a session ended.
///
/// The variants are the end causes of the log and of `causeway_session_ends_total{cause}`; each maps to one
/// `Acct-Terminate-Cause` (RFC 2866 §5.10).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum TerminateCause {
    /// The client hung up.
    UserRequest,
    /// No user data for the length of the idle timeout.
    IdleTimeout,
    /// The session reached its maximum length.
    SessionTimeout,
    /// An administrator disconnected the session.
    Admin,
    /// A Disconnect-Request or CoA-Request ended it (RFC 5176).
    DynamicAuthorization,
    /// The gateway drains.
    Drain,
    /// The peer vanished: the transport closed or its keepalive went unanswered.
    PeerLost,
    /// A newer log-in of the same user took its place.
    Replaced,
    /// The log-in that the session rests on has expired.
    AuthenticationExpired,
    /// The user, key or certificate has been blocked.
    Blocked,
    /// The peer broke the protocol.
    ProtocolError,
    /// The gateway stops.
    ServerStop,
    /// The log-in was refused, or could not be decided.
    AuthFailed,
}

impl TerminateCause {
    /// Every cause, in the order of its number.
    pub const ALL: [Self; 13] = [
        Self::UserRequest,
        Self::IdleTimeout,
        Self::SessionTimeout,
        Self::Admin,
        Self::DynamicAuthorization,
        Self::Drain,
        Self::PeerLost,
        Self::Replaced,
        Self::AuthenticationExpired,
        Self::Blocked,
        Self::ProtocolError,
        Self::ServerStop,
        Self::AuthFailed,
    ];

    /// Returns the number under which the log and `causeway explain` know the cause, from 1.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::UserRequest => 1,
            Self::IdleTimeout => 2,
            Self::SessionTimeout => 3,
            Self::Admin => 4,
            Self::DynamicAuthorization => 5,
            Self::Drain => 6,
            Self::PeerLost => 7,
            Self::Replaced => 8,
            Self::AuthenticationExpired => 9,
            Self::Blocked => 10,
            Self::ProtocolError => 11,
            Self::ServerStop => 12,
            Self::AuthFailed => 13,
        }
    }

    /// Returns the snake-case word for log fields and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserRequest => "user_request",
            Self::IdleTimeout => "idle_timeout",
            Self::SessionTimeout => "session_timeout",
            Self::Admin => "admin",
            Self::DynamicAuthorization => "coa",
            Self::Drain => "drain",
            Self::PeerLost => "peer_lost",
            Self::Replaced => "replaced",
            Self::AuthenticationExpired => "authentication_expired",
            Self::Blocked => "blocked",
            Self::ProtocolError => "protocol_error",
            Self::ServerStop => "server_stop",
            Self::AuthFailed => "auth_failed",
        }
    }

    /// Returns the value of `Acct-Terminate-Cause` (RFC 2866 §5.10).
    #[must_use]
    pub const fn acct_terminate_cause(self) -> u32 {
        match self {
            Self::UserRequest => 1,
            Self::PeerLost => 2,
            Self::IdleTimeout => 4,
            Self::SessionTimeout | Self::AuthenticationExpired => 5,
            Self::Admin | Self::Blocked | Self::DynamicAuthorization => 6,
            Self::ServerStop => 7,
            Self::ProtocolError => 9,
            Self::Drain | Self::Replaced => 10,
            // "User Error": what the user typed was not good enough.
            Self::AuthFailed => 17,
        }
    }
}

impl core::fmt::Display for TerminateCause {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_own_number_and_word() {
        for (i, cause) in TerminateCause::ALL.iter().enumerate() {
            assert_eq!(usize::from(cause.number()), i + 1);
            assert_eq!(
                TerminateCause::ALL
                    .iter()
                    .filter(|other| other.as_str() == cause.as_str())
                    .count(),
                1
            );
        }
    }
}
