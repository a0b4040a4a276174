//! The table of states and messages, the timers, and what attackers sent to others.

mod bindings;
mod requests;
mod timers;

use super::*;
use crate::crypto::SecretBytes;
use crate::sstp::attribute::CryptoBinding;
use crate::sstp::binding::{Hlak, compound_mac};
use crate::timer::testing::start;

const MAC_AT: usize = CONNECTED_LEN - 32;

/// A call with its clock and the client's knowledge.
struct Bench {
    call: Call,
    rng: Rng,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = start();
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

fn binding(nonce: [u8; 32]) -> CryptoBinding {
    CryptoBinding {
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
