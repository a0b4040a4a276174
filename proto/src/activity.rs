//! What the packet path tells everybody else about a session, by atomics alone.

use core::sync::atomic::{AtomicU64, Ordering};

/// The user data of one session: written by the packet path once a batch, read by timers and accounting.
///
/// Each counter has a single writer (up: the thread that receives from the client; down: the one that sends to it),
/// so plain loads and stores are enough and no read-modify-write is paid for.
#[derive(Debug, Default)]
pub struct Activity {
    up: Direction,
    down: Direction,
}

/// One direction's counters on a cache line of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Direction {
    octets: AtomicU64,
    packets: AtomicU64,
    /// Milliseconds since the epoch that the writer and the readers agreed on.
    last: AtomicU64,
}

impl Direction {
    fn add(&self, packets: u64, octets: u64, now_ms: u64) {
        self.octets.store(
            self.octets.load(Ordering::Relaxed).wrapping_add(octets),
            Ordering::Relaxed,
        );
        self.packets.store(
            self.packets.load(Ordering::Relaxed).wrapping_add(packets),
            Ordering::Relaxed,
        );
        self.last.store(now_ms, Ordering::Relaxed);
    }
}

/// A reading of [`Activity`]: inner IP packets and octets, 64 bits each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Octets from the client.
    pub up_octets: u64,
    /// Packets from the client.
    pub up_packets: u64,
    /// Octets to the client.
    pub down_octets: u64,
    /// Packets to the client.
    pub down_packets: u64,
}

impl Activity {
    /// Adds a batch of packets from the client; `now_ms` is the coarse time of the batch.
    pub fn add_up(&self, packets: u64, octets: u64, now_ms: u64) {
        self.up.add(packets, octets, now_ms);
    }

    /// Adds a batch of packets to the client; `now_ms` is the coarse time of the batch.
    pub fn add_down(&self, packets: u64, octets: u64, now_ms: u64) {
        self.down.add(packets, octets, now_ms);
    }

    /// Returns the counters.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            up_octets: self.up.octets.load(Ordering::Relaxed),
            up_packets: self.up.packets.load(Ordering::Relaxed),
            down_octets: self.down.octets.load(Ordering::Relaxed),
            down_packets: self.down.packets.load(Ordering::Relaxed),
        }
    }

    /// Returns the time of the last user data in either direction, in the milliseconds that the writers gave; 0
    /// before the first packet.
    #[must_use]
    pub fn last_ms(&self) -> u64 {
        self.up
            .last
            .load(Ordering::Relaxed)
            .max(self.down.last.load(Ordering::Relaxed))
    }
}
