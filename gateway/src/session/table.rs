//! Every session, by id, by user and by address.
//!
//! A session is registered when its log-in begins, and counts against the number of pending log-ins;
//! [`SessionGuard::admit`] gives it an address and a place, which count against the limits of sessions; with
//! [`SessionGuard::set_up`] packets flow and its time runs. So a stranger who only *names* a user takes no place from
//! that user.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use causeway_proto::aaa::{Identity, Limits, TunnelKind};
use causeway_proto::activity::Activity;
use causeway_proto::terminate::TerminateCause;
use causeway_proto::wireguard::PeerId;
use thiserror::Error;
use tokio::sync::mpsc;

use crate::accounting::{Account, Accounting, Opened};
use crate::ids::SessionId;

use super::command::{self, Commands, Line, Orders, SessionCommand};
use super::record::{Admitted, Facts, LimitChange, Session, SessionView, State};
use super::series::Series;
pub use guard::SessionGuard;

mod guard;

/// How many sessions there may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TableLimits {
    /// Admitted sessions.
    pub sessions: usize,
    /// Admitted sessions of one user.
    pub per_user: usize,
    /// Log-ins that are not decided.
    pub pending: usize,
}

/// Why a session may not be.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum TableError {
    /// As many sessions, or pending log-ins, as there may be.
    #[error("the gateway has as many sessions as it may have")]
    Full,
    /// As many sessions as one user may have.
    #[error("the user has as many sessions as one may have")]
    TooManyForUser,
    /// The id that was drawn belongs to another session.
    #[error("the session id is in use")]
    IdTaken,
}

/// What the table tells the task of [`super::lifetime`].
#[derive(Debug)]
pub(super) enum Change {
    Up {
        id: SessionId,
        limits: Limits,
        activity: Arc<Activity>,
        /// What it is when its time is up.
        ending: TerminateCause,
    },
    Limits {
        id: SessionId,
        change: LimitChange,
        activity: Arc<Activity>,
        ending: TerminateCause,
    },
    Ended(SessionId),
}

/// The changes that [`super::lifetime::run`] follows.
#[derive(Debug)]
pub struct Changes(pub(super) mpsc::UnboundedReceiver<Change>);

/// The table.
#[derive(Debug)]
pub struct SessionTable {
    /// Taken a few times a session, never by a packet.
    books: Mutex<Books>,
    changes: mpsc::UnboundedSender<Change>,
    accounting: Accounting,
    series: Series,
}

#[derive(Debug)]
struct Books {
    limits: TableLimits,
    sessions: BTreeMap<SessionId, Box<Row>>,
    by_address: HashMap<Ipv4Addr, SessionId>,
    /// Admitted sessions, by the lower-case name.
    by_user: HashMap<Vec<u8>, HashSet<SessionId>>,
    admitted: usize,
    up: usize,
    unreachable: usize,
}

#[derive(Debug)]
struct Row {
    session: Session,
    state: State,
    place: Option<Place>,
    since: SystemTime,
    started: Instant,
    facts: Facts,
    orders: Orders,
    account: Option<Account>,
    /// A Start has been ordered, so a Stop must be.
    opened: Option<Opened>,
}

/// What an admitted session has.
#[derive(Debug)]
struct Place {
    address: Ipv4Addr,
    pool: String,
    limits: Limits,
}

impl SessionTable {
    /// Makes an empty table, and the stream of its changes for [`super::lifetime::run`].
    #[must_use]
    pub fn new(limits: TableLimits) -> (Arc<Self>, Changes) {
        Self::with_accounting(limits, Accounting::off())
    }

    /// Makes an empty table whose sessions are reported.
    #[must_use]
    pub fn with_accounting(limits: TableLimits, accounting: Accounting) -> (Arc<Self>, Changes) {
        let (changes, receiver) = mpsc::unbounded_channel();
        let books = Books {
            limits,
            sessions: BTreeMap::new(),
            by_address: HashMap::new(),
            by_user: HashMap::new(),
            admitted: 0,
            up: 0,
            unreachable: 0,
        };
        let table = Self {
            books: Mutex::new(books),
            changes,
            accounting,
            series: Series::new(limits.sessions),
        };
        (Arc::new(table), Changes(receiver))
    }

    /// Changes the limits; who is in stays in.
    pub fn set_limits(&self, limits: TableLimits) {
        self.books().limits = limits;
        self.series.limit(limits.sessions);
    }

    /// Enters a session whose log-in begins.
    ///
    /// # Errors
    ///
    /// When as many log-ins are pending as may be, or the session could not be admitted because the gateway is full.
    pub fn register(
        self: &Arc<Self>,
        session: Session,
    ) -> Result<(SessionGuard, Commands), TableError> {
        let (orders, commands) = command::channel();
        Ok((self.enter(session, orders)?, commands))
    }

    /// The same for the session of an enrolled device, whose orders go to the driver of all of them.
    ///
    /// # Errors
    ///
    /// As [`Self::register`].
    pub fn register_device(
        self: &Arc<Self>,
        session: Session,
        line: &Line,
        device: PeerId,
    ) -> Result<SessionGuard, TableError> {
        let orders = Orders::Shared {
            line: line.clone(),
            session: session.id,
            device,
        };
        self.enter(session, orders)
    }

    fn enter(
        self: &Arc<Self>,
        session: Session,
        orders: Orders,
    ) -> Result<SessionGuard, TableError> {
        let (id, protocol) = (session.id, session.protocol);
        let mut books = self.books();
        books.check_pending()?;
        if books.sessions.contains_key(&id) {
            return Err(TableError::IdTaken);
        }
        let row = Row {
            session,
            state: State::Authenticating,
            place: None,
            since: SystemTime::now(),
            started: Instant::now(),
            facts: Facts::default(),
            orders,
            account: None,
            opened: None,
        };
        books.sessions.insert(id, Box::new(row));
        drop(books);
        self.series.entered(protocol);
        Ok(SessionGuard {
            table: Arc::clone(self),
            id,
            cause: TerminateCause::PeerLost,
            lease: None,
            routes: None,
        })
    }

    /// Sends an order to a session; false when there is none of that id, or its driver does not take it.
    pub fn command(&self, id: SessionId, command: SessionCommand) -> bool {
        self.books()
            .sessions
            .get(&id)
            .is_some_and(|row| row.orders.send(command))
    }

    /// Sends an order to every session, and returns to how many.
    pub fn command_all(&self, command: &SessionCommand) -> usize {
        let books = self.books();
        let sent = books
            .sessions
            .values()
            .filter(|row| row.orders.send(command.clone()));
        sent.count()
    }

    /// Gives a session that is up other limits; false when there is none of that id.
    pub fn change_limits(&self, id: SessionId, change: LimitChange) -> bool {
        let books = self.books();
        let Some(row) = books.sessions.get(&id).filter(|row| row.state.is_live()) else {
            return false;
        };
        let activity = Arc::clone(&row.session.activity);
        let ending = ending(row.session.protocol);
        // Told while the books are held, so that it comes ahead of the session's end.
        self.tell(Change::Limits {
            id,
            change,
            activity,
            ending,
        });
        true
    }

    /// Returns the session of that id.
    #[must_use]
    pub fn find(&self, id: SessionId) -> Option<SessionView> {
        self.books().sessions.get(&id).map(|row| row.view())
    }

    /// Returns the session that has this inner address.
    #[must_use]
    pub fn find_address(&self, address: Ipv4Addr) -> Option<SessionView> {
        let books = self.books();
        let id = books.by_address.get(&address)?;
        books.sessions.get(id).map(|row| row.view())
    }

    /// Returns the sessions of a user, upper and lower case being the same; pending log-ins too.
    #[must_use]
    pub fn find_user(&self, user: &Identity) -> Vec<SessionView> {
        let wanted = folded(user);
        self.books()
            .sessions
            .values()
            .filter(|row| folded(&row.session.user) == wanted)
            .map(|row| row.view())
            .collect()
    }

    /// Returns every session as it is now, the oldest first.
    #[must_use]
    pub fn snapshot(&self) -> Vec<SessionView> {
        let mut all: Vec<_> = self
            .books()
            .sessions
            .values()
            .map(|row| row.view())
            .collect();
        all.sort_by_key(|view| (std::cmp::Reverse(view.age), view.id));
        all
    }

    /// Returns the handle of accounting.
    #[must_use]
    pub const fn accounting(&self) -> &Accounting {
        &self.accounting
    }

    /// Returns how many sessions are in a state.
    #[must_use]
    pub fn count(&self, state: State) -> usize {
        let books = self.books();
        match state {
            State::Up => books.up,
            State::Unreachable => books.unreachable,
            State::Authenticating => books.sessions.len() - books.live(),
        }
    }

    /// Returns how many sessions have begun and not ended, whether their clients are reachable or not.
    #[must_use]
    pub fn live(&self) -> usize {
        self.books().live()
    }

    /// Returns whether a new log-in would be let in as far as the number of sessions goes.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.books().check_pending().is_ok()
    }

    fn admit(&self, id: SessionId, admitted: &Admitted) -> Result<(), TableError> {
        let mut books = self.books();
        let key = folded(&admitted.user);
        if books.admitted >= books.limits.sessions {
            return Err(TableError::Full);
        }
        let of_user = books.by_user.get(&key).map_or(0, HashSet::len);
        if of_user >= books.limits.per_user {
            return Err(TableError::TooManyForUser);
        }
        let address = admitted.lease.address();
        if let Some(row) = books.sessions.get_mut(&id) {
            row.session.user = admitted.user.clone();
            row.place = Some(Place {
                address,
                pool: admitted.lease.pool().to_owned(),
                limits: admitted.limits,
            });
            books.admitted += 1;
            books.by_address.insert(address, id);
            books.by_user.entry(key).or_default().insert(id);
        }
        Ok(())
    }

    fn set_up(&self, id: SessionId) {
        let mut books = self.books();
        let Some(row) = books.sessions.get_mut(&id) else {
            return;
        };
        let protocol = row.session.protocol;
        match (row.state, &row.place) {
            (State::Authenticating, Some(place)) => {
                row.state = State::Up;
                row.opened = row
                    .account
                    .as_ref()
                    .and_then(|account| self.accounting.open(account, &row.session.activity));
                let change = Change::Up {
                    id,
                    limits: place.limits,
                    activity: Arc::clone(&row.session.activity),
                    ending: ending(protocol),
                };
                books.up += 1;
                drop(books);
                self.series.came_up(protocol);
                self.tell(change);
            }
            (State::Unreachable, _) => {
                row.state = State::Up;
                books.up += 1;
                books.unreachable -= 1;
                drop(books);
                self.series.moved(protocol, State::Unreachable, State::Up);
            }
            (State::Authenticating, None) | (State::Up, _) => {}
        }
    }

    fn set_unreachable(&self, id: SessionId) {
        let mut books = self.books();
        let Some(row) = books.sessions.get_mut(&id) else {
            return;
        };
        if row.state != State::Up {
            return;
        }
        row.state = State::Unreachable;
        let protocol = row.session.protocol;
        books.up -= 1;
        books.unreachable += 1;
        drop(books);
        self.series.moved(protocol, State::Up, State::Unreachable);
    }

    fn remove(&self, id: SessionId, cause: TerminateCause) {
        let mut books = self.books();
        let Some(mut row) = books.sessions.remove(&id) else {
            return;
        };
        if let Some(place) = &row.place {
            books.admitted -= 1;
            books.by_address.remove(&place.address);
            let key = folded(&row.session.user);
            if let Some(of_user) = books.by_user.get_mut(&key) {
                of_user.remove(&id);
                if of_user.is_empty() {
                    books.by_user.remove(&key);
                }
            }
        }
        match row.state {
            State::Up => books.up -= 1,
            State::Unreachable => books.unreachable -= 1,
            State::Authenticating => {}
        }
        drop(books);
        if let Some(opened) = row.opened.take() {
            self.accounting.close(opened, cause);
        }
        let lasted = row.started.elapsed();
        self.series
            .left(row.session.protocol, row.state, cause, lasted);
        if row.state.is_live() {
            self.tell(Change::Ended(id));
        }
    }

    /// Nobody listens when the gateway stops, and in tests.
    fn tell(&self, change: Change) {
        drop(self.changes.send(change));
    }

    /// No step leaves the books half-changed, so what a panic left locked is still good.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    const fn live(&self) -> usize {
        self.up + self.unreachable
    }

    fn check_pending(&self) -> Result<(), TableError> {
        let pending = self.sessions.len() - self.admitted;
        let full = pending >= self.limits.pending || self.admitted >= self.limits.sessions;
        if full { Err(TableError::Full) } else { Ok(()) }
    }
}

impl Row {
    fn view(&self) -> SessionView {
        SessionView {
            id: self.session.id,
            user: self.session.user.clone(),
            protocol: self.session.protocol,
            state: self.state,
            address: self.place.as_ref().map(|place| place.address),
            pool: self.place.as_ref().map(|place| place.pool.clone()),
            remote: self.session.remote,
            correlation: self.session.correlation.clone(),
            since: self.since,
            age: self.started.elapsed(),
            usage: self.session.activity.usage(),
            facts: self.facts.clone(),
        }
    }
}

/// What the end of a session's time is: a device's is that of its log-in.
const fn ending(protocol: TunnelKind) -> TerminateCause {
    match protocol {
        TunnelKind::Sstp | TunnelKind::Ikev2 => TerminateCause::SessionTimeout,
        TunnelKind::Mobility => TerminateCause::AuthenticationExpired,
    }
}

/// The name under which a user is counted.
fn folded(user: &Identity) -> Vec<u8> {
    user.as_bytes().to_ascii_lowercase()
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
