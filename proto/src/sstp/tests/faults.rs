//! Every switch of the client's faults, and what the server makes of it.

use std::time::Duration;

use super::pair::{Pair, Setup};
use crate::aaa::AuthMethod;
use crate::sstp::client::{
    BindingFault, ConnectedFault, DataFault, EchoFault, EndFault, RequestFault,
};
use crate::sstp::{Event, Faults, HashProtocol};
use crate::terminate::TerminateCause;

const METHODS: [AuthMethod; 3] = [AuthMethod::Pap, AuthMethod::MsChapV2, AuthMethod::Eap];

fn with(method: AuthMethod, faults: Faults) -> Pair {
    Setup {
        faults,
        ..Setup::new(method)
    }
    .pair()
}

/// Runs to the end, at which nothing may have passed, and returns the reason.
fn ends(mut pair: Pair) -> &'static str {
    pair.run_down();
    pair.check_over();
    assert!(pair.taken_up.is_empty());
    assert!(!pair.server_events.iter().any(|e| matches!(e, Event::Up(_))));
    let (_, reason) = pair.server_down().unwrap();
    reason.as_str()
}

#[test]
fn every_fault_of_the_request_ends_the_call() {
    for &request in RequestFault::ALL {
        let faults = Faults {
            request,
            ..Faults::default()
        };
        let wanted = match request {
            RequestFault::None => continue,
            RequestFault::Silent => "connect_request_timeout",
            RequestFault::Again => "unexpected_message",
            RequestFault::WrongProtocol
            | RequestFault::NoProtocol
            | RequestFault::Duplicate
            | RequestFault::Unknown
            | RequestFault::WrongLength
            | RequestFault::StatusInfo
            | RequestFault::WrongCount => "retry_count_exceeded",
        };
        let pair = with(AuthMethod::Pap, faults);
        assert_eq!(ends(pair), wanted, "{request:?}");
    }
}

#[test]
fn every_fault_of_the_binding_ends_the_call() {
    for method in METHODS {
        for &binding in BindingFault::ALL {
            for preferred in HashProtocol::ALL {
                let faults = Faults {
                    binding,
                    ..Faults::default()
                };
                let pap = method == AuthMethod::Pap;
                let wanted = match binding {
                    BindingFault::None => continue,
                    BindingFault::WrongNonce => "binding_nonce",
                    BindingFault::WrongCertificate => "binding_certificate",
                    BindingFault::WrongMac => "binding_mac",
                    BindingFault::TwoHashes | BindingFault::NoHash | BindingFault::UnknownHash => {
                        "binding_hash_protocol"
                    }
                    // There are no keys to get wrong.
                    BindingFault::ZeroKeys | BindingFault::SwappedKeys if pap => continue,
                    BindingFault::ZeroKeys => "binding_mac_zero_keys",
                    BindingFault::SwappedKeys => "binding_mac_swapped_keys",
                    BindingFault::Short | BindingFault::Missing => "binding_missing",
                };
                let pair = Setup {
                    faults,
                    preferred,
                    ..Setup::new(method)
                }
                .pair();
                assert_eq!(ends(pair), wanted, "{method:?} {binding:?}");
            }
        }
    }
}

#[test]
fn call_connected_at_other_times() {
    for method in METHODS {
        for &connected in ConnectedFault::ALL {
            let faults = Faults {
                connected,
                ..Faults::default()
            };
            let mut pair = with(method, faults);
            match connected {
                ConnectedFault::None => {}
                ConnectedFault::Never => {
                    assert_eq!(ends(pair), "call_connected_timeout");
                }
                ConnectedFault::Early if method == AuthMethod::Pap => pair.run_up(),
                ConnectedFault::Early => assert_eq!(ends(pair), "binding_mac_zero_keys"),
                ConnectedFault::AtNetworkUp | ConnectedFault::Twice => {
                    pair.run_up();
                    pair.run(Duration::from_secs(1000), |_| false);
                    assert!(pair.is_up(), "{connected:?}");
                }
                ConnectedFault::TwiceDifferent => {
                    pair.run_down();
                    pair.check_over();
                    let (cause, reason) = pair.server_down().unwrap();
                    assert_eq!(reason.as_str(), "binding_changed");
                    assert_eq!(cause, TerminateCause::ProtocolError);
                }
            }
        }
    }
}

#[test]
fn a_client_that_never_connects_is_gone_in_75_seconds() {
    let faults = Faults {
        connected: ConnectedFault::Never,
        ..Faults::default()
    };
    let mut pair = with(AuthMethod::MsChapV2, faults);
    // Echoes of its own do not help it.
    for _ in 0..75 {
        pair.inject_up(&[0x10, 1, 0, 8, 0, 8, 0, 0]);
        pair.run(Duration::from_secs(1), |_| false);
    }
    assert!(pair.server_down().is_some());
}

#[test]
fn early_data_is_dropped_and_counted() {
    for method in METHODS {
        for &data in DataFault::ALL {
            let faults = Faults {
                data,
                ..Faults::default()
            };
            let mut pair = with(method, faults);
            pair.run_up();
            assert_eq!(pair.server.dropped(), 1);
            assert!(pair.taken_up.is_empty());
        }
    }
}

#[test]
fn an_echo_while_connecting_is_answered() {
    for method in METHODS {
        let faults = Faults {
            echo: EchoFault::WhileConnecting,
            ..Faults::default()
        };
        let mut pair = with(method, faults);
        pair.run_up();
        assert_eq!(pair.client.echoes(), 1);
    }
}

#[test]
fn a_deaf_client_is_noticed_in_two_minutes() {
    let faults = Faults {
        echo: EchoFault::Deaf,
        ..Faults::default()
    };
    let mut pair = Setup {
        faults,
        lcp_echo: false,
        ..Setup::new(AuthMethod::Pap)
    }
    .pair();
    pair.run_up();
    let up = pair.now;
    pair.run(Duration::from_secs(1000), |pair| {
        pair.server_down().is_some()
    });
    let (cause, reason) = pair.server_down().unwrap();
    assert_eq!(cause, TerminateCause::PeerLost);
    assert_eq!(reason.as_str(), "hello_timeout");
    assert_eq!(pair.now - up, Duration::from_secs(120));
}

#[test]
fn a_mute_end_takes_5_seconds() {
    let faults = Faults {
        end: EndFault::Mute,
        ..Faults::default()
    };
    let mut pair = with(AuthMethod::Pap, faults);
    pair.run_up();
    pair.server.terminate(pair.now, TerminateCause::Admin);
    let begun = pair.now;
    pair.run(Duration::from_secs(100), |pair| {
        pair.server_events.last() == Some(&Event::Close)
    });
    pair.check_over();
    assert!(pair.now - begun <= Duration::from_secs(12));
}
