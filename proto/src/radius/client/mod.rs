//! The client: one request for one log-in, and only the true answer to it.
//!
//! ```text
//!            request                        retransmit: same octets
//!  caller ───────────▶ Waiting ◀───────────────┐
//!                        │ ├───────────────────┘
//!                        │ ├─ refused by the host ─▶ another server that lives │ try again for 10 s │ Finished
//!                        │ ├─ authentic reply ─────▶ Finished
//!                        │ └─ deadline, abandoned ─▶ Finished, then Late: an answer is counted and opens nothing
//! ```
//!
//! Every request has an identifier of its own on a socket that is connected to its server (RFC 2865 §2.5); a socket
//! carries at most 200 of the 256, then there is another one. With a second factor a slow answer is the normal case, so
//! nothing moves to another server for it.

mod config;
mod health;
mod sending;
mod server;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

pub use config::{
    Completion, Config, Demand, Event, Login, Mode, Patience, Port, Probe, Refused, RequestId,
    Server, ServerId, StatusServer, Transmit,
};
pub use health::Health;
use sending::{Outgoing, Question, Request, Timer, fold};
use server::{ServerState, Slot};

use super::access::{Answer, ReplyError, Signing, decode_reply};
use super::authenticator::{Forged, MessageAuthenticator, verify_reply};
use super::{Code, Discard, Packet, RadiusResult};
use crate::aaa::{Applicant, Challenge, Credentials, Verdict};
use crate::crypto::Rng;
use crate::timer::Deadlines;
use crate::wire::Decode;

/// A reject within this time was decided without a person.
const FAST: Duration = Duration::from_secs(2);
/// How long after its request an answer may come and still be known as late: the MFA service gives up after 3 minutes.
const LATE: Duration = Duration::from_secs(180);
/// The client machine.
#[derive(Debug)]
pub struct Client {
    config: Config,
    rng: Rng,
    servers: Vec<ServerState>,
    requests: HashMap<RequestId, Request>,
    next_request: u64,
    next_server: usize,
    /// Which server may have a prompt open for a user, and until when.
    prompts: HashMap<Vec<u8>, (ServerId, Instant)>,
    /// Whose answers are late.
    late: HashMap<(Port, u8), Box<Login>>,
    deadlines: Deadlines<Timer>,
    outbox: VecDeque<Outgoing>,
    events: VecDeque<Event>,
}

impl Client {
    /// Starts with every server alive.
    #[must_use]
    pub fn new(config: Config, rng: Rng) -> Self {
        let servers = config
            .servers
            .iter()
            .enumerate()
            .map(|(place, server)| ServerState::new(ServerId(place), server.clone()))
            .collect();
        Self {
            config,
            rng,
            servers,
            requests: HashMap::new(),
            next_request: 0,
            next_server: 0,
            prompts: HashMap::new(),
            late: HashMap::new(),
            deadlines: Deadlines::new(),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Asks a server about a log-in; ends with exactly one [`Event::Finished`], at `deadline` at the latest.
    ///
    /// An answer to a challenge goes to the server that asked.
    ///
    /// # Errors
    ///
    /// When no request can be made.
    pub fn request(
        &mut self,
        now: Instant,
        applicant: &Applicant,
        credentials: &Credentials,
        deadline: Instant,
    ) -> Result<RequestId, Refused> {
        let challenge = match credentials {
            Credentials::Eap { state, .. } => state.as_ref(),
            Credentials::Pap { .. }
            | Credentials::ChapMd5 { .. }
            | Credentials::MsChapV2 { .. }
            | Credentials::MsChapV2Change { .. } => None,
        };
        let question = Question {
            applicant,
            credentials,
            challenge,
        };
        self.ask(now, question, deadline)
    }

    /// Asks as [`Client::request`] does, in answer to a challenge of PAP: the password is the code that was asked for.
    ///
    /// # Errors
    ///
    /// When no request can be made.
    pub fn answer(
        &mut self,
        now: Instant,
        applicant: &Applicant,
        credentials: &Credentials,
        challenge: &Challenge,
        deadline: Instant,
    ) -> Result<RequestId, Refused> {
        let question = Question {
            applicant,
            credentials,
            challenge: Some(challenge),
        };
        self.ask(now, question, deadline)
    }

    fn ask(
        &mut self,
        now: Instant,
        question: Question<'_>,
        deadline: Instant,
    ) -> Result<RequestId, Refused> {
        let Question {
            applicant,
            credentials,
            challenge,
        } = question;
        let server = self
            .asker(challenge)
            .or_else(|| self.choose(now, credentials.user()))
            .ok_or(Refused::NoServer)?;
        let id = RequestId(self.next_request);
        self.next_request = self.next_request.wrapping_add(1);
        let attempt = self.attempt(now, id, server, question)?;
        self.requests.insert(
            id,
            Request {
                applicant: applicant.clone(),
                credentials: credentials.clone(),
                challenge: challenge.cloned(),
                started: now,
                tried: vec![server],
                attempt,
                fault: None,
                refusal: None,
            },
        );
        let deadline = deadline.min(now + self.config.timeout);
        self.deadlines.arm(Timer::Deadline(id), deadline);
        self.note_prompt(now, credentials.user(), server);
        self.start(id);
        self.doubt_neighbours(now, server);
        Ok(id)
    }

    /// Takes a datagram that came over `port`.
    ///
    /// # Errors
    ///
    /// When it is not believed; whatever waits still waits.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        port: Port,
        bytes: &[u8],
    ) -> Result<(), Discard> {
        let packet = Packet::decode_exact(bytes).map_err(|_| Discard::Malformed)?;
        let state = self.server(port.server).ok_or(Discard::UnknownIdentifier)?;
        let slot = state
            .slot(port.number, packet.identifier)
            .ok_or(Discard::UnknownIdentifier)?;
        match slot {
            Slot::Late { authenticator } => {
                self.believe(port.server, &packet, &authenticator)?;
                self.hear(now, port.server);
                if let Some(login) = self.forget(port, packet.identifier) {
                    self.events.push_back(Event::Late {
                        server: port.server,
                        code: packet.code,
                        login,
                    });
                }
                Ok(())
            }
            Slot::Asking { authenticator } => {
                self.believe(port.server, &packet, &authenticator)?;
                self.handle_sign_of_life(now, port, &packet);
                Ok(())
            }
            Slot::Waiting(id) => {
                let result = self.handle_reply(now, id, port.server, &packet);
                if let Err(discard) = result
                    && let Some(request) = self.requests.get_mut(&id)
                {
                    request.fault = Some(discard);
                }
                result
            }
        }
    }

    /// Takes the news that the host behind `port` refused a datagram, or that there is no way to it.
    pub fn handle_unreachable(&mut self, now: Instant, port: Port) {
        self.turn(now, port.server, Health::Dead);
        let mut refused: Vec<_> = self
            .requests
            .iter()
            .filter(|(_, request)| request.attempt.port == port)
            .map(|(id, _)| *id)
            .collect();
        refused.sort_unstable();
        for id in refused {
            self.handle_refused(now, id);
        }
    }

    /// Forgets that somebody waits for a request: the client has left.
    pub fn abandon(&mut self, now: Instant, id: RequestId) {
        self.finish(now, id, RadiusResult::AbandonedByClient, None, None);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.deadlines.pop_expired(now) {
            match timer {
                Timer::Retransmit(id) => self.retransmit(now, id),
                Timer::Failover(id) => {
                    self.move_on(now, id);
                }
                Timer::Deadline(id) => self.expire(now, id),
                Timer::Forget(port, identifier) => drop(self.forget(port, identifier)),
                Timer::Doubt(id) => self.doubt(now, id),
                Timer::Inquire(server) => self.inquire(now, server),
                Timer::Inquiry(server) => self.inquire_again(now, server),
            }
        }
    }

    /// Appends one datagram to `out`; `None` when there is none.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<Transmit> {
        while let Some(next) = self.outbox.pop_front() {
            let found = match next {
                Outgoing::Request(id) => self
                    .requests
                    .get(&id)
                    .map(|request| (request.attempt.port, &request.attempt.datagram)),
                Outgoing::Question(port, identifier) => self.question(port, identifier),
            };
            if let Some((port, datagram)) = found {
                out.extend_from_slice(datagram);
                return Some(Transmit { port });
            }
        }
        None
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns when [`Client::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Returns how many requests wait for a server.
    #[must_use]
    pub fn waiting(&self, server: ServerId) -> usize {
        self.server(server).map_or(0, ServerState::waiting)
    }

    /// Returns whether a server is not known to be dead.
    #[must_use]
    pub fn is_alive(&self, server: ServerId) -> bool {
        self.server(server).is_some_and(ServerState::is_alive)
    }

    /// Returns what is known of a server.
    #[must_use]
    pub fn health(&self, server: ServerId) -> Option<Health> {
        self.server(server).map(ServerState::health)
    }

    fn server(&self, id: ServerId) -> Option<&ServerState> {
        self.servers.get(id.0)
    }

    /// Decides whether a reply is from its server; nothing in it has been used before.
    fn believe(
        &self,
        server: ServerId,
        reply: &Packet<'_>,
        request_authenticator: &[u8; 16],
    ) -> Result<MessageAuthenticator, Discard> {
        let state = self.server(server).ok_or(Discard::UnknownIdentifier)?;
        let secret = state.server.secret.expose();
        let found = match verify_reply(reply, request_authenticator, secret) {
            Ok(found) => found,
            Err(Forged::ResponseAuthenticator) => return Err(Discard::BadAuthenticator),
            Err(Forged::MessageAuthenticator) => return Err(Discard::MessageAuthenticatorInvalid),
        };
        let demand = match self.config.message_authenticator {
            Demand::Require if !state.server.is_sealed => Demand::Require,
            Demand::Require | Demand::IfPresent => Demand::IfPresent,
        };
        match (found, demand) {
            (MessageAuthenticator::Absent, Demand::Require) => {
                if reply.attributes().any(|attribute| attribute.is_err()) {
                    return Err(Discard::Malformed);
                }
                return Err(Discard::MessageAuthenticatorMissing);
            }
            (MessageAuthenticator::Absent, Demand::IfPresent)
            | (MessageAuthenticator::Verified, _) => {}
        }
        match reply.code {
            Code::ACCESS_ACCEPT | Code::ACCESS_REJECT | Code::ACCESS_CHALLENGE => Ok(found),
            _ => Err(Discard::Malformed),
        }
    }

    /// Takes a reply for a request that waits.
    fn handle_reply(
        &mut self,
        now: Instant,
        id: RequestId,
        server: ServerId,
        reply: &Packet<'_>,
    ) -> Result<(), Discard> {
        let request = self.requests.get(&id).ok_or(Discard::UnknownIdentifier)?;
        let attempt = &request.attempt;
        let found = self.believe(server, reply, &attempt.authenticator)?;
        let state = self.server(server).ok_or(Discard::UnknownIdentifier)?;
        let signing = Signing {
            identifier: attempt.identifier,
            authenticator: attempt.authenticator,
            secret: state.server.secret.expose(),
        };
        let answer = decode_reply(reply, &request.credentials, signing, &state.server.name);
        let elapsed = now.saturating_duration_since(request.started);
        let is_sealed = state.server.is_sealed;

        self.hear(now, server);
        match found {
            MessageAuthenticator::Absent if !is_sealed => {
                self.events.push_back(Event::Unsigned { server });
            }
            MessageAuthenticator::Absent | MessageAuthenticator::Verified => {}
        }
        match answer {
            Ok(answer) => {
                let result = match &answer {
                    Answer::Verdict(Verdict::Accept(_)) => RadiusResult::Accept,
                    Answer::Verdict(Verdict::Challenge(_)) => RadiusResult::Challenge,
                    Answer::Verdict(Verdict::Reject(_)) if elapsed < FAST => {
                        RadiusResult::RejectFast
                    }
                    Answer::Verdict(Verdict::Reject(_)) => RadiusResult::RejectAfterMfaWait,
                    Answer::Lacking(_) => RadiusResult::Malformed,
                };
                self.finish(now, id, result, Some(answer), None);
            }
            // It is the server's last word all the same: waiting for another one would be in vain.
            Err(error) => self.finish(now, id, RadiusResult::Malformed, None, Some(error)),
        }
        Ok(())
    }

    /// Ends a request that got no answer in time.
    fn expire(&mut self, now: Instant, id: RequestId) {
        let Some(request) = self.requests.get(&id) else {
            return;
        };
        let server = request.attempt.port.server;
        let Some(state) = self.servers.get_mut(server.0) else {
            return;
        };
        let others = state.heard_since(request.attempt.sent);
        let result = match request.fault {
            _ if request.is_refused() => RadiusResult::Unreachable,
            Some(fault) => fault.as_result(),
            None if others => RadiusResult::SilentDiscard,
            None => RadiusResult::ServerSilent,
        };
        if !others && state.miss(request.credentials.user(), &self.config) {
            self.turn(now, server, Health::Dead);
        }
        self.finish(now, id, result, None, None);
    }

    /// Ends a request: exactly once, because it is taken out here.
    fn finish(
        &mut self,
        now: Instant,
        id: RequestId,
        result: RadiusResult,
        answer: Option<Answer>,
        error: Option<ReplyError>,
    ) {
        let Some(request) = self.requests.remove(&id) else {
            return;
        };
        self.deadlines.stop(Timer::Retransmit(id));
        self.deadlines.stop(Timer::Failover(id));
        self.deadlines.stop(Timer::Deadline(id));
        self.deadlines.stop(Timer::Doubt(id));
        let port = request.attempt.port;
        if answer.is_some() || error.is_some() {
            if let Some(state) = self.servers.get_mut(port.server.0) {
                state.free(port.number, request.attempt.identifier);
            }
            if result != RadiusResult::Challenge {
                self.prompts.remove(&fold(request.credentials.user()));
            }
        } else {
            self.retire(now, &request);
        }
        self.events.push_back(Event::Settled {
            port,
            identifier: request.attempt.identifier,
        });
        self.events.push_back(Event::Finished {
            request: id,
            completion: Completion {
                result,
                answer,
                error,
                server: Some(port.server),
                elapsed: now.saturating_duration_since(request.started),
            },
        });
    }

    /// Keeps the identifier of an attempt for as long as an answer may come.
    fn retire(&mut self, now: Instant, request: &Request) {
        let attempt = &request.attempt;
        let port = attempt.port;
        if let Some(state) = self.servers.get_mut(port.server.0) {
            state.retire(port.number, attempt.identifier, attempt.authenticator);
            let login = Login {
                user: request.credentials.user().clone(),
                session: request.applicant.session.clone(),
                correlation: request.applicant.correlation.clone(),
                source: request.applicant.remote.ip(),
                asked: request.started,
            };
            self.late
                .insert((port, attempt.identifier), Box::new(login));
            let until = (attempt.sent + LATE).max(now + FAST);
            self.deadlines
                .arm(Timer::Forget(port, attempt.identifier), until);
        }
    }

    /// Frees the identifier of an answer that came late, or never.
    fn forget(&mut self, port: Port, identifier: u8) -> Option<Box<Login>> {
        self.deadlines.stop(Timer::Forget(port, identifier));
        if let Some(state) = self.servers.get_mut(port.server.0) {
            state.forget(port.number, identifier);
        }
        self.late.remove(&(port, identifier))
    }
}
