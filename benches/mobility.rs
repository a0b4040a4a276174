//! How the Mobility tunnel of a running gateway bears up: figures for RELIABILITY's R6, R10 and R13, printed and not judged.
//!
//! `cargo run --release -p benches --example mobility -- flood SERVER GATEWAY-KEY`, from a network namespace that reaches
//! the gateway. `register COUNT` prints a register of so many devices for `mobility.peers_file`; the first of them makes a
//! handshake every second while the flood lasts, from an address of its own if `CAUSEWAY_DEVICE_NETNS` is the path of
//! another namespace. `CAUSEWAY_RATE` is how many initiations a second come from strangers (50,000), `CAUSEWAY_SECONDS`
//! for how long (60). `crowd SERVER GATEWAY-KEY COUNT` lets so many of the devices come, and send a packet every ten seconds.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use causeway::client::{MobilityOptions, MobilityTunnel};
use causeway_proto::crypto::Rng;
use causeway_proto::wireguard::{
    Config, Interface, PeerId, PresharedKey, PrivateKey, PublicKey, Settings,
};

/// Ports that strangers come from.
const PORTS: usize = 32;

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    answers: AtomicU64,
    octets: AtomicU64,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["register", count] => register(count.parse().unwrap()),
        ["flood", server, key] => under_flood(server.parse().unwrap(), key.parse().unwrap()),
        ["crowd", server, key, count] => crowd(
            server.parse().unwrap(),
            key.parse().unwrap(),
            count.parse().unwrap(),
        ),
        _ => println!("register COUNT | flood SERVER GATEWAY-KEY | crowd SERVER GATEWAY-KEY COUNT"),
    }
}

fn private(number: u32) -> PrivateKey {
    let mut seed = [0xca; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    PrivateKey::generate(&mut Rng::from_seed(&seed))
}

/// Devices have the addresses from 10.64.0.2 on.
fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 64, 0, 2).to_bits() + number)
}

fn register(count: u32) {
    println!("schema = 1\nnext = {count}");
    for number in 0..count {
        println!(
            "\n[[peer]]\nid = {number}\nname = \"device\"\nkey = \"{}\"\nuser = \"user-{number}\"\naddress = \"{}\"\norigin = \"administrator\"\ncreated = \"2026-01-01T00:00:00Z\"",
            private(number).public(),
            address(number)
        );
    }
}

fn device(server: SocketAddr, server_key: PublicKey, number: u32) -> MobilityOptions {
    MobilityOptions {
        server,
        server_key,
        private_key: private(number),
        preshared_key: PresharedKey::default(),
        address: address(number),
    }
}

/// Lets devices come and stay.
fn crowd(server: SocketAddr, key: PublicKey, count: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let length = Duration::from_secs(number("CAUSEWAY_SECONDS", 60));
    runtime.block_on(async {
        let begun = Instant::now();
        let mut tunnels = Vec::new();
        for number in 0..count {
            let options = device(server, key, number);
            tunnels.push(
                MobilityTunnel::connect(options, Duration::from_secs(12))
                    .await
                    .unwrap(),
            );
        }
        println!("{count} devices are there after {:.2?}", begun.elapsed());
        while begun.elapsed() < length {
            let round = Instant::now();
            for tunnel in &mut tunnels {
                let packet = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 254, 0, 0];
                let mut packet = packet.to_vec();
                packet.extend(tunnel.address().octets());
                packet.extend([192, 0, 2, 1]);
                tunnel.send(&packet).unwrap();
                tokio::time::sleep(Duration::from_secs(10) / count.max(1)).await;
            }
            println!("a round of {:.2?}", round.elapsed());
        }
    });
}

/// Lets strangers come in crowds, and one device among them.
fn under_flood(server: SocketAddr, key: PublicKey) {
    let options = device(server, key, 0);
    let rate = number("CAUSEWAY_RATE", 50_000);
    let length = Duration::from_secs(number("CAUSEWAY_SECONDS", 60));
    let (stop, counts) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(Counts::default()),
    );
    let flood = {
        let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
        thread::spawn(move || flood(server, key, rate, &stop, &counts))
    };
    let honest = thread::spawn(move || handshakes(&options, length));
    let mut times = honest.join().unwrap();
    stop.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    times.sort_unstable();
    let failed = times.iter().filter(|time| time.is_none()).count();
    let times: Vec<_> = times.into_iter().flatten().collect();
    let at = |share: usize| {
        let place = times.len().saturating_sub(1) * share / 100;
        times.get(place).copied().unwrap_or_default()
    };
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (sent, octets) = (count(&counts.sent), count(&counts.octets));
    println!(
        "{sent} initiations of {INITIATION} octets, {} a second; {} answers, {octets} octets: {} of a thousand that came",
        sent / length.as_secs().max(1),
        count(&counts.answers),
        octets * 1_000 / (sent.max(1) * INITIATION),
    );
    println!(
        "{} honest handshakes, {failed} failed, median {:.2?}, p99 {:.2?}, longest {:.2?}",
        times.len(),
        at(50),
        at(99),
        at(100)
    );
}

const INITIATION: u64 = 148;

fn number(name: &str, otherwise: u64) -> u64 {
    let said = std::env::var(name).ok();
    said.map_or(otherwise, |said| said.parse().unwrap())
}

/// An initiation of somebody who knows the gateway's key and whom the gateway does not know.
fn initiation(server: SocketAddr, key: PublicKey, number: u8) -> Vec<u8> {
    let now = Instant::now();
    let config = Config {
        private_key: PrivateKey::generate(&mut Rng::from_seed(&[number; 32])),
        epoch: now,
    };
    let mut interface = Interface::new(config, [number; 32], now, Duration::from_secs(1));
    let settings = Settings {
        id: PeerId(0),
        key,
        preshared_key: PresharedKey::default(),
        endpoint: Some(server),
        shard: 0,
        keepalive: None,
        last_timestamp: [0; 12],
        activity: None,
    };
    interface.add_peer(now, settings).unwrap();
    interface.handle_decision(now, PeerId(0), true);
    interface.handle_need(now, PeerId(0));
    let mut octets = Vec::new();
    interface.poll_transmit(&mut octets).unwrap();
    octets
}

/// Sends initiations with a good `mac1` until the stop, a thousandth of a second's worth at a time.
fn flood(server: SocketAddr, key: PublicKey, rate: u64, stop: &AtomicBool, counts: &Counts) {
    let any: SocketAddr = if server.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let strangers: Vec<_> = (0..PORTS)
        .map(|number| {
            let socket = UdpSocket::bind(any).unwrap();
            socket.connect(server).unwrap();
            socket.set_nonblocking(true).unwrap();
            let octets = initiation(server, key, u8::try_from(number).unwrap_or(0));
            (socket, octets)
        })
        .collect();
    let begun = Instant::now();
    let (mut sent, mut turn) = (0_u64, 0);
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let due = u64::try_from(begun.elapsed().as_micros()).unwrap_or(0) * rate / 1_000_000;
        while sent < due {
            let (socket, octets) = &strangers[turn % PORTS];
            turn += 1;
            // What the kernel does not take is not sent again.
            if socket.send(octets).is_ok() {
                counts.sent.fetch_add(1, Ordering::Relaxed);
            }
            sent += 1;
        }
        for (socket, _) in &strangers {
            while let Ok(length) = socket.recv(&mut buffer) {
                counts.answers.fetch_add(1, Ordering::Relaxed);
                let length = u64::try_from(length).unwrap_or(0);
                counts.octets.fetch_add(length, Ordering::Relaxed);
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Makes a handshake every second; returns how long each took, nothing for one that failed.
fn handshakes(options: &MobilityOptions, length: Duration) -> Vec<Option<Duration>> {
    if let Some(namespace) = std::env::var_os("CAUSEWAY_DEVICE_NETNS") {
        let file = std::fs::File::open(namespace).unwrap();
        nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let until = Instant::now() + length;
    let mut times = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        let patience = Duration::from_secs(12);
        let came = runtime.block_on(MobilityTunnel::connect(options.clone(), patience));
        times.push(came.is_ok().then(|| begun.elapsed()));
        thread::sleep(Duration::from_secs(1).saturating_sub(begun.elapsed()));
    }
    times
}
