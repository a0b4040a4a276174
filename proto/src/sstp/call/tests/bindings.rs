//! Call Connected, right and wrong, before and behind the keys.

use super::*;
use crate::sstp::binding::{Guess, Mismatch};

#[test]
fn keys_then_binding_connects() {
    let (mut bench, nonce) = Bench::pending();
    bench.call.handle_keys(bench.now, Some(keys()));
    bench.bytes(&call_connected(nonce, Some(&keys())));
    let connected = Event::Connected(HashProtocol::Sha256);
    assert_eq!(bench.call.poll_event(), Some(connected));
    assert!(bench.call.is_connected());
}

#[test]
fn a_binding_ahead_of_the_keys_is_parked() {
    let (mut bench, nonce) = Bench::pending();
    let packet = call_connected(nonce, Some(&keys()));
    bench.bytes(&packet);
    bench.bytes(&packet);
    assert_eq!(bench.call.poll_event(), None);
    assert!(!bench.call.is_connected());
    bench.call.handle_keys(bench.now, Some(keys()));
    let connected = Event::Connected(HashProtocol::Sha256);
    assert_eq!(bench.call.poll_event(), Some(connected));
}

#[test]
fn a_parked_binding_is_not_believed() {
    let (mut bench, nonce) = Bench::pending();
    bench.bytes(&call_connected(nonce, None));
    bench.call.handle_keys(bench.now, Some(keys()));
    bench.expect_abort(
        AttributeId::CRYPTO_BINDING,
        Status::VALUE_NOT_SUPPORTED,
        EndReason::Binding(Mismatch::Mac(Some(Guess::Zeros))),
    );
}

#[test]
fn a_parked_binding_does_not_stop_the_negotiation_timer() {
    let (mut bench, nonce) = Bench::pending();
    bench.bytes(&call_connected(nonce, None));
    bench.pass(secs(75));
    bench.expect_abort(
        AttributeId::STATUS_INFO,
        Status::NEGOTIATION_TIMEOUT,
        EndReason::CallConnectedTimeout,
    );
    // Keys that come too late change nothing.
    bench.call.handle_keys(bench.now, None);
    assert!(!bench.call.is_connected());
}

#[test]
fn a_wrong_binding_aborts_and_says_why() {
    let (_, nonce) = Bench::pending();
    let right = binding(nonce);
    let rows = [
        (CryptoBinding { hash: 3, ..right }, Mismatch::HashProtocol),
        (CryptoBinding { hash: 0, ..right }, Mismatch::HashProtocol),
        (CryptoBinding { hash: 4, ..right }, Mismatch::HashProtocol),
        (CryptoBinding { hash: 1, ..right }, Mismatch::Certificate),
        (
            CryptoBinding {
                nonce: [0; 32],
                ..right
            },
            Mismatch::Nonce,
        ),
        (
            CryptoBinding {
                certificate_hash: CertificateHashes::of(b"other").sha256,
                ..right
            },
            Mismatch::Certificate,
        ),
    ];
    for (binding, mismatch) in rows {
        // Whether the keys are known or not.
        for known in [false, true] {
            let (mut bench, _) = Bench::pending();
            if known {
                bench.call.handle_keys(bench.now, None);
            }
            bench.bytes(&sealed(Message::Connected(binding).to_bytes(), None));
            bench.expect_abort(
                AttributeId::CRYPTO_BINDING,
                Status::VALUE_NOT_SUPPORTED,
                EndReason::Binding(mismatch),
            );
        }
    }
    let (mut bench, nonce) = Bench::pending();
    bench.call.handle_keys(bench.now, Some(keys()));
    let mut packet = call_connected(nonce, Some(&keys()));
    packet[111] ^= 1;
    bench.bytes(&packet);
    bench.expect_abort(
        AttributeId::CRYPTO_BINDING,
        Status::VALUE_NOT_SUPPORTED,
        EndReason::Binding(Mismatch::Mac(None)),
    );
}

#[test]
fn a_binding_that_is_not_there_aborts() {
    let (_, nonce) = Bench::pending();
    let right = call_connected(nonce, None);
    let mut short = right[..111].to_vec();
    short[3] = 111;
    short[11] = 103;
    let mut long = right.clone();
    long.push(0);
    long[3] = 113;
    long[11] = 105;
    let none = vec![0x10, 1, 0, 8, 0, 4, 0, 0];
    let mut other = right.clone();
    other[9] = 4;
    let mut behind = right.clone();
    behind[3] = 116;
    behind[7] = 2;
    behind.extend([0, 9, 0, 4]);
    let mut count = right;
    count[7] = 2;
    for packet in [short, long, none, other, behind, count] {
        let (mut bench, _) = Bench::pending();
        bench.call.handle_keys(bench.now, None);
        bench.bytes(&packet);
        bench.expect_abort(
            AttributeId::STATUS_INFO,
            Status::ATTRIB_NOT_SUPPORTED_IN_MSG,
            EndReason::BindingMissing,
        );
    }
}

#[test]
fn reserved_bits_are_part_of_what_was_signed() {
    let (mut bench, nonce) = Bench::pending();
    bench.call.handle_keys(bench.now, None);
    let mut packet = call_connected(nonce, None);
    packet[8] = 0x55;
    packet[12] = 0xaa;
    bench.bytes(&sealed(packet, None));
    assert!(bench.call.is_connected());
}

#[test]
fn an_identical_second_binding_is_ignored_and_another_aborts() {
    let (mut bench, packet) = Bench::connected();
    bench.bytes(&packet);
    assert_eq!(bench.call.poll_event(), None);
    assert!(bench.call.is_connected());
    let mut other = packet;
    other[111] ^= 1;
    bench.bytes(&other);
    bench.expect_abort(
        AttributeId::CRYPTO_BINDING,
        Status::VALUE_NOT_SUPPORTED,
        EndReason::BindingChanged,
    );

    let (mut bench, nonce) = Bench::pending();
    bench.bytes(&call_connected(nonce, None));
    bench.bytes(&call_connected(nonce, Some(&keys())));
    bench.expect_abort(
        AttributeId::CRYPTO_BINDING,
        Status::VALUE_NOT_SUPPORTED,
        EndReason::BindingChanged,
    );
}
