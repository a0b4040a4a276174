//! The timers of the whitepaper's §6.

use std::time::{Duration, Instant};

use super::side::{Side, carry, pair};
use crate::wireguard::Kind;

const PACKET: [u8; 32] = [0xa5; 32];
const SECOND: Duration = Duration::from_secs(1);

/// Returns both sides with a tunnel between them.
fn connected() -> (Side, Side) {
    let (mut device, mut gateway) = pair();
    device.dial();
    carry(&mut device, &mut gateway);
    assert!(device.sending.is_some() && gateway.sending.is_some());
    (device, gateway)
}

/// Lets both sides live to `until`, a quarter of a second at a time; returns how many packets arrived at each.
fn live(
    device: &mut Side,
    gateway: &mut Side,
    until: Instant,
    mut each: impl FnMut(&mut Side, &mut Side),
) -> (usize, usize) {
    let mut arrived = (0, 0);
    while device.now < until {
        let now = device.now + SECOND / 4;
        device.pass(now);
        gateway.pass(now);
        each(device, gateway);
        let (down, up) = carry(device, gateway);
        arrived.0 += down.len();
        arrived.1 += up.len();
    }
    arrived
}

#[test]
fn the_initiator_renews_keys_and_nothing_is_lost_in_a_day() {
    let (mut device, mut gateway) = connected();
    let until = device.now + SECOND * 86_400;
    let mut sent = 0;
    let arrived = live(&mut device, &mut gateway, until, |device, gateway| {
        sent += 1;
        assert!(device.send(&PACKET) && gateway.send(&PACKET));
        assert!(gateway.keys() <= 3 && device.keys() <= 3);
    });
    assert_eq!(arrived, (sent, sent));
    let handshakes = device.count("done initiator");
    assert!((700..=721).contains(&handshakes), "{handshakes}");
    assert_eq!(gateway.count("done responder"), handshakes);
    assert_eq!(gateway.count("done initiator"), 0);
}

#[test]
fn traffic_from_the_responder_alone_renews_keys_before_they_end() {
    let (mut device, mut gateway) = connected();
    let until = device.now + SECOND * 3600;
    let mut sent = 0;
    let (down, _) = live(&mut device, &mut gateway, until, |_, gateway| {
        sent += usize::from(gateway.send(&PACKET));
    });
    assert_eq!((down, sent), (4 * 3600, 4 * 3600));
    assert!(device.count("done initiator") >= 3600 / 166);
}

#[test]
fn who_receives_and_has_nothing_to_say_says_so_after_ten_seconds() {
    let (mut device, mut gateway) = connected();
    let begin = device.now;
    assert!(device.send(&PACKET));
    carry(&mut device, &mut gateway);
    live(
        &mut device,
        &mut gateway,
        begin + SECOND * 9,
        |_, gateway| {
            assert_eq!(gateway.out.len(), 0);
        },
    );
    let mut keepalives = 0;
    live(
        &mut device,
        &mut gateway,
        begin + SECOND * 60,
        |device, gateway| {
            for (_, octets) in &gateway.out {
                assert_eq!((Kind::of(octets), octets.len()), (Some(Kind::Data), 32));
                keepalives += 1;
            }
            assert_eq!(
                device.out.len(),
                0,
                "nothing is sent to somebody who is there"
            );
        },
    );
    assert_eq!(keepalives, 1, "a keepalive is not answered");
}

#[test]
fn silence_after_data_begins_a_handshake_and_ninety_seconds_later_it_is_given_up() {
    let (mut device, mut gateway) = connected();
    assert!(device.send(&PACKET));
    device.out.clear();
    let begin = device.now;
    let mut calls = Vec::new();
    while device.now < begin + SECOND * 300 {
        device.pass(device.now + SECOND / 10);
        for (_, octets) in core::mem::take(&mut device.out) {
            assert_eq!(Kind::of(&octets), Some(Kind::Initiation));
            calls.push((device.now - begin).as_secs());
        }
    }
    assert_eq!(calls.first(), Some(&15));
    assert!((16..=19).contains(&calls.len()), "{calls:?}");
    assert!(calls.last().is_some_and(|last| *last < 15 + 90 + 6));
    assert_eq!(device.count("gave up"), 1);
    // The key has ended meanwhile, and there is nothing left to wait for.
    assert_eq!(device.count("silent"), 1);
    assert_eq!((device.keys(), device.interface.poll_timeout()), (0, None));

    // With something to say it tries again, and now somebody is there.
    assert!(!device.send(&PACKET));
    gateway.pass(device.now);
    carry(&mut device, &mut gateway);
    assert!(device.send(&PACKET));
    let (_, up) = carry(&mut device, &mut gateway);
    assert_eq!(up.len(), 1);
}

#[test]
fn a_tunnel_that_nobody_uses_costs_nothing_after_three_minutes() {
    let (mut device, mut gateway) = connected();
    let until = device.now + SECOND * 181;
    live(&mut device, &mut gateway, until, |device, gateway| {
        assert_eq!((device.out.len(), gateway.out.len()), (0, 0));
    });
    for side in [&device, &gateway] {
        assert_eq!((side.keys(), side.interface.poll_timeout()), (0, None));
        assert_eq!(side.count("silent"), 1);
    }
}

#[test]
fn the_gateway_calls_a_device_that_it_has_data_for() {
    let (mut device, mut gateway) = connected();
    let until = device.now + SECOND * 600;
    live(&mut device, &mut gateway, until, |_, _| {});
    assert!(!gateway.send(&PACKET), "it has slept, and keys are gone");
    carry(&mut device, &mut gateway);
    assert_eq!(gateway.count("done initiator"), 1);
    assert!(gateway.send(&PACKET));
    let (down, _) = carry(&mut device, &mut gateway);
    assert_eq!(down.len(), 1);
}

#[test]
fn a_keepalive_can_be_asked_for() {
    use super::side::{Card, UNIX};
    let (one, two) = (Card::new(1, "192.0.2.1:1"), Card::new(2, "192.0.2.2:2"));
    let now = crate::timer::testing::start();
    let mut device = Side::with(&one, &two, true, now, UNIX, |settings| {
        settings.keepalive = Some(SECOND * 25);
    });
    let mut gateway = Side::with(&two, &one, false, now, UNIX, |_| {});
    device.dial();
    carry(&mut device, &mut gateway);
    let mut keepalives = 0;
    live(
        &mut device,
        &mut gateway,
        now + SECOND * 110,
        |device, _| {
            keepalives += device.out.len();
        },
    );
    assert_eq!(keepalives, 4);
}
