//! The packet around the attributes (RFC 2865 §3).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     Code      |  Identifier   |            Length             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                         Authenticator (16)                    |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Attributes ...
//! +-+-+-+-+-+-+-+-+-+-+-+-+-
//! ```
//!
//! Octets of the datagram behind `Length` are padding and ignored, as the section says; a datagram shorter than
//! `Length` is an error. The attributes are not walked here ([`Attributes`] does), because whether the packet is
//! authentic is asked first.

use super::Attributes;
use crate::wire::{BufferFull, Decode, DecodeError, Encode, Reader, Writer, open_enum};

/// The smallest packet: a header without attributes.
pub const MIN_LEN: usize = 20;

/// The largest packet (RFC 2865 §3).
pub const MAX_LEN: usize = 4096;

open_enum! {
    /// The kind of a packet (RFC 2865 §4, RFC 2866 §4, RFC 5997 §2, RFC 5176 §2.3).
    pub struct Code(u8) {
        /// Access-Request.
        ACCESS_REQUEST = 1,
        /// Access-Accept.
        ACCESS_ACCEPT = 2,
        /// Access-Reject.
        ACCESS_REJECT = 3,
        /// Accounting-Request.
        ACCOUNTING_REQUEST = 4,
        /// Accounting-Response.
        ACCOUNTING_RESPONSE = 5,
        /// Access-Challenge.
        ACCESS_CHALLENGE = 11,
        /// Status-Server.
        STATUS_SERVER = 12,
        /// Disconnect-Request.
        DISCONNECT_REQUEST = 40,
        /// Disconnect-ACK.
        DISCONNECT_ACK = 41,
        /// Disconnect-NAK.
        DISCONNECT_NAK = 42,
        /// CoA-Request.
        COA_REQUEST = 43,
        /// CoA-ACK.
        COA_ACK = 44,
        /// CoA-NAK.
        COA_NAK = 45,
    }
}

/// A packet as it came; nothing in it is to be believed before [`super::authenticator`] has spoken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet<'a> {
    /// Code.
    pub code: Code,
    /// Identifier.
    pub identifier: u8,
    /// Authenticator.
    pub authenticator: [u8; 16],
    /// Everything behind the header, up to `Length`.
    attributes: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Puts a packet together; `None` when it would be longer than [`MAX_LEN`].
    #[must_use]
    pub fn new(
        code: Code,
        identifier: u8,
        authenticator: [u8; 16],
        attributes: &'a [u8],
    ) -> Option<Self> {
        (attributes.len() <= MAX_LEN.saturating_sub(MIN_LEN)).then_some(Self {
            code,
            identifier,
            authenticator,
            attributes,
        })
    }

    /// Walks the attributes.
    #[must_use]
    pub const fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.attributes)
    }

    /// Returns the octets behind the header.
    #[must_use]
    pub const fn attribute_octets(&self) -> &'a [u8] {
        self.attributes
    }

    /// Returns the first four octets, as they stand ahead of the authenticator in every digest.
    #[must_use]
    pub fn head(&self) -> [u8; 4] {
        // `new` and `decode` hold the length below 4097.
        let len = u16::try_from(MIN_LEN.saturating_add(self.attributes.len())).unwrap_or(u16::MAX);
        let [high, low] = len.to_be_bytes();
        [self.code.0, self.identifier, high, low]
    }
}

impl<'a> Decode<'a> for Packet<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let code = Code(r.u8("Code")?);
        let identifier = r.u8("Identifier")?;
        let len = usize::from(r.u16("Length")?);
        if !(MIN_LEN..=MAX_LEN).contains(&len) {
            return Err(DecodeError::Length { field: "Length" });
        }
        let authenticator = r.array("Authenticator")?;
        let attributes = r.bytes(len.saturating_sub(MIN_LEN), "Attributes")?;
        r.rest();
        Ok(Self {
            code,
            identifier,
            authenticator,
            attributes,
        })
    }
}

impl Encode for Packet<'_> {
    fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.bytes(&self.head())?;
        w.bytes(&self.authenticator)?;
        w.bytes(self.attributes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decodes_the_example_of_rfc_2865() {
        // RFC 2865 §7.1: nemo's Access-Request.
        let bytes = [
            0x01, 0x00, 0x00, 0x38, 0x0f, 0x40, 0x3f, 0x94, 0x73, 0x97, 0x80, 0x57, 0xbd, 0x83,
            0xd5, 0xcb, 0x98, 0xf4, 0x22, 0x7a, 0x01, 0x06, 0x6e, 0x65, 0x6d, 0x6f, 0x02, 0x12,
            0x0d, 0xbe, 0x70, 0x8d, 0x93, 0xd4, 0x13, 0xce, 0x31, 0x96, 0xe4, 0x3f, 0x78, 0x2a,
            0x0a, 0xee, 0x04, 0x06, 0xc0, 0xa8, 0x01, 0x10, 0x05, 0x06, 0x00, 0x00, 0x00, 0x03,
        ];
        let packet = Packet::decode_exact(&bytes).unwrap();
        assert_eq!(packet.code, Code::ACCESS_REQUEST);
        assert_eq!(packet.identifier, 0);
        let lens: Vec<_> = packet
            .attributes()
            .map(|a| a.map(|a| (a.kind.0, a.value.len())).unwrap())
            .collect();
        assert_eq!(lens, [(1, 4), (2, 16), (4, 4), (5, 4)]);
        let mut out = Vec::new();
        packet.append_to(&mut out, MAX_LEN).unwrap();
        assert_eq!(out, bytes);
        for end in 0..bytes.len() {
            assert!(Packet::decode_exact(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn ignores_padding_but_not_a_short_length() {
        let mut bytes = vec![2, 7, 0, 20];
        bytes.extend([0; 16]);
        bytes.extend([0xff; 9]);
        let packet = Packet::decode_exact(&bytes).unwrap();
        assert!(packet.attribute_octets().is_empty());
        for len in [0u16, 19, 4097, 65535] {
            bytes[2..4].copy_from_slice(&len.to_be_bytes());
            assert_eq!(
                Packet::decode_exact(&bytes),
                Err(DecodeError::Length { field: "Length" })
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_without_panic(bytes: Vec<u8>) {
            if let Ok(packet) = Packet::decode_exact(&bytes) {
                prop_assert!(packet.attributes().count() <= bytes.len());
            }
        }

        #[test]
        fn what_was_encoded_decodes(
            code: u8,
            identifier: u8,
            authenticator: [u8; 16],
            attributes in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let packet = Packet::new(Code(code), identifier, authenticator, &attributes).unwrap();
            let mut out = Vec::new();
            packet.append_to(&mut out, MAX_LEN).unwrap();
            prop_assert_eq!(Packet::decode_exact(&out), Ok(packet));
        }
    }
}
