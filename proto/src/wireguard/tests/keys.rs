//! The halves of a key pair.

use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::wireguard::{
    Index, Kind, OVERHEAD, OpenError, PeerActivity, REJECT_AFTER_MESSAGES, ReceivingKey, Role,
    SealError, SendingKey,
};

fn halves(role: Role) -> (SendingKey, ReceivingKey) {
    let now = at(0);
    let index = Index::new(3, 1234, 5);
    (
        SendingKey::new(Zeroizing::new([9; 32]), index.0, now, role),
        ReceivingKey::new(Zeroizing::new([9; 32]), index, now, role),
    )
}

fn at(seconds: u64) -> Instant {
    thread_local!(static START: Instant = crate::timer::testing::start());
    START.with(|start| *start) + Duration::from_secs(seconds)
}

fn sealed(key: &SendingKey, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 16];
    frame.extend_from_slice(packet);
    frame.resize(frame.len() + 16, 0);
    let counter = key.reserve(1).unwrap();
    key.seal(counter, &mut frame).unwrap();
    frame
}

#[test]
fn opens_in_place_what_was_sealed_in_place() {
    let (sending, mut receiving) = halves(Role::Initiator);
    for len in [0, 16, 64, 1408] {
        let packet = vec![0xa5; len];
        let mut frame = sealed(&sending, &packet);
        assert_eq!(Kind::of(&frame), Some(Kind::Data));
        assert_eq!(frame[4], 3, "the shard is the first octet of the index");
        assert_eq!(frame.len(), len + OVERHEAD);
        assert_eq!(receiving.open(&mut frame).unwrap(), packet);
    }
}

#[test]
fn recorded_messages_are_delivered_once() {
    let (sending, mut receiving) = halves(Role::Initiator);
    let recorded: Vec<_> = (0..100_000).map(|_| sealed(&sending, &[1; 16])).collect();
    for frame in &recorded {
        assert!(receiving.open(&mut frame.clone()).is_ok());
    }
    let again = recorded
        .iter()
        .filter(|frame| receiving.open(&mut (*frame).clone()) != Err(OpenError::Replay))
        .count();
    assert_eq!(again, 0);
}

#[test]
fn a_forged_message_does_not_move_the_window() {
    let (sending, mut receiving) = halves(Role::Initiator);
    let mut good = sealed(&sending, b"0123456789abcdef");
    let mut forged = good.clone();
    forged[8..16].copy_from_slice(&1_000_000u64.to_le_bytes());
    assert_eq!(receiving.open(&mut forged), Err(OpenError::Integrity));
    for at in 16..good.len() {
        let mut forged = good.clone();
        forged[at] ^= 1;
        assert_eq!(receiving.open(&mut forged), Err(OpenError::Integrity));
    }
    assert!(receiving.open(&mut good).is_ok());
}

#[test]
fn refuses_short_strange_and_misdirected_messages() {
    let (sending, mut receiving) = halves(Role::Initiator);
    let mut good = sealed(&sending, b"");
    for len in 0..good.len() {
        assert_eq!(
            receiving.open(&mut good.clone()[..len]),
            Err(OpenError::Short)
        );
    }
    let mut other = good.clone();
    other[7] ^= 0x80;
    assert_eq!(receiving.open(&mut other), Err(OpenError::Receiver));
    good[8..16].copy_from_slice(&REJECT_AFTER_MESSAGES.to_le_bytes());
    assert_eq!(receiving.open(&mut good), Err(OpenError::Replay));
    assert_eq!(sending.seal(0, &mut [0; 31]), Err(SealError));
}

#[test]
fn counters_are_given_out_once_and_end() {
    let (sending, _) = halves(Role::Responder);
    assert_eq!(sending.reserve(10), Some(0));
    assert_eq!(sending.reserve(1), Some(10));
    assert!(!sending.wants_rekey(at(0)));
    assert_eq!(sending.reserve(REJECT_AFTER_MESSAGES), None);
    assert_eq!(sending.reserve(REJECT_AFTER_MESSAGES - 11), Some(11));
    assert!(sending.wants_rekey(at(0)), "too many messages");
    assert_eq!(sending.reserve(1), None);
    assert_eq!(sending.reserve(0), Some(REJECT_AFTER_MESSAGES));
    assert_eq!(sending.reserve(u64::MAX), None, "and it does not wrap");
}

#[test]
fn only_the_initiator_renews_by_age() {
    let (sending, receiving) = halves(Role::Initiator);
    assert!(!sending.wants_rekey(at(119)));
    assert!(sending.wants_rekey(at(120)));
    assert!(!receiving.wants_rekey(at(164)));
    assert!(receiving.wants_rekey(at(165)));
    assert!(!sending.is_expired(at(179)) && !receiving.is_expired(at(179)));
    assert!(sending.is_expired(at(180)) && receiving.is_expired(at(180)));
    let (sending, receiving) = halves(Role::Responder);
    assert!(!sending.wants_rekey(at(179)) && !receiving.wants_rekey(at(179)));
}

#[test]
fn threads_may_share_the_sending_half() {
    fn shared<T: Send + Sync>() {}
    fn moved<T: Send>() {}
    shared::<SendingKey>();
    shared::<PeerActivity>();
    moved::<ReceivingKey>();
}
