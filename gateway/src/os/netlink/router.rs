//! Routes that come and go with sessions, in the order in which they were asked for.

use std::io;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use nix::ifaddrs::getifaddrs;
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{Handle, RouteMessageBuilder};
use tokio::sync::{mpsc, oneshot};

use super::{NetlinkError, interface_index, refused};

/// Asks the kernel for routes to one interface; [`run`] does it.
#[derive(Clone, Debug)]
pub struct Router {
    // Bounded by what sessions hold: each network is asked for once and given back once.
    orders: mpsc::UnboundedSender<Order>,
}

#[derive(Debug)]
enum Order {
    Announce {
        network: Ipv4Net,
        metric: u32,
        done: oneshot::Sender<Result<(), NetlinkError>>,
    },
    Withdraw {
        network: Ipv4Net,
        metric: u32,
    },
}

/// What [`run`] reads.
#[derive(Debug)]
pub struct Orders(mpsc::UnboundedReceiver<Order>);

impl Router {
    /// Makes a router and what makes it work.
    #[must_use]
    pub fn new() -> (Self, Orders) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { orders: sender }, Orders(receiver))
    }

    /// Routes a network to the interface.
    ///
    /// # Errors
    ///
    /// When the kernel does not, as where another interface has the same route.
    pub async fn announce(&self, network: Ipv4Net, metric: u32) -> Result<(), NetlinkError> {
        let gone = || NetlinkError::Socket(io::ErrorKind::BrokenPipe.into());
        let (done, answer) = oneshot::channel();
        let order = Order::Announce {
            network,
            metric,
            done,
        };
        self.orders.send(order).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Takes a route away again, when its turn comes.
    pub fn withdraw(&self, network: Ipv4Net, metric: u32) {
        // Nobody there: the interface goes, and its routes with it.
        drop(self.orders.send(Order::Withdraw { network, metric }));
    }
}

/// Does what the router is asked for until it is dropped.
pub async fn run(mut orders: Orders, interface: String) {
    while let Some(order) = orders.0.recv().await {
        // A socket for each order: they are rare, and one that broke is not mourned.
        match order {
            Order::Announce {
                network,
                metric,
                done,
            } => {
                let result = with_handle(&interface, network, metric, Change::Add).await;
                // A log-in that was given up in between withdraws nothing, so it is done here.
                if let Err(Ok(())) = done.send(result) {
                    drop(with_handle(&interface, network, metric, Change::Remove).await);
                }
            }
            Order::Withdraw { network, metric } => {
                let result = with_handle(&interface, network, metric, Change::Remove).await;
                if let Err(error) = result {
                    tracing::debug!(%network, %error, "a route was gone already");
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Change {
    Add,
    Remove,
}

async fn with_handle(
    interface: &str,
    network: Ipv4Net,
    metric: u32,
    change: Change,
) -> Result<(), NetlinkError> {
    let index = interface_index(interface)
        .ok_or_else(|| NetlinkError::NoInterface(interface.to_owned()))?;
    let (connection, handle, _unsolicited) =
        rtnetlink::new_connection().map_err(NetlinkError::Socket)?;
    tokio::select! {
        result = apply(handle, index, network, metric, change) => result,
        () = connection => Err(NetlinkError::Socket(io::ErrorKind::BrokenPipe.into())),
    }
}

async fn apply(
    handle: Handle,
    index: u32,
    network: Ipv4Net,
    metric: u32,
    change: Change,
) -> Result<(), NetlinkError> {
    let mut route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(network.network(), network.prefix_len())
        .output_interface(index)
        .scope(RouteScope::Link);
    if metric > 0 {
        route = route.priority(metric);
    }
    let route = route.build();
    match change {
        Change::Add => handle.route().add(route).execute().await.map_err(|error| {
            let error = refused("routing a network to the TUN", error);
            let taken = matches!(&error, NetlinkError::Refused { source, .. }
                if source.kind() == io::ErrorKind::AlreadyExists);
            if taken {
                NetlinkError::RouteTaken(network)
            } else {
                error
            }
        }),
        Change::Remove => handle
            .route()
            .del(route)
            .execute()
            .await
            .map_err(|error| refused("taking a route away", error)),
    }
}

/// Returns the IPv4 networks that the machine's interfaces are in; none when the kernel does not say.
#[must_use]
pub fn own_networks() -> Vec<Ipv4Net> {
    let Ok(all) = getifaddrs() else {
        return Vec::new();
    };
    all.filter_map(|interface| {
        let address = interface.address?.as_sockaddr_in()?.ip();
        let mask = interface.netmask?.as_sockaddr_in()?.ip();
        Ipv4Net::with_netmask(address, mask).ok()
    })
    .map(|network| network.trunc())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::os::netlink::{Addressing, set_up};
    use crate::os::testing;

    #[test]
    #[ignore = "needs root: makes a network namespace and a TUN in it"]
    fn routes_come_and_go_one_after_the_other() {
        testing::in_namespace(|| {
            let mut config = tun::Configuration::default();
            config.tun_name("cw0");
            let tun = tun::create(&config).unwrap();
            let net: Ipv4Net = "192.168.7.0/24".parse().unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let addressing = Addressing {
                    interface: "cw0".into(),
                    mtu: 1400,
                    address: "10.99.0.1".parse().unwrap(),
                    routes: Vec::new(),
                };
                set_up(&addressing).await.unwrap();
                assert!(own_networks().contains(&"10.99.0.1/32".parse().unwrap()));
                let (router, orders) = Router::new();
                let running = tokio::spawn(run(orders, "cw0".into()));
                router.announce(net, 7).await.unwrap();
                let routes = testing::output("ip", &["route"]);
                assert!(
                    routes.contains("192.168.7.0/24 dev cw0") && routes.contains("metric 7"),
                    "{routes}"
                );
                let twice = router.announce(net, 7).await.unwrap_err();
                assert!(matches!(twice, NetlinkError::RouteTaken(_)), "{twice}");
                router.withdraw(net, 7);
                // The turn of the next one comes behind that.
                router.announce(net, 0).await.unwrap();
                let routes = testing::output("ip", &["route"]);
                assert!(!routes.contains("metric 7"), "{routes}");
                router.withdraw(net, 0);
                drop(router);
                running.await.unwrap();
                assert_eq!(testing::output("ip", &["route"]), "");
            });
            drop(tun);
        });
    }
}
