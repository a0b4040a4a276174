//! One way to each server, made when it is first used, with a task that reads it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use causeway_proto::radius::ServerId;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::Server;
use crate::radius::datagram::{Arrival, Arrivals, connect};
use crate::radius::tls::{Once, Place};

/// More than the sender ever lets fly to one server.
const REQUESTS: usize = 256;

/// How a server's requests leave.
#[derive(Debug)]
enum Way {
    Udp(Arc<UdpSocket>),
    Tls(mpsc::Sender<Vec<u8>>),
}

#[derive(Debug)]
pub(super) struct Sockets {
    servers: Vec<Server>,
    open: HashMap<ServerId, Way>,
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

    /// Sends one request.
    pub(super) async fn send(&mut self, id: ServerId, bytes: &[u8]) -> io::Result<()> {
        if !self.open.contains_key(&id) {
            let way = self.make(id).await?;
            self.open.insert(id, way);
        }
        match self.open.get(&id) {
            Some(Way::Udp(socket)) => socket.send(bytes).await.map(|_| ()),
            Some(Way::Tls(requests)) => requests
                .try_send(bytes.to_vec())
                .map_err(|_| io::ErrorKind::WouldBlock.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    async fn make(&mut self, id: ServerId) -> io::Result<Way> {
        let server = self.servers.get(id.0).ok_or(io::ErrorKind::NotFound)?;
        let Some(tls) = server.tls.clone() else {
            let socket = Arc::new(connect(server.endpoint, server.source).await?);
            self.arrivals.read(Arc::clone(&socket), id);
            return Ok(Way::Udp(socket));
        };
        let place = Place {
            name: server.name.clone(),
            endpoint: server.endpoint,
            source: server.source,
        };
        let (sender, requests) = mpsc::channel(REQUESTS);
        self.arrivals.spawn(|arrivals| {
            let link = Once {
                place,
                tls,
                port: id,
                requests,
                arrivals,
            };
            link.run()
        });
        Ok(Way::Tls(sender))
    }

    /// Returns the next arrival; cancel-safe.
    pub(super) async fn next(&mut self) -> Arrival<ServerId> {
        self.arrivals.next().await
    }
}
