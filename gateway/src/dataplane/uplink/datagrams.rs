//! Datagram sessions of one shard, the receiving halves: opened in place, checked, gathered over a whole batch.
//!
//! A receiver index that we chose says the place in an array; only the whole index, with its random bits, makes a
//! packet worth a decryption. Whatever a batch changes for others (counters, times, where the client is) is written
//! once, behind it.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use causeway_proto::activity::Activity;
use causeway_proto::ip::filter::Filter;
use causeway_proto::ip::mss;
use causeway_proto::wireguard::{Index, Kind, OpenError, PeerActivity, PeerId, ReceivingKey};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use crate::dataplane::attach::datagram::{Notice, Stray};
use crate::dataplane::coalesce::{Coalescer, Storage};
use crate::dataplane::counters::{Counter, Published, Tally};
use crate::dataplane::path::{Cell, Endpoint};
use crate::dataplane::slots::{Slot, Table};
use crate::dataplane::stream::Key;
use crate::dataplane::uplink::{Gate, TunWriter};
use crate::os::clock;
use crate::os::udp::{Ring, Socket};

/// What the receiving halves are told.
pub(crate) enum Order {
    /// A session begins.
    Attach(Box<Session>),
    /// Messages for the key's index are this session's.
    InstallReceiving(Key, Box<ReceivingKey>),
    /// Messages for the index are nobody's.
    RemoveReceiving(Key, Index),
    /// The client was authenticated at this place by other means than data.
    SetEndpoint(Key, Endpoint),
    /// Put another filter in force.
    SetFilter(Key, Option<Arc<Filter>>),
    /// Forget a session at once.
    Detach(Key),
}

/// The receiving half of a session.
pub(crate) struct Session {
    pub(crate) key: Key,
    pub(crate) peer: PeerId,
    pub(crate) address: Ipv4Addr,
    pub(crate) mss: u16,
    pub(crate) filter: Option<Arc<Filter>>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) peer_activity: Arc<PeerActivity>,
    pub(crate) notices: Sender<Notice>,
    /// Where the downlink reads the endpoint.
    pub(crate) cell: Arc<Cell>,
    /// What was last stored there.
    pub(crate) endpoint: Option<Endpoint>,
    /// The indices of its keys.
    pub(crate) indices: Vec<Index>,
    pub(crate) batch: Batch,
    pub(crate) asked: Told,
    pub(crate) moved: Told,
    /// Whether it has moved and nobody could be told.
    pub(crate) untold: bool,
}

/// What the batch under way has brought for one session.
#[derive(Clone, Copy, Default)]
pub(crate) struct Batch {
    heard: Heard,
    packets: u64,
    octets: u64,
}

#[derive(Clone, Copy, Default, Eq, PartialEq)]
enum Heard {
    #[default]
    Nothing,
    Keepalives,
    Data,
}

/// When a notice of one kind was last told.
#[derive(Clone, Copy, Default)]
pub(crate) struct Told {
    at_ms: Option<u64>,
}

impl Told {
    const INTERVAL_MS: u64 = 1_000;

    /// Tells `notice`, unless one was told within the last second or there is no room; returns whether it was told.
    pub(crate) fn tell(&mut self, now_ms: u64, notice: Notice, notices: &Sender<Notice>) -> bool {
        let due = self
            .at_ms
            .is_none_or(|at_ms| now_ms.saturating_sub(at_ms) >= Self::INTERVAL_MS);
        let told = due && notices.try_send(notice).is_ok();
        if told {
            self.at_ms = Some(now_ms);
        }
        told
    }
}

/// A key and whose it is.
struct Receiver {
    key: ReceivingKey,
    session: Slot,
    /// Whether nothing has been opened with it, or nobody has been told yet.
    fresh: bool,
}

/// The datagram sessions of one shard.
pub(crate) struct Datagrams {
    sockets: Vec<Arc<Socket>>,
    ring: Option<Ring>,
    peers: Peers,
    by_key: HashMap<Key, Slot>,
    strays: Option<Sender<Stray>>,
    tally: Tally,
    published: Arc<Published>,
}

#[derive(Default)]
struct Peers {
    sessions: Table<Session>,
    /// By the slot of their index.
    receivers: Vec<Option<Box<Receiver>>>,
    /// Sessions that the batch under way has brought something for.
    touched: Vec<Slot>,
}

/// What a batch needs beside the sessions.
struct Tools<'a, 's, 't> {
    coalescer: Coalescer<'a, 's, TunWriter<'t>>,
    gate: &'t Gate,
    tally: &'t mut Tally,
    strays: Option<&'t Sender<Stray>>,
    now: Instant,
    now_ms: u64,
}

impl Datagrams {
    /// Makes the halves of a shard that reads `sockets`, one for each listen address.
    pub(crate) fn new(
        sockets: Vec<Arc<Socket>>,
        strays: Option<Sender<Stray>>,
        published: Arc<Published>,
    ) -> Self {
        let trains = sockets.iter().any(|socket| socket.receives_trains());
        Self {
            ring: (!sockets.is_empty()).then(|| Ring::new(trains)),
            sockets,
            peers: Peers::default(),
            by_key: HashMap::new(),
            strays,
            tally: Tally::default(),
            published,
        }
    }

    pub(crate) fn sockets(&self) -> &[Arc<Socket>] {
        &self.sockets
    }

    pub(crate) fn publish(&self) {
        self.published.publish(&self.tally);
    }

    /// Does as told.
    pub(crate) fn obey(&mut self, order: Order) {
        match order {
            Order::Attach(session) => {
                let key = session.key;
                let slot = self.peers.sessions.insert(*session);
                self.by_key.insert(key, slot);
            }
            Order::InstallReceiving(key, receiving) => {
                if let Some(slot) = self.by_key.get(&key).copied() {
                    self.peers.install(slot, *receiving);
                }
            }
            Order::RemoveReceiving(key, index) => {
                if let Some(slot) = self.by_key.get(&key).copied() {
                    self.peers.remove_key(slot, index);
                }
            }
            Order::SetEndpoint(key, endpoint) => {
                if let Some(session) = self.session(key) {
                    session.meet(&endpoint, clock::coarse_ms());
                }
            }
            Order::SetFilter(key, filter) => {
                if let Some(session) = self.session(key) {
                    session.filter = filter;
                }
            }
            Order::Detach(key) => {
                if let Some(slot) = self.by_key.remove(&key) {
                    self.peers.remove(slot);
                }
            }
        }
    }

    fn session(&mut self, key: Key) -> Option<&mut Session> {
        let slot = self.by_key.get(&key).copied()?;
        self.peers.sessions.get_mut(slot)
    }

    /// Receives one batch from the socket of listen address `listener` and writes what it brings to the TUN.
    pub(crate) fn receive(
        &mut self,
        listener: u8,
        now: Instant,
        gate: &Gate,
        storage: &mut Storage,
        writer: TunWriter<'_>,
    ) {
        let (Some(socket), Some(ring)) = (self.sockets.get(usize::from(listener)), &mut self.ring)
        else {
            return;
        };
        // A socket without a connection has no errors of its own to tell, and what it tells it tells once.
        if ring.receive(socket).is_err() {
            return;
        }
        let now_ms = clock::coarse_ms();
        let mut tools = Tools {
            coalescer: Coalescer::new(storage, writer),
            gate,
            tally: &mut self.tally,
            strays: self.strays.as_ref(),
            now,
            now_ms,
        };
        for arrival in ring.arrivals() {
            let endpoint = Endpoint {
                listener,
                path: arrival.path,
            };
            for datagram in arrival.datagrams() {
                self.peers.take(&endpoint, datagram, &mut tools);
            }
        }
        tools.coalescer.finish();
        self.peers.settle(now_ms, &mut self.tally);
    }
}

impl Peers {
    fn install(&mut self, slot: Slot, key: ReceivingKey) {
        let index = key.index();
        let Ok(place) = usize::try_from(index.slot()) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(slot) else {
            return;
        };
        session.indices.push(index);
        if self.receivers.len() <= place {
            self.receivers.resize_with(place + 1, || None);
        }
        self.receivers[place] = Some(Box::new(Receiver {
            key,
            session: slot,
            fresh: true,
        }));
    }

    fn remove_key(&mut self, slot: Slot, index: Index) {
        if let Some(session) = self.sessions.get_mut(slot) {
            session.indices.retain(|held| *held != index);
        }
        let place = usize::try_from(index.slot())
            .ok()
            .and_then(|place| self.receivers.get_mut(place));
        if let Some(place) = place {
            // By now it may be the place of another index.
            place.take_if(|receiver| receiver.key.index() == index);
        }
    }

    fn remove(&mut self, slot: Slot) {
        if let Some(session) = self.sessions.remove(slot) {
            for index in session.indices {
                self.remove_key(slot, index);
            }
        }
    }

    /// Takes one datagram.
    #[inline]
    fn take<'a>(
        &mut self,
        endpoint: &Endpoint,
        datagram: &'a mut [u8],
        tools: &mut Tools<'a, '_, '_>,
    ) {
        let index = match (Kind::of(datagram), datagram.first_chunk()) {
            (Some(Kind::Data), Some([_, _, _, _, a, b, c, d])) => {
                Index(u32::from_le_bytes([*a, *b, *c, *d]))
            }
            (Some(Kind::Initiation | Kind::Response | Kind::CookieReply), _) => {
                tools.astray(endpoint, datagram);
                return;
            }
            (Some(Kind::Data) | None, _) => {
                tools.tally.add(Counter::Malformed, 1);
                return;
            }
        };
        let receiver = usize::try_from(index.slot())
            .ok()
            .and_then(|place| self.receivers.get_mut(place)?.as_mut())
            .filter(|receiver| {
                receiver.key.index() == index && !receiver.key.is_expired(tools.now)
            });
        let found = receiver.and_then(|receiver| {
            let slot = receiver.session;
            Some((receiver, slot, self.sessions.get_mut(slot)?))
        });
        let Some((receiver, slot, session)) = found else {
            tools.tally.add(Counter::NoKey, 1);
            return;
        };
        let packet = match receiver.key.open(datagram) {
            Ok(packet) => packet,
            Err(error) => {
                tools.tally.add(counter_of(error), 1);
                return;
            }
        };
        let first = receiver.fresh;
        if first {
            let told = session.notices.try_send(Notice::FirstData(index));
            receiver.fresh = matches!(told, Err(TrySendError::Full(_)));
        }
        if receiver.key.wants_rekey(tools.now) {
            let notice = Notice::NeedHandshake(session.peer);
            session.asked.tell(tools.now_ms, notice, &session.notices);
        }
        // A handshake may have named another place since: what its first data says is nearer the truth.
        let elsewhere = first || session.endpoint != Some(*endpoint);
        if elsewhere && session.meet(endpoint, tools.now_ms) {
            tools.tally.add(Counter::Roams, 1);
        }
        if session.batch.heard == Heard::Nothing {
            session.batch.heard = Heard::Keepalives;
            self.touched.push(slot);
        }
        if packet.is_empty() {
            return;
        }
        session.batch.heard = Heard::Data;
        let filter = session.filter.as_deref();
        let len = match tools.gate.admit(session.address, &[], filter, packet) {
            Ok(len) => len,
            Err(counter) => {
                tools.tally.add(counter, 1);
                return;
            }
        };
        let packet = &mut packet[..len];
        mss::clamp(packet, session.mss);
        session.batch.packets += 1;
        session.batch.octets += len as u64;
        tools.coalescer.push(packet);
    }

    /// Tells everybody else what the batch has brought.
    fn settle(&mut self, now_ms: u64, tally: &mut Tally) {
        for slot in self.touched.drain(..) {
            let Some(session) = self.sessions.get_mut(slot) else {
                continue;
            };
            let Batch {
                heard,
                packets,
                octets,
            } = std::mem::take(&mut session.batch);
            if session.untold
                && let Some(to) = session.endpoint
            {
                session.tell_place(to, now_ms);
            }
            match heard {
                Heard::Nothing => {}
                Heard::Keepalives => session.peer_activity.received_keepalive(now_ms),
                Heard::Data => session.peer_activity.received_data(now_ms),
            }
            if packets > 0 {
                tally.add(Counter::Packets, packets);
                tally.add(Counter::Octets, octets);
                session.activity.add_up(packets, octets, now_ms);
            }
        }
    }
}

impl Session {
    /// Takes note of where the client is; returns whether it was somewhere else before.
    #[cold]
    fn meet(&mut self, endpoint: &Endpoint, now_ms: u64) -> bool {
        let before = self.endpoint.replace(*endpoint);
        self.cell.store(endpoint);
        let to = endpoint.path.remote;
        self.peer_activity.endpoint().store(to);
        let roamed = before.is_some_and(|before| before.path.remote != to);
        if roamed {
            self.tell_place(*endpoint, now_ms);
        }
        roamed
    }

    /// Tells where the client is, now or with a later packet.
    #[cold]
    fn tell_place(&mut self, to: Endpoint, now_ms: u64) {
        let peer = self.peer;
        let notice = Notice::Roamed { peer, to };
        self.untold = !self.moved.tell(now_ms, notice, &self.notices);
    }
}

impl Tools<'_, '_, '_> {
    /// Hands a handshake message that came behind data, in one train, to who reads the last socket of the group.
    #[cold]
    fn astray(&mut self, endpoint: &Endpoint, datagram: &[u8]) {
        let place = self.strays.and_then(|strays| strays.try_reserve().ok());
        match place {
            Some(place) => place.send(Stray {
                endpoint: *endpoint,
                octets: datagram.to_vec(),
            }),
            None => self.tally.add(Counter::ControlFull, 1),
        }
    }
}

const fn counter_of(error: OpenError) -> Counter {
    match error {
        OpenError::Short => Counter::Malformed,
        OpenError::Receiver => Counter::NoKey,
        OpenError::Replay => Counter::Replay,
        OpenError::Integrity => Counter::Integrity,
    }
}
