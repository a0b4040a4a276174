use std::time::Duration;

use super::*;
use crate::radius::authenticator::{
    EMPTY_MESSAGE_AUTHENTICATOR, MessageAuthenticator, response_authenticator, verify_reply,
    with_message_authenticator,
};
use crate::radius::{AttributeList, AttributeType, Code, MAX_LEN, Packet};
use crate::timer::testing::start;
use crate::wire::{Decode, Encode};

const SECRET: &[u8] = b"coa secret";
const NOW: u64 = 1_764_000_000;

type Add<'a> = &'a dyn Fn(&mut AttributeList);

/// Signs as a server does.
fn request(code: Code, add: Add<'_>) -> Vec<u8> {
    signed(code, true, SECRET, add)
}

fn signed(code: Code, with: bool, secret: &[u8], add: Add<'_>) -> Vec<u8> {
    let mut list = AttributeList::new();
    if with {
        list.push(
            AttributeType::MESSAGE_AUTHENTICATOR,
            &EMPTY_MESSAGE_AUTHENTICATOR,
        );
    }
    add(&mut list);
    let octets = list.finish().unwrap().to_vec();
    let unsigned = Packet::new(code, 9, [0; 16], &octets).unwrap();
    let octets = if with {
        with_message_authenticator(&unsigned, &[0; 16], secret)
    } else {
        octets.clone()
    };
    let mut packet = Packet::new(code, 9, [0; 16], &octets).unwrap();
    packet.authenticator = response_authenticator(&packet, &[0; 16], secret);
    let mut out = Vec::new();
    packet.append_to(&mut out, MAX_LEN).unwrap();
    out
}

fn dated(list: &mut AttributeList) -> &mut AttributeList {
    list.push_u32(AttributeType::EVENT_TIMESTAMP, u32::try_from(NOW).unwrap())
}

#[expect(
    clippy::unwrap_in_result,
    reason = "the error is what the request is refused for"
)]
fn read(code: Code, add: Add<'_>) -> Result<Request, u32> {
    let bytes = request(code, add);
    let packet = verify(&bytes, NOW, SECRET).unwrap();
    Request::read(&packet).map_err(|refusal| refusal.cause.0)
}

#[test]
fn a_disconnect_names_its_session() {
    let request = read(Code::DISCONNECT_REQUEST, &|list| {
        dated(list)
            .push(AttributeType::ACCT_SESSION_ID, b"0a2b")
            .push(AttributeType::USER_NAME, b"alice")
            .push(AttributeType::FRAMED_IP_ADDRESS, &[10, 99, 0, 7])
            .push(AttributeType::CALLING_STATION_ID, b"198.51.100.7")
            .push(AttributeType::NAS_IDENTIFIER, b"gw1")
            .push(AttributeType::NAS_IP_ADDRESS, &[10, 0, 1, 4])
            .push_u32(AttributeType::ACCT_TERMINATE_CAUSE, 6);
    })
    .unwrap();
    let selector = Selector {
        session: Some(b"0a2b".to_vec()),
        user: Some(b"alice".to_vec()),
        address: Some([10, 99, 0, 7].into()),
        calling: Some("198.51.100.7".parse().unwrap()),
        port: None,
    };
    assert_eq!(request.selector, selector);
    assert_eq!(request.nas_identifier.as_deref(), Some(&b"gw1"[..]));
    assert_eq!(request.nas_addresses.len(), 1);
    assert_eq!(request.wanted, Wanted::Disconnect);
}

#[test]
fn a_change_says_what_changes() {
    let request = read(Code::COA_REQUEST, &|list| {
        dated(list)
            .push(AttributeType::USER_NAME, b"alice")
            .push_u32(AttributeType::SESSION_TIMEOUT, 600)
            .push_u32(AttributeType::IDLE_TIMEOUT, 0)
            .push(AttributeType::FILTER_ID, b"staff");
    })
    .unwrap();
    let change = Change {
        session_timeout: Some(Duration::from_secs(600)),
        idle_timeout: Some(Duration::ZERO),
        filter: Some("staff".into()),
    };
    assert_eq!(request.wanted, Wanted::Change(change));
}

#[test]
fn what_cannot_be_done_has_its_cause() {
    let (end, change) = (Code::DISCONNECT_REQUEST, Code::COA_REQUEST);
    let rows: &[(Code, Add<'_>, u32)] = &[
        (end, &|l| ignore(dated(l)), 402),
        (
            end,
            &|l| ignore(l.push(AttributeType::USER_NAME, b"a")),
            402,
        ),
        (
            end,
            &|l| ignore(user(l).push_u32(AttributeType::SESSION_TIMEOUT, 5)),
            401,
        ),
        (
            end,
            &|l| ignore(user(l).push(AttributeType::STATE, b"s")),
            401,
        ),
        (
            end,
            &|l| ignore(user(l).push(AttributeType::USER_NAME, b"b")),
            404,
        ),
        (
            end,
            &|l| ignore(user(l).push(AttributeType::FRAMED_IP_ADDRESS, &[1, 2, 3])),
            404,
        ),
        (
            end,
            &|l| ignore(user(l).push(AttributeType::CALLING_STATION_ID, b"office")),
            407,
        ),
        (change, &|l| ignore(user(l)), 402),
        (
            change,
            &|l| ignore(user(l).push_u32(AttributeType::SERVICE_TYPE, 17)),
            405,
        ),
        (
            change,
            &|l| ignore(user(l).push_u32(AttributeType::SESSION_TIMEOUT, 0)),
            407,
        ),
        (
            change,
            &|l| ignore(user(l).push(AttributeType::SESSION_TIMEOUT, &[1])),
            404,
        ),
        (
            change,
            &|l| ignore(user(l).push(AttributeType::CLASS, b"c")),
            401,
        ),
        (
            change,
            &|l| ignore(user(l).push(AttributeType::FILTER_ID, b"\x07")),
            407,
        ),
    ];
    for (row, (code, add, cause)) in rows.iter().enumerate() {
        assert_eq!(read(*code, add), Err(*cause), "row {row}");
    }
}

fn ignore(_: &mut AttributeList) {}

fn user(list: &mut AttributeList) -> &mut AttributeList {
    dated(list).push(AttributeType::USER_NAME, b"a")
}

#[test]
fn who_does_not_know_the_secret_gets_no_answer() {
    let code = Code::DISCONNECT_REQUEST;
    let add: Add<'_> = &|list| {
        user(list);
    };
    let good = request(code, add);
    let hear = |bytes: &[u8]| verify(bytes, NOW, SECRET).map(|_| ());
    assert_eq!(hear(&good), Ok(()));
    assert_eq!(
        hear(&signed(code, true, b"another", add)),
        Err(Discard::BadAuthenticator)
    );
    assert_eq!(
        hear(&signed(code, false, SECRET, add)),
        Err(Discard::Unsigned)
    );
    for place in 0..good.len() {
        let mut bent = good.clone();
        bent[place] ^= 0x10;
        assert!(hear(&bent).is_err(), "octet {place}");
        assert!(hear(&good[..place]).is_err(), "length {place}");
    }
    // A right request authenticator over a wrong Message-Authenticator.
    let wrong = signed(code, false, SECRET, &|list| {
        user(list).push(AttributeType::MESSAGE_AUTHENTICATOR, &[7; 16]);
    });
    assert_eq!(hear(&wrong), Err(Discard::BadMessageAuthenticator));
    let accounting = request(Code::ACCOUNTING_REQUEST, add);
    assert_eq!(hear(&accounting), Err(Discard::Malformed));
}

#[test]
fn what_is_not_of_now_gets_no_answer() {
    let bytes = request(Code::DISCONNECT_REQUEST, &|list| {
        user(list);
    });
    let window = WINDOW.as_secs();
    for (wall, fits) in [
        (NOW + window, true),
        (NOW - window, true),
        (NOW + window + 1, false),
        (NOW - window - 1, false),
    ] {
        let found = verify(&bytes, wall, SECRET).map(|_| ());
        let expected = if fits { Ok(()) } else { Err(Discard::Stale) };
        assert_eq!(found, expected, "{wall}");
    }
}

#[test]
fn an_answer_is_signed_and_brings_the_proxys_state_back() {
    let bytes = request(Code::COA_REQUEST, &|list| {
        user(list)
            .push(AttributeType::PROXY_STATE, b"two")
            .push(AttributeType::PROXY_STATE, b"one");
    });
    let packet = verify(&bytes, NOW, SECRET).unwrap();
    for (refused, code) in [
        (None, Code::COA_ACK),
        (Some(ErrorCause::SESSION_CONTEXT_NOT_FOUND), Code::COA_NAK),
    ] {
        let answer = respond(&packet, refused, SECRET).unwrap();
        let answer = Packet::decode_exact(&answer).unwrap();
        assert_eq!((answer.code, answer.identifier), (code, packet.identifier));
        assert_eq!(
            verify_reply(&answer, &packet.authenticator, SECRET),
            Ok(MessageAuthenticator::Verified)
        );
        let values = |kind| {
            answer
                .attributes()
                .map(Result::unwrap)
                .filter(|a| a.kind == kind)
                .map(|a| a.value.to_vec())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            values(AttributeType::PROXY_STATE),
            [b"two".to_vec(), b"one".to_vec()]
        );
        let cause: Vec<_> = refused
            .map(|c| c.0.to_be_bytes().to_vec())
            .into_iter()
            .collect();
        assert_eq!(values(AttributeType::ERROR_CAUSE), cause);
    }
    let other = Packet::new(Code::ACCESS_REQUEST, 1, [0; 16], &[]).unwrap();
    assert_eq!(respond(&other, None, SECRET), None);
}

#[test]
fn an_answer_is_kept_for_as_long_as_its_request_can_come_again() {
    let start = start();
    let mut answered = Answered::default();
    answered.keep(start, 1, [1; 16], vec![42]);
    let twice = start + WINDOW * 2;
    assert_eq!(answered.find(twice, 1, &[1; 16]), Some(&[42][..]));
    assert_eq!(answered.find(twice, 2, &[1; 16]), None);
    let later = twice + Duration::from_secs(2);
    assert_eq!(answered.find(later, 1, &[1; 16]), None);
    for n in 0..20_000u32 {
        let mut authenticator = [0; 16];
        authenticator[..4].copy_from_slice(&n.to_be_bytes());
        answered.keep(later, 0, authenticator, Vec::new());
    }
    assert!(!answered.has_room());
    answered.find(later + WINDOW * 3, 0, &[0; 16]);
    assert!(answered.has_room());
}
