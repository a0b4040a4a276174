//! One deadline for each variant of a small enum.

use std::time::Instant;

/// The timers of one machine; `T` is a small enum that names them.
#[derive(Clone, Debug)]
pub struct TimerTable<T> {
    entries: Vec<(T, Instant)>,
}

impl<T> Default for TimerTable<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
        }
    }
}

impl<T: Copy + Eq> TimerTable<T> {
    /// Makes a table in which nothing runs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Arms `timer`, replacing its deadline.
    pub fn arm(&mut self, timer: T, deadline: Instant) {
        self.stop(timer);
        self.entries.push((timer, deadline));
    }

    /// Stops `timer`; harmless when it does not run.
    pub fn stop(&mut self, timer: T) {
        self.entries.retain(|(other, _)| *other != timer);
    }

    /// Stops every timer.
    pub fn stop_all(&mut self) {
        self.entries.clear();
    }

    /// Returns whether `timer` runs.
    #[must_use]
    pub fn runs(&self, timer: T) -> bool {
        self.entries.iter().any(|(other, _)| *other == timer)
    }

    /// Returns the timer that fires next and when.
    #[must_use]
    pub fn next(&self) -> Option<(T, Instant)> {
        self.entries
            .iter()
            .min_by_key(|(_, deadline)| *deadline)
            .copied()
    }

    /// Takes one timer whose deadline has passed, the earliest first.
    pub fn expired(&mut self, now: Instant) -> Option<T> {
        let (timer, deadline) = self.next()?;
        if deadline > now {
            return None;
        }
        self.stop(timer);
        Some(timer)
    }
}
