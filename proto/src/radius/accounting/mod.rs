//! Accounting: what a server is told of a session, until it says that it has heard (RFC 2866, RFC 2869 §5).
//!
//! - [`Record`]: one thing that happened; [`session_attributes`]: what is the same in all records of a session
//! - [`encode_request`]: a record as an Accounting-Request; [`decode_request`]: the server's side
//! - [`Sender`]: the machine: what waits, what flies, which server, when again
//!
//! A record keeps the time at which its event happened; `Acct-Delay-Time` says how long ago that was when a request
//! leaves. It changes with each retransmission, so each has an identifier and an authenticator of its own (RFC 2866
//! §5.2), and an answer to any of them is an answer.
//!
//! Left out: Acct-Multi-Session-Id and Acct-Link-Count, because a session has one link; Acct-Tunnel-Connection.

mod request;
mod sender;
#[cfg(test)]
mod tests;

pub use request::{
    Authentic, Holder, Malformed, Record, Report, Status, decode_request, encode_request,
    gateway_attributes, session_attributes,
};
pub use sender::{Config, Dropped, Event, Sender, Sent, Server};
