//! Log-ins that succeed, and those that the authenticator refuses.

use std::time::Duration;

use super::authority::{Mood, PASSWORD, network};
use super::pair::Setup;
use crate::aaa::AuthMethod;
use crate::ppp::{Profile, Supplicant};
use crate::sstp::{ClientEvent, EndReason, Event, HashProtocol, data_header};

const METHODS: [AuthMethod; 3] = [AuthMethod::Pap, AuthMethod::MsChapV2, AuthMethod::Eap];

#[test]
fn logs_in_by_every_method_over_any_record_boundaries() {
    for method in METHODS {
        for chunk in [1, 2, 3, 5, 13, 64, 1000, 16384] {
            let mut pair = Setup {
                chunk,
                ..Setup::new(method)
            }
            .pair();
            pair.run_up();
            assert_eq!(pair.server.method(), Some(method));
            assert_eq!(pair.server.hash_protocol(), Some(HashProtocol::Sha256));
            assert_eq!(pair.server_events.last(), Some(&Event::Up(network())));
            let up = pair.client_events.last();
            let Some(ClientEvent::Up(config)) = up else {
                panic!("{up:?}");
            };
            assert_eq!(config.address, network().address);
            assert_eq!(config.dns, network().dns);
            assert_eq!(pair.server.dropped(), 0);
            let rounds = if method == AuthMethod::Eap { 3 } else { 1 };
            assert_eq!(pair.logins, rounds, "{method:?} in chunks of {chunk}");
            assert!(pair.now - pair.start < Duration::from_secs(2));
        }
    }
}

#[test]
fn logs_in_the_clients_that_were_recorded() {
    for method in METHODS {
        for profile in [Profile::Windows, Profile::Pppd] {
            for preferred in HashProtocol::ALL {
                let mut pair = Setup {
                    preferred,
                    profile,
                    ..Setup::new(method)
                }
                .pair();
                pair.run_up();
                assert_eq!(pair.server.hash_protocol(), Some(preferred));
            }
        }
    }
}

#[test]
fn a_supplicant_outside_of_the_link_logs_in_and_makes_the_keys() {
    for (password, is_right) in [(PASSWORD, true), ("nope", false)] {
        let mut pair = Setup {
            supplicant: Supplicant::External,
            password,
            ..Setup::new(AuthMethod::Eap)
        }
        .pair();
        if is_right {
            pair.run_up();
            assert_eq!(pair.server_events.last(), Some(&Event::Up(network())));
        } else {
            pair.run_down();
            assert!(!pair.server.is_up());
        }
        let asked = |event: &&ClientEvent| matches!(event, ClientEvent::Eap(_));
        assert!(pair.client_events.iter().filter(asked).count() >= 3);
    }
}

#[test]
fn a_client_falls_back_to_the_hash_that_is_offered() {
    for hash in HashProtocol::ALL {
        let mut pair = Setup {
            hashes: vec![hash],
            ..Setup::new(AuthMethod::MsChapV2)
        }
        .pair();
        pair.run_up();
        assert_eq!(pair.server.hash_protocol(), Some(hash));
    }
}

#[test]
fn packets_flow_in_place_once_up() {
    let mut pair = Setup::new(AuthMethod::Pap).pair();
    pair.run_up();
    let mut bytes = Vec::new();
    for len in [20_u16, 28, 576, 1400, 4087] {
        bytes.extend(data_header(len));
        bytes.extend((0..len).map(|at| u8::try_from(at % 251).unwrap()));
    }
    // Spellings that we never agree to, but understand.
    bytes.extend([0x10, 0, 0, 7, 0x21, 0x45, 1]);
    bytes.extend([0x10, 0, 0, 8, 0x00, 0x21, 0x45, 2]);
    pair.inject_up(&bytes);
    pair.inject_down(&bytes);
    pair.pump();
    for taken in [&pair.taken_up, &pair.taken_down] {
        let lens: Vec<_> = taken.iter().map(Vec::len).collect();
        assert_eq!(lens, [20, 28, 576, 1400, 4087, 2, 2]);
        assert_eq!(taken[1][..4], [0, 1, 2, 3]);
    }
    assert_eq!(pair.server.dropped(), 0);
}

#[test]
fn what_stands_behind_up_is_left_for_the_packet_path() {
    for method in METHODS {
        let mut pair = Setup {
            data_behind: true,
            ..Setup::new(method)
        }
        .pair();
        pair.run_up();
        pair.pump();
        // The pair checks that nothing is taken before the event.
        assert!(!pair.taken_up.is_empty());
        assert!(pair.server.dropped() > 0);
    }
}

#[test]
fn waits_45_seconds_for_the_authenticator() {
    for method in METHODS {
        let rounds = if method == AuthMethod::Eap { 3 } else { 1 };
        let mut pair = Setup {
            delay: Duration::from_secs(45) / rounds,
            ..Setup::new(method)
        }
        .pair();
        pair.run_up();
        assert!(pair.now - pair.start >= Duration::from_secs(44));
        assert_eq!(pair.logins, usize::try_from(rounds).unwrap());
        // No echo of SSTP's while the client waits: Windows would abort.
        assert_eq!(pair.position_down(&[0, 8]), None);
    }
}

#[test]
fn a_refusal_is_told_before_the_call_ends() {
    let rows: [(AuthMethod, &[u8]); 3] = [
        (AuthMethod::Pap, &[0xff, 3, 0xc0, 0x23, 3]),
        (AuthMethod::MsChapV2, &[0xff, 3, 0xc2, 0x23, 4]),
        (AuthMethod::Eap, &[0xff, 3, 0xc2, 0x27, 4]),
    ];
    for (method, failure) in rows {
        for (mood, password) in [(Mood::No, "wonderland"), (Mood::Right, "looking glass")] {
            let mut pair = Setup {
                password,
                mood,
                ..Setup::new(method)
            }
            .pair();
            pair.run_down();
            pair.check_over();
            let told = pair.position_down(failure).expect("no failure");
            let terminated = pair
                .position_down(&[0xff, 3, 0xc0, 0x21, 5])
                .expect("no terminate");
            let disconnected = pair
                .position_down(&[0, 6])
                .or_else(|| pair.position_down(&[0, 7]))
                .expect("no disconnect");
            assert!(told < terminated && terminated < disconnected);
            let (_, reason) = pair.server_down().unwrap();
            assert_eq!(reason.as_str(), "auth_refused");
            assert!(!pair.server_events.contains(&Event::Authenticated));
            assert!(pair.now - pair.start < Duration::from_secs(10));
        }
    }
}

#[test]
fn a_grant_without_keys_is_a_refusal() {
    for (method, success) in [
        (AuthMethod::MsChapV2, [0xff, 3, 0xc2, 0x23, 3]),
        (AuthMethod::Eap, [0xff, 3, 0xc2, 0x27, 3]),
    ] {
        let mut pair = Setup {
            mood: Mood::WithoutKeys,
            ..Setup::new(method)
        }
        .pair();
        pair.run_down();
        pair.check_over();
        assert_eq!(pair.position_down(&success), None);
        assert!(!pair.server_events.contains(&Event::Authenticated));
    }
}

#[test]
fn keys_that_pap_does_not_have_are_ignored() {
    let mut pair = Setup {
        mood: Mood::WithKeys,
        ..Setup::new(AuthMethod::Pap)
    }
    .pair();
    pair.run_up();
}

#[test]
fn keys_that_are_not_the_clients_do_not_bind() {
    for method in [AuthMethod::MsChapV2, AuthMethod::Eap] {
        let mut pair = Setup {
            mood: Mood::OtherKeys,
            ..Setup::new(method)
        }
        .pair();
        pair.run_down();
        pair.check_over();
        let (_, reason) = pair.server_down().unwrap();
        assert!(matches!(reason, EndReason::Binding(_)), "{reason}");
        assert!(pair.taken_up.is_empty());
    }
}
