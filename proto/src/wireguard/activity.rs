//! What the packet path tells the machine about a peer, and where the peer is: by atomics alone.

use core::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use core::sync::atomic::{AtomicU64, Ordering, fence};

/// When packets of one peer went and came, written by the packet path once a batch and read when a timer fires.
///
/// All times are milliseconds since the epoch of the [`Config`](super::Config), and 0 says never, so a time of 0 is
/// written as 1. Up has one writer, the thread that receives; down has the thread that sends and, for keepalives, the
/// machine, both of which write what is true at that moment.
#[derive(Debug, Default)]
pub struct PeerActivity {
    up: Side,
    down: Side,
    endpoint: Endpoint,
}

/// One direction's times on a cache line of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Side {
    /// The last authentic packet, keepalives too.
    any: AtomicU64,
    /// The last packet with data.
    data: AtomicU64,
    /// The first packet with data since the other side's last `any`: what waits for an answer.
    unanswered: AtomicU64,
}

impl Side {
    fn add_data(&self, now_ms: u64, other: &Self, tie: Tie) {
        let now_ms = now_ms.max(1);
        if self.unanswered(other, tie).is_none() {
            self.unanswered.store(now_ms, Ordering::Relaxed);
        }
        self.data.store(now_ms, Ordering::Relaxed);
        self.any.store(now_ms, Ordering::Relaxed);
    }

    fn add_keepalive(&self, now_ms: u64) {
        self.any.store(now_ms.max(1), Ordering::Relaxed);
    }

    fn unanswered(&self, other: &Self, tie: Tie) -> Option<u64> {
        let since = self.unanswered.load(Ordering::Relaxed);
        let last = other.any.load(Ordering::Relaxed);
        let is_open = since > last || (since == last && since != 0 && tie == Tie::Open);
        is_open.then_some(since)
    }
}

/// What it means that both directions have the same time, which is that of a clock with ticks of up to 10 ms.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Tie {
    /// That an answer may be owed: an empty packet more costs nothing, one too few costs the peer a handshake.
    Open,
    /// That the answer has come: a handshake for nothing is what this must not lead to.
    Answered,
}

impl PeerActivity {
    /// Makes a record of a peer of whom nothing was heard.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that a batch came in which at least one authentic packet had data.
    pub fn received_data(&self, now_ms: u64) {
        self.up.add_data(now_ms, &self.down, Tie::Open);
    }

    /// Says that a batch came whose authentic packets were all empty.
    pub fn received_keepalive(&self, now_ms: u64) {
        self.up.add_keepalive(now_ms);
    }

    /// Says that packets with data were sent.
    pub fn sent_data(&self, now_ms: u64) {
        self.down.add_data(now_ms, &self.up, Tie::Answered);
    }

    /// Says that an empty packet was sent.
    pub fn sent_keepalive(&self, now_ms: u64) {
        self.down.add_keepalive(now_ms);
    }

    /// Returns where the peer was last seen.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns when the last authentic packet came; 0 before the first.
    #[must_use]
    pub fn last_received_ms(&self) -> u64 {
        self.up.any.load(Ordering::Relaxed)
    }

    /// Returns when the last packet with data came; 0 before the first.
    #[must_use]
    pub fn last_received_data_ms(&self) -> u64 {
        self.up.data.load(Ordering::Relaxed)
    }

    /// Returns when the last packet was sent; 0 before the first.
    #[must_use]
    pub fn last_sent_ms(&self) -> u64 {
        self.down.any.load(Ordering::Relaxed)
    }

    /// Returns when the last packet with data was sent; 0 before the first.
    #[must_use]
    pub fn last_sent_data_ms(&self) -> u64 {
        self.down.data.load(Ordering::Relaxed)
    }

    /// Returns since when data has been received to which nothing was sent.
    #[must_use]
    pub(super) fn owing_since(&self) -> Option<u64> {
        self.up.unanswered(&self.down, Tie::Open)
    }

    /// Returns since when data has been sent to which nothing was received.
    #[must_use]
    pub(super) fn waiting_since(&self) -> Option<u64> {
        self.down.unanswered(&self.up, Tie::Answered)
    }
}

/// Where a peer is: a cell of one socket address behind a sequence lock.
///
/// Readers never write and never wait for more than a writer's three stores; writers take turns. A flow label is not
/// kept.
#[derive(Debug, Default)]
pub struct Endpoint {
    /// Odd while somebody writes.
    sequence: AtomicU64,
    high: AtomicU64,
    low: AtomicU64,
    /// Port, then family, then scope: 16, 16 and 32 bits from the lowest.
    rest: AtomicU64,
}

const UNKNOWN: u16 = 0;
const V4: u16 = 4;
const V6: u16 = 6;

impl Endpoint {
    /// Returns the address, nothing while it is not known.
    #[must_use]
    pub fn load(&self) -> Option<SocketAddr> {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            let words = [
                self.high.load(Ordering::Relaxed),
                self.low.load(Ordering::Relaxed),
                self.rest.load(Ordering::Relaxed),
            ];
            fence(Ordering::Acquire);
            let after = self.sequence.load(Ordering::Relaxed);
            if before == after && before.is_multiple_of(2) {
                return unpack(words);
            }
            core::hint::spin_loop();
        }
    }

    /// Sets the address.
    pub fn store(&self, address: SocketAddr) {
        let [high, low, rest] = pack(address);
        let before = loop {
            let before = self.sequence.load(Ordering::Relaxed);
            let free = before.is_multiple_of(2)
                && self
                    .sequence
                    .compare_exchange_weak(
                        before,
                        before.wrapping_add(1),
                        Ordering::Acquire,
                        Ordering::Relaxed,
                    )
                    .is_ok();
            if free {
                break before;
            }
            core::hint::spin_loop();
        };
        fence(Ordering::Release);
        self.high.store(high, Ordering::Relaxed);
        self.low.store(low, Ordering::Relaxed);
        self.rest.store(rest, Ordering::Relaxed);
        self.sequence
            .store(before.wrapping_add(2), Ordering::Release);
    }
}

fn pack(address: SocketAddr) -> [u64; 3] {
    let (bits, family, scope) = match address {
        SocketAddr::V4(v4) => (u128::from(v4.ip().to_bits()), V4, 0),
        SocketAddr::V6(v6) => (v6.ip().to_bits(), V6, v6.scope_id()),
    };
    let [high, low] = halves(bits);
    let rest = u64::from(address.port()) | u64::from(family) << 16 | u64::from(scope) << 32;
    [high, low, rest]
}

fn unpack([high, low, rest]: [u64; 3]) -> Option<SocketAddr> {
    let bits = u128::from(high) << 64 | u128::from(low);
    let [p1, p2, f1, f2, s1, s2, s3, s4] = rest.to_le_bytes();
    let port = u16::from_le_bytes([p1, p2]);
    match u16::from_le_bytes([f1, f2]) {
        V4 => {
            let [.., a, b, c, d] = low.to_be_bytes();
            Some(SocketAddr::new(IpAddr::from([a, b, c, d]), port))
        }
        V6 => Some(SocketAddr::V6(SocketAddrV6::new(
            Ipv6Addr::from_bits(bits),
            port,
            0,
            u32::from_le_bytes([s1, s2, s3, s4]),
        ))),
        UNKNOWN | 1..=3 | 5 | 7.. => None,
    }
}

fn halves(bits: u128) -> [u64; 2] {
    let octets = bits.to_be_bytes();
    [octets.first_chunk(), octets.last_chunk()]
        .map(|half| half.copied().map_or(0, u64::from_be_bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn an_endpoint_comes_back_as_it_went_in() {
        let cell = Endpoint::default();
        assert_eq!(cell.load(), None);
        for text in [
            "0.0.0.0:0",
            "255.1.2.3:65535",
            "[2001:db8::1]:51820",
            "[fe80::1%7]:1",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            cell.store(address);
            assert_eq!(cell.load(), Some(address), "{text}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the cell is for threads")]
    fn a_reader_never_sees_half_of_two_endpoints() {
        let cell = Arc::new(Endpoint::default());
        let stop = Arc::new(AtomicBool::new(false));
        let pair: [SocketAddr; 2] = [
            "[1111:1111:1111:1111:1111:1111:1111:1111]:4369"
                .parse()
                .unwrap(),
            "34.34.34.34:8738".parse().unwrap(),
        ];
        cell.store(pair[0]);
        let writers = pair.map(|address| {
            let (cell, stop) = (Arc::clone(&cell), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    cell.store(address);
                }
            })
        });
        for _ in 0..20_000 {
            let seen = cell.load().unwrap();
            assert!(pair.contains(&seen), "{seen}");
        }
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().unwrap();
        }
    }

    #[test]
    fn within_one_tick_an_answer_may_be_owed_and_is_not_awaited() {
        let activity = PeerActivity::new();
        assert_eq!(
            (activity.owing_since(), activity.waiting_since()),
            (None, None)
        );
        activity.sent_data(12);
        activity.received_data(12);
        assert_eq!(activity.owing_since(), Some(12));
        assert_eq!(activity.waiting_since(), None);
        activity.sent_keepalive(20);
        assert_eq!(activity.owing_since(), None);
    }

    #[test]
    fn knows_since_when_an_answer_is_owed_and_awaited() {
        let activity = PeerActivity::new();
        assert_eq!(activity.owing_since(), None);
        activity.received_data(10);
        activity.received_data(20);
        assert_eq!(activity.owing_since(), Some(10));
        activity.sent_keepalive(25);
        assert_eq!(activity.owing_since(), None);
        activity.received_keepalive(30);
        assert_eq!(activity.owing_since(), None, "keepalives are not answered");
        activity.sent_data(40);
        activity.sent_data(50);
        assert_eq!(activity.waiting_since(), Some(40));
        activity.received_keepalive(60);
        assert_eq!(activity.waiting_since(), None);
        assert_eq!(
            (activity.last_sent_ms(), activity.last_received_ms()),
            (50, 60)
        );
    }
}
