//! Clamps the Maximum Segment Size that a TCP SYN announces (RFC 9293 §3.7.1), so that neither end sends packets that
//! the tunnel would have to refuse.

use crate::ip::checksum;
use crate::ip::packet::{IpPacket, Protocol};

/// What became of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Clamp {
    /// No SYN, no such option, or a value that is small enough.
    Untouched,
    /// The option was lowered and the checksum adjusted.
    Lowered,
}

/// Lowers the MSS option of a SYN in `packet` to at most `mss`; anything else is left as it is.
///
/// A SYN without the option means 536 (RFC 9293 §3.7.1), which fits every tunnel, so none is added.
#[inline]
pub fn clamp(packet: &mut [u8], mss: u16) -> Clamp {
    match find(packet) {
        Some(place) => lower(packet, &place, mss),
        None => Clamp::Untouched,
    }
}

/// Where the option's value and the checksum of its segment stand in the packet.
struct Place {
    segment: usize,
    value: usize,
}

/// The offset of the flags in a TCP header, the SYN bit, and the offset of the checksum.
const FLAGS: usize = 13;
const SYN: u8 = 0x02;
const CHECKSUM: usize = 16;
const FIXED: usize = 20;

#[inline]
fn find(packet: &[u8]) -> Option<Place> {
    let packet = IpPacket::decode(packet).ok()?;
    if packet.protocol() != Protocol::Tcp || packet.is_later_fragment() {
        return None;
    }
    let segment = packet.payload();
    if segment.get(FLAGS)? & SYN == 0 {
        return None;
    }
    find_option(segment).map(|value| Place {
        segment: packet.header_len(),
        value: packet.header_len().saturating_add(value),
    })
}

/// Returns the offset of the value of the MSS option in `segment`.
fn find_option(segment: &[u8]) -> Option<usize> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const MSS: u8 = 2;
    const MSS_LEN: u8 = 4;
    let header_len = usize::from(segment.get(12)? >> 4) * 4;
    let header = segment.get(..header_len)?;
    let mut at = FIXED;
    loop {
        match header.get(at..)? {
            [] | [END, ..] => return None,
            [NO_OPERATION, ..] => at = at.checked_add(1)?,
            [MSS, MSS_LEN, _, _, ..] => return at.checked_add(2),
            [_, len, ..] if *len >= 2 => at = at.checked_add(usize::from(*len))?,
            [..] => return None,
        }
    }
}

fn lower(packet: &mut [u8], place: &Place, mss: u16) -> Clamp {
    let Some(value) = packet
        .get_mut(place.value..)
        .and_then(|rest| rest.first_chunk_mut::<2>())
    else {
        return Clamp::Untouched;
    };
    let old = *value;
    if u16::from_be_bytes(old) <= mss {
        return Clamp::Untouched;
    }
    let new = mss.to_be_bytes();
    *value = new;
    // An option may begin at an odd offset: then the words under the checksum hold its octets the other way round.
    let odd = place.value.wrapping_sub(place.segment) % 2 == 1;
    if let Some(sum) = packet
        .get_mut(place.segment.saturating_add(CHECKSUM)..)
        .and_then(|rest| rest.first_chunk_mut::<2>())
    {
        *sum = if odd {
            let swap = |[a, b]: [u8; 2]| [b, a];
            checksum::update(*sum, swap(old), swap(new))
        } else {
            checksum::update(*sum, old, new)
        };
    }
    Clamp::Lowered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ip::checksum::{Sum, pseudo_header};

    fn syn(flags: u8, options: &[u8]) -> Vec<u8> {
        let tcp_len = FIXED + options.len();
        let mut octets = vec![0; 20 + FIXED];
        octets[0] = 0x45;
        octets[2..4].copy_from_slice(&u16::try_from(20 + tcp_len).unwrap().to_be_bytes());
        octets[9] = 6;
        octets[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        octets[32] = u8::try_from(tcp_len / 4).unwrap() << 4;
        octets[33] = flags;
        octets.extend_from_slice(options);
        let sum = tcp_sum(&octets).checksum();
        octets[36..38].copy_from_slice(&sum);
        octets
    }

    fn tcp_sum(octets: &[u8]) -> Sum {
        let addresses: &[u8; 8] = octets[12..20].try_into().unwrap();
        let len = u16::try_from(octets.len() - 20).unwrap();
        pseudo_header(addresses, 6, len).bytes(&octets[20..])
    }

    #[test]
    fn lowers_the_option_and_keeps_the_checksum_right() {
        for (options, value) in [
            (&[2, 4, 0x05, 0xb4][..], 42),
            (&[1, 1, 2, 4, 0x05, 0xb4, 1, 0], 44),
            (&[1, 2, 4, 0x05, 0xb4, 1, 1, 0], 43),
            (&[3, 3, 7, 2, 4, 0x05, 0xb4, 0], 45),
        ] {
            for flags in [0x02, 0x12, 0xc2] {
                let mut packet = syn(flags, options);
                assert_eq!(clamp(&mut packet, 1360), Clamp::Lowered);
                assert_eq!(packet[value..value + 2], 1360_u16.to_be_bytes());
                assert!(tcp_sum(&packet).verifies(), "{options:?}");
            }
        }
    }

    #[test]
    fn leaves_everything_else_alone() {
        for (flags, options) in [
            (0x10, &[2, 4, 0x05, 0xb4][..]),
            (0x02, &[2, 4, 0x02, 0x18]),
            (0x02, &[2, 3, 0x05, 0xb4]),
            (0x02, &[0, 2, 4, 5, 180, 0, 0, 0]),
            (0x02, &[8, 0, 2, 4, 5, 180, 0, 0]),
            (0x02, &[]),
        ] {
            let mut packet = syn(flags, options);
            let before = packet.clone();
            assert_eq!(clamp(&mut packet, 1360), Clamp::Untouched, "{options:?}");
            assert_eq!(packet, before);
        }
        let mut fragment = syn(0x02, &[2, 4, 0x05, 0xb4]);
        fragment[7] = 1;
        assert_eq!(clamp(&mut fragment, 1360), Clamp::Untouched);
    }

    proptest! {
        #[test]
        fn arbitrary_segments_never_panic(
            mut tail in proptest::collection::vec(any::<u8>(), 0..80),
            flags in any::<u8>(),
            data_offset in any::<u8>(),
        ) {
            let mut octets = syn(flags, &[]);
            octets.append(&mut tail);
            let total = u16::try_from(octets.len()).unwrap();
            octets[2..4].copy_from_slice(&total.to_be_bytes());
            octets[32] = data_offset;
            let _ = clamp(&mut octets, 1000);
            prop_assert_eq!(octets.len(), usize::from(total));
        }
    }
}
