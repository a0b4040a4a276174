//! Packets that wait for a key: a device that was silent for three minutes has none, and answers a handshake in one round
//! trip if it is awake. What comes meanwhile must not be lost, or the call that wakes it would be.
//!
//! Bounded in number for each session, in octets for all of them, and in time: what is late is worth less than its room.

use std::collections::VecDeque;

use crate::dataplane::slots::Slot;

/// How many packets wait for one session's key.
const PACKETS: usize = 128;
/// How long they do: two tries of a handshake.
const PATIENCE_US: u64 = 10_000_000;
/// The octets that may wait for all sessions.
const OCTETS: usize = 8 << 20;
/// How often late ones are looked for while any wait.
const SWEEP_US: u64 = 1_000_000;

/// The packets that wait for one session's key.
#[derive(Debug, Default)]
pub(crate) struct Held {
    packets: VecDeque<(u64, Box<[u8]>)>,
}

/// What waits in all sessions.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    octets: usize,
    /// Sessions that may have something that waits.
    slots: Vec<Slot>,
    sweep_us: u64,
}

impl Waiting {
    /// Returns how long nothing has to be looked for; `None` when nothing waits.
    pub(crate) fn until_sweep_us(&self, now_us: u64) -> Option<u64> {
        (!self.slots.is_empty()).then(|| self.sweep_us.saturating_sub(now_us))
    }

    /// Takes the sessions to be looked through, if it is time to.
    pub(crate) fn due(&mut self, now_us: u64) -> Vec<Slot> {
        if self.slots.is_empty() || now_us < self.sweep_us {
            return Vec::new();
        }
        self.sweep_us = now_us + SWEEP_US;
        let mut slots = std::mem::take(&mut self.slots);
        // A session comes in again each time it has nothing and then something.
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// Puts a session back that still has something.
    pub(crate) fn keep(&mut self, slot: Slot) {
        self.slots.push(slot);
    }
}

impl Held {
    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Returns whether there is room for a packet of `len` octets.
    pub(crate) fn has_room(&self, waiting: &Waiting, len: usize) -> bool {
        self.packets.len() < PACKETS && waiting.octets + len <= OCTETS
    }

    /// Keeps a packet; returns whether there was room for it.
    pub(crate) fn push(
        &mut self,
        waiting: &mut Waiting,
        now_us: u64,
        slot: Slot,
        packet: Box<[u8]>,
    ) -> bool {
        if !self.has_room(waiting, packet.len()) {
            return false;
        }
        if waiting.slots.is_empty() {
            waiting.sweep_us = now_us + SWEEP_US;
        }
        if self.packets.is_empty() {
            waiting.slots.push(slot);
        }
        waiting.octets += packet.len();
        self.packets.push_back((now_us, packet));
        true
    }

    /// Takes the oldest.
    pub(crate) fn pop(&mut self, waiting: &mut Waiting) -> Option<Box<[u8]>> {
        let (_, packet) = self.packets.pop_front()?;
        waiting.octets = waiting.octets.saturating_sub(packet.len());
        Some(packet)
    }

    /// Drops what is late and returns how many that were.
    pub(crate) fn expire(&mut self, waiting: &mut Waiting, now_us: u64) -> u64 {
        let mut late = 0;
        while let Some((since_us, _)) = self.packets.front()
            && now_us.saturating_sub(*since_us) >= PATIENCE_US
        {
            self.pop(waiting);
            late += 1;
        }
        late
    }

    /// Drops everything and returns how many packets that were.
    pub(crate) fn clear(&mut self, waiting: &mut Waiting) -> u64 {
        let mut dropped = 0;
        while self.pop(waiting).is_some() {
            dropped += 1;
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::slots::Table;

    fn packet(number: u8) -> Box<[u8]> {
        Box::new([number; 100])
    }

    #[test]
    fn packets_come_out_in_order_and_late_ones_not_at_all() {
        let slot = Table::default().insert(());
        let (mut waiting, mut held) = (Waiting::default(), Held::default());
        assert_eq!(waiting.until_sweep_us(0), None);
        assert!(held.push(&mut waiting, 5, slot, packet(1)));
        assert!(held.push(&mut waiting, 6, slot, packet(2)));
        assert!(held.push(&mut waiting, 7, slot, packet(3)));
        assert_eq!((waiting.octets, waiting.slots.len()), (300, 1));
        assert_eq!(waiting.until_sweep_us(5), Some(SWEEP_US));
        assert!(waiting.due(6).is_empty());
        assert_eq!(waiting.due(5 + SWEEP_US), [slot]);
        assert_eq!(held.expire(&mut waiting, 5 + PATIENCE_US), 1);
        waiting.keep(slot);
        assert_eq!(held.pop(&mut waiting).as_deref(), Some(&[2; 100][..]));
        assert_eq!(held.clear(&mut waiting), 1);
        assert_eq!(waiting.octets, 0);
        assert!(held.is_empty());
    }

    #[test]
    fn one_session_holds_so_many_and_all_of_them_so_much() {
        let mut table = Table::default();
        let mut waiting = Waiting::default();
        let mut one = Held::default();
        let slot = table.insert(());
        let taken = (0..200_u8).filter(|n| one.push(&mut waiting, 1, slot, packet(*n)));
        assert_eq!(taken.count(), PACKETS);
        let large = || vec![0; 60_000].into_boxed_slice();
        let mut many = Vec::new();
        for _ in 0..10 {
            let (slot, mut held) = (table.insert(()), Held::default());
            while held.push(&mut waiting, 1, slot, large()) {}
            many.push(held);
        }
        assert!(waiting.octets <= OCTETS && waiting.octets + 60_000 > OCTETS);
        assert!(many[9].is_empty());
        // Whoever ends makes room.
        assert_eq!(many[0].clear(&mut waiting), PACKETS as u64);
        assert!(many[9].push(&mut waiting, 1, slot, large()));
    }
}
