//! Where a datagram session's client is: written by the thread that receives, read by the one that sends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::thread;

use crate::os::udp::Path;

/// A client's end and ours: the way that answers take.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Endpoint {
    /// Which of the listen addresses the client reached, by its place in the configuration.
    pub listener: u8,
    /// The two addresses.
    pub path: Path,
}

/// An endpoint behind a sequence lock: one writer, which never waits; a reader that comes at the wrong moment finds
/// nothing new and looks again with its next batch.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    /// Odd while the writer writes; 0 while there is nothing.
    sequence: AtomicU64,
    words: [AtomicU64; 5],
}

impl Cell {
    /// Sets the endpoint; by one thread alone.
    pub(crate) fn store(&self, endpoint: &Endpoint) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence
            .store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        for (word, value) in self.words.iter().zip(pack(endpoint)) {
            word.store(value, Ordering::Relaxed);
        }
        self.sequence
            .store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// Returns the endpoint, if there is one; waits for a writer's few stores.
    pub(crate) fn load(&self) -> Option<Endpoint> {
        while self.sequence.load(Ordering::Relaxed) != 0 {
            if let Some(endpoint) = self.changed(&mut 0) {
                return Some(endpoint);
            }
            thread::yield_now();
        }
        None
    }

    /// Returns the endpoint if it is another one than that of `seen`, which the last call has left.
    #[inline]
    pub(crate) fn changed(&self, seen: &mut u64) -> Option<Endpoint> {
        let before = self.sequence.load(Ordering::Acquire);
        if before == *seen || !before.is_multiple_of(2) {
            return None;
        }
        let mut words = [0; 5];
        for (value, word) in words.iter_mut().zip(&self.words) {
            *value = word.load(Ordering::Relaxed);
        }
        fence(Ordering::Acquire);
        if self.sequence.load(Ordering::Relaxed) != before {
            return None;
        }
        *seen = before;
        Some(unpack(words))
    }
}

/// Bits of the last word, above port and listener and below the scope.
const REMOTE_V6: u64 = 1 << 24;
const LOCAL_V4: u64 = 1 << 25;
const LOCAL_V6: u64 = 1 << 26;

fn pack(endpoint: &Endpoint) -> [u64; 5] {
    let Path { remote, local } = endpoint.path;
    let mut rest = u64::from(remote.port()) | u64::from(endpoint.listener) << 16;
    if let SocketAddr::V6(remote) = remote {
        rest |= REMOTE_V6 | u64::from(remote.scope_id()) << 32;
    }
    rest |= match local {
        Some(IpAddr::V4(_)) => LOCAL_V4,
        Some(IpAddr::V6(_)) => LOCAL_V6,
        None => 0,
    };
    let [r1, r2] = words(remote.ip());
    let [l1, l2] = words(local.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
    [r1, r2, l1, l2, rest]
}

fn unpack([r1, r2, l1, l2, rest]: [u64; 5]) -> Endpoint {
    let [p1, p2, listener, _, s1, s2, s3, s4] = rest.to_le_bytes();
    let port = u16::from_le_bytes([p1, p2]);
    let remote = if rest & REMOTE_V6 == 0 {
        SocketAddr::V4(SocketAddrV4::new(v4(r2), port))
    } else {
        let scope = u32::from_le_bytes([s1, s2, s3, s4]);
        SocketAddr::V6(SocketAddrV6::new(v6(r1, r2), port, 0, scope))
    };
    let local = if rest & LOCAL_V4 != 0 {
        Some(IpAddr::V4(v4(l2)))
    } else if rest & LOCAL_V6 != 0 {
        Some(IpAddr::V6(v6(l1, l2)))
    } else {
        None
    };
    Endpoint {
        listener,
        path: Path { remote, local },
    }
}

fn words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => [0, u64::from(address.to_bits())],
        IpAddr::V6(address) => {
            let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
            let bits = address.to_bits();
            [half(bits >> 64), half(bits)]
        }
    }
}

fn v4(low: u64) -> Ipv4Addr {
    let [_, _, _, _, a, b, c, d] = low.to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

fn v6(high: u64, low: u64) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(listener: u8, remote: &str, local: Option<&str>) -> Endpoint {
        Endpoint {
            listener,
            path: Path {
                remote: remote.parse().unwrap(),
                local: local.map(|local| local.parse().unwrap()),
            },
        }
    }

    #[test]
    fn an_endpoint_comes_back_once_as_it_went_in() {
        let cell = Cell::default();
        let mut seen = 0;
        assert_eq!((cell.changed(&mut seen), cell.load()), (None, None));
        for endpoint in [
            endpoint(0, "192.0.2.7:5008", None),
            endpoint(1, "255.255.255.255:65535", Some("10.0.0.1")),
            endpoint(255, "[2001:db8::ffff:1]:1", Some("2001:db8:ffff:ffff::2")),
            endpoint(2, "[fe80::1%4294967295]:9", None),
        ] {
            cell.store(&endpoint);
            assert_eq!(cell.changed(&mut seen), Some(endpoint));
            assert_eq!(cell.load(), Some(endpoint));
            assert_eq!(cell.changed(&mut seen), None);
        }
    }

    #[test]
    fn nobody_reads_half_of_two_endpoints() {
        let cell = Cell::default();
        let both = [
            endpoint(1, "17.17.17.17:4369", Some("17.17.17.17")),
            endpoint(2, "[2222:2222:2222:2222:2222:2222:2222:2222]:8738", None),
        ];
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..50_000 {
                    cell.store(&both[number % 2]);
                }
            });
            let mut seen = 0;
            while seen < 100_000 {
                if let Some(endpoint) = cell.changed(&mut seen) {
                    assert!(both.contains(&endpoint), "{endpoint:?}");
                }
            }
        });
    }
}
