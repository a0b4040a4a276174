//! What a TUN with offload hands over: the vnet header and the train behind it, cut into packets.

use causeway::dataplane::segment::Train;
use causeway::os::vnet::{Gso, Header, LEN};
use causeway_proto::ip::{IpPacket, PacketError, Protocol};

/// Cuts any bytes; what comes out are whole packets that hold the train's payload once and in order.
pub fn vnet(bytes: &[u8]) {
    let Some((header, octets)) = bytes.split_first_chunk::<LEN>() else {
        return;
    };
    let header = Header::decode(header);
    assert_eq!(Header::decode(&header.encode()), header);
    let Ok(train) = Train::parse(&header, octets) else {
        return;
    };
    let mut payload: Vec<u8> = Vec::new();
    let mut out = vec![0; 65_535];
    for index in 0..train.count() {
        let packet = &mut out[..train.len_of(index)];
        packet.fill(0xaa);
        train.write(index, packet);
        if header.gso == Gso::None {
            assert_eq!(train.count(), 1);
            return;
        }
        let packet = IpPacket::decode(packet).expect("a segment is a packet");
        // The options are the train's own; whether they are carried is asked elsewhere.
        let verdict = packet.verify_header();
        assert!(
            matches!(verdict, Ok(()) | Err(PacketError::Options)),
            "a segment's header: {verdict:?}"
        );
        assert_eq!(packet.addresses(), train.packet().addresses());
        payload.extend(body(&packet));
    }
    assert_eq!(payload, body(train.packet()), "the payload of {header:?}");
}

fn body<'a>(packet: &IpPacket<'a>) -> &'a [u8] {
    let segment = packet.payload();
    let header = if packet.protocol() == Protocol::Tcp {
        usize::from(segment[12] >> 4) * 4
    } else {
        8
    };
    &segment[header..]
}
