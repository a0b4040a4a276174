//! What the client is told, and what it tells.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::super::access::{Answer, Nas, ReplyError, RequestError};
use super::super::{Code, RadiusResult};
use super::health::Health;
use crate::aaa::Identity;
use crate::crypto::SecretBytes;

/// What the client needs to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// What the gateway says of itself.
    pub nas: Nas,
    /// The servers, the preferred one first.
    pub servers: Vec<Server>,
    /// How one is chosen.
    pub mode: Mode,
    /// How long a request may wait; the caller's own deadline may come earlier.
    pub timeout: Duration,
    /// When the same octets are sent again, counted from the first time; later than 10 s is a second prompt with a
    /// server that has answered and forgotten.
    pub retransmit: Vec<Duration>,
    /// Whether somebody may have to tap a phone.
    pub patience: Patience,
    /// For how long a server that is known not to answer is passed over.
    pub dead_time: Duration,
    /// Whether replies must have a Message-Authenticator.
    pub message_authenticator: Demand,
    /// A log-in that waits for so long without any other sign of life makes the machine ask after the server.
    pub probe_after: Duration,
    /// Who is asked about to learn whether a server lives.
    pub probe: Option<Probe>,
}

/// A log-in that nobody makes: the account does not exist, so it is rejected before a second factor is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Probe {
    /// The account's name.
    pub user: Identity,
    /// How long a server may go unheard before it is asked.
    pub interval: Duration,
    /// What it is expected to say; any other authentic answer is a sign of life too, and told.
    pub expect: Code,
}

/// Whether a server is asked with Status-Server (RFC 5997).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum StatusServer {
    /// As long as it answers that; else with the probe user.
    #[default]
    Auto,
    /// It answers that.
    On,
    /// It does not: NPS.
    Off,
}

/// One server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server {
    /// Its name in logs, metrics and challenges.
    pub name: String,
    /// The shared secret.
    pub secret: SecretBytes,
    /// Whether it answers Status-Server.
    pub status: StatusServer,
    /// How often the same octets go out until it answers, once it is known to answer Status-Server; `None` is that
    /// [`Config::retransmit`] alone says when.
    ///
    /// What answers Status-Server knows a copy (RFC 5080 §2.2.2): it drops one while it works, and repeats its answer to
    /// one for some seconds behind it. NPS repeats nothing, and takes a copy for a new log-in when 10 s have passed.
    pub repeat: Option<Duration>,
    /// Whether nobody on the way can change what it says, as over TLS: then a reply needs no Message-Authenticator, and
    /// there are servers that put none in.
    pub is_sealed: bool,
}

/// How a server is chosen among those that live.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mode {
    /// The first.
    #[default]
    Failover,
    /// Each in turn.
    RoundRobin,
}

/// What slowness means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Patience {
    /// A person may be asked: slowness means nothing, and a request never moves to another server for it.
    Mfa,
    /// Nobody is asked: a request that had no answer for so long moves to another server that lives.
    Machine {
        /// How long.
        failover_after: Duration,
    },
}

/// Whether replies must have a Message-Authenticator.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Demand {
    /// They must (CVE-2024-3596).
    #[default]
    Require,
    /// One that is there must be right; [`Event::Unsigned`] tells of each that is not there.
    IfPresent,
}

/// A server of [`Config::servers`], by its place.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServerId(pub usize);

/// A socket of our own that is connected to one server: what comes over it is from that server's address and port.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Port {
    /// The server.
    pub server: ServerId,
    /// Which of the sockets to it; small numbers, given out in order.
    pub number: u16,
}

/// A request, for as long as the client lives.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(pub(super) u64);

/// Where the octets of [`super::Client::poll_transmit`] go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct Transmit {
    /// The socket; one that does not exist yet is to be made.
    pub port: Port,
}

/// What happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A request was made for a server; a retransmission is none.
    Started {
        /// The server.
        server: ServerId,
    },
    /// The same octets went out again.
    Retransmitted {
        /// The server.
        server: ServerId,
    },
    /// Nobody waits for an answer under this identifier any more, so the octets need not go out again.
    ///
    /// An answer that still comes is to be handed over all the same: it may be a late one.
    Settled {
        /// The socket.
        port: Port,
        /// The identifier, until the next octets with it.
        identifier: u8,
    },
    /// A request ended. Nothing follows for it.
    Finished {
        /// The request.
        request: RequestId,
        /// How.
        completion: Completion,
    },
    /// An authentic reply came when nobody waited any more; it opens nothing.
    Late {
        /// The server.
        server: ServerId,
        /// What it said.
        code: Code,
        /// Whose log-in it was.
        login: Box<Login>,
    },
    /// A reply without a Message-Authenticator was believed, as [`Demand::IfPresent`] allows.
    Unsigned {
        /// The server.
        server: ServerId,
    },
    /// What is known of a server has changed.
    Health {
        /// The server.
        server: ServerId,
        /// What it is now.
        health: Health,
    },
    /// A server said something else about the probe user than was expected.
    Unexpected {
        /// The server.
        server: ServerId,
        /// What it said.
        code: Code,
    },
}

/// Whose log-in a late answer was for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Login {
    /// The user.
    pub user: Identity,
    /// The session that is no more.
    pub session: String,
    /// What its client called it.
    pub correlation: Option<String>,
    /// Where the client was.
    pub source: IpAddr,
    /// When the server was first asked.
    pub asked: Instant,
}

/// How a request ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Completion {
    /// The word for it.
    pub result: RadiusResult,
    /// What the server said, if it said anything that can be used.
    pub answer: Option<Answer>,
    /// What was wrong with an authentic reply.
    pub error: Option<ReplyError>,
    /// The server that was asked last.
    pub server: Option<ServerId>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Why no request was made.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Refused {
    /// The credentials cannot be put into a request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Every identifier of every socket is in use.
    #[error("too many requests wait")]
    Full,
    /// There is no server.
    #[error("no server")]
    NoServer,
}
