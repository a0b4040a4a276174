//! The indices that peers put into their messages to us (whitepaper §5.4): an address for the packet path.
//!
//! ```text
//!  31      26 25                     8 7        0
//! +----------+------------------------+----------+
//! |  random  |          slot          |  shard   |
//! +----------+------------------------+----------+
//! ```
//!
//! The shard is the first octet on the wire, so that a socket filter can steer by it; the slot is a place in an array of
//! that shard. The random bits make a message for the slot's former owner recognizable without a decryption.

use std::collections::VecDeque;

use crate::crypto::Rng;

const SHARD_BITS: u32 = 8;
const SLOT_BITS: u32 = 18;

/// A receiver index that we chose.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Index(pub u32);

impl Index {
    /// How many slots a shard has.
    pub const SLOTS: u32 = 1 << SLOT_BITS;

    /// Puts an index together; bits that do not fit are cut off.
    #[must_use]
    pub const fn new(shard: u8, slot: u32, random: u32) -> Self {
        Self(
            u32::from_le_bytes([shard, 0, 0, 0])
                | (slot % Self::SLOTS) << SHARD_BITS
                | random << (SHARD_BITS + SLOT_BITS),
        )
    }

    /// Returns the shard.
    #[must_use]
    pub const fn shard(self) -> u8 {
        let [shard, ..] = self.0.to_le_bytes();
        shard
    }

    /// Returns the slot in its shard.
    #[must_use]
    pub const fn slot(self) -> u32 {
        (self.0 >> SHARD_BITS) % Self::SLOTS
    }
}

/// Which index belongs to what; a look-up is two array reads.
#[derive(Debug)]
pub(super) struct IndexTable<T> {
    shards: Vec<Shard<T>>,
}

#[derive(Debug)]
struct Shard<T> {
    slots: Vec<Option<(Index, T)>>,
    /// Those that were given back, the oldest first, so that a slot rests as long as it can.
    free: VecDeque<u32>,
}

/// So many slots of a shard must be free before one is used again, while the shard may still grow.
const REST: usize = 64;

impl<T: Copy> IndexTable<T> {
    /// Makes an empty table.
    pub(super) const fn new() -> Self {
        Self { shards: Vec::new() }
    }

    /// Gives an index in `shard` to `owner`; nothing when the shard is full.
    pub(super) fn insert(&mut self, shard: u8, owner: T, rng: &mut Rng) -> Option<Index> {
        let at = usize::from(shard);
        if self.shards.len() <= at {
            self.shards.resize_with(at.saturating_add(1), || Shard {
                slots: Vec::new(),
                free: VecDeque::new(),
            });
        }
        let shard_slots = self.shards.get_mut(at)?;
        let slot = shard_slots.take()?;
        let index = Index::new(shard, slot, rng.u32());
        let place = shard_slots.slots.get_mut(usize::try_from(slot).ok()?)?;
        *place = Some((index, owner));
        Some(index)
    }

    /// Returns whose index it is.
    pub(super) fn get(&self, index: Index) -> Option<T> {
        let shard = self.shards.get(usize::from(index.shard()))?;
        let (held, owner) = (*shard.slots.get(usize::try_from(index.slot()).ok()?)?)?;
        (held == index).then_some(owner)
    }

    /// Takes an index back.
    pub(super) fn remove(&mut self, index: Index) {
        if self.get(index).is_none() {
            return;
        }
        let Some(shard) = self.shards.get_mut(usize::from(index.shard())) else {
            return;
        };
        let place = usize::try_from(index.slot())
            .ok()
            .and_then(|slot| shard.slots.get_mut(slot));
        if let Some(place) = place {
            *place = None;
            shard.free.push_back(index.slot());
        }
    }

    /// Returns how many indices are in use.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.slots.len() - shard.free.len())
            .sum()
    }
}

impl<T> Shard<T> {
    fn take(&mut self) -> Option<u32> {
        if self.free.len() >= REST {
            return self.free.pop_front();
        }
        let grown = u32::try_from(self.slots.len())
            .ok()
            .filter(|slot| *slot < Index::SLOTS);
        match grown {
            Some(slot) => {
                self.slots.push(None);
                Some(slot)
            }
            None => self.free.pop_front(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_keeps_its_parts() {
        let index = Index::new(0xab, 0x3_1234, 0x2a);
        assert_eq!((index.shard(), index.slot()), (0xab, 0x3_1234));
        assert_eq!(index.0 >> 26, 0x2a);
        assert_eq!(
            index.0.to_le_bytes()[0],
            0xab,
            "the filter reads this octet"
        );
        assert_eq!(Index::new(1, Index::SLOTS, 64), Index::new(1, 0, 0));
    }

    #[test]
    fn gives_out_each_slot_once_and_forgets_what_is_given_back() {
        let mut rng = Rng::from_seed(&[1; 32]);
        let mut table = IndexTable::new();
        let first: Vec<_> = (0..1000u32)
            .map(|owner| {
                table
                    .insert(u8::try_from(owner % 3).unwrap(), owner, &mut rng)
                    .unwrap()
            })
            .collect();
        for (owner, index) in (0..).zip(&first) {
            assert_eq!(table.get(*index), Some(owner));
            assert_eq!(u32::from(index.shard()), owner % 3);
        }
        for index in &first {
            table.remove(*index);
            table.remove(*index);
            assert_eq!(table.get(*index), None);
        }
        assert_eq!(table.len(), 0);
        for owner in 0..100_000u32 {
            let index = table.insert(0, owner, &mut rng).unwrap();
            assert_eq!(table.get(index), Some(owner));
            table.remove(index);
        }
        assert!(
            table.shards[0].slots.len() < 500,
            "slots are used again, so the table stays small"
        );
    }

    #[test]
    fn a_full_shard_gives_out_nothing() {
        let mut rng = Rng::from_seed(&[1; 32]);
        let mut table = IndexTable::new();
        for owner in 0..Index::SLOTS {
            assert!(table.insert(0, owner, &mut rng).is_some());
        }
        assert_eq!(table.insert(0, 0, &mut rng), None);
        assert!(table.insert(1, 0, &mut rng).is_some());
        let some = Index::new(0, 77, table.shards[0].slots[77].unwrap().0.0 >> 26);
        table.remove(some);
        assert_eq!(table.insert(0, 0, &mut rng).map(Index::slot), Some(77));
    }
}
