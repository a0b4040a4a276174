//! The log: one event a line, the message a sentence, the facts fields.
//!
//! Whatever a stranger put into a field leaves as data: control characters are escaped in every format, `user.name` is
//! hashed when the configuration says so, a repeated line is held back and counted. The writer never makes an
//! event wait: when its pipe is full, events are dropped and counted.

use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

mod fields;
mod format;
mod layer;
mod limit;
#[cfg(test)]
mod tests;
mod writer;

pub use writer::Guard;

use layer::LogLayer;
use writer::Sink;

/// How the log is written.
#[derive(Clone, Debug)]
pub struct Config {
    /// In which form.
    pub format: Format,
    /// What is worth a line, by target: `info,causeway::radius=debug`.
    pub level: String,
    /// How users appear.
    pub user_names: UserNames,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            format: Format::Auto,
            level: "info".to_owned(),
            user_names: UserNames::Plain,
        }
    }
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// The journal's own under systemd, text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
    /// `key=value` pairs.
    Logfmt,
}

impl FromStr for Format {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "logfmt" => Ok(Self::Logfmt),
            _ => Err(UnknownWord),
        }
    }
}

/// How users appear in the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UserNames {
    /// As they are.
    Plain,
    /// As a hash with a key that this process alone knows: lines of one user can be told to belong together.
    Hash,
}

impl FromStr for UserNames {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "plain" => Ok(Self::Plain),
            "hash" => Ok(Self::Hash),
            _ => Err(UnknownWord),
        }
    }
}

/// The word is none of those that are known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown word")]
pub struct UnknownWord;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level cannot be understood.
    #[error("the level is not understood")]
    Level(#[from] ParseError),
    /// The process already has a log.
    #[error("the process already has a log")]
    Taken(#[from] SetGlobalDefaultError),
    /// The writer's thread or socket could not be had.
    #[error("the log cannot be written")]
    Writer(#[from] io::Error),
}

/// Starts the log of this process; what is queued is written when the guard is dropped.
///
/// # Errors
///
/// When the level is not understood or the process already has a log.
pub fn install(config: &Config) -> Result<Guard, LogError> {
    let filter = EnvFilter::try_new(&config.level)?;
    let (sink, form) = destination(config.format);
    let (writer, guard) = writer::spawn(sink)?;
    let layer = LogLayer::new(form, config.user_names, writer);
    tracing::subscriber::set_global_default(Registry::default().with(filter).with(layer))?;
    Ok(guard)
}

/// Chooses where the lines go and in which form.
fn destination(format: Format) -> (Sink, format::Form) {
    let form = match format {
        Format::Auto if std::env::var_os("JOURNAL_STREAM").is_some() => {
            if let Ok(journal) = Sink::journal() {
                return (journal, format::Form::Journal);
            }
            format::Form::Json
        }
        Format::Auto if io::stderr().is_terminal() => format::Form::Text,
        Format::Auto | Format::Json => format::Form::Json,
        Format::Text => format::Form::Text,
        Format::Logfmt => format::Form::Logfmt,
    };
    (Sink::stderr(), form)
}
