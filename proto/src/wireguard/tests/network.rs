//! A bad network, and clocks that jump.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::side::{Arrived, Card, Side, UNIX, carry, pair};
use crate::crypto::Rng;
use crate::timer::testing::start;

const PACKET: [u8; 32] = [0xa5; 32];

/// Loses one datagram in five, doubles one in ten, and lets one in five be overtaken.
struct Network {
    rng: Rng,
    flying: BTreeMap<(Instant, u32), (bool, Vec<u8>)>,
}

impl Network {
    fn take(&mut self, now: Instant, up: bool, octets: &[u8]) {
        let [lost, doubled, late, _] = self
            .rng
            .array::<4>()
            .map(|dice| u32::from(dice) * 100 / 256);
        if lost < 20 {
            return;
        }
        let delay = Duration::from_millis(if late < 20 { 80 } else { 20 });
        let copies = if doubled < 10 { 2 } else { 1 };
        for _ in 0..copies {
            let key = (now + delay, self.rng.u32());
            self.flying.insert(key, (up, octets.to_vec()));
        }
    }
}

/// Lets a device dial over a bad network; returns after which time both could send, and how many packets came twice.
fn dial(seed: u32) -> Option<(Duration, usize)> {
    let mut dice = Rng::from_seed(&[9; 32]);
    for _ in 0..seed {
        dice = dice.fork();
    }
    let mut network = Network {
        rng: dice,
        flying: BTreeMap::new(),
    };
    let (mut device, mut gateway) = pair();
    let begin = device.now;
    device.dial();
    let mut came = Vec::new();
    let mut number = 0_u64;
    while device.now < begin + Duration::from_secs(100) {
        let now = device.now + Duration::from_millis(100);
        device.pass(now);
        gateway.pass(now);
        if device.sending.is_some() {
            number += 1;
            let mut packet = PACKET;
            packet[..8].copy_from_slice(&number.to_le_bytes());
            device.send(&packet);
        }
        for (_, octets) in core::mem::take(&mut device.out) {
            network.take(now, true, &octets);
        }
        for (_, octets) in core::mem::take(&mut gateway.out) {
            network.take(now, false, &octets);
        }
        while let Some(first) = network.flying.first_entry() {
            if first.key().0 > now {
                break;
            }
            let (up, octets) = first.remove();
            if up {
                let result = gateway.receive(device.card.address, &octets);
                if let Ok(Arrived::Packet(packet)) = result {
                    came.push(packet);
                }
            } else {
                // Doubles and late ones are refused, each with its reason.
                let _refused = device.receive(gateway.card.address, &octets);
            }
        }
        if device.sending.is_some() && gateway.sending.is_some() {
            let all = came.len();
            came.sort();
            came.dedup();
            return Some((device.now - begin, all - came.len()));
        }
    }
    None
}

#[test]
fn a_thousand_handshakes_complete_over_a_bad_network() {
    let mut times: Vec<_> = (0..1000)
        .map(|seed| {
            let (time, twice) = dial(seed % 50 + seed).unwrap();
            assert_eq!(twice, 0, "a packet arrives once");
            time
        })
        .collect();
    times.sort_unstable();
    assert!(times[500] <= Duration::from_secs(5), "{:?}", times[500]);
}

#[test]
fn a_clock_that_jumps_costs_no_tunnel() {
    let mut dice = Rng::from_seed(&[4; 32]);
    let device_card = Card::new(1, "192.0.2.1:1000");
    let (_, mut gateway) = pair();
    let mut unix = UNIX;
    let mut now = start();
    for step in 0..200 {
        // The gateway starts again with another time on its clock; the device goes on.
        let hour = Duration::from_secs(3600);
        unix = match dice.u8() % 4 {
            0 => unix + hour,
            1 => unix.saturating_sub(hour),
            2 => unix + hour * 87_600,
            _ => unix.saturating_sub(hour * 87_600),
        };
        let kept = gateway.timestamp;
        gateway = Side::with(&gateway.card, &device_card, false, now, unix, |settings| {
            settings.last_timestamp = kept;
        });
        let mut device = Side::with(
            &device_card,
            &gateway.card,
            true,
            now,
            UNIX + Duration::from_secs(10 * (step + 1)),
            |_| {},
        );
        device.dial();
        carry(&mut device, &mut gateway);
        assert!(gateway.sending.is_some(), "{step}");
        now += Duration::from_secs(10);
    }
}

#[test]
fn a_device_that_moves_keeps_its_tunnel() {
    let (mut device, mut gateway) = pair();
    device.dial();
    carry(&mut device, &mut gateway);
    for port in 2000..2300 {
        device.card.address.set_port(port);
        device.pass(device.now + Duration::from_secs(1));
        gateway.pass(device.now);
        assert!(device.send(&PACKET));
        carry(&mut device, &mut gateway);
        assert!(gateway.send(&PACKET));
        assert_eq!(gateway.out.last().unwrap().0.port(), port);
        let (down, _) = carry(&mut device, &mut gateway);
        assert_eq!(down.len(), 1);
    }
}
