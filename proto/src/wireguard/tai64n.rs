//! Timestamps (whitepaper §5.1): TAI64N, of which a peer accepts only later ones.

use std::time::{Duration, Instant};

/// The label of 1970-01-01 in TAI64, ten seconds of which UTC had already lost.
const EPOCH: u64 = (1 << 62) + 10;
/// Nanoseconds are cut to multiples of this, about 17 ms, so that a timestamp does not tell how the clock runs.
const GRAIN: u32 = 1 << 24;

/// Seconds and nanoseconds, big-endian, so that octets compare as times do.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Tai64n(pub(super) [u8; 12]);

impl Tai64n {
    /// Returns the timestamp of a time since 1970.
    pub(super) fn at(unix: Duration) -> Self {
        let cut = unix.subsec_nanos() / GRAIN * GRAIN;
        Self::new(EPOCH.saturating_add(unix.as_secs()), cut)
    }

    /// Returns the next timestamp that can be made.
    pub(super) fn next(self) -> Self {
        let [s1, s2, s3, s4, s5, s6, s7, s8, n1, n2, n3, n4] = self.0;
        let seconds = u64::from_be_bytes([s1, s2, s3, s4, s5, s6, s7, s8]);
        let nanos = u32::from_be_bytes([n1, n2, n3, n4]).saturating_add(GRAIN);
        if nanos < 1_000_000_000 {
            Self::new(seconds, nanos)
        } else {
            Self::new(seconds.saturating_add(1), 0)
        }
    }

    fn new(seconds: u64, nanos: u32) -> Self {
        let [s1, s2, s3, s4, s5, s6, s7, s8] = seconds.to_be_bytes();
        let [n1, n2, n3, n4] = nanos.to_be_bytes();
        Self([s1, s2, s3, s4, s5, s6, s7, s8, n1, n2, n3, n4])
    }
}

/// The wall clock, as far as it is known: what it said at some instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    then: Instant,
    unix: Duration,
}

impl Clock {
    /// Sets the clock to `unix` at `now`.
    pub(super) const fn new(now: Instant, unix: Duration) -> Self {
        Self { then: now, unix }
    }

    /// Returns a timestamp for `now` that is later than `last`, whatever the clock says.
    pub(super) fn timestamp(&self, now: Instant, last: Tai64n) -> Tai64n {
        let since = now.saturating_duration_since(self.then);
        Tai64n::at(self.unix.saturating_add(since)).max(last.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::testing::start;

    #[test]
    fn labels_seconds_as_tai64_does() {
        // 2001-09-09 01:46:40 UTC.
        let stamp = Tai64n::at(Duration::new(1_000_000_000, 123_456_789));
        assert_eq!(stamp.0[..8], 0x4000_0000_3b9a_ca0a_u64.to_be_bytes());
        let nanos = u32::from_be_bytes(stamp.0[8..].try_into().unwrap());
        assert_eq!(nanos % GRAIN, 0);
        assert!((0..GRAIN).contains(&(123_456_789 - nanos)));
    }

    #[test]
    fn timestamps_rise_whatever_the_clock_does() {
        let now = start();
        let mut last = Tai64n::default();
        let day = Duration::from_secs(86_400);
        for unix in [day * 20_000, day * 10, day * 20_000, Duration::ZERO] {
            let clock = Clock::new(now, unix);
            for _ in 0..200 {
                let stamp = clock.timestamp(now, last);
                assert!(stamp > last);
                last = stamp;
            }
        }
        let nanos = u32::from_be_bytes(last.0[8..].try_into().unwrap());
        assert!(nanos < 1_000_000_000);
    }
}
