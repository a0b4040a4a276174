//! A log-in as packets: pure functions from `Applicant` and `Credentials` to an Access-Request, and from the reply to
//! a `Verdict` (RFC 2865 §4, RFC 2548, RFC 3579).
//!
//! The request follows what RRAS sends, because NPS policies match on it: one profile for every server, since others
//! ignore what they do not know.

mod reply;
mod request;

pub use reply::{Answer, Lacking, ReplyError, decode_reply};
pub use request::{Nas, RequestError, Signing, encode_answer, encode_request, encode_status};
pub(in crate::radius) use request::{push_microsoft, push_nas, push_tunnel};

#[cfg(test)]
mod tests;
