//! Where a client is, and what answers come from.

use std::time::Duration;

use causeway_proto::wireguard::PeerId;

use super::rig::{Mobile, Plan, Site};
use crate::dataplane::counters::Counter;
use crate::dataplane::fixtures::train_header;
use crate::dataplane::tests::rig::{give, receive};
use crate::dataplane::{Endpoint, Notice};
use crate::os::vnet::{Gso, Header};

#[test]
fn a_client_that_moves_is_followed_and_only_its_own_packets_move_it() {
    let site = Site::new();
    let mut mobile = Mobile::up(&site, 5, 1);
    let down = mobile.towards(1).payload(b"down").octets();
    give(&site.tun, Header::default(), &down);
    assert_eq!(mobile.packet(), down);
    let up = mobile.segment(1).payload(b"up").octets();
    let seen = mobile.seal(&up);
    mobile.send_frames(std::slice::from_ref(&seen));
    assert_eq!(receive(&site.tun).1, up);
    let before = mobile.socket.address().unwrap();

    let after = mobile.roam();
    let mut forged = mobile.seal(&up);
    forged[20] ^= 1;
    mobile.send_frames(&[seen, forged]);
    site.up(Counter::Integrity, 1);
    assert_eq!(mobile.peer_activity.endpoint().load(), Some(before));
    assert_eq!(site.up(Counter::Replay, 1).get(Counter::Roams), 0);

    mobile.send(std::slice::from_ref(&up));
    assert_eq!(receive(&site.tun).1, up);
    give(&site.tun, Header::default(), &down);
    assert_eq!(mobile.packet(), down);
    assert_eq!(mobile.peer_activity.endpoint().load(), Some(after));
    site.up(Counter::Roams, 1);
    let Notice::Roamed { peer, to } = mobile.notice() else {
        panic!("another notice");
    };
    assert_eq!(peer, PeerId(5));
    assert_eq!(to.path.remote, after);
    assert_eq!(mobile.attached().endpoint(), Some(to));

    // A client on two networks at once is followed each time, and spoken of once.
    for round in 1..=20 {
        mobile.roam();
        mobile.send(std::slice::from_ref(&up));
        receive(&site.tun);
        site.up(Counter::Roams, round + 1);
    }
    give(&site.tun, Header::default(), &down);
    assert_eq!(mobile.packet(), down);
    let mut told: Vec<_> = std::iter::from_fn(|| mobile.notices.try_recv().ok()).collect();
    assert!(told.len() < 20, "{} notices", told.len());
    // Where it came to stay is told in the end, with a packet that comes when the time has.
    let place = mobile.attached().endpoint().unwrap();
    let last =
        |told: &[Notice]| matches!(told.last(), Some(Notice::Roamed { to, .. }) if *to == place);
    for _ in 0..200 {
        if last(&told) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
        mobile.send(std::slice::from_ref(&up));
        receive(&site.tun);
        told.extend(std::iter::from_fn(|| mobile.notices.try_recv().ok()));
    }
    panic!("{told:?}");
}

#[test]
fn a_wildcard_answers_from_the_address_that_was_reached() {
    let mut site = Site::with(&Plan {
        listen: "0.0.0.0:0",
        ..Plan::default()
    });
    // The kernel itself would answer from 127.0.0.1.
    site.address.set_ip("127.0.0.2".parse().unwrap());
    let mut mobile = Mobile::up(&site, 5, 0);
    let down = mobile.towards(1).payload(&[7; 3_000]).octets();
    give(&site.tun, train_header(Gso::Tcp4, 1_000), &down);
    for _ in 0..3 {
        // The peer looks at the address that each datagram comes from.
        assert_eq!(mobile.packet().len(), 1_052);
    }
}

#[test]
fn a_client_may_come_by_another_listen_address_and_protocol() {
    let site = Site::with(&Plan {
        also: Some("[::1]:0"),
        ..Plan::default()
    });
    let mut mobile = Mobile::up(&site, 5, 1);
    let (first, second) = (mobile.gateway, site.other.unwrap());
    let up = mobile.segment(1).payload(b"up").octets();
    let down = mobile.towards(1).payload(b"down").octets();
    for (gateway, listener) in [(second, 1), (first, 0), (second, 1)] {
        mobile.gateway = gateway;
        mobile.roam();
        mobile.send(std::slice::from_ref(&up));
        assert_eq!(receive(&site.tun).1, up);
        // The peer looks at the address that it is answered from.
        give(&site.tun, Header::default(), &down);
        assert_eq!(mobile.packet(), down);
        let endpoint = mobile.attached().endpoint().unwrap();
        assert_eq!(endpoint.listener, listener);
        assert_eq!(endpoint.path.local, Some(gateway.ip()));
    }
}

#[test]
fn an_address_that_is_not_ours_any_more_does_not_silence_the_gateway() {
    let site = Site::new();
    let mut mobile = Mobile::up(&site, 5, 0);
    let mut endpoint: Endpoint = mobile.endpoint();
    endpoint.path.local = Some("192.0.2.77".parse().unwrap());
    mobile.attached().set_endpoint(endpoint);
    let down = mobile.towards(1).payload(b"down").octets();
    for _ in 0..2 {
        give(&site.tun, Header::default(), &down);
        assert_eq!(mobile.packet(), down);
    }
    let tally = site.down(Counter::Packets, 2);
    assert_eq!(tally.dropped(), 0);
}
