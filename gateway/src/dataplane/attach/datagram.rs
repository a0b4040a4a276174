//! How a datagram session enters the packet path, what holds it there, and what it is told back.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use causeway_proto::activity::Activity;
use causeway_proto::ip::filter::Filter;
use causeway_proto::wireguard::{Index, PeerActivity, PeerId, ReceivingKey, SendingKey};
use tokio::sync::mpsc::Sender;

use crate::dataplane::attach::AttachError;
use crate::dataplane::downlink::{DownCommand, datagram as down};
use crate::dataplane::mailbox::Mailbox;
use crate::dataplane::path::{Cell, Endpoint};
use crate::dataplane::shard::UpCommand;
use crate::dataplane::stream::Key;
use crate::dataplane::uplink::datagrams as up;
use crate::dataplane::{DataPlane, MAX_MTU};
use crate::ids::SessionId;
use crate::os::udp::Socket;

/// The sockets of datagram sessions.
#[derive(Debug, Default)]
pub struct Listeners {
    /// For each listen address, the sockets for data of its [`Group`](crate::os::udp::Group): one for each shard.
    pub data: Vec<Vec<Socket>>,
    /// Where handshake messages go that arrive there behind data; without it they are dropped.
    pub strays: Option<Sender<Stray>>,
}

impl Listeners {
    /// Makes sockets that several threads can hold, if each shard has one of each group.
    pub(crate) fn share(data: Vec<Vec<Socket>>, shards: usize) -> io::Result<down::Sockets> {
        if data.iter().any(|group| group.len() != shards) {
            let message = "a group of sockets has another number of shards than the packet path";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let share = |group: Vec<Socket>| group.into_iter().map(Arc::new).collect();
        Ok(data.into_iter().map(share).collect())
    }
}

/// A peer that was let in; its keys come later.
pub struct DatagramSession {
    /// The session's name.
    pub id: SessionId,
    /// The address that the client has.
    pub address: Ipv4Addr,
    /// The largest inner packet.
    pub mtu: u16,
    /// What may pass; `None` is everything that may pass at all.
    pub filter: Option<Arc<Filter>>,
    /// The peer, in what is told back.
    pub peer: PeerId,
    /// The shard that all its receiver indices lead to.
    pub shard: u8,
    /// Where packets and octets are counted.
    pub activity: Arc<Activity>,
    /// Where the times of packets and the client's address are written; its milliseconds are those of
    /// [`clock`](crate::os::clock).
    pub peer_activity: Arc<PeerActivity>,
    /// Where notices go.
    pub notices: Sender<Notice>,
}

/// What the packet path tells the driver of datagram sessions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Notice {
    /// The first packet under the key of this index was authentic. Told again until there is room for it.
    FirstData(Index),
    /// There are packets for the peer and no key, or one that wants to be replaced. At most once a second from each
    /// direction; lost when there is no room.
    NeedHandshake(PeerId),
    /// The client is somewhere else; packets to it go there already. At most once a second: where it is now says
    /// [`DatagramAttachment::endpoint`]. When there was no room, or it has moved on since, the next packet from there
    /// tells it.
    Roamed {
        /// The peer.
        peer: PeerId,
        /// Where it is.
        to: Endpoint,
    },
}

/// A handshake message that arrived at a socket for data, behind data in one train.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stray {
    /// Where it came from and what it reached.
    pub endpoint: Endpoint,
    /// The message.
    pub octets: Vec<u8>,
}

/// A datagram session's place in the packet path; given up when dropped.
#[must_use]
pub struct DatagramAttachment {
    key: Key,
    cell: Arc<Cell>,
    uplink: Arc<Mailbox<UpCommand>>,
    downlink: Arc<Mailbox<DownCommand>>,
}

impl DatagramAttachment {
    /// Makes messages for the key's index this session's.
    pub fn install_receiving(&self, key: ReceivingKey) {
        self.up(up::Order::InstallReceiving(self.key, Box::new(key)));
    }

    /// Makes messages for `index` nobody's.
    pub fn remove_receiving(&self, index: Index) {
        self.up(up::Order::RemoveReceiving(self.key, index));
    }

    /// Seals packets to the client with this key as soon as it is confirmed, which the uplink sees first.
    pub fn prepare_sending(&self, key: Arc<SendingKey>) {
        self.down(down::Order::PrepareSending(self.key, key));
    }

    /// Seals packets to the client with this key from now on.
    pub fn install_sending(&self, key: Arc<SendingKey>) {
        self.down(down::Order::InstallSending(self.key, key));
    }

    /// Sends nothing more until there is another key.
    pub fn remove_sending(&self) {
        self.down(down::Order::RemoveSending(self.key));
    }

    /// Says where a handshake has just authenticated the client; data does the same without being told.
    pub fn set_endpoint(&self, endpoint: Endpoint) {
        self.down(down::Order::SetEndpoint(self.key, endpoint));
        self.up(up::Order::SetEndpoint(self.key, endpoint));
    }

    /// Returns where the client was last authenticated, by data or by [`set_endpoint`](Self::set_endpoint) once the
    /// uplink has heard of it.
    #[must_use]
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.cell.load()
    }

    /// Puts another filter in force, or none, from the threads' next look into their mailboxes on.
    pub fn set_filter(&self, filter: Option<Arc<Filter>>) {
        self.downlink
            .send(DownCommand::SetFilter(self.key, filter.clone()));
        self.up(up::Order::SetFilter(self.key, filter));
    }

    fn up(&self, order: up::Order) {
        self.uplink.send(UpCommand::Datagram(order));
    }

    fn down(&self, order: down::Order) {
        self.downlink.send(DownCommand::Datagram(order));
    }
}

impl Drop for DatagramAttachment {
    fn drop(&mut self) {
        // To the downlink first: behind this message the address may belong to somebody else.
        self.downlink.send(DownCommand::Remove(self.key));
        self.up(up::Order::Detach(self.key));
    }
}

impl DataPlane {
    /// Takes a peer that was let in. Nothing here waits for anybody; nothing passes before there are keys.
    pub fn attach_datagram(
        &self,
        session: DatagramSession,
    ) -> Result<DatagramAttachment, AttachError> {
        let id = session.id;
        let attachment = self.admit_datagram(session);
        tracing::debug!(session = %id, taken = attachment.is_ok(), "the packet path was offered a session");
        attachment
    }

    fn admit_datagram(&self, session: DatagramSession) -> Result<DatagramAttachment, AttachError> {
        let shard = session.shard;
        let links = self.uplinks.get(usize::from(shard));
        let links = links.ok_or(AttachError::Shard(shard))?;
        let key = Key(self.next_key.fetch_add(1, Ordering::Relaxed));
        let mtu = session.mtu.min(self.config.mtu).min(MAX_MTU);
        let clamp = self.config.mss_clamp.unwrap_or(u16::MAX);
        let mss = mtu.saturating_sub(40).min(clamp);
        let cell = Arc::new(Cell::default());
        let half = down::DatagramHalf {
            key,
            peer: session.peer,
            shard,
            address: session.address,
            mtu,
            mss,
            filter: session.filter.clone(),
            activity: session.activity.clone(),
            peer_activity: session.peer_activity.clone(),
            notices: session.notices.clone(),
            sending: None,
            next: None,
            held: None,
            cell: cell.clone(),
            seen: 0,
            endpoint: None,
            asked: up::Told::default(),
        };
        let order = DownCommand::Datagram(down::Order::Attach(Box::new(half)));
        if self.downlink.offer(order).is_err() {
            return Err(AttachError::Busy);
        }
        let receiving = up::Session {
            key,
            peer: session.peer,
            address: session.address,
            mss,
            filter: session.filter,
            activity: session.activity,
            peer_activity: session.peer_activity,
            notices: session.notices,
            cell: cell.clone(),
            endpoint: None,
            indices: Vec::new(),
            batch: up::Batch::default(),
            asked: up::Told::default(),
            moved: up::Told::default(),
            untold: false,
        };
        let order = UpCommand::Datagram(up::Order::Attach(Box::new(receiving)));
        if links.mailbox.offer(order).is_err() {
            self.downlink.send(DownCommand::Remove(key));
            return Err(AttachError::Busy);
        }
        Ok(DatagramAttachment {
            key,
            cell,
            uplink: links.mailbox.clone(),
            downlink: self.downlink.clone(),
        })
    }
}
