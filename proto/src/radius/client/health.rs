//! Whether a server lives.
//!
//! ```text
//!            no sign of life                3 s without an answer
//!   Alive ───────────────────▶ Suspect ──────────────────────────▶ Dead ◀─ refused by the host
//!     ▲ ▲                         │                                 │ ▲
//!     │ └───── any answer ────────┘           answers a question    │ │ does not
//!     └────────── answers a second question, or a log-in ──── Recovering
//! ```
//!
//! Any authentic reply is a sign of life. Without one, a server is asked: with Status-Server (RFC 5997) if it answers
//! that, else about a user who does not exist (NPS). One slow log-in never decides; it only makes the machine ask.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::super::Packet;
use super::super::access::{Signing, encode_request, encode_status};
use super::sending::{Outgoing, Timer};
use super::server::{ServerState, Slot};
use super::{Client, Event, Patience, Port, RequestId, ServerId, StatusServer};
use crate::aaa::{Applicant, Credentials, TunnelKind};

/// How often a question goes out, a second apart: the same octets.
const COPIES: u8 = 3;
/// How long each copy waits for an answer.
const COPY_WAIT: Duration = Duration::from_secs(1);
/// While log-ins arrive, a server that was not heard for so long is asked: with the three copies, 5 s at the most.
const UNHEARD: Duration = Duration::from_secs(1);
/// How often a dead server is asked.
const DEAD_INTERVAL: Duration = Duration::from_secs(10);
/// How soon a server that answers again is asked once more.
const SECOND_LOOK: Duration = Duration::from_secs(2);
/// How often a server is asked that has no interval of its own.
const INTERVAL: Duration = Duration::from_secs(30);
/// Questions whose late answer is still a sign of life.
const MAX_QUESTIONS: usize = 8;

/// What is known of a server.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Health {
    /// It answers, or nothing else is known.
    Alive,
    /// It has been silent and is being asked; it is still used.
    Suspect,
    /// It does not answer.
    Dead,
    /// It has answered once; used when no other lives.
    Recovering,
}

impl Health {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Alive, Self::Suspect, Self::Dead, Self::Recovering];

    /// Returns the word for log fields.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
            Self::Recovering => "recovering",
        }
    }

    /// Returns whether log-ins go there as always.
    #[must_use]
    pub const fn is_alive(self) -> bool {
        match self {
            Self::Alive | Self::Suspect => true,
            Self::Dead | Self::Recovering => false,
        }
    }
}

/// Whether a server answers Status-Server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Supports {
    Unknown,
    Yes,
    No,
}

impl Supports {
    pub(super) const fn of(status: StatusServer) -> Self {
        match status {
            StatusServer::Auto => Self::Unknown,
            StatusServer::On => Self::Yes,
            StatusServer::Off => Self::No,
        }
    }
}

/// The question after a server that is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inquiry {
    copies: u8,
    answered: bool,
}

/// How a server is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Means {
    Status,
    ProbeUser,
}

/// One question as it goes out.
#[derive(Debug)]
pub(super) struct Question {
    port: Port,
    identifier: u8,
    means: Means,
    datagram: Vec<u8>,
    /// Whether a newer one has taken its place; its answer is a sign of life all the same.
    old: bool,
}

/// The questions of one server, the oldest first.
pub(super) type Questions = VecDeque<Question>;

impl Client {
    /// Starts asking after the servers; without it, only log-ins show whether they live.
    pub fn begin(&mut self, now: Instant) {
        for place in 0..self.servers.len() {
            self.deadlines.arm(Timer::Inquire(ServerId(place)), now);
        }
    }

    /// Returns whether silence to a question proves anything.
    pub(super) fn can_ask(&self, state: &ServerState) -> bool {
        state.supports == Supports::Yes || self.config.probe.is_some()
    }

    /// Changes what is known of a server, and tells when it is new.
    pub(super) fn turn(&mut self, now: Instant, server: ServerId, health: Health) {
        let Some(state) = self.servers.get_mut(server.0) else {
            return;
        };
        if !state.turn(now, health, &self.config) {
            return;
        }
        self.events.push_back(Event::Health { server, health });
        match health {
            Health::Alive | Health::Suspect => {}
            Health::Recovering => self
                .deadlines
                .arm(Timer::Inquire(server), now + SECOND_LOOK),
            Health::Dead => {
                state.inquiry = None;
                self.deadlines.stop(Timer::Inquiry(server));
                self.deadlines
                    .arm(Timer::Inquire(server), now + DEAD_INTERVAL);
                self.leave(now, server);
            }
        }
    }

    /// Without a second factor, whoever waits for a dead server is better off elsewhere.
    ///
    /// With one, silence is no proof that nobody is being asked on the phone: those requests stay.
    fn leave(&mut self, now: Instant, server: ServerId) {
        if self.config.patience == Patience::Mfa {
            return;
        }
        let mut waiting: Vec<_> = self
            .requests
            .iter()
            .filter(|(_, request)| request.attempt.port.server == server && !request.is_refused())
            .map(|(id, _)| *id)
            .collect();
        waiting.sort_unstable();
        for id in waiting {
            self.move_on(now, id);
        }
    }

    /// Notes an authentic answer to a log-in.
    pub(super) fn hear(&mut self, now: Instant, server: ServerId) {
        let Some(state) = self.servers.get_mut(server.0) else {
            return;
        };
        state.hear(now);
        if let Some(inquiry) = &mut state.inquiry {
            inquiry.answered = true;
        }
        self.turn(now, server, Health::Alive);
    }

    /// Arms the doubt about the server of a request that has just been sent.
    pub(super) fn doubt_later(&mut self, id: RequestId, server: ServerId, sent: Instant) {
        let Some(state) = self.servers.get_mut(server.0) else {
            return;
        };
        state.unheard.get_or_insert(sent);
        if self.server(server).is_some_and(|state| self.can_ask(state)) {
            self.deadlines
                .arm(Timer::Doubt(id), sent + self.config.probe_after);
        }
    }

    /// A request has waited for long.
    pub(super) fn doubt(&mut self, now: Instant, id: RequestId) {
        let Some(request) = self.requests.get(&id) else {
            return;
        };
        let server = request.attempt.port.server;
        let patience = self.config.probe_after;
        let heard = self.server(server).and_then(|state| state.heard);
        let due = heard.map(|heard| heard + patience);
        if let Some(due) = due.filter(|due| *due > now) {
            self.deadlines.arm(Timer::Doubt(id), due);
            return;
        }
        self.suspect(now, server);
        self.deadlines
            .arm(Timer::Doubt(id), now + patience.max(self.interval()));
    }

    /// A new log-in goes to a server: has it been heard since the last one?
    pub(super) fn doubt_neighbours(&mut self, now: Instant, server: ServerId) {
        let unheard = self.server(server).and_then(|state| state.unheard);
        if unheard.is_some_and(|since| now.saturating_duration_since(since) >= UNHEARD) {
            self.suspect(now, server);
        }
    }

    /// Asks after a server that is silent.
    fn suspect(&mut self, now: Instant, server: ServerId) {
        let Some(state) = self.server(server) else {
            return;
        };
        if !self.can_ask(state) || state.health() != Health::Alive {
            return;
        }
        let is_open = state.inquiry.is_some();
        self.turn(now, server, Health::Suspect);
        if !is_open {
            self.open(now, server);
        }
    }

    /// It is time to ask after a server, unless it was heard.
    pub(super) fn inquire(&mut self, now: Instant, server: ServerId) {
        let interval = self.interval();
        let Some(state) = self.server(server) else {
            return;
        };
        let due = state.heard.map(|heard| heard + interval);
        match due.filter(|due| *due > now) {
            Some(due) if state.health() == Health::Alive => {
                self.deadlines.arm(Timer::Inquire(server), due);
            }
            _ if state.inquiry.is_none() => self.open(now, server),
            _ => {}
        }
    }

    /// Makes the questions and sends the first copy.
    fn open(&mut self, now: Instant, server: ServerId) {
        let Some(state) = self.servers.get_mut(server.0) else {
            return;
        };
        for question in &mut state.questions {
            if !question.old {
                self.events.push_back(Event::Settled {
                    port: question.port,
                    identifier: question.identifier,
                });
            }
            question.old = true;
        }
        let (status, user) = match state.supports {
            Supports::Yes => (true, false),
            Supports::No => (false, true),
            Supports::Unknown => (true, true),
        };
        let mut asked = false;
        if status {
            asked |= self.ask_after(server, Means::Status);
        }
        if user && self.config.probe.is_some() {
            asked |= self.ask_after(server, Means::ProbeUser);
        }
        if !asked {
            // No identifier is free because so many wait, and those will tell; or there is no way to ask at all.
            if status || self.config.probe.is_some() {
                self.deadlines
                    .arm(Timer::Inquire(server), now + self.interval());
            }
            return;
        }
        if let Some(state) = self.servers.get_mut(server.0) {
            state.inquiry = Some(Inquiry {
                copies: 1,
                answered: false,
            });
        }
        self.send_questions(server);
        self.deadlines.stop(Timer::Inquire(server));
        self.deadlines.arm(Timer::Inquiry(server), now + COPY_WAIT);
    }

    /// Makes one question.
    fn ask_after(&mut self, server: ServerId, means: Means) -> bool {
        let (authenticator, first, password): ([u8; 16], u8, [u8; 16]) =
            (self.rng.array(), self.rng.u8(), self.rng.array());
        let Some(state) = self.servers.get_mut(server.0) else {
            return false;
        };
        while state.questions.len() >= MAX_QUESTIONS {
            if let Some(old) = state.questions.pop_front() {
                state.free(old.port.number, old.identifier);
            }
        }
        let Some((port, identifier)) = state.allocate(Slot::Asking { authenticator }, first) else {
            return false;
        };
        // The identifier may have been taken from an answer that was still waited for.
        self.deadlines.stop(Timer::Forget(port, identifier));
        self.late.remove(&(port, identifier));
        let signing = Signing {
            identifier,
            authenticator,
            secret: state.server.secret.expose(),
        };
        let nas = &self.config.nas;
        let made = match (means, &self.config.probe) {
            (Means::Status, _) => encode_status(nas, signing),
            (Means::ProbeUser, Some(probe)) => {
                let credentials = Credentials::Pap {
                    user: probe.user.clone(),
                    password: password.as_slice().into(),
                };
                encode_request(nas, &nobody(nas.ipv4), &credentials, signing).ok()
            }
            (Means::ProbeUser, None) => None,
        };
        let Some(datagram) = made else {
            state.free(port.number, identifier);
            return false;
        };
        state.questions.push_back(Question {
            port,
            identifier,
            means,
            datagram,
            old: false,
        });
        true
    }

    fn send_questions(&mut self, server: ServerId) {
        if let Some(state) = self.servers.get(server.0) {
            let current = state.questions.iter().filter(|question| !question.old);
            self.outbox.extend(
                current.map(|question| Outgoing::Question(question.port, question.identifier)),
            );
        }
    }

    /// Returns a question that is still open.
    pub(super) fn question(&self, port: Port, identifier: u8) -> Option<(Port, &Vec<u8>)> {
        let questions = &self.server(port.server)?.questions;
        let found = questions
            .iter()
            .find(|question| (question.port, question.identifier) == (port, identifier))?;
        Some((port, &found.datagram))
    }

    /// Takes an authentic answer to a question.
    pub(super) fn handle_sign_of_life(&mut self, now: Instant, port: Port, reply: &Packet<'_>) {
        let server = port.server;
        let Some(state) = self.servers.get_mut(server.0) else {
            return;
        };
        let place = state
            .questions
            .iter()
            .position(|question| (question.port, question.identifier) == (port, reply.identifier));
        let Some(question) = place.and_then(|place| state.questions.remove(place)) else {
            return;
        };
        state.free(port.number, question.identifier);
        state.hear(now);
        self.events.push_back(Event::Settled {
            port,
            identifier: question.identifier,
        });
        if let Some(inquiry) = &mut state.inquiry {
            inquiry.answered = true;
        }
        match question.means {
            Means::Status => state.supports = Supports::Yes,
            Means::ProbeUser => {
                if let Some(probe) = &self.config.probe
                    && probe.expect != reply.code
                {
                    self.events.push_back(Event::Unexpected {
                        server,
                        code: reply.code,
                    });
                }
            }
        }
        match self.server(server).map(ServerState::health) {
            Some(Health::Dead) => {
                self.close(now, server);
                self.turn(now, server, Health::Recovering);
            }
            Some(Health::Suspect | Health::Recovering) => self.turn(now, server, Health::Alive),
            Some(Health::Alive) | None => {}
        }
    }

    /// A copy of a question had no answer in its time, or the question is over.
    pub(super) fn inquire_again(&mut self, now: Instant, server: ServerId) {
        let Some(state) = self.servers.get_mut(server.0) else {
            return;
        };
        let Some(inquiry) = &mut state.inquiry else {
            return;
        };
        // While it is not known what a server answers, all copies go out, to learn it.
        let over = inquiry.answered && state.supports != Supports::Unknown;
        if inquiry.copies < COPIES && !over {
            inquiry.copies = inquiry.copies.saturating_add(1);
            self.send_questions(server);
            self.deadlines.arm(Timer::Inquiry(server), now + COPY_WAIT);
            return;
        }
        let answered = inquiry.answered;
        self.close(now, server);
        if answered {
            return;
        }
        let Some(state) = self.servers.get_mut(server.0) else {
            return;
        };
        let is_learned = state.server.status == StatusServer::Auto;
        if is_learned && state.supports == Supports::Yes && self.config.probe.is_some() {
            // What it has stopped answering is no way to learn that it lives.
            state.supports = Supports::Unknown;
        }
        if !self.server(server).is_some_and(|state| self.can_ask(state)) {
            return;
        }
        match self.server(server).map(ServerState::health) {
            Some(Health::Alive) => self.suspect(now, server),
            Some(Health::Suspect | Health::Recovering) => self.turn(now, server, Health::Dead),
            Some(Health::Dead) => self
                .deadlines
                .arm(Timer::Inquire(server), now + DEAD_INTERVAL),
            None => {}
        }
    }

    /// Ends a question and arms the next.
    fn close(&mut self, now: Instant, server: ServerId) {
        let interval = self.interval();
        let Some(state) = self.servers.get_mut(server.0) else {
            return;
        };
        self.deadlines.stop(Timer::Inquiry(server));
        let Some(inquiry) = state.inquiry.take() else {
            return;
        };
        if inquiry.answered && inquiry.copies >= COPIES && state.supports == Supports::Unknown {
            // It answered something else meanwhile, so it would have answered this.
            state.supports = Supports::No;
        }
        self.deadlines.arm(Timer::Inquire(server), now + interval);
    }

    fn interval(&self) -> Duration {
        let chosen = self.config.probe.as_ref().map(|probe| probe.interval);
        chosen.unwrap_or(INTERVAL).max(COPY_WAIT)
    }
}

/// Returns who the probe user is.
fn nobody(nas: Option<Ipv4Addr>) -> Applicant {
    let here = SocketAddr::new(IpAddr::V4(nas.unwrap_or(Ipv4Addr::LOCALHOST)), 0);
    Applicant {
        mtu: 1400,
        ..Applicant::new(TunnelKind::Sstp, here, here, "probe".into())
    }
}
