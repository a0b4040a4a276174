//! How much work a second is done for strangers (`limits.new_per_second`), and whose turn it is when that is too little.
//!
//! A token bucket that fills with as many tokens a second as it holds. A connection that finds none waits, before
//! anything has been computed for it, and the tokens that come go round the *sources* (an IPv4 address, an IPv6 /64): a
//! source that floods waits behind itself, and a health probe waits for at most one token of each flooding source.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::Counter;
use tokio::sync::{Notify, oneshot};

use crate::front::budget::Source;

/// Tokens are counted in shares of one, so that a fraction of a second gives a fraction of a token.
const SHARES: u64 = 1_000_000_000;

/// The turns of a front door.
#[derive(Debug)]
pub(super) struct Pace {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    per_second: u64,
    queue: Mutex<Queue>,
    changed: Notify,
    waited: Counter,
}

#[derive(Debug)]
struct Queue {
    /// What the bucket holds, in shares.
    shares: u64,
    filled: Instant,
    next: u64,
    lines: HashMap<Source, Line>,
    /// Whose turn is next: the smallest.
    turns: BTreeMap<u64, Source>,
}

/// Those of one source who wait; never empty.
#[derive(Debug)]
struct Line {
    turn: u64,
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A turn that was asked for; dropping it leaves the line.
#[derive(Debug)]
#[must_use]
pub(super) enum Turn {
    /// It is there.
    Now,
    /// It comes.
    Later(Waiting),
}

/// A place in the line of a source.
#[derive(Debug)]
pub(super) struct Waiting {
    source: Source,
    id: u64,
    told: oneshot::Receiver<()>,
    shared: Arc<Shared>,
}

impl Pace {
    /// Begins with a full bucket.
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = u64::from(per_second.max(1));
        Self {
            shared: Arc::new(Shared {
                per_second,
                queue: Mutex::new(Queue {
                    shares: per_second.saturating_mul(SHARES),
                    filled: now,
                    next: 0,
                    lines: HashMap::new(),
                    turns: BTreeMap::new(),
                }),
                changed: Notify::new(),
                waited: metrics::counter!("causeway_front_waits_total"),
            }),
        }
    }

    /// Takes a token, or a place in the line of the source.
    pub(super) fn turn(&self, source: IpAddr, now: Instant) -> Turn {
        let mut queue = self.shared.lock();
        queue.fill(self.shared.per_second, now);
        if queue.turns.is_empty() && queue.take() {
            return Turn::Now;
        }
        let source = Source::of(source);
        let (sender, told) = oneshot::channel();
        let id = queue.join(source, sender);
        drop(queue);
        self.shared.waited.increment(1);
        self.shared.changed.notify_one();
        Turn::Later(Waiting {
            source,
            id,
            told,
            shared: Arc::clone(&self.shared),
        })
    }

    /// Waits until somebody can be given a turn, and gives it; for ever while nobody waits. Cancel-safe: whoever
    /// accepts connections keeps calling it.
    pub(super) async fn keep(&self) {
        loop {
            let Some(at) = self.shared.due(Instant::now()) else {
                self.shared.changed.notified().await;
                continue;
            };
            tokio::time::sleep_until(at.into()).await;
            return self.shared.give(Instant::now());
        }
    }

    #[cfg(test)]
    fn waiting(&self) -> usize {
        let queue = self.shared.lock();
        assert_eq!(queue.lines.len(), queue.turns.len());
        queue.lines.values().map(|line| line.waiting.len()).sum()
    }
}

impl Turn {
    /// Waits for it.
    pub(super) async fn come(self) {
        match self {
            Self::Now => {}
            // The sender is dropped with a turn given, or with the front door; either way the wait is over.
            Self::Later(mut waiting) => if (&mut waiting.told).await.is_err() {},
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the next token is there for somebody who waits.
    fn due(&self, now: Instant) -> Option<Instant> {
        let mut queue = self.lock();
        if queue.turns.is_empty() {
            return None;
        }
        queue.fill(self.per_second, now);
        let missing = SHARES.saturating_sub(queue.shares);
        Some(now + Duration::from_nanos(missing.div_ceil(self.per_second)))
    }

    /// Gives the tokens that are there to those whose turn it is.
    fn give(&self, now: Instant) {
        let mut queue = self.lock();
        queue.fill(self.per_second, now);
        while queue.shares >= SHARES {
            let Some(sender) = queue.first() else { return };
            // Somebody who is gone costs nothing.
            if sender.send(()).is_ok() {
                queue.take();
            }
        }
    }
}

impl Queue {
    fn fill(&mut self, per_second: u64, now: Instant) {
        let passed = now.saturating_duration_since(self.filled);
        self.filled = self.filled.max(now);
        let nanos = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
        let full = per_second.saturating_mul(SHARES);
        self.shares = nanos
            .saturating_mul(per_second)
            .saturating_add(self.shares)
            .min(full);
    }

    fn take(&mut self) -> bool {
        match self.shares.checked_sub(SHARES) {
            Some(rest) => {
                self.shares = rest;
                true
            }
            None => false,
        }
    }

    fn join(&mut self, source: Source, sender: oneshot::Sender<()>) -> u64 {
        let id = self.next;
        self.next += 1;
        let turns = &mut self.turns;
        let line = self.lines.entry(source).or_insert_with(|| {
            turns.insert(id, source);
            Line {
                turn: id,
                waiting: BTreeMap::new(),
            }
        });
        line.waiting.insert(id, sender);
        id
    }

    /// Takes the first of the source whose turn it is; the source goes to the end.
    fn first(&mut self) -> Option<oneshot::Sender<()>> {
        let (_, source) = self.turns.pop_first()?;
        let line = self.lines.get_mut(&source)?;
        let first = line.waiting.pop_first();
        if line.waiting.is_empty() {
            self.lines.remove(&source);
        } else {
            line.turn = self.next;
            self.turns.insert(self.next, source);
            self.next += 1;
        }
        first.map(|(_, sender)| sender)
    }

    fn leave(&mut self, source: Source, id: u64) {
        let Some(line) = self.lines.get_mut(&source) else {
            return;
        };
        line.waiting.remove(&id);
        if line.waiting.is_empty() {
            let turn = line.turn;
            self.turns.remove(&turn);
            self.lines.remove(&source);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shared.lock().leave(self.source, self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// Whether the turn has come.
    fn is_there(turn: &mut Turn) -> bool {
        match turn {
            Turn::Now => true,
            Turn::Later(waiting) => waiting.told.try_recv().is_ok(),
        }
    }

    #[test]
    fn the_bucket_holds_a_second_and_fills_in_one() {
        let now = Instant::now();
        let pace = Pace::new(3, now);
        for _ in 0..3 {
            assert!(matches!(pace.turn(source(1), now), Turn::Now));
        }
        let mut fourth = pace.turn(source(1), now);
        assert!(!is_there(&mut fourth));
        assert_eq!(
            pace.shared.due(now),
            Some(now + Duration::from_nanos(333_333_334))
        );
        pace.shared.give(now + Duration::from_millis(333));
        assert!(!is_there(&mut fourth));
        pace.shared.give(now + Duration::from_millis(334));
        assert!(is_there(&mut fourth));
        assert_eq!(pace.shared.due(now), None);
        let later = now + Duration::from_secs(100);
        for _ in 0..3 {
            assert!(matches!(pace.turn(source(1), later), Turn::Now));
        }
        let mut seventh = pace.turn(source(1), later);
        assert!(!is_there(&mut seventh));
    }

    #[test]
    fn turns_go_round_the_sources() {
        let now = Instant::now();
        let pace = Pace::new(1, now);
        drop(pace.turn(source(1), now));
        let mut flood: Vec<_> = (0..100).map(|_| pace.turn(source(1), now)).collect();
        let mut probe = pace.turn(source(2), now);
        pace.shared.give(now + Duration::from_secs(1));
        assert!(is_there(&mut flood[0]) && !is_there(&mut probe));
        pace.shared.give(now + Duration::from_secs(2));
        assert!(is_there(&mut probe) && !is_there(&mut flood[1]));
        pace.shared.give(now + Duration::from_secs(3));
        assert!(is_there(&mut flood[1]));
    }

    #[test]
    fn a_newcomer_does_not_overtake_those_who_wait() {
        let now = Instant::now();
        let pace = Pace::new(1, now);
        drop(pace.turn(source(1), now));
        let mut first = pace.turn(source(1), now);
        let later = now + Duration::from_secs(1);
        let mut second = pace.turn(source(2), later);
        assert!(!is_there(&mut second));
        pace.shared.give(later);
        assert!(is_there(&mut first) && !is_there(&mut second));
    }

    #[test]
    fn who_gives_up_leaves_nothing_and_costs_nothing() {
        let now = Instant::now();
        let pace = Pace::new(1, now);
        drop(pace.turn(source(1), now));
        let gone: Vec<_> = (0..50).map(|n| pace.turn(source(n), now)).collect();
        let mut stays = pace.turn(source(200), now);
        assert_eq!(pace.waiting(), 51);
        drop(gone);
        assert_eq!(pace.waiting(), 1);
        pace.shared.give(now + Duration::from_secs(1));
        assert!(is_there(&mut stays));
        drop(stays);
        assert_eq!(pace.waiting(), 0);
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let pace = Arc::new(Pace::new(50, Instant::now()));
        let keeper = Arc::clone(&pace);
        let keeper = tokio::spawn(async move {
            loop {
                keeper.keep().await;
            }
        });
        for _ in 0..60 {
            pace.turn(source(1), Instant::now()).come().await;
        }
        assert_eq!(pace.waiting(), 0);
        keeper.abort();
    }
}
