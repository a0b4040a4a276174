//! The table of states and messages, the timers, and what attackers sent to others.

use super::*;
use crate::crypto::SecretBytes;
use crate::sstp::binding::{Guess, Hlak, Mismatch, compound_mac};

const MAC_AT: usize = CONNECTED_LEN - 32;

/// A call with its clock and the client's knowledge.
struct Bench {
    call: Call,
    rng: Rng,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let now = Instant::now();
        let config = Config {
            hashes: HashProtocol::ALL.to_vec(),
            hello_interval: secs(60),
            connect_request_timeout: secs(20),
            call_connected_timeout: secs(75),
        };
        Self {
            call: Call::new(config, certificate(), now),
            rng: Rng::from_seed(&[1; 32]),
            now,
        }
    }

    /// A call whose request has been accepted, and the nonce.
    fn pending() -> (Self, [u8; 32]) {
        let mut bench = Self::new();
        bench.send(&Message::ConnectRequest);
        let Some(Message::ConnectAck(request)) = bench.call.poll_opening() else {
            panic!("no ack");
        };
        assert_eq!(request.hashes, 3);
        assert_eq!(bench.call.poll_event(), Some(Event::Accepted));
        (bench, request.nonce)
    }

    /// A call that is connected without keys, and what the client said.
    fn connected() -> (Self, Vec<u8>) {
        let (mut bench, nonce) = Self::pending();
        let packet = call_connected(nonce, None);
        bench.call.handle_keys(bench.now, None);
        bench.bytes(&packet);
        let connected = Event::Connected(HashProtocol::Sha256);
        assert_eq!(bench.call.poll_event(), Some(connected));
        (bench, packet)
    }

    fn send(&mut self, message: &Message) {
        self.bytes(&message.to_bytes());
    }

    fn bytes(&mut self, packet: &[u8]) {
        self.call.handle_control(self.now, &mut self.rng, packet);
    }

    /// Lets time pass and the timer fire if it is due.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        if self.call.poll_timeout().is_some_and(|at| at <= self.now) {
            self.call.handle_timeout(self.now);
        }
    }

    fn expect_abort(&mut self, attribute: AttributeId, status: Status, reason: EndReason) {
        assert_eq!(
            self.call.poll_closing(),
            Some(Message::Abort(StatusInfo::new(attribute, status)))
        );
        let Some(Event::Ended { reason: found, .. }) = self.call.poll_event() else {
            panic!("not ended");
        };
        assert_eq!(found, reason);
        assert!(!self.call.takes_ppp());
    }

    fn expect_unexpected(&mut self) {
        self.expect_abort(
            AttributeId::STATUS_INFO,
            Status::UNACCEPTED_FRAME_RECEIVED,
            EndReason::UnexpectedMessage,
        );
    }

    fn expect_close(&mut self) {
        assert_eq!(self.call.poll_event(), Some(Event::Close));
        assert!(self.call.is_closed());
        assert_eq!(self.call.poll_timeout(), None);
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn certificate() -> CertificateHashes {
    CertificateHashes::of(b"certificate")
}

fn keys() -> InnerKeys {
    InnerKeys {
        recv: SecretBytes::new(vec![1; 16]),
        send: SecretBytes::new(vec![2; 16]),
    }
}

fn binding(nonce: [u8; 32]) -> crate::sstp::attribute::CryptoBinding {
    crate::sstp::attribute::CryptoBinding {
        hash: 2,
        nonce,
        certificate_hash: certificate().sha256,
        mac: [0; 32],
    }
}

fn call_connected(nonce: [u8; 32], keys: Option<&InnerKeys>) -> Vec<u8> {
    sealed(Message::Connected(binding(nonce)).to_bytes(), keys)
}

fn sealed(mut packet: Vec<u8>, keys: Option<&InnerKeys>) -> Vec<u8> {
    let array: [u8; CONNECTED_LEN] = packet.clone().try_into().unwrap();
    let mac = compound_mac(HashProtocol::Sha256, &Hlak::from_keys(keys), &array);
    packet[MAC_AT..].copy_from_slice(&mac);
    packet
}

fn request(attributes: &[&[u8]]) -> Vec<u8> {
    let body: Vec<u8> = attributes.concat();
    let len = u8::try_from(8 + body.len()).unwrap();
    let count = u8::try_from(attributes.len()).unwrap();
    let mut packet = vec![0x10, 1, 0, len, 0, 1, 0, count];
    packet.extend(body);
    packet
}

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
        (
            crate::sstp::attribute::CryptoBinding { hash: 3, ..right },
            Mismatch::HashProtocol,
        ),
        (
            crate::sstp::attribute::CryptoBinding { hash: 0, ..right },
            Mismatch::HashProtocol,
        ),
        (
            crate::sstp::attribute::CryptoBinding { hash: 4, ..right },
            Mismatch::HashProtocol,
        ),
        (
            crate::sstp::attribute::CryptoBinding { hash: 1, ..right },
            Mismatch::Certificate,
        ),
        (
            crate::sstp::attribute::CryptoBinding {
                nonce: [0; 32],
                ..right
            },
            Mismatch::Nonce,
        ),
        (
            crate::sstp::attribute::CryptoBinding {
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

#[test]
fn echo_while_connecting_is_answered_once_a_second_and_extends_nothing() {
    let (mut bench, _) = Bench::pending();
    let mut answers = 0;
    for _ in 0..750 {
        bench.send(&Message::EchoRequest);
        bench.send(&Message::EchoResponse);
        match bench.call.poll_opening() {
            None => {}
            Some(message) => {
                assert_eq!(message, Message::EchoResponse);
                answers += 1;
            }
        }
        bench.pass(Duration::from_millis(100));
    }
    assert_eq!(answers, 75);
    bench.expect_abort(
        AttributeId::STATUS_INFO,
        Status::NEGOTIATION_TIMEOUT,
        EndReason::CallConnectedTimeout,
    );
}

#[test]
fn nothing_is_asked_while_connecting() {
    let (mut bench, _) = Bench::pending();
    for _ in 0..74 {
        bench.pass(secs(1));
        assert_eq!(bench.call.poll_opening(), None);
    }
}

#[test]
fn silence_is_asked_about_once_and_then_closed_without_an_abort() {
    let (mut bench, _) = Bench::connected();
    bench.pass(secs(59));
    assert_eq!(bench.call.poll_opening(), None);
    bench.pass(secs(1));
    assert_eq!(bench.call.poll_opening(), Some(Message::EchoRequest));
    bench.pass(secs(60));
    assert_eq!(
        bench.call.poll_event(),
        Some(Event::Ended {
            cause: TerminateCause::PeerLost,
            reason: EndReason::HelloTimeout
        })
    );
    assert_eq!(bench.call.poll_closing(), None);
    bench.expect_close();
}

#[test]
fn any_packet_restarts_the_hello_timer() {
    let (mut bench, _) = Bench::connected();
    for _ in 0..20 {
        bench.pass(secs(45));
        bench.call.heard(bench.now);
        assert_eq!(bench.call.poll_opening(), None);
    }
    // The lazy deadline still finds the silence in time.
    let mut waited = secs(0);
    while bench.call.poll_opening().is_none() {
        bench.pass(secs(1));
        waited += secs(1);
    }
    assert_eq!(waited, secs(60));
    // An answer after the question counts as well.
    bench.pass(secs(30));
    bench.call.heard(bench.now);
    bench.send(&Message::EchoResponse);
    bench.pass(secs(59));
    assert_eq!(bench.call.poll_event(), None);
    bench.pass(secs(1));
    assert_eq!(bench.call.poll_opening(), Some(Message::EchoRequest));
}

#[test]
fn many_echo_requests_in_one_read_cost_one_answer() {
    let (mut bench, _) = Bench::connected();
    for _ in 0..1000 {
        bench.send(&Message::EchoRequest);
    }
    assert_eq!(bench.call.poll_opening(), Some(Message::EchoResponse));
    assert_eq!(bench.call.poll_opening(), None);
}

#[test]
fn an_abort_of_ours_waits_for_the_peers_and_a_second_more() {
    let (mut bench, _) = Bench::connected();
    bench.send(&Message::DisconnectAck);
    bench.expect_unexpected();
    bench.send(&Message::EchoRequest);
    bench.send(&Message::Disconnect(StatusInfo::CLEAN));
    bench.bytes(&[0x10, 1, 0, 4]);
    assert_eq!(bench.call.poll_closing(), None);
    bench.pass(secs(2));
    bench.send(&Message::Abort(StatusInfo::CLEAN));
    assert_eq!(bench.call.poll_closing(), None);
    bench.pass(Duration::from_millis(999));
    assert_eq!(bench.call.poll_event(), None);
    bench.pass(Duration::from_millis(1));
    bench.expect_close();
}

#[test]
fn an_abort_of_the_peers_is_answered_in_every_state() {
    let benches = [Bench::new(), Bench::pending().0, Bench::connected().0];
    for mut bench in benches {
        bench.send(&Message::Abort(StatusInfo::CLEAN));
        bench.expect_abort(
            AttributeId::NO_ERROR,
            Status::NO_ERROR,
            EndReason::PeerAbort,
        );
        bench.send(&Message::Abort(StatusInfo::CLEAN));
        assert_eq!(bench.call.poll_closing(), None);
        bench.pass(secs(1));
        bench.expect_close();
    }
}

#[test]
fn a_disconnect_of_ours_ends_with_its_acknowledgement() {
    let (mut bench, _) = Bench::connected();
    bench.call.disconnect(bench.now);
    let disconnect = Message::Disconnect(StatusInfo::CLEAN);
    assert!(bench.call.sends_ppp());
    assert_eq!(bench.call.poll_closing(), Some(disconnect));
    assert!(!bench.call.sends_ppp());
    bench.call.disconnect(bench.now);
    assert_eq!(bench.call.poll_closing(), None);
    bench.send(&Message::DisconnectAck);
    bench.expect_close();
}

#[test]
fn a_disconnect_of_ours_waits_5_seconds() {
    for mut bench in [Bench::new(), Bench::pending().0, Bench::connected().0] {
        bench.call.disconnect(bench.now);
        bench.pass(Duration::from_millis(4999));
        assert_eq!(bench.call.poll_event(), None);
        bench.pass(Duration::from_millis(1));
        bench.expect_close();
    }
}

#[test]
fn a_disconnect_of_the_peers_is_acknowledged_in_every_state() {
    for mut bench in [Bench::new(), Bench::pending().0, Bench::connected().0] {
        bench.send(&Message::Disconnect(StatusInfo::CLEAN));
        assert_eq!(bench.call.poll_closing(), Some(Message::DisconnectAck));
        assert_eq!(
            bench.call.poll_event(),
            Some(Event::Ended {
                cause: TerminateCause::UserRequest,
                reason: EndReason::PeerDisconnect
            })
        );
        bench.send(&Message::Disconnect(StatusInfo::CLEAN));
        bench.send(&Message::ConnectRequest);
        assert_eq!(bench.call.poll_closing(), None);
        bench.pass(secs(1));
        bench.expect_close();
    }
}

#[test]
fn crossing_disconnects_are_both_acknowledged() {
    let (mut bench, _) = Bench::connected();
    bench.call.disconnect(bench.now);
    bench.send(&Message::Disconnect(StatusInfo::CLEAN));
    assert!(matches!(
        bench.call.poll_closing(),
        Some(Message::Disconnect(_))
    ));
    assert_eq!(bench.call.poll_closing(), Some(Message::DisconnectAck));
    bench.send(&Message::DisconnectAck);
    bench.expect_close();
}

#[test]
fn nothing_wakes_a_closed_call() {
    let (mut bench, packet) = Bench::connected();
    bench.call.close();
    bench.expect_close();
    bench.bytes(&packet);
    bench.send(&Message::ConnectRequest);
    bench.call.handle_keys(bench.now, None);
    bench.call.disconnect(bench.now);
    bench.call.close();
    bench.call.handle_timeout(bench.now + secs(1000));
    assert_eq!(bench.call.poll_event(), None);
    assert_eq!(bench.call.poll_opening(), None);
    assert_eq!(bench.call.poll_closing(), None);
    assert_eq!(bench.call.poll_timeout(), None);
}
