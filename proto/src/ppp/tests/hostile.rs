//! Peers that break the rules, and some that only have strange habits.

use std::time::Duration;

use super::aaa::admit;
use super::frames::{Bench, frame, pap, server_config};
use crate::aaa::{AuthMethod, Identity, Proof};
use crate::ppp::frame::Protocol;
use crate::ppp::{DownReason, Event};

pub(super) fn reason(events: &[Event]) -> Option<DownReason> {
    super::pair::down(events).map(|down| down.reason)
}

#[test]
fn endless_configure_requests_end_the_negotiation() {
    let mut bench = Bench::new(&[AuthMethod::Pap]);
    let mut replies = 0;
    for n in 0..200u8 {
        // The MRU is never good, so that LCP never opens.
        let sent = bench.lcp(1, n, &[1, 4, 0, n]);
        replies += sent.iter().filter(|sent| sent.code == 3).count();
        assert!(sent.len() <= 2, "{sent:?}");
    }
    assert_eq!(replies, 5, "then they are rejected");
    assert_eq!(reason(&bench.run_out()), Some(DownReason::LcpLoop));
}

#[test]
fn a_nak_war_about_our_request_ends() {
    let mut bench = Bench::new(&[AuthMethod::Pap]);
    let mut sent = bench.lcp(1, 1, &[5, 6, 0, 0, 0, 1]);
    for n in 0..200u16 {
        let Some(request) = sent.iter().find(|sent| sent.code == 1) else {
            break;
        };
        let [high, low] = (2000 + n).to_be_bytes();
        sent = bench.lcp(3, request.id, &[1, 4, high, low]);
        assert!(sent.len() <= 1);
    }
    assert_eq!(reason(&bench.run_out()), Some(DownReason::LcpLoop));
}

#[test]
fn slow_loops_end_within_a_minute() {
    let mut bench = Bench::new(&[AuthMethod::Pap]);
    let start = bench.now;
    for n in 0..=255u8 {
        bench.now += Duration::from_secs(2);
        bench.link.handle_timeout(bench.now);
        bench.lcp(1, n, &[1, 4, 0, n]);
        if !bench.link.is_lcp_open() && bench.link.poll_timeout().is_none() {
            break;
        }
    }
    assert!(bench.now - start <= Duration::from_secs(64));
    assert!(reason(&bench.run_out()).is_some());
}

#[test]
fn seven_hundred_options_get_a_short_answer() {
    for option in [&[200, 2][..], &[1, 2], &[5, 2], &[3, 2], &[7, 2]] {
        let mut bench = Bench::new(&[AuthMethod::Pap]);
        let options = option.repeat(700);
        let sent = bench.lcp(1, 1, &options);
        let replies: Vec<_> = sent.iter().filter(|sent| sent.code != 1).collect();
        assert_eq!(replies.len(), 1);
        assert_eq!(replies[0].code, 4);
        assert!(replies[0].data.len() + 4 <= 1500 && !replies[0].data.is_empty());
    }
    // As IPCP, from a client that is in and says that it takes 65,535 octets.
    let mut bench = Bench::up();
    let sent = bench.send(&frame(Protocol::IPCP, 1, 77, &[2, 2].repeat(700)));
    assert!(sent.iter().all(|sent| sent.data.len() + 4 <= 1500));
    assert_eq!(sent.iter().filter(|sent| sent.code == 4).count(), 1);
}

#[test]
fn malformed_options_are_dropped() {
    for length in [0, 1, 255] {
        let mut bench = Bench::new(&[AuthMethod::Pap]);
        let sent = bench.lcp(1, 1, &[1, length, 5, 6, 7]);
        assert!(sent.iter().all(|sent| sent.code == 1), "{sent:?}");
    }
    let mut bench = Bench::new(&[AuthMethod::Pap]);
    let sent = bench.send(&[0xff, 3, 0xc0, 0x21, 1, 1, 0xff, 0xff]);
    assert!(sent.is_empty());
}

#[test]
fn a_terminate_storm_is_answered_and_forgotten() {
    let mut bench = Bench::up();
    let mut acks = 0;
    for n in 0..1000u16 {
        let [_, id] = n.to_be_bytes();
        acks += bench.lcp(5, id, &[]).len();
    }
    assert_eq!(acks, 5);
    assert_eq!(reason(&bench.run_out()), Some(DownReason::PeerTerminated));
    assert_eq!(bench.link.poll_timeout(), None);
}

#[test]
fn code_rejects_are_few_and_never_early() {
    let mut bench = Bench::new(&[AuthMethod::Pap]);
    assert!(
        bench
            .lcp(200, 1, &[1, 2, 3])
            .iter()
            .all(|sent| sent.code == 1)
    );
    let mut bench = Bench::open(AuthMethod::Pap, 1500);
    let rejects = (0..100)
        .flat_map(|n| bench.lcp(200, n, &[7; 100]))
        .collect::<Vec<_>>();
    assert_eq!(rejects.len(), 5);
    assert!(
        rejects
            .iter()
            .all(|sent| sent.code == 7 && sent.data.starts_with(&[200]))
    );
    // Identification and Time-Remaining are welcome.
    assert!(bench.lcp(12, 1, b"\0\0\0\x01MSRASV5.20").is_empty());
    assert!(bench.lcp(13, 1, &[0; 8]).is_empty());
    assert_eq!(
        bench.link.identification().version.as_deref(),
        Some("MSRASV5.20")
    );
}

#[test]
fn a_code_reject_of_what_cannot_be_done_without_is_final() {
    let mut bench = Bench::open(AuthMethod::Pap, 1500);
    assert!(bench.lcp(7, 1, &[9, 1, 0, 4]).is_empty());
    assert!(bench.link.is_lcp_open());
    bench.lcp(7, 1, &[1, 1, 0, 4]);
    assert!(!bench.link.is_lcp_open());
    assert!(reason(&bench.run_out()).is_some());
}

#[test]
fn never_negotiates_with_its_own_echo() {
    // Until pppd is ready, its terminal sends back what it gets.
    let mut bench = Bench::new(&[AuthMethod::MsChapV2, AuthMethod::Pap]);
    for _ in 0..4 {
        assert!(bench.jump());
        for sent in bench.drain_raw() {
            assert!(bench.send(&sent).is_empty(), "an answer to oneself");
        }
    }
    assert!(!bench.link.is_lcp_open());
    // Then it is ready, and all is well.
    let sent = bench.lcp(1, 1, &[2, 6, 0, 0, 0, 0, 5, 6, 1, 2, 3, 4]);
    assert_eq!(sent.iter().map(|sent| sent.code).collect::<Vec<_>>(), [2]);
}

#[test]
fn refuses_our_magic_number_in_a_request_of_the_peer() {
    let mut bench = Bench::new(&[AuthMethod::Pap]);
    bench.jump();
    let ours = bench.drain().remove(0);
    let magic = ours.data[ours.data.len() - 6..].to_vec();
    let sent = bench.lcp(1, 9, &magic);
    assert_eq!(sent[0].code, 3);
    assert_ne!(sent[0].data, magic);
    // Zero is fine, and so is none.
    assert_eq!(bench.lcp(1, 10, &[5, 6, 0, 0, 0, 0])[0].code, 2);
    assert_eq!(bench.lcp(1, 11, &[])[0].code, 2);
}

#[test]
fn rejects_what_clients_of_windows_ask_for_and_naks_nothing() {
    let mut bench = Bench::new(&[AuthMethod::MsChapV2]);
    // Windows 10: MRU 4091, magic, PFC, ACFC, callback.
    let sent = bench.lcp(
        1,
        0,
        &[1, 4, 0x0f, 0xfb, 5, 6, 9, 9, 9, 9, 7, 2, 8, 2, 13, 3, 6],
    );
    let reply = sent.iter().find(|sent| sent.code != 1).unwrap();
    assert_eq!(
        (reply.code, reply.data.as_slice()),
        (4, &[7, 2, 8, 2, 13, 3, 6][..])
    );
    // The client must not authenticate us, and Multilink is not for us.
    let sent = bench.lcp(1, 1, &[3, 5, 0xc2, 0x23, 0x81, 17, 4, 6, 0x4e, 19, 3, 0]);
    assert_eq!((sent[0].code, sent[0].data.len()), (4, 12));
    assert_eq!(
        bench.lcp(1, 2, &[1, 4, 0x0f, 0xfb, 5, 6, 9, 9, 9, 9])[0].code,
        2
    );
    assert_eq!(bench.link.peer_mru(), 4091);
}

#[test]
fn echo_is_answered_during_authentication_and_cut_to_the_mru() {
    let mut bench = Bench::open(AuthMethod::MsChapV2, 576);
    let sent = bench.lcp(9, 42, &[[0, 0, 0, 1].as_slice(), &[7; 1000]].concat());
    assert_eq!((sent.len(), sent[0].code, sent[0].id), (1, 10, 42));
    assert_eq!(sent[0].data.len() + 4, 576);
    assert_ne!(sent[0].data[..4], [0, 0, 0, 1], "the magic number is ours");
    assert_eq!(sent[0].data[4..], [7; 568]);
    // Our own magic is an echo of ourselves.
    let ours = sent[0].data[..4].to_vec();
    assert!(bench.lcp(9, 43, &ours).is_empty());
    assert!(bench.lcp(9, 44, &[0, 0]).is_empty());
}

#[test]
fn a_repeated_lcp_request_is_acknowledged_again_and_another_ends_the_link() {
    let mut bench = Bench::up();
    let again = [1, 4, 0x05, 0xdc, 5, 6, 0, 0, 0, 1];
    let sent = bench.lcp(1, 9, &again);
    assert_eq!(
        (sent.len(), sent[0].code, sent[0].data.as_slice()),
        (1, 2, &again[..])
    );
    assert!(bench.link.is_network_open());
    bench.lcp(1, 10, &[5, 6, 0, 0, 0, 2]);
    assert!(!bench.link.is_network_open());
    assert_eq!(reason(&bench.run_out()), Some(DownReason::Renegotiation));
}

#[test]
fn ipcp_may_be_opened_again_with_the_same_lease() {
    let mut bench = Bench::up();
    // The same packet again changes nothing.
    let same = frame(Protocol::IPCP, 1, 1, &[3, 6, 10, 9, 0, 7]);
    assert_eq!(bench.send(&same).len(), 1);
    assert!(bench.link.is_network_open());
    // A new request negotiates anew.
    let sent = bench.send(&frame(Protocol::IPCP, 1, 2, &[3, 6, 0, 0, 0, 0]));
    assert!(!bench.link.is_network_open());
    let nak = sent.iter().find(|sent| sent.code == 3).unwrap();
    assert_eq!(nak.data, [3, 6, 10, 9, 0, 7]);
    let ours = sent.iter().find(|sent| sent.code == 1).unwrap();
    bench.send(&frame(Protocol::IPCP, 2, ours.id, &ours.data));
    bench.send(&frame(Protocol::IPCP, 1, 3, &nak.data));
    assert!(bench.link.is_network_open());
    assert_eq!(bench.link.poll_event(), None, "the owner need not know");
}

#[test]
fn a_client_without_an_address_of_ours_has_no_place() {
    // It insists on its own.
    let mut bench = Bench::up();
    let mut codes = Vec::new();
    for n in 10..20 {
        let sent = bench.send(&frame(Protocol::IPCP, 1, n, &[3, 6, 192, 168, 0, 1]));
        codes.extend(
            sent.iter()
                .filter(|sent| sent.protocol == Protocol::IPCP)
                .map(|sent| sent.code),
        );
    }
    assert_eq!(codes.into_iter().filter(|code| *code == 3).count(), 5);
    assert_eq!(reason(&bench.run_out()), Some(DownReason::IpcpRejected));
    // It asks for none: it is told what to ask for.
    let mut bench = Bench::up();
    let sent = bench.send(&frame(Protocol::IPCP, 1, 10, &[]));
    assert_eq!(
        sent.iter().find(|sent| sent.code == 3).unwrap().data,
        [3, 6, 10, 9, 0, 7]
    );
}

#[test]
fn nothing_is_open_before_the_log_in() {
    let mut bench = Bench::open(AuthMethod::MsChapV2, 1500);
    for protocol in [
        Protocol::IPCP,
        Protocol::CCP,
        Protocol::IPV6CP,
        Protocol::IPV4,
        Protocol::IPV6,
        Protocol::ECP,
    ] {
        assert!(
            bench
                .send(&frame(protocol, 1, 1, &[3, 6, 0, 0, 0, 0]))
                .is_empty(),
            "{protocol:?}"
        );
    }
    // Other log-ins than the agreed one are not heard (no downgrade).
    assert!(bench.send(&pap(1)).is_empty());
    assert!(
        bench
            .send(&frame(Protocol::EAP, 2, 0, &[1, b'a']))
            .is_empty()
    );
    assert!(
        bench.send(&frame(Protocol::CHAP, 3, 0, b"S=")).is_empty(),
        "a success from a client"
    );
    assert_eq!(bench.link.poll_event(), None);
    // And an answer that nobody asked for opens nothing.
    let alice = Identity::new(b"alice").unwrap();
    bench.link.handle_decision(
        bench.now,
        admit(&alice, Proof::MsChapV2("S=".to_owned()), None),
    );
    assert!(bench.drain().is_empty());
    assert_eq!(bench.link.poll_event(), None);
}

#[test]
fn other_protocols_are_rejected_once_and_callback_at_once() {
    let mut bench = Bench::open(AuthMethod::Pap, 576);
    let sent = bench.send(&frame(Protocol::CBCP, 1, 1, &[9; 900]));
    assert_eq!((sent[0].code, &sent[0].data[..2]), (8, &[0xc0, 0x29][..]));
    assert_eq!(sent[0].data.len() + 4, 576);
    assert!(bench.send(&frame(Protocol::CBCP, 1, 2, &[])).is_empty());
    let mut bench = Bench::up();
    for protocol in [
        Protocol::CCP,
        Protocol::ECP,
        Protocol::IPV6CP,
        Protocol::BACP,
        Protocol::MULTILINK,
    ] {
        assert_eq!(
            bench.send(&frame(protocol, 1, 1, &[])).len(),
            1,
            "{protocol:?}"
        );
        assert!(
            bench.send(&frame(protocol, 1, 2, &[])).is_empty(),
            "{protocol:?}"
        );
    }
    let more: usize = (0x8101..0x8301u16)
        .step_by(2)
        .map(|n| bench.send(&frame(Protocol(n), 1, 1, &[])).len())
        .sum();
    assert_eq!(more, 11, "sixteen and no more");
}

#[test]
fn a_peer_that_does_not_read_is_not_heard() {
    let mut bench = Bench::with(server_config(&[AuthMethod::Pap]));
    for n in 0..=255 {
        bench
            .link
            .handle_frame(bench.now, &frame(Protocol::LCP, 1, n, &[]));
    }
    assert!(bench.drain_raw().len() <= 65);
}

#[test]
fn an_ended_link_is_silent() {
    let mut bench = Bench::new(&[AuthMethod::Pap]);
    bench.lcp(1, 1, &[7, 2]);
    // The peer hangs up while our own request is out.
    assert_eq!(bench.lcp(5, 2, &[])[0].code, 6);
    assert_eq!(reason(&bench.run_out()), Some(DownReason::PeerTerminated));
    for _ in 0..20 {
        bench.now += Duration::from_secs(3);
        bench.link.handle_timeout(bench.now);
        assert!(bench.lcp(1, 3, &[]).is_empty());
        assert!(bench.send(&pap(1)).is_empty());
    }
    assert_eq!(bench.link.poll_event(), None);
}
