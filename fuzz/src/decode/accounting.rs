//! Accounting: any datagram, and any attributes in a request and in an answer that are signed as they should be.

use std::time::{Duration, Instant};

use causeway_proto::activity::Usage;
use causeway_proto::crypto::Rng;
use causeway_proto::radius::accounting::{
    Config, Record, Sender, Server, Status, decode_request, encode_request,
};
use causeway_proto::radius::authenticator::{response_authenticator, sign_reply};
use causeway_proto::radius::{Code, MAX_LEN, Packet, ServerId};
use causeway_proto::wire::{Decode, Encode};

const SECRET: &[u8] = b"testing123";

/// Reads any bytes as a request and as an answer, then as the attributes of signed ones.
pub fn accounting(bytes: &[u8]) {
    assert!(
        decode_request(bytes, SECRET).is_err(),
        "a forged request is believed"
    );
    request(bytes);
    answer(bytes);
}

fn request(attributes: &[u8]) {
    let Some(mut packet) = Packet::new(Code::ACCOUNTING_REQUEST, 7, [0; 16], attributes) else {
        return;
    };
    packet.authenticator = response_authenticator(&packet, &[0; 16], SECRET);
    let mut datagram = Vec::new();
    packet
        .append_to(&mut datagram, MAX_LEN)
        .expect("it was measured");
    let Ok(report) = decode_request(&datagram, SECRET) else {
        return;
    };
    assert!(!report.session.is_empty());
    // What it says is said again in our own words.
    let mut base = Vec::new();
    if report.session.len() <= 253 {
        base.extend([
            44,
            u8::try_from(report.session.len() + 2).expect("it is short"),
        ]);
        base.extend(&report.session);
    }
    let record = Record {
        status: report.status,
        session: String::from_utf8_lossy(&report.session).as_ref().into(),
        at: report.at.unwrap_or(0).into(),
        elapsed: report.elapsed.into(),
        usage: report.usage,
        base: base.into(),
    };
    let wall = record.at + u64::from(report.delay);
    let (again, _) = encode_request(&record, wall, 1, SECRET).expect("it is short");
    let again = decode_request(&again, SECRET).expect("what we write can be read");
    assert_eq!(again.status, report.status);
    assert_eq!(again.session, report.session);
    assert_eq!(again.delay, report.delay);
    if !matches!(report.status, Status::Start | Status::On | Status::Off) {
        assert_eq!(again.usage, report.usage);
        assert_eq!(again.elapsed, report.elapsed);
    }
}

fn answer(bytes: &[u8]) {
    let now = Instant::now();
    let config = Config {
        servers: vec![Server {
            name: "fuzz".into(),
            secret: SECRET.into(),
            reliable: false,
        }],
        queue_max: 4,
        flight: Duration::from_secs(2),
    };
    let mut sender = Sender::new(config, Rng::from_seed(&[0; 32]));
    let record = Record {
        status: Status::Start,
        session: "a".into(),
        at: 0,
        elapsed: 0,
        usage: Usage::default(),
        base: [44, 3, b'a'].as_slice().into(),
    };
    sender.push(now, 1, record);
    sender.release(now, 1);
    let mut sent = Vec::new();
    assert!(sender.poll_transmit(now, 0, &mut sent).is_some());
    let request = Packet::decode_exact(&sent).expect("what we send is a packet");
    let heard = sender.handle_datagram(now, ServerId(0), bytes);
    assert!(heard.is_err(), "a forged answer is believed");
    assert_eq!(sender.len(), 1);
    let signed = sign_reply(
        Code::ACCOUNTING_RESPONSE,
        request.identifier,
        bytes,
        &request.authenticator,
        SECRET,
    );
    if let Some(signed) = signed {
        let heard = sender.handle_datagram(now, ServerId(0), &signed);
        assert_eq!(heard.is_ok(), sender.is_empty());
    }
}
