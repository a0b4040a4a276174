//! `[drain]`: how the gateway empties itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::value::{Text, Time};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    on_sigterm: Text<Time>,
    notice: Text<Time>,
    disconnect: DrainDisconnect,
    azure_scheduled_events: Vec<ScheduledEvent>,
}

/// When sessions are ended while the gateway drains.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainDisconnect {
    /// Spread over the time that is left after the notice.
    Spread,
    /// Not at all.
    None,
    /// All at the end.
    AtEnd,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
enum ScheduledEvent {
    Reboot,
    Redeploy,
    Freeze,
    Preempt,
    Terminate,
}

impl Default for File {
    fn default() -> Self {
        Self {
            on_sigterm: Time::seconds(300),
            notice: Time::seconds(80),
            disconnect: DrainDisconnect::Spread,
            azure_scheduled_events: vec![
                ScheduledEvent::Reboot,
                ScheduledEvent::Redeploy,
                ScheduledEvent::Preempt,
                ScheduledEvent::Terminate,
            ],
        }
    }
}

/// How the gateway empties itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Drain {
    /// How long it takes after SIGTERM.
    pub on_sigterm: Duration,
    /// How long the probe fails before a session is touched.
    pub notice: Duration,
    /// When sessions are ended.
    pub disconnect: DrainDisconnect,
}

pub(super) fn check(file: File) -> Drain {
    let File {
        on_sigterm,
        notice,
        disconnect,
        azure_scheduled_events: _,
    } = file;
    Drain {
        on_sigterm: on_sigterm.duration(),
        notice: notice.duration(),
        disconnect,
    }
}
