//! Gathers packets of one flow into trains for the TUN: the mirror of [`segment`](crate::dataplane::segment).
//!
//! The kernel believes our word for the checksum of a train, so a packet joins one only after its own checksum was
//! verified; a wrong one is written alone and still wrong. Packets differ from their neighbours in a train in nothing
//! but sequence number, identification, checksum, length and PSH; a packet that differs otherwise ends the train and
//! goes behind it, so the order within a flow is kept. Everything is written at the end of a batch: no packet waits.

use std::io::IoSlice;

use causeway_proto::ip::checksum::{Sum, pseudo_header};
use causeway_proto::ip::{IpPacket, Protocol};

use crate::os::tun::Trains;
use crate::os::vnet::{self, Gso, Header, PartialChecksum};
use crate::os::wide;

/// Where packets and trains go; `parts` begin with the vnet header.
pub trait Output {
    /// Returns which trains may be written.
    fn trains(&self) -> Trains;

    /// Writes one packet or train that stands for `packets` of them.
    fn write(&mut self, parts: &[IoSlice<'_>], packets: usize);
}

/// How many flows are gathered at a time.
const FLOWS: usize = 8;

/// The most packets in a train: what the kernel takes for UDP.
const MAX_PACKETS: usize = 64;

/// Memory that outlives the batches, so that none is allocated for one.
#[derive(Debug, Default)]
pub struct Storage {
    spare: Vec<Vec<IoSlice<'static>>>,
}

/// The trains that one batch of packets is gathered into.
pub struct Coalescer<'a, 's, O: Output> {
    storage: &'s mut Storage,
    output: O,
    trains: Trains,
    flows: [Option<Flow<'a>>; FLOWS],
    /// The flow that makes room for a ninth.
    oldest: usize,
}

/// The train of one flow, growing.
struct Flow<'a> {
    key: Key,
    /// The first packet; its headers become those of the train.
    first: &'a mut [u8],
    first_verified: bool,
    shape: Shape,
    /// The payloads of the others, behind two places for the vnet header and the first packet.
    parts: Vec<IoSlice<'a>>,
    count: usize,
    payload_len: usize,
    next_sequence: u32,
    identification: Identification,
}

/// What all packets of a flow have in common.
#[derive(Clone, Copy, Eq, PartialEq)]
struct Key {
    addresses: [u8; 8],
    ports: [u8; 4],
    transport: Transport,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Transport {
    Tcp,
    Udp,
}

/// The lengths in a packet that can be part of a train.
#[derive(Clone, Copy)]
struct Shape {
    headers_len: usize,
    payload_len: usize,
    pushed: bool,
}

/// How the identification of a train goes on: both ways exist among senders.
#[derive(Clone, Copy)]
enum Identification {
    /// One packet, nothing seen yet.
    First(u16),
    /// Each packet has the next number.
    Counting { next: u16 },
    /// All have the same, which "don't fragment" makes meaningless (RFC 6864 §4.1).
    Fixed(u16),
}

/// Whether a packet may travel with others, and which flow it belongs to.
enum Class {
    Joins(Key, Shape),
    /// Goes alone, behind what its flow has gathered.
    Alone(Key),
    /// Goes alone, behind everything between its two hosts: a fragment, another protocol.
    Opaque([u8; 8]),
}

const IP_HEADER: usize = 20;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;

impl<'a, 's, O: Output> Coalescer<'a, 's, O> {
    /// Begins a batch.
    pub fn new(storage: &'s mut Storage, output: O) -> Self {
        Self {
            trains: output.trains(),
            storage,
            output,
            flows: [const { None }; FLOWS],
            oldest: 0,
        }
    }

    /// Takes one whole packet, exactly as long as its header says and with a right header checksum.
    #[inline]
    pub fn push(&mut self, packet: &'a mut [u8]) {
        let Ok(view) = IpPacket::decode(packet) else {
            return;
        };
        match self.classify(&view) {
            Class::Joins(key, shape) => self.join(key, shape, packet),
            Class::Alone(key) => {
                self.flush_where(|flow| flow.key == key);
                self.write_alone(packet);
            }
            Class::Opaque(addresses) => {
                self.flush_where(|flow| flow.key.addresses == addresses);
                self.write_alone(packet);
            }
        }
    }

    /// Writes everything gathered and ends the batch.
    pub fn finish(mut self) -> O {
        self.flush_where(|_| true);
        self.output
    }

    /// Lends the output, for what is not gathered.
    pub fn output(&mut self) -> &mut O {
        &mut self.output
    }

    #[inline]
    fn classify(&self, packet: &IpPacket<'_>) -> Class {
        let addresses = *packet.addresses();
        let transport = match packet.protocol() {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
            Protocol::Icmp | Protocol::Other(_) => return Class::Opaque(addresses),
        };
        let segment = packet.payload();
        let (true, Some(ports)) = (packet.is_whole(), segment.first_chunk::<4>()) else {
            return Class::Opaque(addresses);
        };
        let key = Key {
            addresses,
            ports: *ports,
            transport,
        };
        let allowed = match (transport, self.trains) {
            (Transport::Tcp, Trains::TcpAndUdp | Trains::Tcp) => true,
            (Transport::Udp, Trains::TcpAndUdp) => true,
            (Transport::Udp, Trains::Tcp) | (_, Trains::None) => false,
        };
        if !allowed || packet.header_len() != IP_HEADER {
            return Class::Alone(key);
        }
        let shape = match transport {
            Transport::Tcp => tcp_shape(segment),
            Transport::Udp => udp_shape(segment),
        };
        shape.map_or(Class::Alone(key), |shape| Class::Joins(key, shape))
    }

    #[inline]
    fn join(&mut self, key: Key, shape: Shape, packet: &'a mut [u8]) {
        let mut place = None;
        for (index, slot) in self.flows.iter_mut().enumerate() {
            match slot {
                Some(flow) if flow.key == key => {
                    if flow.accepts(packet, shape) {
                        let ended = shape.pushed || shape.payload_len < flow.shape.payload_len;
                        flow.add(packet, shape);
                        if ended {
                            self.flush(index);
                        }
                        return;
                    }
                    place = Some(index);
                    break;
                }
                None if place.is_none() => place = Some(index),
                Some(_) | None => {}
            }
        }
        let index = place.unwrap_or_else(|| {
            self.oldest = (self.oldest + 1) % FLOWS;
            self.oldest
        });
        self.flush(index);
        if shape.pushed {
            // Nothing may follow in its train.
            self.write_alone(packet);
        } else {
            self.flows[index] = Some(Flow::new(key, shape, packet, self.storage));
        }
    }

    fn flush_where(&mut self, matches: impl Fn(&Flow<'a>) -> bool) {
        for index in 0..FLOWS {
            if self.flows[index].as_ref().is_some_and(&matches) {
                self.flush(index);
            }
        }
    }

    fn flush(&mut self, index: usize) {
        let Some(mut flow) = self.flows[index].take() else {
            return;
        };
        let header = if flow.count == 1 {
            vnet::PLAIN
        } else {
            flow.seal()
        };
        let mut parts = flow.parts;
        parts[0] = IoSlice::new(&header);
        parts[1] = IoSlice::new(flow.first);
        self.output.write(&parts, flow.count);
        self.storage.spare.push(recycle(parts));
    }

    fn write_alone(&mut self, packet: &[u8]) {
        let parts = [IoSlice::new(&vnet::PLAIN), IoSlice::new(packet)];
        self.output.write(&parts, 1);
    }
}

impl<'a> Flow<'a> {
    fn new(key: Key, shape: Shape, first: &'a mut [u8], storage: &mut Storage) -> Self {
        let mut parts: Vec<IoSlice<'a>> = storage.spare.pop().unwrap_or_default();
        parts.push(IoSlice::new(&[]));
        parts.push(IoSlice::new(&[]));
        Self {
            key,
            first_verified: false,
            shape,
            parts,
            count: 1,
            payload_len: shape.payload_len,
            next_sequence: sequence(first).wrapping_add(len_u32(shape.payload_len)),
            identification: Identification::First(identification(first)),
            first,
        }
    }

    /// Returns whether `packet` of the same flow can be the next in this train.
    #[inline]
    fn accepts(&mut self, packet: &[u8], shape: Shape) -> bool {
        let headers = shape.headers_len;
        let fits = headers == self.shape.headers_len
            && shape.payload_len <= self.shape.payload_len
            && self.count < MAX_PACKETS
            && headers + self.payload_len + shape.payload_len <= vnet::MAX_PACKET;
        if !fits || !self.same_headers(packet, headers) || !self.next_identification(packet) {
            return false;
        }
        if !verifies(packet) {
            return false;
        }
        self.first_verified = self.first_verified || verifies(self.first);
        self.first_verified
    }

    /// Compares what may not differ: type of service, flags, time to live; for TCP also acknowledgement, window,
    /// urgent pointer, options, and the sequence number with the one expected.
    #[inline]
    fn same_headers(&self, packet: &[u8], headers_len: usize) -> bool {
        let first = &*self.first;
        let ip = first[1] == packet[1] && first[6..9] == packet[6..9];
        match self.key.transport {
            Transport::Udp => ip,
            Transport::Tcp => {
                ip && sequence(packet) == self.next_sequence
                    && first[28..33] == packet[28..33]
                    && first[34..36] == packet[34..36]
                    && first[38..headers_len] == packet[38..headers_len]
            }
        }
    }

    #[inline]
    fn next_identification(&self, packet: &[u8]) -> bool {
        let number = identification(packet);
        match self.identification {
            Identification::First(first) => {
                number == first.wrapping_add(1) || (number == first && dont_fragment(packet))
            }
            Identification::Counting { next } => number == next,
            Identification::Fixed(fixed) => number == fixed,
        }
    }

    #[inline]
    fn add(&mut self, packet: &'a [u8], shape: Shape) {
        let number = identification(packet);
        self.identification = match self.identification {
            Identification::First(first) if first == number => Identification::Fixed(number),
            Identification::First(_) | Identification::Counting { .. } => {
                Identification::Counting {
                    next: number.wrapping_add(1),
                }
            }
            Identification::Fixed(fixed) => Identification::Fixed(fixed),
        };
        self.shape.pushed = shape.pushed;
        self.count += 1;
        self.payload_len += shape.payload_len;
        self.next_sequence = self.next_sequence.wrapping_add(len_u32(shape.payload_len));
        self.parts.push(IoSlice::new(&packet[shape.headers_len..]));
    }

    /// Turns the headers of the first packet into those of the train and describes it.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a train is at most 65,535 octets long"
    )]
    fn seal(&mut self) -> [u8; vnet::LEN] {
        let headers_len = self.shape.headers_len;
        let total = (headers_len + self.payload_len) as u16;
        let segment_len = total - IP_HEADER as u16;
        let first = &mut *self.first;
        first[2..4].copy_from_slice(&total.to_be_bytes());
        first[10..12].fill(0);
        let checksum = Sum::new().bytes(&first[..IP_HEADER]).checksum();
        first[10..12].copy_from_slice(&checksum);
        let (gso, offset, protocol) = match self.key.transport {
            Transport::Tcp => (Gso::Tcp4, 16, 6),
            Transport::Udp => (Gso::Udp, 6, 17),
        };
        match self.key.transport {
            Transport::Tcp if self.shape.pushed => first[33] |= PSH,
            Transport::Tcp => {}
            Transport::Udp => first[24..26].copy_from_slice(&segment_len.to_be_bytes()),
        }
        let pseudo = pseudo_header(&self.key.addresses, protocol, segment_len).fold();
        let field = IP_HEADER + offset;
        first[field..field + 2].copy_from_slice(&pseudo);
        let header = Header {
            checksum: Some(PartialChecksum {
                start: IP_HEADER as u16,
                offset: offset as u16,
            }),
            gso,
            gso_size: self.shape.payload_len as u16,
            header_len: headers_len as u16,
        };
        header.encode()
    }
}

/// A segment with payload and no flag but ACK and PSH.
#[inline]
fn tcp_shape(segment: &[u8]) -> Option<Shape> {
    let header = segment.first_chunk::<TCP_HEADER>()?;
    let header_len = usize::from(header[12] >> 4) * 4;
    let plain = header[13] & !PSH == ACK && header[12] << 4 == 0;
    (plain && header_len >= TCP_HEADER && segment.len() > header_len).then(|| Shape {
        headers_len: IP_HEADER + header_len,
        payload_len: segment.len() - header_len,
        pushed: header[13] & PSH != 0,
    })
}

/// A datagram with payload, a checksum, and the length that the packet has.
#[inline]
fn udp_shape(segment: &[u8]) -> Option<Shape> {
    let header = segment.first_chunk::<UDP_HEADER>()?;
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let summed = header[6..8] != [0, 0];
    (summed && len == segment.len() && len > UDP_HEADER).then(|| Shape {
        headers_len: IP_HEADER + UDP_HEADER,
        payload_len: len - UDP_HEADER,
        pushed: false,
    })
}

/// Checks the checksum of the segment in `packet`, whose header has no options.
#[inline]
fn verifies(packet: &[u8]) -> bool {
    let Ok(view) = IpPacket::decode(packet) else {
        return false;
    };
    let Ok(len) = u16::try_from(view.payload().len()) else {
        return false;
    };
    pseudo_header(view.addresses(), view.protocol_number(), len)
        .plus(wide::sum(view.payload()))
        .verifies()
}

/// Reads the sequence number; of a datagram, something that nobody looks at.
#[inline]
fn sequence(packet: &[u8]) -> u32 {
    u32::from_be_bytes([packet[24], packet[25], packet[26], packet[27]])
}

#[inline]
fn identification(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[4], packet[5]])
}

#[inline]
fn dont_fragment(packet: &[u8]) -> bool {
    packet[6] & 0x40 != 0
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a packet is at most 65,535 octets long"
)]
#[inline]
const fn len_u32(len: usize) -> u32 {
    len as u32
}

/// Empties `parts` and gives the memory another lifetime; the collection happens in place.
fn recycle<'b>(mut parts: Vec<IoSlice<'_>>) -> Vec<IoSlice<'b>> {
    parts.clear();
    parts.into_iter().map(|_| IoSlice::new(&[])).collect()
}

#[cfg(test)]
mod tests;
