//! The push guard: a user has at most one prompt open on the phone.
//!
//! A prompt may be open for as long as a request waits for its answer, and, when its client has left, until the answer
//! comes late or the window ends: the phone does not learn that the client has gone. Between the rounds of an EAP
//! conversation nothing waits, so rounds never block each other.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use causeway_proto::aaa::Identity;
use metrics::{Counter, counter};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::timeout_at;

/// For so many users it is known that a prompt may be open; beyond, nobody is held back.
const MAX_USERS: usize = 65_536;

/// For how long it is remembered that a place was held in vain.
const MEMORY: Duration = Duration::from_secs(3600);

/// What a person needs to find the phone and approve. Who has waited and has less left is not asked about: its client
/// would leave an open prompt behind, for which the next log-in would wait as long. A log-in whose whole time is short
/// keeps half of it for the person.
const ENOUGH: Duration = Duration::from_secs(30);

/// What happens to a second log-in of a user whose prompt is open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DuplicatePolicy {
    /// It waits until the first has ended.
    Wait,
    /// It is refused.
    Refuse,
    /// It goes on, and causes a second prompt.
    Allow,
}

/// `[radius.duplicate_logins]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DuplicateLogins {
    /// What happens.
    pub policy: DuplicatePolicy,
    /// For how long a prompt may stay open behind a client that has left, from the start of its log-in.
    pub window: Duration,
}

impl Default for DuplicateLogins {
    fn default() -> Self {
        Self {
            policy: DuplicatePolicy::Wait,
            window: Duration::from_secs(60),
        }
    }
}

/// The guard.
#[derive(Debug)]
pub(super) struct Guard {
    settings: DuplicateLogins,
    tables: Mutex<Tables>,
    waited: Counter,
    refused: Counter,
}

/// What is known of each user.
#[derive(Debug, Default)]
struct Tables {
    open: HashMap<Vec<u8>, Open>,
    /// Where somebody waits.
    queues: HashMap<Vec<u8>, Queue>,
    holds: HashMap<(Vec<u8>, u128), Holds>,
    next_ticket: u64,
}

/// Whom the request behind a place may prompt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asks {
    /// Nobody: it is the first round of EAP, a name alone.
    Nobody,
    /// Perhaps the user: it is a later round of EAP, which anybody can make who knows the name.
    Perhaps,
    /// The user, if the password is right.
    User,
}

/// How often a network has left a round of EAP unanswered that held the place of a user.
#[derive(Clone, Copy, Debug)]
struct Holds {
    times: u32,
    /// Until when it may not enter by EAP, if this was not the first time.
    until: Instant,
}

/// Who wants to enter.
#[derive(Clone, Copy, Debug)]
struct Comer<'a> {
    asks: Asks,
    session: &'a str,
    network: u128,
    ticket: u64,
}

/// A prompt that may be open.
#[derive(Debug)]
struct Open {
    /// Which session asked.
    session: String,
    /// Where from.
    network: u128,
    /// Since when.
    since: Instant,
    /// Until when it counts; `None` while its request waits.
    until: Option<Instant>,
    /// Whether the answer has come although its request seems to wait: its client is leaving.
    answered: bool,
}

/// Those who wait for the prompt of one user to end.
///
/// They enter as they came, except that no network enters twice in a row while another one waits: whoever dials in a
/// user's name without an end takes every second turn at most.
#[derive(Debug)]
struct Queue {
    /// Tickets and networks, as they came.
    waiting: Vec<(u64, u128)>,
    /// The network that entered last.
    last: u128,
    moved: Arc<Notify>,
}

/// What wakes who waits: a notification, or this moment.
type Held = (OwnedNotified, Option<Instant>);

/// A place in the queue, if one was needed.
#[derive(Debug)]
struct Queued<'a> {
    guard: &'a Guard,
    user: &'a [u8],
    ticket: u64,
}

/// The right to have a prompt open. Dropping it without [`Place::close`] leaves the prompt open until the window ends.
#[derive(Debug)]
pub(super) struct Place<'a> {
    guard: &'a Guard,
    user: Option<Vec<u8>>,
    network: u128,
    asks: Asks,
    since: Instant,
}

/// Another log-in of this user has its prompt open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Occupied;

impl Guard {
    pub(super) fn new(settings: DuplicateLogins) -> Self {
        let action = |word: &'static str| counter!("causeway_radius_duplicate_logins_suppressed_total", "action" => word);
        Self {
            settings,
            tables: Mutex::default(),
            waited: action("waited"),
            refused: action("refused"),
        }
    }

    /// Returns until when a log-in may wait that begins now: what is then left is enough for a person.
    ///
    /// Where the policy lets nobody wait, only the deadline counts.
    pub(super) fn latest(&self, now: Instant, deadline: Instant) -> Instant {
        match self.settings.policy {
            DuplicatePolicy::Wait => {
                let whole = deadline.saturating_duration_since(now);
                now + whole.saturating_sub(ENOUGH.min(whole / 2))
            }
            DuplicatePolicy::Refuse | DuplicatePolicy::Allow => deadline,
        }
    }

    /// Waits until no prompt of this user is open and it is this one's turn, or says that one is; who has waited does not
    /// enter behind `latest`.
    pub(super) async fn enter(
        &self,
        user: &Identity,
        session: &str,
        source: IpAddr,
        asks: Asks,
        latest: Instant,
    ) -> Result<Place<'_>, Occupied> {
        let key = super::canonical(user);
        let queued = self.queue(&key);
        let comer = Comer {
            asks,
            session,
            network: super::network(source),
            ticket: queued.ticket,
        };
        let mut counted = false;
        loop {
            let now = Instant::now();
            if counted && now >= latest {
                return Err(Occupied);
            }
            let (moved, until) = match self.try_enter(&key, comer, now) {
                Ok(place) => return Ok(place),
                Err(Some(held)) => held,
                Err(None) => {
                    self.refused.increment(1);
                    return Err(Occupied);
                }
            };
            if !counted {
                counted = true;
                self.waited.increment(1);
            }
            if now >= latest {
                return Err(Occupied);
            }
            let wake = until.map_or(latest, |until| until.min(latest));
            // Whichever comes first, the next round looks again.
            drop(timeout_at(wake.into(), wait(moved)).await);
        }
    }

    /// Ends a prompt that was `asked` for then and whose answer nobody took; the place that stands for it may be dropped
    /// before or afterwards.
    pub(super) fn answered_late(&self, user: &Identity, session: &str, asked: Instant) {
        let key = super::canonical(user);
        let mut tables = self.lock();
        // Whoever has entered since has a prompt of its own.
        let Some(entry) = tables
            .open
            .get_mut(&key)
            .filter(|entry| entry.session == session && entry.since <= asked)
        else {
            return;
        };
        if entry.until.is_none() {
            entry.answered = true;
        } else {
            let network = entry.network;
            tables.end(&key);
            // It was not left unanswered after all.
            if let Some(holds) = tables.holds.get_mut(&(key, network)) {
                holds.times = holds.times.saturating_sub(1);
            }
        }
    }

    /// Returns how many prompts may be open.
    #[cfg(test)]
    fn len(&self) -> usize {
        let tables = self.lock();
        tables.open.len() + tables.queues.len()
    }

    fn queue<'a>(&'a self, user: &'a [u8]) -> Queued<'a> {
        let mut tables = self.lock();
        tables.next_ticket = tables.next_ticket.wrapping_add(1);
        Queued {
            guard: self,
            user,
            ticket: tables.next_ticket,
        }
    }

    /// Enters, or says what wakes whoever may wait.
    fn try_enter(
        &self,
        key: &[u8],
        comer: Comer<'_>,
        now: Instant,
    ) -> Result<Place<'_>, Option<Held>> {
        let place = |user| Place {
            guard: self,
            user,
            network: comer.network,
            asks: comer.asks,
            since: now,
        };
        if self.settings.policy == DuplicatePolicy::Allow {
            return Ok(place(None));
        }
        let mut tables = self.lock();
        if comer.asks != Asks::User && tables.is_braked(key, comer.network, now) {
            return Err(None);
        }
        let entry = tables.open.get(key);
        let goes_on = entry.is_some_and(|entry| entry.session == comer.session);
        let held = entry
            .filter(|entry| entry.until.is_none_or(|until| until > now))
            .map(|entry| (entry.network, entry.until));
        if !goes_on && (held.is_some() || tables.queues.contains_key(key)) {
            if self.settings.policy == DuplicatePolicy::Refuse {
                return Err(None);
            }
            let last = held.map_or(comer.network, |(network, _)| network);
            let queue = tables.join(key, comer, last);
            if held.is_some() || !queue.is_next(comer.ticket) {
                // It is woken from now on, so no end can be missed.
                let moved = queue.moved.clone().notified_owned();
                return Err(Some((moved, held.and_then(|(_, until)| until))));
            }
        }
        if tables.open.len() >= MAX_USERS && !tables.open.contains_key(key) {
            let is_open = |entry: &Open| entry.until.is_none_or(|until| until > now);
            tables.open.retain(|_, entry| is_open(entry));
            if tables.open.len() >= MAX_USERS {
                return Ok(place(None));
            }
        }
        if let Some(queue) = tables.queues.get_mut(key) {
            queue.last = comer.network;
        }
        tables.open.insert(
            key.to_vec(),
            Open {
                session: comer.session.to_owned(),
                network: comer.network,
                since: now,
                until: None,
                answered: false,
            },
        );
        Ok(place(Some(key.to_vec())))
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    /// Returns the queue of a user with this one in it; a new one begins behind `last`.
    fn join(&mut self, key: &[u8], comer: Comer<'_>, last: u128) -> &Queue {
        let queue = self.queues.entry(key.to_vec()).or_insert_with(|| Queue {
            waiting: Vec::new(),
            last,
            moved: Arc::default(),
        });
        let mut waiting = queue.waiting.iter();
        if !waiting.any(|(ticket, _)| *ticket == comer.ticket) {
            queue.waiting.push((comer.ticket, comer.network));
        }
        queue
    }

    /// Returns whether a network has held this place so often that it is somebody else's turn.
    fn is_braked(&self, key: &[u8], network: u128, now: Instant) -> bool {
        let holds = self.holds.get(&(key.to_vec(), network));
        holds.is_some_and(|holds| holds.times > 1 && holds.until > now)
    }

    /// Notes that a network has left a round of EAP unanswered, and for how long it is not to enter again: from the
    /// second time on 2, 4, 8 and 16 windows.
    fn hold(&mut self, key: Vec<u8>, network: u128, since: Instant, window: Duration) {
        let counts = |holds: &Holds| since.saturating_duration_since(holds.until) < MEMORY;
        if self.holds.len() >= MAX_USERS {
            self.holds.retain(|_, holds| counts(holds));
            if self.holds.len() >= MAX_USERS {
                return;
            }
        }
        let holds = self.holds.entry((key, network)).or_insert(Holds {
            times: 0,
            until: since,
        });
        holds.times = if counts(holds) { holds.times } else { 0 };
        holds.until = since + window.saturating_mul(1 << holds.times.min(4));
        holds.times = holds.times.saturating_add(1);
    }

    /// Ends a prompt.
    fn end(&mut self, key: &[u8]) {
        self.open.remove(key);
        self.wake(key);
    }

    fn wake(&self, key: &[u8]) {
        if let Some(queue) = self.queues.get(key) {
            queue.moved.notify_waiters();
        }
    }
}

impl Queue {
    fn is_next(&self, ticket: u64) -> bool {
        let other = self.waiting.iter().find(|(_, from)| *from != self.last);
        let next = other.or_else(|| self.waiting.first());
        next.is_some_and(|(next, _)| *next == ticket)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut tables = self.guard.lock();
        let Some(queue) = tables.queues.get_mut(self.user) else {
            return;
        };
        let before = queue.waiting.len();
        queue.waiting.retain(|(ticket, _)| *ticket != self.ticket);
        if queue.waiting.is_empty() {
            tables.queues.remove(self.user);
        } else if queue.waiting.len() < before {
            // It may have been the next.
            tables.wake(self.user);
        }
    }
}

impl Place<'_> {
    /// The server has answered, or nobody has seen the request: no prompt is open any more.
    pub(super) fn close(mut self) {
        if let Some(user) = self.user.take() {
            self.guard.lock().end(&user);
        }
    }

    /// No server answers anybody: a prompt may be open, and nobody has left it unanswered.
    pub(super) fn leave(mut self) {
        if self.asks == Asks::Perhaps {
            self.asks = Asks::User;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(user) = self.user.take() else {
            return;
        };
        let mut tables = self.guard.lock();
        let Some(entry) = tables.open.get_mut(&user) else {
            return;
        };
        if entry.answered || self.asks == Asks::Nobody {
            tables.end(&user);
            return;
        }
        let window = self.guard.settings.window;
        entry.until = Some(self.since + window);
        // Whoever waits learns until when.
        tables.wake(&user);
        if self.asks == Asks::Perhaps {
            tables.hold(user, self.network, self.since, window);
        }
    }
}

async fn wait(moved: OwnedNotified) {
    moved.await;
}

#[cfg(test)]
mod tests;
