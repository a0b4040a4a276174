//! The TUN's address, its MTU, and the routes of the pools to it.
//!
//! Nothing here needs undoing: what belongs to a device disappears with the device.

mod router;

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};
use thiserror::Error;

pub use router::{Orders, Router, own_networks, run};

/// What a TUN needs to carry the pools.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Addressing {
    /// The name of the TUN.
    pub interface: String,
    /// Its MTU.
    pub mtu: u16,
    /// The gateway's own inner address.
    pub address: Ipv4Addr,
    /// The networks of the pools.
    pub routes: Vec<Ipv4Net>,
}

/// Why the TUN could not be brought up.
#[derive(Debug, Error)]
pub enum NetlinkError {
    /// There is no such interface.
    #[error("there is no network interface {0:?}")]
    NoInterface(String),
    /// Another interface has the route.
    #[error("{0} has a route to another interface already")]
    RouteTaken(Ipv4Net),
    /// The kernel refused.
    #[error("{doing}")]
    Refused {
        /// What was asked.
        doing: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// No netlink socket.
    #[error("no netlink socket")]
    Socket(#[source] io::Error),
}

impl NetlinkError {
    /// Returns the number under which `causeway explain` knows the error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoInterface(_) => "E0805",
            Self::RouteTaken(_) => "E0802",
            Self::Refused { .. } | Self::Socket(_) => "E0801",
        }
    }
}

/// Gives the TUN its MTU and address, brings it up, and routes the pools to it.
///
/// # Errors
///
/// When the interface is missing, a pool is routed elsewhere, or `CAP_NET_ADMIN` is.
pub async fn set_up(addressing: &Addressing) -> Result<(), NetlinkError> {
    let (connection, handle, _unsolicited) =
        rtnetlink::new_connection().map_err(NetlinkError::Socket)?;
    let work = apply(handle, addressing);
    // The connection is driven here, next to the work, so that no task outlives the call.
    tokio::select! {
        result = work => result,
        () = connection => Err(NetlinkError::Socket(io::ErrorKind::BrokenPipe.into())),
    }
}

/// Brings the loopback up and gives it one more address.
///
/// # Errors
///
/// When `CAP_NET_ADMIN` is missing.
pub async fn raise_loopback(address: Ipv4Addr) -> Result<(), NetlinkError> {
    let (connection, handle, _unsolicited) =
        rtnetlink::new_connection().map_err(NetlinkError::Socket)?;
    let work = async {
        let index =
            interface_index("lo").ok_or_else(|| NetlinkError::NoInterface("lo".to_owned()))?;
        let up = LinkUnspec::new_with_index(index).up().build();
        let doing = "bringing the loopback up";
        handle
            .link()
            .set(up)
            .execute()
            .await
            .map_err(|error| refused(doing, error))?;
        let added = handle
            .address()
            .add(index, IpAddr::V4(address), 32)
            .execute()
            .await;
        added.map_err(|error| refused("giving the loopback an address", error))
    };
    tokio::select! {
        result = work => result,
        () = connection => Err(NetlinkError::Socket(io::ErrorKind::BrokenPipe.into())),
    }
}

/// Returns the index of an interface; `None` when there is none of that name.
#[must_use]
pub fn interface_index(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

async fn apply(handle: Handle, addressing: &Addressing) -> Result<(), NetlinkError> {
    let name = &addressing.interface;
    let index = interface_index(name).ok_or_else(|| NetlinkError::NoInterface(name.clone()))?;
    let up = LinkUnspec::new_with_index(index)
        .mtu(addressing.mtu.into())
        .up()
        .build();
    handle
        .link()
        .set(up)
        .execute()
        .await
        .map_err(|error| refused("bringing the TUN up", error))?;
    handle
        .address()
        .add(index, IpAddr::V4(addressing.address), 32)
        .replace()
        .execute()
        .await
        .map_err(|error| refused("giving the TUN its address", error))?;
    for &network in &addressing.routes {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(network.network(), network.prefix_len())
            .output_interface(index)
            .pref_source(addressing.address)
            .scope(RouteScope::Link)
            .build();
        handle.route().add(route).execute().await.map_err(|error| {
            let error = refused("routing a pool to the TUN", error);
            let is_taken = matches!(&error, NetlinkError::Refused { source, .. }
                if source.kind() == io::ErrorKind::AlreadyExists);
            if is_taken {
                NetlinkError::RouteTaken(network)
            } else {
                error
            }
        })?;
    }
    Ok(())
}

fn refused(doing: &'static str, error: rtnetlink::Error) -> NetlinkError {
    let source = if let rtnetlink::Error::NetlinkError(message) = error {
        message.to_io()
    } else {
        io::Error::other(error)
    };
    NetlinkError::Refused { doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::os::testing;

    /// A TUN that lives as long as the returned descriptor.
    fn device(name: &str) -> tun::Device {
        let mut config = tun::Configuration::default();
        config.tun_name(name);
        tun::create(&config).unwrap()
    }

    #[expect(
        clippy::unwrap_in_result,
        reason = "no runtime is no result of this test"
    )]
    fn run(addressing: &Addressing) -> Result<(), NetlinkError> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(set_up(addressing))
    }

    #[test]
    #[ignore = "needs root: makes a network namespace and a TUN in it"]
    fn the_pools_are_routed_to_the_tun_and_gone_with_it() {
        testing::in_namespace(|| {
            let tun = device("cw0");
            let addressing = Addressing {
                interface: "cw0".into(),
                mtu: 1400,
                address: "10.99.0.1".parse().unwrap(),
                routes: vec![
                    "10.99.0.0/22".parse().unwrap(),
                    "10.99.8.0/24".parse().unwrap(),
                ],
            };
            run(&addressing).unwrap();
            let links = testing::output("ip", &["addr", "show", "cw0"]);
            assert!(
                links.contains("mtu 1400") && links.contains("UP"),
                "{links}"
            );
            assert!(links.contains("inet 10.99.0.1/32"), "{links}");
            let routes = testing::output("ip", &["route"]);
            assert!(routes.contains("10.99.0.0/22 dev cw0"), "{routes}");
            assert!(routes.contains("src 10.99.0.1"), "{routes}");
            assert!(routes.contains("10.99.8.0/24 dev cw0"), "{routes}");

            let other = device("cw1");
            let twice = Addressing {
                interface: "cw1".into(),
                address: "10.99.0.3".parse().unwrap(),
                ..addressing
            };
            let error = run(&twice).unwrap_err();
            assert!(matches!(error, NetlinkError::RouteTaken(_)), "{error}");

            drop((tun, other));
            assert_eq!(testing::output("ip", &["route"]), "");
        });
    }

    #[test]
    fn a_missing_interface_is_named() {
        let addressing = Addressing {
            interface: "cw-none".into(),
            mtu: 1400,
            address: Ipv4Addr::LOCALHOST,
            routes: vec![],
        };
        let error = run(&addressing).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no network interface \"cw-none\""
        );
    }
}
