use super::*;
use crate::dataplane::fixtures::{Segment, ip_packet, verifies};
use crate::os::tun::{Offload, Peer};
use crate::os::vnet::{Gso, Header};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 2);
const GATEWAY: [u8; 4] = [10, 8, 0, 1];

fn gate(isolate: bool) -> Gate {
    let pool = [(Ipv4Addr::new(10, 8, 0, 1), Ipv4Addr::new(10, 8, 0, 254))];
    let isolated = if isolate { &pool[..] } else { &[] };
    Gate::new(
        Ipv4Addr::from(GATEWAY),
        isolated,
        &["192.0.2.128/25".parse().unwrap()],
    )
}

fn check(gate: &Gate, octets: &[u8]) -> Result<(), Counter> {
    let packet = IpPacket::decode(octets).map_err(|_| Counter::Malformed)?;
    let behind = Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 7, 0), 24);
    gate.check(CLIENT, &[behind], &packet)
}

fn towards(destination: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut like = Segment::udp();
    like.destination = destination;
    ip_packet(&like, protocol, payload)
}

#[test]
fn only_the_own_source_address_passes() {
    let gate = gate(true);
    for source in [
        [10, 8, 0, 3],
        GATEWAY,
        [192, 0, 2, 9],
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [0; 4],
        [255; 4],
        [198, 51, 100, 1],
        [192, 168, 6, 255],
        [192, 168, 8, 0],
    ] {
        let mut segment = Segment::udp().payload(b"x");
        segment.source = source;
        assert_eq!(check(&gate, &segment.octets()), Err(Counter::SourceAddress));
    }
    // Its own, and those of the network behind it.
    for source in [[10, 8, 0, 2], [192, 168, 7, 0], [192, 168, 7, 255]] {
        let mut good = Segment::udp().payload(b"x");
        good.source = source;
        assert_eq!(check(&gate, &good.octets()), Ok(()));
    }
}

#[test]
fn a_client_pings_the_gateway_and_reaches_nothing_else_of_it() {
    let gate = gate(true);
    assert_eq!(check(&gate, &towards(GATEWAY, 1, &[8, 0, 0, 0])), Ok(()));
    for (protocol, payload) in [
        (1, [13, 0, 0, 0]),
        (1, [5, 0, 0, 0]),
        (6, [0; 4]),
        (17, [0; 4]),
    ] {
        assert_eq!(
            check(&gate, &towards(GATEWAY, protocol, &payload)),
            Err(Counter::Gateway)
        );
    }
}

#[test]
fn the_services_of_the_cloud_are_never_reached() {
    for gate in [gate(true), gate(false)] {
        for destination in [[169, 254, 169, 254], [168, 63, 129, 16], [192, 0, 2, 200]] {
            assert_eq!(
                check(&gate, &towards(destination, 6, &[0; 20])),
                Err(Counter::Blocked)
            );
        }
        assert_eq!(
            check(&gate, &towards([168, 63, 129, 17], 6, &[0; 20])),
            Ok(())
        );
    }
}

#[test]
fn crowds_and_nobody_are_no_destination() {
    let gate = gate(false);
    for destination in [
        [224, 0, 0, 251],
        [239, 255, 255, 250],
        [255; 4],
        [127, 0, 0, 1],
        [0; 4],
        CLIENT.octets(),
    ] {
        assert_eq!(
            check(&gate, &towards(destination, 17, &[0; 8])),
            Err(Counter::Destination)
        );
    }
}

#[test]
fn clients_reach_one_another_only_when_allowed() {
    let packet = towards([10, 8, 0, 77], 17, &[0; 8]);
    assert_eq!(check(&gate(true), &packet), Err(Counter::Isolated));
    assert_eq!(check(&gate(false), &packet), Ok(()));
}

#[test]
fn a_wrong_header_checksum_or_a_source_route_is_malformed() {
    let mut packet = towards([192, 0, 2, 9], 17, &[0; 8]);
    packet[10] ^= 1;
    assert_eq!(check(&gate(true), &packet), Err(Counter::Malformed));
}

struct Rig {
    tun: Arc<Tun>,
    peer: Peer,
    tally: Tally,
    activity: Activity,
}

impl Rig {
    fn new(offload: Offload) -> Self {
        let (device, peer) = Device::pair(1400, offload).unwrap();
        Self {
            tun: Tun::new(device),
            peer,
            tally: Tally::default(),
            activity: Activity::default(),
        }
    }

    fn deliver(&mut self, packets: &[Vec<u8>]) {
        let mut packets = packets.to_vec();
        let mut storage = Storage::default();
        let gate = gate(true);
        let client = Client {
            address: CLIENT,
            networks: &[],
            mss: 1360,
            filter: None,
            activity: &self.activity,
        };
        let writer = TunWriter {
            tun: &self.tun,
            tally: &mut self.tally,
        };
        let mut inbound = Inbound::new(client, &gate, &mut storage, writer);
        for packet in &mut packets {
            inbound.deliver(packet);
        }
        inbound.finish(5);
    }
}

#[test]
fn a_batch_is_gathered_written_and_counted() {
    let mut rig = Rig::new(Offload::Auto);
    let first = Segment::tcp(1).identification(1).payload(&[7; 1000]);
    let second = Segment::tcp(1001).identification(2).payload(&[8; 1000]);
    let mut spoofed = Segment::tcp(2001).payload(&[9; 1000]);
    spoofed.source = [10, 8, 0, 9];
    let mut padded = second.octets();
    padded.extend_from_slice(&[0; 6]);
    rig.deliver(&[first.octets(), spoofed.octets(), padded, vec![0x60; 40]]);
    let (header, train) = rig.peer.receive().unwrap();
    assert_eq!((header.gso, header.gso_size), (Gso::Tcp4, 1000));
    assert_eq!(train.len(), 52 + 2000);
    assert!(rig.peer.receive().is_err());
    for (counter, count) in [
        (Counter::Packets, 2),
        (Counter::Octets, 2 * 1052),
        (Counter::SourceAddress, 1),
        (Counter::NotIpv4, 1),
        (Counter::TunWrites, 1),
        (Counter::Coalesced, 2),
    ] {
        assert_eq!(rig.tally.get(counter), count, "{}", counter.as_str());
    }
    assert_eq!(rig.activity.usage().up_packets, 2);
    assert_eq!(rig.activity.last_ms(), 5);
}

#[test]
fn the_mss_of_a_syn_is_clamped() {
    let mut rig = Rig::new(Offload::Off);
    let mut syn = Segment::tcp(1).flags(0x02);
    syn.tcp_options = vec![2, 4, 0x05, 0xb4];
    rig.deliver(&[syn.octets()]);
    let (header, packet) = rig.peer.receive().unwrap();
    assert_eq!(header, Header::default());
    assert_eq!(packet[42..44], 1360_u16.to_be_bytes());
    assert!(verifies(&packet));
}

#[test]
fn a_refused_train_ends_trains_and_loses_one_batch_at_most() {
    let mut rig = Rig::new(Offload::Auto);
    let packets = [
        Segment::tcp(1)
            .identification(1)
            .payload(&[7; 1000])
            .octets(),
        Segment::tcp(1001)
            .identification(2)
            .payload(&[8; 1000])
            .octets(),
    ];
    let mut writer = TunWriter {
        tun: &rig.tun,
        tally: &mut rig.tally,
    };
    writer.failed(&io::Error::from_raw_os_error(libc::EINVAL), 2);
    rig.deliver(&packets);
    for packet in &packets {
        assert_eq!(
            rig.peer.receive().unwrap(),
            (Header::default(), packet.clone())
        );
    }
    assert_eq!(rig.tally.get(Counter::TrainsRefused), 1);
    assert!(rig.tun.is_healthy());
}

#[test]
fn a_tun_that_is_gone_is_told() {
    let mut rig = Rig::new(Offload::Auto);
    let packet = Segment::udp().payload(b"x").octets();
    let mut writer = TunWriter {
        tun: &rig.tun,
        tally: &mut rig.tally,
    };
    writer.failed(&io::Error::from_raw_os_error(libc::EIO), 1);
    assert!(!rig.tun.is_healthy());
    rig.deliver(&[packet]);
    assert!(rig.tun.is_healthy());
}
