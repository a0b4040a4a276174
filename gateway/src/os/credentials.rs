//! Secrets by reference: a file, a systemd credential, or an environment variable; never the configuration itself.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use causeway_proto::crypto::SecretBytes;
use ring::rand::{SecureRandom as _, SystemRandom};
use thiserror::Error;
use zeroize::Zeroizing;

/// The largest secret: a chain of certificates with its key fits many times.
const LARGEST: u64 = 64 * 1024;

/// Where a secret is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum SecretRef {
    /// In a file that only its owner may read.
    File(PathBuf),
    /// In `$CREDENTIALS_DIRECTORY` under this name (`LoadCredential=` of systemd).
    Credential(String),
    /// In an environment variable.
    Env(String),
    /// Known to everybody, because a standard says so.
    Known(&'static str),
}

/// Why a secret could not be had.
#[derive(Debug, Error)]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("{}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read the file.
    #[error("{} has mode {mode:04o}; wanted is 0600", path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file belongs to somebody else.
    #[error("{} belongs to uid {owner}; wanted is root or the uid of the gateway", path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Not a plain file, or larger than any secret.
    #[error("{} is no plain file of at most 64 KiB", path.display())]
    NoPlainFile {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing in it.
    #[error("{0} is empty")]
    Empty(SecretRef),
    /// systemd has passed no credentials.
    #[error("there is no systemd credential {0:?}: no LoadCredential= for it in the unit")]
    NoCredential(String),
    /// What is in the file is not what it should be.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The variable is not set.
    #[error("the environment variable {0} is not set")]
    NoVariable(String),
    /// No key can be made.
    #[error("the operating system gives no randomness")]
    NoRandomness,
}

impl SecretRef {
    /// Reads `credential:NAME`, `env:NAME`, or else a path; `None` when the name is empty or would leave its folder.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |name: &str| {
            let fits = name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
            fits && !matches!(name, "" | "." | "..")
        };
        if let Some(name) = text.strip_prefix("credential:") {
            plain(name).then(|| Self::Credential(name.to_owned()))
        } else if let Some(name) = text.strip_prefix("env:") {
            plain(name).then(|| Self::Env(name.to_owned()))
        } else {
            (!text.is_empty()).then(|| Self::File(text.into()))
        }
    }

    /// Returns the secret without the line ends behind it.
    ///
    /// # Errors
    ///
    /// When it is not there, empty, or in a file that others may read.
    pub fn read(&self) -> Result<SecretBytes, CredentialError> {
        let secret = match self {
            Self::File(path) => read_private(path)?,
            Self::Credential(name) => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY")
                    .ok_or_else(|| CredentialError::NoCredential(name.clone()))?;
                // The folder is systemd's and private; the modes in it are systemd's too (0440 with an ACL).
                let path = Path::new(&folder).join(name);
                let file = open(&path)?;
                read_all(file, &path)?
            }
            Self::Env(name) => {
                use std::os::unix::ffi::OsStringExt as _;
                let value = std::env::var_os(name)
                    .ok_or_else(|| CredentialError::NoVariable(name.clone()))?;
                Zeroizing::new(value.into_vec())
            }
            Self::Known(text) => Zeroizing::new(text.as_bytes().to_vec()),
        };
        let end = secret
            .iter()
            .rposition(|b| !matches!(b, b'\n' | b'\r'))
            .map_or(0, |last| last + 1);
        let trimmed = secret.get(..end).unwrap_or_default();
        if trimmed.is_empty() {
            return Err(CredentialError::Empty(self.clone()));
        }
        Ok(SecretBytes::from(trimmed))
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Known(text) => write!(f, "{text:?}"),
        }
    }
}

/// The user that this process becomes, once that is known; root until then.
static LATER: AtomicU32 = AtomicU32::new(0);

/// Says which user this process will become: root then takes secrets of that user as its own. Does nothing for others.
pub fn will_be(user: &str) {
    if let Ok(Some(user)) = nix::unistd::User::from_name(user)
        && nix::unistd::geteuid().is_root()
    {
        LATER.store(user.uid.as_raw(), Ordering::Relaxed);
    }
}

/// Reads a file that must be its owner's alone, whose owner must be root, we, or whom we become; the file is checked through the
/// descriptor that is read, so it cannot be changed in between.
///
/// # Errors
///
/// When it is not, or cannot be read.
pub fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    let file = open(path)?;
    let metadata = file
        .metadata()
        .map_err(|source| CredentialError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(CredentialError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    let owner = metadata.uid();
    let ours = [
        0,
        nix::unistd::geteuid().as_raw(),
        LATER.load(Ordering::Relaxed),
    ];
    if !ours.contains(&owner) {
        return Err(CredentialError::ForeignOwner {
            path: path.to_owned(),
            owner,
        });
    }
    read_all(file, path)
}

/// Writes a new file that is its owner's alone.
///
/// # Errors
///
/// When there is something of that name, or it cannot be written; then nothing is left behind.
pub fn write_private(path: &Path, secret: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file.write_all(secret).and_then(|()| file.sync_all());
    if written.is_err() {
        // The error that counts is the first one.
        drop(std::fs::remove_file(path));
    }
    written
}

/// Returns 32 octets that nobody can guess, for a new key.
///
/// # Errors
///
/// When the operating system gives none.
pub fn random() -> Result<Zeroizing<[u8; 32]>, CredentialError> {
    let mut octets = Zeroizing::new([0; 32]);
    SystemRandom::new()
        .fill(octets.as_mut_slice())
        .map_err(|_| CredentialError::NoRandomness)?;
    Ok(octets)
}

fn open(path: &Path) -> Result<File, CredentialError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // Without O_NONBLOCK a FIFO in the place of the file would hold the start up for ever.
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)
        .map_err(|source| CredentialError::Unreadable {
            path: path.to_owned(),
            source,
        })
}

fn read_all(file: File, path: &Path) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    let unreadable = |source| CredentialError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(CredentialError::NoPlainFile {
            path: path.to_owned(),
        });
    }
    let size = usize::try_from(metadata.len()).unwrap_or_default();
    // Room for all of it, so that no reallocation leaves a copy behind.
    let mut secret = Zeroizing::new(Vec::with_capacity(size + 1));
    file.take(LARGEST)
        .read_to_end(&mut secret)
        .map_err(unreadable)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::fs::PermissionsExt;

    fn file(folder: &Path, content: &[u8], mode: u32) -> SecretRef {
        let path = folder.join("secret");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        SecretRef::File(path)
    }

    #[test]
    fn a_private_file_is_read_without_its_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let secret = file(folder.path(), b"s3 cret\r\n", 0o600);
        assert_eq!(secret.read().unwrap().expose(), b"s3 cret");
        let secret = file(folder.path(), b"\n\n", 0o600);
        assert!(matches!(secret.read(), Err(CredentialError::Empty(_))));
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_with_path_and_wanted_mode() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o644, 0o640, 0o604, 0o620, 0o601] {
            let secret = file(folder.path(), b"s", mode);
            let error = secret.read().unwrap_err().to_string();
            let path = folder.path().join("secret");
            assert_eq!(
                error,
                format!("{} has mode {mode:04o}; wanted is 0600", path.display())
            );
        }
    }

    #[test]
    #[ignore = "needs root: gives a file away"]
    fn root_takes_the_secrets_of_whom_it_becomes() {
        let folder = tempfile::tempdir().unwrap();
        let secret = file(folder.path(), b"s", 0o600);
        let give = |uid| std::os::unix::fs::chown(folder.path().join("secret"), Some(uid), None);
        give(65_534).unwrap();
        let refused = secret.read();
        assert!(matches!(
            refused,
            Err(CredentialError::ForeignOwner { owner: 65_534, .. })
        ));
        will_be("nobody");
        assert_eq!(secret.read().unwrap().expose(), b"s");
        give(54_321).unwrap();
        assert!(secret.read().is_err());
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(matches!(
            SecretRef::File(fifo).read(),
            Err(CredentialError::NoPlainFile { .. })
        ));
        assert!(matches!(
            SecretRef::File("/nonexistent/x".into()).read(),
            Err(CredentialError::Unreadable { .. })
        ));
        assert!(
            SecretRef::Env("CAUSEWAY_TEST_NOT_SET".into())
                .read()
                .is_err()
        );
    }

    #[test]
    fn a_reference_cannot_leave_its_folder() {
        assert_eq!(
            SecretRef::parse("credential:mobility.key"),
            Some(SecretRef::Credential("mobility.key".into()))
        );
        assert_eq!(SecretRef::parse("env:X"), Some(SecretRef::Env("X".into())));
        assert_eq!(SecretRef::parse("/x"), Some(SecretRef::File("/x".into())));
        for bad in ["", "credential:", "credential:..", "credential:a/b", "env:"] {
            assert_eq!(SecretRef::parse(bad), None, "{bad}");
        }
    }
}
