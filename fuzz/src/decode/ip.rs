//! The inner packet: the view, MSS clamping, and the ICMP error about it.

use std::net::Ipv4Addr;

use causeway_proto::ip::fragment::Fragments;
use causeway_proto::ip::icmp::{IcmpError, append_error};
use causeway_proto::ip::{IpPacket, mss};

/// Reads any bytes as an inner packet and does with it what the packet path does.
pub fn ip(bytes: &[u8]) {
    let Ok(packet) = IpPacket::decode(bytes) else {
        let mut same = bytes.to_vec();
        mss::clamp(&mut same, 1350);
        assert_eq!(same, bytes, "what cannot be read was changed");
        return;
    };
    assert!(packet.header_len() >= 20 && packet.header_len() <= packet.octets().len());
    assert_eq!(
        packet.header_len() + packet.payload().len(),
        packet.octets().len()
    );
    for error in [
        IcmpError::HostUnreachable,
        IcmpError::FragmentationNeeded { mtu: 1400 },
    ] {
        let mut out = vec![0xee];
        if append_error(&mut out, error, Ipv4Addr::new(10, 99, 0, 1), &packet) {
            let answer = IpPacket::decode(&out[1..]).expect("our own packet");
            answer.verify_header().expect("our own checksum");
            assert_eq!(answer.octets().len(), out.len() - 1);
            assert!(answer.octets().len() <= 576);
            assert_eq!(answer.destination(), packet.source());
            let mut twice = Vec::new();
            let from = Ipv4Addr::new(10, 99, 0, 1);
            assert!(
                !append_error(&mut twice, error, from, &answer),
                "an error about an error"
            );
        } else {
            assert_eq!(out, [0xee]);
        }
    }
    clamped(bytes);
    fragmented(packet);
}

fn fragmented(packet: IpPacket<'_>) {
    for mtu in [68, 576, 1400] {
        let Some(mut fragments) = Fragments::new(packet, mtu) else {
            assert!(packet.dont_fragment());
            return;
        };
        let (mut out, mut payload) = (Vec::new(), Vec::new());
        while fragments.poll_transmit(&mut out) {
            let fragment = IpPacket::decode(&out).expect("our own packet");
            assert!(out.len() <= usize::from(mtu));
            payload.extend_from_slice(fragment.payload());
            out.clear();
        }
        assert!(
            packet.payload().starts_with(&payload),
            "something else came out"
        );
        assert!(packet.is_later_fragment() || payload.len() == packet.payload().len());
    }
}

fn clamped(bytes: &[u8]) {
    let mut changed = bytes.to_vec();
    match mss::clamp(&mut changed, 1350) {
        mss::Clamp::Untouched => assert_eq!(changed, bytes),
        mss::Clamp::Lowered => {
            let differing = changed.iter().zip(bytes).filter(|(a, b)| a != b).count();
            assert!((1..=4).contains(&differing), "{differing} octets changed");
            let once = changed.clone();
            assert_eq!(mss::clamp(&mut changed, 1350), mss::Clamp::Untouched);
            assert_eq!(changed, once);
        }
    }
}
