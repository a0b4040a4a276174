//! `[limits]`: how much, how many, how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::session::TableLimits;

use super::report::Report;
use super::value::{Text, Time};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    sessions: usize,
    sessions_per_user: usize,
    session_timeout: Text<Time>,
    idle_timeout: Text<Time>,
    devices_per_user: usize,
    pending_auth: usize,
    new_per_second: u32,
}

impl Default for File {
    fn default() -> Self {
        Self {
            sessions: 1000,
            sessions_per_user: 2,
            session_timeout: Time::seconds(12 * 3600),
            idle_timeout: Time::seconds(0),
            devices_per_user: 5,
            pending_auth: 5000,
            new_per_second: 200,
        }
    }
}

/// How much, how many, how long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Sessions and pending log-ins.
    pub table: TableLimits,
    /// How long a session lasts unless RADIUS says otherwise.
    pub session_timeout: Option<Duration>,
    /// How long a session may be idle unless RADIUS says otherwise.
    pub idle_timeout: Option<Duration>,
    /// Enrolled Mobility devices of one user.
    pub devices_per_user: usize,
    /// New connections a second that work is done for.
    pub new_per_second: u32,
}

pub(super) fn check(file: File, report: &mut Report) -> Limits {
    let File {
        sessions,
        sessions_per_user,
        session_timeout,
        idle_timeout,
        devices_per_user,
        pending_auth,
        new_per_second,
    } = file;
    let counts = [
        ("limits.sessions", sessions),
        ("limits.sessions_per_user", sessions_per_user),
        ("limits.pending_auth", pending_auth),
        (
            "limits.new_per_second",
            usize::try_from(new_per_second).unwrap_or(usize::MAX),
        ),
    ];
    for (path, _) in counts.into_iter().filter(|(_, count)| *count == 0) {
        report
            .error("E0203", path, "a limit of zero lets nobody in")
            .label("at least 1")
            .help("to let nobody in for a while, use `causeway drain`");
    }
    Limits {
        table: TableLimits {
            sessions,
            per_user: sessions_per_user,
            pending: pending_auth,
        },
        session_timeout: session_timeout.limit(),
        idle_timeout: idle_timeout.limit(),
        devices_per_user,
        new_per_second,
    }
}
