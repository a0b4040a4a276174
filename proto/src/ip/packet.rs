//! A checked view of one IPv4 packet (RFC 791 §3.1).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |Version|  IHL  |Type of Service|          Total Length         |
//! |         Identification        |Flags|      Fragment Offset    |
//! |  Time to Live |    Protocol   |         Header Checksum       |
//! |                       Source Address                          |
//! |                    Destination Address                        |
//! |                    Options                    |    Padding    |
//! ```
//!
//! Octets behind the total length are padding of a lower layer and cut off. Source routes are refused (RFC 7126 §4.3,
//! §4.4); other options pass unread.

use core::net::Ipv4Addr;

use thiserror::Error;

use crate::ip::checksum::Sum;

/// Why octets are no packet that the gateway carries.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum PacketError {
    /// Shorter than a header, or than its own lengths say.
    #[error("the packet is shorter than its lengths")]
    Truncated,
    /// Not IPv4.
    #[error("ip version {0} is not carried")]
    Version(u8),
    /// The header length is under 20 octets or over the total length.
    #[error("the header length is impossible")]
    HeaderLength,
    /// The header checksum is wrong.
    #[error("the header checksum is wrong")]
    Checksum,
    /// An option is a source route, or the options do not parse.
    #[error("the options are a source route or broken")]
    Options,
}

/// The protocols that the gateway looks into.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// ICMP, 1.
    Icmp,
    /// TCP, 6.
    Tcp,
    /// UDP, 17.
    Udp,
    /// Anything else; carried unread.
    Other(u8),
}

/// The length of a header without options.
const FIXED: usize = 20;

/// One IPv4 packet whose lengths fit.
#[derive(Clone, Copy, Debug)]
pub struct IpPacket<'a> {
    header: &'a [u8; FIXED],
    octets: &'a [u8],
    header_len: usize,
}

impl<'a> IpPacket<'a> {
    /// Checks version and lengths of `octets` and cuts off what stands behind the packet.
    #[inline]
    pub fn decode(octets: &'a [u8]) -> Result<Self, PacketError> {
        let packet = Self::decode_quoted(octets)?;
        if packet.octets.len() < packet.total_length() {
            return Err(PacketError::Truncated);
        }
        Ok(packet)
    }

    /// Checks the beginning of a packet, as an ICMP error quotes it (RFC 792): the header is whole, the rest may not be.
    #[inline]
    pub fn decode_quoted(octets: &'a [u8]) -> Result<Self, PacketError> {
        let Some(header) = octets.first_chunk::<FIXED>() else {
            return Err(PacketError::Truncated);
        };
        let [first, _, len_hi, len_lo, ..] = *header;
        if first >> 4 != 4 {
            return Err(PacketError::Version(first >> 4));
        }
        let header_len = usize::from(first & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([len_hi, len_lo]));
        if header_len < FIXED || header_len > total {
            return Err(PacketError::HeaderLength);
        }
        let octets = octets.get(..total).unwrap_or(octets);
        if octets.len() < header_len {
            return Err(PacketError::Truncated);
        }
        Ok(Self {
            header,
            octets,
            header_len,
        })
    }

    fn total_length(&self) -> usize {
        let [_, _, hi, lo, ..] = *self.header;
        usize::from(u16::from_be_bytes([hi, lo]))
    }

    /// Checks the header checksum and that no option is a source route.
    #[inline]
    pub fn verify_header(&self) -> Result<(), PacketError> {
        if !Sum::new().bytes(self.header_octets()).verifies() {
            return Err(PacketError::Checksum);
        }
        match self.options() {
            [] => Ok(()),
            options => verify_options(options),
        }
    }

    /// Returns the whole packet.
    #[must_use]
    pub const fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// Returns the fixed part of the header.
    pub(super) const fn header(&self) -> &'a [u8; FIXED] {
        self.header
    }

    /// Returns the header with its options.
    #[must_use]
    #[inline]
    pub fn header_octets(&self) -> &'a [u8] {
        self.octets.get(..self.header_len).unwrap_or_default()
    }

    /// Returns the options, padding included.
    #[must_use]
    #[inline]
    pub fn options(&self) -> &'a [u8] {
        self.octets.get(FIXED..self.header_len).unwrap_or_default()
    }

    /// Returns what stands behind the header.
    #[must_use]
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.octets.get(self.header_len..).unwrap_or_default()
    }

    /// Returns the length of the header with its options.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        self.header_len
    }

    /// Returns source and destination, as the pseudo header wants them.
    #[must_use]
    #[inline]
    pub const fn addresses(&self) -> &'a [u8; 8] {
        let [_, _, _, _, _, _, _, _, _, _, _, _, addresses @ ..] = self.header;
        addresses
    }

    /// Returns the source address.
    #[must_use]
    #[inline]
    pub const fn source(&self) -> Ipv4Addr {
        let [a, b, c, d, ..] = *self.addresses();
        Ipv4Addr::new(a, b, c, d)
    }

    /// Returns the destination address.
    #[must_use]
    #[inline]
    pub const fn destination(&self) -> Ipv4Addr {
        let [_, _, _, _, a, b, c, d] = *self.addresses();
        Ipv4Addr::new(a, b, c, d)
    }

    /// Returns the type of service with the ECN bits.
    #[must_use]
    pub const fn type_of_service(&self) -> u8 {
        let [_, tos, ..] = *self.header;
        tos
    }

    /// Returns the identification.
    #[must_use]
    pub const fn identification(&self) -> u16 {
        let [_, _, _, _, hi, lo, ..] = *self.header;
        u16::from_be_bytes([hi, lo])
    }

    /// Returns the time to live.
    #[must_use]
    pub const fn time_to_live(&self) -> u8 {
        let [_, _, _, _, _, _, _, _, ttl, ..] = *self.header;
        ttl
    }

    /// Returns the protocol number.
    #[must_use]
    pub const fn protocol_number(&self) -> u8 {
        let [_, _, _, _, _, _, _, _, _, protocol, ..] = *self.header;
        protocol
    }

    /// Returns the protocol.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        match self.protocol_number() {
            1 => Protocol::Icmp,
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            other => Protocol::Other(other),
        }
    }

    /// Returns whether routers may not fragment the packet.
    #[must_use]
    pub const fn dont_fragment(&self) -> bool {
        let [_, _, _, _, _, _, flags, ..] = *self.header;
        flags & 0x40 != 0
    }

    /// Returns whether the packet is a fragment, the first one included.
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        let [_, _, _, _, _, _, flags, offset, ..] = *self.header;
        flags & 0x3f != 0 || offset != 0
    }

    /// Returns whether the packet is a fragment without the transport header.
    #[must_use]
    pub const fn is_later_fragment(&self) -> bool {
        let [_, _, _, _, _, _, flags, offset, ..] = *self.header;
        flags & 0x1f != 0 || offset != 0
    }

    /// Returns whether the flags are none, or "don't fragment" alone.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        let [_, _, _, _, _, _, flags, offset, ..] = *self.header;
        flags & !0x40 == 0 && offset == 0
    }
}

/// Walks the options (RFC 791 §3.1): no source route, and every length inside the header.
fn verify_options(mut options: &[u8]) -> Result<(), PacketError> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    loop {
        options = match options {
            [] | [END, ..] => return Ok(()),
            [NO_OPERATION, rest @ ..] => rest,
            [LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE, ..] | [_] => {
                return Err(PacketError::Options);
            }
            [_, len, ..] if *len >= 2 => options
                .get(usize::from(*len)..)
                .ok_or(PacketError::Options)?,
            [..] => return Err(PacketError::Options),
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(options: &[u8], payload: &[u8]) -> Vec<u8> {
        let header_len = FIXED + options.len();
        let mut octets = vec![0; FIXED];
        octets[0] = 0x40 | u8::try_from(header_len / 4).unwrap();
        let total = u16::try_from(header_len + payload.len()).unwrap();
        octets[2..4].copy_from_slice(&total.to_be_bytes());
        octets[6] = 0x40;
        octets[8] = 64;
        octets[9] = 17;
        octets[12..16].copy_from_slice(&[10, 0, 0, 1]);
        octets[16..20].copy_from_slice(&[10, 0, 0, 2]);
        octets.extend_from_slice(options);
        let checksum = Sum::new().bytes(&octets).checksum();
        octets[10..12].copy_from_slice(&checksum);
        octets.extend_from_slice(payload);
        octets
    }

    #[test]
    fn reads_the_fields_and_cuts_the_padding() {
        let mut octets = packet(&[1, 1, 1, 0], b"payload");
        octets.extend_from_slice(&[0; 9]);
        let packet = IpPacket::decode(&octets).unwrap();
        assert_eq!(packet.payload(), b"payload");
        assert_eq!(packet.source(), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(packet.destination(), Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(packet.protocol(), Protocol::Udp);
        assert!(packet.dont_fragment());
        assert!(!packet.is_fragment());
        assert_eq!(packet.verify_header(), Ok(()));
    }

    #[test]
    fn refuses_lengths_that_lie() {
        let good = packet(&[], b"1234");
        for len in 0..good.len() {
            assert_eq!(
                IpPacket::decode(&good[..len]).err(),
                Some(PacketError::Truncated)
            );
        }
        let mut short_header = good.clone();
        short_header[0] = 0x44;
        assert_eq!(
            IpPacket::decode(&short_header).err(),
            Some(PacketError::HeaderLength)
        );
        let mut long_header = good.clone();
        long_header[0] = 0x4f;
        assert_eq!(
            IpPacket::decode(&long_header).err(),
            Some(PacketError::HeaderLength)
        );
        let mut six = good;
        six[0] = 0x65;
        assert_eq!(IpPacket::decode(&six).err(), Some(PacketError::Version(6)));
    }

    #[test]
    fn refuses_source_routes_and_broken_options() {
        for (options, expected) in [
            (&[131, 7, 4, 10, 0, 0, 9, 0][..], Err(PacketError::Options)),
            (&[1, 137, 7, 4, 10, 0, 0, 9], Err(PacketError::Options)),
            (&[7, 7, 4, 0, 0, 0, 0, 0], Ok(())),
            (&[148, 4, 0, 0], Ok(())),
            (&[68, 1, 0, 0], Err(PacketError::Options)),
            (&[68, 0, 0, 0], Err(PacketError::Options)),
            (&[68, 40, 0, 0], Err(PacketError::Options)),
            (&[1, 1, 1, 68], Err(PacketError::Options)),
            (&[0, 131, 3, 4], Ok(())),
        ] {
            let octets = packet(options, b"x");
            let packet = IpPacket::decode(&octets).unwrap();
            assert_eq!(packet.verify_header(), expected, "{options:?}");
        }
    }

    #[test]
    fn notices_a_wrong_header_checksum() {
        let mut octets = packet(&[], b"x");
        octets[8] -= 1;
        let packet = IpPacket::decode(&octets).unwrap();
        assert_eq!(packet.verify_header(), Err(PacketError::Checksum));
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..128)) {
            if let Ok(packet) = IpPacket::decode(&octets) {
                prop_assert!(packet.verify_header().is_ok() || !octets.is_empty());
                prop_assert!(packet.payload().len() + packet.header_len() <= octets.len());
            }
        }
    }
}
