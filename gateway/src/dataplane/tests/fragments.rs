//! Packets that a session takes in pieces.

use causeway_proto::ip::IpPacket;

use super::rig::{Client, give, plane, receive};
use crate::dataplane::RecordPacking;
use crate::dataplane::counters::Counter;
use crate::dataplane::fixtures::{Segment, ip_packet, partial, train_header, verifies};
use crate::os::tun::Offload;
use crate::os::vnet::{Gso, Header};

/// What a host sends to this client, and says may be cut.
fn towards(client: &Client, octets: usize) -> Segment {
    let mut segment = Segment::udp().payload(&vec![3; octets]);
    segment.source = super::HOST;
    segment.destination = client.address.octets();
    segment.dont_fragment = false;
    segment
}

/// Reads fragments up to the last and puts them together.
fn put_together(client: &mut Client, like: &Segment) -> Vec<u8> {
    let mut payload = Vec::new();
    loop {
        let octets = client.packet();
        assert!(octets.len() <= 1_400);
        let fragment = IpPacket::decode(&octets).unwrap();
        assert_eq!(fragment.verify_header(), Ok(()));
        let field = u16::from_be_bytes([octets[6], octets[7]]);
        assert_eq!(usize::from(field & 0x1fff) * 8, payload.len());
        payload.extend_from_slice(fragment.payload());
        if field & 0x2000 == 0 {
            return ip_packet(like, 17, &payload);
        }
    }
}

#[test]
fn a_packet_that_may_be_cut_comes_in_fragments() {
    let (plane, peer) = plane(Offload::Auto);
    let mut client = Client::attach(&plane, 5, RecordPacking::Many);
    let segment = towards(&client, 4_000);
    give(&peer, Header::default(), &segment.octets());
    assert_eq!(put_together(&mut client, &segment), segment.octets());
    // The checksum that the kernel left to the device is of the whole.
    let (header, octets) = partial(&segment);
    give(&peer, header, &octets);
    assert_eq!(put_together(&mut client, &segment), segment.octets());
    // Each packet of a train is cut for itself.
    give(&peer, train_header(Gso::Udp, 2_000), &segment.octets());
    for identification in [4_000, 4_001] {
        let like = segment.clone().identification(identification);
        let whole = put_together(&mut client, &like);
        assert_eq!(whole.len(), 2_028);
        assert!(verifies(&whole));
    }
    let again = towards(&client, 10);
    give(&peer, Header::default(), &again.octets());
    assert_eq!(client.packet(), again.octets());
    assert_eq!(plane.counters().down.get(Counter::TooBig), 0);
}

#[test]
fn a_packet_that_may_not_be_cut_is_answered() {
    let (plane, peer) = plane(Offload::Auto);
    let client = Client::attach(&plane, 5, RecordPacking::Many);
    let mut segment = towards(&client, 1_400);
    segment.dont_fragment = true;
    give(&peer, Header::default(), &segment.octets());
    let (_, error) = receive(&peer);
    assert_eq!(error[20..22], [3, 4]);
    drop(client);
}
