//! The two halves of a key pair (whitepaper §5.4.6): objects of the packet path.
//!
//! ```text
//!  0        1        2        3        4
//! +--------+--------+--------+--------+--------+--------+--------+--------+
//! | type 4 |     reserved zero        |   receiver, little-endian         |
//! +--------+--------+--------+--------+--------+--------+--------+--------+
//! |                       counter, little-endian                          |
//! +--------+--------+--------+--------+--------+--------+--------+--------+
//! |   encrypted packet, padded to 16 octets with zeros; then the tag      |
//! ```
//!
//! A key pair belongs to one handshake, and a handshake makes one; nothing here can be copied or made again, so that no
//! counter is used twice under a key.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;
use zeroize::Zeroizing;

use super::index::Index;
use super::message::{DataHeader, HEADER, OVERHEAD};
use super::timers::{
    REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, REKEY_AFTER_MESSAGES, REKEY_AFTER_TIME,
    REKEY_ON_RECEIVE,
};
use crate::crypto::chacha::ChaChaKey;
use crate::replay::ReplayWindow;

/// Who began a handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// We did; the initiator is the one that renews a key pair by age.
    Initiator,
    /// The peer did.
    Responder,
}

/// Why a data message was not opened.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum OpenError {
    /// It has not room for a header and a tag, or the header is not that of a data message.
    #[error("not a data message")]
    Short,
    /// It is for another key.
    #[error("for another receiver")]
    Receiver,
    /// Its counter has been seen, is too far behind, or is one that nobody may use.
    #[error("counter seen before or too old")]
    Replay,
    /// The tag is wrong.
    #[error("not authentic")]
    Integrity,
}

/// Why a frame was not sealed.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a frame needs {OVERHEAD} octets besides the packet")]
pub struct SealError;

/// The sending half: shared by the thread that sends data and the machine that sends keepalives.
#[derive(Debug)]
pub struct SendingKey {
    key: ChaChaKey,
    receiver: u32,
    counter: AtomicU64,
    created: Instant,
    role: Role,
    confirmed: AtomicBool,
}

impl SendingKey {
    /// Makes a half that begins with counter 0; only for a key that has never been used.
    #[must_use]
    pub fn new(key: Zeroizing<[u8; 32]>, receiver: u32, created: Instant, role: Role) -> Self {
        Self {
            key: ChaChaKey::new(key),
            receiver,
            counter: AtomicU64::new(0),
            created,
            role,
            confirmed: AtomicBool::new(role == Role::Initiator),
        }
    }

    /// Returns whether the peer is known to have the key, so that it may be used: at once when we began, and with the
    /// first packet that comes under the other half when the peer did (whitepaper §5.4.6).
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Acquire)
    }

    /// Takes `n` counters and returns the first; nothing when the key pair has none left. One atomic operation.
    pub fn reserve(&self, n: u64) -> Option<u64> {
        self.counter
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |first| {
                first
                    .checked_add(n)
                    .filter(|next| *next <= REJECT_AFTER_MESSAGES)
            })
            .ok()
    }

    /// Makes `frame`, which is 16 octets for the header, the padded packet, and 16 octets for the tag, into a message in
    /// place. `counter` comes from [`reserve`](Self::reserve) and is used once.
    pub fn seal(&self, counter: u64, frame: &mut [u8]) -> Result<(), SealError> {
        let (header, rest) = frame.split_first_chunk_mut::<HEADER>().ok_or(SealError)?;
        let (body, tag) = rest
            .split_last_chunk_mut::<{ ChaChaKey::TAG }>()
            .ok_or(SealError)?;
        *header = DataHeader {
            receiver: self.receiver,
            counter,
        }
        .to_bytes();
        *tag = self.key.seal(counter, &[], body).map_err(|_| SealError)?;
        Ok(())
    }

    /// Returns whether a packet that is sent at `now` should be followed by a handshake: the key pair is old and we began
    /// it (whitepaper §6.2), or it has carried too many messages.
    #[must_use]
    pub fn wants_rekey(&self, now: Instant) -> bool {
        let old = now.saturating_duration_since(self.created) >= REKEY_AFTER_TIME;
        (old && self.role == Role::Initiator)
            || self.counter.load(Ordering::Relaxed) >= REKEY_AFTER_MESSAGES
    }

    /// Returns whether the key pair must not be used any more.
    #[must_use]
    pub fn is_expired(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.created) >= REJECT_AFTER_TIME
    }

    /// Returns the index that the peer chose.
    #[must_use]
    pub const fn receiver(&self) -> u32 {
        self.receiver
    }

    /// Returns when the handshake made it.
    #[must_use]
    pub const fn created(&self) -> Instant {
        self.created
    }

    /// Returns who began the handshake that made it.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }
}

/// The receiving half: owned by the thread that receives.
#[derive(Debug)]
pub struct ReceivingKey {
    key: ChaChaKey,
    index: Index,
    window: ReplayWindow,
    created: Instant,
    role: Role,
    /// The other half, until it is confirmed.
    partner: Option<Arc<SendingKey>>,
}

impl ReceivingKey {
    /// Makes a half that has received nothing.
    #[must_use]
    pub fn new(key: Zeroizing<[u8; 32]>, index: Index, created: Instant, role: Role) -> Self {
        Self {
            key: ChaChaKey::new(key),
            index,
            window: ReplayWindow::new(),
            created,
            role,
            partner: None,
        }
    }

    /// Confirms `partner` with the first packet that is opened.
    #[must_use]
    pub fn with_partner(self, partner: Arc<SendingKey>) -> Self {
        Self {
            partner: Some(partner),
            ..self
        }
    }

    /// Opens a message in place and returns the packet with its padding; empty for a keepalive.
    ///
    /// The counter is looked at before the message is authenticated and marked after it. When this fails, the octets of
    /// `datagram` may have changed.
    pub fn open<'a>(&mut self, datagram: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
        let (header, sealed) = datagram
            .split_first_chunk_mut::<HEADER>()
            .ok_or(OpenError::Short)?;
        let header = DataHeader::from_bytes(header).ok_or(OpenError::Short)?;
        if sealed.len() < ChaChaKey::TAG {
            return Err(OpenError::Short);
        }
        if header.receiver != self.index.0 {
            return Err(OpenError::Receiver);
        }
        if header.counter >= REJECT_AFTER_MESSAGES || !self.window.check(header.counter) {
            return Err(OpenError::Replay);
        }
        let packet = self
            .key
            .open(header.counter, &[], sealed)
            .map_err(|_| OpenError::Integrity)?;
        if !self.window.mark(header.counter) {
            return Err(OpenError::Replay);
        }
        if let Some(partner) = self.partner.take() {
            partner.confirmed.store(true, Ordering::Release);
        }
        Ok(packet)
    }

    /// Returns whether a packet that is received at `now` should be followed by a handshake: we began the key pair and it
    /// is about to end (whitepaper §6.2).
    #[must_use]
    pub fn wants_rekey(&self, now: Instant) -> bool {
        self.role == Role::Initiator
            && now.saturating_duration_since(self.created) >= REKEY_ON_RECEIVE
    }

    /// Returns whether the key pair must not be used any more.
    #[must_use]
    pub fn is_expired(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.created) >= REJECT_AFTER_TIME
    }

    /// Returns the index by which messages for this key are known.
    #[must_use]
    pub const fn index(&self) -> Index {
        self.index
    }

    /// Returns when the handshake made it.
    #[must_use]
    pub const fn created(&self) -> Instant {
        self.created
    }

    /// Returns who began the handshake that made it.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }
}
