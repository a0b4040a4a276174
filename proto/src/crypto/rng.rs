//! The only randomness that a machine has.

use ring::hmac;

/// A generator seeded once by its owner: `HMAC-SHA-256(seed, counter)` in blocks.
///
/// The caller seeds it from the operating system; tests and fuzzers seed it with a constant and get the same bytes
/// each time.
pub struct Rng {
    key: hmac::Key,
    counter: u64,
}

impl Rng {
    /// Seeds the generator.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, seed),
            counter: 0,
        }
    }

    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            let block = hmac::sign(&self.key, &self.counter.to_be_bytes());
            self.counter = self.counter.wrapping_add(1);
            for (to, from) in chunk.iter_mut().zip(block.as_ref()) {
                *to = *from;
            }
        }
    }

    /// Returns `N` octets.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// Returns 32 bits.
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    /// Returns one octet.
    pub fn u8(&mut self) -> u8 {
        let [b] = self.array();
        b
    }

    /// Makes a generator for another machine, independent of what this one gives from now on.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::from_seed(&self.array())
    }
}

impl core::fmt::Debug for Rng {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Rng(..)")
    }
}
