//! A second implementation of RADIUS, the `radius` crate, reads what ours writes, and the other way round.

use std::net::Ipv4Addr;

use causeway_proto::aaa::{Applicant, Credentials, FramedAddress, Identity, TunnelKind, Verdict};
use causeway_proto::radius::access::{Answer, Nas, Signing, decode_reply, encode_request};
use causeway_proto::radius::authenticator::{MessageAuthenticator, verify_reply};
use causeway_proto::radius::hidden::reveal_password;
use causeway_proto::radius::{AttributeType, Code, Packet};
use causeway_proto::wire::Decode;
use harness::radius_capture::{check, parse};
use radius::core::code::Code as OracleCode;
use radius::core::packet::Packet as Oracle;
use radius::core::{rfc2865, rfc2869};

const SECRET: &[u8] = b"a shared secret";

fn applicant() -> Applicant {
    Applicant {
        nas_port: 7,
        mtu: 1300,
        ..Applicant::new(
            TunnelKind::Sstp,
            "198.51.100.7:50123".parse().unwrap(),
            "203.0.113.4:443".parse().unwrap(),
            "0a2b3c4d".into(),
        )
    }
}

fn request(credentials: &Credentials) -> Vec<u8> {
    let nas = Nas {
        identifier: "gw-test".into(),
        ipv4: Some([10, 0, 1, 4].into()),
        ipv6: None,
    };
    let signing = Signing {
        identifier: 77,
        authenticator: [9; 16],
        secret: SECRET,
    };
    encode_request(&nas, &applicant(), credentials, signing).unwrap()
}

fn user() -> Identity {
    Identity::new(b"CORP\\alice").unwrap()
}

fn pap(password: &[u8]) -> Credentials {
    Credentials::Pap {
        user: user(),
        password: password.into(),
    }
}

#[test]
fn the_oracle_reads_our_request() {
    for len in [0, 1, 15, 16, 17, 100, 128] {
        let password = vec![b'p'; len];
        let bytes = request(&pap(&password));
        let oracle = Oracle::decode(&bytes, SECRET).unwrap();
        assert_eq!(oracle.get_code(), OracleCode::AccessRequest);
        assert_eq!(oracle.get_identifier(), 77);
        assert_eq!(oracle.get_authenticator(), &[9; 16]);
        let name = rfc2865::lookup_user_name(&oracle).unwrap().unwrap();
        assert_eq!(name, "CORP\\alice");
        let clear = rfc2865::lookup_user_password(&oracle).unwrap().unwrap();
        assert_eq!(clear, password, "password of {len} octets");
        let address = rfc2865::lookup_nas_ip_address(&oracle).unwrap().unwrap();
        assert_eq!(address, Ipv4Addr::new(10, 0, 1, 4));
        assert_eq!(rfc2865::lookup_nas_port(&oracle).unwrap().unwrap(), 7);
        let station = rfc2865::lookup_calling_station_id(&oracle)
            .unwrap()
            .unwrap();
        assert_eq!(station, "198.51.100.7");
        // It is not asked for Tunnel-Type: it wants five octets, where RFC 2868 §3.1 has a tag and three.
        let mac = rfc2869::lookup_message_authenticator(&oracle).unwrap();
        assert_eq!(mac.len(), 16);
        assert_eq!(oracle.encode().unwrap(), bytes, "and writes it the same");
    }
}

#[test]
fn the_oracle_joins_our_eap_message() {
    for len in [4u16, 253, 254, 506, 507, 3000] {
        let message: Vec<u8> = (0..len).map(|n| n.to_le_bytes()[0]).collect();
        let bytes = request(&Credentials::Eap {
            user: user(),
            message: message.clone(),
            state: None,
        });
        let oracle = Oracle::decode(&bytes, SECRET).unwrap();
        assert_eq!(rfc2869::lookup_eap_message(&oracle), Some(message));
    }
}

#[test]
fn we_read_the_oracles_request() {
    let mut oracle = Oracle::new_with_identifier(OracleCode::AccessRequest, SECRET, 5);
    rfc2865::add_user_name(&mut oracle, "alice");
    rfc2865::add_user_password(&mut oracle, b"a password of more than 16").unwrap();
    rfc2865::add_class(&mut oracle, &[7; 253]);
    let bytes = oracle.encode().unwrap();
    let packet = Packet::decode_exact(&bytes).unwrap();
    assert_eq!((packet.code, packet.identifier), (Code::ACCESS_REQUEST, 5));
    let all: Vec<_> = packet.attributes().map(Result::unwrap).collect();
    assert_eq!(all[0].text("User-Name"), Ok("alice"));
    assert_eq!(all[1].kind, AttributeType::USER_PASSWORD);
    let clear = reveal_password(all[1].value, SECRET, &packet.authenticator).unwrap();
    assert_eq!(clear.expose(), b"a password of more than 16");
    assert_eq!(all[2].value, [7; 253]);
}

#[test]
fn we_read_and_verify_the_oracles_reply() {
    let credentials = pap(b"wonderland");
    let bytes = request(&credentials);
    let mut oracle = Oracle::decode(&bytes, SECRET)
        .unwrap()
        .make_response_packet(OracleCode::AccessAccept);
    rfc2865::add_framed_ip_address(&mut oracle, &Ipv4Addr::new(10, 99, 0, 7));
    rfc2865::add_session_timeout(&mut oracle, 3600);
    rfc2865::add_class(&mut oracle, b"one");
    rfc2865::add_class(&mut oracle, b"two");
    let reply = oracle.encode().unwrap();

    let packet = Packet::decode_exact(&reply).unwrap();
    // The oracle cannot compute a Message-Authenticator; its response authenticator is right.
    assert_eq!(
        verify_reply(&packet, &[9; 16], SECRET),
        Ok(MessageAuthenticator::Absent)
    );
    assert!(verify_reply(&packet, &[8; 16], SECRET).is_err());
    let signing = Signing {
        identifier: 77,
        authenticator: [9; 16],
        secret: SECRET,
    };
    let Ok(Answer::Verdict(Verdict::Accept(a))) =
        decode_reply(&packet, &credentials, signing, "oracle")
    else {
        panic!("no accept");
    };
    assert_eq!(a.address, FramedAddress::Fixed([10, 99, 0, 7].into()));
    assert_eq!(a.class, [b"one".to_vec(), b"two".to_vec()]);
}

#[test]
fn the_oracle_finds_our_reply_authentic() {
    use causeway_proto::radius::AttributeList;
    use causeway_proto::radius::authenticator::{EMPTY_MESSAGE_AUTHENTICATOR, sign_reply};
    let bytes = request(&pap(b"wonderland"));
    let mut list = AttributeList::new();
    list.push(
        AttributeType::MESSAGE_AUTHENTICATOR,
        &EMPTY_MESSAGE_AUTHENTICATOR,
    )
    .push(AttributeType::CLASS, b"x");
    let octets = list.finish().unwrap();
    let reply = sign_reply(Code::ACCESS_ACCEPT, 77, octets, &[9; 16], SECRET).unwrap();
    assert!(Oracle::is_authentic_response(&reply, &bytes, SECRET));
    assert!(!Oracle::is_authentic_response(&reply, &bytes, b"another"));
}

/// Recorded by `what_eapol_test_and_radclient_send_is_read_by_ours` of the interop tests.
#[test]
fn we_read_what_eapol_test_radclient_and_freeradius_sent() {
    let text = include_str!("../vectors/radius.txt");
    let (_, at) = text.lines().next().unwrap().rsplit_once(' ').unwrap();
    let datagrams = parse(text);
    let seen = check(&datagrams, b"testing123", at.parse().unwrap());
    // PEAP and EAP-MSCHAPv2 with their rounds, four log-ins by radclient, Status-Server, two reports, RFC 5176.
    assert!(seen[&1] >= 15 && seen[&11] >= 10, "{seen:?}");
    assert_eq!((seen[&12], seen[&4], seen[&5]), (1, 2, 2), "{seen:?}");
    assert_eq!((seen[&40], seen[&43]), (1, 1), "{seen:?}");
    for who in ["eapol_test", "radclient", "freeradius"] {
        assert!(datagrams.iter().any(|datagram| datagram.from == who));
    }
    let other = std::panic::catch_unwind(|| check(&datagrams, b"another secret", 0));
    assert!(other.is_err(), "any secret is good");
}
