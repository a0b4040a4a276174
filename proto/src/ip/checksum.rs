//! The Internet checksum (RFC 1071): a wide sum, its folding, and the incremental update of RFC 1624.
//!
//! Sums are kept in the machine's own octet order (RFC 1071 §2 (B)): the folded result has the right octets when it is
//! stored with `to_ne_bytes`, on either endianness, and nothing is swapped on the way.

/// An unfolded one's-complement sum; wide enough for 16 GiB of input.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sum(u64);

impl Sum {
    /// Returns the sum of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds `octets`, which begin at an even offset of what is summed.
    #[must_use]
    #[inline]
    pub fn bytes(self, octets: &[u8]) -> Self {
        Self(self.0.wrapping_add(sum(octets)))
    }

    /// Adds one 16-bit number.
    #[must_use]
    #[inline]
    pub fn number(self, number: u16) -> Self {
        Self(self.0.wrapping_add(u64::from(number.to_be())))
    }

    /// Adds another sum, of octets that begin at an even offset.
    #[must_use]
    #[inline]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// Folds the sum to 16 bits: the octets as they stand in a packet, not complemented.
    #[must_use]
    #[inline]
    pub fn fold(self) -> [u8; 2] {
        fold(self.0).to_ne_bytes()
    }

    /// Returns the checksum to store: the complement of the folded sum.
    #[must_use]
    #[inline]
    pub fn checksum(self) -> [u8; 2] {
        (!fold(self.0)).to_ne_bytes()
    }

    /// Returns the checksum as UDP stores it, where zero means "none" (RFC 768).
    #[must_use]
    #[inline]
    pub fn udp_checksum(self) -> [u8; 2] {
        match self.checksum() {
            [0, 0] => [0xff, 0xff],
            checksum => checksum,
        }
    }

    /// Returns whether what was summed, with its checksum in place, is right.
    #[must_use]
    #[inline]
    pub fn verifies(self) -> bool {
        fold(self.0) == 0xffff
    }
}

/// Sums the pseudo header of TCP and UDP over IPv4 (RFC 9293 §3.1); `addresses` are source and destination.
#[must_use]
#[inline]
pub fn pseudo_header(addresses: &[u8; 8], protocol: u8, len: u16) -> Sum {
    Sum::new()
        .bytes(addresses)
        .number(u16::from(protocol))
        .number(len)
}

/// Returns `checksum` after one aligned 16-bit word under it has changed from `old` to `new` (RFC 1624, eqn. 3).
#[must_use]
pub fn update(checksum: [u8; 2], old: [u8; 2], new: [u8; 2]) -> [u8; 2] {
    let word = |octets: [u8; 2]| u64::from(u16::from_ne_bytes(octets));
    let complement = |octets: [u8; 2]| u64::from(!u16::from_ne_bytes(octets));
    (!fold(complement(checksum) + complement(old) + word(new))).to_ne_bytes()
}

/// Copies `from` into the equally long `to` and sums what it copies.
///
/// # Panics
///
/// When the lengths differ.
#[must_use]
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "a caller compiled for wider vectors must take this body with it"
)]
pub fn copy_and_sum(to: &mut [u8], from: &[u8]) -> Sum {
    to.copy_from_slice(from);
    Sum(sum(from))
}

/// Sums `octets` in lanes of 32 bits, so that the compiler can use vectors.
#[must_use]
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "a caller compiled for wider vectors must take this body with it"
)]
pub fn wide(octets: &[u8]) -> Sum {
    Sum(sum(octets))
}

const LANES: usize = 16;

#[inline(always)]
#[expect(clippy::inline_always, reason = "see `wide`")]
fn sum(octets: &[u8]) -> u64 {
    let (blocks, rest) = octets.as_chunks::<{ 4 * LANES }>();
    let mut lanes = [0_u64; LANES];
    for block in blocks {
        let (words, _) = block.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = lane.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
        }
    }
    let mut total = lanes.iter().fold(0_u64, |a, b| a.wrapping_add(*b));
    let (words, tail) = rest.as_chunks::<4>();
    for word in words {
        total = total.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
    }
    let (pairs, odd) = tail.as_chunks::<2>();
    for pair in pairs {
        total = total.wrapping_add(u64::from(u16::from_ne_bytes(*pair)));
    }
    if let [last] = odd {
        total = total.wrapping_add(u64::from(u16::from_ne_bytes([*last, 0])));
    }
    total
}

#[inline]
fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let [a, b, ..] = sum.to_le_bytes();
    u16::from_le_bytes([a, b])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slow(octets: &[u8]) -> [u8; 2] {
        let mut sum = 0_u32;
        for pair in octets.chunks(2) {
            let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
            sum += u32::from(word);
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (!u16::try_from(sum).unwrap()).to_be_bytes()
    }

    #[test]
    fn sums_the_example_of_rfc_1071() {
        let octets = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::new().bytes(&octets).fold(), [0xdd, 0xf2]);
    }

    #[test]
    fn updates_the_example_of_rfc_1624() {
        // §4: HC = 0xDD2F, m = 0x5555, m' = 0x3285 gives 0x0000, where the older equation gives 0xFFFF.
        assert_eq!(update([0xdd, 0x2f], [0x55, 0x55], [0x32, 0x85]), [0, 0]);
    }

    proptest! {
        #[test]
        fn agrees_with_the_slow_sum(octets in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(Sum::new().bytes(&octets).checksum(), slow(&octets));
            let mut copy = vec![0; octets.len()];
            prop_assert_eq!(copy_and_sum(&mut copy, &octets).checksum(), slow(&octets));
            prop_assert_eq!(copy, octets);
        }

        #[test]
        fn an_update_equals_a_new_sum(
            mut octets in proptest::collection::vec(any::<u8>(), 2..64),
            new in any::<[u8; 2]>(),
        ) {
            let before = slow(&octets);
            let old = [octets[0], octets[1]];
            octets[..2].copy_from_slice(&new);
            let after = slow(&octets);
            let updated = update(before, old, new);
            // Zero has two forms; the sum of a real packet is never the all-zero one.
            prop_assert!(updated == after || (updated == [0, 0] && after == [0xff, 0xff]) || (updated == [0xff, 0xff] && after == [0, 0]));
        }
    }
}
