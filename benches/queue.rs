//! What does it cost to queue 46 packets of 1400 octets and take them out again as records, the copy left out?

use benches::SEGMENTS;
use causeway::dataplane::queue::{Buffers, Limits, Queue};
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

#[divan::bench(args = [0, 16 * 1024])]
fn pass(bencher: Bencher<'_, '_>, record: usize) {
    let mut queue = Queue::default();
    let mut buffers = Buffers::default();
    let limits = Limits {
        total: 128 * 1024,
        record,
    };
    bencher.counter(ItemsCount::new(SEGMENTS)).bench_local(|| {
        for _ in 0..SEGMENTS {
            queue.push(&mut buffers, 0, 1400, |out| out[0] = 0x45);
        }
        queue.take(&mut buffers, 0, limits, |record| {
            divan::black_box(record);
        })
    });
}
