//! One server: what flies to it under which identifier, and whether it lives.

use std::time::{Duration, Instant};

use super::LONGEST_PAUSE;

/// So many requests in a row without any answer, and a server is dead.
const MISSES: u32 = 3;

/// A request that went out: it can be answered until its identifier is used again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) seq: u64,
    pub(super) authenticator: [u8; 16],
    sent: Instant,
}

/// What is known of a server.
#[derive(Debug)]
pub(super) struct ServerState {
    /// By identifier.
    slots: Vec<Option<Slot>>,
    next: u8,
    flying: usize,
    misses: u32,
    heard: Option<Instant>,
    dead: Option<Dead>,
    /// How long it is left alone when it has just died.
    first_pause: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Dead {
    since: Instant,
    until: Instant,
    pause: Duration,
}

impl ServerState {
    pub(super) fn new(first_pause: Duration) -> Self {
        Self {
            slots: vec![None; 256],
            next: 0,
            flying: 0,
            misses: 0,
            heard: None,
            dead: None,
            first_pause,
        }
    }

    pub(super) const fn flying(&self) -> usize {
        self.flying
    }

    /// Returns when a dead server may be tried; `None` while it lives.
    pub(super) fn dead_until(&self) -> Option<Instant> {
        self.dead.map(|dead| dead.until)
    }

    pub(super) fn slot(&self, identifier: u8) -> Option<Slot> {
        self.slots.get(usize::from(identifier)).copied().flatten()
    }

    pub(super) fn free(&mut self, identifier: u8) {
        if let Some(slot) = self.slots.get_mut(usize::from(identifier)) {
            *slot = None;
        }
    }

    /// Takes the next identifier, in turn, that is not in use.
    pub(super) fn next_identifier(&mut self, in_use: impl Fn(u8, u64) -> bool) -> Option<u8> {
        for _ in 0..=u8::MAX {
            let identifier = self.next;
            self.next = self.next.wrapping_add(1);
            let used = self
                .slot(identifier)
                .is_some_and(|slot| in_use(identifier, slot.seq));
            if !used {
                return Some(identifier);
            }
        }
        None
    }

    pub(super) fn fly(&mut self, now: Instant, identifier: u8, seq: u64, authenticator: [u8; 16]) {
        if let Some(slot) = self.slots.get_mut(usize::from(identifier)) {
            *slot = Some(Slot {
                seq,
                authenticator,
                sent: now,
            });
            self.flying = self.flying.saturating_add(1);
        }
    }

    pub(super) const fn land(&mut self) {
        self.flying = self.flying.saturating_sub(1);
    }

    /// Notes an answer; returns whether the server was dead.
    pub(super) fn hear(&mut self, now: Instant) -> bool {
        self.misses = 0;
        self.heard = Some(now);
        self.dead.take().is_some()
    }

    /// Notes that a request got no answer; returns whether the server is found dead by it.
    pub(super) fn miss(&mut self, now: Instant, identifier: u8) -> bool {
        let Some(sent) = self.slot(identifier).map(|slot| slot.sent) else {
            return false;
        };
        if self.heard.is_some_and(|heard| heard >= sent) {
            return false;
        }
        if let Some(dead) = &mut self.dead {
            if sent >= dead.since {
                dead.pause = dead.pause.saturating_mul(2).min(LONGEST_PAUSE);
                dead.until = now + dead.pause;
            }
            return false;
        }
        self.misses = self.misses.saturating_add(1);
        self.misses >= MISSES && self.die(now)
    }

    /// Takes the server for dead; returns whether it lived.
    pub(super) fn die(&mut self, now: Instant) -> bool {
        let lived = self.dead.is_none();
        let pause = self.dead.map_or(self.first_pause, |dead| {
            dead.pause.saturating_mul(2).min(LONGEST_PAUSE)
        });
        self.dead = Some(Dead {
            since: now,
            until: now + pause,
            pause,
        });
        lived
    }
}
