//! `net.ipv4.ip_forward`, put back on exit, and by the next start after an exit that could not.
//!
//! Before the value is changed, the former one is written to a state file together with the boot and the network
//! namespace that it belongs to. Whoever finds a record of this boot and namespace knows that the value of now is ours.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

const SWITCH: &str = "/proc/sys/net/ipv4/ip_forward";

/// Where the former value is kept unless somebody says otherwise: not in `/run`, which systemd empties when a unit dies.
pub const STATE_FILE: &str = "/var/lib/causeway/ip_forward.former";

/// Why forwarding could not be turned on.
#[derive(Debug, Error)]
pub enum ForwardingError {
    /// This process may not, and it is off.
    #[error("net.ipv4.ip_forward is 0 and this process may not set it")]
    NotPermitted,
    /// The value could not be read or written.
    #[error("{SWITCH}")]
    Switch(#[source] io::Error),
    /// The former value could not be kept, so nothing was changed.
    #[error("{}", path.display())]
    State {
        /// The state file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ForwardingError {
    /// Returns the number under which `causeway explain` knows the error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "E0803"
    }
}

/// Forwarding is on for as long as this lives.
#[derive(Debug)]
#[must_use]
pub struct Forwarding {
    /// Where the former value is kept; `None` when it was on already.
    changed: Option<PathBuf>,
}

impl Forwarding {
    /// Turns forwarding on, keeping the former value in `state`.
    ///
    /// # Errors
    ///
    /// [`ForwardingError::NotPermitted`] when it is off and this process may not change that: worth a warning, since
    /// the administrator can.
    pub fn enable(state: &Path) -> Result<Self, ForwardingError> {
        // A record of a run that was killed: its former value is still the one to go back to.
        let inherited = Record::read(state).is_some_and(|record| record.is_of_now());
        let is_on = read_switch()? == Value::On;
        if is_on {
            return Ok(Self {
                changed: inherited.then(|| state.to_owned()),
            });
        }
        let record = Record {
            former: Value::Off,
            era: era(),
        };
        record
            .write(state)
            .map_err(|source| ForwardingError::State {
                path: state.to_owned(),
                source,
            })?;
        match write_switch(Value::On) {
            Ok(()) => Ok(Self {
                changed: Some(state.to_owned()),
            }),
            Err(error) => {
                forget(state);
                Err(match error.raw_os_error() {
                    Some(libc::EACCES | libc::EPERM | libc::EROFS) => ForwardingError::NotPermitted,
                    _ => ForwardingError::Switch(error),
                })
            }
        }
    }

    /// Undoes what a killed run left, for a start that does not manage forwarding; returns whether there was something.
    ///
    /// # Errors
    ///
    /// When the value could not be put back.
    pub fn recover(state: &Path) -> Result<bool, ForwardingError> {
        let Some(record) = Record::read(state) else {
            return Ok(false);
        };
        let ours = record.is_of_now() && read_switch()? == Value::On;
        if ours {
            write_switch(record.former).map_err(ForwardingError::Switch)?;
        }
        forget(state);
        Ok(ours)
    }

    /// Returns whether forwarding was off before.
    #[must_use]
    pub const fn was_changed(&self) -> bool {
        self.changed.is_some()
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        if let Some(state) = &self.changed
            && let Err(error) = Self::recover(state)
        {
            tracing::warn!(%error, "net.ipv4.ip_forward is still on; the next start puts it back");
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Value {
    Off,
    On,
}

impl Value {
    const fn text(self) -> &'static str {
        match self {
            Self::Off => "0",
            Self::On => "1",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "0" => Some(Self::Off),
            "1" => Some(Self::On),
            _ => None,
        }
    }
}

/// The line of the state file: the former value, and when and where it was one.
struct Record {
    former: Value,
    era: String,
}

impl Record {
    fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let (former, era) = text.trim().split_once(' ')?;
        Some(Self {
            former: Value::parse(former)?,
            era: era.to_owned(),
        })
    }

    /// Written aside and renamed, so that a crash leaves the whole record or none.
    fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let aside = path.with_extension("new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&aside)?;
        writeln!(file, "{} {}", self.former.text(), self.era)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    }

    fn is_of_now(&self) -> bool {
        self.era == era()
    }
}

/// Names this boot and this network namespace.
fn era() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::metadata("/proc/thread-self/ns/net").map_or(0, |meta| meta.ino());
    format!("{} {namespace}", boot.trim())
}

fn read_switch() -> Result<Value, ForwardingError> {
    let text = fs::read_to_string(SWITCH).map_err(ForwardingError::Switch)?;
    Value::parse(&text).ok_or_else(|| ForwardingError::Switch(io::ErrorKind::InvalidData.into()))
}

fn write_switch(value: Value) -> io::Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .open(SWITCH)?
        .write_all(value.text().as_bytes())
}

fn forget(state: &Path) {
    if let Err(error) = fs::remove_file(state) {
        tracing::debug!(%error, path = %state.display(), "the record of ip_forward stays");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::os::testing;

    #[test]
    #[ignore = "needs root: makes a network namespace and sets ip_forward in it"]
    #[expect(clippy::mem_forget, reason = "what a killed process does")]
    fn the_former_value_comes_back_on_exit_and_after_a_kill() {
        testing::in_namespace(|| {
            let folder = tempfile::tempdir().unwrap();
            let state = folder.path().join("state/forwarding");
            write_switch(Value::Off).unwrap();

            let first = Forwarding::enable(&state).unwrap();
            assert!(first.was_changed());
            assert_eq!(read_switch().unwrap(), Value::On);
            drop(first);
            assert_eq!(read_switch().unwrap(), Value::Off);
            assert!(!state.exists());

            // Killed: nothing runs that could put it back.
            std::mem::forget(Forwarding::enable(&state).unwrap());
            assert_eq!(read_switch().unwrap(), Value::On);
            let second = Forwarding::enable(&state).unwrap();
            assert!(second.was_changed());
            drop(second);
            assert_eq!(read_switch().unwrap(), Value::Off);

            std::mem::forget(Forwarding::enable(&state).unwrap());
            assert!(Forwarding::recover(&state).unwrap());
            assert_eq!(read_switch().unwrap(), Value::Off);
            assert!(!Forwarding::recover(&state).unwrap());
        });
    }

    #[test]
    #[ignore = "needs root: makes a network namespace and sets ip_forward in it"]
    fn a_value_that_was_on_stays_on() {
        testing::in_namespace(|| {
            let folder = tempfile::tempdir().unwrap();
            let state = folder.path().join("forwarding");
            write_switch(Value::On).unwrap();
            let forwarding = Forwarding::enable(&state).unwrap();
            assert!(!forwarding.was_changed());
            drop(forwarding);
            assert_eq!(read_switch().unwrap(), Value::On);

            // A record of another boot says nothing about this one.
            fs::write(&state, "0 another-boot 1\n").unwrap();
            drop(Forwarding::enable(&state).unwrap());
            assert_eq!(read_switch().unwrap(), Value::On);
            assert!(!Forwarding::recover(&state).unwrap());
            assert_eq!(read_switch().unwrap(), Value::On);
        });
    }
}
