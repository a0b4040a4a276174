//! Handshakes between two machines, and what must not make one.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::side::{Arrived, Card, PEER, Side, UNIX, carry, pair};
use crate::timer::testing::start;
use crate::wireguard::{
    AddError, Discard, Kind, PeerId, PresharedKey, PublicKey, REKEY_TIMEOUT, Settings,
};

const PACKET: [u8; 32] = [0xa5; 32];

#[test]
fn a_handshake_gives_both_sides_keys_that_fit() {
    let (mut device, mut gateway) = pair();
    device.dial();
    carry(&mut device, &mut gateway);
    assert_eq!(
        device.said,
        ["receiving", "sending", "done initiator"],
        "the initiator may send at once"
    );
    assert_eq!(
        gateway.said,
        [
            "authorize",
            "receiving",
            "prepare",
            "sending",
            "done responder"
        ],
        "the responder sends after the keepalive that confirms the key"
    );
    assert!(device.send(&PACKET));
    assert!(gateway.send(&PACKET));
    let (down, up) = carry(&mut device, &mut gateway);
    assert_eq!((down, up), (vec![PACKET.to_vec()], vec![PACKET.to_vec()]));
}

#[test]
fn nobody_is_answered_before_the_decision_and_nobody_after_a_no() {
    let (mut device, mut gateway) = pair();
    gateway.admits = None;
    device.dial();
    carry(&mut device, &mut gateway);
    assert_eq!(gateway.said, ["authorize"]);
    assert!(device.said.is_empty());
    gateway.interface.handle_decision(gateway.now, PEER, true);
    gateway.drain();
    carry(&mut device, &mut gateway);
    assert_eq!(gateway.count("done responder"), 1);

    gateway.interface.handle_decision(gateway.now, PEER, false);
    gateway.drain();
    assert_eq!(gateway.keys(), 0);
    assert!(gateway.sending.is_none());
    gateway.admits = Some(false);
    device.pass(device.now + REKEY_TIMEOUT);
    gateway.pass(device.now);
    device.dial();
    assert_eq!(device.out.len(), 1);
    carry(&mut device, &mut gateway);
    assert_eq!(gateway.count("authorize"), 2);
    assert_eq!(device.count("done initiator"), 1);
}

#[test]
fn a_preshared_key_must_be_the_same_on_both_sides() {
    let (one, two) = (Card::new(1, "192.0.2.1:1"), Card::new(2, "192.0.2.2:2"));
    for (mine, theirs, fits) in [(7, 7, true), (7, 8, false), (0, 7, false)] {
        let side = |card, other, reaches, key| {
            Side::with(card, other, reaches, start(), UNIX, |settings| {
                settings.preshared_key = PresharedKey::from_bytes([key; 32]);
            })
        };
        let mut device = side(&one, &two, true, mine);
        let mut gateway = side(&two, &one, false, theirs);
        device.dial();
        carry(&mut device, &mut gateway);
        assert_eq!(device.sending.is_some(), fits);
        assert_eq!(gateway.sending.is_some(), fits);
    }
}

#[test]
fn an_initiation_opens_one_handshake_also_after_a_restart() {
    let (mut device, mut gateway) = pair();
    device.dial();
    let (_, initiation) = device.out.pop().unwrap();
    let from = device.card.address;
    assert_eq!(gateway.receive(from, &initiation), Ok(Arrived::Lost));
    let again = "203.0.113.9:9".parse().unwrap();
    for from in [from, again] {
        assert_eq!(gateway.receive(from, &initiation), Err(Discard::Replay));
    }
    let kept = gateway.timestamp;
    let mut restarted = Side::with(
        &gateway.card,
        &device.card,
        false,
        start(),
        Duration::ZERO,
        |settings| settings.last_timestamp = kept,
    );
    assert_eq!(restarted.receive(from, &initiation), Err(Discard::Replay));
    assert_eq!(restarted.out, []);
    device.pass(device.now + REKEY_TIMEOUT + Duration::from_secs(1));
    restarted.pass(device.now);
    carry(&mut device, &mut restarted);
    assert_eq!(restarted.count("done responder"), 1);
}

#[test]
fn initiations_of_one_peer_are_twenty_milliseconds_apart() {
    let (device, mut gateway) = pair();
    let from = device.card.address;
    let mut answered = 0;
    for at in 0..50 {
        // Each by a client that has lost its memory, so that it does not wait.
        let unix = UNIX + Duration::from_millis(20 * at);
        let mut again = Side::with(&device.card, &gateway.card, true, start(), unix, |_| {});
        again.dial();
        let (_, initiation) = again.out.pop().unwrap();
        gateway.now += Duration::from_millis(5);
        match gateway.receive(from, &initiation) {
            Ok(_) => answered += 1,
            Err(discard) => assert!(matches!(discard, Discard::Flood | Discard::Replay)),
        }
    }
    assert!((5..=13).contains(&answered), "{answered}");
}

#[test]
fn a_change_of_any_bit_is_silence() {
    let (mut device, mut gateway) = pair();
    device.dial();
    let (_, initiation) = device.out.pop().unwrap();
    let from = device.card.address;
    for bit in 0..initiation.len() * 8 {
        let mut other = initiation.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        let result = gateway.receive(from, &other);
        if bit / 8 < 132 {
            assert!(result.is_err(), "{bit}");
            assert_eq!(gateway.out, []);
        } else if result.is_ok() {
            // mac2 is not looked at while there is room for everybody.
            assert_eq!(gateway.out.len(), 1);
            break;
        }
    }
    let (_, response) = gateway.out.pop().unwrap();
    for bit in 0..76 * 8 {
        let mut other = response.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(device.receive(gateway.card.address, &other).is_err());
        assert_eq!(device.out, [], "{bit}");
    }
    assert!(device.receive(gateway.card.address, &response).is_ok());
    assert_eq!(device.count("done initiator"), 1);
    assert_eq!(
        device.receive(gateway.card.address, &response),
        Err(Discard::UnknownIndex),
        "a response is taken once"
    );
}

#[test]
fn both_may_begin_at_once() {
    let (mut device, mut gateway) = pair();
    gateway.activity.endpoint().store(device.card.address);
    device.dial();
    gateway.dial();
    assert_eq!((device.out.len(), gateway.out.len()), (1, 1));
    carry(&mut device, &mut gateway);
    for _ in 0..3 {
        assert!(device.send(&PACKET));
        assert!(gateway.send(&PACKET));
        let (down, up) = carry(&mut device, &mut gateway);
        assert_eq!((down.len(), up.len()), (1, 1));
    }
}

#[test]
fn a_pair_that_was_confirmed_late_takes_no_newer_ones_place() {
    let (mut device, mut gateway) = pair();
    // The device begins, and the first packet under its pair is slow.
    device.dial();
    let (_, initiation) = device.out.pop().unwrap();
    gateway.receive(device.card.address, &initiation).unwrap();
    let (_, response) = gateway.out.pop().unwrap();
    device.receive(gateway.card.address, &response).unwrap();
    let slow = core::mem::take(&mut device.out);
    assert_eq!(slow.len(), 1, "the keepalive that confirms");
    // Meanwhile the gateway has begun another one, and that is complete.
    gateway.now += REKEY_TIMEOUT;
    device.now = gateway.now;
    gateway.dial();
    carry(&mut device, &mut gateway);
    assert_eq!(gateway.count("done initiator"), 1);
    let newest = gateway.sending.clone().unwrap();
    for (_, octets) in slow {
        gateway.receive(device.card.address, &octets).unwrap();
    }
    assert!(Arc::ptr_eq(gateway.sending.as_ref().unwrap(), &newest));
    assert_eq!(gateway.count("done responder"), 0);
    assert!(gateway.send(&PACKET) && device.send(&PACKET));
    let (down, up) = carry(&mut device, &mut gateway);
    assert_eq!((down.len(), up.len()), (1, 1));
}

#[test]
fn who_came_too_soon_after_a_handshake_that_came_to_nothing_gets_another() {
    let (mut device, mut gateway) = pair();
    device.dial();
    let (_, initiation) = device.out.pop().unwrap();
    gateway.receive(device.card.address, &initiation).unwrap();
    // The response is lost on the way, and there is one packet for the device.
    gateway.out.clear();
    assert!(!gateway.send(&PACKET));
    assert!(gateway.out.is_empty());
    gateway.pass(gateway.now + REKEY_TIMEOUT);
    device.now = gateway.now;
    carry(&mut device, &mut gateway);
    assert_eq!(gateway.count("done initiator"), 1);
}

#[test]
fn a_clock_that_is_set_late_is_heard() {
    let device = Card::new(1, "192.0.2.1:1000");
    let other = Card::new(2, "198.51.100.1:5008");
    let mut gateway = Side::with(&other, &device, true, start(), Duration::ZERO, |_| {});
    // The device has heard of the gateway when that knew the time.
    let (_, known) = {
        let mut before = Side::new(&other, &device, true);
        before.dial();
        before.out.pop().unwrap()
    };
    let mut device = Side::new(&device, &other, true);
    device.interface.handle_decision(device.now, PEER, true);
    device.receive(other.address, &known).unwrap();
    for (is_set, says) in [(false, Err(Discard::Replay)), (true, Ok(Arrived::Lost))] {
        if is_set {
            gateway.now += REKEY_TIMEOUT;
            let unix = UNIX + REKEY_TIMEOUT;
            gateway.interface.set_clock(gateway.now, unix);
        }
        device.now = gateway.now;
        gateway.interface.handle_decision(gateway.now, PEER, false);
        gateway.dial();
        let (_, initiation) = gateway.out.pop().unwrap();
        assert_eq!(device.receive(other.address, &initiation), says);
    }
}

#[test]
fn a_peer_that_goes_takes_its_keys_along() {
    let (mut device, mut gateway) = pair();
    device.dial();
    carry(&mut device, &mut gateway);
    gateway.interface.remove_peer(gateway.now, PEER);
    gateway.drain();
    assert_eq!(gateway.keys(), 0);
    assert_eq!(gateway.count("silent"), 1);
    assert_eq!(gateway.interface.poll_timeout(), None);
    assert!(device.send(&PACKET));
    let (_, up) = carry(&mut device, &mut gateway);
    assert_eq!(up.len(), 0);
    device.now += REKEY_TIMEOUT;
    device.dial();
    let (_, initiation) = device.out.pop().unwrap();
    let result = gateway.receive(device.card.address, &initiation);
    assert_eq!(result, Err(Discard::UnknownPeer));
}

#[test]
fn numbers_and_keys_are_there_once() {
    let (device, mut gateway) = pair();
    let settings = |id, key| Settings {
        id: PeerId(id),
        key,
        preshared_key: PresharedKey::from_bytes([0; 32]),
        endpoint: None,
        shard: 0,
        keepalive: None,
        last_timestamp: [0; 12],
        activity: None,
    };
    let other = Card::new(9, "192.0.2.9:9").public();
    let (now, own) = (gateway.now, gateway.card.public());
    let mut add = |id, key| gateway.interface.add_peer(now, settings(id, key));
    assert_eq!(add(7, other), Err(AddError::Id(PEER)));
    assert_eq!(add(8, device.card.public()), Err(AddError::Key(PEER)));
    assert_eq!(add(8, own), Err(AddError::Own));
    assert_eq!(add(8, other), Ok(()));
    // Of low order: it is a peer with which no handshake can be made, in either direction.
    assert_eq!(add(9, PublicKey::from_bytes([0; 32])), Ok(()));
    let nowhere = gateway.interface.activity(PeerId(9)).unwrap();
    nowhere.endpoint().store("192.0.2.9:9".parse().unwrap());
    gateway.interface.handle_decision(now, PeerId(9), true);
    gateway.interface.handle_need(now, PeerId(9));
    gateway.drain();
    assert_eq!(gateway.out, []);
}

/// A constant packet under the same key and counter would be the same octets.
#[test]
fn no_key_and_counter_are_used_twice_when_either_side_dies_and_comes_back() {
    let (mut device, mut gateway) = pair();
    let mut seen = HashSet::new();
    let mut total = 0;
    for round in 0..12_u64 {
        device.dial();
        carry(&mut device, &mut gateway);
        for _ in 0..50 {
            assert!(device.send(&PACKET), "{round}");
            assert!(gateway.send(&PACKET), "{round}");
            for (_, octets) in device.out.iter().chain(&gateway.out) {
                if Kind::of(octets) == Some(Kind::Data) {
                    seen.insert(octets[16..].to_vec());
                    total += 1;
                }
            }
            carry(&mut device, &mut gateway);
        }
        // Killed without a word; the clock of the one that starts again has hardly moved, and what was kept of the other
        // is its last timestamp.
        let unix = UNIX + Duration::from_secs(6 * (round + 1));
        let now = device.now + Duration::from_secs(6);
        let (one, two) = (device.card.clone(), gateway.card.clone());
        if round % 3 != 1 {
            let kept = gateway.timestamp;
            gateway = Side::with(&two, &one, false, now, unix, |settings| {
                settings.last_timestamp = kept;
            });
        }
        if round % 3 != 0 {
            let kept = device.timestamp;
            device = Side::with(&one, &two, true, now, unix, |settings| {
                settings.last_timestamp = kept;
            });
        }
        device.pass(now);
        gateway.pass(now);
        device.out.clear();
        gateway.out.clear();
    }
    assert_eq!(total, 12 * 100);
    assert_eq!(seen.len(), total);
}
