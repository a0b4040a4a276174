//! Datagrams between other people's RADIUS programs: recorded live, or read from `tests/vectors`; and what ours must
//! make of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use causeway_proto::radius::accounting::decode_request;
use causeway_proto::radius::authenticator::{
    MessageAuthenticator, verify_message_authenticator, verify_reply,
};
use causeway_proto::radius::dynamic_authorization::{Request, verify};
use causeway_proto::radius::hidden::reveal_password;
use causeway_proto::radius::{AttributeType, Code, Packet};
use causeway_proto::wire::Decode;

/// One datagram.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Datagram {
    /// Who sent it.
    pub from: String,
    /// Its octets.
    pub bytes: Vec<u8>,
}

/// Reads the lines of a vector file: the sender and the octets in hexadecimal.
#[must_use]
pub fn parse(text: &str) -> Vec<Datagram> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (from, hex) = line.split_once(' ').unwrap();
            let octet = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            Datagram {
                from: from.to_owned(),
                bytes: (0..hex.len()).step_by(2).map(octet).collect(),
            }
        })
        .collect()
}

/// Writes such lines.
#[must_use]
pub fn print(datagrams: &[Datagram]) -> String {
    let mut text = String::new();
    for Datagram { from, bytes } in datagrams {
        text += from;
        text.push(' ');
        for octet in bytes {
            write!(text, "{octet:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}

/// Decodes and verifies everything with our codec and returns how often which code was seen.
///
/// `secret` is that of all of them, `wall` the time at which they were recorded; a PAP password must be "wonderland".
#[must_use]
pub fn check(datagrams: &[Datagram], secret: &[u8], wall: u64) -> BTreeMap<u8, usize> {
    let mut open: BTreeMap<u8, [u8; 16]> = BTreeMap::new();
    let mut seen = BTreeMap::new();
    for Datagram { from, bytes } in datagrams {
        let packet = Packet::decode_exact(bytes).unwrap_or_else(|e| panic!("{from}: {e}"));
        *seen.entry(packet.code.0).or_default() += 1;
        for attribute in packet.attributes() {
            attribute.unwrap_or_else(|e| panic!("{from}: {e}"));
        }
        match packet.code {
            Code::ACCESS_REQUEST | Code::STATUS_SERVER => {
                let signed =
                    verify_message_authenticator(&packet, &packet.authenticator, secret).unwrap();
                let has = |kind| {
                    let mut all = packet.attributes().map(Result::unwrap);
                    all.find(|attribute| attribute.kind == kind)
                };
                let must =
                    has(AttributeType::EAP_MESSAGE).is_some() || packet.code == Code::STATUS_SERVER;
                assert!(!must || signed == MessageAuthenticator::Verified, "{from}");
                if let Some(hidden) = has(AttributeType::USER_PASSWORD) {
                    let clear = reveal_password(hidden.value, secret, &packet.authenticator);
                    assert_eq!(clear.unwrap().expose(), b"wonderland", "{from}");
                }
                open.insert(packet.identifier, packet.authenticator);
            }
            Code::ACCOUNTING_REQUEST => {
                let report = decode_request(bytes, secret).unwrap();
                assert_eq!(report.session, b"capture", "{from}");
                open.insert(packet.identifier, packet.authenticator);
            }
            Code::DISCONNECT_REQUEST | Code::COA_REQUEST => {
                let packet =
                    verify(bytes, wall, secret).unwrap_or_else(|e| panic!("{from}: {e:?}"));
                Request::read(&packet).unwrap_or_else(|e| panic!("{from}: {e:?}"));
            }
            _ => {
                let request = open[&packet.identifier];
                verify_reply(&packet, &request, secret)
                    .unwrap_or_else(|e| panic!("{from}: {:?}: {e:?}", packet.code));
            }
        }
    }
    seen
}
