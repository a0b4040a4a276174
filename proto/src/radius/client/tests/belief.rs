//! Which answers are believed, and what they come to.

use super::super::super::MicrosoftType;
use super::super::super::access::Lacking;
use super::*;
use crate::aaa::MsChapV2Response;

#[test]
fn one_login_is_one_request_and_copies_of_it() {
    let (t, mut c) = (start(), client(2, |c| c.retransmit = vec![s(5), s(20)]));
    let (_, port, first) = ask(&mut c, t, "alice");
    assert_eq!(port.server, ServerId(0));
    assert_eq!(pass(&mut c, t + s(4)), []);
    let copies = pass(&mut c, t + s(59));
    assert_eq!(copies, vec![(port, first.clone()); 2]);
    assert!(
        c.handle_datagram(t + s(59), port, &accept(&first)).is_ok(),
        "an answer after 59 s is as good as any"
    );
    assert_eq!(
        events(&mut c)
            .iter()
            .filter(|e| matches!(e, Event::Started { .. }))
            .count(),
        1
    );
    assert_eq!(pass(&mut c, t + s(600)), []);
}

#[test]
fn an_answer_is_told_apart_by_what_it_says_and_when() {
    let rows = [
        (Code::ACCESS_ACCEPT, 45, RadiusResult::Accept),
        (Code::ACCESS_REJECT, 1, RadiusResult::RejectFast),
        (Code::ACCESS_REJECT, 30, RadiusResult::RejectAfterMfaWait),
        (Code::ACCESS_CHALLENGE, 1, RadiusResult::Challenge),
    ];
    for (code, after, expected) in rows {
        let (t, mut c) = (start(), client(1, |_| ()));
        let (id, port, request) = ask(&mut c, t, "alice");
        let bytes = answer(&request, code, SECRET, |_| ());
        c.handle_datagram(t + s(after), port, &bytes).unwrap();
        let all = events(&mut c);
        let Some(Event::Finished {
            request,
            completion,
        }) = all.last()
        else {
            panic!("{all:?}");
        };
        assert_eq!((*request, completion.result), (id, expected));
        assert_eq!(completion.elapsed, s(after));
        assert_eq!(completion.server, Some(ServerId(0)));
        assert!(completion.answer.is_some());
        assert_eq!(c.waiting(ServerId(0)), 0);
        assert_eq!(c.poll_timeout(), None);
        // The same answer again finds nobody.
        assert_eq!(
            c.handle_datagram(t + s(after), port, &bytes),
            Err(Discard::UnknownIdentifier)
        );
    }
}

/// Every way to forge an answer to `request`, and why it is thrown away.
fn forgeries(request: &[u8]) -> Vec<(Vec<u8>, Discard)> {
    let packet = Packet::decode_exact(request).unwrap();
    let true_one = accept(request);
    let bend = |at: usize| {
        let mut bytes = true_one.clone();
        bytes[at] ^= 1;
        bytes
    };
    // `sign_reply` fills in one that comes first, so this wrong one comes second.
    let mut behind = AttributeList::new();
    behind
        .push(AttributeType::CLASS, b"x")
        .push(AttributeType::MESSAGE_AUTHENTICATOR, &[7; 16]);
    let mut absent = AttributeList::new();
    absent.push(AttributeType::CLASS, b"x");
    let mut endless = absent.finish().unwrap().to_vec();
    endless.extend([25, 0]);
    vec![
        (vec![], Discard::Malformed),
        (true_one[..true_one.len() - 1].to_vec(), Discard::Malformed),
        (bend(1), Discard::UnknownIdentifier),
        (bend(4), Discard::BadAuthenticator),
        (bend(0), Discard::BadAuthenticator),
        (
            answer(request, Code::ACCESS_ACCEPT, b"wrong", |_| ()),
            Discard::BadAuthenticator,
        ),
        (
            sign(&packet, Code::ACCESS_ACCEPT, SECRET, &behind),
            Discard::MessageAuthenticatorInvalid,
        ),
        (
            sign(&packet, Code::ACCESS_ACCEPT, SECRET, &absent),
            Discard::MessageAuthenticatorMissing,
        ),
        (
            sign_reply(
                Code::ACCESS_ACCEPT,
                packet.identifier,
                &endless,
                &packet.authenticator,
                SECRET,
            )
            .unwrap(),
            Discard::Malformed,
        ),
        (
            answer(request, Code::ACCOUNTING_RESPONSE, SECRET, |_| ()),
            Discard::Malformed,
        ),
        (
            answer(request, Code::ACCESS_REQUEST, SECRET, |_| ()),
            Discard::Malformed,
        ),
    ]
}

#[test]
fn a_forged_answer_never_takes_the_place_of_the_true_one() {
    let (t, mut c) = (start(), client(1, |_| ()));
    let (_, port, request) = ask(&mut c, t, "alice");
    for (bytes, why) in forgeries(&request) {
        assert_eq!(c.handle_datagram(t, port, &bytes), Err(why), "{bytes:02x?}");
        assert_eq!(c.waiting(ServerId(0)), 1);
    }
    let elsewhere = Port { number: 1, ..port };
    assert_eq!(
        c.handle_datagram(t, elsewhere, &accept(&request)),
        Err(Discard::UnknownIdentifier)
    );
    assert_eq!(finished(&mut c), None);
    c.handle_datagram(t, port, &accept(&request)).unwrap();
    assert_eq!(result(&mut c), RadiusResult::Accept);
}

#[test]
fn a_login_that_only_got_forgeries_ends_with_their_name() {
    let rows = [
        Discard::Malformed,
        Discard::BadAuthenticator,
        Discard::MessageAuthenticatorInvalid,
        Discard::MessageAuthenticatorMissing,
    ];
    for why in rows {
        let (t, mut c) = (start(), client(1, |_| ()));
        let (_, port, request) = ask(&mut c, t, "alice");
        let (bytes, _) = forgeries(&request)
            .into_iter()
            .rfind(|(_, other)| *other == why)
            .unwrap();
        assert_eq!(c.handle_datagram(t, port, &bytes), Err(why));
        pass(&mut c, t + s(60));
        assert_eq!(result(&mut c), why.as_result());
    }
}

#[test]
fn a_server_that_nobody_can_forge_may_leave_the_message_authenticator_out() {
    let (t, mut c) = (
        start(),
        client(1, |config| config.servers[0].is_sealed = true),
    );
    for (why, expected) in [
        (Discard::MessageAuthenticatorMissing, None),
        (Discard::MessageAuthenticatorInvalid, Some(())),
        (Discard::BadAuthenticator, Some(())),
    ] {
        let (_, port, request) = ask(&mut c, t, "alice");
        let mut forgeries = forgeries(&request).into_iter();
        let (bytes, _) = forgeries.rfind(|(_, other)| *other == why).unwrap();
        let handled = c.handle_datagram(t, port, &bytes);
        assert_eq!(handled.err(), expected.map(|()| why));
    }
    // Nobody has to be warned of that.
    let unsigned = Event::Unsigned {
        server: ServerId(0),
    };
    assert!(!events(&mut c).contains(&unsigned));
}

#[test]
fn an_old_server_may_leave_the_message_authenticator_out_when_told_so() {
    let (t, mut c) = (
        start(),
        client(1, |c| c.message_authenticator = Demand::IfPresent),
    );
    let (_, port, request) = ask(&mut c, t, "alice");
    let packet = Packet::decode_exact(&request).unwrap();
    let mut wrong = AttributeList::new();
    wrong
        .push(AttributeType::CLASS, b"x")
        .push(AttributeType::MESSAGE_AUTHENTICATOR, &[7; 16]);
    assert_eq!(
        c.handle_datagram(t, port, &sign(&packet, Code::ACCESS_ACCEPT, SECRET, &wrong)),
        Err(Discard::MessageAuthenticatorInvalid)
    );
    let bytes = sign(&packet, Code::ACCESS_ACCEPT, SECRET, &AttributeList::new());
    c.handle_datagram(t, port, &bytes).unwrap();
    let all = events(&mut c);
    assert!(all.contains(&Event::Unsigned {
        server: ServerId(0)
    }));
}

#[test]
fn a_signed_answer_that_cannot_be_read_ends_the_login() {
    let (t, mut c) = (start(), client(1, |_| ()));
    let (_, port, request) = ask(&mut c, t, "alice");
    let bytes = answer(&request, Code::ACCESS_ACCEPT, SECRET, |list| {
        list.push(AttributeType::SESSION_TIMEOUT, &[1]);
    });
    c.handle_datagram(t, port, &bytes).unwrap();
    let completion = finished(&mut c).unwrap();
    assert_eq!(completion.result, RadiusResult::Malformed);
    assert!(completion.error.is_some() && completion.answer.is_none());
}

#[test]
fn an_accept_without_keys_is_none() {
    let (t, mut c) = (start(), client(1, |_| ()));
    let credentials = Credentials::MsChapV2 {
        user: Identity::new(b"alice").unwrap(),
        response: MsChapV2Response {
            identifier: 1,
            challenge: [1; 16],
            peer_challenge: [2; 16],
            nt_response: [3; 24],
            flags: 0,
        },
    };
    c.request(t, &applicant(), &credentials, t + s(50)).unwrap();
    let (port, request) = sent(&mut c).unwrap();
    let bytes = answer(&request, Code::ACCESS_ACCEPT, SECRET, |list| {
        list.push_microsoft(
            MicrosoftType::CHAP2_SUCCESS,
            b"\x01S=407A5589115FD0D6209F510FE9C04566932CDA56",
        );
    });
    c.handle_datagram(t, port, &bytes).unwrap();
    let completion = finished(&mut c).unwrap();
    assert_eq!(completion.result, RadiusResult::Malformed);
    assert_eq!(completion.answer, Some(Answer::Lacking(Lacking::RecvKey)));
}

proptest::proptest! {
    #[test]
    fn no_datagram_is_believed_without_the_secret(bytes: Vec<u8>, identifier: bool) {
        let (t, mut c) = (start(), client(1, |_| ()));
        let (_, port, request) = ask(&mut c, t, "alice");
        let mut bytes = bytes;
        if let (true, [_, id, ..]) = (identifier, bytes.as_mut_slice()) {
            *id = request[1];
        }
        proptest::prop_assert!(c.handle_datagram(t, port, &bytes).is_err());
        proptest::prop_assert_eq!(c.waiting(ServerId(0)), 1);
    }
}
