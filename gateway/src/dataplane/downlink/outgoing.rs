//! The buffer in which packets of one datagram session are put together for one call.
//!
//! Frames stand one behind the other, all of one length but the last, as the kernel wants them:
//! `[16 header][packet, padded][16 tag]`.

use causeway_proto::wireguard::OVERHEAD;
use causeway_proto::wireguard::message::HEADER;

use crate::dataplane::slots::Slot;
use crate::os::udp::{MAX_OCTETS, MAX_SEGMENTS};

/// Padding hides what the length of a packet tells (whitepaper §5.4.6).
const PADDING: usize = 16;

/// Packets on their way to one session.
pub(crate) struct Outgoing {
    buffer: Box<[u8]>,
    owner: Option<Slot>,
    /// The length of a frame.
    stride: usize,
    /// The octets of all frames.
    len: usize,
    /// The packets' own lengths.
    packets: [u16; MAX_SEGMENTS],
    count: usize,
}

impl Outgoing {
    pub(crate) fn new() -> Self {
        Self {
            buffer: vec![0; MAX_OCTETS].into_boxed_slice(),
            owner: None,
            stride: 0,
            len: 0,
            packets: [0; MAX_SEGMENTS],
            count: 0,
        }
    }

    /// Returns whose packets are here, if there are any.
    pub(crate) const fn owner(&self) -> Option<Slot> {
        self.owner
    }

    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    pub(crate) const fn stride(&self) -> usize {
        self.stride
    }

    /// Returns whether a packet of `len` octets can travel with the others; `mtu` is the session's.
    #[inline]
    pub(crate) fn fits(&self, len: u16, mtu: u16) -> bool {
        let frame = frame_len(len, mtu);
        self.count == 0
            || (frame <= self.stride
                // Nothing may follow a frame that was shorter.
                && self.len == self.count * self.stride
                && self.count < MAX_SEGMENTS
                && self.len + frame <= MAX_OCTETS)
    }

    /// Adds a packet of `len` octets of `owner`, which [`fits`](Self::fits), written by `write`.
    #[inline]
    pub(crate) fn push(&mut self, owner: Slot, len: u16, mtu: u16, write: impl FnOnce(&mut [u8])) {
        let frame = frame_len(len, mtu);
        let Some(room) = self.buffer.get_mut(self.len..self.len + frame) else {
            return;
        };
        let (packet, padding) = room[HEADER..].split_at_mut(usize::from(len));
        write(packet);
        // The tag comes over the last 16; the padding has what was here before.
        padding.fill(0);
        if self.count == 0 {
            self.owner = Some(owner);
            self.stride = frame;
        }
        self.packets[self.count] = len;
        self.count += 1;
        self.len += frame;
    }

    /// Returns the frames one by one.
    pub(crate) fn frames(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.buffer[..self.len].chunks_mut(self.stride.max(1))
    }

    /// Returns all frames behind the first `skipped`.
    pub(crate) fn octets(&self, skipped: usize) -> &[u8] {
        self.buffer[..self.len]
            .get(skipped * self.stride..)
            .unwrap_or_default()
    }

    /// Returns the octets of the first `count` packets, without what is around them.
    pub(crate) fn packet_octets(&self, count: usize) -> u64 {
        let packets = self.packets.iter().take(count.min(self.count));
        packets.map(|len| u64::from(*len)).sum()
    }

    /// Forgets everything.
    pub(crate) const fn clear(&mut self) {
        self.owner = None;
        self.count = 0;
        self.len = 0;
    }
}

/// The length of a frame around a packet of `len` octets: padded, but not beyond what the session's packets may have,
/// so that the datagram fits where an MTU has been chosen to fit exactly.
#[inline]
fn frame_len(len: u16, mtu: u16) -> usize {
    let len = usize::from(len);
    let padded = len.next_multiple_of(PADDING).min(usize::from(mtu));
    OVERHEAD + padded.max(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::slots::Table;

    #[test]
    fn frames_are_padded_but_not_beyond_the_mtu() {
        for (len, expected) in [
            (20, 32),
            (32, 32),
            (33, 48),
            (1_400, 1_408),
            (1_409, 1_420),
            (1_420, 1_420),
            // A fragment's last piece cannot be larger than the MTU, but nothing here relies on it.
            (1_430, 1_430),
        ] {
            assert_eq!(frame_len(len, 1_420), expected + 32, "{len}");
        }
    }

    #[test]
    fn packets_share_a_send_as_long_as_the_kernel_can_cut_it() {
        let slot = Table::default().insert(());
        let mut outgoing = Outgoing::new();
        assert!(outgoing.fits(100, 1_420));
        for _ in 0..2 {
            outgoing.push(slot, 100, 1_420, |packet| packet.fill(1));
        }
        assert_eq!((outgoing.stride(), outgoing.owner()), (144, Some(slot)));
        assert!(!outgoing.fits(113, 1_420), "longer than the others");
        assert!(outgoing.fits(112, 1_420));
        assert!(outgoing.fits(20, 1_420), "shorter, as the last one");
        outgoing.push(slot, 20, 1_420, |packet| packet.fill(2));
        assert!(!outgoing.fits(20, 1_420), "something behind the last one");
        assert_eq!(outgoing.packet_octets(9), 220);
        assert_eq!(outgoing.packet_octets(1), 100);
        assert_eq!(outgoing.octets(2).len(), 64);
        let frames: Vec<usize> = outgoing.frames().map(|frame| frame.len()).collect();
        assert_eq!(frames, [144, 144, 64]);
        outgoing.clear();
        assert_eq!((outgoing.count(), outgoing.owner()), (0, None));
    }

    #[test]
    fn a_send_is_full_with_64_frames_or_64_kib() {
        let slot = Table::default().insert(());
        for (len, most) in [(20, 64), (1_420, 45)] {
            let mut outgoing = Outgoing::new();
            while outgoing.fits(len, 1_420) {
                outgoing.push(slot, len, 1_420, |_| {});
            }
            assert_eq!(outgoing.count(), most);
            assert!(outgoing.octets(0).len() <= MAX_OCTETS);
        }
    }

    #[test]
    fn padding_is_zero_whatever_was_there() {
        let slot = Table::default().insert(());
        let mut outgoing = Outgoing::new();
        outgoing.push(slot, 64, 1_420, |packet| packet.fill(0xff));
        outgoing.clear();
        outgoing.push(slot, 50, 1_420, |packet| packet.fill(0xee));
        let frame = outgoing.octets(0);
        assert_eq!(frame.len(), 96);
        assert!(frame[HEADER..66].iter().all(|octet| *octet == 0xee));
        assert!(frame[66..80].iter().all(|octet| *octet == 0));
    }
}
