//! The protocols of the Causeway VPN gateway, without I/O.
//!
//! Every machine here has the same verbs: bytes and `now` go in through `handle_*`; bytes, events and the next
//! deadline come out through `poll_*`. There is no socket, clock, thread or global randomness in this crate, so a
//! simulation can run a day of log-ins in a second and a fuzzer can try every order of events.
//!
//! - [`wire`]: the tools that every codec uses
//! - [`timer`]: deadlines as data
//! - [`aaa`]: the words that all tunnels and all authenticators speak
//! - [`ip`]: the inner packet
//! - [`crypto`], [`mschapv2`]: the only files that import cryptography
//! - [`replay`]: which numbers of a counter have been seen
//! - [`eap`], [`ppp`], [`sstp`], [`radius`], [`wireguard`]: the protocols

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::as_conversions)]

pub mod aaa;
pub mod activity;
pub mod crypto;
pub mod eap;
pub mod ip;
pub mod mschapv2;
pub mod ppp;
pub mod radius;
pub mod replay;
pub mod sstp;
pub mod terminate;
pub mod timer;
pub mod wire;
pub mod wireguard;
