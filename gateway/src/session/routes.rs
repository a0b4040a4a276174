//! Networks behind clients (`Framed-Route`, RFC 2865 §5.22): which session has which.
//!
//! A network is a session's from its admission to the drop of its guard; no two sessions' overlap, and none overlaps
//! what the gateway itself is in. The kernel routes it to the TUN for as long, where the gateway sees to routes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use causeway_proto::aaa::FramedRoute;
use ipnet::Ipv4Net;
use thiserror::Error;

use crate::os::netlink::{self, NetlinkError, Router};

/// How many networks one session may have.
const MAX_ROUTES: usize = 16;

/// Why a session does not get the networks that the authenticator names.
#[derive(Debug, Error)]
pub enum RouteError {
    /// More than anybody has behind one client.
    #[error("{0} networks, and a session has 16 at most")]
    TooMany(usize),
    /// The next hop is not the client.
    #[error("{network} by way of {gateway}, which is not the client")]
    Gateway {
        /// The network.
        network: Ipv4Net,
        /// The next hop.
        gateway: Ipv4Addr,
    },
    /// The configuration does not allow it.
    #[error("{0} is not in `radius.framed_routes`")]
    NotAllowed(Ipv4Net),
    /// It would take packets away from the gateway itself.
    #[error("{network} overlaps {with}, which is {what}")]
    Own {
        /// The network.
        network: Ipv4Net,
        /// What it overlaps.
        with: Ipv4Net,
        /// Whose that is.
        what: &'static str,
    },
    /// Another session has it, or a part of it.
    #[error("{network} overlaps {with}, which another session has")]
    Taken {
        /// The network.
        network: Ipv4Net,
        /// What it overlaps.
        with: Ipv4Net,
    },
    /// The kernel does not take the route.
    #[error("the kernel does not route {network} to the TUN: {source}")]
    Kernel {
        /// The network.
        network: Ipv4Net,
        /// Why.
        source: NetlinkError,
    },
}

/// The book.
#[derive(Debug)]
pub struct RouteBook {
    allowed: Vec<Ipv4Net>,
    /// What no client may have, whatever is allowed.
    own: Vec<(Ipv4Net, &'static str)>,
    /// Tells the kernel; `None` where somebody else sees to routes.
    router: Option<Router>,
    /// By first address; taken once a log-in and once at its end, never by a packet.
    held: Mutex<BTreeMap<Ipv4Addr, Ipv4Net>>,
}

/// What is never behind a client: this network, loopback, link-local, multicast and reserved addresses.
const NOWHERE: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

impl RouteBook {
    /// Makes a book in which nothing is held. `allowed` are the networks in which routes may lie; `pools` those that the
    /// gateway gives addresses of; `servers` hosts that it must reach.
    #[must_use]
    pub fn new(
        allowed: Vec<Ipv4Net>,
        pools: Vec<Ipv4Net>,
        servers: Vec<IpAddr>,
        router: Option<Router>,
    ) -> Self {
        let nowhere = NOWHERE
            .iter()
            .filter_map(|(address, prefix)| Ipv4Net::new(*address, *prefix).ok())
            .map(|network| (network, "no host's"));
        let pools = pools.into_iter().map(|network| (network, "a pool"));
        let servers = servers.into_iter().filter_map(|address| match address {
            IpAddr::V4(address) => Some((Ipv4Net::from(address), "a server's address")),
            IpAddr::V6(_) => None,
        });
        Self {
            allowed,
            own: nowhere.chain(pools).chain(servers).collect(),
            router,
            held: Mutex::default(),
        }
    }

    /// Returns whether routes are honoured at all.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !self.allowed.is_empty()
    }

    /// Gives a session its networks: all of them or none. `client` is its inner address, `remote` its outer one.
    ///
    /// # Errors
    ///
    /// When one of them cannot be the session's.
    pub async fn take(
        self: &Arc<Self>,
        routes: &[FramedRoute],
        client: Ipv4Addr,
        remote: IpAddr,
    ) -> Result<RouteLease, RouteError> {
        let own = netlink::own_networks();
        let mut lease = self.hold(routes, client, remote, &own)?;
        let Some(router) = &self.router else {
            return Ok(lease);
        };
        for (network, metric) in lease.networks.clone() {
            let announced = router.announce(network, metric).await;
            announced.map_err(|source| RouteError::Kernel { network, source })?;
            lease.announced.push((network, metric));
        }
        Ok(lease)
    }

    fn hold(
        self: &Arc<Self>,
        routes: &[FramedRoute],
        client: Ipv4Addr,
        remote: IpAddr,
        interfaces: &[Ipv4Net],
    ) -> Result<RouteLease, RouteError> {
        if routes.len() > MAX_ROUTES {
            return Err(RouteError::TooMany(routes.len()));
        }
        let remote = match remote.to_canonical() {
            IpAddr::V4(remote) => Some((Ipv4Net::from(remote), "where the client calls from")),
            IpAddr::V6(_) => None,
        };
        let interfaces = interfaces
            .iter()
            .map(|network| (*network, "a network of the gateway's"));
        let own: Vec<_> = self
            .own
            .iter()
            .copied()
            .chain(interfaces)
            .chain(remote)
            .collect();
        let mut networks: Vec<(Ipv4Net, u32)> = Vec::new();
        for route in routes {
            // The prefix is 32 at most.
            let Ok(network) = Ipv4Net::new(route.network(), route.prefix()) else {
                continue;
            };
            if let Some(gateway) = route.gateway().filter(|gateway| *gateway != client) {
                return Err(RouteError::Gateway { network, gateway });
            }
            if !self
                .allowed
                .iter()
                .any(|allowed| allowed.contains(&network))
            {
                return Err(RouteError::NotAllowed(network));
            }
            if let Some((with, what)) = own.iter().find(|(own, _)| overlap(*own, network)) {
                let (with, what) = (*with, *what);
                return Err(RouteError::Own {
                    network,
                    with,
                    what,
                });
            }
            // Said twice, or inside of one that was said, is said once.
            if networks.iter().any(|(said, _)| said.contains(&network)) {
                continue;
            }
            networks.retain(|(said, _)| !network.contains(said));
            networks.push((network, route.metric()));
        }
        let mut held = self.held();
        for (network, _) in &networks {
            if let Some(with) = held.values().find(|with| overlap(**with, *network)) {
                let (network, with) = (*network, *with);
                return Err(RouteError::Taken { network, with });
            }
        }
        held.extend(networks.iter().map(|(net, _)| (net.network(), *net)));
        drop(held);
        Ok(RouteLease {
            book: Arc::clone(self),
            networks,
            announced: Vec::new(),
        })
    }

    /// No step leaves the book half-changed, so one that a panic left locked is still good.
    fn held(&self) -> MutexGuard<'_, BTreeMap<Ipv4Addr, Ipv4Net>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// The networks of a session; they are free again, and routed no more, when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct RouteLease {
    book: Arc<RouteBook>,
    networks: Vec<(Ipv4Net, u32)>,
    announced: Vec<(Ipv4Net, u32)>,
}

impl RouteLease {
    /// Returns the networks, none of them inside of another.
    pub fn networks(&self) -> impl Iterator<Item = Ipv4Net> + '_ {
        self.networks.iter().map(|(network, _)| *network)
    }
}

impl Drop for RouteLease {
    /// The kernel first: its orders are taken in turn, so one for the next holder of the network comes behind this one.
    fn drop(&mut self) {
        if let Some(router) = &self.book.router {
            for (network, metric) in &self.announced {
                router.withdraw(*network, *metric);
            }
        }
        let mut held = self.book.held();
        for (network, _) in &self.networks {
            held.remove(&network.network());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 7);
    const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 200, 9));

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn book(allowed: &[&str]) -> Arc<RouteBook> {
        Arc::new(RouteBook::new(
            allowed.iter().copied().map(net).collect(),
            vec![net("10.99.0.0/24")],
            vec!["192.168.100.5".parse().unwrap()],
            None,
        ))
    }

    fn hold(book: &Arc<RouteBook>, routes: &[&str]) -> Result<RouteLease, RouteError> {
        let routes: Vec<FramedRoute> = routes.iter().map(|text| text.parse().unwrap()).collect();
        book.hold(&routes, CLIENT, REMOTE, &[net("192.168.50.0/24")])
    }

    #[test]
    fn a_network_is_one_sessions_until_the_lease_is_dropped() {
        let book = book(&["192.168.0.0/16", "10.0.0.0/8"]);
        let mine = hold(
            &book,
            &[
                "192.168.7.0/24 0.0.0.0 1",
                "192.168.7.128/25",
                "10.1.0.0/16 10.99.0.7",
                "10.1.0.0/16",
            ],
        )
        .unwrap();
        let networks: Vec<_> = mine.networks().collect();
        assert_eq!(networks, [net("192.168.7.0/24"), net("10.1.0.0/16")]);
        for other in [
            "192.168.7.0/24",
            "192.168.7.64/26",
            "192.168.6.0/23",
            "10.1.2.3/32",
        ] {
            let refused = hold(&book, &["172.16.0.0/24", other].as_slice()[1..]).unwrap_err();
            assert!(
                matches!(refused, RouteError::Taken { .. }),
                "{other}: {refused}"
            );
        }
        // One that is refused keeps nothing of the others.
        assert!(hold(&book, &["192.168.9.0/24", "192.168.7.0/24"]).is_err());
        let beside = hold(&book, &["192.168.9.0/24", "192.168.8.0/24"]).unwrap();
        drop(mine);
        let next = hold(&book, &["192.168.6.0/23"]).unwrap();
        drop((beside, next));
        assert!(book.held().is_empty());
    }

    #[test]
    fn what_is_the_gateways_or_not_allowed_is_refused() {
        let wide = book(&["0.0.0.0/0"]);
        for route in [
            "0.0.0.0/0",
            "0.0.0.0/1",
            "10.99.0.0/24",
            "10.99.0.9/32",
            "10.0.0.0/8",
            "127.0.0.0/8",
            "169.254.169.254/32",
            "224.0.0.0/4",
            "255.255.255.255/32",
            "192.168.50.0/25",
            "192.168.48.0/20",
            "192.168.100.0/24",
            "192.168.200.0/24",
        ] {
            let refused = hold(&wide, &[route]).unwrap_err();
            assert!(
                matches!(refused, RouteError::Own { .. }),
                "{route}: {refused}"
            );
        }
        let refused = hold(&wide, &["192.168.7.0/24 192.168.7.1"]).unwrap_err();
        assert!(matches!(refused, RouteError::Gateway { .. }), "{refused}");
        let many: Vec<_> = (0..17).map(|n| format!("192.168.{n}.0/24")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(matches!(hold(&wide, &many), Err(RouteError::TooMany(17))));
        let narrow = book(&["192.168.7.0/24"]);
        for route in ["192.168.8.0/24", "192.168.0.0/16", "0.0.0.0/0"] {
            let refused = hold(&narrow, &[route]).unwrap_err();
            assert!(
                matches!(refused, RouteError::NotAllowed(_)),
                "{route}: {refused}"
            );
        }
        assert!(hold(&narrow, &["192.168.7.128/25"]).is_ok());
        assert!(!book(&[]).is_open() && narrow.is_open());
    }
}
