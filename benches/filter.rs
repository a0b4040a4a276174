//! What does a filter cost a packet: of a few rules, as most are, and of as many as one may have?

use causeway_proto::ip::IpPacket;
use causeway_proto::ip::filter::{Filter, Rule};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

const PACKETS: usize = 1_024;

/// TCP to port 443 of a host that only the last rule allows.
fn packet() -> Vec<u8> {
    let mut octets = vec![0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0];
    octets.extend_from_slice(&[10, 99, 0, 7, 192, 0, 2, 5]);
    octets.extend_from_slice(&[0x9c, 0x40, 0x01, 0xbb]);
    octets.resize(40, 0);
    octets
}

#[divan::bench(args = [5, 256])]
fn last_of(bencher: Bencher<'_, '_>, rules: u32) {
    let others = (1..rules).map(|i| format!("tcp/443 10.{}.{}.0/24", i / 256, i % 256));
    let allow: Vec<Rule> = others
        .chain([String::from("tcp/443 192.0.2.5/32")])
        .map(|text| text.parse().unwrap())
        .collect();
    let filter = Filter::new("staff", &[], &allow);
    let octets = packet();
    let packet = IpPacket::decode(&octets).unwrap();
    assert!(filter.allows(&packet));
    bencher.counter(ItemsCount::new(PACKETS)).bench_local(|| {
        (0..PACKETS)
            .filter(|_| black_box(&filter).allows(black_box(&packet)))
            .count()
    });
}
