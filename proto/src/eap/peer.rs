//! The client's half: Identity and EAP-MSCHAPv2 (draft-kamath-pppext-eap-mschapv2-02), everything else is refused.
//!
//! ```text
//! |     Code      |  Identifier   |            Length             |
//! |   Type = 26   |    OpCode     | MS-CHAPv2-ID  |  MS-Length ...
//! | ... MS-Length |  Data ...
//! ```
//!
//! A Success counts only when the server has proved that it knows the password.

use super::packet::{Code, Packet, Type};
use crate::aaa::{Identity, InnerKeys};
use crate::crypto::{Rng, SecretBytes};
use crate::mschapv2::Answer;
use crate::wire::{DecodeError, Reader};

const CHALLENGE: u8 = 1;
const RESPONSE: u8 = 2;
const SUCCESS: u8 = 3;
const FAILURE: u8 = 4;

/// What a packet from the authenticator means.
#[derive(Debug, Eq, PartialEq)]
pub enum PeerStep {
    /// Nothing.
    Ignore,
    /// Send this Response.
    Respond(Vec<u8>),
    /// The server knows the password and lets us in.
    Success(InnerKeys),
    /// The server does not let us in.
    Failure,
    /// The server says yes but cannot prove that it knows the password.
    Unverified,
}

/// The peer's half of one conversation.
#[derive(Debug)]
pub struct Peer {
    user: Identity,
    password: SecretBytes,
    rng: Rng,
    state: State,
    /// The last Request's identifier and our Response, for a Request that is repeated.
    last: Option<(u8, Vec<u8>)>,
}

#[derive(Debug)]
enum State {
    Idle,
    Answered(Answer),
    Proved(InnerKeys),
}

impl Peer {
    /// Waits for the first Request.
    #[must_use]
    pub const fn new(user: Identity, password: SecretBytes, rng: Rng) -> Self {
        Self {
            user,
            password,
            rng,
            state: State::Idle,
            last: None,
        }
    }

    /// Takes a packet from the authenticator.
    pub fn handle(&mut self, bytes: &[u8]) -> PeerStep {
        let Ok(packet) = Packet::read(bytes) else {
            return PeerStep::Ignore;
        };
        match (packet.code, packet.body) {
            (Code::REQUEST, Some((kind, data))) => {
                if let Some((identifier, response)) = &self.last
                    && *identifier == packet.identifier
                {
                    return PeerStep::Respond(response.clone());
                }
                self.handle_request(packet.identifier, kind, data)
            }
            (Code::SUCCESS, _) => match &self.state {
                State::Proved(keys) => PeerStep::Success(keys.clone()),
                State::Idle | State::Answered(_) => PeerStep::Unverified,
            },
            (Code::FAILURE, _) => PeerStep::Failure,
            _ => PeerStep::Ignore,
        }
    }

    fn handle_request(&mut self, identifier: u8, kind: Type, data: &[u8]) -> PeerStep {
        let (kind, data) = match kind {
            Type::IDENTITY => (kind, self.user.as_bytes().to_vec()),
            Type::NOTIFICATION => (kind, Vec::new()),
            Type::MSCHAPV2 => match self.handle_method(data) {
                Ok(Some(data)) => (kind, data),
                Ok(None) => return PeerStep::Unverified,
                Err(_) => return PeerStep::Ignore,
            },
            _ => (Type::NAK, vec![Type::MSCHAPV2.0]),
        };
        let response = Packet {
            code: Code::RESPONSE,
            identifier,
            body: Some((kind, &data)),
        }
        .to_vec();
        self.last = Some((identifier, response.clone()));
        PeerStep::Respond(response)
    }

    /// Returns the type data of the Response; `None` when the server's proof is wrong.
    fn handle_method(&mut self, data: &[u8]) -> Result<Option<Vec<u8>>, DecodeError> {
        let mut r = Reader::new(data);
        let op_code = r.u8("OpCode")?;
        let identifier = r.u8("MS-CHAPv2-ID")?;
        r.u16("MS-Length")?;
        match (op_code, &self.state) {
            (CHALLENGE, State::Idle | State::Answered(_)) => {
                let size = usize::from(r.u8("Value-Size")?);
                let challenge =
                    r.bytes(size, "Challenge")?
                        .try_into()
                        .map_err(|_| DecodeError::Length {
                            field: "Value-Size",
                        })?;
                let password = core::str::from_utf8(self.password.expose())
                    .map_err(|_| DecodeError::Value { field: "password" })?;
                let own = self.rng.array();
                let answer = Answer::new(password, self.user.as_bytes(), challenge, own);
                let value = answer.value();
                self.state = State::Answered(answer);
                let size = u8::try_from(value.len()).unwrap_or(u8::MAX);
                let name = self.user.as_bytes();
                let length = value.len().saturating_add(name.len()).saturating_add(5);
                let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
                let head = [RESPONSE, identifier, high, low, size];
                Ok(Some([&head, value.as_slice(), name].concat()))
            }
            (SUCCESS, State::Answered(answer)) => {
                if !answer.is_proved_by(r.rest()) {
                    return Ok(None);
                }
                self.state = State::Proved(answer.keys());
                Ok(Some(vec![SUCCESS]))
            }
            (FAILURE, _) => Ok(Some(vec![FAILURE])),
            _ => Err(DecodeError::Value { field: "OpCode" }),
        }
    }
}
