//! What a WireGuard packet and a handshake cost.

use std::cell::Cell;
use std::time::{Duration, Instant};

use causeway_proto::crypto::Rng;
use causeway_proto::replay::ReplayWindow;
use causeway_proto::wireguard::{
    Config, Event, Index, Interface, OVERHEAD, PeerId, PresharedKey, PrivateKey, ReceivingKey,
    Role, SendingKey, Settings,
};
use divan::Bencher;
use zeroize::Zeroizing;

fn main() {
    divan::main();
}

const LENGTHS: [usize; 2] = [64, 1408];

fn halves() -> (SendingKey, ReceivingKey) {
    let (now, index) = (Instant::now(), Index::new(0, 1, 2));
    let key = || Zeroizing::new([7; 32]);
    (
        SendingKey::new(key(), index.0, now, Role::Initiator),
        ReceivingKey::new(key(), index, now, Role::Responder),
    )
}

fn frame(length: usize) -> Vec<u8> {
    vec![0x5a; length + OVERHEAD]
}

/// In place, with a counter of its own.
#[divan::bench(args = LENGTHS)]
fn seal(bencher: Bencher, length: usize) {
    let (sending, _) = halves();
    let mut frame = frame(length);
    bencher.bench_local(|| {
        let counter = sending.reserve(1).unwrap();
        sending.seal(counter, &mut frame)
    });
}

/// In place, with the replay window.
#[divan::bench(args = LENGTHS)]
fn open(bencher: Bencher, length: usize) {
    let (sending, mut receiving) = halves();
    let sealed = || {
        let mut frame = frame(length);
        let counter = sending.reserve(1).unwrap();
        sending.seal(counter, &mut frame).unwrap();
        frame
    };
    bencher
        .with_inputs(sealed)
        .bench_local_refs(|frame| receiving.open(frame).map(|packet| packet.len()));
}

#[divan::bench]
fn replay_window(bencher: Bencher) {
    let mut window = ReplayWindow::new();
    let mut number = 0;
    bencher.bench_local(|| {
        number += 1;
        window.check(number) && window.mark(number)
    });
}

/// An interface with as many peers, and one that is a peer's.
fn pair(peers: u32) -> (Interface, Interface) {
    let now = Instant::now();
    let unix = Duration::from_secs(1_767_225_600);
    let private = |number: u32| {
        let mut seed = [9; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        PrivateKey::generate(&mut Rng::from_seed(&seed))
    };
    let config = |number| Config {
        private_key: private(number),
        epoch: now,
    };
    let settings = |number: u32, id, endpoint| Settings {
        id: PeerId(id),
        key: private(number).public(),
        preshared_key: PresharedKey::default(),
        endpoint,
        shard: 0,
        keepalive: None,
        last_timestamp: [0; 12],
        activity: None,
    };
    let mut gateway = Interface::new(config(0), [1; 32], now, unix);
    for id in 1..=peers {
        gateway.add_peer(now, settings(id, id, None)).unwrap();
    }
    let mut device = Interface::new(config(peers), [2; 32], now, unix);
    let here = "192.0.2.1:5008".parse().unwrap();
    device.add_peer(now, settings(0, 0, Some(here))).unwrap();
    (gateway, device)
}

/// From an initiation to its response, and what goes with it; flat in the number of peers.
#[divan::bench(args = [10, 1_000, 10_000], sample_count = 20, sample_size = 1)]
fn respond(bencher: Bencher, peers: u32) {
    let (mut gateway, mut device) = pair(peers);
    let from = "198.51.100.1:1".parse().unwrap();
    let now = Cell::new(Instant::now());
    device.handle_decision(now.get(), PeerId(0), true);
    gateway.handle_decision(now.get(), PeerId(peers), true);
    let initiation = || {
        now.set(now.get() + Duration::from_secs(6));
        // It asks again, or gives up and begins anew.
        device.handle_timeout(now.get());
        device.handle_need(now.get(), PeerId(0));
        let mut octets = Vec::new();
        device.poll_transmit(&mut octets).unwrap();
        octets
    };
    bencher.with_inputs(initiation).bench_local_refs(|octets| {
        gateway
            .handle_datagram(now.get(), from, false, octets)
            .unwrap();
        let mut response = Vec::new();
        gateway.poll_transmit(&mut response).unwrap();
        while let Some(event) = gateway.poll_event() {
            if let Event::InstallReceiving { key, .. } = event {
                divan::black_box_drop(key);
            }
        }
    });
}
