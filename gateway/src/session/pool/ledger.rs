//! Which address is whose.
//!
//! An address is one of: in use, pinned (kept for a device whether it has a session or not), remembered (free but kept),
//! resting (free, has been used), fresh (free, never used).
//! Fresh addresses are not listed: a cursor walks over them, so a pool of a /8 costs nothing until it is used.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_proto::aaa::Identity;

use super::{LeaseError, PoolUsage};

/// What an address is remembered for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Holder {
    /// Lower-case, because authenticators take `Alice` and `alice` for one.
    user: Arc<[u8]>,
    device: Option<Arc<str>>,
}

impl Holder {
    pub(super) fn new(user: &Identity, device: Option<&str>) -> Self {
        Self {
            user: user.as_bytes().to_ascii_lowercase().into(),
            device: device.map(Arc::from),
        }
    }
}

/// Where a pinned address stands; [`Ledger::used`] says whose it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Pinned {
    /// No session has it.
    Idle,
    /// A session has it, and will give it back to the pin.
    Leased,
    /// A session has it, and the pin is gone.
    Orphaned,
}

/// The books of a pool.
#[derive(Debug)]
pub(super) struct Ledger {
    usable: Vec<(u32, u32)>,
    size: u64,
    sticky: Duration,
    /// Every address in use, the pool's and others that the authenticator named.
    used: HashMap<u32, Holder>,
    used_outside: u64,
    /// Those of `used` that are pinned.
    pins: HashMap<u32, Pinned>,
    /// How many pins no session has.
    idle: u64,
    /// The address that a client had last, whether in use or not.
    memory: HashMap<Holder, u32>,
    /// Addresses that are free but kept, by the time at which they are forgotten.
    kept: BTreeSet<(Instant, u32)>,
    kept_by_address: HashMap<u32, (Instant, Holder)>,
    /// Free addresses that were in use once, the longest rested first.
    resting: BTreeMap<u64, u32>,
    resting_since: HashMap<u32, u64>,
    /// Counts the addresses that went to rest.
    turn: u64,
    /// The range and the number in it of the next fresh address.
    cursor: Option<(usize, u32)>,
}

impl Ledger {
    pub(super) fn new(usable: Vec<(u32, u32)>, sticky: Duration) -> Self {
        let size = usable
            .iter()
            .map(|&(first, last)| u64::from(last) - u64::from(first) + 1)
            .sum();
        let cursor = usable.first().map(|&(first, _)| (0, first));
        Self {
            usable,
            size,
            sticky,
            used: HashMap::new(),
            used_outside: 0,
            pins: HashMap::new(),
            idle: 0,
            memory: HashMap::new(),
            kept: BTreeSet::new(),
            kept_by_address: HashMap::new(),
            resting: BTreeMap::new(),
            resting_since: HashMap::new(),
            turn: 0,
            cursor,
        }
    }

    pub(super) fn take(&mut self, now: Instant, holder: Holder) -> Result<Ipv4Addr, LeaseError> {
        self.forget_expired(now);
        let number = self
            .remembered(&holder)
            .or_else(|| self.next_fresh())
            .or_else(|| self.longest_rested())
            .or_else(|| self.kept.first().map(|&(_, number)| number))
            .ok_or(LeaseError::Exhausted)?;
        self.occupy(number, holder);
        Ok(Ipv4Addr::from(number))
    }

    pub(super) fn take_fixed(
        &mut self,
        now: Instant,
        holder: Holder,
        address: Ipv4Addr,
    ) -> Result<Ipv4Addr, LeaseError> {
        self.forget_expired(now);
        let number = u32::from(address);
        // Their own address is not taken for users whose device has it and is not there.
        let own = self.used.get(&number).map(|of| of.user == holder.user);
        match own {
            Some(true) => return self.take_pinned(address),
            Some(false) => return Err(LeaseError::Taken(address)),
            None => self.occupy(number, holder),
        }
        Ok(address)
    }

    /// Keeps an address that was just taken for as long as [`Self::unpin`] is not called.
    pub(super) fn pin(&mut self, address: Ipv4Addr) {
        self.pins.insert(u32::from(address), Pinned::Idle);
        self.idle += 1;
    }

    pub(super) fn is_pinned(&self, address: Ipv4Addr) -> bool {
        self.pins.contains_key(&u32::from(address))
    }

    /// Takes a pinned address for a session.
    pub(super) fn take_pinned(&mut self, address: Ipv4Addr) -> Result<Ipv4Addr, LeaseError> {
        match self.pins.get_mut(&u32::from(address)) {
            Some(pin @ Pinned::Idle) => {
                *pin = Pinned::Leased;
                self.idle -= 1;
                Ok(address)
            }
            Some(Pinned::Leased | Pinned::Orphaned) | None => Err(LeaseError::Taken(address)),
        }
    }

    /// Lets go of a pin; a session that has the address keeps it to its end.
    pub(super) fn unpin(&mut self, now: Instant, address: Ipv4Addr) {
        let number = u32::from(address);
        match self.pins.get_mut(&number) {
            Some(Pinned::Idle) => {
                self.pins.remove(&number);
                self.idle -= 1;
                self.release(now, address);
            }
            Some(pin) => *pin = Pinned::Orphaned,
            None => debug_assert!(false, "{address} was not pinned"),
        }
    }

    /// Takes an address back from a session.
    pub(super) fn give_back(&mut self, now: Instant, address: Ipv4Addr) {
        let number = u32::from(address);
        if let Some(pin @ Pinned::Leased) = self.pins.get_mut(&number) {
            *pin = Pinned::Idle;
            self.idle += 1;
            return;
        }
        self.pins.remove(&number);
        self.release(now, address);
    }

    fn release(&mut self, now: Instant, address: Ipv4Addr) {
        self.forget_expired(now);
        let number = u32::from(address);
        let Some(holder) = self.used.remove(&number) else {
            debug_assert!(false, "{address} was given back twice");
            return;
        };
        if !self.is_ours(number) {
            self.used_outside = self.used_outside.saturating_sub(1);
            return;
        }
        let forgotten_at = now.checked_add(self.sticky);
        match forgotten_at {
            Some(at) if !self.sticky.is_zero() && self.memory.get(&holder) == Some(&number) => {
                self.kept.insert((at, number));
                self.kept_by_address.insert(number, (at, holder));
            }
            Some(_) | None => {
                if self.memory.get(&holder) == Some(&number) {
                    self.memory.remove(&holder);
                }
                self.rest(number);
            }
        }
    }

    /// Counts as of now: what has expired counts as free although nobody has tidied up yet.
    pub(super) fn usage(&mut self, now: Instant) -> PoolUsage {
        self.forget_expired(now);
        let used = u64::try_from(self.used.len()).unwrap_or(u64::MAX);
        let kept = u64::try_from(self.kept.len()).unwrap_or(u64::MAX);
        PoolUsage {
            used: used - self.idle,
            reserved: kept + self.idle,
            free: self.size - (used - self.used_outside) - kept,
        }
    }

    /// The address that this client had last, unless it is in use (a second session of the same client).
    fn remembered(&self, holder: &Holder) -> Option<u32> {
        let number = *self.memory.get(holder)?;
        (!self.used.contains_key(&number)).then_some(number)
    }

    fn next_fresh(&mut self) -> Option<u32> {
        while let Some((range, number)) = self.cursor {
            let &(_, last) = self.usable.get(range)?;
            self.cursor = if number < last {
                Some((range, number + 1))
            } else {
                self.usable
                    .get(range + 1)
                    .map(|&(first, _)| (range + 1, first))
            };
            let was_named = self.used.contains_key(&number)
                || self.kept_by_address.contains_key(&number)
                || self.resting_since.contains_key(&number);
            if !was_named {
                return Some(number);
            }
        }
        None
    }

    fn longest_rested(&self) -> Option<u32> {
        self.resting.first_key_value().map(|(_, &number)| number)
    }

    fn rest(&mut self, number: u32) {
        self.turn += 1;
        self.resting.insert(self.turn, number);
        self.resting_since.insert(number, self.turn);
    }

    fn occupy(&mut self, number: u32, holder: Holder) {
        if let Some(turn) = self.resting_since.remove(&number) {
            self.resting.remove(&turn);
        }
        if let Some((at, owner)) = self.kept_by_address.remove(&number) {
            self.kept.remove(&(at, number));
            if owner != holder {
                self.memory.remove(&owner);
            }
        }
        if !self.is_ours(number) {
            self.used_outside += 1;
        } else if !self.second_of(&holder) {
            self.move_memory(&holder, number);
        }
        self.used.insert(number, holder);
    }

    /// Returns whether the remembered address of this client is in use now.
    fn second_of(&self, holder: &Holder) -> bool {
        self.memory
            .get(holder)
            .is_some_and(|number| self.used.contains_key(number))
    }

    /// Remembers `number` for this client, and lets go of what it had before.
    fn move_memory(&mut self, holder: &Holder, number: u32) {
        let Some(former) = self.memory.insert(holder.clone(), number) else {
            return;
        };
        if former != number
            && let Some((at, _)) = self.kept_by_address.remove(&former)
        {
            self.kept.remove(&(at, former));
            self.rest(former);
        }
    }

    fn forget_expired(&mut self, now: Instant) {
        while let Some(&(at, number)) = self.kept.first() {
            if at > now {
                return;
            }
            self.kept.remove(&(at, number));
            if let Some((_, owner)) = self.kept_by_address.remove(&number) {
                self.memory.remove(&owner);
            }
            self.rest(number);
        }
    }

    fn is_ours(&self, number: u32) -> bool {
        self.usable
            .iter()
            .any(|&(first, last)| (first..=last).contains(&number))
    }
}
