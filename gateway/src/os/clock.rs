//! Cheap clocks for the packet path: read once a batch, never once a packet.
#![expect(unsafe_code, reason = "clock_gettime is read straight from the vDSO")]

use std::time::{Duration, Instant};

/// Returns the milliseconds of the coarse monotonic clock: a few milliseconds behind, and almost free.
///
/// This is the epoch of `Activity`.
#[must_use]
pub fn coarse_ms() -> u64 {
    let (seconds, nanoseconds) = read(libc::CLOCK_MONOTONIC_COARSE);
    seconds
        .saturating_mul(1_000)
        .saturating_add(nanoseconds / 1_000_000)
}

/// Returns the microseconds of the monotonic clock.
#[must_use]
pub fn precise_us() -> u64 {
    let (seconds, nanoseconds) = read(libc::CLOCK_MONOTONIC);
    seconds
        .saturating_mul(1_000_000)
        .saturating_add(nanoseconds / 1_000)
}

/// Returns the instant at which both clocks were zero, for those that count from it.
#[must_use]
pub fn epoch() -> Instant {
    let now = Instant::now();
    // The standard library reads the same clock, and it begins at boot.
    now.checked_sub(Duration::from_micros(precise_us()))
        .unwrap_or(now)
}

fn read(clock: libc::clockid_t) -> (u64, u64) {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a live, writable timespec for the length of the call.
    let done = unsafe { libc::clock_gettime(clock, &raw mut time) };
    // Both clocks exist since Linux 2.6.32; a refusal leaves the zeroes.
    debug_assert_eq!(done, 0);
    (
        u64::try_from(time.tv_sec).unwrap_or(0),
        u64::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_share_an_epoch_and_do_not_run_back() {
        let coarse = coarse_ms();
        let precise = precise_us();
        assert!(coarse > 0);
        assert!(precise / 1_000 >= coarse);
        assert!(coarse_ms() >= coarse);
    }

    #[test]
    fn instants_count_from_the_same_epoch() {
        let before = precise_us();
        let between = u64::try_from(epoch().elapsed().as_micros()).unwrap();
        assert!(before <= between);
        assert!(between <= precise_us() + 1);
    }
}
