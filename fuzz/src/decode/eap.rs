//! EAP: the packet, the authenticator that passes it through, and the peer.

use causeway_proto::aaa::{Challenge, Decision, Identity, Refusal, RefuseReason};
use causeway_proto::crypto::Rng;
use causeway_proto::eap::{Heard, Packet, PassThrough, Peer, PeerStep};

use crate::Program;

/// The most rounds that one log-in may take, and some.
const ROUNDS: usize = 64;

/// Reads any bytes as a packet, then as a conversation from both ends.
pub fn eap(bytes: &[u8]) {
    if let Ok(packet) = Packet::read(bytes) {
        let again = packet.to_vec();
        assert_eq!(
            Packet::read(&again),
            Ok(packet),
            "what was read survives being written"
        );
    }
    let mut program = Program::new(bytes);
    authenticator(&mut program.clone());
    peer(&mut program);
}

/// Every packet of the program is an answer; questions of the server come out of it too.
fn authenticator(program: &mut Program<'_>) {
    let mut conversation = PassThrough::new(program.byte());
    let mut asked = 0;
    while !program.is_done() {
        let mut packet = program.short().to_vec();
        if program.byte() & 1 == 0 && packet.len() > 1 {
            packet[1] = program.byte();
        }
        match conversation.handle_response(&packet) {
            Heard::Ask(credentials) => {
                asked += 1;
                assert!(asked <= ROUNDS, "a conversation without end");
                assert!(conversation.is_pending());
                // Again at once: nobody is asked twice for one packet.
                assert!(!matches!(
                    conversation.handle_response(&packet),
                    Heard::Ask(_)
                ));
                assert!(!credentials.user().as_bytes().is_empty());
                let decision = match program.byte() % 3 {
                    0 => Decision::Refuse(Refusal::new(RefuseReason::Rejected)),
                    _ => Decision::Challenge(Challenge {
                        eap: program.short().to_vec(),
                        state: vec![1],
                        server: "server".to_owned(),
                        message: None,
                        timeout: None,
                    }),
                };
                let _ = conversation.handle_decision(&decision);
                assert!(!conversation.is_pending());
            }
            Heard::Nothing | Heard::Again(_) | Heard::Failure(_) | Heard::TooMany(_) => {}
        }
    }
    let _ = conversation.give_up();
}

fn peer(program: &mut Program<'_>) {
    let user = Identity::new(b"alice").expect("a name");
    let mut peer = Peer::new(
        user,
        b"wonderland".as_slice().into(),
        Rng::from_seed(&[7; 32]),
    );
    while !program.is_done() {
        match peer.handle(program.short()) {
            PeerStep::Respond(response) => {
                assert!(response.len() <= 1500, "{} octets", response.len())
            }
            PeerStep::Success(_) => {
                panic!("the peer believes a server that cannot know the password")
            }
            PeerStep::Ignore | PeerStep::Failure | PeerStep::Unverified => {}
        }
    }
}
