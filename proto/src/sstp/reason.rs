//! Why a call ended, in more detail than its [`crate::terminate::TerminateCause`].

use super::binding::{Guess, Mismatch};
use crate::ppp::DownReason;

/// The reason for the log and for `causeway_session_setup_failures_total`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum EndReason {
    /// The gateway ended the call before PPP had begun.
    Terminated,
    /// The client sent Call Disconnect.
    PeerDisconnect,
    /// The client sent Call Abort.
    PeerAbort,
    /// The client closed the connection without a word.
    TransportClosed,
    /// No Call Connect Request came in time.
    ConnectRequestTimeout,
    /// No Call Connected came in time.
    CallConnectedTimeout,
    /// The hello timer found nobody.
    HelloTimeout,
    /// Too many Call Connect Requests were refused.
    RetryCountExceeded,
    /// A message came that this state does not expect.
    UnexpectedMessage,
    /// A message could not be read.
    InvalidMessage,
    /// The byte stream could not be divided into packets.
    BrokenStream,
    /// A Call Connected came without a crypto binding, or with one of another length.
    BindingMissing,
    /// A second Call Connected said something else than the first.
    BindingChanged,
    /// The crypto binding does not fit.
    Binding(Mismatch),
    /// PPP ended.
    Ppp(DownReason),
}

impl EndReason {
    /// Walks every reason.
    pub fn all() -> impl Iterator<Item = Self> {
        OWN.into_iter()
            .chain(DownReason::ALL.into_iter().map(Self::Ppp))
    }

    /// Returns the word for log fields and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Terminated => "terminated",
            Self::PeerDisconnect => "peer_disconnect",
            Self::PeerAbort => "peer_abort",
            Self::TransportClosed => "transport_closed",
            Self::ConnectRequestTimeout => "connect_request_timeout",
            Self::CallConnectedTimeout => "call_connected_timeout",
            Self::HelloTimeout => "hello_timeout",
            Self::RetryCountExceeded => "retry_count_exceeded",
            Self::UnexpectedMessage => "unexpected_message",
            Self::InvalidMessage => "invalid_message",
            Self::BrokenStream => "broken_stream",
            Self::BindingMissing => "binding_missing",
            Self::BindingChanged => "binding_changed",
            Self::Binding(Mismatch::HashProtocol) => "binding_hash_protocol",
            Self::Binding(Mismatch::Nonce) => "binding_nonce",
            Self::Binding(Mismatch::Certificate) => "binding_certificate",
            Self::Binding(Mismatch::Mac(None)) => "binding_mac",
            Self::Binding(Mismatch::Mac(Some(Guess::Zeros))) => "binding_mac_zero_keys",
            Self::Binding(Mismatch::Mac(Some(Guess::Swapped))) => "binding_mac_swapped_keys",
            Self::Binding(Mismatch::Mac(Some(Guess::ReceiveOnly))) => "binding_mac_receive_key",
            Self::Ppp(reason) => reason.as_str(),
        }
    }

    /// Returns whether crypto binding failed: the label `reason="crypto_binding"`.
    #[must_use]
    pub const fn is_crypto_binding(self) -> bool {
        matches!(
            self,
            Self::BindingMissing | Self::BindingChanged | Self::Binding(_)
        )
    }
}

impl core::fmt::Display for EndReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The reasons that are not PPP's.
const OWN: [EndReason; 20] = [
    EndReason::Terminated,
    EndReason::PeerDisconnect,
    EndReason::PeerAbort,
    EndReason::TransportClosed,
    EndReason::ConnectRequestTimeout,
    EndReason::CallConnectedTimeout,
    EndReason::HelloTimeout,
    EndReason::RetryCountExceeded,
    EndReason::UnexpectedMessage,
    EndReason::InvalidMessage,
    EndReason::BrokenStream,
    EndReason::BindingMissing,
    EndReason::BindingChanged,
    EndReason::Binding(Mismatch::HashProtocol),
    EndReason::Binding(Mismatch::Nonce),
    EndReason::Binding(Mismatch::Certificate),
    EndReason::Binding(Mismatch::Mac(None)),
    EndReason::Binding(Mismatch::Mac(Some(Guess::Zeros))),
    EndReason::Binding(Mismatch::Mac(Some(Guess::Swapped))),
    EndReason::Binding(Mismatch::Mac(Some(Guess::ReceiveOnly))),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_word() {
        let words: Vec<_> = EndReason::all().map(EndReason::as_str).collect();
        for word in &words {
            assert_eq!(
                words.iter().filter(|other| *other == word).count(),
                1,
                "{word}"
            );
        }
    }
}
