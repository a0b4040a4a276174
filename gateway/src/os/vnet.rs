//! The virtio-net header that stands in front of every packet of a TUN with offload (virtio 1.2 §5.1.6).
//!
//! ```text
//! flags u8 | gso_type u8 | hdr_len u16 | gso_size u16 | csum_start u16 | csum_offset u16
//! ```
//!
//! Numbers are in the machine's own order, as the kernel's legacy header has them. `hdr_len` is written, because the
//! kernel wants it, and never believed: on the forward path it covers whatever the driver had at hand.

/// The length of the header.
pub const LEN: usize = 10;

/// The largest packet that may stand behind the header.
pub const MAX_PACKET: usize = 65_535;

/// What the packet behind the header is a train of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Gso {
    /// One packet.
    #[default]
    None,
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP, segmented (USO).
    Udp,
    /// A number that the kernel was not asked for.
    Unknown(u8),
}

const TCP4: u8 = 1;
const TCP6: u8 = 4;
const UDP_L4: u8 = 5;
const ECN: u8 = 0x80;
const NEEDS_CSUM: u8 = 1;

impl Gso {
    const fn from_number(number: u8) -> Self {
        match number & !ECN {
            0 => Self::None,
            TCP4 => Self::Tcp4,
            TCP6 => Self::Tcp6,
            UDP_L4 => Self::Udp,
            other => Self::Unknown(other),
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Tcp4 => TCP4,
            Self::Tcp6 => TCP6,
            Self::Udp => UDP_L4,
            Self::Unknown(number) => number,
        }
    }
}

/// Where a checksum is still to be computed: from `start` to the end, stored at `start + offset`; the field holds the
/// folded sum of the pseudo header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PartialChecksum {
    /// Where the summed octets begin.
    pub start: u16,
    /// Where the field stands, counted from `start`.
    pub offset: u16,
}

/// The header, read or to be written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Header {
    /// The checksum to complete.
    pub checksum: Option<PartialChecksum>,
    /// The kind of train.
    pub gso: Gso,
    /// The payload octets in each segment but the last; 0 for a single packet.
    pub gso_size: u16,
    /// The length of all headers, a hint.
    pub header_len: u16,
}

impl Header {
    /// Reads the header.
    #[must_use]
    pub const fn decode(octets: &[u8; LEN]) -> Self {
        let [flags, gso, h0, h1, g0, g1, s0, s1, o0, o1] = *octets;
        let checksum = if flags & NEEDS_CSUM == 0 {
            None
        } else {
            Some(PartialChecksum {
                start: u16::from_ne_bytes([s0, s1]),
                offset: u16::from_ne_bytes([o0, o1]),
            })
        };
        Self {
            checksum,
            gso: Gso::from_number(gso),
            gso_size: u16::from_ne_bytes([g0, g1]),
            header_len: u16::from_ne_bytes([h0, h1]),
        }
    }

    /// Writes the header.
    #[must_use]
    pub const fn encode(&self) -> [u8; LEN] {
        let (flags, start, offset) = match self.checksum {
            None => (0, 0, 0),
            Some(checksum) => (NEEDS_CSUM, checksum.start, checksum.offset),
        };
        let [h0, h1] = self.header_len.to_ne_bytes();
        let [g0, g1] = self.gso_size.to_ne_bytes();
        let [s0, s1] = start.to_ne_bytes();
        let [o0, o1] = offset.to_ne_bytes();
        [flags, self.gso.number(), h0, h1, g0, g1, s0, s1, o0, o1]
    }
}

/// The header of one packet with nothing left to do.
pub const PLAIN: [u8; LEN] = [0; LEN];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_its_octets() {
        for gso in [Gso::None, Gso::Tcp4, Gso::Tcp6, Gso::Udp, Gso::Unknown(3)] {
            for checksum in [
                None,
                Some(PartialChecksum {
                    start: 20,
                    offset: 16,
                }),
            ] {
                let header = Header {
                    checksum,
                    gso,
                    gso_size: 1348,
                    header_len: 52,
                };
                assert_eq!(Header::decode(&header.encode()), header);
            }
        }
        assert_eq!(Header::default().encode(), PLAIN);
    }

    #[test]
    fn the_ecn_bit_is_no_kind_of_its_own() {
        let mut octets = PLAIN;
        octets[1] = 0x81;
        assert_eq!(Header::decode(&octets).gso, Gso::Tcp4);
    }
}
