//! The task that owns the machine, and the handle that asks it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use causeway_proto::aaa::{Applicant, Challenge, Credentials, Verdict};
use causeway_proto::crypto::Rng;
use causeway_proto::radius::access::Answer;
use causeway_proto::radius::{Client, Code, Completion, Login, Port, Refused, RequestId, ServerId};
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;

use super::Config;
use super::datagram::{Arrival, is_unreachable};
use super::meters::Meters;
use super::sockets::Sockets;

mod events;

/// The handle: cheap to clone, each request waits on its own.
#[derive(Clone, Debug)]
pub struct Transport {
    questions: mpsc::UnboundedSender<Question>,
    next_ticket: Arc<AtomicU64>,
    names: Arc<[String]>,
    health: watch::Receiver<Vec<ServerHealth>>,
    late: Arc<LateHook>,
}

/// Who wants to know of late answers.
#[derive(Default)]
#[expect(
    clippy::type_complexity,
    reason = "a name for it would hide what it is"
)]
struct LateHook(OnceLock<Box<dyn Fn(&Login, Option<Code>) + Send + Sync>>);

impl LateHook {
    fn call(&self, login: &Login, code: Option<Code>) {
        if let Some(hook) = self.0.get() {
            hook(login, code);
        }
    }

    /// Whoever asked left when the request had ended already: an answer is as good as late.
    fn undelivered(&self, login: &Login, completion: &Completion) {
        let code = match (&completion.answer, &completion.error) {
            (Some(Answer::Verdict(Verdict::Accept(_)) | Answer::Lacking(_)), _) => {
                Some(Code::ACCESS_ACCEPT)
            }
            (Some(Answer::Verdict(Verdict::Reject(_))), _) => Some(Code::ACCESS_REJECT),
            (Some(Answer::Verdict(Verdict::Challenge(_))), _) => Some(Code::ACCESS_CHALLENGE),
            (None, Some(_)) => None,
            (None, None) => return,
        };
        self.call(login, code);
    }
}

impl std::fmt::Debug for LateHook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LateHook").finish_non_exhaustive()
    }
}

/// How a request ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// What the machine says.
    pub completion: Completion,
    /// The name of the server that was asked last.
    pub server: Option<String>,
}

/// Why there is no reply.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum RequestError {
    /// The machine would not ask.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The driver has stopped.
    #[error("the RADIUS client has stopped")]
    Stopped,
}

/// What is known of one server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerHealth {
    /// Its name.
    pub name: String,
    /// Whether it is thought to answer.
    pub alive: bool,
    /// Since when.
    pub since: Instant,
}

/// Which question; the machine's own id is not known outside of its task.
type Ticket = u64;

/// What the handle sends to the task. As many wait as log-ins, which are counted at the door.
#[derive(Debug)]
enum Question {
    Ask(Box<Ask>),
    Abandon(Ticket),
}

#[derive(Debug)]
struct Ask {
    ticket: Ticket,
    applicant: Applicant,
    credentials: Credentials,
    /// The question of PAP that they answer.
    challenge: Option<Challenge>,
    deadline: Instant,
    reply: oneshot::Sender<Result<Completion, Refused>>,
}

/// Tells the task that nobody waits any more, unless the reply came.
struct Waiting<'a> {
    transport: &'a Transport,
    ticket: Option<Ticket>,
    login: Login,
    answer: oneshot::Receiver<Result<Completion, Refused>>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else {
            return;
        };
        // From now on the task cannot send; what it has sent lies here unread.
        self.answer.close();
        match self.answer.try_recv() {
            Ok(Ok(completion)) => self.transport.late.undelivered(&self.login, &completion),
            Ok(Err(_)) => {}
            // When the task is gone, so is the request.
            Err(_) => self
                .transport
                .questions
                .send(Question::Abandon(ticket))
                .unwrap_or_default(),
        }
    }
}

impl Transport {
    /// Makes the handle and the task, which is to be run; every server counts as alive.
    ///
    /// # Errors
    ///
    /// When the operating system gives no random seed.
    pub fn new(config: Config) -> Result<(Self, Driver), ring::error::Unspecified> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed)?;
        let since = Instant::now();
        let names: Arc<[String]> = config.servers.iter().map(|s| s.name.clone()).collect();
        let health = names
            .iter()
            .map(|name| ServerHealth {
                name: name.clone(),
                alive: true,
                since,
            })
            .collect();
        let (questions, asked) = mpsc::unbounded_channel();
        let (health_sender, health) = watch::channel(health);
        let late: Arc<LateHook> = Arc::default();
        let meters: Vec<_> = names.iter().map(|name| Meters::new(name)).collect();
        for meters in &meters {
            meters.up.set(1.0);
        }
        let driver = Driver {
            machine: Client::new(config.machine(), Rng::from_seed(&seed)),
            sockets: Sockets::new(config.servers),
            names: names.clone(),
            meters,
            waiting: HashMap::new(),
            by_ticket: HashMap::new(),
            questions: asked,
            health: health_sender,
            late: late.clone(),
            remarked: HashSet::new(),
        };
        let transport = Self {
            questions,
            next_ticket: Arc::default(),
            names,
            health,
            late,
        };
        Ok((transport, driver))
    }

    /// Asks about one log-in and waits for the answer; dropping the future abandons it.
    ///
    /// # Errors
    ///
    /// When there is nothing to wait for.
    pub async fn request(
        &self,
        applicant: &Applicant,
        credentials: Credentials,
        deadline: Instant,
    ) -> Result<Reply, RequestError> {
        self.ask(applicant, credentials, None, deadline).await
    }

    /// Asks as [`Transport::request`] does, in answer to a challenge of PAP.
    ///
    /// # Errors
    ///
    /// When there is nothing to wait for.
    pub async fn answer(
        &self,
        applicant: &Applicant,
        credentials: Credentials,
        challenge: Challenge,
        deadline: Instant,
    ) -> Result<Reply, RequestError> {
        self.ask(applicant, credentials, Some(challenge), deadline)
            .await
    }

    /// Calls `hook` for each answer that nobody took, with what it said if that could be read; only the first hook counts.
    ///
    /// It is called on the task of the client or of the servers, perhaps while the client's future is being dropped.
    pub fn on_late(&self, hook: impl Fn(&Login, Option<Code>) + Send + Sync + 'static) {
        self.late.0.get_or_init(|| Box::new(hook));
    }

    async fn ask(
        &self,
        applicant: &Applicant,
        credentials: Credentials,
        challenge: Option<Challenge>,
        deadline: Instant,
    ) -> Result<Reply, RequestError> {
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        let login = login_of(applicant, &credentials, Instant::now());
        self.questions
            .send(Question::Ask(Box::new(Ask {
                ticket,
                applicant: applicant.clone(),
                credentials,
                challenge,
                deadline,
                reply,
            })))
            .map_err(|_| RequestError::Stopped)?;
        let mut waiting = Waiting {
            transport: self,
            ticket: Some(ticket),
            login,
            answer,
        };
        let answer = (&mut waiting.answer).await;
        waiting.ticket = None;
        let completion = answer.map_err(|_| RequestError::Stopped)??;
        let server = completion
            .server
            .and_then(|ServerId(place)| self.names.get(place).cloned());
        Ok(Reply { completion, server })
    }

    /// Returns what is known of each server.
    #[must_use]
    pub fn health(&self) -> Vec<ServerHealth> {
        self.health.borrow().clone()
    }

    /// Returns a receiver that wakes when what is known of a server changes.
    #[must_use]
    pub fn watch_health(&self) -> watch::Receiver<Vec<ServerHealth>> {
        self.health.clone()
    }
}

/// The task that owns the machine and its sockets.
pub struct Driver {
    machine: Client,
    sockets: Sockets,
    names: Arc<[String]>,
    meters: Vec<Meters>,
    waiting: HashMap<RequestId, Asker>,
    by_ticket: HashMap<Ticket, RequestId>,
    questions: mpsc::UnboundedReceiver<Question>,
    health: watch::Sender<Vec<ServerHealth>>,
    late: Arc<LateHook>,
    /// The servers whose answer about the probe user has been remarked on.
    remarked: HashSet<ServerId>,
}

/// Who waits for a request.
struct Asker {
    ticket: Ticket,
    login: Login,
    reply: oneshot::Sender<Result<Completion, Refused>>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("servers", &self.names)
            .finish_non_exhaustive()
    }
}

impl Driver {
    /// Runs until every [`Transport`] is gone.
    pub async fn run(mut self) {
        self.machine.begin(Instant::now());
        loop {
            self.drain().await;
            let timeout = self.machine.poll_timeout();
            tokio::select! {
                question = self.questions.recv() => match question {
                    Some(Question::Ask(ask)) => self.ask(*ask),
                    Some(Question::Abandon(ticket)) => {
                        if let Some(request) = self.by_ticket.get(&ticket) {
                            self.machine.abandon(Instant::now(), *request);
                        }
                    }
                    None => return,
                },
                arrival = self.sockets.next() => match arrival {
                    Arrival::Datagram(port, bytes) => self.datagram(port, &bytes),
                    Arrival::Unreachable(port) => {
                        self.machine.handle_unreachable(Instant::now(), port);
                    }
                },
                () = sleep_until(timeout.unwrap_or_else(Instant::now).into()), if timeout.is_some() => {
                    self.machine.handle_timeout(Instant::now());
                }
            }
        }
    }

    fn ask(&mut self, ask: Ask) {
        let now = Instant::now();
        let (applicant, credentials) = (&ask.applicant, &ask.credentials);
        let asked = match &ask.challenge {
            None => self
                .machine
                .request(now, applicant, credentials, ask.deadline),
            Some(challenge) => {
                self.machine
                    .answer(now, applicant, credentials, challenge, ask.deadline)
            }
        };
        match asked {
            Ok(request) => {
                self.by_ticket.insert(ask.ticket, request);
                let asker = Asker {
                    ticket: ask.ticket,
                    login: login_of(applicant, credentials, now),
                    reply: ask.reply,
                };
                self.waiting.insert(request, asker);
            }
            // Whoever asked may have left.
            Err(refused) => drop(ask.reply.send(Err(refused))),
        }
    }

    fn datagram(&mut self, port: Port, bytes: &[u8]) {
        if let Err(why) = self.machine.handle_datagram(Instant::now(), port, bytes) {
            let server = self.name(port.server);
            tracing::debug!(
                radius.server = server,
                reason = why.as_str(),
                "RADIUS reply dropped"
            );
            if let Some(meters) = self.meters.get(port.server.0) {
                meters.dropped(why);
            }
        }
    }

    /// Sends what is to be sent and acts on what happened, until there is nothing more.
    async fn drain(&mut self) {
        let mut datagram = Vec::new();
        loop {
            while let Some(event) = self.machine.poll_event() {
                self.act(event);
            }
            datagram.clear();
            let Some(transmit) = self.machine.poll_transmit(&mut datagram) else {
                break;
            };
            if let Err(error) = self.sockets.send(transmit.port, &datagram).await {
                let server = self.name(transmit.port.server);
                tracing::debug!(radius.server = server, %error, "RADIUS request not sent");
                if is_unreachable(&error) {
                    self.machine
                        .handle_unreachable(Instant::now(), transmit.port);
                }
            }
        }
        for (place, meters) in self.meters.iter().enumerate() {
            let waiting = u32::try_from(self.machine.waiting(ServerId(place)));
            meters.pending.set(waiting.unwrap_or(u32::MAX));
        }
    }

    fn name(&self, server: ServerId) -> &str {
        self.names.get(server.0).map_or("?", String::as_str)
    }
}

fn login_of(applicant: &Applicant, credentials: &Credentials, asked: Instant) -> Login {
    Login {
        user: credentials.user().clone(),
        session: applicant.session.clone(),
        correlation: applicant.correlation.clone(),
        source: applicant.remote.ip(),
        asked,
    }
}
