//! PAP, both halves (RFC 1334 §2).
//!
//! ```text
//! Authenticate-Request  | Peer-ID Length | Peer-Id ... | Passwd-Length | Password ... |
//! Authenticate-Ack, Nak | Msg-Length     | Message ... |
//! ```
//!
//! pppd sends its request every 3 seconds with a new identifier and takes an answer with any of them. One that repeats
//! the pending credentials only renews the identifier; one with others is ignored. Once there is a decision, every
//! request gets it again (RFC 1334 §2.2.1), and the password is forgotten.

use super::auth::{Exchange, Step, cut, refusal_of, words};
use super::config::ClientConfig;
use super::control::Packet;
use super::event::DownReason;
use super::frame::Protocol;
use super::outbox::Outbox;
use crate::aaa::{Credentials, Decision, Identity, Proof};
use crate::crypto::SecretBytes;
use crate::wire::{Decode, DecodeError, Reader};

const REQUEST: u8 = 1;
const ACK: u8 = 2;
const NAK: u8 = 3;

/// How often a client sends its request.
const MAX_REQUESTS: u8 = 10;

/// The authenticator.
#[derive(Debug)]
pub(crate) struct Server {
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting,
    Pending {
        identifier: u8,
        request: SecretBytes,
    },
    Ended {
        code: u8,
        message: Vec<u8>,
    },
}

impl Server {
    pub(crate) const fn new() -> Self {
        Self {
            state: State::Waiting,
        }
    }

    fn end(&mut self, code: u8, text: &str, out: &mut Outbox) {
        let State::Pending { identifier, .. } = &self.state else {
            return;
        };
        let message = message(text);
        out.control(Protocol::PAP, code, *identifier, &message);
        self.state = State::Ended { code, message };
    }
}

impl Exchange for Server {
    fn start(&mut self, _out: &mut Outbox) {}

    fn handle(&mut self, information: &[u8], out: &mut Outbox) -> Step {
        let Ok(packet) = Packet::decode(&mut Reader::new(information)) else {
            return Step::Wait;
        };
        if packet.code != REQUEST {
            return Step::Wait;
        }
        let Ok((user, password)) = read_request(packet.data) else {
            return Step::Wait;
        };
        match &mut self.state {
            State::Waiting => {
                self.state = State::Pending {
                    identifier: packet.identifier,
                    request: SecretBytes::from(packet.data),
                };
                let Some(user) = Identity::new(user) else {
                    self.end(NAK, "A user name is needed", out);
                    return Step::Failure(DownReason::AuthRefused);
                };
                Step::Ask(Credentials::Pap {
                    user,
                    password: SecretBytes::from(password),
                })
            }
            State::Pending {
                identifier,
                request,
            } => {
                if *request == SecretBytes::from(packet.data) {
                    *identifier = packet.identifier;
                }
                Step::Wait
            }
            State::Ended { code, message } => {
                out.control(Protocol::PAP, *code, packet.identifier, message);
                Step::Wait
            }
        }
    }

    fn decide(&mut self, decision: &Decision, out: &mut Outbox) -> Step {
        if !matches!(self.state, State::Pending { .. }) {
            return Step::Wait;
        }
        match (decision, refusal_of(decision)) {
            (Decision::Admit(grant), _) => match &grant.proof {
                Proof::Message(text) => {
                    self.end(ACK, text, out);
                    Step::Success(grant.keys.clone())
                }
                Proof::MsChapV2(_) | Proof::Eap(_) => {
                    self.end(NAK, "Authentication failed", out);
                    Step::Failure(DownReason::AuthRefused)
                }
            },
            (_, refusal) => {
                let text = refusal.as_ref().map_or("Authentication failed", words);
                self.end(NAK, text, out);
                Step::Failure(DownReason::AuthRefused)
            }
        }
    }

    fn resend(&mut self, _out: &mut Outbox) {}

    fn give_up(&mut self, out: &mut Outbox) {
        self.end(NAK, "Authentication failed", out);
    }
}

/// The peer.
#[derive(Debug)]
pub(crate) struct Client {
    request: SecretBytes,
    identifier: u8,
    sent: u8,
    ended: bool,
}

impl Client {
    pub(crate) fn new(config: &ClientConfig) -> Self {
        let mut request = Vec::new();
        for field in [config.user.as_bytes(), config.password.expose()] {
            let field = field.get(..field.len().min(255)).unwrap_or_default();
            request.push(u8::try_from(field.len()).unwrap_or(u8::MAX));
            request.extend(field);
        }
        Self {
            request: SecretBytes::new(request),
            identifier: 0,
            sent: 0,
            ended: false,
        }
    }
}

impl Exchange for Client {
    fn start(&mut self, out: &mut Outbox) {
        self.sent = self.sent.saturating_add(1);
        self.identifier = self.identifier.wrapping_add(1);
        out.control(
            Protocol::PAP,
            REQUEST,
            self.identifier,
            self.request.expose(),
        );
    }

    fn handle(&mut self, information: &[u8], _out: &mut Outbox) -> Step {
        let Ok(packet) = Packet::decode(&mut Reader::new(information)) else {
            return Step::Wait;
        };
        // Any identifier will do: the answer may be to a request that has been sent again since.
        match packet.code {
            ACK if !self.ended => {
                self.ended = true;
                Step::Success(None)
            }
            NAK if !self.ended => {
                self.ended = true;
                Step::Failure(DownReason::AuthRefused)
            }
            _ => Step::Wait,
        }
    }

    fn decide(&mut self, _decision: &Decision, _out: &mut Outbox) -> Step {
        Step::Wait
    }

    fn resend(&mut self, out: &mut Outbox) {
        if self.sent < MAX_REQUESTS {
            self.start(out);
        }
    }

    fn give_up(&mut self, _out: &mut Outbox) {}
}

/// Reads user name and password.
fn read_request(data: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let mut r = Reader::new(data);
    let length = usize::from(r.u8("Peer-ID Length")?);
    let user = r.bytes(length, "Peer-Id")?;
    let length = usize::from(r.u8("Passwd-Length")?);
    let password = r.bytes(length, "Password")?;
    Ok((user, password))
}

/// Returns the data of an Ack or a Nak.
fn message(text: &str) -> Vec<u8> {
    let text = cut(text, 255);
    let mut data = vec![u8::try_from(text.len()).unwrap_or(u8::MAX)];
    data.extend(text.as_bytes());
    data
}
