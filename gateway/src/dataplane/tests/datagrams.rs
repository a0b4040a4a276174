//! Datagram sessions in the threads, between peers over loopback and a device in memory.

mod offload;
mod rig;
mod roaming;

use std::sync::Arc;
use std::time::Duration;

use causeway_proto::ip::IpPacket;
use causeway_proto::ip::filter::Filter;
use causeway_proto::wireguard::{Index, PeerId, Role};

use self::rig::{Keys, Mobile, Plan, Site, keys, until};
use super::rig::{give, receive};
use super::*;
use crate::dataplane::fixtures::{Segment, train_header, verifies};
use crate::os::tun::Offload;
use crate::os::udp::Offloads;
use crate::os::vnet::{Gso, Header};

#[test]
fn packets_travel_both_ways() {
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        for (offload, train) in [(Offload::Auto, true), (Offload::Off, false)] {
            let offloads = Offloads {
                gro: train,
                gso: train,
            };
            let site = Site::with(&Plan {
                listen,
                offload,
                offloads,
                ..Plan::default()
            });
            let mut mobile = Mobile::up(&site, 5, 1);
            let up = mobile.segment(1).payload(b"up").octets();
            mobile.send(std::slice::from_ref(&up));
            assert_eq!(receive(&site.tun), (Header::default(), up.clone()));
            let down = mobile.towards(1).payload(b"down").octets();
            give(&site.tun, Header::default(), &down);
            assert_eq!(mobile.packet(), down);

            site.up(Counter::Packets, 1);
            let tally = site.down(Counter::Packets, 1);
            assert_eq!(tally.get(Counter::Octets), down.len() as u64);
            let usage = mobile.activity.usage();
            assert_eq!((usage.up_packets, usage.down_packets), (1, 1));
            assert_eq!(usage.up_octets, up.len() as u64);
            assert!(mobile.peer_activity.last_received_data_ms() > 0);
            assert!(mobile.peer_activity.last_sent_data_ms() > 0);
            // Streams and the device have numbers of their own.
            let counters = site.plane.counters();
            assert_eq!(counters.up.get(Counter::Packets), 0);
            assert_eq!(counters.up.get(Counter::TunPackets), 1);
        }
    }
}

#[test]
fn a_train_is_cut_for_one_call_and_packets_of_a_batch_are_gathered() {
    let site = Site::new();
    let mut mobile = Mobile::up(&site, 5, 0);
    let train = mobile.towards(1).payload(&vec![5; 40_000]).octets();
    give(&site.tun, train_header(Gso::Tcp4, 1348), &train);
    let packets: Vec<Vec<u8>> = (0..30).map(|_| mobile.packet()).collect();
    assert!(packets.iter().all(|packet| verifies(packet)));
    let payload: usize = packets.iter().map(|packet| packet.len() - 52).sum();
    assert_eq!(payload, 40_000);
    assert_eq!(mobile.arrivals, 1);

    let up: Vec<Vec<u8>> = (0..8_u16)
        .map(|i| {
            let segment = mobile.segment(u32::from(i) * 1000).identification(i);
            segment.payload(&[6; 1000]).octets()
        })
        .collect();
    mobile.send(&up);
    let (header, octets) = receive(&site.tun);
    assert_eq!((header.gso, header.gso_size), (Gso::Tcp4, 1000));
    assert_eq!(octets.len(), 52 + 8_000);
}

#[test]
fn what_one_call_cannot_take_goes_in_two() {
    let site = Site::new();
    let mut mobile = Mobile::up(&site, 5, 0);
    // 48 packets, of which 45 fit into one call.
    let train = mobile.towards(1).payload(&vec![5; 1348 * 48]).octets();
    give(&site.tun, train_header(Gso::Tcp4, 1348), &train);
    for number in 0..48 {
        let packet = mobile.packet();
        assert!(verifies(&packet));
        let sequence = u32::from_be_bytes(packet[24..28].try_into().unwrap());
        assert_eq!(sequence, 1 + number * 1348);
    }
    assert_eq!(mobile.arrivals, 2);
    site.down(Counter::Packets, 48);
}

#[test]
fn packets_for_several_peers_do_not_mix() {
    let site = Site::with(&Plan {
        shards: 4,
        ..Plan::default()
    });
    let mut mobiles: Vec<Mobile> = (0..4).map(|n| Mobile::up(&site, 10 + n, n)).collect();
    for round in 0..20_u32 {
        for (number, mobile) in (0..).zip(&mobiles) {
            let payload = vec![number; 10 + usize::from(number) * 100];
            let down = mobile.towards(round).payload(&payload).octets();
            give(&site.tun, Header::default(), &down);
        }
    }
    for (number, mobile) in (0..).zip(&mut mobiles) {
        for round in 0..20_u32 {
            let packet = mobile.packet();
            assert_eq!(packet[24..28], round.to_be_bytes());
            assert_eq!(packet[52..].len(), 10 + usize::from(number) * 100);
            assert!(packet[52..].iter().all(|octet| *octet == number));
        }
        // Each peer's data reaches the socket of its shard, where its keys are.
        let up = mobile.segment(9).payload(&[number; 7]).octets();
        mobile.send(std::slice::from_ref(&up));
        assert_eq!(receive(&site.tun).1, up);
    }
    assert_eq!(site.counters().up.dropped(), 0);
}

#[test]
fn what_is_not_the_clients_is_dropped_and_counted() {
    let site = Site::new();
    let mobile = Mobile::up(&site, 5, 0);
    let honest = mobile.segment(1).payload(b"y").octets();
    let mut spoofed = mobile.segment(1).payload(b"x");
    spoofed.source = [10, 8, 0, 6];
    let mut metadata = mobile.segment(1).payload(b"x");
    metadata.destination = [169, 254, 169, 254];
    let mut neighbour = mobile.segment(1).payload(b"x");
    neighbour.destination = [10, 8, 0, 6];
    mobile.send(&[
        spoofed.octets(),
        metadata.octets(),
        neighbour.octets(),
        vec![0x60; 53],
        honest.clone(),
    ]);
    assert_eq!(receive(&site.tun).1, honest);
    let tally = site.up(Counter::Packets, 1);
    for counter in [
        Counter::SourceAddress,
        Counter::Blocked,
        Counter::Isolated,
        Counter::NotIpv4,
    ] {
        assert_eq!(tally.get(counter), 1, "{counter:?}");
    }
    assert_eq!(site.plane.counters().up.dropped(), 0);
}

#[test]
fn replays_forgeries_and_strangers_are_dropped_and_counted() {
    let site = Site::new();
    let mobile = Mobile::up(&site, 5, 0);
    let honest = mobile.segment(1).payload(b"y").octets();
    let frame = mobile.seal(&honest);
    let mut forged = mobile.seal(&honest);
    *forged.last_mut().unwrap() ^= 1;
    let mut stranger = mobile.seal(&honest);
    stranger[7] ^= 0x80;
    let mut reserved = mobile.seal(&honest);
    reserved[2] = 1;
    mobile.send_frames(&[forged, stranger, reserved, frame.clone(), frame]);
    assert_eq!(receive(&site.tun).1, honest);
    let tally = site.up(Counter::Packets, 1);
    for counter in [
        Counter::Replay,
        Counter::Integrity,
        Counter::NoKey,
        Counter::Malformed,
    ] {
        assert_eq!(tally.get(counter), 1, "{counter:?}");
    }
}

#[test]
fn a_keepalive_is_noted_and_goes_nowhere() {
    let site = Site::new();
    let mut mobile = Mobile::attach(&site, 5, 1, None);
    mobile.send(&[Vec::new()]);
    assert_eq!(
        mobile.notice(),
        Notice::FirstData(Index::new(1, 5, 33)),
        "the first packet may be empty"
    );
    until(|| mobile.peer_activity.last_received_ms() > 0);
    assert_eq!(mobile.peer_activity.last_received_data_ms(), 0);
    assert_eq!(mobile.activity.usage().up_packets, 0);
    let own = mobile.socket.address().unwrap();
    assert_eq!(mobile.peer_activity.endpoint().load(), Some(own));
    // The next one is no news.
    let up = mobile.segment(1).payload(b"up").octets();
    mobile.send(std::slice::from_ref(&up));
    assert_eq!(receive(&site.tun).1, up);
    assert!(mobile.notices.try_recv().is_err());
}

#[test]
fn a_key_is_confirmed_later_when_nobody_has_room_for_it() {
    let site = Site::new();
    let mut mobile = Mobile::with_room(&site, 5, 0, None, 1);
    give(&site.tun, Header::default(), &mobile.towards(1).octets());
    site.down(Counter::Held, 1);
    let up = mobile.segment(1).payload(b"up").octets();
    mobile.send(std::slice::from_ref(&up));
    assert_eq!(receive(&site.tun).1, up);
    assert_eq!(mobile.notice(), Notice::NeedHandshake(PeerId(5)));
    assert!(mobile.notices.try_recv().is_err());
    for _ in 0..2 {
        mobile.send(std::slice::from_ref(&up));
        assert_eq!(receive(&site.tun).1, up);
    }
    assert_eq!(mobile.notice(), Notice::FirstData(Index::new(0, 5, 33)));
    assert!(mobile.notices.try_recv().is_err());
}

#[test]
fn packets_wait_for_a_key_and_a_handshake_is_asked_for_once() {
    let site = Site::new();
    let mut mobile = Mobile::attach(&site, 5, 1, None);
    let down: Vec<_> = (0..6_u32)
        .map(|n| mobile.towards(n).payload(b"down").octets())
        .collect();
    for packet in &down[..5] {
        give(&site.tun, Header::default(), packet);
    }
    site.down(Counter::Held, 5);
    assert_eq!(mobile.notice(), Notice::NeedHandshake(PeerId(5)));
    assert!(mobile.notices.try_recv().is_err());

    // A key, and a place that only the handshake has told.
    let Keys { server, .. } = keys(1, 5, Duration::ZERO, Role::Responder);
    mobile.attached().set_endpoint(mobile.endpoint());
    mobile.attached().install_sending(server.0);
    give(&site.tun, Header::default(), &down[5]);
    for packet in &down {
        assert_eq!(mobile.packet(), *packet);
    }
    // The client has gone: what comes for it waits for another key, and ends with the session.
    mobile.attached().remove_sending();
    give(&site.tun, Header::default(), &down[0]);
    let tally = site.down(Counter::Held, 6);
    assert_eq!(tally.get(Counter::NoKey), 0);
    mobile.attachment = None;
    site.down(Counter::NoKey, 1);
}

#[test]
fn what_waits_for_a_key_is_bounded() {
    let site = Site::new();
    let mut mobile = Mobile::attach(&site, 5, 1, None);
    mobile.attached().set_endpoint(mobile.endpoint());
    for sequence in 0..200_u32 {
        give(
            &site.tun,
            Header::default(),
            &mobile.towards(sequence).octets(),
        );
    }
    let tally = site.down(Counter::NoKey, 72);
    assert_eq!(tally.get(Counter::Held), 128);
    let Keys { server, .. } = keys(1, 5, Duration::ZERO, Role::Responder);
    mobile.attached().install_sending(server.0);
    for sequence in 0..128_u32 {
        assert_eq!(mobile.packet()[24..28], sequence.to_be_bytes());
    }
}

#[test]
fn what_waits_for_a_key_is_cut_and_checked_like_everything_else() {
    let site = Site::new();
    let mut mobile = Mobile::attach(&site, 5, 1, None);
    mobile.attached().set_endpoint(mobile.endpoint());
    let train = mobile.towards(1).payload(&vec![5; 4_000]).octets();
    give(&site.tun, train_header(Gso::Tcp4, 1348), &train);
    site.down(Counter::Held, 3);
    let Keys { server, .. } = keys(1, 5, Duration::ZERO, Role::Responder);
    mobile.attached().install_sending(server.0);
    let packets: Vec<Vec<u8>> = (0..3).map(|_| mobile.packet()).collect();
    assert!(packets.iter().all(|packet| verifies(packet)));
    let payload: usize = packets.iter().map(|packet| packet.len() - 52).sum();
    assert_eq!(payload, 4_000);
    assert_eq!(mobile.arrivals, 1, "one call for all of them");
    until(|| mobile.activity.usage().down_packets == 3);

    // What passed a filter that is not in force any more does not pass.
    mobile.attached().remove_sending();
    let down = mobile.towards(9).payload(b"down").octets();
    give(&site.tun, Header::default(), &down);
    site.down(Counter::Held, 4);
    mobile.attached().set_filter(None);
    site.down(Counter::NoKey, 1);
}

#[test]
fn a_packet_that_confirms_a_key_can_be_answered_at_once() {
    let site = Site::new();
    let mut mobile = Mobile::attach(&site, 5, 1, None);
    mobile.attached().set_endpoint(mobile.endpoint());
    let Keys { server, client } = keys(1, 6, Duration::ZERO, Role::Responder);
    let receiving = server.1.with_partner(Arc::clone(&server.0));
    mobile.attached().install_receiving(receiving);
    mobile.attached().prepare_sending(server.0);
    (mobile.sending, mobile.receiving) = client;
    let down = mobile.towards(1).payload(b"down").octets();
    give(&site.tun, Header::default(), &down);
    // Not before the client has shown the key.
    site.down(Counter::Held, 1);
    let up = mobile.segment(1).payload(b"up").octets();
    mobile.send(std::slice::from_ref(&up));
    assert_eq!(receive(&site.tun).1, up);
    // Nobody has listened to notices meanwhile.
    give(&site.tun, Header::default(), &down);
    for _ in 0..2 {
        assert_eq!(mobile.packet(), down);
    }
}

#[test]
fn an_old_key_asks_for_another_and_one_that_is_too_old_is_not_used() {
    let site = Site::new();
    let mut mobile = Mobile::attach(&site, 5, 0, None);
    mobile.attached().set_endpoint(mobile.endpoint());
    let down = mobile.towards(1).payload(b"down").octets();
    let responder = keys(0, 5, Duration::from_secs(121), Role::Responder);
    mobile.attached().install_sending(responder.server.0);
    give(&site.tun, Header::default(), &down);
    assert_eq!(mobile.packet(), down);
    assert!(mobile.notices.try_recv().is_err(), "the initiator renews");

    let initiator = keys(0, 6, Duration::from_secs(121), Role::Initiator);
    mobile.receiving = initiator.client.1;
    mobile.attached().install_sending(initiator.server.0);
    give(&site.tun, Header::default(), &down);
    assert_eq!(mobile.packet(), down);
    assert_eq!(mobile.notice(), Notice::NeedHandshake(PeerId(5)));

    let expired = keys(0, 7, Duration::from_secs(180), Role::Initiator);
    mobile.attached().install_sending(expired.server.0);
    mobile.attached().install_receiving(expired.server.1);
    give(&site.tun, Header::default(), &down);
    site.down(Counter::Held, 1);
    mobile.sending = expired.client.0;
    mobile.send(&[mobile.segment(1).octets()]);
    site.up(Counter::NoKey, 1);
}

#[test]
fn a_spent_key_is_not_used() {
    let site = Site::new();
    let mobile = Mobile::up(&site, 5, 0);
    let Keys { server, .. } = keys(0, 8, Duration::ZERO, Role::Responder);
    let spent = causeway_proto::wireguard::REJECT_AFTER_MESSAGES;
    assert_eq!(server.0.reserve(spent - 1), Some(0));
    mobile.attached().install_sending(server.0);
    let train = mobile.towards(1).payload(&vec![5; 2_000]).octets();
    give(&site.tun, train_header(Gso::Tcp4, 1_000), &train);
    let tally = site.down(Counter::NoKey, 2);
    assert_eq!(tally.get(Counter::Packets), 0);
}

#[test]
fn keys_change_without_a_gap() {
    let site = Site::new();
    let mut mobile = Mobile::up(&site, 5, 1);
    let next = keys(1, 6, Duration::ZERO, Role::Responder);
    mobile.attached().install_receiving(next.server.1);
    let up = mobile.segment(1).payload(b"up").octets();
    let old = [mobile.seal(&up), mobile.seal(&up)];
    mobile.send_frames(&old[..1]);
    assert_eq!(receive(&site.tun).1, up);
    mobile.sending = next.client.0;
    mobile.send(std::slice::from_ref(&up));
    assert_eq!(receive(&site.tun).1, up);
    assert_eq!(mobile.notice(), Notice::FirstData(Index::new(1, 6, 33)));
    // What was under way under the old key is still good.
    mobile.send_frames(&old[1..]);
    assert_eq!(receive(&site.tun).1, up);

    mobile.receiving = next.client.1;
    mobile.attached().install_sending(next.server.0);
    let down = mobile.towards(1).payload(b"down").octets();
    give(&site.tun, Header::default(), &down);
    assert_eq!(mobile.packet(), down);

    // The place of an index that is removed late may have a new owner, who stays.
    let attached = mobile.attached();
    attached.remove_receiving(Index::new(1, 6, 12));
    attached.remove_receiving(Index::new(1, 5, 33));
    let own = keys(1, 5, Duration::ZERO, Role::Responder);
    let new = std::mem::replace(&mut mobile.sending, own.client.0);
    mobile.send(std::slice::from_ref(&up));
    site.up(Counter::NoKey, 1);
    mobile.sending = new;
    mobile.send(std::slice::from_ref(&up));
    assert_eq!(receive(&site.tun).1, up);
}

#[test]
fn a_session_sends_and_gets_what_its_filter_allows() {
    let filter = |allow: &[&str]| {
        let allow: Vec<_> = allow.iter().map(|text| text.parse().unwrap()).collect();
        Some(Arc::new(Filter::new("web", &[], &allow)))
    };
    let site = Site::new();
    let mut mobile = Mobile::filtered(&site, 5, 0, filter(&["tcp/80 192.0.2.9"]));
    let other_port = |mut segment: Segment| {
        segment.ports = [0x30, 0x39, 0, 22];
        segment.octets()
    };
    let good = mobile.segment(1).payload(b"y").octets();
    let bad = other_port(mobile.segment(9).payload(b"x"));
    mobile.send(&[bad.clone(), good.clone()]);
    assert_eq!(receive(&site.tun).1, good);
    site.up(Counter::Filter, 1);

    let refused = mobile.towards(1).payload(&[7; 3_000]).octets();
    give(&site.tun, train_header(Gso::Tcp4, 1_000), &refused);
    let mut answer = mobile.towards(1).payload(b"answer");
    answer.ports = [0, 80, 0x30, 0x39];
    give(&site.tun, Header::default(), &answer.octets());
    assert_eq!(mobile.packet(), answer.octets());
    site.down(Counter::Filter, 3);

    mobile.attached().set_filter(filter(&["tcp/22 192.0.2.9"]));
    mobile.send(&[good, bad.clone()]);
    assert_eq!(receive(&site.tun).1, bad);
    give(&site.tun, Header::default(), &answer.octets());
    site.down(Counter::Filter, 4);
}

#[test]
fn too_big_is_answered_or_cut() {
    let site = Site::new();
    let mut mobile = Mobile::up(&site, 5, 0);
    let big = mobile.towards(1).payload(&[0; 1349]);
    give(&site.tun, Header::default(), &big.octets());
    let (_, error) = receive(&site.tun);
    assert_eq!(error[20..22], [3, 4]);
    assert_eq!(error[26..28], 1400_u16.to_be_bytes());
    site.down(Counter::TooBig, 1);

    let mut segment = Segment::udp().payload(&[3; 4_000]);
    segment.source = HOST;
    segment.destination = mobile.address.octets();
    segment.dont_fragment = false;
    give(&site.tun, Header::default(), &segment.octets());
    let mut payload = Vec::new();
    while payload.len() < 4_008 {
        let octets = mobile.packet();
        assert!(octets.len() <= 1_400);
        let fragment = IpPacket::decode(&octets).unwrap();
        assert_eq!(fragment.verify_header(), Ok(()));
        payload.extend_from_slice(fragment.payload());
    }
    assert_eq!(payload, segment.octets()[20..]);
}

#[test]
fn a_session_that_is_dropped_is_gone_and_its_address_free() {
    let site = Site::new();
    let mut old = Mobile::up(&site, 5, 0);
    let down = old.towards(1).payload(b"down").octets();
    drop(old.attachment.take());
    old.send(&[old.segment(1).octets()]);
    site.up(Counter::NoKey, 1);
    give(&site.tun, Header::default(), &down);
    assert_eq!(receive(&site.tun).1[20..22], [3, 1]);

    let mut new = Mobile::up(&site, 5, 1);
    give(&site.tun, Header::default(), &down);
    assert_eq!(new.packet(), down);
}

#[test]
fn sockets_and_threads_must_fit() {
    let (device, _peer) = Device::pair(1400, Offload::Auto).unwrap();
    let group = crate::os::udp::listen("127.0.0.1:0".parse().unwrap(), 2, Offloads::default());
    let listeners = Listeners {
        data: vec![group.unwrap().data],
        strays: None,
    };
    let config = Config {
        shards: 3,
        mtu: 1400,
        mss_clamp: None,
        isolate_clients: true,
        gateway: super::rig::GATEWAY,
        pools: Vec::new(),
        blocked: Vec::new(),
        routed: Vec::new(),
    };
    let refused = DataPlane::start_with(device, config, listeners).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
}
