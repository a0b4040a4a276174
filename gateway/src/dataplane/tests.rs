//! The threads as a whole, between TLS clients over loopback and a device in memory.

mod datagrams;
mod filters;
mod fragments;
mod rig;

use std::io::Write;
use std::time::Instant;

use causeway_proto::sstp;
use causeway_proto::terminate::TerminateCause;

use self::rig::{Client, GOODBYE, HOST, call, give, plane, receive};
use super::*;
use crate::dataplane::fixtures::{Segment, ip_packet, train_header, verifies};
use crate::os::tun::Offload;
use crate::os::vnet::{Gso, Header};

#[test]
fn packets_travel_both_ways() {
    for (offload, packing) in [
        (Offload::Auto, RecordPacking::Many),
        (Offload::Off, RecordPacking::One),
    ] {
        let (plane, peer) = plane(offload);
        let mut client = Client::attach(&plane, 5, packing);
        let up = client.segment(1).payload(b"up").octets();
        client.send(std::slice::from_ref(&up));
        assert_eq!(receive(&peer), (Header::default(), up));
        let down = client.towards(1).payload(b"down").octets();
        give(&peer, Header::default(), &down);
        assert_eq!(client.packet(), down);
        // The batch is counted behind the write that the host has seen.
        while client.activity.usage().up_packets == 0 {
            thread::yield_now();
        }
        let usage = client.activity.usage();
        assert_eq!((usage.up_packets, usage.down_packets), (1, 1));
        assert_eq!(usage.down_octets, down.len() as u64);
        assert!(client.activity.last_ms() > 0);
    }
}

#[test]
fn a_train_is_cut_for_the_client_and_its_packets_are_gathered_for_the_host() {
    let (plane, peer) = plane(Offload::Auto);
    let mut client = Client::attach(&plane, 5, RecordPacking::Many);
    let train = client.towards(1).payload(&vec![5; 40_000]).octets();
    give(&peer, train_header(Gso::Tcp4, 1348), &train);
    let packets: Vec<Vec<u8>> = (0..30).map(|_| client.packet()).collect();
    assert!(packets.iter().all(|packet| verifies(packet)));
    let payload: usize = packets.iter().map(|packet| packet.len() - 52).sum();
    assert_eq!(payload, 40_000);

    let up: Vec<Vec<u8>> = (0..8_u16)
        .map(|i| {
            client
                .segment(u32::from(i) * 1000)
                .identification(i)
                .payload(&[6; 1000])
                .octets()
        })
        .collect();
    client.send(&up);
    let (header, octets) = receive(&peer);
    assert_eq!((header.gso, header.gso_size), (Gso::Tcp4, 1000));
    assert_eq!(octets.len(), 52 + 8_000);
}

#[test]
fn a_spoofed_source_is_dropped_and_counted() {
    let (plane, peer) = plane(Offload::Auto);
    let mut client = Client::attach(&plane, 5, RecordPacking::Many);
    let mut spoofed = client.segment(1).payload(b"x");
    spoofed.source = [10, 8, 0, 6];
    let honest = client.segment(1).payload(b"y").octets();
    client.send(&[spoofed.octets(), honest.clone()]);
    assert_eq!(receive(&peer).1, honest);
    // The batch is published before the next one is begun.
    client.send(std::slice::from_ref(&honest));
    receive(&peer);
    assert_eq!(plane.counters().up.get(Counter::SourceAddress), 1);
}

#[test]
fn a_client_that_stops_reading_delays_nobody_and_costs_its_cap() {
    let (plane, peer) = plane(Offload::Auto);
    let mut stalled = Client::attach(&plane, 5, RecordPacking::Many);
    let mut lively = Client::attach(&plane, 6, RecordPacking::Many);
    let mut sequence = 0;
    let mut given = 0_u64;
    // More than the socket buffers of both ends and the queue together take.
    while plane.counters().down.get(Counter::QueueFull) == 0 {
        let train = stalled.towards(sequence).payload(&vec![1; 50_000]).octets();
        give(&peer, train_header(Gso::Tcp4, 1000), &train);
        sequence += 50_000;
        given += 50;
        assert!(given < 100_000, "the queue has no cap");
    }
    for i in 0..200 {
        let packet = lively.towards(i).payload(b"alive").octets();
        give(&peer, Header::default(), &packet);
        assert_eq!(lively.packet(), packet);
        let up = lively.segment(i).payload(b"too").octets();
        lively.send(std::slice::from_ref(&up));
        assert_eq!(receive(&peer).1, up);
    }
    // What waited comes in order once it is read, with gaps where the queue was full or the wait too long.
    let mut last = 0;
    for _ in 0..200 {
        let packet = stalled.packet();
        assert!(verifies(&packet));
        let sequence = u32::from_be_bytes(packet[24..28].try_into().unwrap());
        assert!(sequence >= last);
        last = sequence;
    }
}

#[test]
fn nobody_home_and_too_big_are_answered() {
    let (plane, peer) = plane(Offload::Auto);
    let client = Client::attach(&plane, 5, RecordPacking::Many);
    let mut lost = client.towards(1).payload(b"x");
    lost.destination = [10, 8, 0, 50];
    give(&peer, Header::default(), &lost.octets());
    let (_, error) = receive(&peer);
    assert_eq!(error[12..20], [10, 8, 0, 1, 192, 0, 2, 9]);
    assert_eq!(error[20..22], [3, 1]);

    let big = client.towards(1).payload(&[0; 1349]);
    give(&peer, Header::default(), &big.octets());
    let (_, error) = receive(&peer);
    assert_eq!(error[20..22], [3, 4]);
    assert_eq!(error[26..28], 1400_u16.to_be_bytes());

    // Nobody answers about an ICMP error.
    give(
        &peer,
        Header::default(),
        &ip_packet(&lost, 1, &[3, 1, 0, 0, 0, 0, 0, 0]),
    );
    give(&peer, Header::default(), &lost.octets());
    assert_eq!(receive(&peer).1[20..22], [3, 1]);
    // What is counted is published when the thread has read everything.
    while plane.counters().down.get(Counter::NoSession) < 3 {
        thread::yield_now();
    }
    assert_eq!(plane.counters().down.get(Counter::TooBig), 1);
}

#[test]
fn control_frames_come_back_and_a_polite_end_is_heard() {
    let (plane, _peer) = plane(Offload::Auto);
    let mut client = Client::attach(&plane, 5, RecordPacking::One);
    let echo = [0x10, 1, 0, 8, 0, 8, 0, 0];
    client.tls.write_all(&echo).unwrap();
    assert_eq!(client.frame().unwrap(), echo);
    let attachment = client.attachment.take().unwrap();
    attachment.terminate(TerminateCause::Admin);
    assert_eq!(client.frame().unwrap(), GOODBYE);
    assert_eq!(client.frame(), None);
    let ended = client.outcome();
    assert_eq!(ended.cause, TerminateCause::Admin);
    assert_eq!(ended.reason, "told");
    drop(attachment);
}

#[test]
fn a_hang_up_ends_the_session_and_its_route() {
    let (plane, peer) = plane(Offload::Auto);
    let client = Client::attach(&plane, 5, RecordPacking::Many);
    client.tls.sock.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(client.outcome().cause, TerminateCause::UserRequest);
    let again = Client::attach(&plane, 5, RecordPacking::Many);
    drop(again);
    let lost = Segment::tcp(1).payload(b"x");
    let mut to_nobody = lost;
    to_nobody.source = HOST;
    to_nobody.destination = [10, 8, 0, 5];
    give(&peer, Header::default(), &to_nobody.octets());
    assert_eq!(receive(&peer).1[20..22], [3, 1]);
}

#[test]
fn an_address_can_change_hands() {
    let (plane, peer) = plane(Offload::Auto);
    let mut old = Client::attach(&plane, 5, RecordPacking::Many);
    let mut new = Client::attach(&plane, 5, RecordPacking::Many);
    old.attachment = None;
    assert_eq!(old.frame(), None);
    let packet = new.towards(1).payload(b"yours").octets();
    give(&peer, Header::default(), &packet);
    assert_eq!(new.packet(), packet);
}

#[test]
fn new_traffic_keys_do_not_disturb_the_packets() {
    let (plane, peer) = plane(Offload::Auto);
    let mut client = Client::attach(&plane, 5, RecordPacking::Many);
    for i in 0..3 {
        client.tls.conn.refresh_traffic_keys().unwrap();
        let up = client.segment(i).payload(b"up").octets();
        client.send(std::slice::from_ref(&up));
        assert_eq!(receive(&peer).1, up);
        let down = client.towards(i).payload(b"down").octets();
        give(&peer, Header::default(), &down);
        assert_eq!(client.packet(), down);
    }
}

#[test]
fn nonsense_ends_the_session() {
    let (plane, _peer) = plane(Offload::Auto);
    let mut client = Client::attach(&plane, 5, RecordPacking::Many);
    client.tls.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(client.frame(), None);
    assert_eq!(client.outcome().cause, TerminateCause::ProtocolError);

    let mut client = Client::attach(&plane, 6, RecordPacking::Many);
    client.tls.sock.write_all(&[23, 3, 3, 0, 40]).unwrap();
    client.tls.sock.write_all(&[0; 40]).unwrap();
    assert_eq!(client.outcome().reason, "tls_error");
}

#[test]
fn the_end_of_the_packet_path_is_told_to_its_sessions() {
    let (plane, _peer) = plane(Offload::Auto);
    let client = Client::attach(&plane, 5, RecordPacking::Many);
    drop(plane);
    assert_eq!(client.outcome().cause, TerminateCause::ServerStop);
}

#[test]
fn a_real_call_carries_packets_answers_echoes_and_ends_politely() {
    let (plane, peer) = plane(Offload::Auto);
    let (session, mut machine) = call(Ipv4Addr::new(10, 8, 0, 5));
    let mut client = Client::with(&plane, 5, RecordPacking::Many, Box::new(session));
    let up = client.segment(1).payload(b"up").octets();
    client.send(std::slice::from_ref(&up));
    assert_eq!(receive(&peer).1, up);
    let down = client.towards(1).payload(b"down").octets();
    give(&peer, Header::default(), &down);
    assert_eq!(client.packet(), down);

    // SSTP Echo Request ([MS-SSTP] §2.2.14) is answered between packets.
    client.tls.write_all(&[0x10, 1, 0, 8, 0, 8, 0, 0]).unwrap();
    assert_eq!(client.frame().unwrap(), [0x10, 1, 0, 8, 0, 9, 0, 0]);

    client
        .attachment
        .as_ref()
        .unwrap()
        .terminate(TerminateCause::Admin);
    let mut events = Vec::new();
    while let Some(mut frame) = client.frame() {
        let now = Instant::now();
        machine
            .handle_stream(now, &mut frame, &mut rig::Nothing)
            .unwrap();
        let mut answer = Vec::new();
        while machine.poll_transmit(&mut answer) {}
        // The gateway may have closed already.
        client.tls.write_all(&answer).ok();
        events.extend(std::iter::from_fn(|| machine.poll_event()));
    }
    assert!(
        events
            .iter()
            .any(|event| matches!(event, sstp::ClientEvent::Down { .. })),
        "{events:?}"
    );
    assert_eq!(client.outcome().cause, TerminateCause::Admin);
}
