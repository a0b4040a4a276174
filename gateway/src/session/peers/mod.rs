//! The devices that are enrolled for the Mobility tunnel: whose they are, what they may do, until when, and their address.
//!
//! A log-in, or an administrator, enrols a device's public key; from then on its handshakes are let in without asking
//! anybody, until the enrolment expires. Each device has an inner address of its own, which nobody else gets until the
//! device is removed or has been expired for longer than `persist`.
//!
//! [`Peers`] is the register: everything in memory, behind one lock that no packet takes. [`Keeper`] is the task that
//! writes it down, batched, in one file that is replaced whole; who must know that something is on disk waits for
//! [`Peers::saved`]. Private keys of devices are never here.
//!
//! Times are those of [`now`], which no step of the machine's clock moves.

mod allowed;
mod books;
mod clock;
mod disk;
mod form;
mod keeper;
mod peer;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use causeway_proto::aaa::{AuthMethod, Authorization, Identity};
use causeway_proto::terminate::TerminateCause;
use causeway_proto::wireguard::{PeerId, PresharedKey, PublicKey};
use thiserror::Error;
use tokio::sync::{Notify, mpsc, watch};

use super::pool::{LeaseError, Pools};
use books::Books;
pub use clock::now;
pub use keeper::Keeper;
use keeper::Written;
pub use peer::{Origin, Peer};

/// The longest name of a device, in octets.
pub const MAX_NAME: usize = 64;

/// Who may enrol what, and for how long.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// How many devices a user may have, not counting those that have expired.
    pub devices_per_user: usize,
    /// How many devices there may be.
    pub devices: usize,
    /// The pool for devices of which nothing else is said; `None` is the gateway's first.
    pub pool: Option<String>,
    /// Whether `Framed-IP-Address` is honoured.
    pub framed_ip: bool,
    /// How long a log-in lasts at most; `None` is for ever.
    pub reauth: Option<Duration>,
    /// How long a device that has expired keeps its address.
    pub persist: Duration,
    /// The gateway's own key, which no device can have.
    pub own: Option<PublicKey>,
}

/// A device that is to be enrolled.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// What it is called.
    pub name: String,
    /// Its public key.
    pub key: PublicKey,
    /// A secret besides the keys; a device that is renewed without one keeps what it has.
    pub preshared_key: Option<PresharedKey>,
    /// Whose it is and what its sessions may do; proof and keys are not kept.
    pub authorization: Authorization,
    /// How the user logged in.
    pub method: Option<AuthMethod>,
    /// Who enrols it.
    pub origin: Origin,
    /// How long it may have sessions. For a log-in, the least of this, `reauth` and Session-Timeout counts.
    pub lifetime: Option<Duration>,
}

/// Why a device was not enrolled.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum EnrolError {
    /// The key is that of another user's device.
    #[error("the key belongs to another user's device")]
    KeyOfAnother,
    /// No handshake with this key can succeed, or it is the gateway's own.
    #[error("the key cannot be a device's")]
    BadKey,
    /// The name is empty, too long, or has characters that no name has.
    #[error("a device's name is 1 to {MAX_NAME} octets without control characters")]
    BadName,
    /// An administrator gave a name that a device of this user has.
    #[error("the user has a device of that name")]
    NameTaken,
    /// The user has as many devices as one may have.
    #[error("the user has {0} devices, as many as one may have")]
    TooManyDevices(usize),
    /// There are as many devices as there may be.
    #[error("the gateway has as many devices as it may have")]
    Full,
    /// The log-in is good for no time at all.
    #[error("the log-in is good for no time at all (Session-Timeout)")]
    NoTime,
    /// There is no address for it.
    #[error("there is no address for the device")]
    NoAddress(#[from] LeaseError),
}

/// Why a device was not found.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum FindError {
    /// There is none of that key, name or id.
    #[error("there is no such device")]
    Unknown,
    /// Devices of several users have the name.
    #[error("devices of several users are called that: {}", list(.0))]
    Ambiguous(Vec<PeerId>),
}

/// Why the register cannot be opened.
#[derive(Debug, Error)]
pub enum PeersError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no plain file, or larger than any such file.
    #[error("{} is no file of enrolled devices", path.display())]
    NoFile {
        /// Where it is.
        path: PathBuf,
    },
    /// Others may read it; there may be pre-shared keys in it.
    #[error("{} has mode {mode:04o}, which must be 0600 (chmod 600 {})", path.display(), path.display())]
    Mode {
        /// Where it is.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is not what the gateway wrote.
    #[error("{}:{line}: {message}", path.display())]
    Form {
        /// Where it is.
        path: PathBuf,
        /// In which line.
        line: usize,
        /// What is wrong.
        message: String,
    },
}

impl PeersError {
    /// Returns the number under which `causeway explain` knows the error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "E0706"
    }
}

/// Why what was changed is not on disk.
#[derive(Clone, Debug, Error)]
pub enum SaveError {
    /// The file could not be written; it is tried again.
    #[error("cannot write {}: {message}", path.display())]
    Write {
        /// Where it is.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// Nobody writes any more.
    #[error("the gateway stops")]
    Stopped,
}

/// What has become of a device.
#[derive(Clone, Debug)]
pub enum Change {
    /// It is new, or has another address or secret than before.
    Added(Arc<Peer>),
    /// Its log-in has been renewed.
    Renewed(Arc<Peer>),
    /// It is no more.
    Removed {
        /// Which.
        id: PeerId,
        /// Why, for the session that it may have.
        cause: TerminateCause,
    },
}

/// What tells the time.
type Clock = dyn Fn() -> SystemTime + Send + Sync;

/// The register.
pub struct Peers {
    /// Nothing when it is written nowhere.
    path: Option<PathBuf>,
    pools: Pools,
    settings: ArcSwap<Settings>,
    clock: Box<Clock>,
    /// What has expired before counts from here, so that a wrong clock at the start costs nobody an address.
    opened: SystemTime,
    /// Taken once a handshake, never by a packet.
    books: Mutex<Books>,
    /// Something is to be written soon.
    urgent: Notify,
    /// Something is to be written some time.
    seen: AtomicBool,
    written: watch::Sender<Written>,
}

impl Peers {
    /// Reads the register; a file that is not there is an empty one. The keeper is to be run.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is open to others, or is not of the form in which it was written. It stays as it is.
    pub fn open(
        file: &Path,
        pools: Pools,
        settings: Settings,
    ) -> Result<(Arc<Self>, Keeper), PeersError> {
        Self::with_clock(file, pools, settings, now)
    }

    /// The same with another clock.
    pub fn with_clock(
        file: &Path,
        pools: Pools,
        settings: Settings,
        clock: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Result<(Arc<Self>, Keeper), PeersError> {
        let contents = match disk::read(file)? {
            Some(text) => form::read(file, &text)?,
            None => form::Contents::default(),
        };
        let books = Books::of(contents, &pools).map_err(|(line, message)| PeersError::Form {
            path: file.to_owned(),
            line,
            message,
        })?;
        Ok(Self::make(
            Some(file.to_owned()),
            pools,
            settings,
            (Box::new(clock), books),
        ))
    }

    /// Makes a register that is written nowhere.
    pub fn in_memory(pools: Pools, settings: Settings) -> (Arc<Self>, Keeper) {
        Self::make(None, pools, settings, (Box::new(now), Books::default()))
    }

    fn make(
        path: Option<PathBuf>,
        pools: Pools,
        settings: Settings,
        (clock, books): (Box<Clock>, Books),
    ) -> (Arc<Self>, Keeper) {
        let peers = Arc::new(Self {
            path,
            pools,
            settings: ArcSwap::from_pointee(settings),
            opened: clock(),
            clock,
            books: Mutex::new(books),
            urgent: Notify::new(),
            seen: AtomicBool::new(false),
            written: watch::Sender::new(Written::default()),
        });
        let keeper = Keeper::new(Arc::clone(&peers));
        (peers, keeper)
    }

    /// Replaces the settings for what is enrolled from now on.
    pub fn set_settings(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Enrols a device, or renews the one that this user has with this key. It may have sessions at once, and is on disk
    /// when [`Self::saved`] says so.
    ///
    /// A device that an administrator has enrolled is not changed by a log-in.
    ///
    /// # Errors
    ///
    /// When this user, or this key, may not, or there is no address.
    pub fn enrol(&self, enrolment: Enrolment) -> Result<Arc<Peer>, EnrolError> {
        let settings = self.settings.load();
        let mut enrolment = enrolment;
        let name = enrolment.name.trim().to_owned();
        enrolment.name = name;
        if !is_name(&enrolment.name) {
            return Err(EnrolError::BadName);
        }
        if settings.own == Some(enrolment.key) || enrolment.key.is_low_order() {
            return Err(EnrolError::BadKey);
        }
        let now = self.now();
        let peer = self.books().enrol(now, enrolment, &settings, &self.pools)?;
        self.changed();
        Ok(peer)
    }

    /// Removes a device: `what` is its key, its number, its name, or its user's and its own name as `alice/laptop`.
    ///
    /// # Errors
    ///
    /// When there is none, or more than one.
    pub fn revoke(&self, what: &str, cause: TerminateCause) -> Result<Arc<Peer>, FindError> {
        let mut books = self.books();
        let peer = books.find(what)?;
        books.remove(peer.id(), cause);
        drop(books);
        self.changed();
        Ok(peer)
    }

    /// Removes all devices of a user who may not log in any more, and returns how many there were.
    pub fn revoke_user(&self, user: &Identity, cause: TerminateCause) -> usize {
        let mut books = self.books();
        let ids = books.of_user(user);
        for id in &ids {
            books.remove(*id, cause);
        }
        drop(books);
        if !ids.is_empty() {
            self.changed();
        }
        ids.len()
    }

    /// Ends the log-in of a device: it has no session until its user logs in again. One that an administrator has enrolled
    /// stays as it is.
    pub fn expire(&self, id: PeerId) {
        let now = self.now();
        if self.books().expire(now, id) {
            self.changed();
        }
    }

    /// Removes what has been expired for longer than `persist`, and returns how many those were.
    pub fn sweep(&self) -> usize {
        let now = self.now();
        let persist = self.settings.load().persist;
        let gone = |peer: &Peer| {
            let expired = peer.expires().map(|at| at.max(self.opened));
            let until = expired.and_then(|at| at.checked_add(persist));
            until.is_some_and(|until| until <= now)
        };
        let removed = self.books().remove_if(gone);
        if removed > 0 {
            self.changed();
        }
        removed
    }

    /// Returns the device with this key.
    #[must_use]
    pub fn by_key(&self, key: &PublicKey) -> Option<Arc<Peer>> {
        self.books().by_key(key)
    }

    /// Returns the device with this number.
    #[must_use]
    pub fn by_id(&self, id: PeerId) -> Option<Arc<Peer>> {
        self.books().by_id(id)
    }

    /// Finds a device as [`Self::revoke`] does.
    ///
    /// # Errors
    ///
    /// When there is none, or more than one.
    pub fn find(&self, what: &str) -> Result<Arc<Peer>, FindError> {
        self.books().find(what)
    }

    /// Returns all devices, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Peer>> {
        self.books().list()
    }

    /// Returns how many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.books().len()
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes that a device has come, and from where: written down at once, so that after a crash it can be called.
    pub fn note_arrived(&self, id: PeerId, endpoint: SocketAddr) {
        if let Some(peer) = self.by_id(id) {
            peer.seen.set(Some(endpoint), [0; 12]);
            peer.seen.set_connected(true);
            self.seen.store(true, Ordering::Relaxed);
            self.changed();
        }
    }

    /// Notes that a device has no session any more.
    pub fn note_left(&self, id: PeerId) {
        if let Some(peer) = self.by_id(id) {
            peer.seen.set_connected(false);
            self.seen.store(true, Ordering::Relaxed);
        }
    }

    /// Notes where a device is and the timestamp of its latest handshake; written down within ten seconds.
    pub fn note_seen(&self, id: PeerId, endpoint: Option<SocketAddr>, tai64n: [u8; 12]) {
        if let Some(peer) = self.by_id(id) {
            peer.seen.set(endpoint, tai64n);
            self.seen.store(true, Ordering::Relaxed);
        }
    }

    /// Returns everything that changes from now on. Whoever asks for it takes it, or drops it.
    #[must_use]
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Change> {
        self.books().subscribe()
    }

    /// Waits until everything up to now is on disk.
    ///
    /// # Errors
    ///
    /// When it could not be written. It counts nevertheless, and is tried again.
    pub async fn saved(&self) -> Result<(), SaveError> {
        let wanted = self.books().version();
        let mut written = self.written.subscribe();
        let done = written
            .wait_for(|written| written.stopped || written.tried >= wanted)
            .await;
        match done {
            Ok(written) if written.version >= wanted => Ok(()),
            Ok(written) => match &written.error {
                Some(message) => Err(SaveError::Write {
                    path: self.path.clone().unwrap_or_default(),
                    message: message.clone(),
                }),
                None => Err(SaveError::Stopped),
            },
            Err(_) => Err(SaveError::Stopped),
        }
    }

    /// Returns the time by which devices expire.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        (self.clock)()
    }

    fn changed(&self) {
        self.urgent.notify_one();
    }

    /// No step leaves the books half-changed, so what a panic left locked is still good.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers")
            .field("path", &self.path)
            .field("devices", &self.len())
            .finish_non_exhaustive()
    }
}

/// Returns whether a device can be called that.
fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.trim() == name
        && !name.contains('/')
        // As the log shows it.
        && Identity::new(name.as_bytes()).is_some_and(|plain| plain.display() == name)
}

fn list(ids: &[PeerId]) -> String {
    let ids: Vec<_> = ids.iter().map(|id| id.0.to_string()).collect();
    ids.join(", ")
}
