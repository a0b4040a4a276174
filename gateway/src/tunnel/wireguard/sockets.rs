//! The sockets for everything that is not data: handshakes come in, and what the machine says goes out.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::io::unix::AsyncFd;

use crate::dataplane::Endpoint;
use crate::os::udp::{Ring, Socket};

/// So many datagrams of one read say that more come than are answered.
const CROWD: usize = 16;

/// The control sockets of all listen addresses, in their order.
#[derive(Debug)]
pub(super) struct Sockets {
    sockets: Vec<AsyncFd<Socket>>,
    ring: Ring,
}

impl Sockets {
    /// Takes the sockets into the runtime that calls.
    ///
    /// # Errors
    ///
    /// When the runtime cannot watch them.
    pub(super) fn new(sockets: Vec<Socket>) -> io::Result<Self> {
        let trains = sockets.iter().any(Socket::receives_trains);
        Ok(Self {
            sockets: sockets
                .into_iter()
                .map(AsyncFd::new)
                .collect::<io::Result<_>>()?,
            ring: Ring::new(trains),
        })
    }

    /// Waits until one of the sockets has something; cancel-safe.
    pub(super) async fn readable(&self) -> usize {
        poll_fn(|context| {
            for (listener, socket) in self.sockets.iter().enumerate() {
                match socket.poll_read_ready(context) {
                    Poll::Ready(Ok(mut guard)) => {
                        // Kept ready: `receive` says when there is nothing more.
                        guard.retain_ready();
                        return Poll::Ready(listener);
                    }
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
        let Some(socket) = self.sockets.get(listener) else {
            return false;
        };
        match self.ring.receive(socket.get_ref()) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                clear_ready(socket);
                return false;
            }
            Err(error) => {
                // An ICMP error of something that was sent; the next call reads on.
                tracing::debug!(%error, "a socket of the UDP tunnel");
                return false;
            }
        }
        let mut count = 0;
        for arrival in self.ring.arrivals() {
            let endpoint = Endpoint {
                listener: u8::try_from(listener).unwrap_or(u8::MAX),
                path: arrival.path,
            };
            for datagram in arrival.datagrams() {
                count += 1;
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
        let sent = socket.get_ref().send(&to.path, octets, octets.len());
        if let Some(error) = sent.error {
            tracing::debug!(%error, to = %to.path.remote, "a handshake message was not sent");
        }
    }

    /// Returns the listener that can reach an address, by its family.
    pub(super) fn listener_for(&self, remote: &std::net::SocketAddr) -> Option<u8> {
        let fits = |socket: &AsyncFd<Socket>| {
            let own = socket.get_ref().address();
            own.is_ok_and(|own| own.is_ipv4() == remote.is_ipv4())
        };
        let place = self.sockets.iter().position(fits)?;
        u8::try_from(place).ok()
    }
}

/// Lets the runtime watch again.
fn clear_ready(socket: &AsyncFd<Socket>) {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    if let Poll::Ready(Ok(mut guard)) = socket.poll_read_ready(&mut context) {
        guard.clear_ready();
    }
}
