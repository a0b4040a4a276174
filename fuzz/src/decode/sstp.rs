//! SSTP packets: the header, attributes, control messages.

use causeway_proto::sstp::message::{Control, Message};
use causeway_proto::sstp::packet::{HEADER_LEN, Header, Kind, MAX_LEN};
use causeway_proto::wire::Decode;

/// Walks any bytes as a stream of packets and reads every control message in it.
pub fn sstp(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some(header)) = Header::peek(rest) {
        assert!((HEADER_LEN..=MAX_LEN).contains(&header.len));
        let Some(packet) = rest.get(..header.len) else {
            break;
        };
        if header.kind == Kind::Control {
            control(packet);
        }
        rest = &rest[header.len..];
    }
    control(bytes);
}

fn control(packet: &[u8]) {
    if let Ok(control) = Control::decode_exact(packet) {
        let attributes: Vec<_> = control.attributes().collect();
        assert!(
            attributes.len() <= packet.len() / 4 + 1,
            "more attributes than octets for them"
        );
        let errors = attributes.iter().filter(|a| a.is_err()).count();
        assert!(errors == 0 || (errors == 1 && attributes.last().is_some_and(Result::is_err)));
        let _ = control.status();
    }
    if let Ok(message) = Message::decode_exact(packet) {
        let again = message.to_bytes();
        assert!(
            (8..=200).contains(&again.len()),
            "a message of {} octets",
            again.len()
        );
        assert_eq!(Message::decode_exact(&again), Ok(message));
    }
}
