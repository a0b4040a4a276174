//! Call Connect Requests, and messages that are not expected.

use super::*;

#[test]
fn a_wrong_request_is_told_what_is_wrong_with_it() {
    let ppp: &[u8] = &[0, 1, 0, 6, 0, 1];
    let rows: [(Vec<u8>, u8, u32); 9] = [
        (request(&[]), 2, 0xa),
        (request(&[&[0, 1, 0, 6, 0, 2]]), 1, 4),
        (request(&[&[0, 1, 0, 5, 0]]), 1, 3),
        (request(&[&[0, 1, 0, 7, 0, 1, 0]]), 1, 3),
        (request(&[&[0, 1, 0, 3, 0, 1]]), 1, 3),
        (request(&[ppp, ppp]), 1, 1),
        (request(&[ppp, &[0, 9, 0, 4]]), 9, 2),
        (
            request(&[&[0, 2, 0, 12, 0, 0, 0, 0, 0, 0, 0, 7], ppp]),
            2,
            0xb,
        ),
        (request(&[&[0, 3, 0, 4], ppp]), 3, 9),
    ];
    for (packet, attribute, status) in rows {
        let mut bench = Bench::new();
        bench.bytes(&packet);
        let Some(Message::ConnectNak(found)) = bench.call.poll_opening() else {
            panic!("no nak for {packet:02x?}");
        };
        assert_eq!(found.attribute, AttributeId(attribute), "{packet:02x?}");
        assert_eq!(found.status, Status(status), "{packet:02x?}");
        assert_eq!(bench.call.poll_event(), None);
        // A right one is still welcome.
        bench.send(&Message::ConnectRequest);
        assert_eq!(bench.call.poll_event(), Some(Event::Accepted));
    }
}

#[test]
fn the_fourth_wrong_request_aborts() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        bench.bytes(&request(&[]));
        assert!(matches!(
            bench.call.poll_opening(),
            Some(Message::ConnectNak(_))
        ));
    }
    bench.bytes(&request(&[]));
    assert_eq!(bench.call.poll_opening(), None);
    bench.expect_abort(
        AttributeId::STATUS_INFO,
        Status::RETRY_COUNT_EXCEEDED,
        EndReason::RetryCountExceeded,
    );
}

#[test]
fn wrong_requests_do_not_extend_the_negotiation_timer() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        bench.pass(secs(6));
        bench.bytes(&request(&[]));
    }
    bench.pass(secs(2));
    bench.expect_abort(
        AttributeId::STATUS_INFO,
        Status::NEGOTIATION_TIMEOUT,
        EndReason::ConnectRequestTimeout,
    );
}

#[test]
fn every_nonce_is_another() {
    let (mut bench, first) = Bench::pending();
    bench.call = Call::new(bench.call.config.clone(), certificate(), bench.now);
    bench.send(&Message::ConnectRequest);
    let Some(Message::ConnectAck(second)) = bench.call.poll_opening() else {
        panic!("no ack");
    };
    assert_ne!(first, second.nonce);
}

#[test]
fn a_hundred_requests_back_to_back_abort() {
    let mut bench = Bench::new();
    for _ in 0..100 {
        bench.send(&Message::ConnectRequest);
    }
    assert!(matches!(
        bench.call.poll_opening(),
        Some(Message::ConnectAck(_))
    ));
    assert_eq!(bench.call.poll_opening(), None);
    assert_eq!(bench.call.poll_event(), Some(Event::Accepted));
    bench.expect_unexpected();
    assert_eq!(bench.call.poll_closing(), None);
    bench.pass(secs(3));
    bench.expect_close();
}

#[test]
fn a_message_that_is_not_expected_aborts() {
    let status = StatusInfo::CLEAN;
    let never = [
        Message::ConnectAck(CryptoBindingRequest {
            hashes: 3,
            nonce: [0; 32],
        }),
        Message::ConnectNak(status),
        Message::DisconnectAck,
    ];
    let (pending, nonce) = Bench::pending();
    let at_first = [
        Message::Connected(binding(nonce)),
        Message::EchoRequest,
        Message::EchoResponse,
    ];
    drop(pending);
    for message in never.iter().chain(&at_first) {
        let mut bench = Bench::new();
        bench.send(message);
        bench.expect_unexpected();
    }
    for message in never.iter().chain([&Message::ConnectRequest]) {
        let (mut bench, _) = Bench::pending();
        bench.send(message);
        bench.expect_unexpected();
        let (mut bench, _) = Bench::connected();
        bench.send(message);
        bench.expect_unexpected();
    }
    for kind in [0, 10, 0xffff_u16] {
        let [high, low] = kind.to_be_bytes();
        let (mut bench, _) = Bench::pending();
        bench.bytes(&[0x10, 1, 0, 8, high, low, 0, 0]);
        bench.expect_unexpected();
    }
}

#[test]
fn a_message_that_cannot_be_read_aborts() {
    for bytes in [&[0x10, 1, 0, 4][..], &[0x10, 1, 0, 7, 0, 1, 0]] {
        let (mut bench, _) = Bench::connected();
        bench.bytes(bytes);
        bench.expect_abort(
            AttributeId::STATUS_INFO,
            Status::INVALID_FRAME_RECEIVED,
            EndReason::InvalidMessage,
        );
    }
}
