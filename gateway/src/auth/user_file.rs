//! The user file on disk: its form, who may read it, and how it is written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use causeway_proto::aaa::Identity;
use causeway_proto::mschapv2::NtHash;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

/// The largest file that is read: some 40,000 users.
const MAX_SIZE: u64 = 4 << 20;
/// The permissions that the file may have.
const MODE: u32 = 0o600;

/// Why the user file cannot be used.
#[derive(Debug, Error)]
pub enum UserFileError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no plain file, or larger than any user file.
    #[error("{} is no user file", path.display())]
    NoFile {
        /// Where it is.
        path: PathBuf,
    },
    /// Others may read or change it; what is in it is as good as passwords.
    #[error("{} has mode {mode:04o}, which must be 0600 (chmod 600 {})", path.display(), path.display())]
    Mode {
        /// Where it is.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It belongs to somebody else, who can change it.
    #[error("{} belongs to user {owner}, who is neither root nor the gateway", path.display())]
    Owner {
        /// Where it is.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// It is no TOML, or not of this form.
    #[error("{}: {message}", path.display())]
    Form {
        /// Where it is.
        path: PathBuf,
        /// What is wrong, without the line's text, which may hold a hash.
        message: String,
        /// Where in the file, in octets.
        span: Option<core::ops::Range<usize>>,
    },
    /// A hash is no 32 hexadecimal digits.
    #[error("nt_hash of {name:?} must be 32 hexadecimal digits")]
    Hash {
        /// Whose.
        name: String,
    },
    /// A name is empty, too long, or has characters that no name has.
    #[error("{name:?} is no user name")]
    Name {
        /// The name.
        name: String,
    },
    /// A password is empty.
    #[error("{name:?} must have a password")]
    NoPassword {
        /// Whose.
        name: String,
    },
    /// A name stands twice.
    #[error("{name:?} stands twice")]
    Duplicate {
        /// The name.
        name: String,
    },
}

/// The file.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    #[serde(default)]
    pub(super) user: Vec<Entry>,
}

/// One `[[user]]`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) name: String,
    nt_hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pool: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) filter: Option<String>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.nt_hash);
    }
}

impl Entry {
    pub(super) fn new(name: &str, hash: &NtHash) -> Self {
        let mut entry = Self {
            name: name.to_owned(),
            nt_hash: String::new(),
            pool: None,
            address: None,
            filter: None,
        };
        entry.set_hash(hash);
        entry
    }

    pub(super) fn set_hash(&mut self, hash: &NtHash) {
        self.nt_hash.clear();
        for octet in hash.expose() {
            for nibble in [octet >> 4, octet & 15] {
                self.nt_hash.extend(char::from_digit(u32::from(nibble), 16));
            }
        }
    }

    pub(super) fn hash(&self) -> Result<NtHash, UserFileError> {
        let bad = || UserFileError::Hash {
            name: self.name.clone(),
        };
        let digits = self.nt_hash.as_bytes();
        if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(bad());
        }
        let number = u128::from_str_radix(&self.nt_hash, 16).map_err(|_| bad())?;
        Ok(NtHash::new(number.to_be_bytes()))
    }

    pub(super) fn identity(&self) -> Result<Identity, UserFileError> {
        Identity::new(self.name.as_bytes())
            .filter(|_| !self.name.chars().any(char::is_control))
            .ok_or_else(|| UserFileError::Name {
                name: self.name.clone(),
            })
    }
}

impl Table {
    /// Reads the text of a user file.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, UserFileError> {
        toml::from_str(text).map_err(|error: toml::de::Error| UserFileError::Form {
            path: path.to_owned(),
            message: error.message().to_owned(),
            span: error.span(),
        })
    }

    /// Returns the text.
    pub(super) fn text(&self, path: &Path) -> Result<Zeroizing<String>, UserFileError> {
        toml::to_string(self)
            .map(Zeroizing::new)
            .map_err(|error| UserFileError::Write {
                path: path.to_owned(),
                source: io::Error::other(error),
            })
    }
}

/// Reads the file, if nobody else can.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, UserFileError> {
    let failed = |source| UserFileError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    // What was opened is asked, not what has that name by now.
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() || metadata.len() > MAX_SIZE {
        return Err(UserFileError::NoFile {
            path: path.to_owned(),
        });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & !MODE != 0 {
        return Err(UserFileError::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    let owner = metadata.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        return Err(UserFileError::Owner {
            path: path.to_owned(),
            owner,
        });
    }
    // The right size at once: growing would leave copies behind that nobody wipes.
    let size = usize::try_from(metadata.len()).unwrap_or(0);
    let mut text = Zeroizing::new(String::with_capacity(size.saturating_add(1)));
    file.take(MAX_SIZE)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}

/// Writes the file: whoever reads it sees the old one or the new one. Its owner stays.
pub(super) fn write(path: &Path, text: &str) -> Result<(), UserFileError> {
    let temporary = temporary(path);
    let written = write_new(path, &temporary, text);
    if written.is_err() {
        // The error that counts is the first one.
        drop(fs::remove_file(&temporary));
    }
    written.map_err(|source| UserFileError::Write {
        path: path.to_owned(),
        source,
    })
}

fn write_new(path: &Path, temporary: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(temporary)?;
    if let Ok(old) = fs::metadata(path) {
        let new = file.metadata()?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(temporary, path)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

/// Returns a name beside the file that no other process uses.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}
