//! Who wrote a packet: request and response authenticator (RFC 2865 §3), Message-Authenticator (RFC 3579 §3.2).
//!
//! The response authenticator alone proves nothing since CVE-2024-3596, so the Message-Authenticator stands first in
//! every request and is demanded of replies. All comparisons take constant time.

use subtle::ConstantTimeEq;
use thiserror::Error;

use super::{AttributeType, Code, MAX_LEN, Packet};
use crate::crypto::legacy::{hmac_md5, md5_of};
use crate::wire::Encode;

/// Where the value of a Message-Authenticator stands that is the first attribute, counted from the first attribute.
const VALUE: core::ops::Range<usize> = 2..18;

/// What a Message-Authenticator looks like before it is computed.
pub const EMPTY_MESSAGE_AUTHENTICATOR: [u8; 16] = [0; 16];

/// What a reply had to show.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MessageAuthenticator {
    /// One was there, and it is right.
    Verified,
    /// None was there; the response authenticator is right.
    Absent,
}

/// Why a reply is not believed.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Forged {
    /// The response authenticator is wrong: another secret, another request, or a forgery.
    #[error("response authenticator is wrong")]
    ResponseAuthenticator,
    /// The Message-Authenticator is wrong, of a wrong size, or there is more than one.
    #[error("Message-Authenticator is wrong")]
    MessageAuthenticator,
}

/// Computes the Message-Authenticator of a packet whose first attribute is an empty one; returns its attributes whole.
///
/// `authenticator` is the request authenticator: a request's own, and for a reply that of the request.
#[must_use]
pub fn with_message_authenticator(
    packet: &Packet<'_>,
    authenticator: &[u8; 16],
    secret: &[u8],
) -> Vec<u8> {
    let mut attributes = packet.attribute_octets().to_vec();
    let mac = hmac_md5(secret, &[&packet.head(), authenticator, &attributes]);
    if let Some(value) = attributes.get_mut(VALUE) {
        value.copy_from_slice(&mac);
    }
    attributes
}

/// Returns the response authenticator of a reply (RFC 2865 §3).
#[must_use]
pub fn response_authenticator(
    reply: &Packet<'_>,
    request_authenticator: &[u8; 16],
    secret: &[u8],
) -> [u8; 16] {
    md5_of(&[
        &reply.head(),
        request_authenticator,
        reply.attribute_octets(),
        secret,
    ])
}

/// Makes a whole reply; `attributes` begin with an [`EMPTY_MESSAGE_AUTHENTICATOR`] if it is to have one.
///
/// `None` when it would be longer than a packet may be. For the server's side.
#[must_use]
pub fn sign_reply(
    code: Code,
    identifier: u8,
    attributes: &[u8],
    request_authenticator: &[u8; 16],
    secret: &[u8],
) -> Option<Vec<u8>> {
    let unsigned = Packet::new(code, identifier, *request_authenticator, attributes)?;
    let first = unsigned.attributes().next().and_then(Result::ok);
    let attributes = match first {
        Some(first) if first.kind == AttributeType::MESSAGE_AUTHENTICATOR => {
            with_message_authenticator(&unsigned, request_authenticator, secret)
        }
        _ => attributes.to_vec(),
    };
    let mut reply = Packet::new(code, identifier, *request_authenticator, &attributes)?;
    reply.authenticator = response_authenticator(&reply, request_authenticator, secret);
    let mut out = Vec::new();
    reply.append_to(&mut out, MAX_LEN).ok()?;
    Some(out)
}

/// Checks a reply to the request with `request_authenticator`.
///
/// # Errors
///
/// When the reply must be thrown away unread. Attributes that cannot be walked to the end are looked at as far as they
/// go: the Message-Authenticator covers all octets.
pub fn verify_reply(
    reply: &Packet<'_>,
    request_authenticator: &[u8; 16],
    secret: &[u8],
) -> Result<MessageAuthenticator, Forged> {
    let expected = response_authenticator(reply, request_authenticator, secret);
    if !bool::from(expected.ct_eq(&reply.authenticator)) {
        return Err(Forged::ResponseAuthenticator);
    }
    verify_message_authenticator(reply, request_authenticator, secret)
}

/// Checks the Message-Authenticator of a packet, if it has one; `authenticator` is the request authenticator.
///
/// # Errors
///
/// When there is more than one, or it is wrong.
pub fn verify_message_authenticator(
    packet: &Packet<'_>,
    authenticator: &[u8; 16],
    secret: &[u8],
) -> Result<MessageAuthenticator, Forged> {
    let mut zeroed = Vec::with_capacity(packet.attribute_octets().len());
    let mut found: Option<[u8; 16]> = None;
    for attribute in packet.attributes().map_while(Result::ok) {
        let Ok(len) = u8::try_from(attribute.value.len().saturating_add(2)) else {
            return Err(Forged::MessageAuthenticator);
        };
        zeroed.extend_from_slice(&[attribute.kind.0, len]);
        if attribute.kind == AttributeType::MESSAGE_AUTHENTICATOR {
            let value = attribute
                .array("Message-Authenticator")
                .map_err(|_| Forged::MessageAuthenticator)?;
            if found.replace(value).is_some() {
                return Err(Forged::MessageAuthenticator);
            }
            zeroed.extend_from_slice(&EMPTY_MESSAGE_AUTHENTICATOR);
        } else {
            zeroed.extend_from_slice(attribute.value);
        }
    }
    let Some(found) = found else {
        return Ok(MessageAuthenticator::Absent);
    };
    // What lies behind the first bad attribute is covered as it stands.
    zeroed.extend_from_slice(
        packet
            .attribute_octets()
            .get(zeroed.len()..)
            .unwrap_or_default(),
    );
    let expected = hmac_md5(secret, &[&packet.head(), authenticator, &zeroed]);
    if bool::from(expected.ct_eq(&found)) {
        Ok(MessageAuthenticator::Verified)
    } else {
        Err(Forged::MessageAuthenticator)
    }
}

#[cfg(test)]
mod tests {
    use super::super::AttributeList;
    use super::*;

    const SECRET: &[u8] = b"xyzzy5461";
    const REQUEST: [u8; 16] = [7; 16];

    #[test]
    fn the_response_authenticator_matches_rfc_2865() {
        // RFC 2865 §7.1: the Access-Accept for nemo.
        let request = [
            0x0f, 0x40, 0x3f, 0x94, 0x73, 0x97, 0x80, 0x57, 0xbd, 0x83, 0xd5, 0xcb, 0x98, 0xf4,
            0x22, 0x7a,
        ];
        let response = [
            0x86, 0xfe, 0x22, 0x0e, 0x76, 0x24, 0xba, 0x2a, 0x10, 0x05, 0xf6, 0xbf, 0x9b, 0x55,
            0xe0, 0xb2,
        ];
        let attributes = [
            0x06, 0x06, 0x00, 0x00, 0x00, 0x01, 0x0f, 0x06, 0x00, 0x00, 0x00, 0x00, 0x0e, 0x06,
            0xc0, 0xa8, 0x01, 0x03,
        ];
        let reply = Packet::new(Code::ACCESS_ACCEPT, 0, response, &attributes).unwrap();
        assert_eq!(
            verify_reply(&reply, &request, SECRET),
            Ok(MessageAuthenticator::Absent)
        );
        assert_eq!(
            verify_reply(&reply, &request, b"xyzzy5462"),
            Err(Forged::ResponseAuthenticator)
        );
    }

    /// Signs both ways and returns the attributes and the authenticator.
    fn signed(list: &AttributeList, mac_secret: &[u8]) -> (Vec<u8>, [u8; 16]) {
        let octets = list.finish().unwrap();
        let packet = Packet::new(Code::ACCESS_ACCEPT, 1, REQUEST, octets).unwrap();
        let attributes = with_message_authenticator(&packet, &REQUEST, mac_secret);
        let packet = Packet::new(Code::ACCESS_ACCEPT, 1, REQUEST, &attributes).unwrap();
        let authenticator = response_authenticator(&packet, &REQUEST, SECRET);
        (attributes, authenticator)
    }

    fn verdict(attributes: &[u8], authenticator: [u8; 16]) -> Result<MessageAuthenticator, Forged> {
        let reply = Packet::new(Code::ACCESS_ACCEPT, 1, authenticator, attributes).unwrap();
        verify_reply(&reply, &REQUEST, SECRET)
    }

    #[test]
    fn a_wrong_message_authenticator_is_forged_even_when_the_response_authenticator_is_right() {
        let mut list = AttributeList::new();
        list.push(
            AttributeType::MESSAGE_AUTHENTICATOR,
            &EMPTY_MESSAGE_AUTHENTICATOR,
        )
        .push(AttributeType::CLASS, b"x");
        let (attributes, authenticator) = signed(&list, SECRET);
        assert_eq!(
            verdict(&attributes, authenticator),
            Ok(MessageAuthenticator::Verified)
        );
        let (attributes, authenticator) = signed(&list, b"other");
        assert_eq!(
            verdict(&attributes, authenticator),
            Err(Forged::MessageAuthenticator)
        );
    }

    #[test]
    fn two_or_short_message_authenticators_are_forged() {
        let mut twice = AttributeList::new();
        twice
            .push(
                AttributeType::MESSAGE_AUTHENTICATOR,
                &EMPTY_MESSAGE_AUTHENTICATOR,
            )
            .push(
                AttributeType::MESSAGE_AUTHENTICATOR,
                &EMPTY_MESSAGE_AUTHENTICATOR,
            );
        let (attributes, authenticator) = signed(&twice, SECRET);
        assert_eq!(
            verdict(&attributes, authenticator),
            Err(Forged::MessageAuthenticator)
        );
        let mut short = AttributeList::new();
        short
            .push(AttributeType::MESSAGE_AUTHENTICATOR, &[0; 15])
            .push(AttributeType::CLASS, b"x");
        let (attributes, authenticator) = signed(&short, SECRET);
        assert_eq!(
            verdict(&attributes, authenticator),
            Err(Forged::MessageAuthenticator)
        );
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut list = AttributeList::new();
        list.push(
            AttributeType::MESSAGE_AUTHENTICATOR,
            &EMPTY_MESSAGE_AUTHENTICATOR,
        )
        .push(AttributeType::CLASS, b"class");
        let (attributes, authenticator) = signed(&list, SECRET);
        for at in 0..attributes.len() * 8 {
            let mut bent = attributes.clone();
            bent[at / 8] ^= 1 << (at % 8);
            assert!(verdict(&bent, authenticator).is_err(), "bit {at}");
        }
    }
}
