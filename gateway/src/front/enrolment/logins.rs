//! The log-ins that are on their way, and the answers that wait to be fetched.
//!
//! A log-in is a task of its own: who looks whether it is decided may break off and come again, and neither repeats nor
//! ends it. It asks the authenticator once for the password and once for each code. Its id is drawn from 256 bits and
//! is all that a client needs to show; the answer is given once, and for [`KEPT`] at most.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use causeway_proto::aaa::{Applicant, Credentials, Identity, TunnelKind};
use causeway_proto::crypto::SecretBytes;
use causeway_proto::wireguard::PresharedKey;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{Instrument, debug, info, info_span, warn};

use crate::front::budget::Source;
use crate::session::admission::{Admission, Said, Seat, Terms, Vouched};
use crate::session::peers::{Peer, Peers};
use crate::task::Stop;

use super::device::Device;
use super::profile::{Gateway, Profile};
use super::reason::{Reason, State};

/// For how long an answer can be fetched.
const KEPT: Duration = Duration::from_secs(120);
/// For how long a person may look for a code, whatever the server allows.
const CODE: Duration = Duration::from_secs(120);
/// So many questions may a server ask in one log-in.
const ROUNDS: usize = 5;
/// So many log-ins and answers of one source are held at once; an office is one source.
const PER_SOURCE: usize = 64;
/// How often what is too old is thrown away.
const SWEEP: Duration = Duration::from_secs(5);
/// No log-in is on its way for longer: each round has a request and a code.
const LONGEST: Duration = Duration::from_secs(3600);
/// The longest text of a server that is shown.
const MAX_TEXT: usize = 253;

/// What the log-ins are made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a request to the authenticator may take.
    pub deadline: Duration,
    /// So many log-ins and answers are held at once.
    pub held: usize,
    /// What every device is told.
    pub gateway: Gateway,
}

/// The name of a log-in; whoever shows it gets the answer.
#[derive(Clone, Eq, Hash, PartialEq)]
pub(super) struct LoginId(String);

impl LoginId {
    /// Reads what [`LoginId::as_str`] gave.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_id = text.len() == 64
            && text
                .bytes()
                .all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'));
        is_id.then(|| Self(text.to_owned()))
    }

    pub(super) fn of(seed: &[u8; 32]) -> Self {
        let mut text = String::with_capacity(64);
        for octet in seed {
            if write!(text, "{octet:02x}").is_err() {}
        }
        Self(text)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for LoginId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoginId(..)")
    }
}

/// Where a request came from, and to where.
#[derive(Clone, Copy, Debug)]
pub(in crate::front) struct Ends {
    pub(in crate::front) remote: SocketAddr,
    pub(in crate::front) local: SocketAddr,
    /// The version of TLS.
    pub(in crate::front) tls: &'static str,
}

/// A log-in that somebody wants to make.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) user: Identity,
    pub(super) password: SecretBytes,
    pub(super) device: Device,
}

/// What is known of a log-in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub(super) state: State,
    pub(super) elapsed: Duration,
}

/// Why a code is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NoAnswer {
    Unknown,
    /// No code is asked for.
    NotAsked,
}

/// The log-ins.
#[derive(Debug)]
pub struct Logins {
    settings: Settings,
    admission: Arc<Admission>,
    peers: Arc<Peers>,
    book: Mutex<Book>,
    jobs: mpsc::UnboundedSender<Job>,
}

/// The log-ins that [`Logins::run`] is to make. As many as there are seats, which are counted at the door.
#[derive(Debug)]
pub struct Jobs(mpsc::UnboundedReceiver<Job>);

#[derive(Debug, Default)]
struct Book {
    entries: HashMap<LoginId, Entry>,
    by_source: HashMap<Source, usize>,
}

#[derive(Debug)]
struct Entry {
    source: Source,
    started: Instant,
    ended: Option<Instant>,
    state: Arc<watch::Sender<State>>,
    codes: mpsc::Sender<SecretBytes>,
}

/// What one log-in is made of.
#[derive(Debug)]
struct Job {
    id: LoginId,
    seat: Seat,
    applicant: Applicant,
    wish: Wish,
    state: Arc<watch::Sender<State>>,
    codes: mpsc::Receiver<SecretBytes>,
}

impl Logins {
    /// Makes the book of log-ins, and the list of those that [`Logins::run`] is to make.
    #[must_use]
    pub fn new(
        settings: Settings,
        admission: Arc<Admission>,
        peers: Arc<Peers>,
    ) -> (Arc<Self>, Jobs) {
        let (jobs, receiver) = mpsc::unbounded_channel();
        let logins = Self {
            settings,
            admission,
            peers,
            book: Mutex::default(),
            jobs,
        };
        (Arc::new(logins), Jobs(receiver))
    }

    /// Makes log-ins until the stop.
    pub async fn run(self: Arc<Self>, jobs: Jobs, mut stop: Stop) {
        let Jobs(mut jobs) = jobs;
        let mut running = JoinSet::new();
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.stopped() => return,
                Some(ended) = running.join_next(), if !running.is_empty() => {
                    if let Err(error) = ended {
                        warn!(%error, "a log-in ended by a fault of ours");
                    }
                }
                _ = sweep.tick() => self.sweep(Instant::now()),
                job = jobs.recv() => match job {
                    Some(job) => {
                        let span = info_span!("enrolment", session = %job.applicant.session, client.address = %job.applicant.remote.ip());
                        running.spawn(Arc::clone(&self).make(job).instrument(span));
                    }
                    None => return,
                },
            }
        }
    }

    /// Begins a log-in, or says why it cannot be begun.
    pub(super) fn begin(&self, ends: Ends, wish: Wish) -> Result<LoginId, Reason> {
        let now = Instant::now();
        let id = LoginId::of(&self.admission.seed());
        let source = Source::of(ends.remote.ip());
        let (state, _) = watch::channel(State::Pending);
        let state = Arc::new(state);
        let (sender, codes) = mpsc::channel(1);
        let session = self.admission.new_session_id();
        let applicant = Applicant {
            tunnel: TunnelKind::Mobility,
            remote: ends.remote,
            local: ends.local,
            session: session.accounting_id(unix_now()),
            nas_port: session.number(),
            correlation: None,
            ras_client_version: None,
            ras_client_name: None,
            connect_info: Some(format!("Mobility enrolment TLS{}", ends.tls)),
            mtu: 1400,
        };
        let entry = Entry {
            source,
            started: now,
            ended: None,
            state: Arc::clone(&state),
            codes: sender,
        };
        let mut book = self.book();
        if !book.has_room(source, self.settings.held) {
            return Err(Reason::Busy);
        }
        let seat = self
            .admission
            .enter(session, &applicant, &wish.user)
            .map_err(|refusal| {
                info!(event = "auth_result", protocol = "mobility", user.name = %wish.user.display(), reason = refusal.reason.as_str(), "log-in refused");
                Reason::from(refusal.reason)
            })?;
        book.insert(id.clone(), entry);
        drop(book);
        let job = Job {
            id: id.clone(),
            seat,
            applicant,
            wish,
            state,
            codes,
        };
        if self.jobs.send(job).is_err() {
            self.book().remove(&id);
            return Err(Reason::Draining);
        }
        Ok(id)
    }

    /// Returns how far a log-in is; what is final is given once.
    pub(super) fn look(&self, id: &LoginId) -> Option<View> {
        let mut book = self.book();
        let entry = book.entries.get(id)?;
        let view = View {
            state: entry.state.borrow().clone(),
            elapsed: entry.started.elapsed(),
        };
        if view.state.is_final() {
            book.remove(id);
        }
        Some(view)
    }

    /// Returns since when a log-in is on its way; takes no answer away.
    pub(super) fn elapsed(&self, id: &LoginId) -> Option<Duration> {
        let book = self.book();
        book.entries.get(id).map(|entry| entry.started.elapsed())
    }

    /// Waits until a log-in is further than that it is pending, or for so long; cancel-safe.
    pub(super) async fn wait(&self, id: &LoginId, patience: Duration) {
        let Some(mut state) = self
            .book()
            .entries
            .get(id)
            .map(|entry| entry.state.subscribe())
        else {
            return;
        };
        // Whichever comes first, the caller looks.
        drop(timeout(patience, state.wait_for(|state| *state != State::Pending)).await);
    }

    /// Gives the code that was asked for.
    pub(super) fn answer(&self, id: &LoginId, code: SecretBytes) -> Result<(), NoAnswer> {
        let book = self.book();
        let entry = book.entries.get(id).ok_or(NoAnswer::Unknown)?;
        let asked = entry.state.send_if_modified(|state| {
            let asked = matches!(state, State::Challenge(_));
            if asked {
                *state = State::Pending;
            }
            asked
        });
        if asked && entry.codes.try_send(code).is_ok() {
            Ok(())
        } else {
            Err(NoAnswer::NotAsked)
        }
    }

    /// Returns how many log-ins and answers are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.book().entries.len()
    }

    /// Returns whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes one log-in.
    async fn make(self: Arc<Self>, job: Job) {
        let Job {
            id,
            mut seat,
            applicant,
            wish,
            state,
            mut codes,
        } = job;
        let Wish {
            user,
            password,
            device,
        } = wish;
        let mut said = Said {
            credentials: Credentials::Pap {
                user: user.clone(),
                password,
            },
            answered: None,
        };
        let mut end = State::Refused(Reason::Rejected);
        for _ in 0..ROUNDS {
            let deadline = Instant::now() + self.settings.deadline;
            let mut why = None;
            let step = Arc::clone(&self.admission).vouch(
                seat,
                &applicant,
                said,
                deadline,
                |authorization| {
                    let enrolled = device.clone().enrol(
                        &self.peers,
                        authorization,
                        PresharedKey::from_bytes(self.admission.seed()),
                    );
                    enrolled.map_err(|reason| {
                        why = Some(reason);
                        reason.refusal()
                    })
                },
            );
            let vouched;
            (seat, vouched) = step.await;
            match vouched {
                Vouched::Accepted(peer, terms) => {
                    end = State::Accepted(self.profile(&peer, terms).await);
                    break;
                }
                Vouched::Refused(refusal) => {
                    end = State::Refused(why.unwrap_or_else(|| Reason::from(refusal.reason)));
                    break;
                }
                Vouched::Challenge(challenge) => {
                    let text = challenge.message.as_deref().map(shown);
                    state.send_replace(State::Challenge(text));
                    let patience = challenge.timeout.map_or(CODE, |allowed| allowed.min(CODE));
                    let Ok(Some(code)) = timeout(patience, codes.recv()).await else {
                        debug!("the code did not come");
                        end = State::Refused(Reason::Expired);
                        break;
                    };
                    said = Said {
                        credentials: Credentials::Pap {
                            user: user.clone(),
                            password: code,
                        },
                        answered: Some(challenge),
                    };
                }
            }
        }
        drop(seat);
        if let Some(entry) = self.book().entries.get_mut(&id) {
            entry.ended = Some(Instant::now());
        }
        state.send_replace(end);
    }

    /// Waits until the device is on disk, so that no restart forgets what its user has been told.
    async fn profile(&self, peer: &Peer, terms: Terms) -> Arc<Profile> {
        if let Err(error) = self.peers.saved().await {
            // It counts nevertheless, and the keeper says so.
            debug!(%error, "an enrolment is not on disk yet");
        }
        info!(event = "enrolled", device = %peer.key(), inner.ip = %peer.address(), "a device was enrolled");
        Arc::new(Profile::new(&self.settings.gateway, peer, terms))
    }

    /// Forgets answers that nobody fetched.
    fn sweep(&self, now: Instant) {
        let mut book = self.book();
        let is_old = |entry: &Entry| match entry.ended {
            Some(ended) => now.saturating_duration_since(ended) >= KEPT,
            // Its task is gone.
            None => now.saturating_duration_since(entry.started) >= LONGEST,
        };
        let old: Vec<_> = book
            .entries
            .iter()
            .filter(|(_, entry)| is_old(entry))
            .map(|(id, _)| id.clone())
            .collect();
        for id in old {
            book.remove(&id);
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Returns whether one more of this source may be held; refusals that nobody fetched make room.
    fn has_room(&mut self, source: Source, held: usize) -> bool {
        let of_source = self.by_source.get(&source).copied().unwrap_or_default();
        if of_source >= PER_SOURCE {
            self.forget_a_refusal(Some(source))
        } else if self.entries.len() >= held {
            self.forget_a_refusal(None)
        } else {
            true
        }
    }

    fn forget_a_refusal(&mut self, of: Option<Source>) -> bool {
        let oldest = self
            .entries
            .iter()
            .filter(|(_, entry)| of.is_none_or(|source| entry.source == source))
            .filter(|(_, entry)| matches!(*entry.state.borrow(), State::Refused(_)))
            .min_by_key(|(_, entry)| entry.ended)
            .map(|(id, _)| id.clone());
        oldest.is_some_and(|id| self.remove(&id))
    }

    fn insert(&mut self, id: LoginId, entry: Entry) {
        *self.by_source.entry(entry.source).or_default() += 1;
        self.entries.insert(id, entry);
    }

    fn remove(&mut self, id: &LoginId) -> bool {
        let Some(entry) = self.entries.remove(id) else {
            return false;
        };
        if let Slot::Occupied(mut count) = self.by_source.entry(entry.source) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        true
    }
}

/// Returns a server's words for people: one line, no control characters, not for ever.
fn shown(text: &str) -> String {
    text.split(|c: char| c.is_control())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(MAX_TEXT)
        .collect()
}

/// The time in seconds of Unix time.
fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
#[path = "logins_tests.rs"]
mod tests;
