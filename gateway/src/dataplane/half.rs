//! The sending half of a stream: its queue, its ciphertext under way, its goodbye.

use std::io::{self, IoSlice, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::sync::Arc;
use std::time::Instant;

use causeway_proto::ip::filter::Filter;
use causeway_proto::ip::fragment::Fragments;
use causeway_proto::ip::icmp::{self, IcmpError};
use causeway_proto::ip::{IpPacket, mss};
use ipnet::Ipv4Net;

use crate::dataplane::coalesce::Output;
use crate::dataplane::counters::{Counter, Published, Tally};
use crate::dataplane::queue::{Buffers, Limits, Queue};
use crate::dataplane::segment::Train;
use crate::dataplane::stream::{RECORD, RecordPacking, Stream, control_records};
use crate::dataplane::uplink::{Tun, TunWriter};
use crate::os::clock;
use crate::os::vnet;

/// The sending half of a stream, as it begins.
pub(crate) struct Route {
    pub(crate) stream: Arc<Stream>,
    pub(crate) address: Ipv4Addr,
    pub(crate) networks: Vec<Ipv4Net>,
    pub(crate) mtu: u16,
    pub(crate) mss: u16,
    pub(crate) filter: Option<Arc<Filter>>,
}

/// The sending half of a stream.
pub(crate) struct StreamHalf {
    pub(crate) route: Route,
    pub(crate) queue: Queue,
    /// Ciphertext that the socket has not taken, from `sent` on.
    wire: Vec<u8>,
    sent: usize,
    pub(crate) state: State,
    /// Whether the socket takes nothing more for now.
    pub(crate) blocked: bool,
    /// Whether the session stands in the list of those to send to.
    pub(crate) dirty: bool,
    /// Whether the machine has left control frames.
    pub(crate) control: bool,
}

#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum State {
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
pub(crate) enum Progress {
    /// There is nothing more to send.
    Idle,
    /// The socket takes nothing more.
    Blocked,
    /// The goodbye has been sent, or cannot be.
    Gone,
}

/// What sending needs beside the session.
pub(crate) struct Tools {
    pub(crate) tun: Arc<Tun>,
    gateway: Ipv4Addr,
    pub(crate) buffers: Buffers,
    wires: Vec<Vec<u8>>,
    control: Vec<u8>,
    pub(crate) tally: Tally,
    /// What concerns datagram sessions.
    pub(crate) datagrams: Tally,
    pub(crate) published: DownPublished,
    limiter: Limiter,
    reply: Vec<u8>,
    /// A packet that is to be cut, and a piece of it.
    pub(crate) whole: Vec<u8>,
    pub(crate) piece: Vec<u8>,
    pub(crate) now_us: u64,
    pub(crate) now: Instant,
}

/// Where the downlink's counters can be read.
#[derive(Clone, Default)]
pub(crate) struct DownPublished {
    /// Streams and the device.
    pub(crate) streams: Arc<Published>,
    pub(crate) datagrams: Arc<Published>,
}

/// The plaintext of one write, and the queue length from which one is made before the TUN is empty.
const WRITE: usize = 64 * 1024;
pub(crate) const WORTH_A_WRITE: usize = 60 * 1024;

impl StreamHalf {
    pub(crate) const fn new(route: Route) -> Self {
        Self {
            route,
            queue: Queue::new(),
            wire: Vec::new(),
            sent: 0,
            state: State::Open,
            blocked: false,
            dirty: false,
            control: false,
        }
    }

    pub(crate) fn enqueue(&mut self, train: &Train<'_>, tools: &mut Tools) {
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

    /// Queues packets that are larger than the client takes, in fragments; those that do not fit into the queue take the
    /// rest of their packet with them.
    #[cold]
    pub(crate) fn enqueue_fragments(&mut self, train: &Train<'_>, tools: &mut Tools) {
        if self.state != State::Open {
            return;
        }
        for index in 0..train.count() {
            tools.whole.clear();
            tools.whole.resize(train.len_of(index), 0);
            train.write(index, &mut tools.whole);
            let fragments = IpPacket::decode(&tools.whole)
                .ok()
                .and_then(|packet| Fragments::new(packet, self.route.mtu));
            let Some(mut fragments) = fragments else {
                tools.tally.add(Counter::TooBig, 1);
                continue;
            };
            tools.piece.clear();
            while fragments.poll_transmit(&mut tools.piece) {
                let piece = &tools.piece;
                let fits = u16::try_from(piece.len()).is_ok_and(|len| {
                    self.queue
                        .push(&mut tools.buffers, tools.now_us, len, |out| {
                            out.copy_from_slice(piece);
                        })
                });
                if !fits {
                    tools.tally.add(Counter::QueueFull, 1);
                    break;
                }
                tools.piece.clear();
            }
        }
    }

    pub(crate) fn send(&mut self, keep: usize, tools: &mut Tools) -> Progress {
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

    pub(crate) fn die(&mut self, tools: &mut Tools) {
        self.queue.clear(&mut tools.buffers);
        self.wire = Vec::new();
        self.sent = 0;
        self.state = State::Dead;
        // The uplink sees the end of the stream and ends the session.
        self.route.stream.socket.shutdown(Shutdown::Both).ok();
    }
}

impl Tools {
    pub(crate) fn new(tun: Arc<Tun>, published: DownPublished, gateway: Ipv4Addr) -> Self {
        Self {
            tun,
            gateway,
            buffers: Buffers::default(),
            wires: Vec::new(),
            control: Vec::new(),
            tally: Tally::default(),
            datagrams: Tally::default(),
            published,
            limiter: Limiter::default(),
            reply: Vec::new(),
            whole: Vec::new(),
            piece: Vec::new(),
            now_us: clock::precise_us(),
            now: Instant::now(),
        }
    }

    /// Reads the clocks, once for a batch.
    pub(crate) fn tick(&mut self) {
        self.now_us = clock::precise_us();
        self.now = Instant::now();
    }

    pub(crate) fn publish(&self) {
        self.published.streams.publish(&self.tally);
        self.published.datagrams.publish(&self.datagrams);
    }

    /// Answers through the TUN, as far as the rate allows.
    #[cold]
    pub(crate) fn answer(&mut self, error: IcmpError, offending: &IpPacket<'_>) {
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
