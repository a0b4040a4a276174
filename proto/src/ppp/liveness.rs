//! Whether the peer still lives: Echo-Requests, only when it is silent.

use std::time::{Duration, Instant};

/// What to do when the deadline has passed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Vitals {
    /// Nothing: something was heard.
    Alive,
    /// Send an Echo-Request.
    Silent,
    /// Too many went unanswered.
    Lost,
}

/// When the peer was last heard and how many probes it has left unanswered.
#[derive(Clone, Debug)]
pub(crate) struct Liveness {
    interval: Duration,
    failures: u8,
    /// The last frame from the peer or the last probe, whichever is later.
    anchor: Instant,
    unanswered: u8,
    probing: bool,
}

impl Liveness {
    /// Waits for [`Liveness::start`]; an interval of zero never probes.
    pub(crate) const fn new(interval: Duration, failures: u8, now: Instant) -> Self {
        Self {
            interval,
            failures,
            anchor: now,
            unanswered: 0,
            probing: false,
        }
    }

    /// From now on silence is probed.
    pub(crate) fn start(&mut self, now: Instant) {
        self.probing = !self.interval.is_zero();
        self.heard(now);
    }

    /// Probes no longer.
    pub(crate) fn stop(&mut self) {
        self.probing = false;
    }

    /// The peer sent something.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.anchor = now;
        self.unanswered = 0;
    }

    /// Returns when to look again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.probing.then(|| self.anchor + self.interval)
    }

    /// Looks at the time.
    pub(crate) fn check(&mut self, now: Instant) -> Vitals {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return Vitals::Alive;
        }
        if self.unanswered >= self.failures {
            self.probing = false;
            return Vitals::Lost;
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.anchor = now;
        Vitals::Silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::testing::start;

    #[test]
    fn probes_only_silence_and_gives_up_after_the_last() {
        let start = start();
        let interval = Duration::from_secs(20);
        let mut liveness = Liveness::new(interval, 2, start);
        assert_eq!(liveness.deadline(), None);
        liveness.start(start);
        assert_eq!(liveness.check(start + interval / 2), Vitals::Alive);
        liveness.heard(start + interval / 2);
        assert_eq!(liveness.check(start + interval), Vitals::Alive);
        let mut now = start + interval * 2;
        assert_eq!(liveness.check(now), Vitals::Silent);
        now += interval;
        assert_eq!(liveness.check(now), Vitals::Silent);
        now += interval;
        assert_eq!(liveness.check(now), Vitals::Lost);
        assert_eq!(liveness.deadline(), None);
    }
}
