//! Packets to the clients: read from the TUN, cut, queued, encrypted, written.
//!
//! One thread reads the TUN until it has nothing more, or a budget is spent, and then sends what it has gathered: up
//! to 64 KiB a write, in 16 KiB records, or 64 KiB of datagrams a call. A socket that takes nothing more is left alone until it does; meanwhile its
//! session's queue fills up to its cap and nobody else notices. This thread alone writes to the sockets.
//!
//! A session's filter looks at this direction too, by the sender: what the client may not reach does not reach the
//! client either. It keeps no state, so a host that may be reached may also begin.

pub(crate) mod datagram;
mod outgoing;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown};
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_proto::ip::PacketError;
use causeway_proto::ip::filter::Filter;
use causeway_proto::ip::icmp::IcmpError;
use causeway_proto::timer::Deadlines;

use crate::dataplane::counters::Counter;
use crate::dataplane::downlink::datagram::{DatagramHalf, Sockets};
use crate::dataplane::downlink::outgoing::Outgoing;
use crate::dataplane::half::{Progress, Route, State, StreamHalf, Tools, WORTH_A_WRITE};
use crate::dataplane::mailbox::Mailbox;
use crate::dataplane::segment::{Train, TrainError};
use crate::dataplane::slots::{Routes, Slot, Table};
use crate::dataplane::stream::Key;
use crate::os::poll::{Interest, Poller, Ready};
use crate::os::vnet;

/// What the downlink thread is told.
pub(crate) enum DownCommand {
    /// A session begins.
    Attach(Route),
    /// The session has control frames to send.
    Control(Key),
    /// Put another filter in force.
    SetFilter(Key, Option<Arc<Filter>>),
    /// Send the control frames and TLS's goodbye, then close.
    Finish(Key),
    /// Forget the session at once.
    Remove(Key),
    /// Something that only datagram sessions have.
    Datagram(datagram::Order),
    /// End the thread.
    Stop,
}

/// The sending half of a session.
enum Half {
    Stream(StreamHalf),
    Datagram(DatagramHalf),
}

/// The downlink thread.
pub(crate) struct Downlink {
    halves: Table<Half>,
    by_key: HashMap<Key, Slot>,
    routes: Routes,
    dirty: Vec<Slot>,
    /// When a session that says goodbye is given up.
    leaving: Deadlines<Slot>,
    ready: Vec<Ready>,
    packet: Box<[u8]>,
    /// Packets for one datagram session, and the sockets that take them.
    outgoing: Outgoing,
    sockets: Sockets,
    poller: Poller,
    mailbox: Arc<Mailbox<DownCommand>>,
    tools: Tools,
}

const BELL: u64 = u64::MAX;
const TUN: u64 = u64::MAX - 1;

/// Reads from the TUN before the sockets get their turn.
const READS: usize = 32;

/// How long a goodbye may take (the client that does not read is gone anyway).
const GOODBYE: Duration = Duration::from_secs(2);

impl Downlink {
    pub(crate) fn new(
        mailbox: Arc<Mailbox<DownCommand>>,
        tools: Tools,
        sockets: Sockets,
        routes: Routes,
    ) -> io::Result<Self> {
        let poller = Poller::new(256)?;
        poller.add(mailbox.bell(), BELL, Interest::Read)?;
        poller.add(&tools.tun.device, TUN, Interest::Read)?;
        Ok(Self {
            halves: Table::default(),
            by_key: HashMap::new(),
            routes,
            dirty: Vec::new(),
            leaving: Deadlines::new(),
            ready: Vec::new(),
            packet: vec![0; vnet::LEN + vnet::MAX_PACKET].into_boxed_slice(),
            outgoing: Outgoing::new(),
            sockets,
            poller,
            mailbox,
            tools,
        })
    }

    /// Works until it is told to stop.
    pub(crate) fn run(mut self) -> io::Result<()> {
        loop {
            let timeout = self
                .leaving
                .next()
                .map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let mut ready = std::mem::take(&mut self.ready);
            ready.extend(self.poller.wait(timeout)?);
            self.tools.tick();
            // Orders first: a packet that was given to the device behind one finds it done.
            if ready.iter().any(|event| event.token == BELL) && self.obey() {
                self.flush();
                return Ok(());
            }
            for event in ready.drain(..) {
                match event.token {
                    BELL => {}
                    TUN => self.read_tun(),
                    number => {
                        if let Some(slot) = Slot::from_number(number) {
                            self.unblock(slot);
                        }
                    }
                }
            }
            self.ready = ready;
            self.flush();
            self.give_up_late();
            self.tools.publish();
        }
    }

    /// Looks once at everything, without waiting.
    #[cfg(test)]
    pub(crate) fn turn(&mut self) {
        self.tools.tick();
        self.read_tun();
        self.obey();
        self.flush();
    }

    /// Takes the messages; returns whether the end is among them.
    fn obey(&mut self) -> bool {
        // What is told may give a place or an address to somebody else.
        self.send_outgoing();
        for command in self.mailbox.take() {
            match command {
                DownCommand::Attach(route) => self.attach(route),
                DownCommand::Control(key) => self.with(key, |half| half.control = true),
                DownCommand::SetFilter(key, filter) => match self.half(key) {
                    Some((_, Half::Stream(half))) => half.route.filter = filter,
                    Some((_, Half::Datagram(half))) => half.filter = filter,
                    None => {}
                },
                DownCommand::Finish(key) => self.finish(key),
                DownCommand::Remove(key) => self.forget(key),
                DownCommand::Datagram(order) => self.obey_datagram(order),
                DownCommand::Stop => return true,
            }
        }
        false
    }

    fn attach(&mut self, route: Route) {
        let (key, address) = (route.stream.key, route.address);
        let networks = route.networks.clone();
        let slot = self.insert(key, address, Half::Stream(StreamHalf::new(route)));
        for network in networks {
            self.routes.set_network(network, slot);
        }
    }

    fn insert(&mut self, key: Key, address: Ipv4Addr, half: Half) -> Slot {
        let slot = self.halves.insert(half);
        self.by_key.insert(key, slot);
        self.routes.set(address, slot);
        slot
    }

    fn obey_datagram(&mut self, order: datagram::Order) {
        match order {
            datagram::Order::Attach(half) => {
                self.insert(half.key, half.address, Half::Datagram(*half));
            }
            datagram::Order::InstallSending(key, sending) => {
                if let Some((_, Half::Datagram(half))) = self.half(key) {
                    half.install(sending);
                }
            }
            datagram::Order::PrepareSending(key, sending) => {
                if let Some((_, Half::Datagram(half))) = self.half(key) {
                    half.next = Some(sending);
                }
            }
            datagram::Order::RemoveSending(key) => {
                if let Some((_, Half::Datagram(half))) = self.half(key) {
                    half.sending = None;
                }
            }
            datagram::Order::SetEndpoint(key, endpoint) => {
                if let Some((_, Half::Datagram(half))) = self.half(key) {
                    half.meet(endpoint);
                }
            }
        }
    }

    fn half(&mut self, key: Key) -> Option<(Slot, &mut Half)> {
        let slot = self.by_key.get(&key).copied()?;
        Some((slot, self.halves.get_mut(slot)?))
    }

    fn stream(&mut self, slot: Slot) -> Option<&mut StreamHalf> {
        match self.halves.get_mut(slot)? {
            Half::Stream(half) => Some(half),
            Half::Datagram(_) => None,
        }
    }

    /// Changes the stream of `key` and has it looked at.
    fn with(&mut self, key: Key, change: impl FnOnce(&mut StreamHalf)) {
        let Some((slot, Half::Stream(half))) = self.half(key) else {
            return;
        };
        change(half);
        if !half.dirty {
            half.dirty = true;
            self.dirty.push(slot);
        }
    }

    fn finish(&mut self, key: Key) {
        let Some(slot) = self.by_key.get(&key).copied() else {
            return;
        };
        if let Some(Half::Stream(half)) = self.halves.get_mut(slot) {
            self.routes.clear(half.route.address, slot);
            for network in &half.route.networks {
                self.routes.clear_network(*network, slot);
            }
            half.queue.clear(&mut self.tools.buffers);
            if half.state == State::Dead {
                self.remove(slot);
                return;
            }
        }
        self.leaving.arm(slot, Instant::now() + GOODBYE);
        self.with(key, |half| {
            half.state = State::Finishing;
            half.control = true;
        });
    }

    /// Removes a session, unless it has no route any more and is saying goodbye.
    fn forget(&mut self, key: Key) {
        let (slot, open) = match self.half(key) {
            Some((slot, Half::Stream(half))) => {
                (slot, matches!(half.state, State::Open | State::Dead))
            }
            Some((slot, Half::Datagram(_))) => (slot, true),
            None => return,
        };
        if open {
            self.remove(slot);
        }
    }

    fn remove(&mut self, slot: Slot) {
        match self.halves.remove(slot) {
            Some(Half::Stream(half)) => self.remove_stream(slot, half),
            Some(Half::Datagram(half)) => {
                self.by_key.remove(&half.key);
                self.routes.clear(half.address, slot);
            }
            None => {}
        }
    }

    fn remove_stream(&mut self, slot: Slot, mut half: StreamHalf) {
        self.by_key.remove(&half.route.stream.key);
        self.routes.clear(half.route.address, slot);
        for network in &half.route.networks {
            self.routes.clear_network(*network, slot);
        }
        self.leaving.stop(slot);
        half.queue.clear(&mut self.tools.buffers);
        let stream = &half.route.stream;
        if half.blocked {
            self.poller.remove(&stream.socket).ok();
        }
        // The uplink may hold the socket for a moment longer; the client shall know now.
        stream.socket.shutdown(Shutdown::Write).ok();
    }

    fn give_up_late(&mut self) {
        if self.leaving.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(slot) = self.leaving.pop_expired(now) {
            self.remove(slot);
        }
    }

    fn read_tun(&mut self) {
        for _ in 0..READS {
            let len = match self.tools.tun.device.read(&mut self.packet) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => {
                    self.lose_tun();
                    return;
                }
            };
            self.tools.tally.add(Counter::TunReads, 1);
            self.route(len);
        }
    }

    /// The interface is gone: asking again and again would burn a core.
    #[cold]
    fn lose_tun(&mut self) {
        self.tools.tally.add(Counter::TunErrors, 1);
        self.tools.tun.set_healthy(false);
        self.poller.remove(&self.tools.tun.device).ok();
    }

    /// Queues the first `len` octets of the buffer for the session that has their destination.
    fn route(&mut self, len: usize) {
        let tools = &mut self.tools;
        let octets = &self.packet[..len];
        let parsed = if tools.tun.device.is_framed() {
            match octets.split_first_chunk() {
                Some((header, octets)) => Train::parse(&vnet::Header::decode(header), octets),
                None => Err(TrainError::Packet(PacketError::Truncated)),
            }
        } else {
            Train::parse(&vnet::Header::default(), octets)
        };
        let train = match parsed {
            Ok(train) => train,
            Err(error) => {
                tools.tally.add(counter_of(error), 1);
                return;
            }
        };
        let count = train.count();
        tools.tally.add(Counter::TunPackets, count as u64);
        let slot = self.routes.get(train.packet().destination());
        let Some((slot, half)) = slot.and_then(|slot| Some((slot, self.halves.get_mut(slot)?)))
        else {
            tools.tally.add(Counter::NoSession, count as u64);
            tools.answer(IcmpError::HostUnreachable, train.packet());
            return;
        };
        let half = match half {
            Half::Stream(half) => half,
            Half::Datagram(_) => {
                if self.outgoing.owner().is_some_and(|owner| owner != slot) {
                    send_outgoing(&mut self.outgoing, &mut self.halves, &self.sockets, tools);
                }
                if let Some(Half::Datagram(half)) = self.halves.get_mut(slot) {
                    half.route(slot, &train, &mut self.outgoing, &self.sockets, tools);
                }
                return;
            }
        };
        let filter = half.route.filter.as_ref();
        if filter.is_some_and(|filter| !filter.allows_back(train.packet())) {
            tools.tally.add(Counter::Filter, count as u64);
            return;
        }
        let mtu = half.route.mtu;
        if train.len_of(0) > usize::from(mtu) {
            if train.packet().dont_fragment() {
                tools.tally.add(Counter::TooBig, count as u64);
                tools.answer(IcmpError::FragmentationNeeded { mtu }, train.packet());
                return;
            }
            half.enqueue_fragments(&train, tools);
        } else {
            half.enqueue(&train, tools);
        }
        if !half.dirty {
            half.dirty = true;
            self.dirty.push(slot);
        }
        if half.queue.len() >= WORTH_A_WRITE && !half.blocked {
            self.send(slot, WORTH_A_WRITE);
        }
    }

    fn send_outgoing(&mut self) {
        send_outgoing(
            &mut self.outgoing,
            &mut self.halves,
            &self.sockets,
            &mut self.tools,
        );
    }

    /// Sends what was gathered.
    fn flush(&mut self) {
        self.send_outgoing();
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            if let Some(half) = self.stream(slot) {
                half.dirty = false;
                if !half.blocked {
                    self.send(slot, 0);
                }
            }
        }
        self.dirty = dirty;
    }

    /// The socket takes octets again, or is broken; either way, try.
    fn unblock(&mut self, slot: Slot) {
        if let Some(Half::Stream(half)) = self.halves.get_mut(slot) {
            if half.blocked {
                half.blocked = false;
                self.poller.remove(&half.route.stream.socket).ok();
            }
            self.send(slot, 0);
        }
    }

    /// Sends until less than `keep` octets are queued or the socket blocks.
    fn send(&mut self, slot: Slot, keep: usize) {
        let Some(Half::Stream(half)) = self.halves.get_mut(slot) else {
            return;
        };
        match half.send(keep, &mut self.tools) {
            Progress::Idle => {}
            Progress::Blocked => {
                half.blocked = true;
                let socket = &half.route.stream.socket;
                if self
                    .poller
                    .add(socket, slot.number(), Interest::Write)
                    .is_err()
                {
                    half.die(&mut self.tools);
                }
            }
            Progress::Gone => self.remove(slot),
        }
    }
}

/// Sends what is put together for one datagram session.
fn send_outgoing(
    outgoing: &mut Outgoing,
    halves: &mut Table<Half>,
    sockets: &Sockets,
    tools: &mut Tools,
) {
    let Some(owner) = outgoing.owner() else {
        return;
    };
    if let Some(Half::Datagram(half)) = halves.get_mut(owner) {
        half.send(outgoing, sockets, tools);
    }
    outgoing.clear();
}

const fn counter_of(error: TrainError) -> Counter {
    match error {
        TrainError::Packet(PacketError::Version(_)) => Counter::NotIpv4,
        TrainError::Packet(
            PacketError::Truncated
            | PacketError::HeaderLength
            | PacketError::Checksum
            | PacketError::Options,
        )
        | TrainError::Transport
        | TrainError::Kind
        | TrainError::Checksum => Counter::Malformed,
    }
}
