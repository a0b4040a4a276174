mod keys;

use std::time::Instant;

/// An instant to begin with; everything else is added to it.
#[expect(
    clippy::disallowed_methods,
    reason = "tests need one instant to begin with"
)]
fn start() -> Instant {
    Instant::now()
}
