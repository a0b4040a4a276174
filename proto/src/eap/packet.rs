//! The EAP packet (RFC 3748 §4).
//!
//! ```text
//!  0                   1                   2                   3
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     Code      |  Identifier   |            Length             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     Type      |  Type-Data ...       (Request and Response)
//! ```
//!
//! Octets behind Length are padding and ignored. Success and Failure have no type and are four octets long.

use crate::wire::{Decode, DecodeError, Reader, open_enum};

open_enum! {
    /// What an EAP packet is.
    pub struct Code(u8) {
        /// From the authenticator.
        REQUEST = 1,
        /// From the peer.
        RESPONSE = 2,
        /// The end, well.
        SUCCESS = 3,
        /// The end, badly.
        FAILURE = 4,
    }
}

open_enum! {
    /// What a Request or a Response is about (RFC 3748 §5).
    pub struct Type(u8) {
        /// Who the peer is.
        IDENTITY = 1,
        /// A text to show.
        NOTIFICATION = 2,
        /// The peer wants another method.
        NAK = 3,
        /// EAP-MSCHAPv2.
        MSCHAPV2 = 26,
    }
}

/// One EAP packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet<'a> {
    /// The code.
    pub code: Code,
    /// What matches a Response to its Request.
    pub identifier: u8,
    /// The type and its data; `None` in Success and Failure.
    pub body: Option<(Type, &'a [u8])>,
}

impl<'a> Decode<'a> for Packet<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let code = Code(r.u8("Code")?);
        let identifier = r.u8("Identifier")?;
        let length = usize::from(r.u16("Length")?);
        let length = length
            .checked_sub(4)
            .ok_or(DecodeError::Length { field: "Length" })?;
        let mut r = r.sub(length, "Data")?;
        let body = match code {
            Code::REQUEST | Code::RESPONSE => Some((Type(r.u8("Type")?), r.rest())),
            Code::SUCCESS | Code::FAILURE => {
                r.finish()?;
                None
            }
            _ => return Err(DecodeError::Value { field: "Code" }),
        };
        Ok(Self {
            code,
            identifier,
            body,
        })
    }
}

impl Packet<'_> {
    /// Reads one packet and ignores what stands behind it.
    pub fn read(bytes: &[u8]) -> Result<Packet<'_>, DecodeError> {
        Packet::decode(&mut Reader::new(bytes))
    }

    /// Returns the octets of the packet; one that is too long for its length field is cut there.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let (kind, data) = match self.body {
            Some((Type(kind), data)) => (Some(kind), data),
            None => (None, &[][..]),
        };
        let head = 4 + usize::from(kind.is_some());
        let data = data
            .get(..data.len().min(usize::from(u16::MAX) - head))
            .unwrap_or_default();
        let length = u16::try_from(head.saturating_add(data.len())).unwrap_or(u16::MAX);
        let mut out = vec![self.code.0, self.identifier];
        out.extend(length.to_be_bytes());
        out.extend(kind);
        out.extend(data);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_no_prefix_of_it() {
        let request = Packet {
            code: Code::REQUEST,
            identifier: 7,
            body: Some((Type::MSCHAPV2, &[1, 2, 3])),
        };
        let bytes = request.to_vec();
        assert_eq!(bytes, [1, 7, 0, 8, 26, 1, 2, 3]);
        assert_eq!(Packet::read(&bytes), Ok(request));
        for end in 0..bytes.len() {
            assert!(Packet::read(&bytes[..end]).is_err());
        }
        let success = Packet {
            code: Code::SUCCESS,
            identifier: 7,
            body: None,
        };
        assert_eq!(success.to_vec(), [3, 7, 0, 4]);
        assert_eq!(Packet::read(&success.to_vec()), Ok(success));
    }

    #[test]
    fn refuses_wrong_lengths_and_codes() {
        for bad in [
            &[1, 7, 0, 4][..],
            &[1, 7, 0, 3, 1],
            &[3, 7, 0, 5, 0],
            &[5, 7, 0, 5, 1],
            &[2, 1, 255, 255, 1],
        ] {
            assert!(Packet::read(bad).is_err(), "{bad:?}");
        }
        assert!(Packet::read(&[2, 7, 0, 5, 1, 9, 9]).is_ok());
    }
}
