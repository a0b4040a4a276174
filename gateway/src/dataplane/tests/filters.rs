//! Filters in the threads.

use std::sync::Arc;

use causeway_proto::ip::filter::Filter;

use super::rig::{Client, HOST, give, plane, receive};
use crate::dataplane::counters::Counter;
use crate::dataplane::fixtures::{Segment, train_header};
use crate::os::tun::Offload;
use crate::os::vnet::{Gso, Header};

fn filter(name: &str, allow: &[&str]) -> Arc<Filter> {
    let allow: Vec<_> = allow.iter().map(|text| text.parse().unwrap()).collect();
    Arc::new(Filter::new(name, &[], &allow))
}

/// The web server that the filters are about, and a segment that is for another of its ports.
fn other_port(mut segment: Segment) -> Segment {
    segment.ports = [0x30, 0x39, 0, 22];
    segment
}

/// What the host sends comes from its port 80.
fn answer(client: &Client, sequence: u32) -> Segment {
    let mut segment = client.towards(sequence);
    segment.ports = [0, 80, 0x30, 0x39];
    segment
}

#[test]
fn a_session_sends_and_gets_what_its_filter_allows() {
    let (plane, peer) = plane(Offload::Auto);
    let mut client = Client::filtered(&plane, 5, filter("web", &["tcp/80 192.0.2.9"]));
    let mut free = Client::attach(&plane, 6, super::RecordPacking::Many);

    let good = client.segment(1).payload(b"y").octets();
    let bad = other_port(client.segment(9)).payload(b"x").octets();
    let mut elsewhere = client.segment(5).payload(b"z");
    elsewhere.destination = [192, 0, 2, 10];
    client.send(&[bad, elsewhere.octets(), good.clone()]);
    assert_eq!(receive(&peer).1, good);
    // The batch is published before the next one is begun.
    client.send(std::slice::from_ref(&good));
    receive(&peer);
    assert_eq!(plane.counters().up.get(Counter::Filter), 2);
    let unfiltered = other_port(free.segment(1)).payload(b"free").octets();
    free.send(std::slice::from_ref(&unfiltered));
    assert_eq!(receive(&peer).1, unfiltered);

    let bad = client.towards(1).payload(&[7; 3_000]).octets();
    give(&peer, train_header(Gso::Tcp4, 1_000), &bad);
    let good = answer(&client, 1).payload(b"answer").octets();
    give(&peer, Header::default(), &good);
    assert_eq!(client.packet(), good);
    give(&peer, Header::default(), &good);
    assert_eq!(client.packet(), good);
    let counters = plane.counters();
    assert_eq!(counters.down.get(Counter::Filter), 3, "{HOST:?}");
    assert_eq!(counters.up.get(Counter::Filter), 2);
}

#[test]
fn a_filter_changes_under_a_running_session() {
    let (plane, peer) = plane(Offload::Auto);
    let mut client = Client::attach(&plane, 5, super::RecordPacking::Many);
    let up = other_port(client.segment(1)).payload(b"up").octets();
    let down = client.towards(1).payload(b"down").octets();
    client.send(std::slice::from_ref(&up));
    assert_eq!(receive(&peer).1, up);
    give(&peer, Header::default(), &down);
    assert_eq!(client.packet(), down);

    let set = |client: &Client, filter| client.attachment.as_ref().unwrap().set_filter(filter);
    set(&client, Some(filter("none", &[])));
    // The threads look into their mailboxes when they get to it; from then on nothing passes.
    while plane.counters().up.get(Counter::Filter) == 0 {
        client.send(std::slice::from_ref(&up));
        std::thread::yield_now();
    }
    while plane.counters().down.get(Counter::Filter) == 0 {
        give(&peer, Header::default(), &down);
        std::thread::yield_now();
    }
    set(&client, None);
    let last = client.segment(77).payload(b"last").octets();
    loop {
        client.send(std::slice::from_ref(&last));
        if peer.receive().is_ok_and(|(_, octets)| octets == last) {
            break;
        }
        std::thread::yield_now();
    }
}
