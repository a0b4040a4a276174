//! What another process holds in its memory (proc(5)); needs root, for the gateway lets nobody else look.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

/// So many octets are shown before and behind what was found.
const AROUND: usize = 48;

/// Returns the octets around every place where the process holds one of `words`, in what it can write to: the heap,
/// stacks, and pages of its own.
pub(super) fn search(process: u32, words: &[&[u8]]) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let mut found = Vec::new();
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next().unwrap(), fields.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let start = u64::from_str_radix(start, 16).unwrap();
        let end = u64::from_str_radix(end, 16).unwrap();
        let mut region = vec![0; usize::try_from(end - start).unwrap()];
        // A region may be gone meanwhile, or be a guard.
        if memory.read_exact_at(&mut region, start).is_err() {
            continue;
        }
        let name = fields.nth(3).unwrap_or("anonymous");
        for (place, len) in places(&region, words) {
            let from = place.saturating_sub(AROUND);
            let to = (place + len + AROUND).min(region.len());
            let around = region[from..to].escape_ascii();
            found.push(format!("{name} {:#x}: {around}", start + place as u64));
        }
    }
    found
}

/// Returns where one of `words` begins, and how long it is.
fn places(region: &[u8], words: &[&[u8]]) -> Vec<(usize, usize)> {
    let begins = |octet: &u8| words.iter().any(|word| word[0] == *octet);
    let mut places = Vec::new();
    let mut from = 0;
    while let Some(next) = region[from..].iter().position(begins) {
        let place = from + next;
        let here = words
            .iter()
            .filter(|word| region[place..].starts_with(word));
        places.extend(here.map(|word| (place, word.len())));
        from = place + 1;
    }
    places
}
