//! What the interface is told and what it says.

use core::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::activity::PeerActivity;
use super::index::Index;
use super::key::{PresharedKey, PrivateKey, PublicKey};
use super::keypair::{ReceivingKey, Role, SendingKey};

/// A peer, by the number that the caller gave it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PeerId(pub u32);

/// What an interface is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our key.
    pub private_key: PrivateKey,
    /// Where the milliseconds of every [`PeerActivity`] begin.
    pub epoch: Instant,
}

/// A peer as the interface is told of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The caller's number for it.
    pub id: PeerId,
    /// Its key.
    pub key: PublicKey,
    /// The secret shared with it besides the keys.
    pub preshared_key: PresharedKey,
    /// Where it is, if that is known; otherwise it must come to us.
    pub endpoint: Option<SocketAddr>,
    /// The shard of the packet path that its indices lead to.
    pub shard: u8,
    /// Send an empty packet when nothing else went or came for so long.
    pub keepalive: Option<Duration>,
    /// The timestamp of the latest initiation that was accepted from it; all zeros when there was none.
    pub last_timestamp: [u8; 12],
    /// What the packet path writes about it; with `None` it is made when it is first asked for.
    pub activity: Option<Arc<PeerActivity>>,
}

/// Why a peer was not added.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum AddError {
    /// There is one with this number.
    #[error("peer {0:?} is there already")]
    Id(PeerId),
    /// There is one with this key.
    #[error("peer {0:?} has the same key")]
    Key(PeerId),
    /// It is our own key.
    #[error("the key is our own")]
    Own,
}

/// What the interface says.
#[derive(Debug)]
#[must_use]
pub enum Event {
    /// An authentic and fresh initiation came from a peer that is not admitted; it is answered after
    /// [`Interface::handle_decision`](super::Interface::handle_decision).
    Authorize {
        /// Who.
        peer: PeerId,
        /// From where.
        from: SocketAddr,
    },
    /// Data may come under this key from now on.
    InstallReceiving {
        /// Whose data.
        peer: PeerId,
        /// The key.
        key: ReceivingKey,
    },
    /// The sending half of a key pair that the peer began: it may be used, in place of the one before, as soon as
    /// [`SendingKey::is_confirmed`] says so, which is before [`Event::InstallSending`].
    PrepareSending {
        /// Whose data.
        peer: PeerId,
        /// The key.
        key: Arc<SendingKey>,
    },
    /// Data goes out under this key from now on, in place of the one before.
    InstallSending {
        /// Whose data.
        peer: PeerId,
        /// The key.
        key: Arc<SendingKey>,
        /// Where the peer is.
        endpoint: SocketAddr,
    },
    /// Nothing is received under this key any more.
    Remove {
        /// Whose key.
        peer: PeerId,
        /// Which.
        index: Index,
    },
    /// Nothing can be sent any more until there is another key.
    RemoveSending {
        /// To whom.
        peer: PeerId,
    },
    /// The latest timestamp that was accepted from a peer; initiations up to it are refused, also after a restart if it is
    /// kept.
    Timestamp {
        /// Whose.
        peer: PeerId,
        /// The time as it was on the wire.
        tai64n: [u8; 12],
    },
    /// A handshake is complete: a key pair is in use both ways.
    HandshakeDone {
        /// With whom.
        peer: PeerId,
        /// Who began it.
        role: Role,
    },
    /// A peer did not answer for [`REKEY_ATTEMPT_TIME`](super::REKEY_ATTEMPT_TIME).
    GaveUp {
        /// Who.
        peer: PeerId,
    },
}

/// Why a datagram was dropped; none of them is answered, but for [`Discard::Cookie`].
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
#[must_use]
pub enum Discard {
    /// It is no handshake message: another type or length, or reserved octets that are not zero.
    #[error("not a handshake message")]
    Malformed,
    /// Its `mac1` is wrong: the sender does not know our key.
    #[error("mac1 is wrong")]
    BadMac1,
    /// Its `mac2` is missing or wrong while we are under load; a cookie was sent instead of an answer.
    #[error("a cookie was sent instead of an answer")]
    Cookie,
    /// Its sender has shown its address and sends too much.
    #[error("too many handshakes from this address")]
    RateLimited,
    /// A seal in it does not open.
    #[error("not authentic")]
    Forged,
    /// It comes from a key that is no peer's.
    #[error("unknown peer")]
    UnknownPeer,
    /// Its timestamp is not later than the latest.
    #[error("timestamp is not later than the latest")]
    Replay,
    /// It comes too soon after the last initiation of the same peer.
    #[error("too soon after the last initiation")]
    Flood,
    /// It answers nothing that waits for an answer.
    #[error("unknown receiver index")]
    UnknownIndex,
    /// There is no index left in the peer's shard, or too much waits to be sent.
    #[error("no room")]
    Full,
}

impl Discard {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::Malformed,
        Self::BadMac1,
        Self::Cookie,
        Self::RateLimited,
        Self::Forged,
        Self::UnknownPeer,
        Self::Replay,
        Self::Flood,
        Self::UnknownIndex,
        Self::Full,
    ];

    /// Returns the word for log fields and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::BadMac1 => "bad_mac1",
            Self::Cookie => "cookie",
            Self::RateLimited => "rate_limited",
            Self::Forged => "forged",
            Self::UnknownPeer => "unknown_peer",
            Self::Replay => "replay",
            Self::Flood => "flood",
            Self::UnknownIndex => "unknown_index",
            Self::Full => "full",
        }
    }
}
