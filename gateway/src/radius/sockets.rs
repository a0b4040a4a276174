//! The sockets to the servers: made when the machine first names them, each with a task that reads it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use causeway_proto::radius::{MAX_LEN, Port};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Server;
use super::tls::Link;

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

/// So many requests may wait for a connection to be made; each has an identifier of its own.
const ORDERS: usize = 512;

/// How a port's requests leave.
#[derive(Clone)]
enum Way {
    Udp(Arc<UdpSocket>),
    Tls(mpsc::Sender<Vec<u8>>),
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
        let way = match self.open.get(&port) {
            Some(way) => way.clone(),
            None => self.make(port).await?,
        };
        match way {
            Way::Udp(socket) => socket.send(bytes).await.map(|_| ()),
            Way::Tls(orders) => orders
                .try_send(bytes.to_vec())
                .map_err(|_| io::ErrorKind::WouldBlock.into()),
        }
    }

    async fn make(&mut self, port: Port) -> io::Result<Way> {
        let server = self
            .servers
            .get(port.server.0)
            .ok_or(io::ErrorKind::NotFound)?;
        let way = if let Some(tls) = &server.tls {
            let (sender, orders) = mpsc::channel(ORDERS);
            let link = Link {
                server: server.clone(),
                tls: tls.clone(),
                port,
                orders,
                arrivals: self.sender.clone(),
            };
            self.readers.spawn(link.run());
            Way::Tls(sender)
        } else {
            let socket = Arc::new(connect(server).await?);
            self.readers
                .spawn(read(socket.clone(), port, self.sender.clone()));
            Way::Udp(socket)
        };
        self.open.insert(port, way.clone());
        Ok(way)
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
