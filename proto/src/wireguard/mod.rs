//! WireGuard (whitepaper "WireGuard: Next Generation Kernel Network Tunnel", revision 4dd8d5f), both roles.
//!
//! Three things that live in different places:
//!
//! - the packet path owns [`ReceivingKey`] and [`SendingKey`], which open and seal in place and know no peers;
//! - it writes into [`PeerActivity`], by atomics, when packets went and where they came from;
//! - the rest, which is handshakes, cookies and timers, is for a driver that reads no data.
//!
//! Start reading with [`message`], then `noise`, then `peer`.

pub mod message;

mod activity;
mod context;
mod event;
mod index;
mod interface;
mod key;
mod keypair;
mod limiter;
mod mac;
mod noise;
mod peer;
mod tai64n;
#[cfg(test)]
mod tests;
mod timers;

pub use activity::{Endpoint, PeerActivity};
pub use event::{AddError, Config, Discard, Event, PeerId, Settings};
pub use index::Index;
pub use interface::Interface;
pub use key::{KeyError, PresharedKey, PrivateKey, PublicKey};
pub use keypair::{OpenError, ReceivingKey, Role, SealError, SendingKey};
pub use message::{Kind, OVERHEAD};
pub use timers::{
    COOKIE_LIFE, DEAD_AFTER, INITIATION_INTERVAL, JITTER, KEEPALIVE_TIMEOUT, REJECT_AFTER_MESSAGES,
    REJECT_AFTER_TIME, REKEY_AFTER_MESSAGES, REKEY_AFTER_TIME, REKEY_ATTEMPT_TIME,
    REKEY_ON_RECEIVE, REKEY_TIMEOUT,
};
