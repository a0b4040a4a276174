//! Which addresses a pool has.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use thiserror::Error;

/// The checked settings of a pool.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolConfig {
    name: String,
    networks: Vec<Ipv4Net>,
    gateway: Ipv4Addr,
    sticky: Duration,
    /// Whether the authenticator has to name each address.
    framed_only: bool,
    /// Sorted, disjoint, inclusive, without anything that no client may have.
    usable: Vec<(u32, u32)>,
}

/// Why these settings make no pool.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum PoolConfigError {
    /// There is no network.
    #[error("pool {pool:?} has no IPv4 network")]
    NoNetwork {
        /// The pool.
        pool: String,
    },
    /// Two networks share addresses.
    #[error("{first} and {second} overlap")]
    Overlap {
        /// The one.
        first: Ipv4Net,
        /// The other.
        second: Ipv4Net,
    },
    /// The network holds addresses that no client can have.
    #[error("{network} holds {what} addresses")]
    NotForClients {
        /// The network.
        network: Ipv4Net,
        /// Which.
        what: &'static str,
    },
    /// Nothing is left after the exclusions.
    #[error("pool {pool:?} has no address left for a client")]
    Empty {
        /// The pool.
        pool: String,
    },
}

impl PoolConfig {
    /// Checks the settings; the network and broadcast addresses of each network, `exclude` and `gateway` are never
    /// given out. An address that nobody has had for `sticky` is forgotten; zero remembers nothing.
    ///
    /// # Errors
    ///
    /// When the networks overlap, hold addresses that are not for clients, or nothing is left.
    pub fn new(
        name: &str,
        networks: &[Ipv4Net],
        exclude: &[Ipv4Net],
        gateway: Ipv4Addr,
        sticky: Duration,
    ) -> Result<Self, PoolConfigError> {
        let networks: Vec<_> = networks.iter().map(Ipv4Net::trunc).collect();
        if networks.is_empty() {
            return Err(PoolConfigError::NoNetwork { pool: name.into() });
        }
        for (i, first) in networks.iter().enumerate() {
            if let Some(what) = not_for_clients(*first) {
                return Err(PoolConfigError::NotForClients {
                    network: *first,
                    what,
                });
            }
            for second in networks.iter().skip(i + 1) {
                if first.contains(second) || second.contains(first) {
                    return Err(PoolConfigError::Overlap {
                        first: *first,
                        second: *second,
                    });
                }
            }
        }
        let mut usable: Vec<(u32, u32)> = networks.iter().map(|net| hosts(*net)).collect();
        usable.sort_unstable();
        for net in exclude {
            subtract(
                &mut usable,
                u32::from(net.network()),
                u32::from(net.broadcast()),
            );
        }
        subtract(&mut usable, u32::from(gateway), u32::from(gateway));
        if usable.is_empty() {
            return Err(PoolConfigError::Empty { pool: name.into() });
        }
        Ok(Self {
            name: name.into(),
            networks,
            gateway,
            sticky,
            framed_only: false,
            usable,
        })
    }

    /// Makes a pool of it whose addresses nobody gets unless the authenticator names the address.
    #[must_use]
    pub fn framed_only(mut self) -> Self {
        self.framed_only = true;
        self
    }

    /// Returns whether the authenticator has to name each address.
    #[must_use]
    pub const fn is_framed_only(&self) -> bool {
        self.framed_only
    }

    /// Returns the first address of a network that a host may have: where the gateway itself lives.
    #[must_use]
    pub fn first_usable(network: Ipv4Net) -> Ipv4Addr {
        Ipv4Addr::from(hosts(network).0)
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the networks, for routes.
    #[must_use]
    pub fn networks(&self) -> &[Ipv4Net] {
        &self.networks
    }

    /// Returns whether an address lies in one of the networks.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.networks.iter().any(|net| net.contains(&address))
    }

    /// Returns whether a client could get one of these addresses.
    #[must_use]
    pub fn contains_any(&self, addresses: &[Ipv4Addr]) -> bool {
        addresses
            .iter()
            .any(|address| self.contains(*address) && !self.refuses(*address))
    }

    /// Returns the networks as first and last address, for the data plane.
    #[must_use]
    pub fn ranges(&self) -> Vec<(Ipv4Addr, Ipv4Addr)> {
        self.networks
            .iter()
            .map(|net| (net.network(), net.broadcast()))
            .collect()
    }

    /// Returns the gateway's own address.
    #[must_use]
    pub const fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// Returns for how long an address is remembered after its session.
    #[must_use]
    pub const fn sticky(&self) -> Duration {
        self.sticky
    }

    /// Returns how many clients fit.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.usable
            .iter()
            .map(|&(first, last)| u64::from(last) - u64::from(first) + 1)
            .sum()
    }

    pub(super) fn usable(&self) -> Vec<(u32, u32)> {
        self.usable.clone()
    }

    /// Returns whether no client may have this address, even when the authenticator names it.
    pub(super) fn refuses(&self, address: Ipv4Addr) -> bool {
        let special = address.is_unspecified()
            || address.is_loopback()
            || address.is_multicast()
            || address.is_link_local()
            || address.is_broadcast();
        let in_pool = self.contains(address);
        let number = u32::from(address);
        let usable = self
            .usable
            .iter()
            .any(|&(first, last)| (first..=last).contains(&number));
        special || address == self.gateway || (in_pool && !usable)
    }
}

/// Returns what makes a network unfit.
fn not_for_clients(network: Ipv4Net) -> Option<&'static str> {
    const NETS: [(Ipv4Addr, u8, &str); 5] = [
        (Ipv4Addr::UNSPECIFIED, 8, "unspecified"),
        (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
        (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
        (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
        (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
    ];
    NETS.iter().find_map(|&(base, length, what)| {
        let net = Ipv4Net::new(base, length).ok()?;
        (net.contains(&network) || network.contains(&net)).then_some(what)
    })
}

/// Returns the first and last address for hosts; both ends of a /31 are (RFC 3021 §2.1), and the one of a /32.
fn hosts(network: Ipv4Net) -> (u32, u32) {
    let (first, last) = (u32::from(network.network()), u32::from(network.broadcast()));
    if network.prefix_len() >= 31 {
        (first, last)
    } else {
        (first + 1, last - 1)
    }
}

/// Takes `first..=last` out of sorted, disjoint ranges.
fn subtract(ranges: &mut Vec<(u32, u32)>, first: u32, last: u32) {
    let mut left = Vec::with_capacity(ranges.len() + 1);
    for &(low, high) in &*ranges {
        if last < low || high < first {
            left.push((low, high));
            continue;
        }
        if low < first {
            left.push((low, first - 1));
        }
        if last < high {
            left.push((last + 1, high));
        }
    }
    *ranges = left;
}
