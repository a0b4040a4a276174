//! Which record goes ahead of which: those of a session in their order, and the gateway's start between old and new.

use std::collections::BTreeSet;
use std::time::Instant;

use super::{Entry, Sender, State};

/// So many attempts, and a record no longer stands in the way of others.
pub(super) const PATIENCE: u32 = 3;

impl Sender {
    /// Lets a record wait for a server when nothing has to go ahead of it.
    pub(super) fn settle(&mut self, now: Instant, seq: u64) {
        let Some(entry) = self.entries.get(&seq) else {
            return;
        };
        let of_session = self.sessions.get(&entry.record.session);
        let first = of_session.and_then(BTreeSet::first) == Some(&seq);
        if entry.state == State::Behind && first && self.is_free(seq) {
            self.wait(seq, now);
        }
    }

    /// Returns whether neither a barrier before this record nor, if it is one, a record before it stands in the way.
    fn is_free(&self, seq: u64) -> bool {
        let patient = |seq: &u64| {
            self.entries
                .get(seq)
                .is_some_and(|entry| entry.attempts < PATIENCE)
        };
        if self.barriers.range(..seq).any(patient) {
            return false;
        }
        !self.barriers.contains(&seq)
            || self
                .entries
                .range(..seq)
                .all(|(_, entry)| entry.attempts >= PATIENCE)
    }

    /// Looks again at everything that has its turn behind something else.
    pub(super) fn settle_all(&mut self, now: Instant) {
        if self.barriers.is_empty() {
            return;
        }
        let behind: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.state == State::Behind)
            .map(|(seq, _)| *seq)
            .collect();
        for seq in behind {
            self.settle(now, seq);
        }
    }

    /// Gives their turn to those that stood behind a record.
    pub(super) fn after(&mut self, now: Instant, entry: &Entry, seq: u64) {
        let next = self.sessions.get(&entry.record.session);
        if let Some(next) = next.and_then(BTreeSet::first).copied() {
            self.settle(now, next);
        }
        if self.barriers.remove(&seq) {
            // The last barrier may have been the one that was in the way.
            let behind: Vec<u64> = self.entries.range(seq..).map(|(seq, _)| *seq).collect();
            for seq in behind {
                self.settle(now, seq);
            }
        } else if let Some(barrier) = self.barriers.first().copied() {
            self.settle(now, barrier);
        }
    }
}
