//! RADIUS replies: any datagram, and any attributes in a reply that is signed as it should be.

use causeway_proto::aaa::{Challenge, Credentials, Identity, MsChapV2Response, Verdict};
use causeway_proto::radius::access::{Answer, Signing, decode_reply};
use causeway_proto::radius::authenticator::{sign_reply, verify_reply};
use causeway_proto::radius::{Code, MAX_LEN, Packet};
use causeway_proto::wire::{Decode, Encode};

use crate::Program;

const SECRET: &[u8] = b"testing123";
const AUTHENTICATOR: [u8; 16] = [0x5a; 16];

/// Reads any bytes as a datagram, then as the attributes of a signed reply to each kind of log-in.
pub fn radius(bytes: &[u8]) {
    if let Ok(packet) = Packet::decode_exact(bytes) {
        let mut again = Vec::new();
        packet
            .append_to(&mut again, MAX_LEN)
            .expect("what was read fits");
        assert_eq!(again, bytes[..again.len()]);
        assert!(
            verify_reply(&packet, &AUTHENTICATOR, SECRET).is_err(),
            "a forged reply is believed"
        );
        walk(&packet);
    }
    signed(bytes);
}

fn walk(packet: &Packet<'_>) {
    let octets = packet.attribute_octets().len();
    assert!(
        packet.attributes().count() <= octets / 2 + 1,
        "a walk that does not advance"
    );
}

fn signed(bytes: &[u8]) {
    let mut program = Program::new(bytes);
    let code = [
        Code::ACCESS_ACCEPT,
        Code::ACCESS_REJECT,
        Code::ACCESS_CHALLENGE,
        Code(program.byte()),
    ];
    let choice = program.byte();
    let code = code[usize::from(choice >> 4) % 4];
    let credentials = credentials(choice & 3);
    let attributes = program.rest();
    // Message-Authenticator goes first; what is behind it is the server's.
    let mut list = vec![80, 18];
    list.extend([0; 16]);
    list.extend(attributes);
    let Some(datagram) = sign_reply(code, 9, &list, &AUTHENTICATOR, SECRET) else {
        return;
    };
    let packet = Packet::decode_exact(&datagram).expect("what was signed is a packet");
    walk(&packet);
    let signing = Signing {
        identifier: 9,
        authenticator: AUTHENTICATOR,
        secret: SECRET,
    };
    let answer = decode_reply(&packet, &credentials, signing, "server");
    if let (Ok(Answer::Verdict(Verdict::Accept(_))), code) = (&answer, code) {
        assert_eq!(code, Code::ACCESS_ACCEPT, "an accept out of something else");
    }
    // The same reply with one bit flipped is nobody's.
    for at in [0, 1, 5, datagram.len() - 1] {
        let mut forged = datagram.clone();
        forged[at] ^= 1;
        if let Ok(packet) = Packet::decode_exact(&forged) {
            assert!(
                verify_reply(&packet, &AUTHENTICATOR, SECRET).is_err(),
                "bit in octet {at}"
            );
        }
    }
}

fn credentials(choice: u8) -> Credentials {
    let user = Identity::new(b"alice").expect("a name");
    match choice {
        0 => Credentials::Pap {
            user,
            password: b"wonderland".as_slice().into(),
        },
        1 => Credentials::MsChapV2 {
            user,
            response: MsChapV2Response {
                identifier: 1,
                challenge: [1; 16],
                peer_challenge: [2; 16],
                nt_response: [3; 24],
                flags: 0,
            },
        },
        2 => Credentials::ChapMd5 {
            user,
            identifier: 1,
            challenge: vec![7; 16],
            response: [8; 16],
        },
        _ => Credentials::Eap {
            user,
            message: vec![2, 1, 0, 10, 1, b'a', b'l', b'i', b'c', b'e'],
            state: None::<Challenge>,
        },
    }
}
