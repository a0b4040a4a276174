//! The authenticator that knows no method and relays to one that does (RFC 3748 §2.3, RFC 3579 §2).
//!
//! ```text
//! AwaitIdentity --Response/Identity--> Pending --Challenge--> AwaitAnswer --Response--> Pending --> Ended
//! ```
//!
//! A Response counts only when its identifier is that of the outstanding Request, and only once. The conversation
//! ends with Success only on [`Decision::Admit`], and after 40 rounds in any case.

use super::packet::{Code, Packet, Type};
use crate::aaa::{Challenge, Credentials, Decision, Identity, Proof};

/// How many Responses may go to the server in one conversation.
pub(super) const MAX_ROUNDS: u8 = 40;

/// What a packet from the peer means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Heard {
    /// Nothing: a duplicate, a wrong identifier, or no Response at all.
    Nothing,
    /// A Response for the server.
    Ask(Credentials),
    /// The peer has not seen how the conversation ended; send this again.
    Again(Vec<u8>),
    /// The conversation is over: send this Failure.
    Failure(Vec<u8>),
    /// It took too many rounds: send this Failure.
    TooMany(Vec<u8>),
}

/// What to send after a decision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// Nobody had asked.
    Nothing,
    /// The server's next Request.
    Request(Vec<u8>),
    /// The end, well.
    Success(Vec<u8>),
    /// The end, badly.
    Failure(Vec<u8>),
}

/// The authenticator's half of one conversation.
#[derive(Debug)]
pub struct PassThrough {
    state: State,
    /// The identifier of the last Request.
    identifier: u8,
    rounds: u8,
}

#[derive(Debug)]
enum State {
    AwaitIdentity,
    AwaitAnswer {
        user: Identity,
        challenge: Challenge,
    },
    Pending {
        user: Identity,
    },
    Ended {
        packet: Vec<u8>,
    },
}

impl PassThrough {
    /// Starts a conversation; any identifier will do for the first Request.
    #[must_use]
    pub const fn new(identifier: u8) -> Self {
        Self {
            state: State::AwaitIdentity,
            identifier,
            rounds: 0,
        }
    }

    /// Returns the Identity request, as long as it is the one that is outstanding.
    #[must_use]
    pub fn identity_request(&self) -> Option<Vec<u8>> {
        matches!(self.state, State::AwaitIdentity).then(|| {
            let body = Some((Type::IDENTITY, &[][..]));
            self.packet(Code::REQUEST, body)
        })
    }

    /// Returns whether the server has been asked and has not answered.
    #[must_use]
    pub const fn is_pending(&self) -> bool {
        matches!(self.state, State::Pending { .. })
    }

    /// Takes a packet from the peer.
    pub fn handle_response(&mut self, bytes: &[u8]) -> Heard {
        let Ok(packet) = Packet::read(bytes) else {
            return Heard::Nothing;
        };
        let (Code::RESPONSE, Some((kind, data))) = (packet.code, packet.body) else {
            return Heard::Nothing;
        };
        if packet.identifier != self.identifier {
            return Heard::Nothing;
        }
        let (user, state) = match &self.state {
            State::AwaitIdentity if kind == Type::IDENTITY => {
                // The display string ends at a NUL, if there is one (RFC 3748 §5.1).
                let name = data.split(|octet| *octet == 0).next().unwrap_or_default();
                match Identity::new(name) {
                    Some(user) => (user, None),
                    None => return Heard::Failure(self.give_up()),
                }
            }
            State::AwaitIdentity | State::Pending { .. } => return Heard::Nothing,
            State::AwaitAnswer { user, challenge } => (user.clone(), Some(challenge.clone())),
            State::Ended { packet } => return Heard::Again(packet.clone()),
        };
        if self.rounds >= MAX_ROUNDS {
            return Heard::TooMany(self.give_up());
        }
        self.rounds = self.rounds.saturating_add(1);
        self.state = State::Pending { user: user.clone() };
        Heard::Ask(Credentials::Eap {
            user,
            message: packet.to_vec(),
            state,
        })
    }

    /// Takes the answer to [`Heard::Ask`].
    pub fn handle_decision(&mut self, decision: &Decision) -> Reply {
        let State::Pending { user } = &self.state else {
            return Reply::Nothing;
        };
        match decision {
            Decision::Challenge(challenge) => match Packet::read(&challenge.eap) {
                Ok(request) if request.code == Code::REQUEST => {
                    self.identifier = request.identifier;
                    self.state = State::AwaitAnswer {
                        user: user.clone(),
                        challenge: challenge.clone(),
                    };
                    Reply::Request(request.to_vec())
                }
                Ok(_) | Err(_) => Reply::Failure(self.give_up()),
            },
            Decision::Admit(grant) => match &grant.proof {
                Proof::Eap(packet) if packet.is_empty() => {
                    Reply::Success(self.end(self.packet(Code::SUCCESS, None)))
                }
                Proof::Eap(packet) if has_code(packet, Code::SUCCESS) => {
                    Reply::Success(self.end(packet.clone()))
                }
                // A success that is none must not open the door.
                Proof::Eap(_) | Proof::Message(_) | Proof::MsChapV2(_) => {
                    Reply::Failure(self.give_up())
                }
            },
            Decision::Refuse(refusal) => match &refusal.rejection.eap {
                Some(packet) if has_code(packet, Code::FAILURE) => {
                    Reply::Failure(self.end(packet.clone()))
                }
                Some(_) | None => Reply::Failure(self.give_up()),
            },
        }
    }

    /// Ends the conversation and returns the Failure.
    pub fn give_up(&mut self) -> Vec<u8> {
        self.end(self.packet(Code::FAILURE, None))
    }

    fn end(&mut self, packet: Vec<u8>) -> Vec<u8> {
        self.state = State::Ended {
            packet: packet.clone(),
        };
        packet
    }

    fn packet(&self, code: Code, body: Option<(Type, &[u8])>) -> Vec<u8> {
        Packet {
            code,
            identifier: self.identifier,
            body,
        }
        .to_vec()
    }
}

/// Returns whether the octets are a whole packet with this code.
fn has_code(bytes: &[u8], code: Code) -> bool {
    Packet::read(bytes).is_ok_and(|packet| packet.code == code)
}
