//! The instant from which tests count.

use std::time::Instant;

/// Returns an instant to start from. An [`Instant`] comes only from the clock; no test reads it a second time, all that
/// passes afterwards is added by hand.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where a test gets its first instant"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}
