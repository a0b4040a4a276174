//! What the peers of an interface have in common: who we are, the clock, the indices, and the two out-trays.

use core::net::SocketAddr;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::event::{Event, PeerId};
use super::index::IndexTable;
use super::message::INITIATION;
use super::noise::Local;
use super::tai64n::Clock;
use crate::crypto::Rng;
use crate::wire::Encode;

/// So many messages may wait to be sent; beyond that, what comes is dropped before it costs anything.
const OUTBOX: usize = 1024;

/// A message that waits to be sent. No handshake message is longer than an initiation.
#[derive(Debug)]
struct Outgoing {
    to: SocketAddr,
    len: usize,
    octets: [u8; INITIATION],
}

#[derive(Debug)]
pub(super) struct Context {
    pub(super) local: Local,
    pub(super) clock: Clock,
    pub(super) rng: Rng,
    pub(super) indices: IndexTable<PeerId>,
    epoch: Instant,
    events: VecDeque<Event>,
    outbox: VecDeque<Outgoing>,
}

impl Context {
    pub(super) const fn new(local: Local, clock: Clock, rng: Rng, epoch: Instant) -> Self {
        Self {
            local,
            clock,
            rng,
            indices: IndexTable::new(),
            epoch,
            events: VecDeque::new(),
            outbox: VecDeque::new(),
        }
    }

    /// Returns whether nothing more should be answered before something was sent.
    pub(super) fn is_full(&self) -> bool {
        self.outbox.len() >= OUTBOX
    }

    /// Puts octets into the out-tray; more than an initiation has are not sent.
    pub(super) fn send(&mut self, to: SocketAddr, octets: &[u8]) {
        let mut outgoing = Outgoing {
            to,
            len: octets.len(),
            octets: [0; INITIATION],
        };
        if let Some(place) = outgoing.octets.get_mut(..octets.len()) {
            place.copy_from_slice(octets);
            self.outbox.push_back(outgoing);
        }
    }

    /// Puts a message into the out-tray after `sign` has filled in its macs.
    pub(super) fn send_message<M: Encode>(
        &mut self,
        to: SocketAddr,
        message: &M,
        sign: impl FnOnce(&mut [u8]),
    ) {
        let mut octets = Vec::with_capacity(INITIATION);
        // Each of the messages is at most as long as an initiation, so this does not fail.
        if message.append_to(&mut octets, INITIATION).is_ok() {
            sign(&mut octets);
            self.send(to, &octets);
        }
    }

    /// Moves the next message to `out` and returns where it goes.
    pub(super) fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let next = self.outbox.pop_front()?;
        out.extend_from_slice(next.octets.get(..next.len)?);
        Some(next.to)
    }

    pub(super) fn say(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns an instant as the records of activity have it.
    pub(super) fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns the instant of a time in the records of activity.
    pub(super) fn instant(&self, millis: u64) -> Instant {
        self.epoch + Duration::from_millis(millis)
    }
}
