//! The sockets for everything that is not data: handshakes come in, and what the machine says goes out.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;

use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::dataplane::Endpoint;
use crate::os::udp::{Ring, Socket};

/// So many datagrams of one read say that more come than are answered.
const CROWD: usize = 16;

/// The control sockets of all listen addresses, in their order.
#[derive(Debug)]
pub(super) struct Sockets {
    sockets: Vec<Watched>,
    ring: Ring,
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
            sockets: sockets
                .into_iter()
                .map(watched)
                .collect::<io::Result<_>>()?,
            ring: Ring::new(trains),
        })
    }

    /// Waits until one of the sockets has something; cancel-safe.
    pub(super) async fn readable(&self) -> usize {
        poll_fn(|context| {
            for (listener, socket) in self.sockets.iter().enumerate() {
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

    /// Hands over what waits at a socket, one batch; returns whether it was a crowd.
    pub(super) fn receive(
        &mut self,
        listener: usize,
        mut each: impl FnMut(Endpoint, &mut [u8]),
    ) -> bool {
        let Some(Watched {
            socket, watcher, ..
        }) = self.sockets.get(listener)
        else {
            return false;
        };
        let ring = &mut self.ring;
        match watcher.try_io(Interest::READABLE, || ring.receive(socket)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => {
                // An ICMP error of something that was sent; the next call reads on.
                tracing::debug!(%error, "a socket of the UDP tunnel");
                return false;
            }
        }
        let mut count = 0_usize;
        for arrival in self.ring.arrivals() {
            let endpoint = Endpoint {
                listener: u8::try_from(listener).unwrap_or(u8::MAX),
                path: arrival.path,
            };
            for datagram in arrival.datagrams() {
                count = count.saturating_add(1);
                each(endpoint, datagram);
            }
        }
        count >= CROWD
    }

    /// Sends one datagram.
    pub(super) fn send(&self, to: &Endpoint, octets: &[u8]) {
        let Some(socket) = self.sockets.get(usize::from(to.listener)) else {
            return;
        };
        let sent = socket.socket.send(&to.path, octets, octets.len());
        if let Some(error) = sent.error {
            tracing::debug!(%error, to = %to.path.remote, "a handshake message was not sent");
        }
    }

    /// Returns our end of a way.
    pub(super) fn local(&self, way: &Endpoint) -> Option<SocketAddr> {
        let mut own = self.sockets.get(usize::from(way.listener))?.own;
        if let Some(local) = way.path.local {
            own.set_ip(local);
        }
        Some(own)
    }

    /// Returns the listener that can reach an address, by its family.
    pub(super) fn listener_for(&self, remote: SocketAddr) -> Option<u8> {
        let fits = |socket: &Watched| socket.own.is_ipv4() == remote.is_ipv4();
        let place = self.sockets.iter().position(fits)?;
        u8::try_from(place).ok()
    }
}
