//! Whatever comes, in whatever phase: no panic, and no more answers than packets.

use proptest::prelude::*;

use super::frames::{Bench, client_config, frame, rng, start};
use crate::aaa::AuthMethod;
use crate::eap::{Packet, PassThrough};
use crate::ppp::control::Options;
use crate::ppp::frame::Protocol;
use crate::ppp::{Event, Link, Profile};

fn protocols() -> impl Strategy<Value = Protocol> {
    prop_oneof![
        4 => Just(Protocol::LCP),
        2 => Just(Protocol::IPCP),
        1 => Just(Protocol::PAP),
        1 => Just(Protocol::CHAP),
        1 => Just(Protocol::EAP),
        1 => any::<u16>().prop_map(|n| Protocol(n | 1)),
    ]
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let options = prop::collection::vec((0..20u8, prop::collection::vec(any::<u8>(), 0..6)), 0..6)
        .prop_map(|options| {
            let mut out = Vec::new();
            for (kind, value) in options {
                crate::ppp::control::append_option(&mut out, kind, &value);
            }
            out
        });
    let data = prop_oneof![options, prop::collection::vec(any::<u8>(), 0..80)];
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..64),
        8 => (protocols(), 0..16u8, any::<u8>(), data).prop_map(|(p, code, id, d)| frame(p, code, id, &d)),
    ]
}

fn bench(stage: u8) -> Bench {
    match stage % 6 {
        0 => Bench::new(&[AuthMethod::Eap, AuthMethod::MsChapV2]),
        1 => Bench::open(AuthMethod::Pap, 1500),
        2 => Bench::open(AuthMethod::MsChapV2, 1500),
        3 => Bench::open(AuthMethod::Eap, 1500),
        4 => Bench::open(AuthMethod::ChapMd5, 1500),
        _ => Bench::up(),
    }
}

proptest! {
    #[test]
    fn a_server_gives_at_most_one_answer_to_a_packet(
        stage in any::<u8>(),
        frames in prop::collection::vec(frames(), 1..40),
    ) {
        let mut bench = bench(stage);
        bench.drain();
        for bytes in frames {
            let before = bench.link.is_lcp_open();
            let sent = bench.send(&bytes);
            // Our own requests (Configure-Request, Terminate-Request, challenge) are no answers.
            let answers = sent
                .iter()
                .filter(|sent| !matches!((sent.protocol, sent.code), (Protocol::LCP | Protocol::IPCP, 1 | 5)))
                .count();
            prop_assert!(answers <= 1 || !before, "{:?}: {:?}", bytes, sent);
            prop_assert!(sent.len() <= 3, "{:?}: {:?}", bytes, sent);
            prop_assert!(sent.iter().all(|sent| sent.data.len() + 4 <= 1500));
            // Nobody was asked, so nobody is in.
            while let Some(event) = bench.link.poll_event() {
                let entered = matches!(event, Event::Authenticated { .. } | Event::NetworkUp(_));
                prop_assert!(!entered, "{:?}", event);
            }
        }
        bench.run_out();
    }

    #[test]
    fn a_client_takes_anything(
        method in 0..4usize,
        frames in prop::collection::vec(frames(), 1..40),
    ) {
        let method = AuthMethod::ALL[method];
        let now = start();
        let mut link = Link::new(client_config(&[method], Profile::Windows), rng(3), now);
        for bytes in frames {
            link.handle_frame(now, &bytes);
            while link.poll_transmit(&mut Vec::new()) {}
        }
    }

    #[test]
    fn decoders_take_anything(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(packet) = Packet::read(&bytes) {
            let again = packet.to_vec();
            prop_assert_eq!(Packet::read(&again), Ok(packet));
        }
        if let Ok(options) = Options::new(&bytes) {
            let total: usize = options.iter().map(|option| option.value.len() + 2).sum();
            prop_assert_eq!(total, bytes.len());
        }
        PassThrough::new(1).handle_response(&bytes);
    }
}
