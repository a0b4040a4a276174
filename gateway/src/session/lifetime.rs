//! Ends sessions whose time is up.
//!
//! Two deadlines a session: from its start (`Session-Timeout`) and since the last user data (`Idle-Timeout`). The idle
//! one is lazy: the packet path only stores the time in its [`Activity`]; when the deadline fires, the task looks
//! there and either ends the session or arms the deadline again for what is left.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_proto::aaa::Limits;
use causeway_proto::activity::Activity;
use causeway_proto::terminate::TerminateCause;
use causeway_proto::timer::Deadlines;

use crate::ids::SessionId;

use super::command::SessionCommand;
use super::record::LimitChange;
use super::table::{Change, Changes, SessionTable};

/// Follows the table until it is gone; `clock_ms` is the clock whose readings the packet path stores in [`Activity`].
pub async fn run(table: Arc<SessionTable>, mut changes: Changes, clock_ms: impl Fn() -> u64) {
    let mut schedule = Schedule::default();
    // The task must not be what keeps the table alive.
    let table = {
        let weak = Arc::downgrade(&table);
        drop(table);
        weak
    };
    loop {
        let change = match schedule.next() {
            None => changes.0.recv().await,
            Some(deadline) => {
                match tokio::time::timeout_at(deadline.into(), changes.0.recv()).await {
                    Ok(change) => change,
                    Err(_elapsed) => {
                        let Some(table) = table.upgrade() else { return };
                        let now = tokio::time::Instant::now().into_std();
                        for (id, cause) in schedule.expired(now, clock_ms()) {
                            table.command(id, SessionCommand::Terminate(cause));
                        }
                        continue;
                    }
                }
            }
        };
        let now = tokio::time::Instant::now().into_std();
        match change {
            None => return,
            Some(Change::Ended(id)) => schedule.forget(id),
            Some(Change::Limits {
                id,
                change,
                activity,
                ending,
            }) => schedule.change(now, clock_ms(), (id, change, activity, ending)),
            Some(Change::Up {
                id,
                limits,
                activity,
                ending,
            }) => schedule.arm(now, clock_ms(), (id, limits, activity, ending)),
        }
    }
}

/// The deadlines of all sessions; knows no clock.
#[derive(Debug, Default)]
struct Schedule {
    deadlines: Deadlines<SessionId>,
    watched: HashMap<SessionId, Watch>,
}

#[derive(Debug)]
struct Watch {
    ends_at: Option<Instant>,
    idle_timeout: Option<Duration>,
    activity: Arc<Activity>,
    /// The packet path's clock when the session came up: idle time begins here, not at that clock's zero.
    began_ms: u64,
    /// The cause when `ends_at` has come.
    ending: TerminateCause,
}

impl Schedule {
    fn arm(
        &mut self,
        now: Instant,
        now_ms: u64,
        (id, limits, activity, ending): (SessionId, Limits, Arc<Activity>, TerminateCause),
    ) {
        let limit = |timeout: Option<Duration>| timeout.filter(|timeout| !timeout.is_zero());
        let watch = Watch {
            ends_at: limit(limits.session_timeout).and_then(|timeout| now.checked_add(timeout)),
            idle_timeout: limit(limits.idle_timeout),
            activity,
            began_ms: now_ms,
            ending,
        };
        self.rearm(now, now_ms, id, watch);
    }

    /// Gives a session other limits; one that had none is watched from now on.
    fn change(
        &mut self,
        now: Instant,
        now_ms: u64,
        (id, change, activity, ending): (SessionId, LimitChange, Arc<Activity>, TerminateCause),
    ) {
        let mut watch = self.watched.remove(&id).unwrap_or(Watch {
            ends_at: None,
            idle_timeout: None,
            activity,
            began_ms: now_ms,
            ending,
        });
        if let Some(timeout) = change.session_timeout {
            watch.ends_at = now.checked_add(timeout);
        }
        if let Some(timeout) = change.idle_timeout {
            watch.idle_timeout = (!timeout.is_zero()).then_some(timeout);
        }
        self.deadlines.stop(id);
        self.rearm(now, now_ms, id, watch);
    }

    fn forget(&mut self, id: SessionId) {
        self.deadlines.stop(id);
        self.watched.remove(&id);
    }

    fn next(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Takes the sessions whose time is up.
    fn expired(&mut self, now: Instant, now_ms: u64) -> Vec<(SessionId, TerminateCause)> {
        let mut ended = Vec::new();
        while let Some(id) = self.deadlines.pop_expired(now) {
            let Some(watch) = self.watched.remove(&id) else {
                continue;
            };
            if watch.ends_at.is_some_and(|at| at <= now) {
                ended.push((id, watch.ending));
            } else if watch.idle_left(now_ms).is_some_and(|left| left.is_zero()) {
                ended.push((id, TerminateCause::IdleTimeout));
            } else {
                self.rearm(now, now_ms, id, watch);
            }
        }
        ended
    }

    fn rearm(&mut self, now: Instant, now_ms: u64, id: SessionId, watch: Watch) {
        let idle_at = watch
            .idle_left(now_ms)
            .and_then(|left| now.checked_add(left));
        if let Some(deadline) = watch.ends_at.into_iter().chain(idle_at).min() {
            self.deadlines.arm(id, deadline);
            self.watched.insert(id, watch);
        }
    }
}

impl Watch {
    /// Returns how long the session may stay idle from now on; `None` without an idle timeout.
    fn idle_left(&self, now_ms: u64) -> Option<Duration> {
        let last = self.activity.last_ms().max(self.began_ms);
        let idle = Duration::from_millis(now_ms.saturating_sub(last));
        Some(self.idle_timeout?.saturating_sub(idle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId::new(1);

    fn schedule(session: u64, idle: u64) -> (Schedule, Instant, Arc<Activity>) {
        let mut schedule = Schedule::default();
        let activity = Arc::new(Activity::default());
        let start = Instant::now();
        let limits = Limits {
            session_timeout: Some(Duration::from_secs(session)),
            idle_timeout: Some(Duration::from_secs(idle)),
        };
        schedule.arm(
            start,
            5_000,
            (
                ID,
                limits,
                Arc::clone(&activity),
                TerminateCause::SessionTimeout,
            ),
        );
        (schedule, start, activity)
    }

    /// The two clocks at `seconds` after the start.
    fn at(start: Instant, seconds: u64) -> (Instant, u64) {
        (start + Duration::from_secs(seconds), 5_000 + seconds * 1000)
    }

    #[test]
    fn a_session_ends_at_its_session_timeout_whatever_flows() {
        let (mut schedule, start, activity) = schedule(100, 0);
        activity.add_up(1, 1, at(start, 99).1);
        let (now, ms) = at(start, 99);
        assert_eq!(schedule.expired(now, ms), []);
        assert_eq!(schedule.next(), Some(at(start, 100).0));
        let (now, ms) = at(start, 100);
        assert_eq!(
            schedule.expired(now, ms),
            [(ID, TerminateCause::SessionTimeout)]
        );
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn an_idle_session_ends_and_one_with_traffic_does_not() {
        let (mut schedule, start, activity) = schedule(0, 60);
        assert_eq!(schedule.next(), Some(at(start, 60).0));
        activity.add_down(1, 1, at(start, 50).1);
        let (now, ms) = at(start, 60);
        assert_eq!(schedule.expired(now, ms), []);
        assert_eq!(schedule.next(), Some(at(start, 110).0));
        let (now, ms) = at(start, 110);
        assert_eq!(
            schedule.expired(now, ms),
            [(ID, TerminateCause::IdleTimeout)]
        );
    }

    #[test]
    fn a_session_without_limits_costs_nothing() {
        let (schedule, ..) = schedule(0, 0);
        assert_eq!(schedule.next(), None);
        assert!(schedule.watched.is_empty());
    }

    #[test]
    fn other_limits_hold_from_now_on() {
        let (mut schedule, start, activity) = schedule(0, 0);
        let (now, ms) = at(start, 50);
        let change = |session, idle| LimitChange {
            session_timeout: Option::map(session, Duration::from_secs),
            idle_timeout: Option::map(idle, Duration::from_secs),
        };
        let give = |schedule: &mut Schedule, change| {
            schedule.change(
                now,
                ms,
                (
                    ID,
                    change,
                    Arc::clone(&activity),
                    TerminateCause::SessionTimeout,
                ),
            );
        };
        give(&mut schedule, change(Some(100), None));
        assert_eq!(schedule.next(), Some(at(start, 150).0));
        give(&mut schedule, change(None, Some(30)));
        assert_eq!(schedule.next(), Some(at(start, 80).0));
        give(&mut schedule, change(None, Some(0)));
        assert_eq!(schedule.next(), Some(at(start, 150).0));
        give(&mut schedule, change(Some(u64::MAX), None));
        assert_eq!(schedule.next(), None, "for ever");
        give(&mut schedule, change(Some(10), None));
        let (now, ms) = at(start, 60);
        assert_eq!(
            schedule.expired(now, ms),
            [(ID, TerminateCause::SessionTimeout)]
        );
    }

    #[test]
    fn an_ended_session_is_forgotten() {
        let (mut schedule, start, _) = schedule(100, 60);
        schedule.forget(ID);
        let (now, ms) = at(start, 200);
        assert_eq!(schedule.expired(now, ms), []);
        assert!(schedule.watched.is_empty());
    }
}
