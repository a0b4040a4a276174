//! The sockets to the servers: made when the machine first names them, each with a task that reads it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use causeway_proto::radius::{MAX_LEN, Port};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Server;
use super::tls::{Link, Order};

/// What a socket has to say.
pub(super) enum Arrival {
    /// A datagram.
    Datagram(Port, Vec<u8>),
    /// The host refused what was sent, or there is no way to it.
    Unreachable(Port),
}

/// So many arrivals may wait for the machine; what comes on top waits in the kernel's buffers.
const ARRIVALS: usize = 256;

/// Room for a flood of forged answers with the true one behind it.
const RECEIVE_BUFFER: usize = 1 << 20;

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
    readers: JoinSet<()>,
    sender: mpsc::Sender<Arrival>,
    receiver: mpsc::Receiver<Arrival>,
}

impl Sockets {
    pub(super) fn new(servers: Vec<Server>) -> Self {
        let (sender, receiver) = mpsc::channel(ARRIVALS);
        Self {
            servers,
            open: HashMap::new(),
            readers: JoinSet::new(),
            sender,
            receiver,
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
            let link = Link {
                server: server.clone(),
                tls: tls.clone(),
                port,
                orders,
                arrivals: self.sender.clone(),
            };
            self.readers.spawn(link.run());
            let room = HashMap::new();
            Ok(Way::Tls(Orders { sender, room }))
        } else {
            let socket = Arc::new(connect(server).await?);
            self.readers
                .spawn(read(socket.clone(), port, self.sender.clone()));
            Ok(Way::Udp(socket))
        }
    }

    /// Returns the next arrival; cancel-safe.
    pub(super) async fn next(&mut self) -> Arrival {
        match self.receiver.recv().await {
            Some(arrival) => arrival,
            // `self` holds a sender, so the channel has no end.
            None => std::future::pending().await,
        }
    }
}

async fn connect(server: &Server) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(server.bind_address()).await?;
    let sized = setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)
        .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER));
    if let Err(error) = sized {
        tracing::debug!(%error, "receive buffer of a RADIUS socket");
    }
    socket.connect(server.endpoint()).await?;
    Ok(socket)
}

/// Returns whether an error says that nobody at the other end will answer.
pub(super) fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable
    )
}

/// Passes on what comes over one socket until the machine is gone.
async fn read(socket: Arc<UdpSocket>, port: Port, arrivals: mpsc::Sender<Arrival>) {
    // One octet more than a packet may have, so that a longer datagram is not taken for one that fits.
    let mut buffer = vec![0; MAX_LEN + 1];
    loop {
        let arrival = match socket.recv(&mut buffer).await {
            Ok(len) => Arrival::Datagram(port, buffer.get(..len).unwrap_or_default().to_vec()),
            Err(error) if is_unreachable(&error) => Arrival::Unreachable(port),
            Err(error) => {
                tracing::debug!(%error, "RADIUS socket");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if arrivals.send(arrival).await.is_err() {
            return;
        }
    }
}
