//! WireGuard's messages, and what keys make of any octets.

use std::time::Instant;

use causeway_proto::wire::{Decode, Encode};
use causeway_proto::wireguard::message::{CookieReply, DataHeader, Initiation, Response};
use causeway_proto::wireguard::{
    Index, Kind, OVERHEAD, PresharedKey, PrivateKey, PublicKey, ReceivingKey, Role, SendingKey,
};
use zeroize::Zeroizing;

/// Reads any bytes as each of the messages, and as a key.
pub fn wireguard(bytes: &[u8]) {
    let kind = Kind::of(bytes);
    same::<Initiation>(bytes, kind == Some(Kind::Initiation));
    same::<Response>(bytes, kind == Some(Kind::Response));
    same::<CookieReply>(bytes, kind == Some(Kind::CookieReply));
    if let Some(head) = bytes.first_chunk() {
        let header = DataHeader::from_bytes(head);
        assert!(header.is_some() || kind != Some(Kind::Data));
        if let Some(header) = header {
            assert_eq!(header.to_bytes(), *head);
        }
    }
    keys(bytes);
    halves(bytes);
}

fn same<'a, M: Decode<'a> + Encode>(bytes: &'a [u8], is_one: bool) {
    let message = M::decode_exact(bytes);
    assert_eq!(message.is_ok(), is_one);
    if let Ok(message) = message {
        let mut again = Vec::new();
        assert!(message.append_to(&mut again, bytes.len()).is_ok());
        assert_eq!(again, bytes);
    }
}

/// A key that is read is written as it was, but for spaces around it.
fn keys(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(key.to_string(), text.trim());
        assert!(text.parse::<PrivateKey>().is_ok());
    }
    if let Ok(key) = text.parse::<PresharedKey>() {
        assert_eq!(key.expose_base64().as_str(), text.trim());
    }
}

/// What nobody has sealed does not open; what was sealed does, once.
fn halves(bytes: &[u8]) {
    let now = Instant::now();
    let index = Index::new(1, 2, 3);
    let key = || Zeroizing::new([7; 32]);
    let sending = SendingKey::new(key(), index.0, now, Role::Initiator);
    let mut receiving = ReceivingKey::new(key(), index, now, Role::Responder);
    let mut octets = bytes.to_vec();
    assert!(receiving.open(&mut octets).is_err());
    let mut frame = vec![0; 16];
    frame.extend_from_slice(bytes);
    frame.resize(bytes.len() + OVERHEAD, 0);
    let counter = sending.reserve(1).unwrap_or_default();
    assert!(sending.seal(counter, &mut frame).is_ok());
    assert_eq!(
        receiving.open(&mut frame.clone()),
        Ok(&mut bytes.to_vec()[..])
    );
    assert!(receiving.open(&mut frame).is_err());
}
