use super::super::super::authenticator::{MessageAuthenticator, verify_message_authenticator};
use super::super::super::vendor::{VendorSpecific, microsoft_type};
use super::super::super::{AttributeType, Code, MAX_VALUE, Packet, hidden};
use super::super::{RequestError, encode_request};
use super::{SIGNING, applicant, eap, ms_chap, nas, pap, user};
use crate::aaa::{Challenge, Credentials};
use crate::wire::Decode;

/// Makes a request and returns its attributes, Microsoft's with 256 added to the type.
fn request(credentials: &Credentials) -> Vec<(u16, Vec<u8>)> {
    let bytes = encode_request(&nas(), &applicant(), credentials, SIGNING).unwrap();
    let packet = Packet::decode_exact(&bytes).unwrap();
    assert_eq!(packet.code, Code::ACCESS_REQUEST);
    assert_eq!(packet.identifier, 77);
    assert_eq!(
        verify_message_authenticator(&packet, &SIGNING.authenticator, SIGNING.secret),
        Ok(MessageAuthenticator::Verified)
    );
    let mut out = Vec::new();
    for attribute in packet.attributes().map(Result::unwrap) {
        if attribute.kind == AttributeType::VENDOR_SPECIFIC {
            let vendor = VendorSpecific::decode(attribute.value).unwrap();
            for inner in vendor.microsoft().map(Result::unwrap) {
                out.push((
                    256 + u16::from(microsoft_type(&inner).0),
                    inner.value.to_vec(),
                ));
            }
        } else {
            out.push((attribute.kind.0.into(), attribute.value.to_vec()));
        }
    }
    out
}

fn one(attributes: &[(u16, Vec<u8>)], kind: u16) -> &[u8] {
    let mut found = attributes.iter().filter(|(k, _)| *k == kind);
    let value = &found.next().unwrap_or_else(|| panic!("no {kind}")).1;
    assert!(found.next().is_none(), "{kind} twice");
    value
}

#[test]
fn a_request_is_what_nps_wants_to_see() {
    let attributes = request(&pap());
    assert_eq!(attributes[0].0, 80, "Message-Authenticator is the first");
    let rows: [(u16, &[u8]); 22] = [
        (1, b"CORP\\alice"),
        (4, &[10, 0, 1, 4]),
        (5, &[0, 0, 0, 12]),
        (6, &[0, 0, 0, 2]),
        (7, &[0, 0, 0, 1]),
        (30, b"203.0.113.4"),
        (31, b"198.51.100.7"),
        (32, b"gw-weu-1"),
        (44, b"0a2b3c4d"),
        (61, &[0, 0, 0, 5]),
        (64, &[0x00, 0x01, 0x37, 0x01]),
        (65, &[0, 0, 0, 1]),
        (66, b"198.51.100.7"),
        (67, b"203.0.113.4"),
        (77, b"SSTP TLS1.3"),
        (256 + 9, &[0, 0, 1, 55]),
        (256 + 18, b"MSRASV5.20"),
        (256 + 34, b"MSRAS-0-PC7\0"),
        (256 + 35, b"MSRASV5.20"),
        (256 + 47, &[0, 0, 0, 2]),
        (256 + 56, b"{6B29FC40-CA47-1067-B31D-00DD010662DA}"),
        (
            2,
            &hidden::hide_password(b"wonderland", b"secret", &[9; 16]).unwrap(),
        ),
    ];
    for (kind, value) in rows {
        assert_eq!(one(&attributes, kind), value, "{kind}");
    }
    // With PAP there is neither State nor Framed-MTU, and never Proxy-State.
    assert_eq!(attributes.len(), rows.len() + 1);
}

#[test]
fn what_a_client_says_of_itself_is_left_out_when_it_looks_wrong() {
    let mut odd = applicant();
    odd.ras_client_name = Some("x".repeat(33));
    odd.ras_client_version = Some("a\nb".into());
    odd.correlation = Some("{not-a-guid}".into());
    let bytes = encode_request(&nas(), &odd, &pap(), SIGNING).unwrap();
    let packet = Packet::decode_exact(&bytes).unwrap();
    let vendors = packet
        .attributes()
        .filter(|a| a.unwrap().kind == AttributeType::VENDOR_SPECIFIC)
        .count();
    assert_eq!(vendors, 3);
}

#[test]
fn ms_chap_goes_as_challenge_and_response() {
    let attributes = request(&ms_chap());
    assert_eq!(one(&attributes, 256 + 11), [1; 16]);
    let mut response = vec![5, 0];
    response.extend([2; 16]);
    response.extend([0; 8]);
    response.extend([3; 24]);
    assert_eq!(one(&attributes, 256 + 25), response);
    assert!(!attributes.iter().any(|(kind, _)| *kind == 2));
}

#[test]
fn chap_goes_as_password_and_challenge() {
    let attributes = request(&Credentials::ChapMd5 {
        user: user(),
        identifier: 8,
        challenge: vec![4; 24],
        response: [6; 16],
    });
    assert_eq!(one(&attributes, 3), [&[8][..], &[6; 16]].concat());
    assert_eq!(one(&attributes, 60), [4; 24]);
}

#[test]
fn eap_goes_in_pieces_with_the_servers_state() {
    let message: Vec<u8> = (0..1000u16).map(|n| n.to_be_bytes()[1]).collect();
    let challenge = Challenge {
        eap: vec![],
        state: vec![7; 40],
        server: "nps1".into(),
        message: None,
        timeout: None,
    };
    let attributes = request(&eap(message.clone(), Some(challenge)));
    let at = attributes.iter().position(|(kind, _)| *kind == 79).unwrap();
    let pieces = &attributes[at..at + 4];
    assert!(pieces.iter().all(|(kind, _)| *kind == 79));
    assert!(
        pieces[..3]
            .iter()
            .all(|(_, value)| value.len() == MAX_VALUE)
    );
    let joined: Vec<u8> = pieces.iter().flat_map(|(_, value)| value.clone()).collect();
    assert_eq!(joined, message);
    assert_eq!(one(&attributes, 24), [7; 40]);
    assert_eq!(one(&attributes, 12), 1344u32.to_be_bytes());
}

#[test]
fn what_does_not_fit_is_no_request() {
    let long = Credentials::Pap {
        user: user(),
        password: vec![b'x'; 129].as_slice().into(),
    };
    let encode = |c: &Credentials| encode_request(&nas(), &applicant(), c, SIGNING);
    assert_eq!(encode(&long), Err(RequestError::PasswordTooLong));
    assert_eq!(
        encode(&eap(vec![0; 4000], None)),
        Err(RequestError::TooLong)
    );
}
