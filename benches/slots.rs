//! What does it cost to find the session of an address, in random order, among few and among 65,536? (Target: 25 ns cold, and
//! flat: what grows is that memory is not in the cache.)

use std::net::Ipv4Addr;

use causeway::dataplane::slots::{Routes, Table};
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

const FIRST: u32 = Ipv4Addr::new(10, 8, 0, 0).to_bits();
const LOOKUPS: usize = 1_024;

#[divan::bench(args = [16, 1_024, 8_192, 65_536])]
fn find(bencher: Bencher<'_, '_>, sessions: u32) {
    let last = Ipv4Addr::from_bits(FIRST + sessions - 1);
    let mut routes = Routes::new(&[(Ipv4Addr::from_bits(FIRST), last)]);
    let mut table = Table::default();
    for offset in 0..sessions {
        let slot = table.insert([offset; 64]);
        routes.set(Ipv4Addr::from_bits(FIRST + offset), slot);
    }
    let mut state = 1_u32;
    bencher.counter(ItemsCount::new(LOOKUPS)).bench_local(|| {
        let mut sum = 0_u32;
        for _ in 0..LOOKUPS {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let address = Ipv4Addr::from_bits(FIRST + (state >> 16) % sessions);
            let slot = routes.get(address).unwrap();
            sum = sum.wrapping_add(table.get_mut(slot).unwrap()[0]);
        }
        sum
    });
}
