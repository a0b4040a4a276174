//! EAP in PPP frames (RFC 3748 §3.3): the halves of [`crate::eap`] as exchanges.

use super::auth::{Exchange, Step};
use super::config::{ClientConfig, Supplicant};
use super::event::DownReason;
use super::frame::Protocol;
use super::outbox::Outbox;
use crate::aaa::Decision;
use crate::crypto::Rng;
use crate::eap::{Heard, PassThrough, Peer, PeerStep, Reply};

/// The authenticator.
#[derive(Debug)]
pub(crate) struct Server {
    pass_through: PassThrough,
}

impl Server {
    pub(crate) const fn new(identifier: u8) -> Self {
        Self {
            pass_through: PassThrough::new(identifier),
        }
    }
}

impl Exchange for Server {
    fn start(&mut self, out: &mut Outbox) {
        if let Some(request) = self.pass_through.identity_request() {
            out.information(Protocol::EAP, &request);
        }
    }

    fn handle(&mut self, information: &[u8], out: &mut Outbox) -> Step {
        match self.pass_through.handle_response(information) {
            Heard::Nothing => Step::Wait,
            Heard::Ask(credentials) => Step::Ask(credentials),
            Heard::Again(packet) => {
                out.information(Protocol::EAP, &packet);
                Step::Wait
            }
            Heard::Failure(packet) => {
                out.information(Protocol::EAP, &packet);
                Step::Failure(DownReason::AuthRefused)
            }
            Heard::TooMany(packet) => {
                out.information(Protocol::EAP, &packet);
                Step::Failure(DownReason::AuthLoop)
            }
        }
    }

    fn decide(&mut self, decision: &Decision, out: &mut Outbox) -> Step {
        match self.pass_through.handle_decision(decision) {
            Reply::Nothing => Step::Wait,
            // What no frame can carry cannot be relayed.
            Reply::Request(packet) if packet.len() > Outbox::MAX_INFORMATION => {
                out.information(Protocol::EAP, &self.pass_through.give_up());
                Step::Failure(DownReason::AuthRefused)
            }
            Reply::Request(packet) => {
                out.information(Protocol::EAP, &packet);
                Step::Wait
            }
            Reply::Success(packet) => {
                out.information(Protocol::EAP, &packet);
                let keys = match decision {
                    Decision::Admit(grant) => grant.keys.clone(),
                    Decision::Challenge(_) | Decision::Refuse(_) => None,
                };
                Step::Success(keys)
            }
            Reply::Failure(packet) => {
                out.information(Protocol::EAP, &packet);
                Step::Failure(DownReason::AuthRefused)
            }
        }
    }

    fn resend(&mut self, out: &mut Outbox) {
        self.start(out);
    }

    fn give_up(&mut self, out: &mut Outbox) {
        out.information(Protocol::EAP, &self.pass_through.give_up());
    }
}

/// The peer.
#[derive(Debug)]
pub(crate) struct Client {
    /// `None` when the owner answers.
    peer: Option<Peer>,
    ended: bool,
}

impl Client {
    pub(crate) fn new(config: &ClientConfig, rng: Rng) -> Self {
        let peer = match config.supplicant {
            Supplicant::BuiltIn => {
                Some(Peer::new(config.user.clone(), config.password.clone(), rng))
            }
            Supplicant::External => None,
        };
        Self { peer, ended: false }
    }

    fn end(&mut self, step: Step) -> Step {
        if self.ended {
            return Step::Wait;
        }
        self.ended = true;
        step
    }
}

impl Exchange for Client {
    fn start(&mut self, _out: &mut Outbox) {}

    fn handle(&mut self, information: &[u8], out: &mut Outbox) -> Step {
        match &mut self.peer {
            Some(peer) => {
                let step = peer.handle(information);
                self.supplicate(step, out)
            }
            None if self.ended => Step::Wait,
            None => Step::Consult(information.to_vec()),
        }
    }

    fn supplicate(&mut self, step: PeerStep, out: &mut Outbox) -> Step {
        match step {
            PeerStep::Ignore => Step::Wait,
            PeerStep::Respond(packet) => {
                out.information(Protocol::EAP, &packet);
                Step::Wait
            }
            PeerStep::Success(keys) => self.end(Step::Success(Some(keys))),
            PeerStep::Failure => self.end(Step::Failure(DownReason::AuthRefused)),
            PeerStep::Unverified => self.end(Step::Failure(DownReason::AuthUnverified)),
        }
    }

    fn decide(&mut self, _decision: &Decision, _out: &mut Outbox) -> Step {
        Step::Wait
    }

    fn resend(&mut self, _out: &mut Outbox) {}

    fn give_up(&mut self, _out: &mut Outbox) {}
}
