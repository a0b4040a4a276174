//! Brakes on guessing: a delay that grows with each failure, for one user from one source.
//!
//! Only failures of the same user *from the same source* slow anybody down, so that a stranger cannot lock a user out
//! by failing in the user's name. Those who share a name (`anonymous@realm`) are one for each source, which may fail more
//! often before it is slowed down, and whose prompts are not counted. The table has a fixed size and a key that nobody outside knows.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use causeway_proto::aaa::Identity;
use causeway_proto::radius::Login;
use metrics::{Counter, counter};

/// The delay behind the first failure; it doubles with each.
const FIRST: Duration = Duration::from_secs(1);
/// The longest delay.
const LONGEST: Duration = Duration::from_secs(30);
/// So many failures are free behind a name that many share, for one source may be a whole office.
const SHARED: u32 = 20;
/// For how long a failure counts.
const MEMORY: Duration = Duration::from_secs(3600);
/// So many prompts may be denied, run out or be answered too late within [`MEMORY`].
const MAX_PROMPTS: usize = 6;
/// The table: so many rows of so many places.
const ROWS: usize = 4096;
const PLACES: usize = 8;

/// The brakes.
#[derive(Debug)]
pub(super) struct Brakes {
    key: RandomState,
    rows: Vec<Mutex<Vec<Entry>>>,
    delayed: Counter,
    refused: Counter,
}

/// What one user did from one source.
#[derive(Debug)]
struct Entry {
    tag: u64,
    failures: u32,
    /// Attempts that have not ended: each counts as a failure until it has.
    pending: u32,
    next: Instant,
    last: Instant,
    /// The prompts that were denied, ran out or were answered too late.
    prompts: Vec<Prompt>,
}

/// A prompt that let nobody in.
#[derive(Debug)]
struct Prompt {
    /// When it ended.
    when: Instant,
    /// Whose it was.
    session: u64,
}

/// One attempt; dropping it takes it off the count of those that have not ended.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    brakes: &'a Brakes,
    hash: u64,
    /// Whether many share its name.
    shared: bool,
    counted: bool,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    /// The user is who it says.
    Accepted,
    /// Refused at once.
    Rejected,
    /// Refused after a person was asked.
    Denied,
    /// A person may have been asked, and said nothing.
    RanOut,
    /// Nothing is known of the user.
    Open,
}

/// Why an attempt is not made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Held {
    /// Its turn would come when it is too late to make it.
    TooSoon,
    /// Too many prompts let nobody in.
    TooManyPrompts,
}

impl Held {
    /// Returns the line for the log.
    pub(super) const fn explanation(self) -> &'static str {
        match self {
            Self::TooSoon => {
                "too many failures of this user from this address: the next attempt is not due \
                 while the client would still wait long enough"
            }
            Self::TooManyPrompts => {
                "six prompts of this user were denied, ran out or were answered too late within an \
                 hour, all asked for from this address: somebody may have the password"
            }
        }
    }
}

impl Brakes {
    pub(super) fn new() -> Self {
        let action =
            |word: &'static str| counter!("causeway_login_attempts_held_total", "action" => word);
        Self {
            key: RandomState::new(),
            rows: (0..ROWS).map(|_| Mutex::default()).collect(),
            delayed: action("delayed"),
            refused: action("refused"),
        }
    }

    /// Takes an attempt and returns when it may be made, ahead of `latest` if it has to wait.
    ///
    /// Without a user it is one of many who share a name.
    pub(super) fn take(
        &self,
        now: Instant,
        user: Option<&Identity>,
        source: IpAddr,
        latest: Instant,
    ) -> Result<(Attempt<'_>, Instant), Held> {
        let hash = self.hash(user, source);
        let mut row = self.row(hash);
        row.retain(|entry| entry.pending > 0 || now.saturating_duration_since(entry.last) < MEMORY);
        let entry = place(&mut row, hash, now);
        entry
            .prompts
            .retain(|prompt| now.saturating_duration_since(prompt.when) < MEMORY);
        if entry.prompts.len() >= MAX_PROMPTS {
            self.refused.increment(1);
            return Err(Held::TooManyPrompts);
        }
        let turn = entry.next.max(now);
        if turn >= latest {
            self.refused.increment(1);
            return Err(Held::TooSoon);
        }
        if turn > now {
            self.delayed.increment(1);
        }
        // Those that come meanwhile queue up behind this one, as if it had failed.
        entry.next = turn + delay(entry.failures.saturating_add(entry.pending), user.is_none());
        entry.pending = entry.pending.saturating_add(1);
        drop(row);
        let attempt = Attempt {
            brakes: self,
            hash,
            shared: user.is_none(),
            counted: true,
        };
        Ok((attempt, turn))
    }

    /// Takes a later round of an attempt, which does not count as one.
    pub(super) fn resume(&self, user: Option<&Identity>, source: IpAddr) -> Attempt<'_> {
        Attempt {
            brakes: self,
            hash: self.hash(user, source),
            shared: user.is_none(),
            counted: false,
        }
    }

    /// Notes a prompt whose answer nobody took, unless it has been counted when its log-in ended.
    pub(super) fn end_late(&self, now: Instant, login: &Login) {
        let hash = self.hash(Some(&login.user), login.source);
        let session = self.key.hash_one(&login.session);
        let mut row = self.row(hash);
        let entry = place(&mut row, hash, now);
        let counted = |prompt: &Prompt| prompt.session == session && prompt.when >= login.asked;
        if !entry.prompts.iter().any(counted) {
            entry.prompt(now, session);
        }
    }

    fn hash(&self, user: Option<&Identity>, source: IpAddr) -> u64 {
        self.key
            .hash_one((user.map(super::canonical), super::network(source)))
    }

    fn row(&self, hash: u64) -> MutexGuard<'_, Vec<Entry>> {
        let place = usize::try_from(hash).unwrap_or(usize::MAX) & (ROWS - 1);
        #[expect(clippy::indexing_slicing, reason = "the mask is the length less one")]
        self.rows[place]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn prompt(&mut self, now: Instant, session: u64) {
        self.last = now;
        if self.prompts.len() < MAX_PROMPTS {
            let when = now;
            self.prompts.push(Prompt { when, session });
        }
    }

    /// Returns how much would be forgotten with it.
    fn weight(&self) -> usize {
        let failures = usize::try_from(self.failures).unwrap_or(usize::MAX);
        failures.saturating_add(self.prompts.len())
    }
}

impl Attempt<'_> {
    /// Notes how the attempt of this session ended.
    pub(super) fn end(self, now: Instant, ending: Ending, session: &str) {
        let session = self.brakes.key.hash_one(session);
        let mut row = self.brakes.row(self.hash);
        match ending {
            Ending::RanOut if self.shared => {}
            Ending::Open => {}
            Ending::Accepted => {
                for entry in row.iter_mut().filter(|entry| entry.tag == self.hash) {
                    (entry.failures, entry.next) = (0, now);
                    entry.prompts.clear();
                }
            }
            Ending::Rejected | Ending::Denied => {
                let entry = place(&mut row, self.hash, now);
                entry.next = entry.next.max(now + delay(entry.failures, self.shared));
                entry.failures = entry.failures.saturating_add(1);
                entry.last = now;
                if ending == Ending::Denied && !self.shared {
                    entry.prompt(now, session);
                }
            }
            Ending::RanOut => place(&mut row, self.hash, now).prompt(now, session),
        }
        // The lock goes before `self` does, which takes it again.
        drop(row);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        let mut row = self.brakes.row(self.hash);
        for entry in row.iter_mut().filter(|entry| entry.tag == self.hash) {
            entry.pending = entry.pending.saturating_sub(1);
        }
        row.retain(|entry| entry.pending > 0 || entry.weight() > 0);
    }
}

/// Returns the delay behind one more failure.
fn delay(failures: u32, shared: bool) -> Duration {
    match failures.checked_sub(if shared { SHARED } else { 0 }) {
        Some(failures) => FIRST.saturating_mul(1 << failures.min(5)).min(LONGEST),
        None => Duration::ZERO,
    }
}

/// Returns the entry of a user and source, a new one in the place of whoever has done least if there is none.
fn place(row: &mut Vec<Entry>, tag: u64, now: Instant) -> &mut Entry {
    let found = row.iter().position(|entry| entry.tag == tag);
    let place = found.unwrap_or_else(|| {
        if row.len() >= PLACES {
            let least = (0..row.len())
                .min_by_key(|place| row.get(*place).map(|entry| (entry.weight(), entry.last)));
            row.swap_remove(least.unwrap_or(0));
        }
        row.push(Entry {
            tag,
            failures: 0,
            pending: 0,
            next: now,
            last: now,
            prompts: Vec::new(),
        });
        row.len().saturating_sub(1)
    });
    #[expect(clippy::indexing_slicing, reason = "it was found or pushed there")]
    &mut row[place]
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn name(user: &str) -> Identity {
        Identity::new(user.as_bytes()).unwrap()
    }

    /// Attempts and ends so at once; returns how long it had to wait.
    fn attempt(brakes: &Brakes, now: Instant, source: IpAddr, ending: Ending) -> Duration {
        let deadline = now + s(58);
        let (attempt, turn) = brakes
            .take(now, Some(&name("alice")), source, deadline)
            .unwrap();
        attempt.end(turn, ending, "1");
        turn - now
    }

    #[test]
    fn the_delay_doubles_to_thirty_seconds_and_a_success_ends_it() {
        let (brakes, mut now) = (Brakes::new(), Instant::now());
        for expected in [0, 1, 2, 4, 8, 16, 30, 30] {
            let waited = attempt(&brakes, now, HERE, Ending::Rejected);
            assert_eq!(waited, s(expected));
            now += waited;
        }
        assert_eq!(attempt(&brakes, now + s(31), HERE, Ending::Accepted), s(0));
        assert_eq!(attempt(&brakes, now + s(32), HERE, Ending::Accepted), s(0));
    }

    #[test]
    fn a_stranger_slows_nobody_but_itself() {
        let (brakes, mut at) = (Brakes::new(), Instant::now());
        for n in 0..50 {
            let ending = if n < 5 {
                Ending::Denied
            } else {
                Ending::Rejected
            };
            at += attempt(&brakes, at, THERE, ending);
        }
        assert_eq!(attempt(&brakes, at, HERE, Ending::Accepted), s(0));
    }

    #[test]
    fn attempts_at_the_same_time_queue_up() {
        let (brakes, now) = (Brakes::new(), Instant::now());
        let mut turns = Vec::new();
        let mut attempts = Vec::new();
        loop {
            match brakes.take(now, Some(&name("Alice")), HERE, now + s(58)) {
                Ok((attempt, turn)) => {
                    turns.push((turn - now).as_secs());
                    attempts.push(attempt);
                }
                Err(held) => {
                    assert_eq!(held, Held::TooSoon);
                    break;
                }
            }
        }
        assert_eq!(turns, [0, 1, 3, 7, 15, 31]);
        drop(attempts);
        assert!(brakes.rows.iter().all(|row| row.lock().unwrap().is_empty()));
    }

    #[test]
    fn six_prompts_denied_within_an_hour_are_enough() {
        let (brakes, mut now) = (Brakes::new(), Instant::now());
        let first = now;
        for _ in 0..6 {
            now += s(60);
            attempt(&brakes, now, HERE, Ending::Denied);
        }
        now += s(60);
        let held = brakes
            .take(now, Some(&name("ALICE")), HERE, now + s(58))
            .err();
        assert_eq!(held, Some(Held::TooManyPrompts));
        // Only from there.
        assert_eq!(attempt(&brakes, now, THERE, Ending::Accepted), s(0));
        // An hour later one is forgotten.
        attempt(&brakes, first + s(3661), HERE, Ending::Denied);
        let now = first + s(3700);
        assert!(
            brakes
                .take(now, Some(&name("alice")), HERE, now + s(58))
                .is_err()
        );
    }

    #[test]
    fn prompts_that_ran_out_or_were_answered_late_count_each_once() {
        let (brakes, now) = (Brakes::new(), Instant::now());
        let late = |n: u64| Login {
            user: name("Alice"),
            session: n.to_string(),
            correlation: None,
            source: HERE,
            asked: now + s(100 * n),
        };
        for n in 0..6 {
            let at = now + s(100 * n);
            let taken = brakes.take(at, Some(&name("alice")), HERE, at + s(58));
            // Nobody is slowed down by a phone that is out of reach.
            let (attempt, turn) = taken.unwrap();
            assert_eq!(turn, at);
            if n % 2 == 0 {
                attempt.end(at + s(58), Ending::RanOut, &n.to_string());
            } else {
                drop(attempt);
            }
            brakes.end_late(at + s(70), &late(n));
        }
        let at = now + s(700);
        let held = brakes
            .take(at, Some(&name("alice")), HERE, at + s(58))
            .err();
        assert_eq!(held, Some(Held::TooManyPrompts));
        assert_eq!(attempt(&brakes, at, THERE, Ending::Accepted), s(0));
        // An hour later they are forgotten, and so is a whole entry.
        assert_eq!(attempt(&brakes, at + s(3600), HERE, Ending::Accepted), s(0));
        assert!(brakes.rows.iter().all(|row| row.lock().unwrap().is_empty()));
    }

    #[test]
    fn those_who_share_a_name_are_slowed_down_late_and_by_their_source_alone() {
        let (brakes, now) = (Brakes::new(), Instant::now());
        let fail = |ending| {
            let (attempt, turn) = brakes.take(now, None, HERE, now + s(58)).unwrap();
            attempt.end(turn, ending, "1");
            turn - now
        };
        for n in 0..SHARED {
            assert_eq!(fail(Ending::RanOut), s(0));
            let endings = [Ending::Denied, Ending::Rejected];
            assert_eq!(fail(endings[usize::from(n > 10)]), s(0));
        }
        assert_eq!(fail(Ending::Open), s(0));
        assert_eq!(fail(Ending::Rejected), s(1));
        assert_eq!(fail(Ending::Open), s(2));
        let there = brakes.take(now, None, THERE, now + s(58));
        assert_eq!(there.unwrap().1, now);
        assert_eq!(attempt(&brakes, now, HERE, Ending::Accepted), s(0));
    }

    #[test]
    fn addresses_of_one_network_are_one_source() {
        let (brakes, now) = (Brakes::new(), Instant::now());
        let v6 = |text: &str| text.parse().unwrap();
        attempt(&brakes, now, v6("2001:db8:1:2::3"), Ending::Rejected);
        assert_eq!(
            attempt(&brakes, now, v6("2001:db8:1:2:4::5"), Ending::Open),
            s(1)
        );
        assert_eq!(
            attempt(&brakes, now, v6("2001:db8:1:3::3"), Ending::Open),
            s(0)
        );
        attempt(&brakes, now, HERE, Ending::Rejected);
        assert_eq!(
            attempt(&brakes, now, v6("::ffff:198.51.100.7"), Ending::Open),
            s(1)
        );
    }

    #[test]
    fn the_table_is_bounded_and_keeps_those_that_failed_most() {
        let (brakes, now) = (Brakes::new(), Instant::now());
        let mut at = now;
        for _ in 0..5 {
            at += attempt(&brakes, at, HERE, Ending::Rejected);
        }
        for n in 0..100_000 {
            let user = name(&format!("user{n}"));
            let (attempt, _) = brakes.take(at, Some(&user), THERE, at + s(58)).unwrap();
            attempt.end(at, Ending::Rejected, "1");
        }
        let kept: usize = brakes
            .rows
            .iter()
            .map(|row| row.lock().unwrap().len())
            .sum();
        assert!(kept <= ROWS * PLACES);
        assert!(attempt(&brakes, at, HERE, Ending::Open) >= s(16));
    }
}
