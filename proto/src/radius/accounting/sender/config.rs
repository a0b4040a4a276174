//! What the sender is told, and what it tells.

use std::time::Duration;

use super::super::Status;
use crate::crypto::SecretBytes;
use crate::radius::ServerId;

/// How accounting is sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// The servers, the preferred one first.
    pub servers: Vec<Server>,
    /// How many records may wait.
    pub queue_max: usize,
    /// How long a request flies before it counts as lost, and the first pause behind the second time; pauses double.
    pub flight: Duration,
}

/// One server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server {
    /// Its name in logs and metrics.
    pub name: String,
    /// The shared secret.
    pub secret: SecretBytes,
    /// Whether what is sent arrives, or [`Sender::handle_unreachable`](super::Sender::handle_unreachable) is called: then
    /// an answer is waited for, and nothing is sent again meanwhile (RFC 6613 §2.6).
    pub reliable: bool,
}

/// A datagram that goes out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct Sent {
    /// To whom.
    pub server: ServerId,
    /// Whether the record has been sent before.
    pub again: bool,
}

/// What there is to tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// A server has taken a record.
    Acknowledged {
        /// The record.
        seq: u64,
        /// Who has it.
        server: ServerId,
        /// How long ago it was sent first.
        elapsed: Duration,
    },
    /// A record will not be sent.
    Dropped {
        /// The record.
        seq: u64,
        /// What it was about.
        status: Status,
        /// Why.
        why: Dropped,
    },
    /// A request was not answered in time; its record is sent again.
    Unanswered {
        /// By whom.
        server: ServerId,
    },
    /// A server is found dead, or alive again.
    Health {
        /// The server.
        server: ServerId,
        /// Whether it lives.
        alive: bool,
    },
}

/// Why a record is not sent.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Dropped {
    /// A newer interim of its session says more.
    Superseded,
    /// There is no room.
    Full,
    /// It does not fit into a packet.
    TooLong,
}
