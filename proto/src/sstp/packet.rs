//! The four octets ahead of every SSTP packet ([MS-SSTP] §2.2.1).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+-------------+-+-------+-----------------------+
//! | Version (10h) |  Reserved   |C|   R   |        Length         |
//! +---------------+-------------+-+-------+-----------------------+
//! ```
//!
//! The reserved bits are masked away; a version other than 1.0 and a length under 4 cannot be delineated.

use thiserror::Error;

/// The octets of the header.
pub const HEADER_LEN: usize = 4;
/// The largest packet, header included: what 12 bits of length can say.
pub const MAX_LEN: usize = 4095;
/// The largest PPP frame in a packet.
pub const MAX_FRAME: usize = MAX_LEN - HEADER_LEN;
/// The octets of [`data_header`].
pub const DATA_HEADER_LEN: usize = 8;

/// Major 1, minor 0.
const VERSION: u8 = 0x10;
/// The C bit: a control packet.
const CONTROL: u8 = 0x01;
/// The 12 bits of the length.
const LENGTH_MASK: u16 = 0x0fff;

/// The stream cannot be divided into packets any more; it is closed without a word ([MS-SSTP] §3.1.5.1).
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Broken {
    /// The version is not 1.0.
    #[error("version {found:#04x} of an SSTP packet is not 0x10")]
    Version {
        /// The octet that stood there.
        found: u8,
    },
    /// The length does not even cover the header.
    #[error("length {found} of an SSTP packet is shorter than its header")]
    Length {
        /// The length that stood there.
        found: u16,
    },
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A control message.
    Control,
    /// One PPP frame.
    Data,
}

/// The header of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// What the packet carries.
    pub kind: Kind,
    /// The octets of the packet, these four included; 4 to 4095.
    pub len: usize,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` when more octets are needed.
    ///
    /// # Errors
    ///
    /// A wrong version is noticed from the first octet on.
    pub fn peek(bytes: &[u8]) -> Result<Option<Self>, Broken> {
        match *bytes {
            [] => Ok(None),
            [found, ..] if found != VERSION => Err(Broken::Version { found }),
            [_, flags, high, low, ..] => {
                let found = u16::from_be_bytes([high, low]) & LENGTH_MASK;
                let len = usize::from(found);
                if len < HEADER_LEN {
                    return Err(Broken::Length { found });
                }
                let kind = if flags & CONTROL == 0 {
                    Kind::Data
                } else {
                    Kind::Control
                };
                Ok(Some(Self { kind, len }))
            }
            _ => Ok(None),
        }
    }

    /// Returns the four octets.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let flags = match self.kind {
            Kind::Control => CONTROL,
            Kind::Data => 0,
        };
        let [high, low] = u16::try_from(self.len)
            .unwrap_or(LENGTH_MASK)
            .min(LENGTH_MASK)
            .to_be_bytes();
        [VERSION, flags, high, low]
    }
}

/// Writes the 8 octets `10 00 len len FF 03 00 21` for an inner IPv4 packet of `len` octets.
///
/// A packet that does not fit has no header: callers keep to an MTU of at most 4087.
#[must_use]
pub const fn data_header(len: u16) -> [u8; DATA_HEADER_LEN] {
    let [high, low] = (len.saturating_add(8) & LENGTH_MASK).to_be_bytes();
    [VERSION, 0, high, low, 0xff, 0x03, 0x00, 0x21]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_control_and_data() {
        let control = Header::peek(&[0x10, 0x01, 0x00, 0x0e, 0xaa]);
        assert_eq!(
            control,
            Ok(Some(Header {
                kind: Kind::Control,
                len: 14
            }))
        );
        let data = Header::peek(&[0x10, 0x00, 0x0f, 0xff]);
        assert_eq!(
            data,
            Ok(Some(Header {
                kind: Kind::Data,
                len: 4095
            }))
        );
    }

    #[test]
    fn masks_the_reserved_bits() {
        assert_eq!(
            Header::peek(&[0x10, 0xff, 0xf0, 0x08]),
            Ok(Some(Header {
                kind: Kind::Control,
                len: 8
            }))
        );
        assert_eq!(
            Header::peek(&[0x10, 0xfe, 0x70, 0x04]),
            Ok(Some(Header {
                kind: Kind::Data,
                len: 4
            }))
        );
    }

    #[test]
    fn waits_for_four_octets() {
        for len in 0..4 {
            assert_eq!(Header::peek(&[0x10, 0x01, 0x00, 0x08][..len]), Ok(None));
        }
    }

    #[test]
    fn says_what_cannot_be_delineated() {
        for found in (0..=u8::MAX).filter(|octet| *octet != 0x10) {
            assert_eq!(Header::peek(&[found]), Err(Broken::Version { found }));
        }
        for found in 0..4 {
            let [high, low] = found_with_reserved_bits(found);
            assert_eq!(
                Header::peek(&[0x10, 0, high, low]),
                Err(Broken::Length { found })
            );
        }
    }

    fn found_with_reserved_bits(len: u16) -> [u8; 2] {
        (len | 0xf000).to_be_bytes()
    }

    #[test]
    fn writes_what_it_reads() {
        for kind in [Kind::Control, Kind::Data] {
            for len in [4, 8, 14, 1408, 4095] {
                let header = Header { kind, len };
                assert_eq!(Header::peek(&header.to_bytes()), Ok(Some(header)));
            }
        }
    }

    #[test]
    fn a_data_header_frames_one_ip_packet() {
        assert_eq!(data_header(20), [0x10, 0, 0, 28, 0xff, 3, 0, 0x21]);
        assert_eq!(data_header(1400), [0x10, 0, 5, 0x80, 0xff, 3, 0, 0x21]);
    }
}
