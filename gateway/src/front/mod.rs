//! Port 443, and what is asked of it before anybody has logged in.
//!
//! A connection passes through stages, each with a deadline: PROXY header (from configured load balancers only) → TLS
//! handshake → HTTP request head. Then it is answered and closed (health probe, 404, 405, 503), or it is told 200 and
//! handed over as an [`SstpConnection`]. Paths under `/enrol/` belong to the log-in of Mobility ([`enrolment`]), where
//! that is on. When more come than `limits.new_per_second` allows, a connection waits its turn
//! before the handshake (`pace.rs`). [`budget::Budget`] bounds how many connections wait here: when it is full the
//! oldest in the earliest stage goes, so somebody who holds connections open keeps nobody out.
//!
//! Start with [`Front::serve`] in `listener.rs`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use causeway_proto::sstp::CertificateHashes;
use causeway_proto::sstp::http::RequestHead;
use ipnet::IpNet;
use rustls::ServerConnection;
use tokio::net::TcpStream;

use crate::front::budget::{Limits, Ticket};

pub mod budget;
pub mod enrolment;
mod health;
mod listener;
mod pace;
pub mod proxy;
mod routing;
mod series;
#[cfg(test)]
mod tests;
pub mod tls;

pub use listener::Front;

/// What the front door does for whom.
#[derive(Clone, Debug)]
pub struct Config {
    /// The `Server` header; scanners look at it. Empty for none.
    pub server: String,
    /// How the health path is answered while the gateway is healthy.
    pub healthy: HealthyStatus,
    /// The load balancers that send a PROXY header; it is required from them and refused from everybody else.
    pub trusted_proxies: Vec<IpNet>,
    /// How many connections may be here.
    pub limits: Limits,
    /// New connections a second that work is done for; the rest waits its turn, source by source.
    pub new_per_second: u32,
    /// How long each stage may last.
    pub deadlines: Deadlines,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: "Microsoft-HTTPAPI/2.0".to_owned(),
            healthy: HealthyStatus::Unauthorized,
            trusted_proxies: Vec::new(),
            limits: Limits::default(),
            new_per_second: 200,
            deadlines: Deadlines::default(),
        }
    }
}

/// The status that a healthy gateway answers on the health path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HealthyStatus {
    /// 401, as RRAS does, so that an existing Traffic Manager profile keeps working.
    Unauthorized,
    /// 200, for probes that know nothing else.
    Ok,
}

/// How long each stage may last, from its start to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deadlines {
    /// The PROXY header.
    pub proxy: Duration,
    /// The first octet and the TLS handshake together; the handshake anew when one's turn came first.
    pub tls: Duration,
    /// The wait for one's turn (`limits.new_per_second`).
    pub turn: Duration,
    /// The HTTP request head.
    pub head: Duration,
    /// Writing the answer.
    pub answer: Duration,
    /// Waiting for the client to close after an answer.
    pub linger: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            proxy: Duration::from_secs(3),
            tls: Duration::from_secs(10),
            turn: Duration::from_secs(5),
            // Cut within ten seconds of the first octet, with the time that a busy machine takes to notice.
            head: Duration::from_secs(9),
            answer: Duration::from_secs(5),
            linger: Duration::from_secs(1),
        }
    }
}

/// Whether new SSTP calls are taken; a drain closes it after its notice.
#[derive(Debug)]
pub struct Door {
    open: AtomicBool,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            open: AtomicBool::new(true),
        }
    }
}

impl Door {
    /// Takes new calls again.
    pub fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }

    /// Answers new calls with 503 from now on; the health path is still answered.
    pub fn close(&self) {
        self.open.store(false, Ordering::Relaxed);
    }

    /// Returns whether new calls are taken.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }
}

/// A connection on which a client has asked for SSTP and has been told 200.
#[derive(Debug)]
pub struct SstpConnection {
    /// The socket.
    pub stream: TcpStream,
    /// The TLS connection; it may hold decrypted plaintext that has not been read yet.
    pub tls: ServerConnection,
    /// What came behind the request head.
    pub unread: Vec<u8>,
    /// The request.
    pub head: RequestHead,
    /// The certificate that this connection was shown.
    pub certificate: CertificateHashes,
    /// The client, as the load balancer says when there is one.
    pub remote: SocketAddr,
    /// Where the client arrived.
    pub local: SocketAddr,
    /// When the connection was accepted.
    pub started: Instant,
    /// The place that the connection takes until its client has logged in.
    pub ticket: Ticket,
}
