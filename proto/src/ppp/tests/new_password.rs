//! A password that has expired, and another one in its place (RFC 2759 §7).

use super::aaa::{EXPIRED, PASSWORD, decide, expired, refuse};
use super::frames::{Bench, Sent, client_config, frame, server_config};
use super::pair::{Pair, down};
use crate::aaa::{AuthMethod, Credentials};
use crate::crypto::SecretBytes;
use crate::mschapv2::PasswordChange;
use crate::ppp::frame::Protocol;
use crate::ppp::{Config, DownReason, Event, Profile, RoleConfig};

const METHOD: &[AuthMethod] = &[AuthMethod::MsChapV2];

fn server(password_change: bool) -> Config {
    let mut config = server_config(METHOD);
    if let RoleConfig::Server(server) = &mut config.role {
        server.password_change = password_change;
    }
    config
}

fn client(new: Option<&str>) -> Config {
    let mut config = client_config(METHOD, Profile::Windows);
    if let RoleConfig::Client(client) = &mut config.role {
        client.password = SecretBytes::from(EXPIRED.as_bytes());
        client.new_password = new.map(|new| SecretBytes::from(new.as_bytes()));
    }
    config
}

fn failures(pair: &Pair) -> Vec<String> {
    let sent = pair.seen[1].iter().map(|frame| Sent::read(frame));
    sent.filter(|sent| (sent.protocol, sent.code) == (Protocol::CHAP, 4))
        .map(|sent| String::from_utf8(sent.data).unwrap())
        .collect()
}

#[test]
fn an_expired_password_is_changed_in_the_same_log_in() {
    let mut pair = Pair::new(server(true), client(Some(PASSWORD)));
    assert!(pair.connect(), "{:?}", pair.server_events);
    assert_eq!(pair.asked, 2);
    assert_eq!(
        failures(&pair),
        ["E=648 R=1 C=00112233445566778899AABBCCDDEEFF V=3 M=Password expired"]
    );
    let keys = |events: &[Event]| {
        let keys = events.iter().find_map(|event| match event {
            Event::Authenticated { keys } => Some(keys.clone()),
            Event::Authenticate(_) | Event::Eap(_) | Event::NetworkUp(_) | Event::Down(_) => None,
        });
        keys.flatten().unwrap()
    };
    assert_eq!(keys(&pair.server_events), keys(&pair.client_events));
}

#[test]
fn without_the_switch_it_is_a_refusal_as_any_other() {
    let mut pair = Pair::new(server(false), client(Some(PASSWORD)));
    let (server, _) = pair.downs();
    assert_eq!(server.reason, DownReason::AuthRefused);
    assert!(failures(&pair)[0].starts_with("E=648 R=0 C=0011"));
    // The client tries, and nobody listens.
    assert_eq!(pair.asked, 1);
}

#[test]
fn who_has_no_other_password_is_refused() {
    let mut pair = Pair::new(server(true), client(None));
    let (_, client) = pair.downs();
    assert_eq!(client.reason, DownReason::AuthRefused);
    assert_eq!(pair.asked, 1);
}

#[test]
fn a_new_password_that_is_not_taken_is_the_end() {
    let mut pair = Pair::new(server(true), client(Some("too short")));
    let (server, client) = pair.downs();
    assert_eq!(server.reason, DownReason::AuthRefused);
    assert_eq!(client.reason, DownReason::AuthRefused);
    assert_eq!((pair.asked, failures(&pair).len()), (2, 2));
    assert!(down(&pair.server_events).is_some());
}

/// A server that has just been told that alice's password has expired, and the identifier of what it said.
fn told() -> (Bench, u8) {
    let mut bench = Bench::with(server(true));
    let sent = bench.lcp(1, 9, &[1, 4, 5, 220, 5, 6, 0, 0, 0, 1]);
    let request = sent.iter().find(|sent| sent.code == 1).unwrap().clone();
    let sent = bench.lcp(2, request.id, &request.data);
    let challenge = sent.iter().find(|sent| sent.protocol == Protocol::CHAP);
    let id = challenge.unwrap().id;
    // What was sent before is nothing.
    let value = [0; PasswordChange::LEN];
    assert_eq!(
        bench.send(&frame(Protocol::CHAP, 7, id.wrapping_add(1), &value)),
        []
    );
    assert_eq!(bench.send(&frame(Protocol::CHAP, 7, id, &value)), []);
    let response = [&[49][..], &[0; 49], b"alice"].concat();
    bench.send(&frame(Protocol::CHAP, 2, id, &response));
    assert!(matches!(
        bench.link.poll_event(),
        Some(Event::Authenticate(_))
    ));
    bench.link.handle_decision(bench.now, expired());
    let sent = bench.drain();
    assert_eq!((sent.len(), sent[0].code, sent[0].id), (1, 4, id));
    // Who did not hear it hears it again.
    assert_eq!(bench.send(&frame(Protocol::CHAP, 2, id, &response)), sent);
    (bench, id)
}

#[test]
fn only_a_change_as_it_should_be_is_taken() {
    let (mut bench, id) = told();
    let next = id.wrapping_add(1);
    let good = [7; PasswordChange::LEN];
    let longer = [7; PasswordChange::LEN + 1];
    for (id, value) in [
        (id, &good[..]),
        (next.wrapping_add(1), &good[..]),
        (next, &good[1..]),
        (next, &longer[..]),
        (next, &[]),
    ] {
        assert_eq!(bench.send(&frame(Protocol::CHAP, 7, id, value)), []);
        assert!(bench.link.poll_event().is_none());
    }
    let change = frame(Protocol::CHAP, 7, next, &good);
    assert_eq!(bench.send(&change), []);
    let Some(Event::Authenticate(asked)) = bench.link.poll_event() else {
        panic!("nobody is asked");
    };
    let Credentials::MsChapV2Change { user, change: seen } = &asked else {
        panic!("{asked:?}");
    };
    assert_eq!((user.as_bytes(), seen.identifier), (&b"alice"[..], next));
    assert_eq!(seen.challenge[..3], [0, 0x11, 0x22]);
    // Once more while it is looked at.
    assert_eq!(bench.send(&change), []);
    assert!(bench.link.poll_event().is_none());
    // It expires no second time.
    bench.link.handle_decision(bench.now, expired());
    let sent = bench.drain();
    assert_eq!((sent[0].code, sent[0].id), (4, next));
    assert!(sent[0].data.starts_with(b"E=648 R=0"));
    assert_eq!((sent[1].protocol, sent[1].code), (Protocol::LCP, 5));
}

#[test]
fn another_try_with_the_old_password_is_refused_and_silence_ends() {
    let (mut bench, id) = told();
    let response = [&[49][..], &[0; 49], b"alice"].concat();
    let sent = bench.send(&frame(Protocol::CHAP, 2, id.wrapping_add(1), &response));
    assert!(sent[0].data.starts_with(b"E=691 R=0"), "{sent:?}");

    let (mut bench, _) = told();
    let events = bench.run_out();
    let timeout = |event: &Event| matches!(event, Event::Down(down) if down.reason == DownReason::AuthTimeout);
    assert!(events.iter().any(timeout), "{events:?}");
}

#[test]
fn the_authenticator_sees_the_password_that_the_client_means() {
    let change = |new: &str| {
        let passwords = (EXPIRED, new);
        let change = PasswordChange::new(passwords, b"alice", (1, [1; 16]), [2; 16], &[3; 512]);
        Credentials::MsChapV2Change {
            user: crate::aaa::Identity::new(b"alice").unwrap(),
            change: change.unwrap(),
        }
    };
    assert!(matches!(
        decide(&change(PASSWORD)),
        crate::aaa::Decision::Admit(_)
    ));
    assert_eq!(decide(&change("another")), refuse());
}
