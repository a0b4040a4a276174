//! Packets of LCP, the NCPs, PAP and CHAP: code, identifier, length, data; and options (RFC 1661 §5, §6).
//!
//! ```text
//!  0                   1                   2                   3
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     Code      |  Identifier   |            Length             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |    Data ...
//! ```
//!
//! Octets behind Length are padding and ignored; a Length below 4 or beyond the frame is an error, and so is an option
//! whose length is below 2 or leaves the packet.

use crate::wire::{Decode, DecodeError, Reader, open_enum};

open_enum! {
    /// What an LCP or NCP packet is.
    pub struct Code(u8) {
        /// Configure-Request.
        CONFIGURE_REQUEST = 1,
        /// Configure-Ack.
        CONFIGURE_ACK = 2,
        /// Configure-Nak.
        CONFIGURE_NAK = 3,
        /// Configure-Reject.
        CONFIGURE_REJECT = 4,
        /// Terminate-Request.
        TERMINATE_REQUEST = 5,
        /// Terminate-Ack.
        TERMINATE_ACK = 6,
        /// Code-Reject.
        CODE_REJECT = 7,
        /// Protocol-Reject (LCP only).
        PROTOCOL_REJECT = 8,
        /// Echo-Request (LCP only).
        ECHO_REQUEST = 9,
        /// Echo-Reply (LCP only).
        ECHO_REPLY = 10,
        /// Discard-Request (LCP only).
        DISCARD_REQUEST = 11,
        /// Identification (RFC 1570 §2.1): received, never sent by the server.
        IDENTIFICATION = 12,
        /// Time-Remaining (RFC 1570 §2.2): received, never sent.
        TIME_REMAINING = 13,
    }
}

/// One control packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet<'a> {
    /// The code; its meaning depends on the protocol.
    pub code: u8,
    /// What matches an answer to its request.
    pub identifier: u8,
    /// What follows the length.
    pub data: &'a [u8],
}

impl<'a> Decode<'a> for Packet<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let code = r.u8("Code")?;
        let identifier = r.u8("Identifier")?;
        let length = usize::from(r.u16("Length")?);
        let data = length
            .checked_sub(HEADER)
            .ok_or(DecodeError::Length { field: "Length" })?;
        let data = r.bytes(data, "Data")?;
        Ok(Self {
            code,
            identifier,
            data,
        })
    }
}

/// Octets ahead of the data.
pub const HEADER: usize = 4;

/// Appends a control packet; nothing is appended when the data do not fit into a 16-bit length.
pub fn append(out: &mut Vec<u8>, code: u8, identifier: u8, data: &[u8]) {
    let Ok(length) = u16::try_from(data.len().saturating_add(HEADER)) else {
        return;
    };
    out.extend([code, identifier]);
    out.extend(length.to_be_bytes());
    out.extend(data);
}

/// One configuration option.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConfigureOption<'a> {
    /// The number that the protocol's registry gives it.
    pub kind: u8,
    /// What follows the length.
    pub value: &'a [u8],
}

/// The options of a Configure packet, proved to be well formed; iterating over them cannot fail.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    bytes: &'a [u8],
}

impl<'a> Options<'a> {
    /// Proves that `bytes` are options to the end.
    pub fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        while !r.is_empty() {
            read_option(&mut r)?;
        }
        Ok(Self { bytes })
    }

    /// Walks the options in order.
    pub fn iter(self) -> impl Iterator<Item = ConfigureOption<'a>> {
        let mut r = Reader::new(self.bytes);
        core::iter::from_fn(move || read_option(&mut r).ok())
    }

    /// Returns the octets.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }
}

/// Reads one option.
fn read_option<'a>(r: &mut Reader<'a>) -> Result<ConfigureOption<'a>, DecodeError> {
    let kind = r.u8("Type")?;
    let length = usize::from(r.u8("Length")?);
    let length = length
        .checked_sub(2)
        .ok_or(DecodeError::Length { field: "Length" })?;
    let value = r.bytes(length, "Data")?;
    Ok(ConfigureOption { kind, value })
}

/// Appends an option; nothing is appended when its value is longer than 253 octets.
pub fn append_option(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let Ok(length) = u8::try_from(value.len().saturating_add(2)) else {
        return;
    };
    out.extend([kind, length]);
    out.extend(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignores_padding_and_refuses_wrong_lengths() {
        let packet = Packet::decode(&mut Reader::new(&[1, 7, 0, 6, 8, 9, 0, 0])).unwrap();
        assert_eq!(
            (packet.code, packet.identifier, packet.data),
            (1, 7, &[8, 9][..])
        );
        for bad in [
            &[][..],
            &[1],
            &[1, 1, 0],
            &[1, 1, 0, 3],
            &[1, 1, 0, 5],
            &[1, 1, 0xff, 0xff, 1],
        ] {
            assert!(Packet::decode(&mut Reader::new(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn option_lengths_0_1_and_255_are_errors() {
        for length in [0, 1, 255] {
            assert!(Options::new(&[1, length, 5, 6]).is_err(), "{length}");
        }
        assert!(Options::new(&[1, 4, 5, 6, 7]).is_err());
        let options = Options::new(&[1, 4, 5, 6, 7, 2]).unwrap();
        let kinds: Vec<_> = options.iter().map(|o| (o.kind, o.value.len())).collect();
        assert_eq!(kinds, [(1, 2), (7, 0)]);
    }

    #[test]
    fn what_is_appended_can_be_read() {
        let mut options = Vec::new();
        append_option(&mut options, 5, &[1, 2, 3, 4]);
        append_option(&mut options, 6, &[0; 254]);
        let mut out = Vec::new();
        append(&mut out, 1, 2, &options);
        assert_eq!(out, [1, 2, 0, 10, 5, 6, 1, 2, 3, 4]);
    }
}
