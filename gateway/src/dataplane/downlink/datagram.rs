//! The sending half of a datagram session: its key, where its client is, and what could not be sent.
//!
//! There is no queue in front of the socket: UDP takes what it takes, and what the socket has no room for is dropped here,
//! as it would be a moment later by the network. What waits for a key is in [`held`](super::held).

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use causeway_proto::activity::Activity;
use causeway_proto::ip::filter::Filter;
use causeway_proto::ip::fragment::Fragments;
use causeway_proto::ip::icmp::IcmpError;
use causeway_proto::ip::{IpPacket, mss};
use causeway_proto::wireguard::{PeerActivity, PeerId, SendingKey};
use tokio::sync::mpsc::Sender;

use crate::dataplane::attach::datagram::Notice;
use crate::dataplane::counters::Counter;
use crate::dataplane::downlink::held::Held;
use crate::dataplane::downlink::outgoing::Outgoing;
use crate::dataplane::half::Tools;
use crate::dataplane::path::{Cell, Endpoint};
use crate::dataplane::segment::Train;
use crate::dataplane::slots::Slot;
use crate::dataplane::stream::Key;
use crate::dataplane::uplink::datagrams::Told;
use crate::os::clock;
use crate::os::udp::{Path, Socket};

/// What the sending halves are told, beside what streams are told too.
pub(crate) enum Order {
    /// A session begins.
    Attach(Box<DatagramHalf>),
    /// Seal with this key as soon as it is confirmed.
    PrepareSending(Key, Arc<SendingKey>),
    /// Seal with this key from now on.
    InstallSending(Key, Arc<SendingKey>),
    /// There is no key that may be used.
    RemoveSending(Key),
    /// The client was authenticated at this place by other means than data.
    SetEndpoint(Key, Endpoint),
}

/// The sending half of a session.
pub(crate) struct DatagramHalf {
    pub(crate) key: Key,
    pub(crate) peer: PeerId,
    pub(crate) shard: u8,
    pub(crate) address: Ipv4Addr,
    pub(crate) mtu: u16,
    pub(crate) mss: u16,
    pub(crate) filter: Option<Arc<Filter>>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) peer_activity: Arc<PeerActivity>,
    pub(crate) notices: Sender<Notice>,
    pub(crate) sending: Option<Arc<SendingKey>>,
    /// What takes its place when it is confirmed: with the client's first packet, so that the answer to it finds a key.
    pub(crate) next: Option<Arc<SendingKey>>,
    /// What waits for a key.
    pub(crate) held: Option<Box<Held>>,
    /// Where the uplink writes the endpoint, what of it was seen, and what it was.
    pub(crate) cell: Arc<Cell>,
    pub(crate) seen: u64,
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) asked: Told,
}

/// The sockets: for each listen address, one for each shard.
pub(crate) type Sockets = Vec<Vec<Arc<Socket>>>;

impl DatagramHalf {
    /// Takes note of where a handshake came from; where data has come from since is nearer the truth, as the order may have
    /// waited. The uplink is told the same, so that the cell says it in the end.
    pub(crate) fn meet(&mut self, endpoint: Endpoint) {
        let heard = self.cell.changed(&mut self.seen);
        self.endpoint = Some(heard.unwrap_or(endpoint));
    }

    /// Takes a key that may be used.
    pub(crate) fn install(&mut self, sending: Arc<SendingKey>) {
        self.next.take_if(|next| Arc::ptr_eq(next, &sending));
        self.sending = Some(sending);
    }

    /// Takes what the TUN gave for this session.
    pub(crate) fn route(
        &mut self,
        slot: Slot,
        train: &Train<'_>,
        outgoing: &mut Outgoing,
        sockets: &Sockets,
        tools: &mut Tools,
    ) {
        let count = train.count() as u64;
        let filter = self.filter.as_ref();
        if filter.is_some_and(|filter| !filter.allows_back(train.packet())) {
            tools.datagrams.add(Counter::Filter, count);
            return;
        }
        let mtu = self.mtu;
        if train.len_of(0) <= usize::from(mtu) {
            self.append(slot, train, outgoing, sockets, tools);
        } else if train.packet().dont_fragment() {
            tools.datagrams.add(Counter::TooBig, count);
            tools.answer(IcmpError::FragmentationNeeded { mtu }, train.packet());
        } else {
            self.append_fragments(slot, train, outgoing, sockets, tools);
        }
    }

    /// Cuts a train into frames; what does not travel with what is there makes it go.
    fn append(
        &mut self,
        slot: Slot,
        train: &Train<'_>,
        outgoing: &mut Outgoing,
        sockets: &Sockets,
        tools: &mut Tools,
    ) {
        let count = train.count();
        if !self.has_key(tools) {
            self.hold_train(slot, train, tools);
            return;
        }
        self.release(slot, outgoing, sockets, tools);
        let (mtu, mss) = (self.mtu, self.mss);
        for index in 0..count {
            let Ok(len) = u16::try_from(train.len_of(index)) else {
                return;
            };
            if !outgoing.fits(len, mtu) {
                self.send(outgoing, sockets, tools);
            }
            outgoing.push(slot, len, mtu, |out| {
                train.write(index, out);
                if count == 1 {
                    mss::clamp(out, mss);
                }
            });
        }
    }

    /// Cuts packets that are larger than the client takes into fragments.
    #[cold]
    fn append_fragments(
        &mut self,
        slot: Slot,
        train: &Train<'_>,
        outgoing: &mut Outgoing,
        sockets: &Sockets,
        tools: &mut Tools,
    ) {
        let has_key = self.has_key(tools);
        if has_key {
            self.release(slot, outgoing, sockets, tools);
        }
        let mut whole = std::mem::take(&mut tools.whole);
        let mut piece = std::mem::take(&mut tools.piece);
        for index in 0..train.count() {
            whole.clear();
            whole.resize(train.len_of(index), 0);
            train.write(index, &mut whole);
            let fragments = IpPacket::decode(&whole)
                .ok()
                .and_then(|packet| Fragments::new(packet, self.mtu));
            let Some(mut fragments) = fragments else {
                tools.datagrams.add(Counter::TooBig, 1);
                continue;
            };
            piece.clear();
            while fragments.poll_transmit(&mut piece) {
                if !has_key {
                    self.hold(slot, piece.as_slice().into(), tools);
                } else if let Ok(len) = u16::try_from(piece.len()) {
                    if !outgoing.fits(len, self.mtu) {
                        self.send(outgoing, sockets, tools);
                    }
                    outgoing.push(slot, len, self.mtu, |out| out.copy_from_slice(&piece));
                }
                piece.clear();
            }
        }
        (tools.whole, tools.piece) = (whole, piece);
    }

    /// Takes the next key if it may be used, and returns whether there is one.
    fn has_key(&mut self, tools: &Tools) -> bool {
        if let Some(next) = self.next.take_if(|next| next.is_confirmed()) {
            self.sending = Some(next);
        }
        let sending = self.sending.as_ref();
        sending.is_some_and(|key| !key.is_expired(tools.now))
    }

    /// Keeps the packets of a train until there is a key.
    #[cold]
    fn hold_train(&mut self, slot: Slot, train: &Train<'_>, tools: &mut Tools) {
        let count = train.count();
        for index in 0..count {
            let len = train.len_of(index);
            // Who floods a device that sleeps is not to cost a copy of each packet.
            let held = self.held.get_or_insert_default();
            if !held.has_room(&tools.waiting, len) {
                self.drop_for_want_of_a_key(count - index, tools);
                return;
            }
            let mut packet = vec![0; len].into_boxed_slice();
            train.write(index, &mut packet);
            if count == 1 {
                mss::clamp(&mut packet, self.mss);
            }
            self.hold(slot, packet, tools);
        }
    }

    /// Keeps a packet until there is a key, and asks for one.
    fn hold(&mut self, slot: Slot, packet: Box<[u8]>, tools: &mut Tools) {
        let held = self.held.get_or_insert_default();
        let kept = held.push(&mut tools.waiting, tools.now_us, slot, packet);
        let counter = if kept { Counter::Held } else { Counter::NoKey };
        tools.datagrams.add(counter, 1);
        self.ask(tools);
    }

    /// Sends what has waited for a key, once there is one.
    pub(crate) fn release(
        &mut self,
        slot: Slot,
        outgoing: &mut Outgoing,
        sockets: &Sockets,
        tools: &mut Tools,
    ) {
        let Some(mut held) = self.held.take() else {
            return;
        };
        if !self.has_key(tools) {
            self.held = Some(held);
            return;
        }
        let late = held.expire(&mut tools.waiting, tools.now_us);
        tools.datagrams.add(Counter::NoKey, late);
        while let Some(packet) = held.pop(&mut tools.waiting) {
            let Ok(len) = u16::try_from(packet.len()) else {
                continue;
            };
            if !outgoing.fits(len, self.mtu) {
                self.send(outgoing, sockets, tools);
            }
            outgoing.push(slot, len, self.mtu, |out| out.copy_from_slice(&packet));
        }
        self.send(outgoing, sockets, tools);
    }

    /// Drops what has waited for too long; returns whether something still waits.
    pub(crate) fn expire(&mut self, tools: &mut Tools) -> bool {
        let Some(held) = &mut self.held else {
            return false;
        };
        let late = held.expire(&mut tools.waiting, tools.now_us);
        tools.datagrams.add(Counter::NoKey, late);
        let waits = !held.is_empty();
        if !waits {
            self.held = None;
        }
        waits
    }

    /// Drops what waits for a key.
    pub(crate) fn drop_held(&mut self, tools: &mut Tools) {
        if let Some(mut held) = self.held.take() {
            let dropped = held.clear(&mut tools.waiting);
            tools.datagrams.add(Counter::NoKey, dropped);
        }
    }

    #[cold]
    fn drop_for_want_of_a_key(&mut self, count: usize, tools: &mut Tools) {
        tools.datagrams.add(Counter::NoKey, count as u64);
        self.ask(tools);
    }

    fn ask(&mut self, tools: &Tools) {
        let notice = Notice::NeedHandshake(self.peer);
        self.asked.tell(tools.now_us / 1_000, notice, &self.notices);
    }

    /// Seals and sends what `outgoing` has for this session, and empties it.
    pub(crate) fn send(&mut self, outgoing: &mut Outgoing, sockets: &Sockets, tools: &mut Tools) {
        if let Some(endpoint) = self.cell.changed(&mut self.seen) {
            self.endpoint = Some(endpoint);
        }
        let count = outgoing.count();
        let sealed = self.seal(outgoing, tools);
        let socket = self.endpoint.and_then(|endpoint| {
            let group = sockets.get(usize::from(endpoint.listener))?;
            group.get(usize::from(self.shard))
        });
        if let (true, Some(socket)) = (sealed, socket) {
            self.transmit(outgoing, socket, tools);
        } else {
            self.drop_for_want_of_a_key(count, tools);
        }
        outgoing.clear();
    }

    /// Seals all frames; returns whether they may be sent.
    fn seal(&mut self, outgoing: &mut Outgoing, tools: &Tools) -> bool {
        let Some(key) = self.sending.as_ref() else {
            return false;
        };
        if key.is_expired(tools.now) {
            return false;
        }
        let Some(first) = key.reserve(outgoing.count() as u64) else {
            return false;
        };
        for (counter, frame) in (first..).zip(outgoing.frames()) {
            if key.seal(counter, frame).is_err() {
                return false;
            }
        }
        if key.wants_rekey(tools.now) {
            self.ask(tools);
        }
        true
    }

    fn transmit(&mut self, outgoing: &Outgoing, socket: &Socket, tools: &mut Tools) {
        let Some(endpoint) = &mut self.endpoint else {
            return;
        };
        let stride = outgoing.stride();
        let mut sent = socket.send(&endpoint.path, outgoing.octets(0), stride);
        if endpoint.path.local.is_some() && is_no_source(sent.error.as_ref()) {
            // The address that the client reached is not ours any more: another one is better than none.
            let anywhere = Path::to(endpoint.path.remote);
            let again = socket.send(&anywhere, outgoing.octets(sent.taken), stride);
            if again.taken > 0 {
                endpoint.path = anywhere;
            }
            sent.taken += again.taken;
            sent.refused |= again.refused;
            sent.error = again.error;
        }
        if sent.refused {
            give_up_trains(socket, tools);
        }
        if let Some(error) = &sent.error {
            let lost = outgoing.count().saturating_sub(sent.taken);
            tools.datagrams.add(counter_of(error), lost as u64);
        }
        if sent.taken > 0 {
            let (packets, octets) = (sent.taken as u64, outgoing.packet_octets(sent.taken));
            let now_ms = clock::coarse_ms();
            tools.datagrams.add(Counter::Packets, packets);
            tools.datagrams.add(Counter::Octets, octets);
            self.activity.add_down(packets, octets, now_ms);
            self.peer_activity.sent_data(now_ms);
        }
    }
}

/// Says once for each socket that the kernel takes no trains.
#[cold]
fn give_up_trains(socket: &Socket, tools: &mut Tools) {
    tools.datagrams.add(Counter::TrainsRefused, 1);
    let address = socket.address().ok();
    tracing::warn!(
        ?address,
        "the kernel refuses UDP segmentation: datagrams are sent one by one from now on"
    );
}

/// Whether it may be the source address that is wrong: IPv4 says that the network is unreachable, IPv6 that the argument
/// is invalid.
fn is_no_source(error: Option<&io::Error>) -> bool {
    let code = error.and_then(io::Error::raw_os_error);
    matches!(
        code,
        Some(libc::EINVAL | libc::ENETUNREACH | libc::EADDRNOTAVAIL)
    )
}

fn counter_of(error: &io::Error) -> Counter {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Counter::QueueFull,
        Some(libc::EMSGSIZE) => Counter::TooBig,
        _ => Counter::Unsent,
    }
}
