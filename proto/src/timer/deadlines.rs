//! Ordered deadlines of many keys.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Instant;

/// At most one deadline for each key, in order of time; arming a key again moves it.
#[derive(Clone, Debug)]
pub struct Deadlines<K> {
    order: BTreeSet<(Instant, K)>,
    by_key: HashMap<K, Instant>,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self {
            order: BTreeSet::new(),
            by_key: HashMap::new(),
        }
    }
}

impl<K: Copy + Eq + Hash + Ord> Deadlines<K> {
    /// Makes an empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Arms or moves the deadline of `key`.
    pub fn arm(&mut self, key: K, deadline: Instant) {
        self.stop(key);
        self.by_key.insert(key, deadline);
        self.order.insert((deadline, key));
    }

    /// Forgets the deadline of `key`.
    pub fn stop(&mut self, key: K) {
        if let Some(deadline) = self.by_key.remove(&key) {
            self.order.remove(&(deadline, key));
        }
    }

    /// Returns the earliest deadline.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|(deadline, _)| *deadline)
    }

    /// Takes one key whose deadline has passed, the earliest first.
    pub fn pop_expired(&mut self, now: Instant) -> Option<K> {
        let &(deadline, key) = self.order.first()?;
        if deadline > now {
            return None;
        }
        self.stop(key);
        Some(key)
    }

    /// Returns how many keys have a deadline.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Returns whether no key has a deadline.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}
