//! Which server is asked, and when again.

use std::time::{Duration, Instant};

use super::super::access::{Signing, encode_answer, encode_request};
use super::super::{Discard, RadiusResult};
use super::server::{ServerState, Slot};
use super::{Client, Event, LATE, Mode, Patience, Port, Refused, RequestId, ServerId};
use crate::aaa::{Applicant, Challenge, Credentials, Identity};

/// How long a request is tried again when every host refuses it: a service restarts in less.
const REFUSED_PATIENCE: Duration = Duration::from_secs(10);
/// A server gets a thousand copies a second at the most.
const COPY_SPACE: Duration = Duration::from_millis(1);
/// For so many users it is known which server may be prompting them.
const MAX_PROMPTS: usize = 16_384;
/// How soon.
const REFUSED_RETRY: Duration = Duration::from_secs(1);

/// What may be due.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Timer {
    /// The same octets go out again.
    Retransmit(RequestId),
    /// Another server is asked ([`Patience::Machine`]).
    Failover(RequestId),
    /// The request ends without an answer.
    Deadline(RequestId),
    /// A late answer would not be known any more.
    Forget(Port, u8),
    /// The request has waited for long: does its server live?
    Doubt(RequestId),
    /// It is time to ask after a server.
    Inquire(ServerId),
    /// A question after a server goes out again, or has had no answer.
    Inquiry(ServerId),
}

/// What is to go out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outgoing {
    /// A log-in.
    Request(RequestId),
    /// A question after a server, if it is still open.
    Question(Port, u8),
}

/// What is asked about a log-in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) applicant: &'a Applicant,
    pub(super) credentials: &'a Credentials,
    /// The question that it answers.
    pub(super) challenge: Option<&'a Challenge>,
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) applicant: Applicant,
    pub(super) credentials: Credentials,
    /// The question that it answers.
    pub(super) challenge: Option<Challenge>,
    pub(super) started: Instant,
    /// The servers that have been asked.
    pub(super) tried: Vec<ServerId>,
    pub(super) attempt: Attempt,
    /// What the last reply was thrown away for.
    pub(super) fault: Option<Discard>,
    /// Whether the host refuses.
    pub(super) refusal: Option<Refusal>,
}

/// A host that refuses what a request sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Refusal {
    /// Since when, without a copy that was not refused.
    since: Instant,
    /// Whether the last copy was refused.
    last: bool,
}

impl Request {
    /// Returns whether the host refused the last copy.
    pub(super) fn is_refused(&self) -> bool {
        self.refusal.is_some_and(|refusal| refusal.last)
    }

    /// Returns whether the host has refused for so long that waiting on is in vain.
    fn is_hopeless(&self, now: Instant) -> bool {
        self.refusal.is_some_and(|refusal| {
            refusal.last && now.saturating_duration_since(refusal.since) >= REFUSED_PATIENCE
        })
    }
}

/// A request as it went to one server.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) port: Port,
    pub(super) identifier: u8,
    pub(super) authenticator: [u8; 16],
    pub(super) datagram: Vec<u8>,
    pub(super) sent: Instant,
    /// How often the octets have been queued.
    pub(super) copies: usize,
}

impl Client {
    /// Returns the server that asked.
    pub(super) fn asker(&self, challenge: Option<&Challenge>) -> Option<ServerId> {
        let challenge = challenge?;
        self.servers
            .iter()
            .position(|state| state.server.name == challenge.server)
            .map(ServerId)
    }

    /// Chooses a server for a new log-in; when all are dead, the one that is to be tried again first.
    ///
    /// In turns, but the one that may have a prompt open for this user comes first: another would open a second one.
    pub(super) fn choose(&mut self, now: Instant, user: &Identity) -> Option<ServerId> {
        if let Some(server) = self.prompting(now, user)
            && self.is_eligible(now, server)
        {
            return Some(server);
        }
        let count = self.servers.len();
        let first = match self.config.mode {
            Mode::Failover => 0,
            Mode::RoundRobin => self.next_server,
        };
        let order = || {
            (0..count)
                .map(|step| ServerId(first.wrapping_add(step).checked_rem(count).unwrap_or(0)))
        };
        self.next_server = self.next_server.wrapping_add(1);
        order()
            .find(|id| self.is_eligible(now, *id))
            .or_else(|| order().min_by_key(|id| self.server(*id).map(ServerState::last_resort)))
    }

    /// Returns the server whose prompt this user may still have on the phone.
    fn prompting(&self, now: Instant, user: &Identity) -> Option<ServerId> {
        let (server, until) = self.prompts.get(&fold(user))?;
        (*until > now).then_some(*server)
    }

    /// Notes which server may prompt this user; only turns need to know.
    pub(super) fn note_prompt(&mut self, now: Instant, user: &Identity, server: ServerId) {
        if self.config.mode != Mode::RoundRobin || self.config.patience != Patience::Mfa {
            return;
        }
        if self.prompts.len() >= MAX_PROMPTS {
            self.prompts.retain(|_, (_, until)| *until > now);
        }
        if self.prompts.len() < MAX_PROMPTS {
            self.prompts.insert(fold(user), (server, now + LATE));
        }
    }

    /// Returns whether a new log-in may go to a server.
    fn is_eligible(&self, now: Instant, id: ServerId) -> bool {
        self.server(id)
            .is_some_and(|state| state.is_eligible(now, self.can_ask(state)))
    }

    /// Makes the octets for one server.
    pub(super) fn attempt(
        &mut self,
        now: Instant,
        id: RequestId,
        server: ServerId,
        question: Question<'_>,
    ) -> Result<Attempt, Refused> {
        let Question {
            applicant,
            credentials,
            challenge,
        } = question;
        let authenticator = self.rng.array();
        let first = self.rng.u8();
        let state = self.servers.get_mut(server.0).ok_or(Refused::NoServer)?;
        let (port, identifier) = state
            .allocate(Slot::Waiting(id), first)
            .ok_or(Refused::Full)?;
        // The identifier may have been taken from an answer that was still waited for.
        self.deadlines.stop(Timer::Forget(port, identifier));
        self.late.remove(&(port, identifier));
        let signing = Signing {
            identifier,
            authenticator,
            secret: state.server.secret.expose(),
        };
        let nas = &self.config.nas;
        let encoded = match (credentials, challenge) {
            // EAP brings its state along.
            (Credentials::Eap { .. }, _) | (_, None) => {
                encode_request(nas, applicant, credentials, signing)
            }
            (_, Some(challenge)) => {
                encode_answer(nas, applicant, credentials, &challenge.state, signing)
            }
        };
        match encoded {
            Ok(datagram) => Ok(Attempt {
                port,
                identifier,
                authenticator,
                datagram,
                sent: now,
                copies: 0,
            }),
            Err(error) => {
                state.free(port.number, identifier);
                Err(error.into())
            }
        }
    }

    /// Queues the first copy of an attempt and arms its timers.
    pub(super) fn start(&mut self, id: RequestId) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        let attempt = &mut request.attempt;
        attempt.copies = 1;
        self.events.push_back(Event::Started {
            server: attempt.port.server,
        });
        self.outbox.push_back(Outgoing::Request(id));
        let (server, sent) = (attempt.port.server, attempt.sent);
        self.deadlines.stop(Timer::Retransmit(id));
        if let Some(due) = self.next_copy(sent, sent, server, 0) {
            self.deadlines.arm(Timer::Retransmit(id), due);
        }
        if let Patience::Machine { failover_after } = self.config.patience {
            self.deadlines
                .arm(Timer::Failover(id), sent + failover_after);
        }
        self.doubt_later(id, server, sent);
    }

    /// Queues the same octets again.
    pub(super) fn retransmit(&mut self, now: Instant, id: RequestId) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        if request.is_hopeless(now) {
            self.finish(now, id, RadiusResult::Unreachable, None, None);
            return;
        }
        let again = request.is_refused();
        request.refusal = request
            .refusal
            .filter(|refusal| refusal.last)
            .map(|refusal| Refusal {
                last: false,
                ..refusal
            });
        let attempt = &mut request.attempt;
        self.events.push_back(Event::Retransmitted {
            server: attempt.port.server,
        });
        self.outbox.push_back(Outgoing::Request(id));
        // What the host refused does not count among the copies that may get lost.
        if !again {
            attempt.copies = attempt.copies.saturating_add(1);
        }
        let next = attempt.copies.saturating_sub(1);
        let (server, sent) = (attempt.port.server, attempt.sent);
        if let Some(due) = self.next_copy(now, sent, server, next) {
            self.deadlines.arm(Timer::Retransmit(id), due);
        }
    }

    /// Returns when the octets that went out first at `sent` and last `now` go out again; `next` is the place in the
    /// schedule.
    ///
    /// To a server that repeats its answers they go out until it has answered, so that a lost answer costs a moment and
    /// not the log-in. The more wait for it, the more seldom.
    fn next_copy(
        &self,
        now: Instant,
        sent: Instant,
        server: ServerId,
        next: usize,
    ) -> Option<Instant> {
        let state = self.server(server)?;
        if let Some(repeat) = state.server.repeat.filter(|_| state.repeats_answers()) {
            let crowd = u32::try_from(state.waiting()).unwrap_or(u32::MAX);
            return Some(now + repeat.max(COPY_SPACE.saturating_mul(crowd)));
        }
        let after = self.config.retransmit.get(next)?;
        // A schedule that is not in order must not make a loop of the past.
        Some((sent + *after).max(now + Duration::from_millis(1)))
    }

    /// The host refused: nobody has seen this request, so another server may.
    pub(super) fn handle_refused(&mut self, now: Instant, id: RequestId) {
        let again = self.requests.get(&id).is_some_and(|request| {
            // The news of every other datagram on the same socket: the next copy is due already.
            request.is_refused() && !request.is_hopeless(now)
        });
        if again || self.move_on(now, id) {
            return;
        }
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        let since = request.refusal.map_or(now, |refusal| refusal.since);
        request.refusal = Some(Refusal { since, last: true });
        if request.is_hopeless(now) {
            self.finish(now, id, RadiusResult::Unreachable, None, None);
        } else {
            self.deadlines
                .arm(Timer::Retransmit(id), now + REFUSED_RETRY);
        }
    }

    /// Asks another server that lives and was not asked yet; returns whether there is one.
    pub(super) fn move_on(&mut self, now: Instant, id: RequestId) -> bool {
        let Some(mut request) = self.requests.remove(&id) else {
            return false;
        };
        // Who asked a question is the only one that understands the answer.
        let bound = self.asker(request.challenge.as_ref()).is_some();
        let next = (0..self.servers.len())
            .map(ServerId)
            .find(|server| !request.tried.contains(server) && self.is_eligible(now, *server));
        let attempt = next.filter(|_| !bound).and_then(|server| {
            let question = Question {
                applicant: &request.applicant,
                credentials: &request.credentials,
                challenge: request.challenge.as_ref(),
            };
            self.attempt(now, id, server, question).ok()
        });
        let moved = attempt.is_some();
        if let Some(attempt) = attempt {
            self.retire(now, &request);
            self.events.push_back(Event::Settled {
                port: request.attempt.port,
                identifier: request.attempt.identifier,
            });
            request.tried.push(attempt.port.server);
            request.attempt = attempt;
            request.refusal = None;
        }
        self.requests.insert(id, request);
        if moved {
            self.start(id);
        }
        moved
    }
}

/// Returns a name as servers compare names: without regard to case.
pub(super) fn fold(user: &Identity) -> Vec<u8> {
    user.as_bytes().to_ascii_lowercase()
}
