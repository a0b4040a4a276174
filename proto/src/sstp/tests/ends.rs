//! How sessions end: politely from either side, by silence, and by a transport that breaks at any octet.

use std::time::Duration;

use super::pair::Setup;
use crate::aaa::AuthMethod;
use crate::sstp::{ClientEvent, Event};
use crate::terminate::TerminateCause;

const METHODS: [AuthMethod; 3] = [AuthMethod::Pap, AuthMethod::MsChapV2, AuthMethod::Eap];
const TERMINATE: [u8; 5] = [0xff, 3, 0xc0, 0x21, 5];
const DISCONNECT: [u8; 2] = [0, 6];

#[test]
fn the_server_hangs_up_politely() {
    for cause in TerminateCause::ALL {
        let mut pair = Setup::new(AuthMethod::MsChapV2).pair();
        pair.run_up();
        pair.server.terminate(pair.now, cause);
        assert!(!pair.server.is_up());
        pair.server.terminate(pair.now, TerminateCause::Admin);
        pair.run_down();
        pair.check_over();
        let (found, reason) = pair.server_down().unwrap();
        assert_eq!(found, cause);
        assert_eq!(reason.as_str(), "local");
        let terminated = pair.position_down(&TERMINATE).unwrap();
        if let Some(disconnected) = pair.position_down(&DISCONNECT) {
            assert!(terminated < disconnected);
        }
        assert!(pair.client_down().is_some());
        assert!(pair.now - pair.start < Duration::from_secs(10));
    }
}

#[test]
fn the_server_hangs_up_at_any_stage() {
    let mut reference = Setup::new(AuthMethod::MsChapV2).pair();
    reference.run_up();
    for budget in 0..reference.arrived {
        let mut pair = Setup {
            chunk: 1,
            ..Setup::new(AuthMethod::MsChapV2)
        }
        .pair();
        pair.run_octets(budget);
        pair.server.terminate(pair.now, TerminateCause::Drain);
        pair.run_down();
        pair.check_over();
        let (cause, _) = pair.server_down().unwrap();
        assert_eq!(cause, TerminateCause::Drain, "after {budget} octets");
        assert!(pair.now - pair.start < Duration::from_secs(30));
    }
}

#[test]
fn the_client_hangs_up_politely() {
    for method in METHODS {
        let mut pair = Setup::new(method).pair();
        pair.run_up();
        pair.client.terminate(pair.now, TerminateCause::UserRequest);
        pair.run_down();
        pair.check_over();
        let (cause, reason) = pair.server_down().unwrap();
        assert_eq!(cause, TerminateCause::UserRequest);
        assert_eq!(reason.as_str(), "peer_terminated");
        // Terminate-Ack goes out ahead of the end of the call.
        let acknowledged = pair.position_down(&[0xff, 3, 0xc0, 0x21, 6]).unwrap();
        let ended = [DISCONNECT, [0, 7]]
            .iter()
            .filter_map(|head| pair.position_down(head))
            .min()
            .unwrap();
        assert!(acknowledged < ended);
    }
}

#[test]
fn a_bare_close_is_a_lost_peer_but_not_behind_a_terminate() {
    let mut pair = Setup::new(AuthMethod::Pap).pair();
    pair.run_up();
    pair.reset();
    pair.check_over();
    let (cause, reason) = pair.server_down().unwrap();
    assert_eq!(cause, TerminateCause::PeerLost);
    assert_eq!(reason.as_str(), "transport_closed");

    let mut pair = Setup::new(AuthMethod::Pap).pair();
    pair.run_up();
    // LCP Terminate-Request, and then nothing, as sstp-client does.
    pair.inject_up(&[0x10, 0, 0, 12, 0xff, 3, 0xc0, 0x21, 5, 9, 0, 4]);
    pair.pump();
    pair.reset();
    pair.check_over();
    let (cause, _) = pair.server_down().unwrap();
    assert_eq!(cause, TerminateCause::UserRequest);
}

#[test]
fn a_reset_at_any_octet_leaves_nothing_behind() {
    for method in METHODS {
        let mut reference = Setup::new(method).pair();
        reference.run_up();
        reference
            .client
            .terminate(reference.now, TerminateCause::UserRequest);
        reference.run_down();
        for budget in 1..=reference.arrived {
            let mut pair = Setup {
                budget,
                chunk: 1,
                ..Setup::new(method)
            }
            .pair();
            pair.run(Duration::from_secs(3000), |pair| {
                pair.is_up() || pair.is_broken()
            });
            if !pair.is_broken() {
                pair.client.terminate(pair.now, TerminateCause::UserRequest);
            }
            pair.run(Duration::from_secs(3000), |_| false);
            pair.check_over();
            assert!(pair.logins <= 3);
        }
    }
}

#[test]
fn a_reset_at_any_timer_leaves_nothing_behind() {
    for method in METHODS {
        for fired in [false, true] {
            for step in 0..40 {
                let mut pair = Setup::new(method).pair();
                for _ in 0..step {
                    pair.pump();
                    let Some(next) = pair.next_deadline() else {
                        break;
                    };
                    pair.now = next.max(pair.now);
                    pair.fire();
                }
                pair.pump();
                if let Some(next) = pair.next_deadline() {
                    pair.now = next.max(pair.now);
                    if fired {
                        pair.fire();
                    }
                }
                pair.reset();
                pair.check_over();
            }
        }
    }
}

#[test]
fn a_silent_peer_is_noticed_at_every_stage() {
    let mut reference = Setup::new(AuthMethod::MsChapV2).pair();
    reference.run_up();
    for octets in 0..reference.arrived {
        let mut pair = Setup {
            chunk: 1,
            ..Setup::new(AuthMethod::MsChapV2)
        }
        .pair();
        pair.run_octets(octets);
        pair.silence();
        pair.run(Duration::from_secs(1000), |pair| {
            pair.server_events.last() == Some(&Event::Close)
        });
        pair.check_over();
        assert!(
            pair.now - pair.start <= Duration::from_secs(130),
            "{:?} after {octets} octets",
            pair.now - pair.start
        );
    }
}

#[test]
fn an_idle_session_stays_up_for_a_day() {
    for lcp_echo in [false, true] {
        let mut pair = Setup {
            lcp_echo,
            ..Setup::new(AuthMethod::MsChapV2)
        }
        .pair();
        pair.run_up();
        pair.run(Duration::from_secs(86_400), |_| false);
        assert!(
            pair.is_up(),
            "{:?} {:?}",
            pair.server_down(),
            pair.client_down()
        );
    }
}

#[test]
fn a_broken_stream_is_closed_without_a_word() {
    let mut pair = Setup::new(AuthMethod::Pap).pair();
    pair.run_up();
    let said = pair.said_down();
    pair.inject_up(&[0x11, 0, 0, 8]);
    pair.pump();
    assert_eq!(pair.server_events.last(), Some(&Event::Close));
    assert_eq!(pair.said_down(), said);
    let (cause, reason) = pair.server_down().unwrap();
    assert_eq!(cause, TerminateCause::ProtocolError);
    assert_eq!(reason.as_str(), "broken_stream");
    // What comes later is swallowed.
    pair.inject_up(&[0x10, 1, 0, 8, 0, 8, 0, 0]);
    pair.pump();
    assert_eq!(pair.said_down(), said);
}

#[test]
fn data_behind_the_end_is_dropped() {
    let mut pair = Setup::new(AuthMethod::Pap).pair();
    pair.run_up();
    // Abort, and then a packet in the same read.
    pair.inject_up(&[0x10, 1, 0, 8, 0, 5, 0, 0]);
    pair.inject_up(&[0x10, 0, 0, 9, 0xff, 3, 0, 0x21, 0x45]);
    pair.inject_up(&[0x10, 1, 0, 14, 0, 1, 0, 1, 0, 1, 0, 6, 0, 1]);
    pair.pump();
    assert!(pair.taken_up.is_empty());
    let (_, reason) = pair.server_down().unwrap();
    assert_eq!(reason.as_str(), "peer_abort");
    pair.run(Duration::from_secs(10), |_| false);
    pair.check_over();
    assert_eq!(pair.client_events.last(), Some(&ClientEvent::Close));
}

#[test]
fn both_halves_may_change_threads() {
    const fn moves<T: Send>() {}
    moves::<crate::sstp::Session>();
    moves::<crate::sstp::Client>();
}
