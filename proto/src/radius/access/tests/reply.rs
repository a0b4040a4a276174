use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::super::super::authenticator::EMPTY_MESSAGE_AUTHENTICATOR;
use super::super::super::{
    AttributeList, AttributeType, Code, MicrosoftType, Packet, hidden, vendor,
};
use super::super::{Answer, Lacking, ReplyError, decode_reply};
use super::{SIGNING, eap, ms_chap, pap, user};
use crate::aaa::{Credentials, FramedAddress, Proof, Verdict};
use crate::wire::DecodeError;

/// Reads a reply made of the attributes that `fill` pushes.
fn reply(
    code: Code,
    credentials: &Credentials,
    fill: impl FnOnce(&mut AttributeList),
) -> Result<Answer, ReplyError> {
    let mut list = AttributeList::new();
    list.push(
        AttributeType::MESSAGE_AUTHENTICATOR,
        &EMPTY_MESSAGE_AUTHENTICATOR,
    );
    fill(&mut list);
    let packet = Packet::new(code, 77, [0; 16], list.finish().unwrap()).unwrap();
    decode_reply(&packet, credentials, SIGNING, "nps1")
}

fn key(list: &mut AttributeList, kind: MicrosoftType, key: &[u8], salt: u8) {
    let value = hidden::hide_key(key, [0x80, salt], SIGNING.secret, &SIGNING.authenticator);
    list.push_microsoft(kind, &value);
}

fn keys(list: &mut AttributeList, len: usize) {
    key(list, MicrosoftType::MPPE_RECV_KEY, &vec![0xaa; len], 1);
    key(list, MicrosoftType::MPPE_SEND_KEY, &vec![0xbb; len], 2);
}

fn success(list: &mut AttributeList) {
    list.push_microsoft(
        MicrosoftType::CHAP2_SUCCESS,
        b"\x05S=407A5589115FD0D6209F510FE9C04566932CDA56",
    );
}

#[test]
fn an_accept_says_what_it_allows() {
    let answer = reply(Code::ACCESS_ACCEPT, &ms_chap(), |list| {
        success(list);
        keys(list, 16);
        list.push(AttributeType::USER_NAME, b"alice@corp")
            .push_u32(AttributeType::SERVICE_TYPE, 2)
            .push(AttributeType::FRAMED_IP_ADDRESS, &[10, 99, 0, 7])
            .push(AttributeType::FRAMED_POOL, b"users")
            .push(AttributeType::FILTER_ID, b"staff")
            .push_u32(AttributeType::SESSION_TIMEOUT, 3600)
            .push_u32(AttributeType::IDLE_TIMEOUT, 600)
            .push_u32(AttributeType::ACCT_INTERIM_INTERVAL, 5)
            .push_u32(AttributeType::FRAMED_MTU, 1)
            .push(AttributeType::CLASS, &[1; 253])
            .push(AttributeType::CLASS, &[2])
            .push(AttributeType::REPLY_MESSAGE, b"hello\r\n\x1b[2J")
            .push(AttributeType(200), b"unknown")
            .push_microsoft(MicrosoftType::PRIMARY_DNS_SERVER, &[10, 0, 0, 1])
            .push_microsoft(MicrosoftType::SECONDARY_DNS_SERVER, &[10, 0, 0, 2])
            .push_microsoft(MicrosoftType::PRIMARY_NBNS_SERVER, &[10, 0, 0, 3]);
    });
    let Ok(Answer::Verdict(Verdict::Accept(a))) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(a.user.as_bytes(), b"alice@corp");
    assert_eq!(
        a.proof,
        Proof::MsChapV2("S=407A5589115FD0D6209F510FE9C04566932CDA56".into())
    );
    let keys = a.keys.unwrap();
    assert_eq!(keys.recv.expose(), [0xaa; 16]);
    assert_eq!(keys.send.expose(), [0xbb; 16]);
    assert_eq!(a.address, FramedAddress::Fixed([10, 99, 0, 7].into()));
    assert_eq!(a.pool.as_deref(), Some("users"));
    assert_eq!(a.filter.as_deref(), Some("staff"));
    assert_eq!(a.session_timeout, Some(Duration::from_secs(3600)));
    assert_eq!(a.idle_timeout, Some(Duration::from_secs(600)));
    assert_eq!(a.interim, Some(Duration::from_secs(60)));
    assert_eq!(a.mtu, Some(576));
    assert_eq!(a.class, [vec![1; 253], vec![2]]);
    assert_eq!(a.message.as_deref(), Some("hello   [2J"));
    assert_eq!(a.dns, [[10, 0, 0, 1], [10, 0, 0, 2]].map(Ipv4Addr::from));
    assert_eq!(a.wins, [[10, 0, 0, 3]].map(Ipv4Addr::from));
    assert_eq!(a.server, "nps1");
}

#[test]
fn timeouts_and_addresses_at_their_ends_are_tamed() {
    let accept = |fill: fn(&mut AttributeList)| match reply(Code::ACCESS_ACCEPT, &pap(), fill) {
        Ok(Answer::Verdict(Verdict::Accept(a))) => *a,
        other => panic!("{other:?}"),
    };
    let a = accept(|list| {
        list.push_u32(AttributeType::SESSION_TIMEOUT, 0)
            .push_u32(AttributeType::IDLE_TIMEOUT, u32::MAX)
            .push(AttributeType::FRAMED_IP_ADDRESS, &[255, 255, 255, 254]);
    });
    assert_eq!(a.session_timeout, None);
    assert_eq!(a.idle_timeout, Some(Duration::from_secs(366 * 24 * 3600)));
    assert_eq!(a.address, FramedAddress::Pool);
    assert_eq!(a.user, user());
    assert_eq!((a.keys, a.proof), (None, Proof::Message(String::new())));
    let a = accept(|list| {
        list.push(AttributeType::FRAMED_IP_ADDRESS, &[255; 4])
            .push_u32(AttributeType::FRAMED_MTU, u32::MAX);
    });
    assert_eq!(a.address, FramedAddress::ClientChooses);
    assert_eq!(a.mtu, None);
}

#[test]
fn every_framed_route_is_read() {
    let answer = reply(Code::ACCESS_ACCEPT, &pap(), |list| {
        list.push(AttributeType::FRAMED_ROUTE, b"192.168.7.0/24 0.0.0.0 1")
            .push(AttributeType::FRAMED_ROUTE, b"10.1.0.0/16");
    });
    let Ok(Answer::Verdict(Verdict::Accept(a))) = answer else {
        panic!("{answer:?}");
    };
    let routes: Vec<_> = a.routes.iter().map(|r| (r.network(), r.prefix())).collect();
    assert_eq!(
        routes,
        [([192, 168, 7, 0].into(), 24), ([10, 1, 0, 0].into(), 16)]
    );
}

fn success_of_eap(list: &mut AttributeList) {
    list.push(AttributeType::EAP_MESSAGE, &[3, 9, 0, 4]);
    keys(list, 32);
}

#[test]
fn an_accept_without_proof_or_keys_lets_nobody_in() {
    type Fill = fn(&mut AttributeList);
    let rows: [(&Credentials, Fill, Lacking); 9] = [
        (&ms_chap(), |list| keys(list, 16), Lacking::Success),
        (&ms_chap(), success, Lacking::RecvKey),
        (
            &ms_chap(),
            |list| {
                success(list);
                key(list, MicrosoftType::MPPE_RECV_KEY, &[1; 16], 1);
            },
            Lacking::SendKey,
        ),
        (
            &eap(vec![2, 9, 0, 6, 26, 3], None),
            |_| (),
            Lacking::RecvKey,
        ),
        (
            &eap(vec![2, 9, 0, 6, 26, 3], None),
            |list| key(list, MicrosoftType::MPPE_RECV_KEY, &[1; 32], 1),
            Lacking::SendKey,
        ),
        // A name, a wish for another method, nothing at all: with keys and an EAP-Success, but nobody was asked.
        (
            &eap(b"\x02\x09\x00\x0a\x01alice".to_vec(), None),
            success_of_eap,
            Lacking::Method,
        ),
        (
            &eap(vec![2, 9, 0, 6, 3, 26], None),
            success_of_eap,
            Lacking::Method,
        ),
        (
            &eap(vec![2, 9, 0, 4], None),
            success_of_eap,
            Lacking::Method,
        ),
        (
            &pap(),
            |list| {
                list.push_u32(AttributeType::SERVICE_TYPE, 8);
            },
            Lacking::Service(8),
        ),
    ];
    for (credentials, fill, lacking) in rows {
        assert_eq!(
            reply(Code::ACCESS_ACCEPT, credentials, fill),
            Ok(Answer::Lacking(lacking))
        );
    }
}

#[test]
fn an_attribute_of_a_wrong_size_spoils_the_whole_reply() {
    let sized: [(AttributeType, &[usize]); 13] = [
        (AttributeType::USER_NAME, &[0]),
        (AttributeType::SERVICE_TYPE, &[0, 3, 5]),
        (AttributeType::FRAMED_IP_ADDRESS, &[0, 3, 5, 16]),
        (AttributeType::FRAMED_POOL, &[0]),
        (AttributeType::FILTER_ID, &[0]),
        (AttributeType::SESSION_TIMEOUT, &[0, 1, 3, 5, 8]),
        (AttributeType::IDLE_TIMEOUT, &[0, 3, 5]),
        (AttributeType::ACCT_INTERIM_INTERVAL, &[0, 3, 5]),
        (AttributeType::FRAMED_MTU, &[0, 2, 5]),
        (AttributeType::CLASS, &[0]),
        (AttributeType::FRAMED_ROUTE, &[0, 1, 20]),
        (AttributeType::STATE, &[0]),
        (AttributeType::VENDOR_SPECIFIC, &[0, 3]),
    ];
    for (kind, lens) in sized {
        for len in lens {
            for code in [
                Code::ACCESS_ACCEPT,
                Code::ACCESS_REJECT,
                Code::ACCESS_CHALLENGE,
            ] {
                let answer = reply(code, &pap(), |list| {
                    list.push(kind, &vec![0; *len]);
                });
                assert!(
                    matches!(answer, Err(ReplyError::Attribute(_))),
                    "{kind:?} of {len}: {answer:?}"
                );
            }
        }
    }
}

#[test]
fn microsofts_of_a_wrong_size_spoil_it_too() {
    let rows: [(MicrosoftType, Vec<u8>); 7] = [
        (MicrosoftType::PRIMARY_DNS_SERVER, vec![1; 3]),
        (MicrosoftType::SECONDARY_NBNS_SERVER, vec![1; 5]),
        (MicrosoftType::CHAP2_SUCCESS, b"\x05S=407A".to_vec()),
        (MicrosoftType::CHAP2_SUCCESS, vec![b'x'; 43]),
        (MicrosoftType::MPPE_RECV_KEY, vec![0; 33]),
        (MicrosoftType::MPPE_RECV_KEY, vec![]),
        (MicrosoftType::MPPE_RECV_KEY, vec![0x80; 34]),
    ];
    for (kind, value) in rows {
        let answer = reply(Code::ACCESS_ACCEPT, &ms_chap(), |list| {
            list.push_microsoft(kind, &value);
            if kind != MicrosoftType::CHAP2_SUCCESS {
                success(list);
            }
            if kind != MicrosoftType::MPPE_RECV_KEY {
                key(list, MicrosoftType::MPPE_RECV_KEY, &[1; 16], 1);
            }
            key(list, MicrosoftType::MPPE_SEND_KEY, &[1; 16], 2);
        });
        assert!(answer.is_err(), "{kind:?}: {answer:?}");
    }
    // A vendor attribute whose inner length lies.
    for inner in [[28, 0], [28, 1], [28, 7]] {
        let answer = reply(Code::ACCESS_ACCEPT, &pap(), |list| {
            let mut value = vendor::MICROSOFT.to_be_bytes().to_vec();
            value.extend(inner);
            list.push(AttributeType::VENDOR_SPECIFIC, &value);
        });
        assert!(answer.is_err(), "{inner:?}");
    }
}

#[test]
fn what_may_stand_once_may_not_stand_twice() {
    let answer = reply(Code::ACCESS_ACCEPT, &pap(), |list| {
        list.push(AttributeType::FILTER_ID, b"staff")
            .push(AttributeType::FILTER_ID, b"guests");
    });
    assert_eq!(
        answer,
        Err(DecodeError::Value { field: "Filter-Id" }.into())
    );
}

#[test]
fn eap_ends_with_a_success_only() {
    let response = eap(vec![2, 9, 0, 6, 26, 3], None);
    let accept = |message: &[u8]| {
        reply(Code::ACCESS_ACCEPT, &response, |list| {
            list.push_split(AttributeType::EAP_MESSAGE, message);
            keys(list, 32);
        })
    };
    let proof = |answer| match answer {
        Ok(Answer::Verdict(Verdict::Accept(a))) => (a.proof, a.keys.unwrap().recv.len()),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        proof(accept(&[3, 9, 0, 4])),
        (Proof::Eap(vec![3, 9, 0, 4]), 32)
    );
    // None there: one is made, with the identifier of the response.
    assert_eq!(proof(accept(&[])), (Proof::Eap(vec![3, 9, 0, 4]), 32));
    for bad in [&[4, 9, 0, 4][..], &[1, 9, 0, 5, 1], &[3, 9, 0, 9], &[3, 9]] {
        assert!(accept(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_challenge_brings_the_question_and_the_state() {
    let request: Vec<u8> = [&[1, 10, 2, 0][..], &[13; 508]].concat();
    let answer = reply(
        Code::ACCESS_CHALLENGE,
        &eap(vec![2, 9, 0, 6, 26, 3], None),
        |list| {
            list.push_split(AttributeType::EAP_MESSAGE, &request)
                .push(AttributeType::STATE, b"state")
                .push_u32(AttributeType::SESSION_TIMEOUT, 30);
        },
    );
    let Ok(Answer::Verdict(Verdict::Challenge(challenge))) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(challenge.eap, request);
    assert_eq!(challenge.state, b"state");
    assert_eq!(challenge.server, "nps1");
    assert_eq!(challenge.timeout, Some(Duration::from_secs(30)));
    // Without a question there is nothing to relay.
    let answer = reply(
        Code::ACCESS_CHALLENGE,
        &eap(vec![2, 9, 0, 6, 26, 3], None),
        |_| (),
    );
    assert!(answer.is_err());
    // A one-time code: the question is in Reply-Message.
    let answer = reply(Code::ACCESS_CHALLENGE, &pap(), |list| {
        list.push(AttributeType::REPLY_MESSAGE, b"Enter your code")
            .push(AttributeType::STATE, b"s");
    });
    let Ok(Answer::Verdict(Verdict::Challenge(challenge))) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(challenge.message.as_deref(), Some("Enter your code"));
    assert!(challenge.eap.is_empty());
}

#[test]
fn a_reject_passes_on_what_the_client_may_hear() {
    let reject = |credentials: &Credentials, error: &[u8], message: &[u8]| match reply(
        Code::ACCESS_REJECT,
        credentials,
        |list| {
            list.push_microsoft(MicrosoftType::CHAP_ERROR, error)
                .push_split(AttributeType::EAP_MESSAGE, message);
        },
    ) {
        Ok(Answer::Verdict(Verdict::Reject(rejection))) => rejection,
        other => panic!("{other:?}"),
    };
    let text = b"\x05E=691 R=1 C=00112233445566778899AABBCCDDEEFF V=3 M=No";
    let rejection = reject(&ms_chap(), text, &[4, 9, 0, 4]);
    assert_eq!(
        rejection.ms_chap_error.as_deref().map(str::as_bytes),
        text.get(1..)
    );
    assert_eq!(rejection.eap, Some(vec![4, 9, 0, 4]));
    for bad in [&b""[..], b"\x05", b"\x05hello", b"\x05E=691\r\nX"] {
        assert_eq!(reject(&ms_chap(), bad, &[3, 9, 0, 4]).ms_chap_error, None);
    }
    assert_eq!(reject(&ms_chap(), b"", &[3, 9, 0, 4]).eap, None);
}

proptest! {
    #[test]
    fn any_attributes_are_read_without_panic(octets in prop::collection::vec(any::<u8>(), 0..400), code in 1u8..12) {
        for credentials in [pap(), ms_chap(), eap(vec![2, 9, 0, 6, 26, 3], None)] {
            let packet = Packet::new(Code(code), 77, [0; 16], &octets).unwrap();
            if let Ok(Answer::Verdict(Verdict::Accept(a))) =
                decode_reply(&packet, &credentials, SIGNING, "nps1")
            {
                prop_assert_eq!(a.keys, None);
            }
        }
    }

    #[test]
    fn any_well_formed_attributes_are_read_without_panic(
        attributes in prop::collection::vec((0u8..=100, prop::collection::vec(any::<u8>(), 0..60)), 0..10),
        microsoft in prop::collection::vec((0u8..=40, prop::collection::vec(any::<u8>(), 0..60)), 0..6),
    ) {
        for credentials in [pap(), ms_chap(), eap(vec![2, 9, 0, 6, 26, 3], None)] {
            let answer = reply(Code::ACCESS_ACCEPT, &credentials, |list| {
                for (kind, value) in &attributes {
                    list.push(AttributeType(*kind), value);
                }
                for (kind, value) in &microsoft {
                    list.push_microsoft(MicrosoftType(*kind), value);
                }
            });
            if let Ok(Answer::Verdict(Verdict::Accept(a))) = answer {
                let clear = matches!(credentials, Credentials::Pap { .. });
                prop_assert!(a.keys.is_none() || !clear);
            }
        }
    }
}
