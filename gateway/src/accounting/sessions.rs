//! The sessions that are up, and those that have ended and whose counters are not final yet; knows no clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_proto::activity::{Activity, Usage};
use causeway_proto::radius::accounting::{Record, Status};
use causeway_proto::timer::Deadlines;

use super::Account;
use super::journal::{Entry, Moment};

/// How often counters are written between records.
const CHECKPOINT: Duration = Duration::from_secs(15);
/// How long the packet path may take to let go of a session's counters.
const SETTLES_WITHIN: Duration = Duration::from_secs(1);

/// A session that is up.
#[derive(Debug)]
struct Live {
    account: Account,
    activity: Arc<Activity>,
    began: Instant,
}

/// A session that has ended.
#[derive(Debug)]
struct Ended {
    account: Account,
    activity: Arc<Activity>,
    cause: u32,
    at: u64,
    elapsed: u64,
    /// When its Stop is made whoever still holds the counters.
    until: Instant,
}

#[derive(Debug)]
pub(super) struct Sessions {
    live: HashMap<u64, Live>,
    ended: Vec<Ended>,
    interims: Deadlines<u64>,
    checkpoint: Instant,
}

impl Sessions {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            live: HashMap::new(),
            ended: Vec::new(),
            interims: Deadlines::new(),
            checkpoint: now + CHECKPOINT,
        }
    }

    /// Takes a session that is up and returns its Start; `spread` is where in the tenth more or less its interims fall,
    /// 0 to 255.
    pub(super) fn open(
        &mut self,
        ticket: u64,
        account: Account,
        activity: Arc<Activity>,
        (began, at): (Instant, u64),
        spread: u8,
    ) -> Record {
        let moment = Moment {
            at,
            ..Moment::default()
        };
        let record = record(&account, Status::Start, moment);
        if let Some(interim) = account.interim {
            self.interims.arm(ticket, began + jittered(interim, spread));
        }
        let live = Live {
            account,
            activity,
            began,
        };
        self.live.insert(ticket, live);
        record
    }

    /// Takes note that a session has ended; its Stop comes from [`Self::settled`].
    pub(super) fn close(&mut self, now: Instant, ticket: u64, cause: u32, at: u64, elapsed: u64) {
        self.interims.stop(ticket);
        if let Some(live) = self.live.remove(&ticket) {
            self.ended.push(Ended {
                account: live.account,
                activity: live.activity,
                cause,
                at,
                elapsed,
                until: now + SETTLES_WITHIN,
            });
        }
    }

    /// Ends every session that is up.
    pub(super) fn close_all(&mut self, now: Instant, cause: u32, at: u64) {
        let tickets: Vec<(u64, u64)> = self
            .live
            .iter()
            .map(|(ticket, live)| (*ticket, lasted(now, live.began)))
            .collect();
        for (ticket, elapsed) in tickets {
            self.close(now, ticket, cause, at, elapsed);
        }
    }

    /// Returns the Stops of the sessions whose counters nobody can change any more.
    pub(super) fn settled(&mut self, now: Instant) -> Vec<Record> {
        let settled = |ended: &mut Ended| {
            // One is ours.
            Arc::strong_count(&ended.activity) == 1 || ended.until <= now
        };
        self.ended
            .extract_if(.., settled)
            .map(|ended| {
                let moment = Moment {
                    at: ended.at,
                    elapsed: ended.elapsed,
                    usage: ended.activity.usage(),
                };
                record(&ended.account, Status::Stop { cause: ended.cause }, moment)
            })
            .collect()
    }

    /// Returns whether a Stop is still to come from [`Self::settled`].
    pub(super) const fn is_settling(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Returns the interims that are due.
    pub(super) fn interims(
        &mut self,
        now: Instant,
        at: u64,
        mut spread: impl FnMut() -> u8,
    ) -> Vec<Record> {
        let mut records = Vec::new();
        while let Some(ticket) = self.interims.pop_expired(now) {
            let Some(live) = self.live.get(&ticket) else {
                continue;
            };
            let moment = live.moment(now, at);
            records.push(record(&live.account, Status::Interim, moment));
            if let Some(interim) = live.account.interim {
                self.interims.arm(ticket, now + jittered(interim, spread()));
            }
        }
        records
    }

    /// Returns the counters of the sessions that are up, when it is time to write them.
    pub(super) fn checkpoint(&mut self, now: Instant, at: u64) -> Vec<Entry> {
        if now < self.checkpoint {
            return Vec::new();
        }
        self.checkpoint = now + CHECKPOINT;
        self.live
            .values()
            .map(|live| Entry::Counted(Arc::clone(&live.account.session), live.moment(now, at)))
            .collect()
    }

    /// Returns when the next of all this is due.
    pub(super) fn next(&self) -> Instant {
        let interim = self.interims.next();
        interim.map_or(self.checkpoint, |at| at.min(self.checkpoint))
    }

    /// Describes every session that has no Stop, for a new file.
    pub(super) fn describe(&self, now: Instant, at: u64) -> Vec<Entry> {
        let open = |account: &Account, moment| {
            Entry::Open(
                Arc::clone(&account.session),
                moment,
                Arc::clone(&account.base),
            )
        };
        let live = self
            .live
            .values()
            .map(|live| open(&live.account, live.moment(now, at)));
        let ended = self.ended.iter().map(|ended| {
            let moment = Moment {
                at: ended.at,
                elapsed: ended.elapsed,
                usage: ended.activity.usage(),
            };
            open(&ended.account, moment)
        });
        live.chain(ended).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.live.len().saturating_add(self.ended.len())
    }
}

impl Live {
    fn moment(&self, now: Instant, at: u64) -> Moment {
        Moment {
            at,
            elapsed: lasted(now, self.began),
            usage: self.activity.usage(),
        }
    }
}

/// Returns the Stop of a session that a crash has cut off: as it was last seen.
pub(super) fn cut_off(session: &Arc<str>, base: &Arc<[u8]>, last: Moment) -> Record {
    let account = Account {
        session: Arc::clone(session),
        base: Arc::clone(base),
        interim: None,
    };
    record(&account, Status::Stop { cause: NAS_ERROR }, last)
}

/// Acct-Terminate-Cause NAS Error (RFC 2866 §5.10).
const NAS_ERROR: u32 = 9;

fn record(account: &Account, status: Status, moment: Moment) -> Record {
    let Moment { at, elapsed, usage } = moment;
    debug_assert!(status != Status::Start || usage == Usage::default());
    Record {
        status,
        session: Arc::clone(&account.session),
        at,
        elapsed,
        usage,
        base: Arc::clone(&account.base),
    }
}

fn lasted(now: Instant, began: Instant) -> u64 {
    now.saturating_duration_since(began).as_secs()
}

/// A tenth more or less, so that sessions which began together do not report together for ever.
fn jittered(interval: Duration, spread: u8) -> Duration {
    let tenth = interval / 10;
    interval.saturating_sub(tenth) + tenth * 2 * u32::from(spread) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn account(interim: Option<Duration>) -> Account {
        Account {
            session: "a".into(),
            base: [44, 3, b'a'].as_slice().into(),
            interim,
        }
    }

    fn usage(octets: u64) -> Usage {
        Usage {
            up_octets: octets,
            up_packets: 1,
            ..Usage::default()
        }
    }

    #[test]
    fn interims_come_at_their_interval_a_tenth_more_or_less() {
        let start = Instant::now();
        for (spread, first) in [(0, 54), (255, 66)] {
            let mut sessions = Sessions::new(start);
            let activity = Arc::new(Activity::default());
            let begun = (start, 1_000);
            let opened = sessions.open(
                1,
                account(Some(MINUTE)),
                Arc::clone(&activity),
                begun,
                spread,
            );
            assert_eq!((opened.status, opened.at), (Status::Start, 1_000));
            activity.add_up(1, 77, 1);
            let at = |seconds| start + Duration::from_secs(seconds);
            assert!(sessions.interims(at(first - 1), 0, || spread).is_empty());
            let due = sessions.interims(at(first), 1_000 + first, || 255);
            assert_eq!(due.len(), 1);
            assert_eq!((due[0].status, due[0].elapsed), (Status::Interim, first));
            assert_eq!(due[0].usage, usage(77));
            assert!(sessions.interims(at(first + 65), 0, || 0).is_empty());
            assert_eq!(sessions.interims(at(first + 66), 0, || 0).len(), 1);
            sessions.close(at(first + 67), 1, 1, 0, 0);
            assert!(sessions.interims(at(100_000), 0, || 0).is_empty());
        }
    }

    #[test]
    fn a_stop_is_made_when_nobody_counts_any_more_or_after_a_while() {
        let start = Instant::now();
        let mut sessions = Sessions::new(start);
        let (first, second) = (Arc::<Activity>::default(), Arc::<Activity>::default());
        for (ticket, activity) in [(1, &first), (2, &second)] {
            let begun = (start, 0);
            sessions.open(ticket, account(None), Arc::clone(activity), begun, 0);
            sessions.close(start, ticket, 4, 50, 40);
        }
        assert!(sessions.settled(start).is_empty());
        first.add_up(1, 9, 1);
        drop(first);
        let settled = sessions.settled(start);
        assert_eq!(settled.len(), 1);
        assert_eq!(settled[0].status, Status::Stop { cause: 4 });
        assert_eq!((settled[0].at, settled[0].elapsed), (50, 40));
        assert_eq!(settled[0].usage, usage(9));
        second.add_up(1, 5, 1);
        let late = sessions.settled(start + SETTLES_WITHIN);
        assert_eq!(late[0].usage, usage(5));
        assert!(!sessions.is_settling());
        // A second end of the same session is none.
        sessions.close(start, 2, 1, 0, 0);
        assert!(!sessions.is_settling());
    }

    #[test]
    fn counters_are_written_every_quarter_of_a_minute() {
        let start = Instant::now();
        let mut sessions = Sessions::new(start);
        let activity = Arc::<Activity>::default();
        sessions.open(1, account(None), Arc::clone(&activity), (start, 0), 0);
        activity.add_up(1, 9, 1);
        assert_eq!(sessions.next(), start + CHECKPOINT);
        assert!(sessions.checkpoint(start, 0).is_empty());
        let written = sessions.checkpoint(start + CHECKPOINT, 15);
        let moment = Moment {
            at: 15,
            elapsed: 15,
            usage: usage(9),
        };
        assert_eq!(written, [Entry::Counted("a".into(), moment)]);
        assert_eq!(sessions.next(), start + CHECKPOINT * 2);
        let described = sessions.describe(start + CHECKPOINT, 15);
        let base = account(None).base;
        assert_eq!(described, [Entry::Open("a".into(), moment, base)]);
    }
}
