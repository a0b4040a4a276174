//! Counters of the packet path: plain numbers in their thread, published once a batch.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted, each for the direction of the thread that counts it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Counter {
    /// Inner packets carried.
    Packets,
    /// Octets of the inner packets carried.
    Octets,
    /// Reads from the TUN that gave something.
    TunReads,
    /// Writes to the TUN.
    TunWrites,
    /// Packets that went through the TUN in those calls.
    TunPackets,
    /// Packets that were written to the TUN in trains of two and more.
    Coalesced,
    /// Reads or writes that the TUN refused.
    TunErrors,
    /// Trains that the TUN refused; the first one ends them.
    TrainsRefused,
    /// ICMP errors sent.
    IcmpErrors,
    /// Dropped: no packet, lengths that lie, a wrong header checksum, a source route.
    Malformed,
    /// Dropped: not IPv4.
    NotIpv4,
    /// Dropped: the source is not the session's address.
    SourceAddress,
    /// Dropped: the destination is no single host.
    Destination,
    /// Dropped: the destination is blocked, such as the cloud's metadata service.
    Blocked,
    /// Dropped: for another client.
    Isolated,
    /// Dropped: for the gateway itself, and no ping.
    Gateway,
    /// Dropped: the session's filter does not let it pass.
    Filter,
    /// Dropped: no session has the destination.
    NoSession,
    /// Dropped: larger than the session takes.
    TooBig,
    /// Dropped: the session's queue is full.
    QueueFull,
    /// Dropped: waited too long in the session's queue.
    Late,
    /// Dropped: control packets for a client that does not read, or for a driver that is behind.
    ControlFull,
    /// Dropped: seen before, or too far behind the newest.
    Replay,
    /// Dropped: not authentic.
    Integrity,
    /// Dropped: from the client, for an index that nobody has; to the client, without a key that may be used.
    NoKey,
    /// Dropped: the kernel did not take it.
    Unsent,
    /// Changes of a client's address that its session has survived.
    Roams,
}

impl Counter {
    /// Every counter.
    pub const ALL: [Self; 27] = [
        Self::Packets,
        Self::Octets,
        Self::TunReads,
        Self::TunWrites,
        Self::TunPackets,
        Self::Coalesced,
        Self::TunErrors,
        Self::TrainsRefused,
        Self::IcmpErrors,
        Self::Malformed,
        Self::NotIpv4,
        Self::SourceAddress,
        Self::Destination,
        Self::Blocked,
        Self::Isolated,
        Self::Gateway,
        Self::Filter,
        Self::NoSession,
        Self::TooBig,
        Self::QueueFull,
        Self::Late,
        Self::ControlFull,
        Self::Replay,
        Self::Integrity,
        Self::NoKey,
        Self::Unsent,
        Self::Roams,
    ];

    /// The counters of dropped packets.
    pub const DROPS: [Self; 17] = [
        Self::Malformed,
        Self::NotIpv4,
        Self::SourceAddress,
        Self::Destination,
        Self::Blocked,
        Self::Isolated,
        Self::Gateway,
        Self::Filter,
        Self::NoSession,
        Self::TooBig,
        Self::QueueFull,
        Self::Late,
        Self::ControlFull,
        Self::Replay,
        Self::Integrity,
        Self::NoKey,
        Self::Unsent,
    ];

    /// Returns the word for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Packets => "packets",
            Self::Octets => "octets",
            Self::TunReads => "tun_reads",
            Self::TunWrites => "tun_writes",
            Self::TunPackets => "tun_packets",
            Self::Coalesced => "coalesced",
            Self::TunErrors => "tun_errors",
            Self::TrainsRefused => "trains_refused",
            Self::IcmpErrors => "icmp_errors",
            Self::Malformed => "malformed",
            Self::NotIpv4 => "not_ipv4",
            Self::SourceAddress => "source_address",
            Self::Destination => "destination",
            Self::Blocked => "blocked",
            Self::Isolated => "isolated",
            Self::Gateway => "gateway",
            Self::Filter => "filter",
            Self::NoSession => "no_session",
            Self::TooBig => "too_big",
            Self::QueueFull => "queue_full",
            Self::Late => "late",
            Self::ControlFull => "control_full",
            Self::Replay => "replay",
            Self::Integrity => "integrity",
            Self::NoKey => "no_key",
            Self::Unsent => "unsent",
            Self::Roams => "roams",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// One thread's counters, or the sum of several threads'.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    values: [u64; Counter::ALL.len()],
}

impl Tally {
    /// Counts `amount` more.
    #[inline]
    pub fn add(&mut self, counter: Counter, amount: u64) {
        let value = &mut self.values[counter.index()];
        *value = value.wrapping_add(amount);
    }

    /// Returns the count.
    #[must_use]
    pub const fn get(&self, counter: Counter) -> u64 {
        self.values[counter.index()]
    }

    /// Returns the packets dropped, for whatever reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        Counter::DROPS.iter().map(|drop| self.get(*drop)).sum()
    }
}

/// A reading of the whole packet path.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// From the clients.
    pub up: Tally,
    /// To the clients.
    pub down: Tally,
    /// What of all that concerns datagram sessions, and is counted here alone; the TUN is not.
    pub datagrams: Both,
}

/// Two directions of one kind of session.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Both {
    /// From the clients.
    pub up: Tally,
    /// To the clients.
    pub down: Tally,
}

/// A tally that other threads can read; written by one thread.
#[derive(Debug, Default)]
pub(crate) struct Published {
    values: [AtomicU64; Counter::ALL.len()],
}

impl Published {
    /// Makes `tally` visible.
    pub(crate) fn publish(&self, tally: &Tally) {
        for (published, value) in self.values.iter().zip(&tally.values) {
            published.store(*value, Ordering::Relaxed);
        }
    }

    /// Adds what was published to `sum`.
    pub(crate) fn add_to(&self, sum: &mut Tally) {
        for (value, published) in sum.values.iter_mut().zip(&self.values) {
            *value = value.wrapping_add(published.load(Ordering::Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_own_place_and_word() {
        for (i, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(counter.index(), i);
            let same = |other: &&Counter| other.as_str() == counter.as_str();
            assert_eq!(Counter::ALL.iter().filter(same).count(), 1);
        }
    }

    #[test]
    fn what_is_published_adds_up() {
        let (one, two) = (Published::default(), Published::default());
        let mut tally = Tally::default();
        tally.add(Counter::Late, 3);
        one.publish(&tally);
        tally.add(Counter::Packets, 4);
        two.publish(&tally);
        let mut sum = Tally::default();
        one.add_to(&mut sum);
        two.add_to(&mut sum);
        assert_eq!((sum.get(Counter::Late), sum.get(Counter::Packets)), (6, 4));
        assert_eq!(sum.dropped(), 6);
    }
}
