//! The authentication phase: one exchange, its deadlines, and the words it has for the link.
//!
//! Server: the exchange sends its first packet, hands out [`Step::Ask`] once (EAP: once a round) and is silent until
//! the decision comes; meanwhile duplicates are swallowed and nothing is sent. Only the packet that waits for the
//! peer's first answer is repeated: the peer may not have been up when it came.

use std::time::{Duration, Instant};

use super::chap::{self, Algorithm};
use super::config::{Config, RoleConfig};
use super::event::DownReason;
use super::exchange_eap;
use super::frame::Protocol;
use super::outbox::Outbox;
use super::pap;
use crate::aaa::{AuthMethod, Credentials, Decision, InnerKeys, Refusal, RefuseReason};
use crate::crypto::Rng;
use crate::eap::PeerStep;

/// How long an EAP conversation may take, whoever is slow.
const EAP_LIMIT: Duration = Duration::from_secs(120);

/// How long a client waits for the server.
const CLIENT_WAIT: Duration = Duration::from_secs(120);

/// What a packet, a decision or a timer did.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing, or only a packet was queued.
    Wait,
    /// Server: the authenticator must be asked.
    Ask(Credentials),
    /// Server: the peer was told what it has to ask a person.
    Prompt,
    /// Client: the owner's supplicant must be asked about this EAP packet.
    Consult(Vec<u8>),
    /// It is done; what proves it is queued or was seen.
    Success(Option<InnerKeys>),
    /// It failed; what says so is queued.
    Failure(DownReason),
}

/// One half of one method.
pub(crate) trait Exchange: core::fmt::Debug + Send {
    /// Sends the packet that this half begins with, if it begins.
    fn start(&mut self, out: &mut Outbox);
    /// Takes what a frame of this protocol carries.
    fn handle(&mut self, information: &[u8], out: &mut Outbox) -> Step;
    /// Takes the answer to [`Step::Ask`].
    fn decide(&mut self, decision: &Decision, out: &mut Outbox) -> Step;
    /// Takes what the owner's supplicant says to [`Step::Consult`].
    fn supplicate(&mut self, _step: PeerStep, _out: &mut Outbox) -> Step {
        Step::Wait
    }
    /// Sends the packet again that waits for its first answer.
    fn resend(&mut self, out: &mut Outbox);
    /// Says that time is over, if the method has a word for it.
    fn give_up(&mut self, out: &mut Outbox);
}

/// The exchange of the link with its deadlines.
#[derive(Debug)]
pub(crate) struct Auth {
    exchange: Box<dyn Exchange>,
    protocol: Protocol,
    /// How long to wait for the peer.
    wait: Duration,
    /// When the peer must have answered.
    deadline: Option<Instant>,
    /// When the whole conversation must have ended.
    limit: Option<Instant>,
    /// When to repeat the first packet, and how often in between.
    resend: Option<Instant>,
    restart: Duration,
}

impl Auth {
    /// Begins the exchange that LCP agreed on.
    pub(crate) fn start(
        config: &Config,
        method: AuthMethod,
        mut rng: Rng,
        now: Instant,
        out: &mut Outbox,
    ) -> Self {
        let (mut exchange, wait): (Box<dyn Exchange>, _) = match (&config.role, method) {
            (RoleConfig::Server(server), AuthMethod::Pap) => {
                (Box::new(pap::Server::new()), server.auth_wait)
            }
            (RoleConfig::Server(server), AuthMethod::ChapMd5) => {
                let chap = chap::Server::new(Algorithm::Md5, &server.name, false, rng);
                (Box::new(chap), server.auth_wait)
            }
            (RoleConfig::Server(server), AuthMethod::MsChapV2) => {
                let changes = server.password_change;
                let chap = chap::Server::new(Algorithm::MsChapV2, &server.name, changes, rng);
                (Box::new(chap), server.auth_wait)
            }
            (RoleConfig::Server(server), AuthMethod::Eap) => (
                Box::new(exchange_eap::Server::new(rng.u8())),
                server.auth_wait,
            ),
            (RoleConfig::Client(client), AuthMethod::Pap) => {
                (Box::new(pap::Client::new(client)), CLIENT_WAIT)
            }
            (RoleConfig::Client(client), AuthMethod::ChapMd5) => (
                Box::new(chap::Client::new(Algorithm::Md5, client, rng)),
                CLIENT_WAIT,
            ),
            (RoleConfig::Client(client), AuthMethod::MsChapV2) => (
                Box::new(chap::Client::new(Algorithm::MsChapV2, client, rng)),
                CLIENT_WAIT,
            ),
            (RoleConfig::Client(client), AuthMethod::Eap) => (
                Box::new(exchange_eap::Client::new(client, rng)),
                CLIENT_WAIT,
            ),
        };
        exchange.start(out);
        let (protocol, limit) = match method {
            AuthMethod::Pap => (Protocol::PAP, None),
            AuthMethod::ChapMd5 | AuthMethod::MsChapV2 => (Protocol::CHAP, None),
            AuthMethod::Eap => (Protocol::EAP, Some(now + EAP_LIMIT)),
        };
        Self {
            exchange,
            protocol,
            wait,
            deadline: Some(now + wait),
            limit,
            resend: Some(now + config.restart),
            restart: config.restart,
        }
    }

    /// Returns the protocol whose frames belong here.
    pub(crate) const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Takes what a frame of this protocol carries.
    pub(crate) fn handle(&mut self, information: &[u8], out: &mut Outbox) -> Step {
        let step = self.exchange.handle(information, out);
        match &step {
            Step::Wait | Step::Prompt | Step::Consult(_) => {}
            Step::Ask(_) => {
                self.deadline = None;
                self.resend = None;
            }
            Step::Success(_) | Step::Failure(_) => self.stop(),
        }
        step
    }

    /// Takes the answer to [`Step::Ask`].
    pub(crate) fn decide(&mut self, now: Instant, decision: &Decision, out: &mut Outbox) -> Step {
        let step = self.exchange.decide(decision, out);
        match (&step, decision) {
            (Step::Wait, Decision::Challenge(challenge)) => {
                self.deadline = Some(now + challenge.timeout.unwrap_or(self.wait).max(self.wait));
            }
            (Step::Prompt, _) => self.deadline = Some(now + self.wait),
            (Step::Wait | Step::Ask(_) | Step::Consult(_), _) => {}
            (Step::Success(_) | Step::Failure(_), _) => self.stop(),
        }
        step
    }

    /// Takes what the owner's supplicant says to [`Step::Consult`].
    pub(crate) fn supplicate(&mut self, said: PeerStep, out: &mut Outbox) -> Step {
        let step = self.exchange.supplicate(said, out);
        match &step {
            Step::Wait | Step::Prompt | Step::Ask(_) | Step::Consult(_) => {}
            Step::Success(_) | Step::Failure(_) => self.stop(),
        }
        step
    }

    /// Looks at the deadlines.
    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) -> Step {
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if passed(self.deadline) || passed(self.limit) {
            self.stop();
            self.exchange.give_up(out);
            return Step::Failure(DownReason::AuthTimeout);
        }
        if passed(self.resend) {
            self.exchange.resend(out);
            self.resend = Some(now + self.restart);
        }
        Step::Wait
    }

    /// Returns the next deadline.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.deadline, self.limit, self.resend]
            .into_iter()
            .flatten()
            .min()
    }

    fn stop(&mut self) {
        self.deadline = None;
        self.limit = None;
        self.resend = None;
    }
}

/// Returns the refusal that a decision means for a method that can only say yes or no.
pub(crate) fn refusal_of(decision: &Decision) -> Option<Refusal> {
    match decision {
        Decision::Admit(_) => None,
        Decision::Challenge(challenge) => {
            let mut refusal = Refusal::new(RefuseReason::ChallengeNotSupported);
            refusal.rejection.message.clone_from(&challenge.message);
            Some(refusal)
        }
        Decision::Refuse(refusal) => Some(refusal.clone()),
    }
}

/// Returns what to show the user.
pub(crate) fn words(refusal: &Refusal) -> &str {
    match (&refusal.rejection.message, refusal.reason) {
        (Some(message), _) => message,
        (None, RefuseReason::Rejected) => "Authentication failed",
        (None, RefuseReason::NoAnswer) => "The authentication server did not answer in time",
        (None, RefuseReason::MissingKeys | RefuseReason::BadAuthorization) => {
            "The authentication server's answer cannot be used"
        }
        (None, RefuseReason::ChallengeNotSupported) => {
            "The authentication server asks a question that cannot be shown"
        }
        (None, RefuseReason::NoAddress) => "No address is free",
        (None, RefuseReason::Busy) => "Too many sessions",
        (None, RefuseReason::Draining) => "The gateway is going down",
    }
}

/// Cuts a text so that it fits into `limit` octets.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}
