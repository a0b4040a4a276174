//! Fragmentation (RFC 791 §3.2): for packets that a tunnel cannot carry whole and that may be cut. Nothing is put together
//! again here; the client's own stack does that.
//!
//! The first fragment has all options, the others those with the copied flag. Fragments of a fragment continue its offset,
//! and the last of them has its flag "more fragments".

use crate::ip::checksum::Sum;
use crate::ip::packet::IpPacket;

/// The fragments of one packet, one after another.
#[derive(Debug)]
pub struct Fragments<'a> {
    packet: IpPacket<'a>,
    mtu: usize,
    /// The options of all fragments but the first.
    later_options: [u8; MAX_OPTIONS],
    later_options_len: usize,
    /// The octets of the payload that have been sent.
    sent: usize,
}

const FIXED: usize = 20;
const MAX_OPTIONS: usize = 40;

/// The unit of the fragment offset.
const UNIT: usize = 8;

const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

impl<'a> Fragments<'a> {
    /// Begins to cut `packet` for a link of `mtu` octets; `None` when it may not be cut, or the link takes less than any
    /// (RFC 791 §3.2: 68 octets).
    #[must_use]
    pub fn new(packet: IpPacket<'a>, mtu: u16) -> Option<Self> {
        const MIN_MTU: u16 = 68;
        if packet.dont_fragment() || mtu < MIN_MTU {
            return None;
        }
        let mut fragments = Self {
            packet,
            mtu: usize::from(mtu),
            later_options: [0; MAX_OPTIONS],
            later_options_len: 0,
            sent: 0,
        };
        fragments.copy_options();
        Some(fragments)
    }

    /// Appends the next fragment to `out`; `false` when there is none.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        let payload = self.packet.payload();
        let is_first = self.sent == 0;
        let rest = payload.get(self.sent..).unwrap_or_default();
        if rest.is_empty() && !is_first {
            return false;
        }
        let options = if is_first {
            self.packet.options()
        } else {
            self.later_options
                .get(..self.later_options_len)
                .unwrap_or_default()
        };
        let header_len = FIXED + options.len();
        let room = self.mtu.saturating_sub(header_len);
        let (part, is_last) = match rest.get(..room / UNIT * UNIT) {
            Some(part) if rest.len() > room => (part, false),
            Some(_) | None => (rest, true),
        };
        let [_, _, _, _, _, _, flags, offset, ..] = *self.packet.header();
        let field = u16::from_be_bytes([flags, offset]);
        let units = u16::try_from(self.sent / UNIT).unwrap_or(u16::MAX);
        let offset = (field & OFFSET).saturating_add(units);
        let total = u16::try_from(header_len + part.len());
        let (Ok(total), true) = (total, offset <= OFFSET) else {
            // The packet says that it ends behind what an offset can say (the "ping of death").
            self.sent = payload.len().max(1);
            return false;
        };
        let more = if is_last {
            field & MORE_FRAGMENTS
        } else {
            MORE_FRAGMENTS
        };
        self.append_header(out, options, total, offset | more);
        out.extend_from_slice(part);
        self.sent += part.len().max(1);
        true
    }

    fn append_header(&self, out: &mut Vec<u8>, options: &[u8], total: u16, field: u16) {
        let [
            _,
            tos,
            _,
            _,
            id_hi,
            id_lo,
            _,
            _,
            ttl,
            protocol,
            _,
            _,
            ends @ ..,
        ] = *self.packet.header();
        let words = u8::try_from((FIXED + options.len()) / 4).unwrap_or(15);
        let [total_hi, total_lo] = total.to_be_bytes();
        let [field_hi, field_lo] = field.to_be_bytes();
        let before = [
            0x40 | words,
            tos,
            total_hi,
            total_lo,
            id_hi,
            id_lo,
            field_hi,
            field_lo,
            ttl,
            protocol,
        ];
        let checksum = Sum::new()
            .bytes(&before)
            .bytes(&ends)
            .bytes(options)
            .checksum();
        out.extend_from_slice(&before);
        out.extend_from_slice(&checksum);
        out.extend_from_slice(&ends);
        out.extend_from_slice(options);
    }

    /// Finds the options of the later fragments, and pads them to whole words with "end of options".
    fn copy_options(&mut self) {
        const END: u8 = 0;
        const NO_OPERATION: u8 = 1;
        const COPIED: u8 = 0x80;
        let mut options = self.packet.options();
        let mut len = 0;
        while let [kind, ..] = *options {
            let size = match (kind, options) {
                (END, _) => break,
                (NO_OPERATION, _) => 1,
                (_, [_, size, ..]) if *size >= 2 => usize::from(*size),
                // Broken; the client's stack shall see it in the first fragment.
                (_, _) => break,
            };
            let Some((option, rest)) = options.split_at_checked(size) else {
                break;
            };
            if kind & COPIED != 0
                && let Some(room) = self.later_options.get_mut(len..len + size)
            {
                room.copy_from_slice(option);
                len += size;
            }
            options = rest;
        }
        self.later_options_len = len.next_multiple_of(4);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(field: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let header_len = FIXED + options.len();
        let mut octets = vec![0x40 | u8::try_from(header_len / 4).unwrap(), 0xb8];
        let total = u16::try_from(header_len + payload.len()).unwrap();
        octets.extend_from_slice(&total.to_be_bytes());
        octets.extend_from_slice(&[0xbe, 0xef]);
        octets.extend_from_slice(&field.to_be_bytes());
        octets.extend_from_slice(&[61, 17, 0, 0, 10, 0, 0, 1, 10, 99, 0, 7]);
        octets.extend_from_slice(options);
        let checksum = Sum::new().bytes(&octets).checksum();
        octets[10..12].copy_from_slice(&checksum);
        octets.extend_from_slice(payload);
        octets
    }

    fn cut(octets: &[u8], mtu: u16) -> Vec<Vec<u8>> {
        let packet = IpPacket::decode(octets).unwrap();
        let mut fragments = Fragments::new(packet, mtu).unwrap();
        let mut all = Vec::new();
        loop {
            let mut out = Vec::new();
            if !fragments.poll_transmit(&mut out) {
                return all;
            }
            all.push(out);
        }
    }

    fn field(octets: &[u8]) -> u16 {
        u16::from_be_bytes([octets[6], octets[7]])
    }

    #[test]
    fn cuts_at_multiples_of_eight_and_keeps_the_fields() {
        let payload: Vec<u8> = (0..=255).cycle().take(3_000).collect();
        let all = cut(&packet(0, &[], &payload), 1_400);
        let lens: Vec<_> = all.iter().map(Vec::len).collect();
        assert_eq!(lens, [1_396, 1_396, 268]);
        let fields: Vec<_> = all.iter().map(|octets| field(octets)).collect();
        assert_eq!(fields, [0x2000, 0x2000 + 172, 344]);
        let mut joined = Vec::new();
        for octets in &all {
            let fragment = IpPacket::decode(octets).unwrap();
            assert_eq!(fragment.verify_header(), Ok(()));
            assert_eq!(fragment.identification(), 0xbeef);
            assert_eq!(
                (fragment.time_to_live(), fragment.type_of_service()),
                (61, 0xb8)
            );
            joined.extend_from_slice(fragment.payload());
        }
        assert_eq!(joined, payload);
    }

    #[test]
    fn a_fragment_of_a_fragment_continues_it() {
        let middle = cut(&packet(0x2000 + 100, &[], &[7; 1_600]), 1_420);
        let fields: Vec<_> = middle.iter().map(|octets| field(octets)).collect();
        assert_eq!(fields, [0x2000 + 100, 0x2000 + 275]);
        let last = cut(&packet(100, &[], &[7; 1_600]), 1_420);
        assert_eq!(field(&last[1]), 275);
    }

    #[test]
    fn only_options_with_the_copied_flag_are_repeated() {
        // Record route (not copied), no-operation, router alert (copied).
        let options = [7, 7, 4, 0, 0, 0, 0, 1, 148, 4, 0, 5];
        let all = cut(&packet(0, &options, &[1; 1_000]), 576);
        assert_eq!(IpPacket::decode(&all[0]).unwrap().options(), options);
        assert_eq!(IpPacket::decode(&all[1]).unwrap().options(), [148, 4, 0, 5]);
    }

    #[test]
    fn what_must_not_be_cut_is_not() {
        let octets = packet(0x4000, &[], &[1; 1_500]);
        assert!(Fragments::new(IpPacket::decode(&octets).unwrap(), 1_400).is_none());
        let octets = packet(0, &[], &[1; 100]);
        assert!(Fragments::new(IpPacket::decode(&octets).unwrap(), 67).is_none());
        assert_eq!(cut(&octets, 1_400), [octets]);
    }

    #[test]
    fn an_offset_that_does_not_fit_ends_it() {
        let all = cut(&packet(OFFSET, &[], &[1; 2_000]), 1_400);
        assert_eq!(all.len(), 1);
    }

    proptest! {
        #[test]
        fn every_payload_arrives_whole_within_the_mtu(
            payload in proptest::collection::vec(any::<u8>(), 0..4_000),
            options in proptest::collection::vec(any::<u8>(), 0..11),
            mtu in 68_u16..2_000,
        ) {
            let options: Vec<u8> = options.iter().flat_map(|octet| [octet & 0x9f, octet & 7, 0, 0]).collect();
            let all = cut(&packet(0, &options, &payload), mtu);
            let mut joined = Vec::new();
            for (i, octets) in all.iter().enumerate() {
                prop_assert!(octets.len() <= usize::from(mtu));
                let fragment = IpPacket::decode(octets).unwrap();
                prop_assert!(Sum::new().bytes(fragment.header_octets()).verifies());
                prop_assert_eq!(usize::from(field(octets) & OFFSET) * UNIT, joined.len());
                prop_assert_eq!(field(octets) & MORE_FRAGMENTS != 0, i + 1 < all.len());
                joined.extend_from_slice(fragment.payload());
            }
            prop_assert_eq!(joined, payload);
        }
    }
}
