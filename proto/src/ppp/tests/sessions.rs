//! Whole sessions of a server and a client.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::aaa::network;
use super::frames::{Sent, client_config, server_config};
use super::pair::{Pair, down};
use crate::aaa::{AuthMethod, NetworkConfig};
use crate::crypto::SecretBytes;
use crate::ppp::frame::{self, Protocol};
use crate::ppp::{Config, DownReason, Event, Profile, RoleConfig};
use crate::terminate::TerminateCause;

fn methods() -> impl Iterator<Item = (AuthMethod, Profile)> {
    AuthMethod::ALL.into_iter().flat_map(|method| {
        [Profile::Plain, Profile::Windows, Profile::Pppd].map(|profile| (method, profile))
    })
}

fn wrong_password(mut config: Config) -> Config {
    if let RoleConfig::Client(client) = &mut config.role {
        client.password = SecretBytes::from(&b"looking-glass"[..]);
    }
    config
}

#[test]
fn every_method_brings_every_client_up() {
    for (method, profile) in methods() {
        let mut pair = Pair::new(server_config(&[method]), client_config(&[method], profile));
        assert!(
            pair.connect(),
            "{method:?} {profile:?}: {:?}",
            pair.server_events
        );
        assert_eq!(pair.now, pair.started, "nothing had to be repeated");
        assert_eq!(pair.server.auth_method(), Some(method));
        let up = Event::NetworkUp(network());
        assert!(pair.server_events.contains(&up));
        let Some(Event::NetworkUp(NetworkConfig {
            address,
            gateway,
            dns,
            wins,
            mtu,
        })) = pair.client_events.last()
        else {
            panic!("{:?}", pair.client_events);
        };
        assert_eq!((*address, *gateway), (network().address, network().gateway));
        assert_eq!((dns, wins.len(), *mtu), (&network().dns, 0, 1400));
        let keys = |events: &[Event]| {
            events.iter().find_map(|event| match event {
                Event::Authenticated { keys } => Some(keys.clone()),
                Event::Authenticate(_) | Event::Eap(_) | Event::NetworkUp(_) | Event::Down(_) => {
                    None
                }
            })
        };
        assert_eq!(keys(&pair.server_events), keys(&pair.client_events));
        let keyed = matches!(method, AuthMethod::MsChapV2 | AuthMethod::Eap);
        assert_eq!(keys(&pair.client_events).unwrap().is_some(), keyed);
        assert_eq!(pair.asked, if method == AuthMethod::Eap { 3 } else { 1 });
    }
}

#[test]
fn every_method_survives_loss() {
    for (method, profile) in methods() {
        // The transport is reliable: only what is sent too early is lost. EAP requests behind the first are never
        // sent again, so that loss ends such a log-in instead.
        if method == AuthMethod::Eap {
            continue;
        }
        for loss in [1, 10, 30] {
            for seed in 0..8 {
                let (server, client) =
                    (server_config(&[method]), client_config(&[method], profile));
                let mut pair = Pair::with_loss(server, client, loss, seed);
                let up = pair.connect();
                let ended = down(&pair.server_events).or_else(|| down(&pair.client_events));
                assert!(
                    up || (loss == 30 && ended.is_some()),
                    "{method:?} {loss} % seed {seed}"
                );
                assert!(pair.asked <= 1);
            }
        }
    }
}

#[test]
fn a_wrong_password_is_said_and_then_the_link_ends() {
    for (method, profile) in methods() {
        let client = wrong_password(client_config(&[method], profile));
        let mut pair = Pair::new(server_config(&[method]), client);
        let (server, client) = pair.downs();
        assert_eq!(server.reason, DownReason::AuthRefused);
        assert_eq!(server.cause, TerminateCause::AuthFailed);
        assert_eq!(client.reason, DownReason::AuthRefused, "{method:?}");
        let to_client: Vec<_> = pair.seen[1].iter().map(|frame| Sent::read(frame)).collect();
        let failure = to_client.iter().position(|sent| {
            matches!(
                (sent.protocol, sent.code),
                (Protocol::PAP, 3) | (Protocol::CHAP | Protocol::EAP, 4)
            )
        });
        let terminate = to_client
            .iter()
            .position(|sent| (sent.protocol, sent.code) == (Protocol::LCP, 5));
        assert!(failure.unwrap() < terminate.unwrap());
        if method == AuthMethod::MsChapV2 {
            let text = String::from_utf8(to_client[failure.unwrap()].data.clone()).unwrap();
            assert!(
                text.starts_with("E=691 R=0 C=") && text.contains(" V=3 M="),
                "{text}"
            );
        }
    }
}

#[test]
fn the_two_agree_on_a_method_that_both_allow() {
    use AuthMethod::{ChapMd5, Eap, MsChapV2, Pap};
    let cases: [(&[AuthMethod], &[AuthMethod], Option<AuthMethod>); 6] = [
        (&[Eap, MsChapV2], &[MsChapV2], Some(MsChapV2)),
        (&[Eap, MsChapV2, Pap], &[Pap], Some(Pap)),
        (&[Eap, MsChapV2, Pap], &[Pap, MsChapV2], Some(Pap)),
        (&[MsChapV2], &[Pap], None),
        (&[Eap], &[ChapMd5, Pap], None),
        (&[MsChapV2, Eap], &[], None),
    ];
    for (offered, accepted, want) in cases {
        let client = client_config(accepted, Profile::Plain);
        let mut pair = Pair::new(server_config(offered), client);
        if want.is_some() {
            assert!(pair.connect(), "{offered:?} {accepted:?}");
            assert_eq!(pair.server.auth_method(), want);
            continue;
        }
        let (server, _) = pair.downs();
        assert_eq!(server.reason, DownReason::LcpNoAuthAgreed);
        assert_eq!(pair.asked, 0);
    }
}

#[test]
fn a_link_can_move_to_another_thread() {
    const fn is_send<T: Send>() {}
    const { is_send::<crate::ppp::Link>() };
}

#[test]
fn waits_for_a_slow_authenticator_and_asks_once() {
    for (method, profile) in methods() {
        // A PAP client has nothing to say after ten requests; the server does not mind.
        let mut pair = Pair::new(server_config(&[method]), client_config(&[method], profile));
        pair.thinking = Duration::from_secs(if method == AuthMethod::Eap { 15 } else { 45 });
        assert!(pair.connect(), "{method:?}");
        assert_eq!(pair.asked, if method == AuthMethod::Eap { 3 } else { 1 });
        let challenges = pair.seen[1]
            .iter()
            .map(|frame| Sent::read(frame))
            .filter(|sent| (sent.protocol, sent.code) == (Protocol::CHAP, 1));
        assert!(
            challenges.count() <= 1,
            "no challenge while one is being answered"
        );
    }
}

#[test]
fn a_server_starts_by_itself_after_half_a_second() {
    let mut pair = Pair::with_loss(
        server_config(&[AuthMethod::Pap]),
        client_config(&[AuthMethod::Pap], Profile::Plain),
        100,
        1,
    );
    pair.run(Duration::from_millis(499), |_| false);
    assert!(pair.seen[1].is_empty());
    pair.run(Duration::from_millis(1), |_| false);
    assert_eq!(pair.seen[1].len(), 1);
    // The first restart comes soon, in case the peer was not up yet.
    pair.run(Duration::from_secs(1), |_| false);
    assert_eq!(pair.seen[1].len(), 2);
    let (server, client) = pair.downs();
    assert_eq!(
        (server.reason, client.reason),
        (DownReason::LcpTimeout, DownReason::LcpTimeout)
    );
    assert_eq!(pair.seen[1].len(), 10);
}

#[test]
fn windows_is_told_once_what_is_not_spoken() {
    let mut pair = Pair::new(
        server_config(&[AuthMethod::MsChapV2]),
        client_config(&[AuthMethod::MsChapV2], Profile::Windows),
    );
    assert!(pair.connect());
    let identification = pair.server.identification();
    assert_eq!(identification.version.as_deref(), Some("MSRASV5.20"));
    assert_eq!(identification.name.as_deref(), Some("MSRAS-0-CAUSEWAY"));
    assert!(identification.guid.is_some());
    let rejects: Vec<_> = pair.seen[1]
        .iter()
        .map(|frame| Sent::read(frame))
        .filter(|sent| (sent.protocol, sent.code) == (Protocol::LCP, 8))
        .map(|sent| sent.data[..2].to_vec())
        .collect();
    assert_eq!(rejects, [[0x80, 0x57], [0x80, 0xfd]]);
    for frame in &pair.seen[1] {
        let sent = Sent::read(frame);
        assert!(frame.starts_with(&frame::header(sent.protocol)));
        assert!(sent.protocol != Protocol::LCP || (1..=11).contains(&sent.code));
    }
}

#[test]
fn either_side_hangs_up_politely() {
    let connect = || {
        let mut pair = Pair::new(
            server_config(&[AuthMethod::Pap]),
            client_config(&[AuthMethod::Pap], Profile::Plain),
        );
        assert!(pair.connect());
        pair
    };
    let mut pair = connect();
    pair.server.terminate(pair.now, TerminateCause::IdleTimeout);
    let (server, client) = pair.downs();
    assert_eq!(
        (server.cause, server.reason),
        (TerminateCause::IdleTimeout, DownReason::Local)
    );
    assert_eq!(client.reason, DownReason::PeerTerminated);
    assert_eq!(pair.now, pair.started);

    let mut pair = connect();
    pair.client.terminate(pair.now, TerminateCause::UserRequest);
    let (server, client) = pair.downs();
    assert_eq!(server.cause, TerminateCause::UserRequest);
    assert_eq!(
        (server.reason, client.reason),
        (DownReason::PeerTerminated, DownReason::Local)
    );
}

#[test]
fn an_idle_pair_lives_and_a_silent_peer_is_noticed() {
    let mut pair = Pair::new(
        server_config(&[AuthMethod::Pap]),
        client_config(&[AuthMethod::Pap], Profile::Plain),
    );
    assert!(pair.connect());
    assert!(!pair.run(Duration::from_secs(3600), |pair| {
        down(&pair.server_events).is_some()
    }));
    // Now nobody reads for the client.
    let silent = pair.now;
    while down(&pair.server_events).is_none() {
        pair.now = pair.now.max(pair.server.poll_timeout().unwrap());
        pair.server.handle_timeout(pair.now);
        pair.server_events
            .extend(core::iter::from_fn(|| pair.server.poll_event()));
    }
    let down = down(&pair.server_events).unwrap();
    assert_eq!(
        (down.cause, down.reason),
        (TerminateCause::PeerLost, DownReason::EchoLost)
    );
    assert!(pair.now - silent < Duration::from_secs(110));
}

#[test]
fn data_count_as_life() {
    let mut pair = Pair::new(
        server_config(&[AuthMethod::Pap]),
        client_config(&[AuthMethod::Pap], Profile::Plain),
    );
    assert!(pair.connect());
    let sent = pair.seen[1].len();
    for _ in 0..100 {
        pair.now += Duration::from_secs(10);
        pair.server.heard(pair.now);
        pair.server.handle_timeout(pair.now);
        assert!(!pair.server.poll_transmit(&mut Vec::new()));
    }
    assert_eq!(pair.seen[1].len(), sent);
}

#[test]
fn two_dns_servers_and_no_wins_is_what_a_client_hears() {
    let mut pair = Pair::new(
        server_config(&[AuthMethod::Pap]),
        client_config(&[AuthMethod::Pap], Profile::Windows),
    );
    assert!(pair.connect());
    let replies: Vec<_> = pair.seen[1]
        .iter()
        .map(|frame| Sent::read(frame))
        .filter(|sent| sent.protocol == Protocol::IPCP && sent.code != 1)
        .map(|sent| (sent.code, sent.data))
        .collect();
    let dns = [
        &[3, 6, 10, 9, 0, 7][..],
        &[129, 6, 10, 9, 0, 53],
        &[131, 6, 10, 9, 0, 54],
    ]
    .concat();
    // Reject comes first, then the Nak, then it is as we want it.
    let wins = vec![130, 6, 0, 0, 0, 0, 132, 6, 0, 0, 0, 0];
    assert_eq!(replies, [(4, wins), (3, dns.clone()), (2, dns)]);
    assert_eq!(network().address, Ipv4Addr::new(10, 9, 0, 7));
}
