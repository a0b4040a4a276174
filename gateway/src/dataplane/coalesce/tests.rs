use proptest::prelude::*;

use super::*;
use crate::dataplane::fixtures::{Segment, ip_packet, verifies as both_verify};
use crate::dataplane::segment::Train;

/// What came out: each write as its header and the octets behind it.
struct Written {
    trains: Trains,
    writes: Vec<(Header, Vec<u8>)>,
    packets: usize,
}

impl Output for &mut Written {
    fn trains(&self) -> Trains {
        self.trains
    }

    fn write(&mut self, parts: &[IoSlice<'_>], packets: usize) {
        let octets: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let (header, packet) = octets.split_first_chunk().unwrap();
        self.writes.push((Header::decode(header), packet.to_vec()));
        self.packets += packets;
    }
}

fn coalesce_with(trains: Trains, packets: &[Vec<u8>]) -> Written {
    let mut written = Written {
        trains,
        writes: Vec::new(),
        packets: 0,
    };
    let mut packets = packets.to_vec();
    let mut storage = Storage::default();
    let mut coalescer = Coalescer::new(&mut storage, &mut written);
    for packet in &mut packets {
        coalescer.push(packet);
    }
    coalescer.finish();
    assert_eq!(written.packets, packets.len());
    written
}

fn coalesce(packets: &[Vec<u8>]) -> Written {
    coalesce_with(Trains::TcpAndUdp, packets)
}

/// Cuts everything again.
fn cut(written: &Written) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for (header, octets) in &written.writes {
        let train = Train::parse(header, octets).unwrap();
        for index in 0..train.count() {
            let mut out = vec![0; train.len_of(index)];
            train.write(index, &mut out);
            packets.push(out);
        }
    }
    packets
}

/// `count` segments in sequence, `len` octets each.
fn run(count: u16, len: usize) -> Vec<Segment> {
    (0..count)
        .map(|i| {
            let payload = vec![u8::try_from(i % 251).unwrap(); len];
            Segment::tcp(9 + u32::from(i) * len_u32(len))
                .identification(500 + i)
                .payload(&payload)
        })
        .collect()
}

fn octets(segments: &[Segment]) -> Vec<Vec<u8>> {
    segments.iter().map(Segment::octets).collect()
}

#[test]
fn segments_in_sequence_become_one_train() {
    let packets = octets(&run(40, 1348));
    let written = coalesce(&packets);
    assert_eq!(written.writes.len(), 1);
    let (header, train) = &written.writes[0];
    assert_eq!((header.gso, header.gso_size), (Gso::Tcp4, 1348));
    assert_eq!(header.header_len, 52);
    assert_eq!(train.len(), 52 + 40 * 1348);
    assert_eq!(cut(&written), packets);
}

#[test]
fn a_train_ends_before_it_is_too_long() {
    let packets = octets(&run(100, 1348));
    let written = coalesce(&packets);
    assert_eq!(written.writes.len(), 3);
    assert_eq!(cut(&written), packets);
    let packets = octets(&run(130, 100));
    assert_eq!(coalesce(&packets).writes.len(), 3);
}

#[test]
fn the_last_segment_may_be_short_or_pushed_and_then_the_train_ends() {
    let mut segments = run(6, 1000);
    segments[2].payload.truncate(10);
    segments[3].sequence = segments[2].sequence + 10;
    segments[4].sequence = segments[3].sequence + 1000;
    segments[4].flags |= PSH;
    segments[5].sequence = segments[4].sequence + 1000;
    let packets = octets(&segments);
    let written = coalesce(&packets);
    assert_eq!(written.writes.len(), 3);
    assert_eq!(cut(&written), packets);
}

#[test]
fn a_wrong_checksum_goes_alone_and_stays_wrong() {
    for bad in 0..3 {
        let mut packets = octets(&run(3, 700));
        packets[bad][60] ^= 4;
        let written = coalesce(&packets);
        assert_eq!(cut(&written), packets);
        let alone: Vec<&Vec<u8>> = written
            .writes
            .iter()
            .filter(|(header, _)| *header == Header::default())
            .map(|(_, octets)| octets)
            .collect();
        assert!(alone.contains(&&packets[bad]));
        assert!(!both_verify(&packets[bad]));
    }
}

#[test]
fn every_difference_stops_merging_and_keeps_the_order() {
    type Change = fn(&mut Segment);
    let changes: [(&str, Change); 15] = [
        ("syn", |s| s.flags |= 0x02),
        ("fin", |s| s.flags |= 0x01),
        ("rst", |s| s.flags |= 0x04),
        ("urg", |s| s.flags |= 0x20),
        ("ece", |s| s.flags |= 0x40),
        ("cwr", |s| s.flags |= 0x80),
        ("no ack", |s| s.flags = 0),
        ("acknowledged", |s| s.acknowledged += 1),
        ("window", |s| s.window += 1),
        ("options", |s| s.tcp_options[7] += 1),
        ("ecn", |s| s.type_of_service = 3),
        ("dscp", |s| s.type_of_service = 0xb8),
        ("ttl", |s| s.time_to_live -= 1),
        ("identification", |s| s.identification += 7),
        ("may be fragmented", |s| s.dont_fragment = false),
    ];
    for (name, change) in changes {
        let mut segments = run(5, 500);
        change(&mut segments[2]);
        let packets = octets(&segments);
        let written = coalesce(&packets);
        assert!(written.writes.len() >= 2, "{name}");
        assert_eq!(cut(&written), packets, "{name}");
    }
}

#[test]
fn a_gap_or_a_repetition_starts_a_new_train() {
    let mut segments = run(6, 500);
    segments[3].sequence += 1;
    segments[5] = segments[4].clone();
    let packets = octets(&segments);
    let written = coalesce(&packets);
    assert_eq!(cut(&written), packets);
    assert_eq!(written.writes.len(), 4);
}

#[test]
fn datagrams_of_one_size_become_a_train() {
    let mut segments: Vec<Segment> = (0..5)
        .map(|i| Segment::udp().identification(i).payload(&[3; 1200]))
        .collect();
    segments[4].payload.truncate(3);
    let packets = octets(&segments);
    let written = coalesce(&packets);
    assert_eq!(written.writes.len(), 1);
    assert_eq!(written.writes[0].0.gso, Gso::Udp);
    assert_eq!(cut(&written), packets);

    let written = coalesce_with(Trains::Tcp, &packets);
    assert_eq!(written.writes.len(), 5);
    assert_eq!(cut(&written), packets);
}

#[test]
fn one_identification_for_all_is_no_difference() {
    let segments: Vec<Segment> = (0..5)
        .map(|_| Segment::udp().identification(0).payload(&[3; 1200]))
        .collect();
    let packets = octets(&segments);
    let written = coalesce(&packets);
    assert_eq!(written.writes.len(), 1);
    // Fragments of such packets cannot exist, so the counting that the kernel does harms nobody.
    let payloads = |packets: &[Vec<u8>]| -> Vec<Vec<u8>> {
        packets.iter().map(|packet| packet[20..].to_vec()).collect()
    };
    assert_eq!(payloads(&cut(&written)), payloads(&packets));

    let may_fragment: Vec<Vec<u8>> = segments
        .into_iter()
        .map(|mut segment| {
            segment.dont_fragment = false;
            segment.octets()
        })
        .collect();
    assert_eq!(coalesce(&may_fragment).writes.len(), 5);
}

#[test]
fn what_is_not_plain_passes_untouched() {
    let mut empty = Segment::udp().payload(b"").octets();
    let mut unsummed = Segment::udp().payload(&[1; 400]).octets();
    unsummed[26..28].fill(0);
    let mut fragment = Segment::udp().payload(&[1; 400]).octets();
    fragment[6] = 0x20;
    refresh(&mut fragment);
    let mut later = fragment.clone();
    later[7] = 50;
    refresh(&mut later);
    let icmp = ip_packet(&Segment::udp(), 1, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
    let esp = ip_packet(&Segment::udp(), 50, &[5; 90]);
    let tiny = ip_packet(&Segment::udp(), 6, &[1, 2]);
    let pure_ack = Segment::tcp(5).octets();
    let mut options = ip_packet(&Segment::udp(), 17, &[0; 500]);
    options[0] = 0x46;
    options[20..24].copy_from_slice(&[1, 1, 1, 0]);
    refresh(&mut options);
    refresh(&mut empty);
    for packet in [
        empty, unsummed, fragment, later, icmp, esp, tiny, pure_ack, options,
    ] {
        let packets = vec![packet; 3];
        let written = coalesce(&packets);
        assert_eq!(written.writes.len(), 3);
        assert!(
            written
                .writes
                .iter()
                .all(|(header, _)| *header == Header::default())
        );
        let came: Vec<Vec<u8>> = written
            .writes
            .into_iter()
            .map(|(_, octets)| octets)
            .collect();
        assert_eq!(came, packets);
    }
}

fn refresh(packet: &mut [u8]) {
    let header_len = usize::from(packet[0] & 15) * 4;
    packet[10..12].fill(0);
    let checksum = Sum::new().bytes(&packet[..header_len]).checksum();
    packet[10..12].copy_from_slice(&checksum);
}

#[test]
fn an_acknowledgement_goes_behind_the_data_of_its_flow() {
    let mut packets = octets(&run(2, 900));
    let mut segment = Segment::tcp(9 + 1800);
    segment.acknowledged += 50;
    packets.push(segment.octets());
    let written = coalesce(&packets);
    assert_eq!(written.writes.len(), 2);
    assert_eq!(cut(&written), packets);
}

#[test]
fn interleaved_flows_are_gathered_apart() {
    let mut packets = Vec::new();
    for i in 0..10 {
        for flow in 0..FLOWS {
            let mut segment = run(10, 600)[i].clone();
            segment.ports[1] = u8::try_from(flow).unwrap();
            packets.push(segment.octets());
        }
    }
    assert_eq!(coalesce(&packets).writes.len(), FLOWS);
}

#[test]
fn without_trains_each_packet_is_written_alone() {
    let packets = octets(&run(4, 900));
    let written = coalesce_with(Trains::None, &packets);
    assert_eq!(written.writes.len(), 4);
    assert_eq!(cut(&written), packets);
}

/// Packets of a few flows, mostly in sequence, some odd.
fn traffic() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let step = (0..12_u8, 0..8_u8, 1..1_400_usize, any::<u8>());
    proptest::collection::vec(step, 0..80).prop_map(|steps| {
        let mut sequences = [1_000_u32; 12];
        let mut numbers = [0_u16; 12];
        let mut packets = Vec::new();
        for (flow, oddity, len, fill) in steps {
            let index = usize::from(flow);
            let len = if oddity < 5 { 1_000 } else { len };
            let mut segment = if flow % 3 == 2 {
                Segment::udp()
            } else {
                Segment::tcp(sequences[index])
            };
            segment.ports[1] = flow;
            segment.payload = vec![fill; len];
            segment.identification = numbers[index];
            match oddity {
                6 => segment.flags |= PSH,
                7 => segment.type_of_service = fill,
                _ => {}
            }
            let mut octets = segment.octets();
            if oddity == 5 && fill < 40 {
                let at = octets.len() - 1;
                octets[at] ^= 0x55;
            }
            packets.push(octets);
            sequences[index] = sequences[index].wrapping_add(len_u32(len));
            numbers[index] = numbers[index].wrapping_add(1);
        }
        packets
    })
}

fn flow_of(packet: &[u8]) -> Vec<u8> {
    packet[12..24].to_vec()
}

proptest! {
    #[test]
    fn cutting_what_was_gathered_gives_each_flow_back(packets in traffic()) {
        let back = cut(&coalesce(&packets));
        prop_assert_eq!(back.len(), packets.len());
        for packet in &packets {
            let flow = flow_of(packet);
            let of = |all: &[Vec<u8>]| -> Vec<Vec<u8>> {
                all.iter().filter(|p| flow_of(p) == flow).cloned().collect()
            };
            prop_assert_eq!(of(&back), of(&packets));
        }
    }

    #[test]
    fn arbitrary_packets_never_panic(
        mut packets in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..90), 0..20),
    ) {
        for packet in &mut packets {
            let len = u16::try_from(packet.len()).unwrap();
            if let [first, _, hi, lo, _, _, flags, offset, _, protocol, ..] = packet.as_mut_slice() {
                *first = 0x40 | (*first % 8);
                [*hi, *lo] = len.to_be_bytes();
                *flags &= 0x40;
                *offset = 0;
                *protocol = if *protocol & 1 == 0 { 6 } else { 17 };
            }
        }
        let mut storage = Storage::default();
        let mut written = Written { trains: Trains::TcpAndUdp, writes: Vec::new(), packets: 0 };
        let mut coalescer = Coalescer::new(&mut storage, &mut written);
        for packet in &mut packets {
            coalescer.push(packet);
        }
        coalescer.finish();
    }
}
