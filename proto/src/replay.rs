//! Which numbers of a counter have been seen: the anti-replay window of ESP and WireGuard (RFC 6479).
//!
//! A ring of 64-bit blocks in which sliding forward clears whole blocks and never shifts a bit. One block more than the
//! window holds, so that a block that is only partly behind the window is not cleared too early.
//!
//! While the numbers come without a gap there is nothing to remember but the highest, and no ring: a key with few packets,
//! of which none is lost, needs a kibibyte less.

/// Blocks of 64 numbers: 128 of the window and the one that is being entered.
const BLOCKS: usize = 129;
/// The same, as a number that counters can be divided by.
const RING: u64 = 129;

/// Accepts each number once, down to [`ReplayWindow::SIZE`] behind the highest.
///
/// [`check`](Self::check) is cheap and comes before the packet is authenticated; [`mark`](Self::mark) comes after, so
/// that a forged packet cannot move the window.
#[derive(Clone)]
pub struct ReplayWindow {
    /// One more than the highest number seen; 0 while none was.
    next: u64,
    /// `None` while everything below `next` has been seen.
    seen: Option<Box<[u64; BLOCKS]>>,
}

impl ReplayWindow {
    /// How far behind the highest number a number may be.
    pub const SIZE: u64 = 8192;

    /// Makes a window that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            next: 0,
            seen: None,
        }
    }

    /// Returns whether `number` is neither too old nor seen before.
    #[must_use]
    pub fn check(&self, number: u64) -> bool {
        if number >= self.next {
            return true;
        }
        if self.next - number > Self::SIZE {
            return false;
        }
        let (at, bit) = place(number);
        let block = self.seen.as_ref().and_then(|seen| seen.get(at));
        block.is_some_and(|block| block & bit == 0)
    }

    /// Marks `number` as seen; returns whether it was acceptable. `u64::MAX` never is.
    #[must_use = "a number that is not acceptable belongs to a packet that must be dropped"]
    pub fn mark(&mut self, number: u64) -> bool {
        let Some(after) = number.checked_add(1) else {
            return false;
        };
        if !self.check(number) {
            return false;
        }
        if number == self.next && self.seen.is_none() {
            self.next = after;
            return true;
        }
        let next = self.next;
        let seen = self.seen.get_or_insert_with(|| all_below(next));
        if after > next {
            clear(seen, next, number);
            self.next = after;
        }
        let (at, bit) = place(number);
        if let Some(block) = seen.get_mut(at) {
            *block |= bit;
        }
        true
    }

    /// Returns one more than the highest number seen.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }
}

/// Makes the ring of a window that has seen every number below `next`.
#[cold]
fn all_below(next: u64) -> Box<[u64; BLOCKS]> {
    let Some(highest) = next.checked_sub(1) else {
        return Box::new([0; BLOCKS]);
    };
    // Blocks ahead are cleared when they are entered.
    let mut seen = Box::new([u64::MAX; BLOCKS]);
    let (at, bit) = place(highest);
    if let Some(block) = seen.get_mut(at) {
        *block = bit | (bit - 1);
    }
    seen
}

/// Empties the blocks that are entered when the highest number becomes `number`; `next` is one more than it was.
fn clear(seen: &mut [u64; BLOCKS], next: u64, number: u64) {
    // Nothing has been seen yet: all blocks are empty.
    let Some(highest) = next.checked_sub(1) else {
        return;
    };
    let from = highest / 64;
    let entered = (number / 64).saturating_sub(from).min(RING);
    for step in 1..=entered {
        let (at, _) = place(from.saturating_add(step).wrapping_mul(64));
        if let Some(block) = seen.get_mut(at) {
            *block = 0;
        }
    }
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for ReplayWindow {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ReplayWindow")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

/// Returns the block of a number and its bit there.
fn place(number: u64) -> (usize, u64) {
    let block = usize::try_from(number / 64 % RING).unwrap_or(0);
    (block, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepts_each_number_once() {
        let mut window = ReplayWindow::new();
        for number in [0, 1, 5, 3, 64, 63, 8191, 2, 4] {
            assert!(window.mark(number), "{number}");
            assert!(!window.mark(number), "{number} again");
            assert!(!window.check(number), "{number} again");
        }
    }

    #[test]
    fn refuses_what_is_behind_the_window() {
        let mut window = ReplayWindow::new();
        assert!(window.mark(ReplayWindow::SIZE));
        assert!(!window.check(0), "one too far behind");
        assert!(window.check(1), "the last that fits");
        assert!(window.mark(1));
        assert!(!window.mark(1));
    }

    #[test]
    fn a_leap_over_the_whole_ring_forgets_the_old_bits() {
        let mut window = ReplayWindow::new();
        for number in 0..10_000 {
            assert!(window.mark(number));
        }
        let far = 10_000 + 64 * RING * 3;
        assert!(window.mark(far));
        for number in far - ReplayWindow::SIZE + 1..far {
            assert!(window.mark(number), "{number}");
        }
        assert!(!window.mark(far - ReplayWindow::SIZE));
    }

    #[test]
    fn a_gap_after_many_numbers_forgets_none_of_them() {
        for first in [1, 63, 64, 65, 8_191, 8_192, 8_256, 20_000] {
            let mut window = ReplayWindow::new();
            for number in 0..first {
                assert!(window.mark(number));
            }
            assert!(window.seen.is_none());
            assert!(window.mark(first + 1));
            for number in 0..first {
                assert!(!window.check(number), "{number} of {first}");
            }
            assert!(window.mark(first) && !window.mark(first));
            assert!(window.mark(first + 2) && window.mark(first + 200));
        }
    }

    #[test]
    fn the_last_number_is_never_accepted() {
        let mut window = ReplayWindow::new();
        assert!(!window.mark(u64::MAX));
        assert!(window.mark(u64::MAX - 1));
        assert!(!window.mark(u64::MAX - 1));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(
            in_order in 0u64..20_000,
            steps in proptest::collection::vec((0u64..4, 0u64..20_000), 1..400),
        ) {
            let mut window = ReplayWindow::new();
            let mut seen = HashSet::new();
            let mut highest = None;
            for number in 0..in_order {
                prop_assert!(window.mark(number) && seen.insert(number));
                highest = Some(number);
            }
            for (kind, by) in steps {
                let base = highest.unwrap_or(0);
                let number = match kind {
                    0 => base + by % 3,
                    1 => base + by,
                    _ => base.saturating_sub(by % 9000),
                };
                let fits = highest.is_none_or(|h: u64| number > h || h - number < ReplayWindow::SIZE);
                let expected = fits && seen.insert(number);
                prop_assert_eq!(window.check(number), expected);
                prop_assert_eq!(window.mark(number), expected);
                highest = highest.max(expected.then_some(number));
            }
        }
    }
}
