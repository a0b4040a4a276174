//! Packets to the clients: read from the TUN, cut, queued, encrypted, written.
//!
//! One thread reads the TUN until it has nothing more, or a budget is spent, and then sends what it has gathered: up
//! to 64 KiB a write, in 16 KiB records. A socket that takes nothing more is left alone until it does; meanwhile its
//! session's queue fills up to its cap and nobody else notices. This thread alone writes to the sockets.

use std::collections::HashMap;
use std::io::{self, IoSlice, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_proto::ip::icmp::{self, IcmpError};
use causeway_proto::ip::{IpPacket, PacketError, mss};
use causeway_proto::timer::Deadlines;

use crate::dataplane::coalesce::Output;
use crate::dataplane::counters::{Counter, Published, Tally};
use crate::dataplane::mailbox::Mailbox;
use crate::dataplane::queue::{Buffers, Limits, Queue};
use crate::dataplane::segment::{Train, TrainError};
use crate::dataplane::slots::{Routes, Slot, Table};
use crate::dataplane::stream::{Key, RECORD, RecordPacking, Stream, control_records};
use crate::dataplane::uplink::{Tun, TunWriter};
use crate::os::clock;
use crate::os::poll::{Interest, Poller, Ready};
use crate::os::vnet;

/// What the downlink thread is told.
pub(crate) enum DownCommand {
    /// A session begins.
    Attach(Route),
    /// The session has control frames to send.
    Control(Key),
    /// Send the control frames and TLS's goodbye, then close.
    Finish(Key),
    /// Forget the session at once.
    Remove(Key),
    /// End the thread.
    Stop,
}

/// The sending half of a session, as it begins.
pub(crate) struct Route {
    pub(crate) stream: Arc<Stream>,
    pub(crate) address: Ipv4Addr,
    pub(crate) mtu: u16,
    pub(crate) mss: u16,
}

/// The sending half of a session.
struct Half {
    route: Route,
    queue: Queue,
    /// Ciphertext that the socket has not taken, from `sent` on.
    wire: Vec<u8>,
    sent: usize,
    state: State,
    /// Whether the socket takes nothing more for now.
    blocked: bool,
    /// Whether the session stands in the list of those to send to.
    dirty: bool,
    /// Whether the machine has left control frames.
    control: bool,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum State {
    Open,
    /// Control frames, then the goodbye.
    Finishing,
    /// The goodbye is in `wire`.
    Leaving,
    /// The socket is broken; the uplink will say so.
    Dead,
}

/// What a step of sending came to.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Progress {
    /// There is nothing more to send.
    Idle,
    /// The socket takes nothing more.
    Blocked,
    /// The goodbye has been sent, or cannot be.
    Gone,
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
    poller: Poller,
    mailbox: Arc<Mailbox<DownCommand>>,
    tools: Tools,
}

/// What sending needs beside the session.
struct Tools {
    tun: Arc<Tun>,
    gateway: Ipv4Addr,
    buffers: Buffers,
    wires: Vec<Vec<u8>>,
    control: Vec<u8>,
    tally: Tally,
    published: Arc<Published>,
    limiter: Limiter,
    reply: Vec<u8>,
    now_us: u64,
}

const BELL: u64 = u64::MAX;
const TUN: u64 = u64::MAX - 1;

/// Reads from the TUN before the sockets get their turn.
const READS: usize = 32;

/// The plaintext of one write, and the queue length from which one is made before the TUN is empty.
const WRITE: usize = 64 * 1024;
const WORTH_A_WRITE: usize = 60 * 1024;

/// How long a goodbye may take (the client that does not read is gone anyway).
const GOODBYE: Duration = Duration::from_secs(2);

impl Downlink {
    pub(crate) fn new(
        tun: Arc<Tun>,
        mailbox: Arc<Mailbox<DownCommand>>,
        published: Arc<Published>,
        gateway: Ipv4Addr,
        routes: Routes,
    ) -> io::Result<Self> {
        let poller = Poller::new(256)?;
        poller.add(mailbox.bell(), BELL, Interest::Read)?;
        poller.add(&tun.device, TUN, Interest::Read)?;
        Ok(Self {
            halves: Table::default(),
            by_key: HashMap::new(),
            routes,
            dirty: Vec::new(),
            leaving: Deadlines::new(),
            ready: Vec::new(),
            packet: vec![0; vnet::LEN + vnet::MAX_PACKET].into_boxed_slice(),
            poller,
            mailbox,
            tools: Tools {
                tun,
                gateway,
                buffers: Buffers::default(),
                wires: Vec::new(),
                control: Vec::new(),
                tally: Tally::default(),
                published,
                limiter: Limiter::default(),
                reply: Vec::new(),
                now_us: clock::precise_us(),
            },
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
            self.tools.now_us = clock::precise_us();
            for event in ready.drain(..) {
                match event.token {
                    BELL => {
                        if self.obey() {
                            self.flush();
                            return Ok(());
                        }
                    }
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
            self.tools.published.publish(&self.tools.tally);
        }
    }

    /// Takes the messages; returns whether the end is among them.
    fn obey(&mut self) -> bool {
        for command in self.mailbox.take() {
            match command {
                DownCommand::Attach(route) => self.attach(route),
                DownCommand::Control(key) => self.with(key, |half| half.control = true),
                DownCommand::Finish(key) => self.finish(key),
                DownCommand::Remove(key) => self.forget(key),
                DownCommand::Stop => return true,
            }
        }
        false
    }

    fn attach(&mut self, route: Route) {
        let (key, address) = (route.stream.key, route.address);
        let slot = self.halves.insert(Half {
            route,
            queue: Queue::default(),
            wire: Vec::new(),
            sent: 0,
            state: State::Open,
            blocked: false,
            dirty: false,
            control: false,
        });
        self.by_key.insert(key, slot);
        self.routes.set(address, slot);
    }

    /// Changes the session of `key` and has it looked at.
    fn with(&mut self, key: Key, change: impl FnOnce(&mut Half)) {
        let Some(slot) = self.by_key.get(&key).copied() else {
            return;
        };
        if let Some(half) = self.halves.get_mut(slot) {
            change(half);
            if !half.dirty {
                half.dirty = true;
                self.dirty.push(slot);
            }
        }
    }

    fn finish(&mut self, key: Key) {
        let Some(slot) = self.by_key.get(&key).copied() else {
            return;
        };
        if let Some(half) = self.halves.get_mut(slot) {
            self.routes.clear(half.route.address, slot);
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
        let Some(slot) = self.by_key.get(&key).copied() else {
            return;
        };
        let open = self
            .halves
            .get_mut(slot)
            .is_some_and(|half| matches!(half.state, State::Open | State::Dead));
        if open {
            self.remove(slot);
        }
    }

    fn remove(&mut self, slot: Slot) {
        let Some(mut half) = self.halves.remove(slot) else {
            return;
        };
        self.by_key.remove(&half.route.stream.key);
        self.routes.clear(half.route.address, slot);
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
        let mtu = half.route.mtu;
        if train.len_of(0) > usize::from(mtu) {
            tools.tally.add(Counter::TooBig, count as u64);
            if train.packet().dont_fragment() {
                tools.answer(IcmpError::FragmentationNeeded { mtu }, train.packet());
            }
            return;
        }
        half.enqueue(&train, tools);
        if !half.dirty {
            half.dirty = true;
            self.dirty.push(slot);
        }
        if half.queue.len() >= WORTH_A_WRITE && !half.blocked {
            self.send(slot, WORTH_A_WRITE);
        }
    }

    /// Sends what was gathered.
    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            if let Some(half) = self.halves.get_mut(slot) {
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
        if let Some(half) = self.halves.get_mut(slot) {
            if half.blocked {
                half.blocked = false;
                self.poller.remove(&half.route.stream.socket).ok();
            }
            self.send(slot, 0);
        }
    }

    /// Sends until less than `keep` octets are queued or the socket blocks.
    fn send(&mut self, slot: Slot, keep: usize) {
        let Some(half) = self.halves.get_mut(slot) else {
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

impl Half {
    fn enqueue(&mut self, train: &Train<'_>, tools: &mut Tools) {
        if self.state != State::Open {
            return;
        }
        let count = train.count();
        for index in 0..count {
            let Ok(len) = u16::try_from(train.len_of(index)) else {
                return;
            };
            let mss = self.route.mss;
            let taken = self
                .queue
                .push(&mut tools.buffers, tools.now_us, len, |out| {
                    train.write(index, out);
                    if count == 1 {
                        mss::clamp(out, mss);
                    }
                });
            if !taken {
                tools.tally.add(Counter::QueueFull, (count - index) as u64);
                return;
            }
        }
    }

    fn send(&mut self, keep: usize, tools: &mut Tools) -> Progress {
        loop {
            if self.state == State::Dead {
                return Progress::Idle;
            }
            match self.write_wire(tools) {
                Ok(true) => {}
                Ok(false) => return Progress::Blocked,
                Err(_) => {
                    self.die(tools);
                    return Progress::Idle;
                }
            }
            if self.state == State::Leaving {
                return Progress::Gone;
            }
            let quiet = !self.control && (self.queue.is_empty() || self.queue.len() < keep);
            if quiet && self.state == State::Open {
                return Progress::Idle;
            }
            if self.seal(tools).is_err() {
                self.die(tools);
            }
        }
    }

    /// Writes what is encrypted; returns whether all of it went.
    fn write_wire(&mut self, tools: &mut Tools) -> io::Result<bool> {
        while self.sent < self.wire.len() {
            match (&self.route.stream.socket).write(&self.wire[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.wire.capacity() > 0 {
            let mut wire = std::mem::take(&mut self.wire);
            wire.clear();
            self.sent = 0;
            if tools.wires.len() < 8 {
                tools.wires.push(wire);
            }
        }
        Ok(true)
    }

    /// Encrypts the next batch: control frames first, then packets, or the goodbye.
    fn seal(&mut self, tools: &mut Tools) -> io::Result<()> {
        self.wire = tools.wires.pop().unwrap_or_default();
        let stream = &self.route.stream;
        let packing = stream.packing;
        tools.control.clear();
        if self.control {
            self.control = false;
            stream.take_control(&mut tools.control);
        }
        let limits = Limits {
            total: WRITE,
            record: match packing {
                RecordPacking::One => 0,
                RecordPacking::Many => RECORD,
            },
        };
        let mut taken = None;
        stream.seal(&mut self.wire, |record| {
            control_records(&tools.control, packing, &mut *record);
            taken = Some(
                self.queue
                    .take(&mut tools.buffers, tools.now_us, limits, record),
            );
        })?;
        if let Some(taken) = taken.filter(|taken| taken.frames > 0 || taken.late > 0) {
            tools.tally.add(Counter::Late, taken.late);
            tools.tally.add(Counter::Packets, taken.frames);
            tools.tally.add(Counter::Octets, taken.octets);
            stream
                .activity
                .add_down(taken.frames, taken.octets, clock::coarse_ms());
        }
        if self.state == State::Finishing {
            stream.seal_goodbye(&mut self.wire)?;
            self.state = State::Leaving;
        }
        Ok(())
    }

    fn die(&mut self, tools: &mut Tools) {
        self.queue.clear(&mut tools.buffers);
        self.wire = Vec::new();
        self.sent = 0;
        self.state = State::Dead;
        // The uplink sees the end of the stream and ends the session.
        self.route.stream.socket.shutdown(Shutdown::Both).ok();
    }
}

impl Tools {
    /// Answers through the TUN, as far as the rate allows.
    #[cold]
    fn answer(&mut self, error: IcmpError, offending: &IpPacket<'_>) {
        if !self.limiter.allows(self.now_us) {
            return;
        }
        self.reply.clear();
        if icmp::append_error(&mut self.reply, error, self.gateway, offending) {
            self.tally.add(Counter::IcmpErrors, 1);
            let parts = [IoSlice::new(&vnet::PLAIN), IoSlice::new(&self.reply)];
            let mut writer = TunWriter {
                tun: &self.tun,
                tally: &mut self.tally,
            };
            writer.write(&parts, 1);
        }
    }
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

/// A bucket of ICMP errors (RFC 1812 §4.3.2.8): a short burst, then a steady rate.
#[derive(Debug, Default)]
struct Limiter {
    /// When the bucket would be full again.
    full_at_us: u64,
}

impl Limiter {
    const BURST: u64 = 50;
    const INTERVAL_US: u64 = 10_000;

    const fn allows(&mut self, now_us: u64) -> bool {
        let full_at = if self.full_at_us > now_us {
            self.full_at_us
        } else {
            now_us
        };
        if full_at - now_us >= Self::BURST * Self::INTERVAL_US {
            return false;
        }
        self.full_at_us = full_at + Self::INTERVAL_US;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_in_a_burst_and_then_at_a_rate() {
        let mut limiter = Limiter::default();
        let allowed =
            |limiter: &mut Limiter, now_us| (0..1_000).filter(|_| limiter.allows(now_us)).count();
        assert_eq!(allowed(&mut limiter, 5_000_000), 50);
        assert_eq!(allowed(&mut limiter, 5_010_000), 1);
        assert_eq!(allowed(&mut limiter, 5_110_000), 10);
        assert_eq!(allowed(&mut limiter, 9_000_000), 50);
    }
}
