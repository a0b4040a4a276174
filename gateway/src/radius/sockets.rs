//! The sockets to the servers: made when the machine first names them, each with a task that reads it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::Arc;

use causeway_proto::radius::Port;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{self, OwnedPermit};

use super::Server;
use super::datagram::{Arrival, Arrivals, connect};
use super::tls::{Link, Order};

/// So many orders may wait for a link that makes a connection: two for each of the 256 identifiers, and copies.
const ORDERS: usize = 1024;

/// How a port's requests leave.
enum Way {
    Udp(Arc<UdpSocket>),
    Tls(Orders),
}

/// What a link is told.
struct Orders {
    sender: mpsc::Sender<Order>,
    /// Room for the word that nobody waits any more, for each identifier under which somebody does.
    room: HashMap<u8, OwnedPermit<Order>>,
}

impl Orders {
    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        let full = || io::Error::from(io::ErrorKind::WouldBlock);
        let identifier = *datagram.get(1).ok_or(io::ErrorKind::InvalidInput)?;
        if let Entry::Vacant(place) = self.room.entry(identifier) {
            place.insert(
                self.sender
                    .clone()
                    .try_reserve_owned()
                    .map_err(|_| full())?,
            );
        }
        self.sender
            .try_send(Order::Send(datagram.to_vec()))
            .map_err(|_| full())
    }

    fn settle(&mut self, identifier: u8) {
        if let Some(room) = self.room.remove(&identifier) {
            drop(room.send(Order::Forget(identifier)));
        }
    }
}

/// Every socket to every server.
pub(super) struct Sockets {
    servers: Vec<Server>,
    open: HashMap<Port, Way>,
    arrivals: Arrivals<Port>,
}

impl Sockets {
    pub(super) fn new(servers: Vec<Server>) -> Self {
        Self {
            servers,
            open: HashMap::new(),
            arrivals: Arrivals::new(),
        }
    }

    /// Sends one datagram.
    pub(super) async fn send(&mut self, port: Port, bytes: &[u8]) -> io::Result<()> {
        if !self.open.contains_key(&port) {
            let way = self.make(port).await?;
            self.open.insert(port, way);
        }
        match self.open.get_mut(&port) {
            Some(Way::Udp(socket)) => socket.send(bytes).await.map(|_| ()),
            Some(Way::Tls(orders)) => orders.send(bytes),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Takes the news that nobody waits for an answer under this identifier any more.
    pub(super) fn settle(&mut self, port: Port, identifier: u8) {
        match self.open.get_mut(&port) {
            Some(Way::Tls(orders)) => orders.settle(identifier),
            // UDP sends nothing by itself.
            Some(Way::Udp(_)) | None => {}
        }
    }

    async fn make(&mut self, port: Port) -> io::Result<Way> {
        let server = self
            .servers
            .get(port.server.0)
            .ok_or(io::ErrorKind::NotFound)?;
        if let Some(tls) = &server.tls {
            let (sender, orders) = mpsc::channel(ORDERS);
            let (server, tls) = (server.clone(), tls.clone());
            self.arrivals.spawn(|arrivals| {
                let link = Link {
                    server,
                    tls,
                    port,
                    orders,
                    arrivals,
                };
                link.run()
            });
            let room = HashMap::new();
            Ok(Way::Tls(Orders { sender, room }))
        } else {
            let socket = Arc::new(connect(server.endpoint(), server.source).await?);
            self.arrivals.read(Arc::clone(&socket), port);
            Ok(Way::Udp(socket))
        }
    }

    /// Returns the next arrival; cancel-safe.
    pub(super) async fn next(&mut self) -> Arrival<Port> {
        self.arrivals.next().await
    }
}
