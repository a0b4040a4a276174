//! Any bytes at any stage: nothing panics, and nothing passes that should not.

use std::time::Duration;

use proptest::prelude::*;

use super::pair::{Pair, Setup};
use crate::aaa::AuthMethod;

/// Brings a pair to one of the stages that octets can come at.
fn at_stage(stage: u8) -> Pair {
    let mut pair = Setup::new(AuthMethod::MsChapV2).pair();
    match stage {
        0 => {}
        1 => pair.run_octets(100),
        2 => pair.run_octets(300),
        3 => pair.run_up(),
        _ => {
            pair.run_up();
            pair.server
                .terminate(pair.now, crate::terminate::TerminateCause::Admin);
        }
    }
    pair
}

/// Packets that can be delineated, with anything in them.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let frame = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..64),
        (
            prop_oneof![
                Just([0xc0, 0x21]),
                Just([0xc0, 0x23]),
                Just([0xc2, 0x23]),
                Just([0xc2, 0x27]),
                Just([0x80, 0x21]),
                Just([0x80, 0xfd]),
                Just([0x00, 0x21]),
            ],
            proptest::collection::vec(any::<u8>(), 0..64)
        )
            .prop_map(|(protocol, body)| {
                let len = u16::try_from(body.len() + 4).unwrap().to_be_bytes();
                let code = body.first().copied().unwrap_or(1) % 14;
                let head = [0xff, 3, protocol[0], protocol[1], code, 1, len[0], len[1]];
                [&head[..], &body].concat()
            }),
    ];
    let message = (
        0_u8..12,
        0_u8..4,
        proptest::collection::vec(any::<u8>(), 0..120),
    )
        .prop_map(|(kind, count, body)| [&[0, kind, 0, count][..], &body].concat());
    let packet = prop_oneof![
        frame.prop_map(|body| (0_u8, body)),
        message.prop_map(|body| (1_u8, body)),
    ]
    .prop_map(|(kind, body)| {
        let [high, low] = u16::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[0x10, kind, high, low][..], &body].concat()
    });
    proptest::collection::vec(packet, 0..12).prop_map(|packets| packets.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_at_any_stage(stage in 0_u8..5, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut pair = at_stage(stage);
        pair.inject_up(&bytes);
        pair.inject_down(&bytes);
        pair.run(Duration::from_secs(400), |_| false);
    }

    #[test]
    fn any_packets_at_any_stage(stage in 0_u8..5, up in packets(), down in packets()) {
        let mut pair = at_stage(stage);
        pair.inject_up(&up);
        pair.inject_down(&down);
        pair.run(Duration::from_secs(400), |_| false);
        prop_assert!(stage == 3 || pair.is_up() || pair.taken_up.is_empty() || pair.server_down().is_some());
    }
}
