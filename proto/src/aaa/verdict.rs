//! What the authenticator said.

use std::time::Duration;

use super::Authorization;

/// The authenticator's answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The client is who it says.
    Accept(Box<Authorization>),
    /// The server asks for more.
    Challenge(Challenge),
    /// The client is refused.
    Reject(Rejection),
}

/// A server's question, and what must go back with the answer.
///
/// The conversation lives in here and with the client's machine; the authenticator keeps none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Challenge {
    /// The EAP Request for the client; empty when the method is not EAP.
    pub eap: Vec<u8>,
    /// The `State` attribute (RFC 2865 §5.24), to be returned unchanged.
    pub state: Vec<u8>,
    /// The name of the server that asked: the answer goes to the same one.
    pub server: String,
    /// What the server wants shown (`Reply-Message`), if anything.
    pub message: Option<String>,
    /// How long the server waits for the user (`Session-Timeout` in a challenge, RFC 3579 §2.6.4).
    pub timeout: Option<Duration>,
}

/// What the client must be told as proof that its log-in succeeded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Proof {
    /// PAP and CHAP-MD5: a message, usually empty.
    Message(String),
    /// MS-CHAPv2: the authenticator response, `S=` and 40 upper-case hexadecimal digits (RFC 2759 §5).
    MsChapV2(String),
    /// EAP: the packet that ends the conversation, an EAP-Success.
    Eap(Vec<u8>),
}

/// Why and how the authenticator refused.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rejection {
    /// The text of `MS-CHAP-Error` without its identifier (RFC 2548 §2.1.5), as `E=691 R=0 C=… V=3 M=…`.
    pub ms_chap_error: Option<String>,
    /// The EAP-Failure to pass on.
    pub eap: Option<Vec<u8>>,
    /// `Reply-Message`, for the log and for PAP.
    pub message: Option<String>,
}

impl Rejection {
    /// Returns whether it says that the password was right and has expired (RFC 2759 §6, error 648).
    #[must_use]
    pub fn is_expired_password(&self) -> bool {
        let error = self.ms_chap_error.as_deref().unwrap_or_default();
        error.split_ascii_whitespace().next() == Some("E=648")
    }
}
