//! The hand that holds a session.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use causeway_proto::terminate::TerminateCause;

use crate::accounting::Account;
use crate::ids::SessionId;
use crate::session::pool::Lease;
use crate::session::record::{Admitted, Facts, SessionView};
use crate::session::routes::RouteLease;

use super::{SessionTable, TableError};

/// A session's place in the table; dropping it ends the session and gives everything back.
#[derive(Debug)]
#[must_use]
pub struct SessionGuard {
    pub(super) table: Arc<SessionTable>,
    pub(super) id: SessionId,
    pub(super) cause: TerminateCause,
    pub(super) lease: Option<Lease>,
    pub(super) routes: Option<RouteLease>,
}

impl SessionGuard {
    /// Gives the session its place and its address; a second call changes nothing.
    ///
    /// # Errors
    ///
    /// When there are as many sessions, or sessions of this user, as there may be. The address goes back.
    pub fn admit(&mut self, admitted: Admitted) -> Result<(), TableError> {
        if self.lease.is_some() {
            return Ok(());
        }
        self.table.admit(self.id, &admitted)?;
        self.lease = Some(admitted.lease);
        Ok(())
    }

    /// Says what its records have in common; without, the session is not reported.
    pub fn set_account(&self, account: Account) {
        if let Some(row) = self.table.books().sessions.get_mut(&self.id) {
            row.account = Some(account);
        }
    }

    /// Keeps the networks behind the client for as long as the session has its address.
    pub fn set_routes(&mut self, routes: RouteLease) {
        self.routes = Some(routes);
    }

    /// Says that packets flow, from when on the session's time runs, or flow again; without effect before [`Self::admit`].
    pub fn set_up(&self) {
        self.table.set_up(self.id);
    }

    /// Says that nothing is heard of the client, whose session goes on: its time, its address and its account. Without
    /// effect unless it is up; [`Self::set_up`] says that it is back.
    pub fn set_unreachable(&self) {
        self.table.set_unreachable(self.id);
    }

    /// Says where the client is, which need not be a change.
    pub fn set_remote(&self, remote: SocketAddr) {
        if let Some(row) = self.table.books().sessions.get_mut(&self.id) {
            row.session.remote = remote;
        }
    }

    /// Says that the client is somewhere else, which its session has survived.
    pub fn roamed(&self, remote: SocketAddr) {
        if let Some(row) = self.table.books().sessions.get_mut(&self.id) {
            row.session.remote = remote;
            row.facts.roams = row.facts.roams.saturating_add(1);
            row.facts.roamed = Some(SystemTime::now());
        }
    }

    /// Adds to what is known of the session.
    pub fn update(&self, change: impl FnOnce(&mut Facts)) {
        if let Some(row) = self.table.books().sessions.get_mut(&self.id) {
            change(&mut row.facts);
        }
    }

    /// Says why the session will have ended when the guard is dropped; unless said, the peer was lost.
    pub fn set_cause(&mut self, cause: TerminateCause) {
        self.cause = cause;
    }

    /// Returns the cause that was said last.
    #[must_use]
    pub const fn cause(&self) -> TerminateCause {
        self.cause
    }

    /// Returns the session's name.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// Returns the session's address, once it is admitted.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.lease.as_ref().map(Lease::address)
    }

    /// Returns the session as the command line would show it, for the line that the log gets at its end.
    #[must_use]
    pub fn view(&self) -> Option<SessionView> {
        self.table.find(self.id)
    }
}

impl Drop for SessionGuard {
    /// The table first: an address is in no row any more when the pool gives it to somebody else.
    fn drop(&mut self) {
        self.table.remove(self.id, self.cause);
        drop(self.routes.take());
        drop(self.lease.take());
    }
}
