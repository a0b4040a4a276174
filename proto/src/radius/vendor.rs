//! Microsoft's attributes inside Vendor-Specific (RFC 2865 §5.26, RFC 2548, [MS-RNAS] §2.2.1).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Type = 26    |    Length     |       Vendor-Id = 311
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!       (cont.)                   |  Vendor-Type  | Vendor-Length |  Value ...
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! One Vendor-Specific may hold several of them. What other vendors put behind their number is not looked at.

use super::{Attribute, AttributeList, AttributeType, Attributes};
use crate::wire::{DecodeError, Reader, open_enum};

/// Microsoft's number.
pub const MICROSOFT: u32 = 311;

open_enum! {
    /// The type of a Microsoft attribute.
    pub struct MicrosoftType(u8) {
        /// MS-CHAP-Error (RFC 2548 §2.1.5).
        CHAP_ERROR = 2,
        /// MS-CHAP-NT-Enc-PW (RFC 2548 §2.2).
        CHAP_NT_ENC_PW = 6,
        /// MS-RAS-Vendor (RFC 2548 §2.5.1).
        RAS_VENDOR = 9,
        /// MS-CHAP-Challenge (RFC 2548 §2.1.2).
        CHAP_CHALLENGE = 11,
        /// MS-MPPE-Send-Key (RFC 2548 §2.4.2).
        MPPE_SEND_KEY = 16,
        /// MS-MPPE-Recv-Key (RFC 2548 §2.4.3).
        MPPE_RECV_KEY = 17,
        /// MS-RAS-Version (RFC 2548 §2.5.2).
        RAS_VERSION = 18,
        /// MS-Acct-Auth-Type (RFC 2548 §2.6.3).
        ACCT_AUTH_TYPE = 23,
        /// MS-CHAP2-Response (RFC 2548 §2.3.2).
        CHAP2_RESPONSE = 25,
        /// MS-CHAP2-Success (RFC 2548 §2.3.3).
        CHAP2_SUCCESS = 26,
        /// MS-CHAP2-CPW (RFC 2548 §2.3.4).
        CHAP2_CPW = 27,
        /// MS-Primary-DNS-Server (RFC 2548 §2.7.3).
        PRIMARY_DNS_SERVER = 28,
        /// MS-Secondary-DNS-Server (RFC 2548 §2.7.4).
        SECONDARY_DNS_SERVER = 29,
        /// MS-Primary-NBNS-Server (RFC 2548 §2.7.5).
        PRIMARY_NBNS_SERVER = 30,
        /// MS-Secondary-NBNS-Server (RFC 2548 §2.7.6).
        SECONDARY_NBNS_SERVER = 31,
        /// MS-RAS-Client-Name ([MS-RNAS] §2.2.1.2).
        RAS_CLIENT_NAME = 34,
        /// MS-RAS-Client-Version ([MS-RNAS] §2.2.1.1).
        RAS_CLIENT_VERSION = 35,
        /// MS-Network-Access-Server-Type ([MS-RNAS] §2.2.1.4).
        NETWORK_ACCESS_SERVER_TYPE = 47,
        /// MS-RAS-Correlation-ID ([MS-RNAS]).
        RAS_CORRELATION_ID = 56,
    }
}

/// The content of a Vendor-Specific attribute.
#[derive(Clone, Debug)]
pub struct VendorSpecific<'a> {
    vendor: u32,
    content: &'a [u8],
}

impl<'a> VendorSpecific<'a> {
    /// Reads the value of a Vendor-Specific attribute.
    pub fn decode(value: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(value);
        Ok(Self {
            vendor: r.u32("Vendor-Id")?,
            content: r.rest(),
        })
    }

    /// Walks Microsoft's attributes; none when the vendor is another. The numbers are [`MicrosoftType`]'s.
    #[must_use]
    pub const fn microsoft(&self) -> Attributes<'a> {
        if self.vendor == MICROSOFT {
            Attributes::new(self.content)
        } else {
            Attributes::new(&[])
        }
    }
}

/// Returns which of Microsoft's an attribute from [`VendorSpecific::microsoft`] is.
#[must_use]
pub const fn microsoft_type(attribute: &Attribute<'_>) -> MicrosoftType {
    MicrosoftType(attribute.kind.0)
}

impl AttributeList {
    /// Adds one of Microsoft's in a Vendor-Specific of its own.
    pub fn push_microsoft(&mut self, kind: MicrosoftType, value: &[u8]) -> &mut Self {
        let mut inner = Self::new();
        inner.push(AttributeType(kind.0), value);
        // A value too long for the inner length is too long for the outer one as well, which remembers it.
        let mut content = MICROSOFT.to_be_bytes().to_vec();
        content.extend_from_slice(inner.finish().unwrap_or(&[0; super::MAX_VALUE]));
        self.push(AttributeType::VENDOR_SPECIFIC, &content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_attribute_may_hold_several() {
        let value = [0, 0, 1, 55, 28, 6, 10, 0, 0, 1, 29, 6, 10, 0, 0, 2];
        let vendor = VendorSpecific::decode(&value).unwrap();
        let all: Vec<_> = vendor.microsoft().map(Result::unwrap).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(microsoft_type(&all[0]), MicrosoftType::PRIMARY_DNS_SERVER);
        assert_eq!(all[1].ipv4("x"), Ok([10, 0, 0, 2].into()));
    }

    #[test]
    fn other_vendors_are_opaque_and_a_short_number_is_an_error() {
        let cisco = VendorSpecific::decode(&[0, 0, 0, 9, 1, 0]).unwrap();
        assert_eq!(cisco.microsoft().count(), 0);
        assert!(VendorSpecific::decode(&[0, 0, 1]).is_err());
        let bad = VendorSpecific::decode(&[0, 0, 1, 55, 1, 0]).unwrap();
        assert!(bad.microsoft().all(|a| a.is_err()));
    }

    #[test]
    fn a_value_that_does_not_fit_is_remembered() {
        let mut list = AttributeList::new();
        list.push_microsoft(MicrosoftType::CHAP_ERROR, &[b'E'; 247]);
        assert!(list.finish().is_some());
        list.push_microsoft(MicrosoftType::CHAP_ERROR, &[b'E'; 248]);
        assert!(list.finish().is_none());
        let mut list = AttributeList::new();
        list.push_microsoft(MicrosoftType::CHAP_ERROR, &[b'E'; 400]);
        assert!(list.finish().is_none());
    }
}
