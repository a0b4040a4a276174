//! Packets for the tests of this room.

use causeway_proto::ip::checksum::{Sum, pseudo_header};
use causeway_proto::ip::{IpPacket, Protocol};

use crate::os::vnet::{Gso, Header, PartialChecksum};

/// A TCP segment or UDP datagram in an IPv4 packet, described.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
    pub(crate) ports: [u8; 4],
    pub(crate) tcp: bool,
    pub(crate) sequence: u32,
    pub(crate) acknowledged: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) tcp_options: Vec<u8>,
    pub(crate) identification: u16,
    pub(crate) dont_fragment: bool,
    pub(crate) time_to_live: u8,
    pub(crate) type_of_service: u8,
    pub(crate) payload: Vec<u8>,
}

impl Segment {
    pub(crate) fn tcp(sequence: u32) -> Self {
        Self {
            source: [10, 8, 0, 2],
            destination: [192, 0, 2, 9],
            ports: [0x30, 0x39, 0, 80],
            tcp: true,
            sequence,
            acknowledged: 77,
            flags: 0x10,
            window: 501,
            urgent: 0,
            tcp_options: vec![1, 1, 8, 10, 0, 0, 0, 5, 0, 0, 0, 6],
            identification: 4_000,
            dont_fragment: true,
            time_to_live: 64,
            type_of_service: 0,
            payload: Vec::new(),
        }
    }

    pub(crate) fn udp() -> Self {
        Self {
            tcp: false,
            ..Self::tcp(0)
        }
    }

    pub(crate) fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    pub(crate) fn identification(mut self, identification: u16) -> Self {
        self.identification = identification;
        self
    }

    pub(crate) fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    pub(crate) fn octets(&self) -> Vec<u8> {
        let mut segment = self.ports.to_vec();
        if self.tcp {
            segment.extend_from_slice(&self.sequence.to_be_bytes());
            segment.extend_from_slice(&self.acknowledged.to_be_bytes());
            let offset = u8::try_from((20 + self.tcp_options.len()) / 4).unwrap() << 4;
            segment.extend_from_slice(&[offset, self.flags]);
            segment.extend_from_slice(&self.window.to_be_bytes());
            segment.extend_from_slice(&[0, 0]);
            segment.extend_from_slice(&self.urgent.to_be_bytes());
            segment.extend_from_slice(&self.tcp_options);
        } else {
            let len = u16::try_from(8 + self.payload.len()).unwrap();
            segment.extend_from_slice(&len.to_be_bytes());
            segment.extend_from_slice(&[0, 0]);
        }
        segment.extend_from_slice(&self.payload);
        let protocol = if self.tcp { 6 } else { 17 };
        let mut octets = ip_packet(self, protocol, &segment);
        let sum = transport_sum(&octets);
        let at = if self.tcp { 36 } else { 26 };
        let checksum = if self.tcp {
            sum.checksum()
        } else {
            sum.udp_checksum()
        };
        octets[at..at + 2].copy_from_slice(&checksum);
        octets
    }
}

/// An IPv4 packet with the addresses and header fields of `like` around `payload`.
pub(crate) fn ip_packet(like: &Segment, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut octets = vec![0x45, like.type_of_service];
    let total = u16::try_from(20 + payload.len()).unwrap();
    octets.extend_from_slice(&total.to_be_bytes());
    octets.extend_from_slice(&like.identification.to_be_bytes());
    octets.extend_from_slice(&[if like.dont_fragment { 0x40 } else { 0 }, 0]);
    octets.extend_from_slice(&[like.time_to_live, protocol, 0, 0]);
    octets.extend_from_slice(&like.source);
    octets.extend_from_slice(&like.destination);
    let checksum = Sum::new().bytes(&octets).checksum();
    octets[10..12].copy_from_slice(&checksum);
    octets.extend_from_slice(payload);
    octets
}

fn transport_sum(octets: &[u8]) -> Sum {
    let packet = IpPacket::decode(octets).unwrap();
    let len = u16::try_from(packet.payload().len()).unwrap();
    pseudo_header(packet.addresses(), packet.protocol_number(), len).bytes(packet.payload())
}

/// Whether both checksums of a packet are right.
pub(crate) fn verifies(octets: &[u8]) -> bool {
    let packet = IpPacket::decode(octets).unwrap();
    packet.verify_header().is_ok() && transport_sum(octets).verifies()
}

/// The header of a train, as the kernel writes it.
pub(crate) fn train_header(gso: Gso, gso_size: u16) -> Header {
    let offset = if gso == Gso::Udp { 6 } else { 16 };
    Header {
        checksum: Some(PartialChecksum { start: 20, offset }),
        gso,
        gso_size,
        header_len: 999,
    }
}

/// `segment` as the kernel hands it over when the checksum is left to the device.
pub(crate) fn partial(segment: &Segment) -> (Header, Vec<u8>) {
    let mut octets = segment.octets();
    let packet = IpPacket::decode(&octets).unwrap();
    let len = u16::try_from(packet.payload().len()).unwrap();
    let pseudo = pseudo_header(packet.addresses(), packet.protocol_number(), len).fold();
    let offset = match packet.protocol() {
        Protocol::Tcp => 16,
        Protocol::Udp | Protocol::Icmp | Protocol::Other(_) => 6,
    };
    octets[20 + offset..22 + offset].copy_from_slice(&pseudo);
    let header = Header {
        checksum: Some(PartialChecksum {
            start: 20,
            offset: u16::try_from(offset).unwrap(),
        }),
        ..Header::default()
    };
    (header, octets)
}
