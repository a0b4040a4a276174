//! The authentication phase against peers and servers that get it wrong.

use std::time::Duration;

use super::aaa::{admit, challenge, decide, refuse};
use super::frames::{Bench, frame, pap};
use super::hostile::reason;
use crate::aaa::{AuthMethod, Credentials, Decision, Identity, Proof};
use crate::eap;
use crate::ppp::frame::Protocol;
use crate::ppp::{DownReason, Event};

#[test]
fn pap_is_asked_once_and_answered_to_the_latest_identifier() {
    let mut bench = Bench::open(AuthMethod::Pap, 1500);
    assert!(bench.send(&pap(1)).is_empty());
    let Some(Event::Authenticate(credentials)) = bench.link.poll_event() else {
        panic!("no log-in");
    };
    assert!(bench.send(&pap(2)).is_empty());
    assert!(
        bench
            .send(&frame(Protocol::PAP, 1, 3, b"\x03eve\x01x"))
            .is_empty()
    );
    assert_eq!(bench.link.poll_event(), None);
    bench.link.handle_decision(bench.now, decide(&credentials));
    let sent = bench.drain();
    assert_eq!(
        (sent[0].code, sent[0].id, sent[0].data.as_slice()),
        (2, 2, &b"\x05Hello"[..])
    );
    // It was lost: the same answer again.
    let sent = bench.send(&pap(4));
    assert_eq!((sent.len(), sent[0].code, sent[0].id), (1, 2, 4));
    // Who the request is about does not matter any more: nobody is asked, and there is one decision.
    let sent = bench.send(&frame(Protocol::PAP, 1, 5, b"\x03eve\x01x"));
    assert_eq!((sent.len(), sent[0].code, sent[0].id), (1, 2, 5));
    assert_eq!(sent[0].data, b"\x05Hello");
    assert!(!matches!(
        bench.link.poll_event(),
        Some(Event::Authenticate(_))
    ));
}

#[test]
fn malformed_credentials_ask_nobody() {
    let cases: [&[u8]; 6] = [
        b"",
        b"\xff",
        b"\x05ali",
        b"\x05alice",
        b"\x05alice\x0bwonderland",
        b"\x00\x00",
    ];
    for case in cases {
        let mut bench = Bench::open(AuthMethod::Pap, 1500);
        bench.send(&frame(Protocol::PAP, 1, 1, case));
        assert!(
            !matches!(bench.link.poll_event(), Some(Event::Authenticate(_))),
            "{case:?}"
        );
    }
    let long = [&[16][..], &[1; 16], &[b'A'; 300]].concat();
    let short = [&[48][..], &[1; 48], b"alice"].concat();
    for case in [&b""[..], b"\xff\x01", &long, &short] {
        let mut bench = Bench::open(AuthMethod::MsChapV2, 1500);
        for id in 0..=255 {
            bench.send(&frame(Protocol::CHAP, 2, id, case));
        }
        assert!(
            !matches!(bench.link.poll_event(), Some(Event::Authenticate(_))),
            "{case:?}"
        );
    }
}

#[test]
fn a_client_that_never_logs_in_is_cut_off() {
    for method in AuthMethod::ALL {
        let mut bench = Bench::open(method, 1500);
        let start = bench.now;
        assert_eq!(reason(&bench.run_out()), Some(DownReason::AuthTimeout));
        assert!(bench.now - start < Duration::from_secs(33), "{method:?}");
    }
}

#[test]
fn a_success_without_its_proof_lets_nobody_in() {
    let alice = Identity::new(b"alice").unwrap();
    let proofs = [
        Proof::Message(String::new()),
        Proof::MsChapV2("E=691".to_owned()),
        Proof::Eap(vec![4, 1, 0, 4]),
        Proof::Eap(vec![3, 1]),
    ];
    for method in [AuthMethod::MsChapV2, AuthMethod::Eap] {
        for proof in &proofs {
            let mut bench = Bench::new(&[method]);
            let mut sent = bench.lcp(1, 9, &[]);
            let request = sent.remove(0);
            let sent = bench.lcp(2, request.id, &request.data);
            if method == AuthMethod::Eap {
                bench.send(&frame(Protocol::EAP, 2, sent[0].id, b"\x01alice"));
            } else {
                let response = [&[49][..], &[0; 49], b"alice"].concat();
                bench.send(&frame(Protocol::CHAP, 2, sent[0].id, &response));
            }
            assert!(matches!(
                bench.link.poll_event(),
                Some(Event::Authenticate(_))
            ));
            bench
                .link
                .handle_decision(bench.now, admit(&alice, proof.clone(), None));
            let sent = bench.drain();
            assert_eq!(sent[0].code, 4, "{method:?} {proof:?}");
            assert_eq!(reason(&bench.run_out()), Some(DownReason::AuthRefused));
        }
    }
}

/// Logs in with EAP as far as the first question.
fn eap() -> (Bench, u8, Credentials) {
    let mut bench = Bench::new(&[AuthMethod::Eap]);
    let request = bench.lcp(1, 9, &[]).remove(0);
    let id = bench.lcp(2, request.id, &request.data)[0].id;
    assert!(
        bench
            .send(&frame(Protocol::EAP, 2, id.wrapping_add(1), b"\x01eve"))
            .is_empty()
    );
    assert!(
        bench
            .send(&frame(Protocol::EAP, 2, id, b"\x03\x1a"))
            .is_empty()
    );
    assert_eq!(bench.link.poll_event(), None);
    bench.send(&frame(Protocol::EAP, 2, id, b"\x01alice"));
    let Some(Event::Authenticate(credentials)) = bench.link.poll_event() else {
        panic!("no log-in");
    };
    (bench, id, credentials)
}

#[test]
fn eap_hears_each_response_once_and_returns_the_state() {
    let (mut bench, id, credentials) = eap();
    let Credentials::Eap {
        user,
        message,
        state,
    } = credentials
    else {
        panic!("not EAP");
    };
    assert_eq!((user.as_bytes(), state), (&b"alice"[..], None));
    assert_eq!(message, [&[2, id, 0, 10, 1][..], b"alice"].concat());
    bench.send(&frame(Protocol::EAP, 2, id, b"\x01alice"));
    assert_eq!(
        bench.link.poll_event(),
        None,
        "a duplicate is no second prompt"
    );
    for code in [3, 4] {
        assert!(bench.send(&frame(Protocol::EAP, code, id, b"")).is_empty());
        assert_eq!(bench.link.poll_event(), None, "only a server ends EAP");
    }
    let next = id.wrapping_add(1);
    bench
        .link
        .handle_decision(bench.now, challenge(next, eap::Type(4), &[1, 2], vec![9]));
    assert_eq!(bench.drain()[0].id, next);
    bench.send(&frame(Protocol::EAP, 2, id, b"\x01alice"));
    assert_eq!(bench.link.poll_event(), None, "an old identifier");
    bench.send(&frame(Protocol::EAP, 2, next, &[4, 7]));
    let Some(Event::Authenticate(Credentials::Eap {
        state: Some(state), ..
    })) = bench.link.poll_event()
    else {
        panic!("no second round");
    };
    assert_eq!((state.state, state.server.as_str()), (vec![9], "nps"));
    // The server says yes but brings no packet: we make one.
    let alice = Identity::new(b"alice").unwrap();
    bench
        .link
        .handle_decision(bench.now, admit(&alice, Proof::Eap(vec![]), None));
    let sent = bench.drain();
    assert_eq!(
        (sent[0].protocol, sent[0].code, sent[0].id),
        (Protocol::EAP, 3, next)
    );
    // It was lost.
    let sent = bench.send(&frame(Protocol::EAP, 2, next, &[4, 7]));
    assert_eq!((sent.len(), sent[0].code, sent[0].id), (1, 3, next));
}

#[test]
fn eap_ends_after_forty_rounds_or_two_minutes() {
    let (mut bench, mut id, _) = eap();
    let mut rounds = 1;
    let down = loop {
        id = id.wrapping_add(1);
        bench
            .link
            .handle_decision(bench.now, challenge(id, eap::Type(13), &[0], vec![]));
        bench.drain();
        bench.send(&frame(Protocol::EAP, 2, id, &[13, 0]));
        match bench.link.poll_event() {
            Some(Event::Authenticate(_)) => rounds += 1,
            Some(other) => break Some(other),
            None => break None,
        }
    };
    assert_eq!((rounds, down), (40, None));
    assert_eq!(reason(&bench.run_out()), Some(DownReason::AuthLoop));

    let (mut bench, id, _) = eap();
    let start = bench.now;
    assert_eq!(reason(&bench.run_out()), Some(DownReason::AuthTimeout));
    assert!(bench.now - start <= Duration::from_secs(123));
    // The answer comes too late.
    bench
        .link
        .handle_decision(bench.now, challenge(id, eap::Type(4), &[], vec![]));
    assert!(bench.drain().is_empty());
}

#[test]
fn a_question_that_cannot_be_shown_is_a_refusal_with_its_text() {
    let mut bench = Bench::open(AuthMethod::Pap, 1500);
    bench.send(&pap(1));
    let Decision::Challenge(mut question) = challenge(1, eap::Type(4), &[], vec![]) else {
        panic!("no challenge");
    };
    question.message = Some("Enter the code".to_owned());
    bench
        .link
        .handle_decision(bench.now, Decision::Challenge(question));
    let sent = bench.drain();
    assert_eq!(
        (sent[0].code, sent[0].data.as_slice()),
        (3, &b"\x0eEnter the code"[..])
    );
}

#[test]
fn the_refusal_of_the_server_is_passed_on_without_its_retry() {
    let mut bench = Bench::open(AuthMethod::MsChapV2, 1500);
    let mut id = 0;
    while !matches!(bench.link.poll_event(), Some(Event::Authenticate(_))) {
        let response = [&[49][..], &[0; 49], b"alice"].concat();
        bench.send(&frame(Protocol::CHAP, 2, id, &response));
        id += 1;
    }
    let Decision::Refuse(mut refusal) = refuse() else {
        panic!("no refusal");
    };
    refusal.rejection.ms_chap_error = Some("E=648 R=1 C=00 V=3 M=Expired".to_owned());
    bench
        .link
        .handle_decision(bench.now, Decision::Refuse(refusal));
    let sent = bench.drain();
    assert_eq!(
        (sent[0].code, sent[0].data.as_slice()),
        (4, &b"E=648 R=0 C=00 V=3 M=Expired"[..])
    );
    assert_eq!((sent[1].protocol, sent[1].code), (Protocol::LCP, 5));
}
