//! The desk sends clients elsewhere, bit by bit.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use causeway_proto::terminate::TerminateCause;
use tracing::info;

use super::Desk;
use crate::control::protocol::Drain;
use crate::observe::health::{Component, Status as Part};
use crate::observe::metrics;
use crate::session::SessionCommand;

/// How far a drain has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum DrainState {
    Serving = 0,
    Notice = 1,
    Disconnecting = 2,
    Drained = 3,
}

impl Desk {
    /// Begins to drain; a second call while one runs changes nothing.
    pub fn begin_drain(self: &Arc<Self>, notice: Duration, over: Duration) {
        if self.drain_state() != DrainState::Serving {
            return;
        }
        self.enter(DrainState::Notice);
        self.health
            .set(Component::Drain, Part::Down("draining".to_owned()));
        let mut number = 0;
        self.drains.send_modify(|current| {
            *current += 1;
            number = *current;
        });
        info!(
            event = "drain",
            notice_s = notice.as_secs(),
            over_s = over.as_secs(),
            sessions = self.table.live(),
            "draining"
        );
        let desk = Arc::clone(self);
        tokio::spawn(async move {
            let mut current = desk.drains.subscribe();
            let run = desk.run_drain(notice, over);
            tokio::select! {
                () = run => {}
                _ = current.wait_for(|current| *current != number) => {}
            }
        });
    }

    async fn run_drain(&self, notice: Duration, over: Duration) {
        tokio::time::sleep(notice).await;
        self.door.close();
        self.admission.set_draining(true);
        self.enter(DrainState::Disconnecting);
        let sessions = self.table.snapshot();
        let pause = over / u32::try_from(sessions.len().max(1)).unwrap_or(u32::MAX);
        for session in sessions {
            self.table
                .command(session.id, SessionCommand::Terminate(TerminateCause::Drain));
            tokio::time::sleep(pause).await;
        }
        // Those that came during the notice, and those that say good-bye slowly.
        for _ in 0..50 {
            if self
                .table
                .command_all(&SessionCommand::Terminate(TerminateCause::Drain))
                == 0
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.enter(DrainState::Drained);
        info!(event = "drain", "drained");
        self.drained.send_replace(true);
    }

    pub(super) fn cancel_drain(&self) {
        self.drains.send_modify(|current| *current += 1);
        self.enter(DrainState::Serving);
        self.drained.send_replace(false);
        self.door.open();
        self.admission.set_draining(false);
        self.health.set(Component::Drain, Part::Ok);
        info!(event = "drain", "drain cancelled");
    }

    /// Waits until a drain has come to its end.
    pub async fn drained(&self) {
        let mut drained = self.drained.subscribe();
        if drained.wait_for(|drained| *drained).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The configured times of a drain.
    #[must_use]
    pub fn drain_times(&self) -> (Duration, Duration) {
        let plan = self.plan();
        (plan.notice, plan.over)
    }

    fn enter(&self, state: DrainState) {
        self.drain.store(state as u8, Ordering::Relaxed);
        let gauge = match state {
            DrainState::Serving => 0,
            DrainState::Notice | DrainState::Disconnecting => 1,
            DrainState::Drained => 2,
        };
        metrics::drain(gauge, if gauge == 1 { self.table.live() } else { 0 });
    }

    pub(super) fn drain_state(&self) -> DrainState {
        match self.drain.load(Ordering::Relaxed) {
            0 => DrainState::Serving,
            1 => DrainState::Notice,
            2 => DrainState::Disconnecting,
            _ => DrainState::Drained,
        }
    }

    pub(super) fn drain_report(&self, notice: Duration, over: Duration) -> Drain {
        let sessions = self.table.live();
        Drain {
            state: match self.drain_state() {
                DrainState::Serving => "serving",
                DrainState::Notice => "notice",
                DrainState::Disconnecting => "disconnecting",
                DrainState::Drained => "drained",
            }
            .to_owned(),
            sessions,
            mfa_prompts: if self.plan().mfa { sessions } else { 0 },
            notice_seconds: notice.as_secs(),
            over_seconds: over.as_secs(),
        }
    }
}
