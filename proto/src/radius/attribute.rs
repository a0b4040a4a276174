//! Attributes (RFC 2865 §5).
//!
//! ```text
//!  0                   1                   2
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-
//! |     Type      |    Length     |  Value ...
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-
//! ```
//!
//! `Length` counts its own two octets; one below that is an error and ends the walk.

use std::net::{IpAddr, Ipv4Addr};

use crate::wire::{BufferFull, Decode, DecodeError, Encode, Reader, Writer, open_enum};

/// The largest value: what is left of a one-octet length.
pub const MAX_VALUE: usize = 253;

open_enum! {
    /// The type of an attribute; those that this crate sends or reads.
    pub struct AttributeType(u8) {
        /// User-Name (RFC 2865 §5.1).
        USER_NAME = 1,
        /// User-Password (RFC 2865 §5.2).
        USER_PASSWORD = 2,
        /// CHAP-Password (RFC 2865 §5.3).
        CHAP_PASSWORD = 3,
        /// NAS-IP-Address (RFC 2865 §5.4).
        NAS_IP_ADDRESS = 4,
        /// NAS-Port (RFC 2865 §5.5).
        NAS_PORT = 5,
        /// Service-Type (RFC 2865 §5.6).
        SERVICE_TYPE = 6,
        /// Framed-Protocol (RFC 2865 §5.7).
        FRAMED_PROTOCOL = 7,
        /// Framed-IP-Address (RFC 2865 §5.8).
        FRAMED_IP_ADDRESS = 8,
        /// Filter-Id (RFC 2865 §5.11).
        FILTER_ID = 11,
        /// Framed-MTU (RFC 2865 §5.12).
        FRAMED_MTU = 12,
        /// Reply-Message (RFC 2865 §5.18).
        REPLY_MESSAGE = 18,
        /// Framed-Route (RFC 2865 §5.22).
        FRAMED_ROUTE = 22,
        /// State (RFC 2865 §5.24).
        STATE = 24,
        /// Class (RFC 2865 §5.25).
        CLASS = 25,
        /// Vendor-Specific (RFC 2865 §5.26).
        VENDOR_SPECIFIC = 26,
        /// Session-Timeout (RFC 2865 §5.27).
        SESSION_TIMEOUT = 27,
        /// Idle-Timeout (RFC 2865 §5.28).
        IDLE_TIMEOUT = 28,
        /// Called-Station-Id (RFC 2865 §5.30).
        CALLED_STATION_ID = 30,
        /// Calling-Station-Id (RFC 2865 §5.31).
        CALLING_STATION_ID = 31,
        /// NAS-Identifier (RFC 2865 §5.32).
        NAS_IDENTIFIER = 32,
        /// Proxy-State (RFC 2865 §5.33): never sent, because NPS drops it.
        PROXY_STATE = 33,
        /// Acct-Status-Type (RFC 2866 §5.1).
        ACCT_STATUS_TYPE = 40,
        /// Acct-Delay-Time (RFC 2866 §5.2).
        ACCT_DELAY_TIME = 41,
        /// Acct-Input-Octets (RFC 2866 §5.3).
        ACCT_INPUT_OCTETS = 42,
        /// Acct-Output-Octets (RFC 2866 §5.4).
        ACCT_OUTPUT_OCTETS = 43,
        /// Acct-Session-Id (RFC 2866 §5.5).
        ACCT_SESSION_ID = 44,
        /// Acct-Authentic (RFC 2866 §5.6).
        ACCT_AUTHENTIC = 45,
        /// Acct-Session-Time (RFC 2866 §5.7).
        ACCT_SESSION_TIME = 46,
        /// Acct-Input-Packets (RFC 2866 §5.8).
        ACCT_INPUT_PACKETS = 47,
        /// Acct-Output-Packets (RFC 2866 §5.9).
        ACCT_OUTPUT_PACKETS = 48,
        /// Acct-Terminate-Cause (RFC 2866 §5.10).
        ACCT_TERMINATE_CAUSE = 49,
        /// Acct-Input-Gigawords (RFC 2869 §5.1).
        ACCT_INPUT_GIGAWORDS = 52,
        /// Acct-Output-Gigawords (RFC 2869 §5.2).
        ACCT_OUTPUT_GIGAWORDS = 53,
        /// Event-Timestamp (RFC 2869 §5.3).
        EVENT_TIMESTAMP = 55,
        /// CHAP-Challenge (RFC 2865 §5.40).
        CHAP_CHALLENGE = 60,
        /// NAS-Port-Type (RFC 2865 §5.41).
        NAS_PORT_TYPE = 61,
        /// Tunnel-Type (RFC 2868 §3.1).
        TUNNEL_TYPE = 64,
        /// Tunnel-Medium-Type (RFC 2868 §3.2).
        TUNNEL_MEDIUM_TYPE = 65,
        /// Tunnel-Client-Endpoint (RFC 2868 §3.3).
        TUNNEL_CLIENT_ENDPOINT = 66,
        /// Tunnel-Server-Endpoint (RFC 2868 §3.4).
        TUNNEL_SERVER_ENDPOINT = 67,
        /// Connect-Info (RFC 2869 §5.11).
        CONNECT_INFO = 77,
        /// EAP-Message (RFC 3579 §3.1).
        EAP_MESSAGE = 79,
        /// Message-Authenticator (RFC 3579 §3.2).
        MESSAGE_AUTHENTICATOR = 80,
        /// Acct-Interim-Interval (RFC 2869 §5.16).
        ACCT_INTERIM_INTERVAL = 85,
        /// Framed-Pool (RFC 2869 §5.18).
        FRAMED_POOL = 88,
        /// NAS-IPv6-Address (RFC 3162 §2.1).
        NAS_IPV6_ADDRESS = 95,
        /// Error-Cause (RFC 5176 §3.5).
        ERROR_CAUSE = 101,
    }
}

/// One attribute; its value is at most [`MAX_VALUE`] octets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attribute<'a> {
    /// Type.
    pub kind: AttributeType,
    /// Value.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// Reads an integer: exactly four octets.
    pub fn u32(&self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// Reads an IPv4 address: exactly four octets.
    pub fn ipv4(&self, field: &'static str) -> Result<Ipv4Addr, DecodeError> {
        self.array(field).map(|octets: [u8; 4]| octets.into())
    }

    /// Reads a text: UTF-8, at least one octet (RFC 2865 §5 forbids none), no control characters.
    pub fn text(&self, field: &'static str) -> Result<&'a str, DecodeError> {
        let text =
            core::str::from_utf8(self.octets(field)?).map_err(|_| DecodeError::Value { field })?;
        if text.chars().any(char::is_control) {
            return Err(DecodeError::Value { field });
        }
        Ok(text)
    }

    /// Reads a string of any octets, at least one.
    pub const fn octets(&self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        if self.value.is_empty() {
            return Err(DecodeError::Length { field });
        }
        Ok(self.value)
    }

    /// Reads exactly `N` octets.
    pub fn array<const N: usize>(&self, field: &'static str) -> Result<[u8; N], DecodeError> {
        self.value
            .try_into()
            .map_err(|_| DecodeError::Length { field })
    }
}

impl<'a> Decode<'a> for Attribute<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let kind = AttributeType(r.u8("Type")?);
        let len = usize::from(r.u8("Length")?);
        let value_len = len
            .checked_sub(2)
            .ok_or(DecodeError::Length { field: "Length" })?;
        Ok(Self {
            kind,
            value: r.bytes(value_len, "Value")?,
        })
    }
}

impl Encode for Attribute<'_> {
    fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        let len = u8::try_from(self.value.len().saturating_add(2)).map_err(|_| BufferFull)?;
        w.u8(self.kind.0)?;
        w.u8(len)?;
        w.bytes(self.value)
    }
}

/// Walks attributes; every step takes at least two octets, and the first error is the last item.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: Reader<'a>,
}

impl<'a> Attributes<'a> {
    /// Starts at the first attribute.
    #[must_use]
    pub const fn new(octets: &'a [u8]) -> Self {
        Self {
            rest: Reader::new(octets),
        }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let attribute = Attribute::decode(&mut self.rest);
        if attribute.is_err() {
            self.rest.rest();
        }
        Some(attribute)
    }
}

impl core::iter::FusedIterator for Attributes<'_> {}

/// Collects the attributes of a packet that is being made, in the order of the calls.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AttributeList {
    octets: Vec<u8>,
    overflow: bool,
}

impl AttributeList {
    /// Starts with none.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one attribute; [`AttributeList::finish`] fails later when the value was longer than [`MAX_VALUE`].
    pub fn push(&mut self, kind: AttributeType, value: &[u8]) -> &mut Self {
        let attribute = Attribute { kind, value };
        self.overflow |= attribute.append_to(&mut self.octets, 255).is_err();
        self
    }

    /// Adds an integer.
    pub fn push_u32(&mut self, kind: AttributeType, value: u32) -> &mut Self {
        self.push(kind, &value.to_be_bytes())
    }

    /// Adds an address as text, without a port and without the IPv6 form of an IPv4 address.
    pub fn push_address_text(&mut self, kind: AttributeType, address: IpAddr) -> &mut Self {
        self.push(kind, address.to_canonical().to_string().as_bytes())
    }

    /// Adds a value that may be longer than one attribute: as many as it needs, in order (EAP-Message, RFC 3579 §3.1).
    pub fn push_split(&mut self, kind: AttributeType, value: &[u8]) -> &mut Self {
        for part in value.chunks(MAX_VALUE) {
            self.push(kind, part);
        }
        self
    }

    /// Returns the octets; `None` when a value did not fit into its attribute.
    #[must_use]
    pub fn finish(&self) -> Option<&[u8]> {
        (!self.overflow).then_some(self.octets.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_length_below_two_ends_the_walk() {
        for len in [0, 1] {
            let bytes = [1, 3, b'a', 2, len, 3, 3, b'b'];
            let all: Vec<_> = Attributes::new(&bytes).collect();
            assert_eq!(all.len(), 2, "length {len}");
            assert!(all[0].is_ok());
            assert_eq!(all[1], Err(DecodeError::Length { field: "Length" }));
        }
    }

    #[test]
    fn a_value_is_as_long_as_its_type_says() {
        let bytes = [0; 5];
        for len in [0, 3, 5] {
            let attribute = Attribute {
                kind: AttributeType::SESSION_TIMEOUT,
                value: &bytes[..len],
            };
            assert!(attribute.u32("x").is_err());
            assert!(attribute.ipv4("x").is_err());
        }
        let text = |value| {
            Attribute {
                kind: AttributeType::FILTER_ID,
                value,
            }
            .text("x")
        };
        assert_eq!(text(b"staff"), Ok("staff"));
        assert!(text(b"").is_err());
        assert!(text(b"a\nb").is_err());
        assert!(text(b"\xff").is_err());
    }

    #[test]
    fn a_long_value_is_split_at_253() {
        let mut list = AttributeList::new();
        list.push_split(AttributeType::EAP_MESSAGE, &[7; 600]);
        let lens: Vec<_> = Attributes::new(list.finish().unwrap())
            .map(|a| a.unwrap().value.len())
            .collect();
        assert_eq!(lens, [253, 253, 94]);
        list.push(AttributeType::CLASS, &[0; 254]);
        assert!(list.finish().is_none());
    }

    proptest! {
        #[test]
        fn a_walk_ends(bytes: Vec<u8>) {
            let steps = Attributes::new(&bytes).count();
            prop_assert!(steps <= bytes.len() / 2 + 1);
        }

        #[test]
        fn what_was_pushed_is_walked(
            pushed in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..=MAX_VALUE)), 0..8)
        ) {
            let mut list = AttributeList::new();
            for (kind, value) in &pushed {
                list.push(AttributeType(*kind), value);
            }
            let walked: Vec<_> = Attributes::new(list.finish().unwrap())
                .map(|a| a.map(|a| (a.kind.0, a.value.to_vec())).unwrap())
                .collect();
            prop_assert_eq!(walked, pushed);
        }
    }
}
