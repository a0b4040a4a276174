//! Disconnect-Request and CoA-Request: any datagram, and any attributes in one that is signed as it should be.

use causeway_proto::radius::authenticator::{
    EMPTY_MESSAGE_AUTHENTICATOR, MessageAuthenticator, response_authenticator, verify_reply,
    with_message_authenticator,
};
use causeway_proto::radius::dynamic_authorization::{Request, Wanted, respond, verify};
use causeway_proto::radius::{Code, MAX_LEN, Packet};
use causeway_proto::wire::{Decode, Encode};

use crate::Program;

const SECRET: &[u8] = b"testing123";
const NOW: u64 = 1_764_000_000;

/// Reads any bytes as a request, then as the attributes of a signed one.
pub fn dynauth(bytes: &[u8]) {
    assert!(
        verify(bytes, NOW, SECRET).is_err(),
        "a forged request is believed"
    );
    let mut program = Program::new(bytes);
    let code = if program.byte() & 1 == 0 {
        Code::DISCONNECT_REQUEST
    } else {
        Code::COA_REQUEST
    };
    let mut list = vec![80, 18];
    list.extend(EMPTY_MESSAGE_AUTHENTICATOR);
    list.extend(program.rest());
    let Some(unsigned) = Packet::new(code, 3, [0; 16], &list) else {
        return;
    };
    let attributes = with_message_authenticator(&unsigned, &[0; 16], SECRET);
    let mut packet = Packet::new(code, 3, [0; 16], &attributes).expect("it was measured");
    packet.authenticator = response_authenticator(&packet, &[0; 16], SECRET);
    let mut datagram = Vec::new();
    packet
        .append_to(&mut datagram, MAX_LEN)
        .expect("it was measured");
    let Ok(packet) = verify(&datagram, NOW, SECRET) else {
        return;
    };
    let request = Request::read(&packet);
    if let Ok(request) = &request {
        assert!(!request.selector.is_empty(), "a request for any session");
        let ends = request.wanted == Wanted::Disconnect;
        assert_eq!(ends, code == Code::DISCONNECT_REQUEST);
    }
    let cause = request.err().map(|refusal| refusal.cause);
    if let Some(answer) = respond(&packet, cause, SECRET) {
        let answer = Packet::decode_exact(&answer).expect("what we answer is a packet");
        assert_eq!(
            verify_reply(&answer, &packet.authenticator, SECRET),
            Ok(MessageAuthenticator::Verified)
        );
    }
}
