//! What does it cost to gather 46 segments into one write, checksum check included? (Target: 60 ns a segment.)

use std::io::IoSlice;

use benches::{SEGMENTS, run};
use causeway::dataplane::coalesce::{Coalescer, Output, Storage};
use causeway::os::tun::Trains;
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

struct Count(usize);

impl Output for &mut Count {
    fn trains(&self) -> Trains {
        Trains::TcpAndUdp
    }

    fn write(&mut self, parts: &[IoSlice<'_>], packets: usize) {
        divan::black_box(parts);
        self.0 += packets;
    }
}

#[divan::bench]
fn gather(bencher: Bencher<'_, '_>) {
    let fresh: Vec<u8> = run().concat();
    let len = fresh.len() / SEGMENTS;
    let mut packets = fresh.clone();
    let mut storage = Storage::default();
    bencher.counter(ItemsCount::new(SEGMENTS)).bench_local(|| {
        // The headers of the first packet have become those of the train.
        packets[..52].copy_from_slice(&fresh[..52]);
        let mut count = Count(0);
        let mut coalescer = Coalescer::new(&mut storage, &mut count);
        for packet in packets.chunks_exact_mut(len) {
            coalescer.push(packet);
        }
        coalescer.finish();
        count.0
    });
}
