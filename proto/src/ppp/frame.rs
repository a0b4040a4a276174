//! The PPP frame inside an SSTP data packet: address and control field, protocol field, information (RFC 1661 §2).
//!
//! ```text
//! +----------+----------+----------+-------------+
//! | FF 03    | Protocol | Information            |
//! | 0 or 2   | 1 or 2   | *                      |
//! +----------+----------+----------+-------------+
//! ```
//!
//! We always send `FF 03` and two octets of protocol. On receipt either may be missing, although we never agree to
//! that (Address-and-Control-Field-Compression, Protocol-Field-Compression). There is no stuffing and no FCS.

use crate::wire::{DecodeError, Reader, open_enum};

open_enum! {
    /// A PPP protocol number.
    pub struct Protocol(u16) {
        /// An IPv4 packet.
        IPV4 = 0x0021,
        /// A Multilink fragment (RFC 1990).
        MULTILINK = 0x003d,
        /// An IPv6 packet.
        IPV6 = 0x0057,
        /// IPCP (RFC 1332).
        IPCP = 0x8021,
        /// ECP (RFC 1968).
        ECP = 0x8053,
        /// IPV6CP (RFC 5072).
        IPV6CP = 0x8057,
        /// CCP (RFC 1962).
        CCP = 0x80fd,
        /// LCP (RFC 1661).
        LCP = 0xc021,
        /// PAP (RFC 1334).
        PAP = 0xc023,
        /// CBCP, Microsoft's callback control.
        CBCP = 0xc029,
        /// BACP (RFC 2125).
        BACP = 0xc02b,
        /// CHAP (RFC 1994).
        CHAP = 0xc223,
        /// EAP (RFC 3748).
        EAP = 0xc227,
    }
}

impl Protocol {
    /// Returns whether this is a network control protocol, which is silent until the peer is authenticated.
    #[must_use]
    pub const fn is_network_control(self) -> bool {
        matches!(self.0, 0x8000..=0xbfff)
    }

    /// Returns whether this carries network data.
    #[must_use]
    pub const fn is_network_data(self) -> bool {
        matches!(self.0, 0x0000..=0x3fff)
    }
}

/// Address and control field: all stations, unnumbered information.
const ADDRESS_CONTROL: [u8; 2] = [0xff, 0x03];

/// Splits a frame into its protocol and its information.
pub fn split(frame: &[u8]) -> Result<(Protocol, &[u8]), DecodeError> {
    let mut r = Reader::new(frame.strip_prefix(&ADDRESS_CONTROL).unwrap_or(frame));
    let high = r.u8("Protocol")?;
    let protocol = if high & 1 == 1 {
        u16::from(high)
    } else {
        u16::from_be_bytes([high, r.u8("Protocol")?])
    };
    if protocol & 1 == 0 {
        return Err(DecodeError::Value { field: "Protocol" });
    }
    Ok((Protocol(protocol), r.rest()))
}

/// Returns the header that we send.
#[must_use]
pub const fn header(protocol: Protocol) -> [u8; 4] {
    let [address, control] = ADDRESS_CONTROL;
    let [high, low] = protocol.0.to_be_bytes();
    [address, control, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_full_and_compressed_headers() {
        assert_eq!(
            split(&[0xff, 3, 0xc0, 0x21, 9]),
            Ok((Protocol::LCP, &[9][..]))
        );
        assert_eq!(split(&[0xc0, 0x21, 9]), Ok((Protocol::LCP, &[9][..])));
        assert_eq!(split(&[0xff, 3, 0x21, 9]), Ok((Protocol::IPV4, &[9][..])));
        assert_eq!(split(&[0x21]), Ok((Protocol::IPV4, &[][..])));
        assert_eq!(header(Protocol::LCP), [0xff, 3, 0xc0, 0x21]);
    }

    #[test]
    fn refuses_what_has_no_protocol() {
        for frame in [
            &[][..],
            &[0xff, 3],
            &[0xc0],
            &[0xff, 3, 0xc0],
            &[0xc0, 0x20, 1],
        ] {
            assert!(split(frame).is_err(), "{frame:?}");
        }
    }
}
