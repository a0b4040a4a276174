//! The built-in clients: the client halves of `causeway_proto` over real sockets, SSTP here, Mobility beside it.
//!
//! `demo` and the tests log in with it as any client would, through the public listener. It is made to prove that
//! things work, not to be fast: each packet is a message of its own.

mod mobility;
mod ping;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_proto::aaa::{AuthMethod, Identity, NetworkConfig};
use causeway_proto::crypto::{Rng, SecretBytes};
use causeway_proto::ppp;
use causeway_proto::sstp::http::ClientShape;
use causeway_proto::sstp::{
    self, CertificateHashes, ClientEvent, EndReason, Faults, HashProtocol, PacketSink,
};
use causeway_proto::terminate::TerminateCause;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use mobility::{MobilityOptions, MobilityTunnel};

pub use crate::trust::Trust;

/// What is read of the connection at once: a TLS record.
const CHUNK: usize = 16 * 1024;
/// The longest answer to the SSTP request that is read.
const MAX_ANSWER: usize = 8 * 1024;

/// How to log in.
#[derive(Clone, Debug)]
pub struct Options {
    /// The gateway.
    pub server: SocketAddr,
    /// The name for SNI and `Host`.
    pub host: String,
    /// Which certificate to believe.
    pub trust: Trust,
    /// `SSTPCORRELATIONID` to send.
    pub correlation: String,
    /// The PPP side: user, password, methods.
    pub ppp: ppp::Config,
    /// What to do wrong on purpose.
    pub faults: Faults,
}

/// Who logs in, with a password.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user.
    pub user: Identity,
    /// The password.
    pub password: SecretBytes,
    /// The one method that the client agrees to.
    pub method: AuthMethod,
}

impl Options {
    /// A client that looks like Windows and makes no mistake; it calls the gateway `localhost`.
    #[must_use]
    pub fn windows(server: SocketAddr, trust: Trust, login: Login) -> Self {
        Self {
            server,
            host: "localhost".to_owned(),
            trust,
            correlation: "{6B29FC40-CA47-1067-B31D-00DD010662DA}".to_owned(),
            ppp: ppp::Config::client(ppp::ClientConfig {
                user: login.user,
                password: login.password,
                auth: vec![login.method],
                want_dns: true,
                request_wins: false,
                mtu: 1400,
                supplicant: ppp::Supplicant::BuiltIn,
                new_password: None,
                profile: ppp::Profile::Windows,
            }),
            faults: Faults::default(),
        }
    }
}

/// Why there is no tunnel, or no more.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The transport failed.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// The host name is none.
    #[error("{0:?} is no host name")]
    Name(String),
    /// The TLS settings do not work.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The HTTP answer was not 200.
    #[error("the gateway answered {0:?}")]
    Refused(String),
    /// The call ended.
    #[error("the call ended: {} ({})", .reason.as_str(), .cause.as_str())]
    Ended {
        /// The cause.
        cause: TerminateCause,
        /// The protocol's reason.
        reason: EndReason,
    },
    /// The gateway closed the connection without a word.
    #[error("the gateway closed the connection")]
    Closed,
}

/// A call that is up.
pub struct Tunnel {
    io: TlsStream<TcpStream>,
    machine: sstp::Client,
    plain: Vec<u8>,
    /// What is read at once.
    chunk: Box<[u8]>,
    inbox: VecDeque<Vec<u8>>,
    network: NetworkConfig,
    started: Instant,
    /// Why the call is ending, once it is.
    ending: Option<(TerminateCause, EndReason)>,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel")
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

/// Keeps inner packets for [`Tunnel::receive`].
struct Inbox<'i>(&'i mut VecDeque<Vec<u8>>);

impl<'a> PacketSink<'a> for Inbox<'_> {
    fn deliver(&mut self, packet: &'a mut [u8]) {
        self.0.push_back(packet.to_vec());
    }
}

/// What the loop brought.
enum Turn {
    Up(NetworkConfig),
    Again,
}

impl Tunnel {
    /// Logs in.
    ///
    /// # Errors
    ///
    /// Whatever kept the call from coming up.
    pub async fn connect(options: &Options) -> Result<Self, ClientError> {
        let started = Instant::now();
        let name = ServerName::try_from(options.host.clone())
            .map_err(|_| ClientError::Name(options.host.clone()))?;
        let connector = TlsConnector::from(Arc::new(options.trust.client_config()?));
        let socket = TcpStream::connect(options.server).await?;
        socket.set_nodelay(true)?;
        let mut io = connector.connect(name, socket).await?;
        let certificate = io
            .get_ref()
            .1
            .peer_certificates()
            .and_then(<[_]>::first)
            .map(|leaf| CertificateHashes::of(leaf))
            .ok_or(ClientError::Closed)?;
        io.write_all(&sstp::http::request(
            &options.host,
            &options.correlation,
            ClientShape::Windows,
        ))
        .await?;
        io.flush().await?;
        let plain = read_answer(&mut io).await?;
        let config = sstp::ClientConfig {
            ppp: options.ppp.clone(),
            certificate,
            preferred: HashProtocol::Sha256,
            hello_interval: Duration::from_secs(60),
            faults: options.faults,
        };
        let machine = sstp::Client::new(config, Rng::from_seed(&seed()?), Instant::now());
        let mut tunnel = Self {
            io,
            machine,
            plain,
            chunk: vec![0; CHUNK].into(),
            inbox: VecDeque::new(),
            network: NetworkConfig {
                address: std::net::Ipv4Addr::UNSPECIFIED,
                gateway: std::net::Ipv4Addr::UNSPECIFIED,
                dns: Vec::new(),
                wins: Vec::new(),
                mtu: 1400,
            },
            started,
            ending: None,
        };
        loop {
            if let Turn::Up(network) = tunnel.turn().await? {
                tunnel.network = network;
                return Ok(tunnel);
            }
        }
    }

    /// Returns what the gateway assigned.
    #[must_use]
    pub const fn network(&self) -> &NetworkConfig {
        &self.network
    }

    /// Returns when the log-in began.
    #[must_use]
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// Returns TLS version and cipher suite, for people.
    #[must_use]
    pub fn tls(&self) -> String {
        let tls = self.io.get_ref().1;
        let version = tls
            .protocol_version()
            .map_or_else(|| "TLS".to_owned(), |version| format!("{version:?}"));
        let suite = tls
            .negotiated_cipher_suite()
            .map_or_else(String::new, |suite| format!(" {:?}", suite.suite()));
        version + &suite
    }

    /// Sends one inner packet.
    ///
    /// # Errors
    ///
    /// When the connection has failed.
    pub async fn send(&mut self, packet: &[u8]) -> Result<(), ClientError> {
        let len = u16::try_from(packet.len())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut framed = sstp::data_header(len).to_vec();
        framed.extend_from_slice(packet);
        self.io.write_all(&framed).await?;
        self.io.flush().await?;
        Ok(())
    }

    /// Waits for one inner packet.
    ///
    /// # Errors
    ///
    /// When the call has ended.
    pub async fn receive(&mut self) -> Result<Vec<u8>, ClientError> {
        loop {
            if let Some(packet) = self.inbox.pop_front() {
                return Ok(packet);
            }
            self.turn().await?;
        }
    }

    /// Hangs up politely and waits until the gateway has agreed.
    ///
    /// # Errors
    ///
    /// When the connection failed on the way.
    pub async fn close(mut self) -> Result<(), ClientError> {
        self.machine
            .terminate(Instant::now(), TerminateCause::UserRequest);
        loop {
            match self.turn().await {
                Ok(_) => {}
                Err(ClientError::Ended { .. } | ClientError::Closed) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the gateway ends the call, and returns why.
    pub async fn ended(&mut self) -> ClientError {
        loop {
            if let Err(error) = self.turn().await {
                return error;
            }
        }
    }

    /// Turns the loop once: drain, wait, tell the machine.
    async fn turn(&mut self) -> Result<Turn, ClientError> {
        let now = Instant::now();
        let consumed = self
            .machine
            .handle_stream(now, &mut self.plain, &mut Inbox(&mut self.inbox))
            .map_err(|broken| io::Error::new(io::ErrorKind::InvalidData, broken))?;
        self.plain.drain(..consumed);
        let mut packet = Vec::new();
        while self.machine.poll_transmit(&mut packet) {
            self.io.write_all(&packet).await?;
            packet.clear();
        }
        self.io.flush().await?;
        while let Some(event) = self.machine.poll_event() {
            match event {
                ClientEvent::Up(network) => return Ok(Turn::Up(network)),
                ClientEvent::AuthenticateDone | ClientEvent::Eap(_) => {}
                ClientEvent::Down { cause, reason } => self.ending = Some((cause, reason)),
                ClientEvent::Close => {
                    // The gateway may be gone already.
                    drop(self.io.shutdown().await);
                    return Err(self.end());
                }
            }
        }
        if !self.inbox.is_empty() {
            return Ok(Turn::Again);
        }
        let deadline = self
            .machine
            .poll_timeout()
            .map(tokio::time::Instant::from_std);
        tokio::select! {
            read = self.io.read(&mut self.chunk) => match read {
                Ok(0) => return Err(self.end()),
                Ok(read) => self.plain.extend_from_slice(self.chunk.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(self.end()),
                Err(error) => return Err(error.into()),
            },
            () = sleep_until(deadline) => self.machine.handle_timeout(Instant::now()),
        }
        Ok(Turn::Again)
    }

    /// What to report when there is no more connection.
    fn end(&mut self) -> ClientError {
        match self.ending.take() {
            Some((cause, reason)) => ClientError::Ended { cause, reason },
            None => ClientError::Closed,
        }
    }
}

/// Asks for `path` with GET over a connection of its own; returns the status line.
///
/// # Errors
///
/// When there is no answer.
pub async fn probe(server: SocketAddr, trust: &Trust, path: &str) -> Result<String, ClientError> {
    let connector = TlsConnector::from(Arc::new(trust.client_config()?));
    let name = ServerName::IpAddress(server.ip().into());
    let mut io = connector
        .connect(name, TcpStream::connect(server).await?)
        .await?;
    io.write_all(format!("GET {path} HTTP/1.1\r\nHost: {server}\r\n\r\n").as_bytes())
        .await?;
    io.flush().await?;
    let mut answer = Vec::new();
    while answer.len() < MAX_ANSWER && !answer.windows(2).any(|pair| pair == b"\r\n") {
        if io.read_buf(&mut answer).await? == 0 {
            return Err(ClientError::Closed);
        }
    }
    Ok(String::from_utf8_lossy(&answer)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned())
}

/// Reads the answer to the request; returns what came behind it.
async fn read_answer(io: &mut TlsStream<TcpStream>) -> Result<Vec<u8>, ClientError> {
    let mut answer = Vec::new();
    loop {
        if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = answer.split_off(end + 4);
            let status = String::from_utf8_lossy(&answer)
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned();
            if status.split(' ').nth(1) == Some("200") {
                return Ok(rest);
            }
            return Err(ClientError::Refused(status));
        }
        if answer.len() > MAX_ANSWER || io.read_buf(&mut answer).await? == 0 {
            return Err(ClientError::Closed);
        }
    }
}

/// Sleeps until the deadline; for ever when there is none.
async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Draws a seed for the machine.
fn seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut seed)
        .map_err(|_| io::Error::other("no randomness"))?;
    Ok(seed)
}
