//! The time of day that no step of the machine's clock moves.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime};

static START: LazyLock<(SystemTime, Instant)> =
    LazyLock::new(|| (SystemTime::now(), Instant::now()));

/// Returns the time of day as the gateway reckons it: that of its first call, and what has passed since. A clock that is
/// set while the gateway runs neither ends nor prolongs anybody's log-in.
#[must_use]
pub fn now() -> SystemTime {
    let (time, instant) = *START;
    time.checked_add(instant.elapsed()).unwrap_or(time)
}
