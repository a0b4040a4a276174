//! UDP to a RADIUS server, for log-ins and for accounting: one socket to one server, read by a task of its own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use causeway_proto::radius::MAX_LEN;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What a socket has to say; `P` is its name.
pub(crate) enum Arrival<P> {
    /// A datagram.
    Datagram(P, Vec<u8>),
    /// The host refused what was sent, or there is no way to it.
    Unreachable(P),
}

/// So many arrivals may wait for the machine; what comes on top waits in the kernel's buffers.
const ARRIVALS: usize = 256;

/// Room for a flood of forged answers with the true one behind it.
const RECEIVE_BUFFER: usize = 1 << 20;

/// What all sockets have to say, in one line; the tasks that read them end with it.
#[derive(Debug)]
pub(crate) struct Arrivals<P> {
    readers: JoinSet<()>,
    sender: mpsc::Sender<Arrival<P>>,
    receiver: mpsc::Receiver<Arrival<P>>,
}

impl<P: Copy + Send + 'static> Arrivals<P> {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(ARRIVALS);
        Self {
            readers: JoinSet::new(),
            sender,
            receiver,
        }
    }

    /// Reads `socket` from now on, under the name `port`.
    pub(crate) fn read(&mut self, socket: Arc<UdpSocket>, port: P) {
        self.spawn(|sender| read(socket, port, sender));
    }

    /// Runs a task whose arrivals stand in the same line.
    pub(crate) fn spawn<F>(&mut self, task: impl FnOnce(mpsc::Sender<Arrival<P>>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.readers.spawn(task(self.sender.clone()));
    }

    /// Returns the next arrival; cancel-safe.
    pub(crate) async fn next(&mut self) -> Arrival<P> {
        match self.receiver.recv().await {
            Some(arrival) => arrival,
            // `self` holds a sender, so the channel has no end.
            None => std::future::pending().await,
        }
    }
}

/// Returns where requests to `server` leave from: any port of `source`, or of what the kernel chooses.
pub(crate) fn bind_address(server: IpAddr, source: Option<IpAddr>) -> SocketAddr {
    let any = match server {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(source.unwrap_or(any), 0)
}

/// Makes a socket that speaks with `server` alone.
pub(crate) async fn connect(server: SocketAddr, source: Option<IpAddr>) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(bind_address(server.ip(), source)).await?;
    let sized = setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)
        .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER));
    if let Err(error) = sized {
        tracing::debug!(%error, "receive buffer of a RADIUS socket");
    }
    socket.connect(server).await?;
    Ok(socket)
}

/// Returns whether an error says that nobody at the other end will answer.
pub(crate) fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable
    )
}

/// Passes on what comes over one socket until nobody listens.
async fn read<P: Copy>(socket: Arc<UdpSocket>, port: P, arrivals: mpsc::Sender<Arrival<P>>) {
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
