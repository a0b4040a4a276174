//! RADIUS over TLS (RFC 6614): one connection for each of the machine's ports, so each has 256 identifiers of its own.
//!
//! A connection is made when there is something to send. When it breaks, what somebody still waits for goes out again on
//! the new one, the same octets, but not for ever: each copy may be another prompt on a phone. When no connection can be
//! made, or each one breaks without an answer, everything in flight is given back as unreachable, so that the machine
//! decides where it goes, and nothing of it is sent by surprise later.

mod flight;
mod once;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_proto::radius::{MAX_LEN, MIN_LEN, Port};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::{SockRef, TcpKeepalive};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Server;
use super::datagram::{Arrival, bind_address};
use flight::{Added, Flight};
pub(crate) use once::Once;

/// How long a connection may take to be made, and a write to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// After so long without word that what was sent has come, a connection is dead.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// When nothing is sent, the host asks after so long whether the other end is there, so often and so many times: who
/// waits for a phone shall not wait for a connection that is no more.
const IDLE: Duration = Duration::from_secs(30);
const IDLE_AGAIN: Duration = Duration::from_secs(5);
const IDLE_TIMES: u32 = 3;
/// How long a server that cannot be reached or never answers is left alone, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A connection that ends sooner, without an answer, is as good as none.
const SHORT: Duration = Duration::from_secs(1);

/// How a server is reached over TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.config, &other.config)
    }
}

impl Eq for Tls {}

/// Why no TLS settings could be made.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file is no PEM.
    #[error(transparent)]
    Pem(#[from] pem::Error),
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// The file of authorities has none.
    #[error("there is no certificate of an authority")]
    NoAuthority,
    /// The name is none.
    #[error("{0:?} is no name of a server")]
    Name(String),
}

impl Tls {
    /// Believes servers whose certificate is of an authority in `ca` and for `name`; shows `identity`, a chain and its
    /// key, if there is one.
    ///
    /// # Errors
    ///
    /// When something cannot be read or used.
    pub fn from_pem(
        ca: &[u8],
        identity: Option<(&[u8], &[u8])>,
        name: &str,
    ) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca) {
            roots.add(certificate?)?;
        }
        if roots.is_empty() {
            return Err(TlsError::NoAuthority);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match identity {
            Some((chain, key)) => {
                let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>()?;
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key)?)?
            }
            None => builder.with_no_client_auth(),
        };
        let name =
            ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))?;
        Ok(Self {
            name,
            config: Arc::new(config),
        })
    }

    /// Makes a connection.
    async fn connect(&self, place: &Place) -> io::Result<TlsStream<TcpStream>> {
        let stream = dial(place).await?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(self.name.clone(), stream).await
    }

    /// Begins a connection of its own.
    pub(super) fn session(&self) -> Result<rustls::ClientConnection, rustls::Error> {
        rustls::ClientConnection::new(Arc::clone(&self.config), self.name.clone())
    }
}

/// Where a server is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its name in the log.
    pub(crate) name: String,
    pub(crate) endpoint: SocketAddr,
    /// Where connections begin.
    pub(crate) source: Option<IpAddr>,
}

/// Says once why there is no connection, and once that there is one again.
#[derive(Debug, Default)]
struct Failure {
    said: bool,
}

impl Failure {
    fn say(&mut self, server: &str, error: &io::Error) {
        let again = std::mem::replace(&mut self.said, true);
        if again {
            tracing::debug!(radius.server = server, %error, "no RADIUS connection");
        } else {
            tracing::warn!(radius.server = server, %error, "no connection to the RADIUS server over TLS: compare its address, port, certificate and name with `tls` of the server; `causeway doctor radius` looks closer");
        }
    }

    fn over(&mut self, server: &str) {
        if std::mem::take(&mut self.said) {
            tracing::info!(
                radius.server = server,
                "the RADIUS server answers over TLS again"
            );
        }
    }
}

/// What the machine wants of a link.
#[derive(Debug)]
pub(super) enum Order {
    /// A datagram is to go out.
    Send(Vec<u8>),
    /// Nobody waits for an answer under this identifier any more; one that comes is handed over all the same.
    Forget(u8),
}

/// Why a connection has ended.
enum End {
    /// It broke.
    Broken,
    /// Nobody will send anything any more.
    Closed,
}

/// One of the machine's ports.
pub(super) struct Link {
    pub(super) server: Server,
    pub(super) tls: Tls,
    pub(super) port: Port,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) arrivals: mpsc::Sender<Arrival<Port>>,
}

impl Link {
    /// Carries requests and answers until the machine is gone.
    pub(super) async fn run(mut self) {
        let mut flight = Flight::default();
        let mut failure = Failure::default();
        let mut pause = FIRST_PAUSE;
        loop {
            while !flight.is_due() {
                let Some(order) = self.orders.recv().await else {
                    return;
                };
                if flight.obey(order) == Added::Spent && !self.refuse().await {
                    return;
                }
            }
            let mut heard = false;
            let mut made = None;
            let ended = match timeout(PATIENCE, self.tls.connect(&self.server.place())).await {
                Ok(Ok(stream)) => {
                    made = Some(Instant::now());
                    self.carry(stream, &mut flight, &mut heard).await
                }
                Ok(Err(error)) => Err(error),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            match ended {
                Ok(End::Closed) => return,
                Ok(End::Broken) => {
                    tracing::debug!(radius.server = self.server.name, "RADIUS connection ended");
                }
                Err(error) => {
                    failure.say(&self.server.name, &error);
                }
            }
            flight.break_off();
            if heard {
                failure.over(&self.server.name);
                pause = FIRST_PAUSE;
                continue;
            }
            let lasted = made.is_some_and(|made| made.elapsed() >= SHORT);
            let there = if lasted && !flight.has_spent() {
                self.rest_for(pause, &mut flight).await
            } else {
                flight.give_back();
                self.refuse_for(pause, &mut flight).await
            };
            if !there {
                return;
            }
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// Gives everything back; returns whether the machine is still there.
    async fn refuse(&self) -> bool {
        let unreachable = Arrival::Unreachable(self.port);
        self.arrivals.send(unreachable).await.is_ok()
    }

    /// Gives everything back for a while; returns whether the machine is still there.
    async fn refuse_for(&mut self, pause: Duration, flight: &mut Flight) -> bool {
        let mut wait = std::pin::pin!(sleep(pause));
        if !self.refuse().await {
            return false;
        }
        loop {
            tokio::select! {
                () = &mut wait => return true,
                order = self.orders.recv() => match order {
                    Some(Order::Forget(identifier)) => flight.forget(identifier),
                    Some(Order::Send(_)) => if !self.refuse().await {
                        return false;
                    },
                    None => return false,
                },
            }
        }
    }

    /// Leaves the server alone for a while and keeps what is to be sent; returns whether the machine is still there.
    async fn rest_for(&mut self, pause: Duration, flight: &mut Flight) -> bool {
        let mut wait = std::pin::pin!(sleep(pause));
        loop {
            tokio::select! {
                () = &mut wait => return true,
                order = self.orders.recv() => match order {
                    Some(order) => if flight.obey(order) == Added::Spent && !self.refuse().await {
                        return false;
                    },
                    None => return false,
                },
            }
        }
    }

    /// Sends what is to be sent, and carries both ways.
    async fn carry(
        &mut self,
        mut stream: TlsStream<TcpStream>,
        flight: &mut Flight,
        heard: &mut bool,
    ) -> io::Result<End> {
        let mut buffer = Vec::new();
        loop {
            // Before each datagram: what is in the queue may say that nobody waits for it any more.
            while let Ok(order) = self.orders.try_recv() {
                flight.obey(order);
            }
            if let Some(datagram) = flight.next() {
                write(&mut stream, datagram).await?;
                continue;
            }
            tokio::select! {
                order = self.orders.recv() => match order {
                    // What is spent is not given back here: others are answered over this connection.
                    Some(order) => drop(flight.obey(order)),
                    None => return Ok(End::Closed),
                },
                read = stream.read_buf(&mut buffer) => {
                    if read? == 0 {
                        return Ok(End::Broken);
                    }
                    while let Some(reply) = next_packet(&mut buffer)? {
                        *heard = true;
                        flight.answered(&reply);
                        let arrival = Arrival::Datagram(self.port, reply);
                        if self.arrivals.send(arrival).await.is_err() {
                            return Ok(End::Closed);
                        }
                    }
                }
            }
        }
    }
}

/// Connects in such a way that the host notices soon when the other end is gone.
async fn dial(place: &Place) -> io::Result<TcpStream> {
    let endpoint = place.endpoint;
    let socket = if endpoint.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.bind(bind_address(endpoint.ip(), place.source))?;
    let keepalive = TcpKeepalive::new()
        .with_time(IDLE)
        .with_interval(IDLE_AGAIN)
        .with_retries(IDLE_TIMES);
    let watched = {
        let socket = SockRef::from(&socket);
        socket
            .set_tcp_keepalive(&keepalive)
            .and_then(|()| socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED)))
    };
    if let Err(error) = watched {
        // It only takes longer then.
        tracing::debug!(%error, "a dead RADIUS connection will be noticed late");
    }
    let stream = socket.connect(endpoint).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn write(stream: &mut TlsStream<TcpStream>, datagram: &[u8]) -> io::Result<()> {
    let written = timeout(PATIENCE, async {
        stream.write_all(datagram).await?;
        stream.flush().await
    });
    written.await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// Takes one packet off the front; its own length field says where it ends.
fn next_packet(buffer: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let Some(&[high, low]) = buffer.get(2..4) else {
        return Ok(None);
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if !(MIN_LEN..=MAX_LEN).contains(&len) {
        // Where the next one begins cannot be known.
        return Err(io::ErrorKind::InvalidData.into());
    }
    if buffer.len() < len {
        return Ok(None);
    }
    let rest = buffer.split_off(len);
    Ok(Some(std::mem::replace(buffer, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(identifier: u8, len: u16) -> Vec<u8> {
        let mut bytes = vec![2, identifier];
        bytes.extend(len.to_be_bytes());
        bytes.resize(len.into(), 7);
        bytes
    }

    #[test]
    fn packets_are_cut_by_their_length() {
        let whole = [packet(1, 20), packet(2, 4096), packet(3, 38)].concat();
        for step in [1, 7, 4000, 5000] {
            let (mut buffer, mut seen) = (Vec::new(), Vec::new());
            for part in whole.chunks(step) {
                buffer.extend(part);
                while let Some(packet) = next_packet(&mut buffer).unwrap() {
                    seen.push((packet[1], packet.len()));
                }
            }
            assert_eq!(seen, [(1, 20), (2, 4096), (3, 38)]);
            assert!(buffer.is_empty());
        }
        for len in [0, 19, 4097, 65_535] {
            let mut bytes = packet(1, 20);
            bytes[2..4].copy_from_slice(&u16::to_be_bytes(len));
            assert!(next_packet(&mut bytes).is_err());
        }
    }

    #[tokio::test]
    async fn a_dead_connection_is_noticed_soon() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let place = Place {
            name: "cloud".into(),
            endpoint: address,
            source: None,
        };
        let stream = dial(&place).await.unwrap();
        let socket = SockRef::from(&stream);
        let s = Duration::from_secs;
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(s(10)));
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), s(30));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), s(5));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    }
}
