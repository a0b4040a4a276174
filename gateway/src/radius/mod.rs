//! The RADIUS client's sockets: one task owns `causeway_proto::radius::Client`, everybody else asks it.
//!
//! [`Transport`] is the handle and [`Driver`] the task. A socket is connected to its server, so the kernel throws away
//! what comes from another address or port, and tells when the host refuses. Dropping a request that waits is how a
//! client leaves; the answer that still comes is counted and opens nothing.

pub(crate) mod datagram;
mod exam;
mod meters;
mod sockets;
pub(crate) mod tls;
mod transport;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use causeway_proto::crypto::SecretBytes;
use causeway_proto::radius::access::Nas;
use causeway_proto::radius::{self as proto, Patience};

pub use causeway_proto::radius::{Demand, Login, Mode, Probe, RadiusResult, StatusServer};
pub use exam::{Exam, ExamError, Observation};
pub use tls::{Tls, TlsError};
pub use transport::{Driver, Reply, RequestError, ServerHealth, Transport};

/// What the RADIUS client needs to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// The servers, the preferred one first.
    pub servers: Vec<Server>,
    /// How one is chosen.
    pub mode: Mode,
    /// How long a log-in may wait for its answer.
    pub timeout: Duration,
    /// Whether a person may have to tap a phone.
    pub mfa: bool,
    /// When the same octets are sent again, counted from the first time.
    pub retransmit: Vec<Duration>,
    /// How often they go out, until it answers, to a server that answers Status-Server over UDP; `None` is never.
    pub repeat: Option<Duration>,
    /// After so much silence the machine asks whether the server lives; without a second factor another one is asked
    /// about the log-in, too.
    pub probe_after: Duration,
    /// For how long a server that is known not to answer is passed over.
    pub dead_time: Duration,
    /// About whom a server is asked to learn whether it lives; `None` asks about nobody.
    pub probe: Option<Probe>,
    /// Whether replies must have a Message-Authenticator.
    pub message_authenticator: Demand,
    /// NAS-Identifier.
    pub nas_identifier: String,
    /// NAS-IP-Address; by default the address from which the first server is asked.
    pub nas_ip: Option<Ipv4Addr>,
    /// NAS-IPv6-Address.
    pub nas_ipv6: Option<Ipv6Addr>,
}

/// One server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server {
    /// Its name in logs and metrics.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its port for authentication.
    pub auth_port: u16,
    /// The shared secret.
    pub secret: SecretBytes,
    /// The address to ask from: the one that the server knows as its client.
    pub source: Option<IpAddr>,
    /// Whether it is asked with Status-Server whether it lives.
    pub status: StatusServer,
    /// How it is reached over TLS; `None` is UDP.
    pub tls: Option<Tls>,
}

/// When a request is sent again unless the file says otherwise, in seconds: all of it inside of the 10 s in which NPS
/// knows a copy for what it is.
pub const RETRANSMIT: [u64; 5] = [1, 2, 4, 6, 8];
/// How often, until it answers, a server gets the same octets that is known to answer Status-Server.
pub const REPEAT: Duration = Duration::from_millis(500);

impl Default for Config {
    /// The defaults of the configuration file, without servers.
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            mode: Mode::Failover,
            timeout: Duration::from_secs(60),
            mfa: true,
            retransmit: RETRANSMIT.map(Duration::from_secs).into(),
            repeat: Some(REPEAT),
            probe_after: Duration::from_secs(10),
            dead_time: Duration::from_secs(60),
            probe: None,
            message_authenticator: Demand::Require,
            nas_identifier: String::new(),
            nas_ip: None,
            nas_ipv6: None,
        }
    }
}

impl Config {
    /// Returns what the gateway says of itself.
    #[must_use]
    pub fn nas(&self) -> Nas {
        let source = self.servers.first().and_then(Server::source_address);
        let (source_v4, source_v6) = match source {
            Some(IpAddr::V4(address)) => (Some(address), None),
            Some(IpAddr::V6(address)) => (None, Some(address)),
            None => (None, None),
        };
        Nas {
            identifier: self.nas_identifier.clone(),
            ipv4: self.nas_ip.or(source_v4),
            ipv6: self.nas_ipv6.or(source_v6),
        }
    }

    /// Returns what the machine needs to know.
    fn machine(&self) -> proto::Config {
        proto::Config {
            nas: self.nas(),
            servers: self
                .servers
                .iter()
                .map(|server| proto::Server {
                    name: server.name.clone(),
                    secret: server.secret.clone(),
                    status: server.status,
                    // TLS loses nothing that its connection outlives.
                    repeat: self.repeat.filter(|_| server.tls.is_none()),
                    is_sealed: server.tls.is_some(),
                })
                .collect(),
            mode: self.mode,
            timeout: self.timeout,
            retransmit: self.retransmit.clone(),
            patience: if self.mfa {
                Patience::Mfa
            } else {
                Patience::Machine {
                    failover_after: self.probe_after,
                }
            },
            dead_time: self.dead_time,
            message_authenticator: self.message_authenticator,
            probe_after: self.probe_after,
            probe: self.probe.clone(),
        }
    }
}

impl Server {
    /// Returns where it is asked.
    const fn endpoint(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.auth_port)
    }

    /// Returns the same for connections.
    fn place(&self) -> tls::Place {
        tls::Place {
            name: self.name.clone(),
            endpoint: self.endpoint(),
            source: self.source,
        }
    }

    /// Returns where requests leave from.
    fn bind_address(&self) -> SocketAddr {
        datagram::bind_address(self.address, self.source)
    }

    /// Returns the address that the kernel would ask from; connecting a datagram socket sends nothing.
    fn source_address(&self) -> Option<IpAddr> {
        self.source.or_else(|| {
            let socket = UdpSocket::bind(self.bind_address()).ok()?;
            socket.connect(self.endpoint()).ok()?;
            socket.local_addr().ok().map(|address| address.ip())
        })
    }
}
