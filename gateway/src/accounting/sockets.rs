//! One socket to each server, made when it is first used, with a task that reads it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use causeway_proto::radius::{MAX_LEN, ServerId};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Server;

/// What a socket has to say.
pub(super) enum Arrival {
    Datagram(ServerId, Vec<u8>),
    /// The host refused what was sent.
    Unreachable(ServerId),
}

/// So many arrivals may wait; more wait in the kernel.
const ARRIVALS: usize = 256;

#[derive(Debug)]
pub(super) struct Sockets {
    servers: Vec<Server>,
    open: HashMap<ServerId, Arc<UdpSocket>>,
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
    pub(super) async fn send(&mut self, id: ServerId, bytes: &[u8]) -> io::Result<()> {
        let socket = if let Some(socket) = self.open.get(&id) {
            Arc::clone(socket)
        } else {
            let server = self.servers.get(id.0).ok_or(io::ErrorKind::NotFound)?;
            let socket = Arc::new(connect(server).await?);
            self.open.insert(id, Arc::clone(&socket));
            self.readers
                .spawn(read(Arc::clone(&socket), id, self.sender.clone()));
            socket
        };
        socket.send(bytes).await.map(|_| ())
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
    let any = match server.endpoint {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind(SocketAddr::new(server.source.unwrap_or(any), 0)).await?;
    socket.connect(server.endpoint).await?;
    Ok(socket)
}

async fn read(socket: Arc<UdpSocket>, id: ServerId, arrivals: mpsc::Sender<Arrival>) {
    // One octet more than a packet may have, so that a longer datagram is not taken for one that fits.
    let mut buffer = vec![0; MAX_LEN + 1];
    loop {
        let arrival = match socket.recv(&mut buffer).await {
            Ok(len) => Arrival::Datagram(id, buffer.get(..len).unwrap_or_default().to_vec()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Arrival::Unreachable(id)
            }
            Err(error) => {
                tracing::debug!(%error, "accounting socket");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if arrivals.send(arrival).await.is_err() {
            return;
        }
    }
}
