//! One socket to each server, made when it is first used, with a task that reads it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use causeway_proto::radius::ServerId;
use tokio::net::UdpSocket;

use super::Server;
use crate::radius::datagram::{Arrival, Arrivals, connect};

#[derive(Debug)]
pub(super) struct Sockets {
    servers: Vec<Server>,
    open: HashMap<ServerId, Arc<UdpSocket>>,
    arrivals: Arrivals<ServerId>,
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
    pub(super) async fn send(&mut self, id: ServerId, bytes: &[u8]) -> io::Result<()> {
        let socket = if let Some(socket) = self.open.get(&id) {
            Arc::clone(socket)
        } else {
            let server = self.servers.get(id.0).ok_or(io::ErrorKind::NotFound)?;
            let socket = Arc::new(connect(server.endpoint, server.source).await?);
            self.open.insert(id, Arc::clone(&socket));
            self.arrivals.read(Arc::clone(&socket), id);
            socket
        };
        socket.send(bytes).await.map(|_| ())
    }

    /// Returns the next arrival; cancel-safe.
    pub(super) async fn next(&mut self) -> Arrival<ServerId> {
        self.arrivals.next().await
    }
}
