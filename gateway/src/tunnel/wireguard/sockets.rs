//! The sockets for everything that is not data: handshakes come in, and what the machine says goes out.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;

use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::dataplane::Endpoint;
use crate::os::udp::{Ring, Socket};

/// The control sockets of all listen addresses, in their order.
#[derive(Debug)]
pub(super) struct Sockets {
    watched: Vec<Watched>,
    ring: Ring,
    /// Whose turn it is to be looked at first, so that one that never runs dry leaves the others theirs.
    turn: usize,
}

/// A socket, and a second descriptor of it that the runtime watches.
#[derive(Debug)]
struct Watched {
    socket: Socket,
    watcher: UdpSocket,
    own: SocketAddr,
}

impl Sockets {
    /// Takes the sockets into the runtime that calls.
    ///
    /// # Errors
    ///
    /// When the runtime cannot watch them.
    pub(super) fn new(sockets: Vec<Socket>) -> io::Result<Self> {
        let trains = sockets.iter().any(Socket::receives_trains);
        let watched = |socket: Socket| {
            Ok(Watched {
                watcher: socket.watched()?,
                own: socket.address()?,
                socket,
            })
        };
        Ok(Self {
            watched: sockets
                .into_iter()
                .map(watched)
                .collect::<io::Result<_>>()?,
            ring: Ring::new(trains),
            turn: 0,
        })
    }

    /// Waits until one of the sockets has something; cancel-safe.
    pub(super) async fn readable(&self) -> usize {
        poll_fn(|context| {
            let (before, from) = self.watched.split_at(self.turn.min(self.watched.len()));
            let numbered = (before.len()..).zip(from).chain((0..).zip(before));
            for (listener, socket) in numbered {
                match socket.watcher.poll_recv_ready(context) {
                    Poll::Ready(Ok(())) => return Poll::Ready(listener),
                    Poll::Ready(Err(error)) => {
                        tracing::debug!(%error, "a socket of the UDP tunnel");
                    }
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Hands over what waits at a socket, one batch; the next turn is the next socket's.
    pub(super) fn receive(&mut self, listener: usize, mut each: impl FnMut(Endpoint, &mut [u8])) {
        self.turn = (listener + 1) % self.watched.len().max(1);
        let Some(Watched {
            socket, watcher, ..
        }) = self.watched.get(listener)
        else {
            return;
        };
        let ring = &mut self.ring;
        match watcher.try_io(Interest::READABLE, || ring.receive(socket)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => {
                // An ICMP error of something that was sent; the next call reads on.
                tracing::debug!(%error, "a socket of the UDP tunnel");
                return;
            }
        }
        for arrival in self.ring.arrivals() {
            let endpoint = Endpoint {
                listener: u8::try_from(listener).unwrap_or(u8::MAX),
                path: arrival.path,
            };
            for datagram in arrival.datagrams() {
                each(endpoint, datagram);
            }
        }
    }

    /// Sends one datagram.
    pub(super) fn send(&self, to: &Endpoint, octets: &[u8]) {
        let Some(socket) = self.watched.get(usize::from(to.listener)) else {
            return;
        };
        let sent = socket.socket.send(&to.path, octets, octets.len());
        if let Some(error) = sent.error {
            tracing::debug!(%error, to = %to.path.remote, "a handshake message was not sent");
        }
    }

    /// Returns our end of a way.
    pub(super) fn local(&self, way: &Endpoint) -> Option<SocketAddr> {
        let mut own = self.watched.get(usize::from(way.listener))?.own;
        if let Some(local) = way.path.local {
            own.set_ip(local);
        }
        Some(own)
    }

    /// Returns the listener that can reach an address, by its family.
    pub(super) fn listener_for(&self, remote: SocketAddr) -> Option<u8> {
        let fits = |socket: &Watched| socket.own.is_ipv4() == remote.is_ipv4();
        let place = self.watched.iter().position(fits)?;
        u8::try_from(place).ok()
    }
}
