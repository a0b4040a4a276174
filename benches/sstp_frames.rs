//! What does it cost to walk the 11 frames of a full record? (Target: 15 ns a frame.)

use std::time::Instant;

use benches::{call, run};
use causeway_proto::sstp::{PacketSink, data_header};
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

const FRAMES: usize = 11;

struct Count(usize);

impl PacketSink<'_> for Count {
    fn deliver(&mut self, packet: &mut [u8]) {
        divan::black_box(packet);
        self.0 += 1;
    }
}

#[divan::bench]
fn walk(bencher: Bencher<'_, '_>) {
    let mut session = call();
    let mut record = Vec::new();
    for packet in run().iter().take(FRAMES) {
        let len = u16::try_from(packet.len()).unwrap();
        record.extend_from_slice(&data_header(len));
        record.extend_from_slice(packet);
    }
    let now = Instant::now();
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        let mut count = Count(0);
        let octets = divan::black_box(&mut record);
        session.handle_stream(now, octets, &mut count).unwrap();
        assert_eq!(count.0, FRAMES);
    });
}
