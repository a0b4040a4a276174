//! How many handshakes an address may ask for while we are under load.

use core::net::{IpAddr, SocketAddr};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What one handshake costs: 20 a second.
const COST: Duration = Duration::from_millis(50);
/// How much can be saved: 5 at once.
const BURST: Duration = Duration::from_millis(250);
/// How many addresses are remembered; beyond that, new ones wait until old ones are forgotten.
const ADDRESSES: usize = 8192;

/// A bucket for each IPv4 address and each IPv6 network of 64 bits, or for each port of one.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    /// Until when what was asked for has been used up.
    buckets: HashMap<(u64, u16), Instant>,
    swept: Option<Instant>,
}

impl Limiter {
    /// Takes a handshake from the bucket of `from`; returns whether there was one. When too many addresses are
    /// remembered, another one has none.
    pub(super) fn take(&mut self, now: Instant, from: IpAddr) -> bool {
        self.spend(now, (network(from), 0)) == Some(true)
    }

    /// Returns whether the bucket of this one port is empty after this; one that cannot be remembered never is.
    ///
    /// Of senders who have not shown where they are, a whole address must not be answered for: whoever writes it on
    /// packets could keep everybody there from ever showing it, and a port has to be guessed.
    pub(super) fn exhausts(&mut self, now: Instant, from: SocketAddr) -> bool {
        self.spend(now, (network(from.ip()), from.port())) == Some(false)
    }

    /// Takes from a bucket if there is something in it; nothing for an address that cannot be remembered.
    fn spend(&mut self, now: Instant, key: (u64, u16)) -> Option<bool> {
        if !self.buckets.contains_key(&key) && self.buckets.len() >= ADDRESSES {
            self.sweep(now);
            if self.buckets.len() >= ADDRESSES {
                return None;
            }
        }
        let used = self.buckets.entry(key).or_insert(now);
        let next = (*used).max(now) + COST;
        if next > now + BURST {
            return Some(false);
        }
        *used = next;
        Some(true)
    }

    /// Forgets the addresses whose buckets are full again; at most once a second, because it looks at all.
    fn sweep(&mut self, now: Instant) {
        let soon = self
            .swept
            .is_some_and(|at| now.saturating_duration_since(at) < Duration::from_secs(1));
        if !soon {
            self.buckets.retain(|_, used| *used > now);
            self.swept = Some(now);
        }
    }
}

/// How many handshakes those may ask for who have not shown their addresses while we are under load.
///
/// What cookies are for is a crowd of invented addresses: each of them is new, so all of them together get
/// [`TOGETHER`](Self::TOGETHER), and the rest gets cookies. A crowd at one address uses up what that address has, and
/// leaves the rest to everybody else, who is then served without the seconds that a cookie costs.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    each: Limiter,
    used: Option<Instant>,
}

impl Strangers {
    /// What one of them costs: a thousand a second, for which a processor is a twentieth busy.
    const TOGETHER: Duration = Duration::from_millis(1);
    const BURST: Duration = Duration::from_millis(64);

    /// Takes a handshake for `from`; returns whether there was one.
    pub(super) fn take(&mut self, now: Instant, from: IpAddr) -> bool {
        let next = self.used.map_or(now, |used| used.max(now)) + Self::TOGETHER;
        let taken = next <= now + Self::BURST && self.each.take(now, from);
        if taken {
            self.used = Some(next);
        }
        taken
    }
}

fn network(from: IpAddr) -> u64 {
    match from.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            u64::from(a) << 48 | u64::from(b) << 32 | u64::from(c) << 16 | u64::from(d)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::testing::start;

    #[test]
    fn an_address_gets_five_at_once_and_twenty_a_second() {
        let mut limiter = Limiter::default();
        let mut now = start();
        let from = "192.0.2.1".parse().unwrap();
        let at_once = (0..100).filter(|_| limiter.take(now, from)).count();
        assert_eq!(at_once, 5);
        let mut later = 0;
        for _ in 0..1000 {
            now += Duration::from_millis(1);
            later += u32::from(limiter.take(now, from));
        }
        assert_eq!(later, 20);
        assert!(limiter.take(now, "192.0.2.2".parse().unwrap()));
    }

    #[test]
    fn a_network_of_64_bits_is_one_address() {
        let mut limiter = Limiter::default();
        let now = start();
        let count = (0..100)
            .filter(|at| limiter.take(now, format!("2001:db8::{at:x}").parse().unwrap()))
            .count();
        assert_eq!(count, 5);
        assert!(limiter.take(now, "2001:db8:0:1::".parse().unwrap()));
    }

    #[test]
    fn strangers_get_a_thousand_together_and_no_address_takes_them_from_another() {
        let mut strangers = Strangers::default();
        let mut now = start();
        let mut taken = 0;
        for at in 0..50_000u32 {
            now += Duration::from_micros(20);
            taken += u32::from(strangers.take(now, IpAddr::from(at.to_be_bytes())));
        }
        assert!((900..=1100).contains(&taken), "{taken}");

        let mut strangers = Strangers::default();
        let loud = "192.0.2.1".parse().unwrap();
        let mut taken = 0;
        for at in 0..50_000u32 {
            now += Duration::from_micros(20);
            taken += u32::from(strangers.take(now, loud));
            if at % 10_000 == 9_999 {
                assert!(strangers.take(now, "192.0.2.2".parse().unwrap()));
            }
        }
        assert!((20..=25).contains(&taken), "{taken}");
    }

    #[test]
    fn remembers_a_bounded_number_of_addresses() {
        let mut limiter = Limiter::default();
        let mut now = start();
        let taken = (0..20_000u32)
            .filter(|at| limiter.take(now, IpAddr::from(at.to_be_bytes())))
            .count();
        assert_eq!(taken, ADDRESSES);
        let another = "198.51.100.1".parse().unwrap();
        assert!(!limiter.take(now, another));
        assert!((0..9).all(|_| !limiter.exhausts(now, (another, 7).into())));
        now += Duration::from_secs(2);
        assert!(limiter.take(now, "192.0.2.1".parse().unwrap()));
        assert_eq!(limiter.buckets.len(), 1);
    }
}
