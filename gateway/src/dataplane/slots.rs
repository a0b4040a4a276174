//! From an inner address to the session that has it: an array read for the addresses of the pools.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// A place in a table of sessions; its own thread hands it out.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Slot(u32);

impl Slot {
    const NONE: u32 = u32::MAX;

    /// Returns the number that an event carries.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0 as u64
    }

    /// Returns the slot of an event's number.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        u32::try_from(number)
            .ok()
            .filter(|number| *number != Self::NONE)
            .map(Self)
    }
}

/// Values in slots, which are used again after they have come free.
#[derive(Debug)]
pub struct Table<T> {
    values: Vec<Option<T>>,
    free: Vec<Slot>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Table<T> {
    /// Stores `value` and returns its slot.
    pub fn insert(&mut self, value: T) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.values[slot.0 as usize] = Some(value);
            return slot;
        }
        // Four thousand million sessions do not fit into any memory.
        let slot = Slot(u32::try_from(self.values.len()).unwrap_or(Slot::NONE - 1));
        self.values.push(Some(value));
        slot
    }

    /// Takes the value out of its slot.
    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        let value = self.values.get_mut(slot.0 as usize)?.take();
        if value.is_some() {
            self.free.push(slot);
        }
        value
    }

    /// Returns the value in `slot`.
    #[inline]
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.values.get_mut(slot.0 as usize)?.as_mut()
    }

    /// Returns the slots that hold something.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        (0_u32..)
            .zip(&self.values)
            .filter(|(_, value)| value.is_some())
            .map(|(number, _)| Slot(number))
    }
}

/// Which slot has which address.
#[derive(Debug)]
pub struct Routes {
    ranges: Vec<Range>,
    /// Addresses outside of the pools, such as fixed ones from RADIUS.
    others: BTreeMap<u32, Slot>,
    /// Networks behind clients by their first address, with the last one; none overlaps another.
    networks: BTreeMap<u32, (u32, Slot)>,
}

#[derive(Debug)]
struct Range {
    first: u32,
    slots: Vec<u32>,
}

/// Ranges longer than this would waste memory on an array.
const MAX_RANGE: u32 = 1 << 20;

impl Routes {
    /// Makes the arrays for `pools`, each from its first to its last address.
    #[must_use]
    pub fn new(pools: &[(Ipv4Addr, Ipv4Addr)]) -> Self {
        let ranges = pools
            .iter()
            .filter_map(|(first, last)| {
                let first = first.to_bits();
                let span = last.to_bits().checked_sub(first)?;
                (span < MAX_RANGE).then(|| Range {
                    first,
                    slots: vec![Slot::NONE; span as usize + 1],
                })
            })
            .collect();
        Self {
            ranges,
            others: BTreeMap::new(),
            networks: BTreeMap::new(),
        }
    }

    /// Returns the slot of `address`.
    #[inline]
    #[must_use]
    pub fn get(&self, address: Ipv4Addr) -> Option<Slot> {
        let address = address.to_bits();
        for range in &self.ranges {
            let offset = address.wrapping_sub(range.first) as usize;
            if let Some(number) = range.slots.get(offset) {
                return (*number != Slot::NONE).then_some(Slot(*number));
            }
        }
        self.others.get(&address).copied().or_else(|| {
            let (_, (last, slot)) = self.networks.range(..=address).next_back()?;
            (address <= *last).then_some(*slot)
        })
    }

    /// Gives a network to `slot`; a former owner has it no longer.
    pub fn set_network(&mut self, network: Ipv4Net, slot: Slot) {
        let last = network.broadcast().to_bits();
        self.networks
            .insert(network.network().to_bits(), (last, slot));
    }

    /// Takes a network away from `slot`, unless another one has it by now.
    pub fn clear_network(&mut self, network: Ipv4Net, slot: Slot) {
        let first = network.network().to_bits();
        if self
            .networks
            .get(&first)
            .is_some_and(|(_, owner)| *owner == slot)
        {
            self.networks.remove(&first);
        }
    }

    /// Gives `address` to `slot`; a former owner has it no longer.
    pub fn set(&mut self, address: Ipv4Addr, slot: Slot) {
        let address = address.to_bits();
        if let Some(place) = self.place(address) {
            *place = slot.0;
        } else {
            self.others.insert(address, slot);
        }
    }

    /// Takes `address` away from `slot`, unless another one has it by now.
    pub fn clear(&mut self, address: Ipv4Addr, slot: Slot) {
        if self.get(address) != Some(slot) {
            return;
        }
        let address = address.to_bits();
        if let Some(place) = self.place(address) {
            *place = Slot::NONE;
        } else {
            self.others.remove(&address);
        }
    }

    fn place(&mut self, address: u32) -> Option<&mut u32> {
        self.ranges.iter_mut().find_map(|range| {
            let offset = address.wrapping_sub(range.first) as usize;
            range.slots.get_mut(offset)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 8, 0, last)
    }

    #[test]
    fn finds_addresses_inside_and_outside_of_the_pools() {
        let mut table = Table::default();
        let mut routes = Routes::new(&[(ip(10), ip(20)), (ip(40), ip(40)), (ip(9), ip(3))]);
        let outside = Ipv4Addr::new(172, 16, 0, 1);
        for address in [ip(10), ip(20), ip(40), outside] {
            assert_eq!(routes.get(address), None);
            let slot = table.insert(address);
            routes.set(address, slot);
            assert_eq!(routes.get(address), Some(slot));
        }
        for address in [ip(9), ip(21), ip(39), ip(41), Ipv4Addr::UNSPECIFIED] {
            assert_eq!(routes.get(address), None);
        }
        let slot = routes.get(outside).unwrap();
        routes.clear(outside, slot);
        assert_eq!(routes.get(outside), None);
    }

    #[test]
    fn networks_are_found_by_each_of_their_addresses() {
        let net = |text: &str| -> Ipv4Net { text.parse().unwrap() };
        let mut table = Table::default();
        let mut routes = Routes::new(&[(ip(10), ip(20))]);
        let (a, b) = (table.insert("a"), table.insert("b"));
        routes.set_network(net("192.168.7.0/24"), a);
        routes.set_network(net("192.168.9.0/30"), b);
        let get = |routes: &Routes, text: &str| routes.get(text.parse().unwrap());
        for (address, slot) in [
            ("192.168.7.0", Some(a)),
            ("192.168.7.255", Some(a)),
            ("192.168.9.3", Some(b)),
            ("192.168.9.4", None),
            ("192.168.8.1", None),
            ("192.168.6.255", None),
            ("10.8.0.10", None),
        ] {
            assert_eq!(get(&routes, address), slot, "{address}");
        }
        routes.clear_network(net("192.168.7.0/24"), b);
        assert_eq!(get(&routes, "192.168.7.7"), Some(a));
        routes.clear_network(net("192.168.7.0/24"), a);
        assert_eq!(get(&routes, "192.168.7.7"), None);
    }

    #[test]
    fn only_the_owner_can_give_an_address_back() {
        let mut table = Table::default();
        let mut routes = Routes::new(&[(ip(1), ip(5))]);
        let (old, new) = (table.insert("old"), table.insert("new"));
        routes.set(ip(2), old);
        routes.set(ip(2), new);
        routes.clear(ip(2), old);
        assert_eq!(routes.get(ip(2)), Some(new));
        routes.clear(ip(2), new);
        assert_eq!(routes.get(ip(2)), None);
    }

    #[test]
    fn slots_are_used_again() {
        let mut table = Table::default();
        let (a, b) = (table.insert('a'), table.insert('b'));
        assert_eq!(table.remove(a), Some('a'));
        assert_eq!(table.remove(a), None);
        assert_eq!(table.insert('c'), a);
        assert_eq!(table.get_mut(b), Some(&mut 'b'));
        assert_eq!(table.slots().collect::<Vec<_>>(), [a, b]);
        assert_eq!(Slot::from_number(b.number()), Some(b));
        assert_eq!(Slot::from_number(u64::MAX), None);
    }
}
