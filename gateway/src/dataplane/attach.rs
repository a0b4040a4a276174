//! How a session enters the packet path, and what holds it there.

pub(crate) mod datagram;

use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;

use causeway_proto::activity::Activity;
use causeway_proto::ip::filter::Filter;
use causeway_proto::sstp::Session;
use causeway_proto::terminate::TerminateCause;
use ipnet::Ipv4Net;
use rustls::ServerConnection;
use thiserror::Error;
use tokio::sync::oneshot;

use crate::dataplane::downlink::DownCommand;
use crate::dataplane::mailbox::Mailbox;
use crate::dataplane::shard::UpCommand;
use crate::dataplane::stream::{Call, Ended, Key, RecordPacking};
use crate::ids::SessionId;

/// An SSTP connection whose call is up.
pub struct StreamSession {
    /// The session's name.
    pub id: SessionId,
    /// The address that the client has.
    pub address: Ipv4Addr,
    /// The networks behind the client, whose addresses it may use as well.
    pub networks: Vec<Ipv4Net>,
    /// The largest inner packet.
    pub mtu: u16,
    /// The connection.
    pub socket: TcpStream,
    /// Its TLS; it may hold plaintext that nobody has read.
    pub tls: ServerConnection,
    /// What may pass; `None` is everything that may pass at all.
    pub filter: Option<Arc<Filter>>,
    /// Plaintext that the machine has not consumed.
    pub unread: Vec<u8>,
    /// The protocol machine.
    pub machine: Session,
    /// How many SSTP packets share a record.
    pub packing: RecordPacking,
    /// Where packets and octets are counted.
    pub activity: Arc<Activity>,
    /// Told once, when the session has left the packet path other than by [`Attachment`]'s drop.
    pub ended: oneshot::Sender<Ended>,
}

/// A connection as the threads take it, whatever machine is behind it.
pub(crate) struct Entrant {
    pub(crate) address: Ipv4Addr,
    pub(crate) networks: Vec<Ipv4Net>,
    pub(crate) mtu: u16,
    pub(crate) filter: Option<Arc<Filter>>,
    pub(crate) socket: TcpStream,
    pub(crate) tls: ServerConnection,
    pub(crate) unread: Vec<u8>,
    pub(crate) call: Box<dyn Call>,
    pub(crate) packing: RecordPacking,
    pub(crate) activity: Arc<Activity>,
    pub(crate) ended: oneshot::Sender<Ended>,
}

impl From<StreamSession> for Entrant {
    fn from(session: StreamSession) -> Self {
        Self {
            address: session.address,
            networks: session.networks,
            mtu: session.mtu,
            filter: session.filter,
            socket: session.socket,
            tls: session.tls,
            unread: session.unread,
            call: Box::new(session.machine),
            packing: session.packing,
            activity: session.activity,
            ended: session.ended,
        }
    }
}

/// Why a session was not taken.
#[derive(Debug, Error)]
pub enum AttachError {
    /// The threads have more to do than they can.
    #[error("the packet path has too many sessions waiting to be taken")]
    Busy,
    /// There is no such shard.
    #[error("the packet path has no shard {0}")]
    Shard(u8),
    /// The socket refused an option.
    #[error("the socket cannot be set up")]
    Socket(#[from] io::Error),
}

/// A session's place in the packet path; given up when dropped.
#[must_use]
pub struct Attachment {
    pub(crate) key: Key,
    pub(crate) uplink: Arc<Mailbox<UpCommand>>,
    pub(crate) downlink: Arc<Mailbox<DownCommand>>,
}

impl Attachment {
    /// Begins a polite end; `ended` is told when it is over.
    pub fn terminate(&self, cause: TerminateCause) {
        self.uplink.send(UpCommand::Terminate(self.key, cause));
    }

    /// Puts another filter in force, or none, from the threads' next look into their mailboxes on.
    pub fn set_filter(&self, filter: Option<Arc<Filter>>) {
        self.downlink
            .send(DownCommand::SetFilter(self.key, filter.clone()));
        self.uplink.send(UpCommand::SetFilter(self.key, filter));
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // To the downlink first: behind this message the address may belong to somebody else.
        self.downlink.send(DownCommand::Remove(self.key));
        self.uplink.send(UpCommand::Detach(self.key));
    }
}
