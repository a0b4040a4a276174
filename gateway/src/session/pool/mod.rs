//! Inner addresses: each held by at most one session, given back exactly once, and the same again for the same client.
//!
//! Order of choice: the address that this user and device had last; else one that nobody has had yet, from the lowest
//! up; else the one that has been free for longest; else the remembered address that would be forgotten first. So an
//! address rests for as long as the pool allows before a stranger gets it.

mod config;
mod ledger;
mod set;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use causeway_proto::aaa::Identity;
use metrics::{Counter, Gauge};
use thiserror::Error;

pub use config::{PoolConfig, PoolConfigError};
pub use set::Pools;

use ledger::{Holder, Ledger};

/// Why no address was given.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum LeaseError {
    /// Every address is in use.
    #[error("no address of the pool is free")]
    Exhausted,
    /// The address that was asked for belongs to another session.
    #[error("{0} is in use by another session")]
    Taken(Ipv4Addr),
    /// The address that was asked for is the gateway's, a network's or a broadcast address, or excluded.
    #[error("{0} cannot be given to a client")]
    Unusable(Ipv4Addr),
    /// No pool has the address that was asked for, so it has no route to the gateway.
    #[error("{0} is in no pool")]
    Outside(Ipv4Addr),
    /// The authenticator names each address of the pool, and has named none.
    #[error("the pool gives out only addresses that the authenticator names")]
    FramedOnly,
    /// There is no pool of the name that the authenticator gave.
    #[error("there is no pool of that name")]
    UnknownPool,
}

/// How many addresses are in which state.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PoolUsage {
    /// Held by a session (an address outside of the pool, given by name, counts too).
    pub used: u64,
    /// Free for anybody.
    pub free: u64,
    /// Free, but kept for the client that had it, or pinned by a device that has no session.
    pub reserved: u64,
}

/// A pool of addresses.
pub struct AddressPool {
    config: PoolConfig,
    clock: Box<dyn Fn() -> Instant + Send + Sync>,
    /// Taken once a log-in and once at its end, never by a packet.
    ledger: Mutex<Ledger>,
    gauges: Gauges,
}

/// The pool's series.
struct Gauges {
    used: Gauge,
    free: Gauge,
    reserved: Gauge,
    exhausted: Counter,
}

impl AddressPool {
    /// Makes a pool with nothing given out.
    #[must_use]
    pub fn new(config: PoolConfig) -> Self {
        Self::with_clock(config, Instant::now)
    }

    /// Makes a pool that reads the time from `clock`.
    pub fn with_clock(
        config: PoolConfig,
        clock: impl Fn() -> Instant + Send + Sync + 'static,
    ) -> Self {
        let name = config.name().to_owned();
        let gauge = |state: &'static str| metrics::gauge!("causeway_pool_addresses", "pool" => name.clone(), "state" => state);
        let pool = Self {
            ledger: Mutex::new(Ledger::new(config.usable(), config.sticky())),
            gauges: Gauges {
                used: gauge("used"),
                free: gauge("free"),
                reserved: gauge("reserved"),
                exhausted: metrics::counter!("causeway_pool_exhausted_total", "pool" => name.clone()),
            },
            clock: Box::new(clock),
            config,
        };
        pool.gauges.show(pool.usage());
        pool
    }

    /// Gives out an address: `want` if the authenticator named one, else one of the pool.
    ///
    /// `device` tells the devices of one user apart; without it the user alone is what an address is remembered for.
    ///
    /// # Errors
    ///
    /// When no address is free, or not the one that was asked for.
    pub fn lease(
        self: &Arc<Self>,
        user: &Identity,
        device: Option<&str>,
        want: Option<Ipv4Addr>,
    ) -> Result<Lease, LeaseError> {
        let address = self.change(|ledger, now| {
            let holder = Holder::new(user, device);
            match want {
                Some(address) if self.config.refuses(address) => Err(LeaseError::Unusable(address)),
                Some(address) => ledger.take_fixed(now, holder, address),
                None => ledger.take(now, holder),
            }
        })?;
        Ok(Lease {
            pool: Arc::clone(self),
            address,
        })
    }

    /// Keeps an address for a device, `want` if one is named, whether the device has a session or not.
    ///
    /// # Errors
    ///
    /// As for [`Self::lease`].
    pub fn pin(
        self: &Arc<Self>,
        user: &Identity,
        device: &str,
        want: Option<Ipv4Addr>,
    ) -> Result<Pin, LeaseError> {
        let address = self.change(|ledger, now| {
            let holder = Holder::new(user, Some(device));
            let address = match want {
                Some(address) if self.config.refuses(address) => {
                    return Err(LeaseError::Unusable(address));
                }
                // Two devices have two addresses, even those of one user.
                Some(address) if ledger.is_pinned(address) => {
                    return Err(LeaseError::Taken(address));
                }
                Some(address) => ledger.take_fixed(now, holder, address)?,
                None => ledger.take(now, holder)?,
            };
            ledger.pin(address);
            Ok(address)
        })?;
        Ok(Pin {
            pool: Arc::clone(self),
            address,
            released: AtomicBool::new(false),
        })
    }

    /// Returns how many addresses are in which state.
    #[must_use]
    pub fn usage(&self) -> PoolUsage {
        let now = (self.clock)();
        self.ledger().usage(now)
    }

    /// Returns what the pool was made from.
    #[must_use]
    pub const fn config(&self) -> &PoolConfig {
        &self.config
    }

    /// Changes the books, and shows what they say then.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Ledger, Instant) -> Result<T, LeaseError>,
    ) -> Result<T, LeaseError> {
        let now = (self.clock)();
        let mut ledger = self.ledger();
        let outcome = change(&mut ledger, now);
        let usage = ledger.usage(now);
        drop(ledger);
        if matches!(outcome, Err(LeaseError::Exhausted)) {
            self.gauges.exhausted.increment(1);
        }
        self.gauges.show(usage);
        outcome
    }

    fn give_back(&self, address: Ipv4Addr, give: impl FnOnce(&mut Ledger, Instant, Ipv4Addr)) {
        let now = (self.clock)();
        let mut ledger = self.ledger();
        give(&mut ledger, now, address);
        let usage = ledger.usage(now);
        drop(ledger);
        self.gauges.show(usage);
    }

    /// No step leaves the ledger half-changed, so one that a panic left locked is still good.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for AddressPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AddressPool")
            .field("name", &self.config.name())
            .field("usage", &self.usage())
            .finish_non_exhaustive()
    }
}

impl Gauges {
    fn show(&self, usage: PoolUsage) {
        // A gauge is a float; a pool has at most 2^32 addresses, which a float holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "at most 2^32")]
        let float = |n: u64| n as f64;
        self.used.set(float(usage.used));
        self.free.set(float(usage.free));
        self.reserved.set(float(usage.reserved));
    }
}

/// An address in use; it returns to its pool when dropped.
#[derive(Debug)]
#[must_use]
pub struct Lease {
    pool: Arc<AddressPool>,
    address: Ipv4Addr,
}

impl Lease {
    /// Returns the client's address.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Returns the gateway's address on the same link.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        self.pool.config.gateway()
    }

    /// Returns the name of the pool.
    #[must_use]
    pub fn pool(&self) -> &str {
        self.pool.config.name()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.give_back(self.address, Ledger::give_back);
    }
}

/// An address that is kept for a device until it is released or dropped; then it returns to its pool as soon as no session
/// has it.
#[derive(Debug)]
#[must_use]
pub struct Pin {
    pool: Arc<AddressPool>,
    address: Ipv4Addr,
    /// Changed while the ledger is held.
    released: AtomicBool,
}

impl Pin {
    /// Returns the device's address.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Returns the name of the pool.
    #[must_use]
    pub fn pool(&self) -> &str {
        self.pool.config.name()
    }

    /// Lends the address to a session.
    ///
    /// # Errors
    ///
    /// [`LeaseError::Taken`] when another session has it, or the pin has been released.
    pub fn lease(&self) -> Result<Lease, LeaseError> {
        let address = self.pool.change(|ledger, _| {
            if self.released.load(Ordering::Relaxed) {
                return Err(LeaseError::Taken(self.address));
            }
            ledger.take_pinned(self.address)
        })?;
        Ok(Lease {
            pool: Arc::clone(&self.pool),
            address,
        })
    }

    /// Lets go of the address, whoever else has this pin; a session that has the address keeps it to its end.
    pub fn release(&self) {
        self.pool.give_back(self.address, |ledger, now, address| {
            if !self.released.swap(true, Ordering::Relaxed) {
                ledger.unpin(now, address);
            }
        });
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.release();
    }
}
