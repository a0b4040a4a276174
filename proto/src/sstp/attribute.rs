//! The attributes of control messages ([MS-SSTP] §2.2.4 to §2.2.8).
//!
//! ```text
//! +---------------+---------------+-------+-----------------------+
//! |   Reserved    |  AttributeID  |   R   |        Length         |
//! +---------------+---------------+-------+-----------------------+
//! |  Value (Length - 4 octets) ...
//! ```
//!
//! Reserved bits are ignored. What a message makes of an attribute (missing, twice, unknown) is up to the call.

use crate::wire::{BufferFull, Decode, DecodeError, Encode, Reader, Writer, open_enum};

open_enum! {
    /// The number of an attribute ([MS-SSTP] §2.2.4).
    pub struct AttributeId(u8) {
        /// Stands only inside a Status Info that reports no error.
        NO_ERROR = 0,
        /// Encapsulated Protocol ID.
        ENCAPSULATED_PROTOCOL = 1,
        /// Status Info.
        STATUS_INFO = 2,
        /// Crypto Binding.
        CRYPTO_BINDING = 3,
        /// Crypto Binding Request.
        CRYPTO_BINDING_REQUEST = 4,
    }
}

open_enum! {
    /// What a Status Info reports ([MS-SSTP] §2.2.8).
    pub struct Status(u32) {
        /// Nothing is wrong.
        NO_ERROR = 0,
        /// An attribute stands there twice.
        DUPLICATE_ATTRIBUTE = 1,
        /// An attribute is unknown.
        UNRECOGNIZED_ATTRIBUTE = 2,
        /// The length of an attribute is wrong.
        INVALID_ATTRIB_VALUE_LENGTH = 3,
        /// The value of an attribute is not supported.
        VALUE_NOT_SUPPORTED = 4,
        /// A message was not expected in this state.
        UNACCEPTED_FRAME_RECEIVED = 5,
        /// Too many Call Connect Naks.
        RETRY_COUNT_EXCEEDED = 6,
        /// A message could not be read.
        INVALID_FRAME_RECEIVED = 7,
        /// The negotiation timer expired.
        NEGOTIATION_TIMEOUT = 8,
        /// An attribute does not belong into this message.
        ATTRIB_NOT_SUPPORTED_IN_MSG = 9,
        /// An attribute is missing.
        REQUIRED_ATTRIBUTE_MISSING = 10,
        /// A Status Info does not belong into this message.
        STATUS_INFO_NOT_SUPPORTED_IN_MSG = 11,
    }
}

/// The octets ahead of a value.
const HEAD_LEN: usize = 4;
/// The only encapsulated protocol there is.
pub(super) const PROTOCOL_PPP: u16 = 1;
/// The largest copy of an offending value inside a Status Info ([MS-SSTP] §2.2.8).
const MAX_COPY: usize = 64;

/// A hash that crypto binding may use ([MS-SSTP] §2.2.6).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum HashProtocol {
    /// `CERT_HASH_PROTOCOL_SHA1`.
    Sha1,
    /// `CERT_HASH_PROTOCOL_SHA256`.
    Sha256,
}

impl HashProtocol {
    /// Every hash, the strongest first.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha1];

    /// Returns the bit in the mask.
    #[must_use]
    pub const fn bit(self) -> u8 {
        match self {
            Self::Sha1 => 1,
            Self::Sha256 => 2,
        }
    }

    /// Returns the hash whose bit is the only one set in `mask`.
    #[must_use]
    pub const fn from_bit(mask: u8) -> Option<Self> {
        match mask {
            1 => Some(Self::Sha1),
            2 => Some(Self::Sha256),
            _ => None,
        }
    }

    /// Returns the mask that offers all of `hashes`.
    #[must_use]
    pub fn mask(hashes: &[Self]) -> u8 {
        hashes.iter().fold(0, |mask, hash| mask | hash.bit())
    }

    /// Returns the word for the configuration and the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }
}

/// One attribute as it stands on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attribute<'a> {
    /// Its number.
    pub id: AttributeId,
    /// What stands behind the four octets of its head.
    pub value: &'a [u8],
}

impl<'a> Decode<'a> for Attribute<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        r.u8("Reserved")?;
        let id = AttributeId(r.u8("AttributeID")?);
        let len = usize::from(r.u16("LengthPacket")? & 0x0fff);
        let len = len.checked_sub(HEAD_LEN).ok_or(DecodeError::Length {
            field: "LengthPacket",
        })?;
        let value = r.bytes(len, "Value")?;
        Ok(Self { id, value })
    }
}

impl Encode for Attribute<'_> {
    fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.u8(0)?;
        w.u8(self.id.0)?;
        let length = w.open(2)?;
        w.bytes(self.value)?;
        w.close(length)
    }
}

/// What went wrong, or that nothing did ([MS-SSTP] §2.2.8).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StatusInfo {
    /// The attribute that is to blame.
    pub attribute: AttributeId,
    /// What is wrong with it.
    pub status: Status,
    /// The beginning of the offending value, at most 64 octets.
    pub value: Vec<u8>,
}

impl StatusInfo {
    /// The status of a clean end.
    pub const CLEAN: Self = Self::new(AttributeId::NO_ERROR, Status::NO_ERROR);

    /// Makes a status without a copy of the value.
    #[must_use]
    pub const fn new(attribute: AttributeId, status: Status) -> Self {
        Self {
            attribute,
            status,
            value: Vec::new(),
        }
    }

    /// Adds the beginning of the offending value.
    #[must_use]
    pub fn with_value(mut self, value: &[u8]) -> Self {
        self.value = value.iter().copied().take(MAX_COPY).collect();
        self
    }
}

impl<'a> Decode<'a> for StatusInfo {
    /// Reads the value of the attribute.
    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        r.bytes(3, "Reserved1")?;
        let attribute = AttributeId(r.u8("AttribID")?);
        let status = Status(r.u32("Status")?);
        Ok(Self::new(attribute, status).with_value(r.rest()))
    }
}

impl Encode for StatusInfo {
    /// Writes the whole attribute.
    fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.u8(0)?;
        w.u8(AttributeId::STATUS_INFO.0)?;
        let length = w.open(2)?;
        w.zeros(3)?;
        w.u8(self.attribute.0)?;
        w.u32(self.status.0)?;
        w.bytes(&self.value)?;
        w.close(length)
    }
}

/// What the server wants bound ([MS-SSTP] §2.2.6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CryptoBindingRequest {
    /// The hashes that the client may choose from, as bits.
    pub hashes: u8,
    /// What makes this binding different from every other.
    pub nonce: [u8; 32],
}

impl<'a> Decode<'a> for CryptoBindingRequest {
    /// Reads the value of the attribute.
    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        r.bytes(3, "Reserved1")?;
        let hashes = r.u8("Hash Protocol Bitmask")?;
        let nonce = r.array("Nonce")?;
        r.finish()?;
        Ok(Self { hashes, nonce })
    }
}

impl Encode for CryptoBindingRequest {
    /// Writes the whole attribute.
    fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.u8(0)?;
        w.u8(AttributeId::CRYPTO_BINDING_REQUEST.0)?;
        let length = w.open(2)?;
        w.zeros(3)?;
        w.u8(self.hashes)?;
        w.bytes(&self.nonce)?;
        w.close(length)
    }
}

/// The client's proof that PPP and TLS end in the same machine ([MS-SSTP] §2.2.7).
///
/// The 20 octets of SHA-1 values have 12 zeros behind them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CryptoBinding {
    /// The bit of the chosen hash, as it came.
    pub hash: u8,
    /// The server's nonce.
    pub nonce: [u8; 32],
    /// The hash of the certificate that the server showed.
    pub certificate_hash: [u8; 32],
    /// The compound MAC.
    pub mac: [u8; 32],
}

impl<'a> Decode<'a> for CryptoBinding {
    /// Reads the value of the attribute.
    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        r.bytes(3, "Reserved1")?;
        let hash = r.u8("Hash Protocol")?;
        let nonce = r.array("Nonce")?;
        let certificate_hash = r.array("Cert Hash")?;
        let mac = r.array("Compound MAC")?;
        r.finish()?;
        Ok(Self {
            hash,
            nonce,
            certificate_hash,
            mac,
        })
    }
}

impl Encode for CryptoBinding {
    /// Writes the whole attribute.
    fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.u8(0)?;
        w.u8(AttributeId::CRYPTO_BINDING.0)?;
        let length = w.open(2)?;
        w.zeros(3)?;
        w.u8(self.hash)?;
        w.bytes(&self.nonce)?;
        w.bytes(&self.certificate_hash)?;
        w.bytes(&self.mac)?;
        w.close(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_truncation_of_an_attribute_is_an_error() {
        let mut bytes = Vec::new();
        let binding = CryptoBinding {
            hash: 2,
            nonce: [1; 32],
            certificate_hash: [2; 32],
            mac: [3; 32],
        };
        binding.append_to(&mut bytes, 200).unwrap();
        assert_eq!(bytes.len(), 104);
        for len in 0..bytes.len() {
            assert!(Attribute::decode_exact(&bytes[..len]).is_err(), "{len}");
        }
        let attribute = Attribute::decode_exact(&bytes).unwrap();
        assert_eq!(attribute.id, AttributeId::CRYPTO_BINDING);
        for len in 0..attribute.value.len() {
            assert!(CryptoBinding::decode_exact(&attribute.value[..len]).is_err());
        }
        assert_eq!(CryptoBinding::decode_exact(attribute.value), Ok(binding));
    }

    #[test]
    fn masks_the_reserved_bits_of_the_length() {
        let attribute = Attribute::decode_exact(&[0xff, 1, 0xf0, 6, 0, 1]).unwrap();
        assert_eq!(attribute.id, AttributeId::ENCAPSULATED_PROTOCOL);
        assert_eq!(attribute.value, [0, 1]);
    }

    #[test]
    fn a_length_shorter_than_the_head_is_an_error() {
        for len in 0..4 {
            assert!(Attribute::decode_exact(&[0, 1, 0, len, 0, 0, 0]).is_err());
        }
    }

    #[test]
    fn a_status_copies_at_most_64_octets() {
        let status =
            StatusInfo::new(AttributeId(9), Status::UNRECOGNIZED_ATTRIBUTE).with_value(&[7; 1000]);
        let mut bytes = Vec::new();
        status.append_to(&mut bytes, 200).unwrap();
        assert_eq!(bytes.len(), 12 + 64);
        let attribute = Attribute::decode_exact(&bytes).unwrap();
        assert_eq!(StatusInfo::decode_exact(attribute.value), Ok(status));
    }

    #[test]
    fn exactly_one_bit_names_a_hash() {
        let named = (0..=u8::MAX).filter_map(HashProtocol::from_bit).count();
        assert_eq!(named, 2);
        for hash in HashProtocol::ALL {
            assert_eq!(HashProtocol::from_bit(hash.bit()), Some(hash));
        }
        assert_eq!(HashProtocol::mask(&HashProtocol::ALL), 3);
        assert_eq!(HashProtocol::mask(&[]), 0);
    }
}
