//! Packets gathered into trains and cut again are the packets that went in, in the order of their flow.

use std::collections::BTreeMap;
use std::io::IoSlice;

use causeway::dataplane::coalesce::{Coalescer, Output, Storage};
use causeway::dataplane::segment::Train;
use causeway::os::tun::Trains;
use causeway::os::vnet::{Header, LEN};
use causeway_proto::ip::IpPacket;
use causeway_proto::ip::checksum::{Sum, pseudo_header};

use crate::Program;

/// Builds a batch as the program says, sends it through, and compares flow by flow.
pub fn coalesce(bytes: &[u8]) {
    let mut program = Program::new(bytes);
    let trains = [Trains::TcpAndUdp, Trains::Tcp, Trains::None][usize::from(program.byte()) % 3];
    let mut batch = Vec::new();
    let mut next = Flows::default();
    while !program.is_done() && batch.len() < 200 {
        batch.extend(next.packet(&mut program));
    }
    let expected = by_flow(batch.iter().map(Vec::as_slice));
    let mut sent = batch.clone();
    let mut storage = Storage::default();
    let mut coalescer = Coalescer::new(
        &mut storage,
        Cutter {
            trains,
            cut: Vec::new(),
        },
    );
    for packet in &mut sent {
        coalescer.push(packet);
    }
    let cut = coalescer.finish().cut;
    let found = by_flow(cut.iter().map(Vec::as_slice));
    for (flow, packets) in &expected {
        let out = found.get(flow).map_or(&[][..], Vec::as_slice);
        let same = packets.iter().zip(out).take_while(|(a, b)| a == b).count();
        assert!(
            same == packets.len() && same == out.len(),
            "{} packets in, {} out, the first {same} the same",
            packets.len(),
            out.len()
        );
    }
    assert_eq!(found.len(), expected.len());
}

/// Writes nothing: cuts the trains again, as the kernel would.
struct Cutter {
    trains: Trains,
    cut: Vec<Vec<u8>>,
}

impl Output for Cutter {
    fn trains(&self) -> Trains {
        self.trains
    }

    fn write(&mut self, parts: &[IoSlice<'_>], packets: usize) {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let (header, octets) = bytes.split_first_chunk::<LEN>().expect("a vnet header");
        assert!(
            octets.len() <= 65_535,
            "{} octets in one write",
            octets.len()
        );
        let header = Header::decode(header);
        let train = Train::parse(&header, octets).expect("what we wrote is a train");
        assert_eq!(train.count(), packets);
        for index in 0..packets {
            let mut packet = vec![0; train.len_of(index)];
            train.write(index, &mut packet);
            self.cut.push(packet);
        }
    }
}

/// Packets by what must keep its order: the two hosts.
fn by_flow<'a>(packets: impl Iterator<Item = &'a [u8]>) -> BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
    let mut flows: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for packet in packets {
        let ports = IpPacket::decode(packet)
            .ok()
            .and_then(|view| view.payload().get(..4))
            .unwrap_or_default();
        flows
            .entry([&packet[9..10], &packet[12..20], ports].concat())
            .or_default()
            .push(comparable(packet));
    }
    flows
}

/// The packet, but for the identification where "don't fragment" makes it meaningless (RFC 6864 §4.1).
fn comparable(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        sum_header(&mut packet);
    }
    packet
}

/// Where each flow has got to.
#[derive(Default)]
struct Flows {
    sequence: [u32; 4],
    identification: [u16; 4],
}

impl Flows {
    /// Builds the next packet; `None` when the program spoilt its header.
    fn packet(&mut self, program: &mut Program<'_>) -> Option<Vec<u8>> {
        let choice = program.byte();
        let flow = usize::from(choice & 3);
        let tcp = choice & 4 == 0;
        let len = usize::from(program.word() % 1400);
        let flags = if choice & 8 == 0 {
            0x10
        } else {
            program.byte()
        };
        let options: &[u8] = if choice & 16 == 0 {
            &[1, 1, 8, 10, 0, 0, 0, 5, 0, 0, 0, 6]
        } else {
            &[]
        };
        let (sequence, identification) = (self.sequence[flow], self.identification[flow]);
        self.sequence[flow] = sequence.wrapping_add(u32::try_from(len).unwrap());
        self.identification[flow] = identification.wrapping_add(u16::from(choice & 32 == 0));
        let mut segment = vec![0x30, flow as u8, 0, 80];
        if tcp {
            segment.extend(sequence.to_be_bytes());
            segment.extend(77_u32.to_be_bytes());
            segment.extend([
                ((20 + options.len() as u8) / 4) << 4,
                flags,
                1,
                0xf5,
                0,
                0,
                0,
                0,
            ]);
            segment.extend(options);
        } else {
            segment.extend(u16::try_from(8 + len).unwrap().to_be_bytes());
            segment.extend([0, 0]);
        }
        segment.resize(segment.len() + len, flow as u8 ^ sequence as u8);
        let mut packet = ip_header(segment.len(), identification, if tcp { 6 } else { 17 });
        packet.extend(segment);
        sum_transport(&mut packet, tcp);
        if choice & 64 != 0 {
            let at = usize::from(program.byte()) % packet.len().min(60);
            packet[at] ^= program.byte();
            sum_header(&mut packet);
            if choice & 128 != 0 && packet.len() > 40 {
                let tcp = packet[9] == 6;
                sum_transport(&mut packet, tcp);
            }
        }
        let view = IpPacket::decode(&packet).ok()?;
        view.verify_header().ok()?;
        let whole = view.octets().len();
        packet.truncate(whole);
        Some(packet)
    }
}

fn ip_header(payload: usize, identification: u16, protocol: u8) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend(u16::try_from(20 + payload).unwrap().to_be_bytes());
    header.extend(identification.to_be_bytes());
    header.extend([0x40, 0, 64, protocol, 0, 0, 10, 99, 0, 2, 10, 98, 0, 1]);
    sum_header(&mut header);
    header
}

fn sum_header(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let len = (usize::from(packet[0] & 15) * 4).clamp(20, packet.len());
    let sum = Sum::new().bytes(&packet[..len]).checksum();
    packet[10..12].copy_from_slice(&sum);
}

fn sum_transport(packet: &mut [u8], tcp: bool) {
    let at = if tcp { 36 } else { 26 };
    packet[at..at + 2].fill(0);
    let addresses: [u8; 8] = packet[12..20].try_into().unwrap();
    let len = u16::try_from(packet.len() - 20).unwrap();
    let sum = pseudo_header(&addresses, if tcp { 6 } else { 17 }, len).bytes(&packet[20..]);
    let sum = if tcp {
        sum.checksum()
    } else {
        sum.udp_checksum()
    };
    packet[at..at + 2].copy_from_slice(&sum);
}
