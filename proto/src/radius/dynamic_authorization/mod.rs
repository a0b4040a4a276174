//! Dynamic authorization: a server ends a session, or changes it, while it lasts (RFC 5176).
//!
//! - [`verify`]: is it from who knows the secret? What is not gets no answer.
//! - [`Request`]: which session, and what is wanted; [`ErrorCause`]: why not
//! - [`respond()`]: the ACK or NAK, with a Message-Authenticator
//! - [`Answered`]: what was answered, so that a request that comes twice acts once
//!
//! A Message-Authenticator is demanded, because the request authenticator alone is a bare MD5 (CVE-2024-3596), and an
//! Event-Timestamp that is at most [`WINDOW`] away, because without one an old request could be sent again for ever.
//!
//! Left out: Service-Type "Authorize Only" (answered with 405), Acct-Multi-Session-Id, Framed-Interface-Id and
//! Framed-IPv6-Prefix as names of a session, and more than one session for a request (answered with 508).

mod answered;
mod request;
mod respond;
#[cfg(test)]
mod tests;

pub use answered::Answered;
pub use request::{Change, Discard, Refusal, Request, Selector, WINDOW, Wanted, verify};
pub use respond::{ErrorCause, respond};
