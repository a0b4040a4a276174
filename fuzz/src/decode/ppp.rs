//! PPP frames and the control packets in them: LCP, IPCP, PAP, CHAP.

use causeway_proto::ppp::control::{HEADER, Options, Packet, append, append_option};
use causeway_proto::ppp::frame::{header, split};
use causeway_proto::wire::Decode;

/// Splits any bytes, reads the packet and its options, and writes them again.
pub fn ppp(bytes: &[u8]) {
    if let Ok((protocol, information)) = split(bytes) {
        assert!(information.len() < bytes.len());
        let again = [&header(protocol)[..], information].concat();
        assert_eq!(split(&again).ok(), Some((protocol, information)));
        control(information);
    }
    control(bytes);
}

fn control(bytes: &[u8]) {
    let Ok(packet) = Packet::decode(&mut causeway_proto::wire::Reader::new(bytes)) else {
        return;
    };
    assert!(packet.data.len() + HEADER <= bytes.len());
    let mut again = Vec::new();
    append(&mut again, packet.code, packet.identifier, packet.data);
    assert_eq!(again, bytes[..again.len()]);
    let Ok(options) = Options::new(packet.data) else {
        return;
    };
    let mut again = Vec::new();
    for option in options.iter() {
        append_option(&mut again, option.kind, option.value);
    }
    assert_eq!(
        again, packet.data,
        "options that are proved well formed come back"
    );
}
