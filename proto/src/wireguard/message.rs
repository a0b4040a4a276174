//! The four messages (whitepaper §5.4.2, §5.4.3, §5.4.6, §5.4.7); all numbers are little-endian.
//!
//! ```text
//!  initiation  148  type 1, 3 × 0 | sender 4 | ephemeral 32 | static 32+16 | timestamp 12+16 | mac1 16 | mac2 16
//!  response     92  type 2, 3 × 0 | sender 4 | receiver 4 | ephemeral 32 | nothing 0+16 | mac1 16 | mac2 16
//!  cookie       64  type 3, 3 × 0 | receiver 4 | nonce 24 | cookie 16+16
//!  data       ≥ 32  type 4, 3 × 0 | receiver 4 | counter 8 | packet …+16
//! ```
//!
//! A message of another length, or whose reserved octets are not zero, is not one of ours.

use crate::wire::{BufferFull, Decode, DecodeError, Encode, Reader, Writer};

/// Octets of the header of a data message.
pub const HEADER: usize = 16;
/// Octets that a data message has besides the padded packet: header and tag.
pub const OVERHEAD: usize = 32;
/// Octets of an initiation.
pub const INITIATION: usize = 148;
/// Octets of a response.
pub const RESPONSE: usize = 92;
/// Octets of a cookie reply.
pub const COOKIE_REPLY: usize = 64;

/// What a datagram is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// The first message of a handshake.
    Initiation,
    /// The second message of a handshake.
    Response,
    /// A cookie, instead of a response.
    CookieReply,
    /// A packet.
    Data,
}

impl Kind {
    /// Returns what a datagram is by its type, its reserved octets and its length; nothing when it is none of ours.
    #[must_use]
    pub fn of(datagram: &[u8]) -> Option<Self> {
        let (head, _) = datagram.split_first_chunk::<4>()?;
        match (*head, datagram.len()) {
            ([1, 0, 0, 0], INITIATION) => Some(Self::Initiation),
            ([2, 0, 0, 0], RESPONSE) => Some(Self::Response),
            ([3, 0, 0, 0], COOKIE_REPLY) => Some(Self::CookieReply),
            ([4, 0, 0, 0], OVERHEAD..) => Some(Self::Data),
            _ => None,
        }
    }

    const fn head(self) -> [u8; 4] {
        match self {
            Self::Initiation => [1, 0, 0, 0],
            Self::Response => [2, 0, 0, 0],
            Self::CookieReply => [3, 0, 0, 0],
            Self::Data => [4, 0, 0, 0],
        }
    }

    fn expect(self, r: &mut Reader<'_>) -> Result<(), DecodeError> {
        if r.array::<4>("Type")? == self.head() {
            Ok(())
        } else {
            Err(DecodeError::Value { field: "Type" })
        }
    }
}

/// The first message of a handshake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Initiation {
    /// The index that the sender wants to be answered by.
    pub sender: u32,
    /// The sender's key for this handshake.
    pub ephemeral: [u8; 32],
    /// The sender's key, sealed.
    pub static_key: [u8; 48],
    /// The time, sealed.
    pub timestamp: [u8; 28],
    /// Shows that the sender knows whom it writes to.
    pub mac1: [u8; 16],
    /// Shows that the sender has a cookie; zero when it has none.
    pub mac2: [u8; 16],
}

impl Decode<'_> for Initiation {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Kind::Initiation.expect(r)?;
        Ok(Self {
            sender: little(r, "Sender")?,
            ephemeral: r.array("Ephemeral")?,
            static_key: r.array("Static")?,
            timestamp: r.array("Timestamp")?,
            mac1: r.array("MAC1")?,
            mac2: r.array("MAC2")?,
        })
    }
}

impl Encode for Initiation {
    fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.bytes(&Kind::Initiation.head())?;
        w.bytes(&self.sender.to_le_bytes())?;
        w.bytes(&self.ephemeral)?;
        w.bytes(&self.static_key)?;
        w.bytes(&self.timestamp)?;
        w.bytes(&self.mac1)?;
        w.bytes(&self.mac2)
    }
}

/// The second message of a handshake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Response {
    /// The index that the sender wants to be answered by.
    pub sender: u32,
    /// The index that the initiator chose.
    pub receiver: u32,
    /// The sender's key for this handshake.
    pub ephemeral: [u8; 32],
    /// Nothing, sealed.
    pub nothing: [u8; 16],
    /// Shows that the sender knows whom it writes to.
    pub mac1: [u8; 16],
    /// Shows that the sender has a cookie; zero when it has none.
    pub mac2: [u8; 16],
}

impl Decode<'_> for Response {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Kind::Response.expect(r)?;
        Ok(Self {
            sender: little(r, "Sender")?,
            receiver: little(r, "Receiver")?,
            ephemeral: r.array("Ephemeral")?,
            nothing: r.array("Empty")?,
            mac1: r.array("MAC1")?,
            mac2: r.array("MAC2")?,
        })
    }
}

impl Encode for Response {
    fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.bytes(&Kind::Response.head())?;
        w.bytes(&self.sender.to_le_bytes())?;
        w.bytes(&self.receiver.to_le_bytes())?;
        w.bytes(&self.ephemeral)?;
        w.bytes(&self.nothing)?;
        w.bytes(&self.mac1)?;
        w.bytes(&self.mac2)
    }
}

/// A cookie, instead of a response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CookieReply {
    /// The sender's index of the message that it answers.
    pub receiver: u32,
    /// The nonce of the cookie's seal.
    pub nonce: [u8; 24],
    /// The cookie, sealed.
    pub cookie: [u8; 16],
    /// The seal's tag.
    pub tag: [u8; 16],
}

impl Decode<'_> for CookieReply {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Kind::CookieReply.expect(r)?;
        Ok(Self {
            receiver: little(r, "Receiver")?,
            nonce: r.array("Nonce")?,
            cookie: r.array("Cookie")?,
            tag: r.array("Cookie")?,
        })
    }
}

impl Encode for CookieReply {
    fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.bytes(&Kind::CookieReply.head())?;
        w.bytes(&self.receiver.to_le_bytes())?;
        w.bytes(&self.nonce)?;
        w.bytes(&self.cookie)?;
        w.bytes(&self.tag)
    }
}

/// The header of a data message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DataHeader {
    /// The index that the receiver chose.
    pub receiver: u32,
    /// The number of the message under its key.
    pub counter: u64,
}

impl DataHeader {
    /// Reads a header; nothing when the type or a reserved octet is wrong.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; HEADER]) -> Option<Self> {
        let [4, 0, 0, 0, r1, r2, r3, r4, counter @ ..] = *bytes else {
            return None;
        };
        Some(Self {
            receiver: u32::from_le_bytes([r1, r2, r3, r4]),
            counter: u64::from_le_bytes(counter),
        })
    }

    /// Returns the header as it goes out.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER] {
        let kind = u32::from_le_bytes(Kind::Data.head());
        let (receiver, counter) = (u128::from(self.receiver), u128::from(self.counter));
        (u128::from(kind) | receiver << 32 | counter << 64).to_le_bytes()
    }
}

fn little(r: &mut Reader<'_>, field: &'static str) -> Result<u32, DecodeError> {
    r.array(field).map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use core::fmt::Debug;

    use super::*;

    fn goes_and_comes<'a, M: Decode<'a> + Encode + Debug + Eq>(bytes: &'a [u8], kind: Kind) {
        assert_eq!(Kind::of(bytes), Some(kind));
        let message = M::decode_exact(bytes).unwrap();
        let mut out = Vec::new();
        message.append_to(&mut out, bytes.len()).unwrap();
        assert_eq!(out, bytes);
        for len in 0..bytes.len() {
            assert!(M::decode_exact(&bytes[..len]).is_err());
            assert_eq!(Kind::of(&bytes[..len]), None, "{len}");
        }
    }

    fn numbered(len: usize, kind: u8) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len).map(|at| u8::try_from(at).unwrap()).collect();
        bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
        bytes
    }

    #[test]
    fn messages_are_the_same_after_coming_and_going() {
        goes_and_comes::<Initiation>(&numbered(148, 1), Kind::Initiation);
        goes_and_comes::<Response>(&numbered(92, 2), Kind::Response);
        goes_and_comes::<CookieReply>(&numbered(64, 3), Kind::CookieReply);
    }

    #[test]
    fn fields_are_where_the_whitepaper_draws_them() {
        let bytes = numbered(92, 2);
        let response = Response::decode_exact(&bytes).unwrap();
        assert_eq!(response.sender, 0x0706_0504);
        assert_eq!(response.receiver, 0x0b0a_0908);
        assert_eq!(response.ephemeral[0], 12);
        assert_eq!(response.nothing[0], 44);
        assert_eq!(response.mac1[0], 60);
        assert_eq!(response.mac2[0], 76);
        let header = DataHeader::from_bytes(numbered(16, 4)[..].first_chunk().unwrap()).unwrap();
        assert_eq!(header.receiver, 0x0706_0504);
        assert_eq!(header.counter, 0x0f0e_0d0c_0b0a_0908);
        assert_eq!(header.to_bytes()[..], numbered(16, 4));
    }

    #[test]
    fn other_types_lengths_and_reserved_octets_are_not_ours() {
        for (kind, len) in [(1, 148), (2, 92), (3, 64), (4, 32)] {
            assert!(Kind::of(&numbered(len, kind)).is_some());
            assert_eq!(Kind::of(&numbered(len, kind)).is_some(), kind != 9);
            for reserved in 1..4 {
                let mut bytes = numbered(len, kind);
                bytes[reserved] = 1;
                assert_eq!(Kind::of(&bytes), None);
            }
            for other in [0, 5, 0x45, 0xff] {
                assert_eq!(Kind::of(&numbered(len, other)), None);
            }
        }
        assert_eq!(Kind::of(&numbered(149, 1)), None);
        assert_eq!(Kind::of(&numbered(93, 2)), None);
        assert_eq!(Kind::of(&numbered(65, 3)), None);
        assert_eq!(Kind::of(&numbered(33, 4)), Some(Kind::Data));
    }
}
