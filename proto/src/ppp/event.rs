//! What a link tells its owner.

use crate::aaa::{Credentials, InnerKeys, NetworkConfig};
use crate::terminate::TerminateCause;

/// Something that the owner of a [`super::Link`] must act on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// Server: ask the authenticator, then call [`super::Link::handle_decision`]. Once for a log-in; with EAP once for
    /// each round.
    Authenticate(Credentials),
    /// The inner authentication is done. Server: the grant came and the success packet is queued. Client: the
    /// success came and proves that the server knows the password, where the method can prove that.
    Authenticated {
        /// The keys; `None` with PAP and CHAP-MD5.
        keys: Option<InnerKeys>,
    },
    /// Client with a supplicant of its owner's: an EAP packet came; [`super::Link::handle_supplicant`] answers it.
    Eap(Vec<u8>),
    /// IPCP has opened for the first time.
    NetworkUp(NetworkConfig),
    /// The link has ended; nothing follows.
    Down(Down),
}

/// How a link ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Down {
    /// For accounting.
    pub cause: TerminateCause,
    /// For the log.
    pub reason: DownReason,
}

/// What exactly ended a link.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DownReason {
    /// The owner asked for it with [`super::Link::terminate`].
    Local,
    /// The peer hung up.
    PeerTerminated,
    /// The authenticator refused the peer (client: the server refused us).
    AuthRefused,
    /// The peer did not send its credentials, or not all of them, in time.
    AuthTimeout,
    /// The EAP conversation took too many rounds.
    AuthLoop,
    /// Client: the server's success does not prove that it knows the password.
    AuthUnverified,
    /// The two sides share no authentication method.
    LcpNoAuthAgreed,
    /// LCP did not open in time.
    LcpTimeout,
    /// LCP options were offered and refused for ever.
    LcpLoop,
    /// The peer rejected a part of LCP that nobody can do without.
    LcpRejected,
    /// The peer started LCP anew in the middle of a session.
    Renegotiation,
    /// The peer refuses IPCP or the address that it was given.
    IpcpRejected,
    /// IPCP did not open in time.
    IpcpTimeout,
    /// IPCP options were offered and refused for ever.
    IpcpLoop,
    /// The peer closed IPCP, and there is nothing else to carry.
    IpcpTerminated,
    /// The peer answers no Echo-Request.
    EchoLost,
}

impl DownReason {
    /// Every reason.
    pub const ALL: [Self; 16] = [
        Self::Local,
        Self::PeerTerminated,
        Self::AuthRefused,
        Self::AuthTimeout,
        Self::AuthLoop,
        Self::AuthUnverified,
        Self::LcpNoAuthAgreed,
        Self::LcpTimeout,
        Self::LcpLoop,
        Self::LcpRejected,
        Self::Renegotiation,
        Self::IpcpRejected,
        Self::IpcpTimeout,
        Self::IpcpLoop,
        Self::IpcpTerminated,
        Self::EchoLost,
    ];

    /// Returns the word for log fields and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::PeerTerminated => "peer_terminated",
            Self::AuthRefused => "auth_refused",
            Self::AuthTimeout => "auth_timeout",
            Self::AuthLoop => "auth_loop",
            Self::AuthUnverified => "auth_unverified",
            Self::LcpNoAuthAgreed => "lcp_no_auth_agreed",
            Self::LcpTimeout => "lcp_timeout",
            Self::LcpLoop => "lcp_loop",
            Self::LcpRejected => "lcp_rejected",
            Self::Renegotiation => "renegotiation",
            Self::IpcpRejected => "ipcp_rejected",
            Self::IpcpTimeout => "ipcp_timeout",
            Self::IpcpLoop => "ipcp_loop",
            Self::IpcpTerminated => "ipcp_terminated",
            Self::EchoLost => "echo_lost",
        }
    }

    /// Returns the cause for accounting when nobody named one.
    #[must_use]
    pub const fn cause(self) -> TerminateCause {
        match self {
            Self::Local => TerminateCause::Admin,
            Self::PeerTerminated | Self::IpcpTerminated => TerminateCause::UserRequest,
            Self::AuthTimeout | Self::LcpTimeout | Self::IpcpTimeout | Self::EchoLost => {
                TerminateCause::PeerLost
            }
            Self::AuthRefused => TerminateCause::AuthFailed,
            Self::AuthLoop
            | Self::AuthUnverified
            | Self::LcpNoAuthAgreed
            | Self::LcpLoop
            | Self::LcpRejected
            | Self::Renegotiation
            | Self::IpcpRejected
            | Self::IpcpLoop => TerminateCause::ProtocolError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_word() {
        let words: std::collections::BTreeSet<_> = DownReason::ALL
            .iter()
            .map(|reason| reason.as_str())
            .collect();
        assert_eq!(words.len(), DownReason::ALL.len());
    }
}
