//! `[log]`: what is written down.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use super::report::Report;

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    format: LogFormat,
    level: String,
    user_names: UserNames,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// The journal if it listens, else JSON without a terminal, else text.
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
    /// `key=value`.
    Logfmt,
}

/// How users are named.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UserNames {
    /// As they are.
    Plain,
    /// By a keyed hash.
    Hash,
}

impl Default for File {
    fn default() -> Self {
        Self {
            format: LogFormat::Auto,
            level: "info".into(),
            user_names: UserNames::Plain,
        }
    }
}

/// What is written down.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// What is written, by target: `info,causeway::radius=debug`.
    pub level: String,
    /// How users are named.
    pub user_names: UserNames,
}

pub(super) fn check(file: File, report: &mut Report) -> Log {
    let File {
        format,
        level,
        user_names,
    } = file;
    if let Err(error) = EnvFilter::try_new(&level) {
        report
            .error("E0203", "log.level", "not a level")
            .label("as \"info\" or \"info,causeway::radius=debug\"")
            .note(error.to_string());
    }
    Log {
        format,
        level,
        user_names,
    }
}
