//! SSTP: PPP in a TLS stream behind one HTTP request ([MS-SSTP]), both halves.
//!
//! Start with [`Session`], the server's half, and [`Client`], the other one; each is the one value that a driver holds.
//!
//! - [`http`]: the request and the response ahead of the stream
//! - [`packet`], [`attribute`], [`message`]: the codec; `framer` walks packets in the caller's buffer
//! - [`binding`]: crypto binding
//! - `call`, `teardown`, `keepalive`, `judge`: the server's states and timers; [`client`] has its own
//! - `session`: framer, call and [`crate::ppp::Link`] in one machine
//!
//! Done: everything of the standard that a server needs, SHA-1 and SHA-256 bindings, echo both ways, both teardowns.
//!
//! Left out, on purpose: the bypass of the higher-layer authentication by a cookie (§3.3.7.3), which would let somebody
//! in without a log-in; the `tenantid` of the query, which only load balancers use.
//!
//! Deviates where real clients do: an Echo Request while connecting is answered (§3.3.5.2.7 aborts), an identical second
//! Call Connected is ignored, and a Call Connected that beats the authenticator's answer is parked until the keys are
//! known.

pub mod attribute;
pub mod binding;
mod call;
pub mod client;
mod framer;
pub mod http;
mod judge;
mod keepalive;
pub mod message;
mod outbox;
pub mod packet;
mod reason;
mod session;
mod teardown;

pub use attribute::HashProtocol;
pub use binding::CertificateHashes;
pub use client::{Client, Config as ClientConfig, Event as ClientEvent, Faults};
pub use packet::{Broken, data_header};
pub use reason::EndReason;
pub use session::{Config, Event, PacketSink, Session};

#[cfg(test)]
mod tests;
