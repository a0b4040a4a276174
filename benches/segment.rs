//! What does it cost to cut a train of 46 segments, headers, checksums and copy included? (Target: 60 ns a segment.)

use benches::{SEGMENTS, train};
use causeway::dataplane::segment::Train;
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

#[divan::bench]
fn cut(bencher: Bencher<'_, '_>) {
    let (header, octets) = train();
    let mut out = vec![0; 128 * 1024];
    bencher.counter(ItemsCount::new(SEGMENTS)).bench_local(|| {
        let train = Train::parse(&header, divan::black_box(&octets)).unwrap();
        let mut at = 0;
        for index in 0..train.count() {
            let len = train.len_of(index);
            train.write(index, &mut out[at + 8..at + 8 + len]);
            at += 8 + len;
        }
        at
    });
}
