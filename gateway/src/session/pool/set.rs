//! All pools of a gateway.

use std::net::Ipv4Addr;
use std::sync::Arc;

use causeway_proto::aaa::Identity;

use super::{AddressPool, Lease, LeaseError, Pin, PoolConfig, PoolUsage};

/// The pools by name; the first is the one for users of whom nothing else is said.
#[derive(Clone, Debug)]
pub struct Pools {
    default: Arc<AddressPool>,
    others: Vec<Arc<AddressPool>>,
}

impl Pools {
    /// Makes a pool of each configuration.
    #[must_use]
    pub fn new(default: PoolConfig, others: Vec<PoolConfig>) -> Self {
        let make = |config| Arc::new(AddressPool::new(config));
        Self {
            default: make(default),
            others: others.into_iter().map(make).collect(),
        }
    }

    /// Gives out an address of the pool that `name` says, or exactly `want`.
    ///
    /// An address that was asked for comes from the pool whose network it is in, whatever `name` says, so that no two
    /// pools can give out the same one.
    ///
    /// # Errors
    ///
    /// When there is no such pool, no address is free, not the one that was asked for, or one had to be asked for.
    pub fn lease(
        &self,
        user: &Identity,
        device: Option<&str>,
        name: Option<&str>,
        want: Option<Ipv4Addr>,
    ) -> Result<Lease, LeaseError> {
        self.choose(name, want)?.lease(user, device, want)
    }

    /// Keeps an address for a device; the pool is chosen as for [`Self::lease`].
    ///
    /// # Errors
    ///
    /// As for [`Self::lease`].
    pub fn pin(
        &self,
        user: &Identity,
        device: &str,
        name: Option<&str>,
        want: Option<Ipv4Addr>,
    ) -> Result<Pin, LeaseError> {
        self.choose(name, want)?.pin(user, device, want)
    }

    fn choose(
        &self,
        name: Option<&str>,
        want: Option<Ipv4Addr>,
    ) -> Result<&Arc<AddressPool>, LeaseError> {
        let pool = match (want, name) {
            (Some(address), _) => self
                .all()
                .find(|pool| pool.config().contains(address))
                .ok_or(LeaseError::Outside(address))?,
            (None, Some(name)) => self
                .all()
                .find(|pool| pool.config().name() == name)
                .ok_or(LeaseError::UnknownPool)?,
            (None, None) => &self.default,
        };
        if want.is_none() && pool.config().is_framed_only() {
            return Err(LeaseError::FramedOnly);
        }
        Ok(pool)
    }

    /// Returns the pool for users of whom nothing else is said.
    #[must_use]
    pub const fn default_pool(&self) -> &Arc<AddressPool> {
        &self.default
    }

    /// Goes through the pools, the default first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<AddressPool>> {
        std::iter::once(&self.default).chain(&self.others)
    }

    /// Returns each pool's name and usage.
    #[must_use]
    pub fn usage(&self) -> Vec<(String, PoolUsage)> {
        self.all()
            .map(|pool| (pool.config().name().to_owned(), pool.usage()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    fn config(name: &str, network: &str) -> PoolConfig {
        let gateway = Ipv4Addr::new(10, 99, 0, 1);
        let networks = [network.parse().unwrap()];
        PoolConfig::new(name, &networks, &[], gateway, Duration::ZERO).unwrap()
    }

    #[test]
    fn two_pools_cannot_give_out_the_same_address() {
        let pools = Pools::new(
            config("users", "10.99.0.0/24"),
            vec![config("devices", "10.99.8.0/24")],
        );
        let alice = Identity::new(b"alice").unwrap();
        let device = pools.lease(&alice, None, Some("devices"), None).unwrap();
        assert_eq!(device.pool(), "devices");
        let address = device.address();
        for name in [None, Some("users"), Some("devices")] {
            assert_eq!(
                pools.lease(&alice, None, name, Some(address)).err(),
                Some(LeaseError::Taken(address))
            );
        }
        assert_eq!(
            pools.lease(&alice, None, Some("none"), None).err(),
            Some(LeaseError::UnknownPool)
        );
        assert_eq!(
            pools.lease(&alice, None, None, None).unwrap().pool(),
            "users"
        );
    }

    #[test]
    fn only_addresses_that_are_named_come_out_of_a_framed_pool() {
        let pools = Pools::new(
            config("users", "10.99.0.0/24"),
            vec![config("fixed", "10.99.8.0/30").framed_only()],
        );
        let alice = Identity::new(b"alice").unwrap();
        let lease = |name, address| pools.lease(&alice, None, name, address);
        let address = Ipv4Addr::new(10, 99, 8, 1);
        for name in [None, Some("users"), Some("fixed")] {
            let held = lease(name, Some(address)).unwrap();
            assert_eq!((held.address(), held.pool()), (address, "fixed"));
            let again = lease(name, Some(address)).err();
            assert_eq!(again, Some(LeaseError::Taken(address)));
        }
        assert_eq!(
            lease(Some("fixed"), None).err(),
            Some(LeaseError::FramedOnly)
        );
        assert_eq!(lease(None, None).unwrap().pool(), "users");
        for unusable in [
            Ipv4Addr::new(10, 99, 8, 0),
            Ipv4Addr::new(10, 99, 8, 3),
            Ipv4Addr::new(10, 99, 0, 1),
        ] {
            let refused = lease(None, Some(unusable)).err();
            assert_eq!(refused, Some(LeaseError::Unusable(unusable)));
        }
        let outside = Ipv4Addr::new(10, 99, 9, 1);
        assert_eq!(
            lease(None, Some(outside)).err(),
            Some(LeaseError::Outside(outside))
        );
    }
}
