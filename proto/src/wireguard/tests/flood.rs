//! What strangers get: nothing, or under load a cookie that is shorter than what they sent.

use core::net::SocketAddr;

use super::side::{Arrived, Card, Side, carry, pair};
use crate::crypto::Rng;
use crate::wireguard::{Discard, Kind};

#[test]
fn noise_is_never_answered() {
    let (_, mut gateway) = pair();
    let mut rng = Rng::from_seed(&[3; 32]);
    let from = "203.0.113.9:9".parse().unwrap();
    for under_load in [false, true] {
        gateway.under_load = under_load;
        for len in (0..200).chain([500, 1400, 9000]) {
            for kind in [0, 1, 2, 3, 5, 0x16, 0x40, 0xff] {
                let mut octets = vec![0; len];
                rng.fill(&mut octets);
                if let Some(head) = octets.first_chunk_mut::<4>() {
                    *head = [kind, 0, 0, 0];
                }
                let result = gateway.receive(from, &octets);
                assert!(result.is_err(), "{kind} {len} {result:?}");
            }
        }
        assert_eq!(gateway.out, []);
        assert!(gateway.said.is_empty());
    }
}

/// Uses up what an address has before it must show itself.
pub(super) fn crowd(gateway: &mut Side, from: SocketAddr) {
    let mut stranger = Side::new(&Card::new(5, "203.0.113.9:9"), &gateway.card, true);
    stranger.dial();
    let (_, initiation) = stranger.out.pop().unwrap();
    for _ in 0..5 {
        let result = gateway.receive(from, &initiation);
        assert_eq!(result, Err(Discard::UnknownPeer));
    }
}

#[test]
fn under_load_a_crowd_at_one_address_keeps_nobody_else_out() {
    let (mut device, mut gateway) = pair();
    gateway.under_load = true;
    crowd(&mut gateway, "203.0.113.9:9".parse().unwrap());
    device.dial();
    carry(&mut device, &mut gateway);
    assert_eq!(device.count("done initiator"), 1);
    assert_eq!(gateway.count("done responder"), 1);
}

#[test]
fn under_load_a_sender_shows_its_address_first() {
    let (mut device, mut gateway) = pair();
    gateway.under_load = true;
    crowd(&mut gateway, device.card.address);
    device.dial();
    let (_, initiation) = device.out.pop().unwrap();
    let result = gateway.receive(device.card.address, &initiation);
    assert_eq!(result, Err(Discard::Cookie));
    assert!(gateway.said.is_empty());
    let (to, cookie) = gateway.out.pop().unwrap();
    assert_eq!(to, device.card.address);
    assert_eq!(Kind::of(&cookie), Some(Kind::CookieReply));
    assert!(cookie.len() < initiation.len());

    let forged = {
        let mut octets = cookie.clone();
        octets[40] ^= 1;
        octets
    };
    let result = device.receive(to, &forged);
    assert_eq!(result, Err(Discard::Forged));
    assert_eq!(device.receive(to, &cookie), Ok(Arrived::Lost));
    assert_eq!(device.out, [], "a cookie is for the next message");

    // It repeats itself by its timer, with the cookie.
    device.pass(device.now + core::time::Duration::from_secs(6));
    gateway.pass(device.now);
    carry(&mut device, &mut gateway);
    assert_eq!(device.count("done initiator"), 1);
    assert_eq!(gateway.count("done responder"), 1);
}

#[test]
fn an_address_that_was_shown_gets_twenty_handshakes_a_second() {
    let (_, mut gateway) = pair();
    let stranger = Card::new(5, "203.0.113.9:9");
    let from = stranger.address;
    let mut device = Side::new(&stranger, &gateway.card, true);
    device.dial();
    let (_, initiation) = device.out.pop().unwrap();
    gateway.under_load = true;
    crowd(&mut gateway, from);
    assert_eq!(gateway.receive(from, &initiation), Err(Discard::Cookie));
    let (_, cookie) = gateway.out.pop().unwrap();
    device.receive(gateway.card.address, &cookie).unwrap();
    device.pass(device.now + core::time::Duration::from_secs(6));
    let (_, initiation) = device.out.pop().unwrap();
    let mut limited = 0;
    for _ in 0..100 {
        match gateway.receive(from, &initiation) {
            Err(Discard::UnknownPeer) => {}
            Err(Discard::RateLimited) => limited += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(limited, 95);
    assert_eq!(gateway.out, []);
}

#[test]
fn one_port_gets_few_cookies_and_its_neighbours_get_theirs() {
    let (device, mut gateway) = pair();
    let mut dialled = Side::new(&device.card, &gateway.card, true);
    dialled.dial();
    let (_, initiation) = dialled.out.pop().unwrap();
    gateway.under_load = true;
    crowd(&mut gateway, device.card.address);
    let results: Vec<_> = (0..100)
        .map(|_| gateway.receive(device.card.address, &initiation))
        .collect();
    let cookies = results
        .iter()
        .filter(|result| **result == Err(Discard::Cookie));
    assert_eq!(cookies.count(), 5);
    let silent = |result: &Result<_, _>| *result == Err(Discard::RateLimited);
    assert!(results[5..].iter().all(silent));
    assert_eq!(gateway.out.len(), 5);
    // Nobody can speak for a whole address: who is there, too, gets what shows it.
    let mut neighbour = device.card.address;
    neighbour.set_port(neighbour.port() ^ 1);
    let result = gateway.receive(neighbour, &initiation);
    assert_eq!(result, Err(Discard::Cookie));
}

#[test]
fn what_waits_to_be_sent_is_bounded() {
    let (device, mut gateway) = pair();
    let mut dialled = Side::new(&device.card, &gateway.card, true);
    dialled.dial();
    let (_, initiation) = dialled.out.pop().unwrap();
    let now = gateway.now;
    let results: Vec<_> = (0..3000_u32)
        .map(|number| {
            // Each from an address that nobody has seen.
            let from = SocketAddr::from(((0x0a00_0000 + number).to_be_bytes(), 1000));
            let interface = &mut gateway.interface;
            interface.handle_datagram(now, from, true, &initiation)
        })
        .collect();
    let full = results
        .iter()
        .filter(|result| **result == Err(Discard::Full));
    // So many strangers may do without a cookie: one waits for a decision, and the others repeat its timestamp.
    assert_eq!(full.count(), 3000 - 1024 - 64);
    gateway.drain();
    // And the response to the one that waited.
    assert_eq!(gateway.out.len(), 1024 + 1);
}
