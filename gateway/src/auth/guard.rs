//! The push guard: a user has at most one prompt open on the phone.
//!
//! A prompt may be open for as long as a request waits for its answer, and, when its client has left, until the answer
//! comes late or the window ends: the phone does not learn that the client has gone. Between the rounds of an EAP
//! conversation nothing waits, so rounds never block each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use causeway_proto::aaa::Identity;
use metrics::{Counter, counter};
use tokio::sync::Notify;
use tokio::time::timeout_at;

/// For so many users it is known that a prompt may be open; beyond, nobody is held back.
const MAX_USERS: usize = 65_536;

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
    open: Mutex<HashMap<Vec<u8>, Open>>,
    waited: Counter,
    refused: Counter,
}

/// A prompt that may be open.
#[derive(Debug)]
struct Open {
    /// Which session asked.
    session: String,
    /// Since when.
    since: Instant,
    /// Until when it counts; `None` while its request waits.
    until: Option<Instant>,
    /// Whether the answer has come although its request seems to wait: its client is leaving.
    answered: bool,
    ended: Arc<Notify>,
}

/// The right to have a prompt open. Dropping it without [`Place::close`] leaves the prompt open until the window ends.
#[derive(Debug)]
pub(super) struct Place<'a> {
    guard: &'a Guard,
    user: Option<Vec<u8>>,
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
            open: Mutex::default(),
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

    /// Waits until no prompt of this user is open, or says that one is; who has waited does not enter behind `latest`.
    pub(super) async fn enter(
        &self,
        user: &Identity,
        session: &str,
        latest: Instant,
    ) -> Result<Place<'_>, Occupied> {
        let key = super::canonical(user);
        let mut counted = false;
        loop {
            let now = Instant::now();
            if counted && now >= latest {
                return Err(Occupied);
            }
            let (ended, until) = match self.try_enter(&key, session, now) {
                Ok(place) => return Ok(place),
                Err(held) => held,
            };
            match self.settings.policy {
                DuplicatePolicy::Wait => {
                    if !counted {
                        counted = true;
                        self.waited.increment(1);
                    }
                }
                DuplicatePolicy::Refuse | DuplicatePolicy::Allow => {
                    self.refused.increment(1);
                    return Err(Occupied);
                }
            }
            if now >= latest {
                return Err(Occupied);
            }
            let wake = until.map_or(latest, |until| until.min(latest));
            // Whichever comes first, the next round looks again.
            drop(timeout_at(wake.into(), wait(ended)).await);
        }
    }

    /// Ends a prompt that was `asked` for then and whose answer nobody took; the place that stands for it may be dropped
    /// before or afterwards.
    pub(super) fn answered_late(&self, user: &Identity, session: &str, asked: Instant) {
        let mut open = self.lock();
        let key = super::canonical(user);
        // Whoever has entered since has a prompt of its own.
        let Some(entry) = open
            .get_mut(&key)
            .filter(|entry| entry.session == session && entry.since <= asked)
        else {
            return;
        };
        if entry.until.is_none() {
            entry.answered = true;
        } else if let Some(entry) = open.remove(&key) {
            entry.ended.notify_waiters();
        }
    }

    /// Returns how many prompts may be open.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.lock().len()
    }

    fn try_enter(
        &self,
        key: &[u8],
        session: &str,
        now: Instant,
    ) -> Result<Place<'_>, (tokio::sync::futures::OwnedNotified, Option<Instant>)> {
        let place = |user| Place {
            guard: self,
            user,
            since: now,
        };
        if self.settings.policy == DuplicatePolicy::Allow {
            return Ok(place(None));
        }
        let mut open = self.lock();
        if let Some(entry) = open.get(key)
            && entry.until.is_none_or(|until| until > now)
            && entry.session != session
        {
            // It is woken from now on, so no end can be missed.
            return Err((entry.ended.clone().notified_owned(), entry.until));
        }
        if open.len() >= MAX_USERS && !open.contains_key(key) {
            open.retain(|_, entry| entry.until.is_none_or(|until| until > now));
            if open.len() >= MAX_USERS {
                return Ok(place(None));
            }
        }
        let ended = open.remove(key).map(|entry| entry.ended);
        open.insert(
            key.to_vec(),
            Open {
                session: session.to_owned(),
                since: now,
                until: None,
                answered: false,
                ended: ended.unwrap_or_default(),
            },
        );
        Ok(place(Some(key.to_vec())))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<u8>, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// The server has answered, or nobody has seen the request: no prompt is open any more.
    pub(super) fn close(mut self) {
        if let Some(user) = self.user.take()
            && let Some(entry) = self.guard.lock().remove(&user)
        {
            entry.ended.notify_waiters();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(user) = self.user.take() else {
            return;
        };
        let mut open = self.guard.lock();
        let Some(entry) = open.get_mut(&user) else {
            return;
        };
        entry.until = Some(self.since + self.guard.settings.window);
        // Whoever waits learns until when, or that it has ended.
        entry.ended.notify_waiters();
        if entry.answered {
            open.remove(&user);
        }
    }
}

async fn wait(ended: tokio::sync::futures::OwnedNotified) {
    ended.await;
}

#[cfg(test)]
mod tests;
