//! The door for devices that need no log-in: what their user was allowed when they were enrolled holds on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use causeway_proto::aaa::{Applicant, Refusal, RefuseReason, TunnelKind};
use causeway_proto::ip::filter::Filter;
use causeway_proto::radius::accounting::Authentic;
use tracing::{debug, info};

use crate::session::LimitChange;
use crate::session::command::{Commands, Line};
use crate::session::peers::{self, Origin, Peer};

use super::{Admission, Limits, Seat, filter, limits};

impl Admission {
    /// Gives a seat to an enrolled device that has shown its key: with its own address, and for what is left of its
    /// log-in. Nobody is asked. `remote` and `local` are the outer ends; orders to the session go along `line`.
    ///
    /// # Errors
    ///
    /// When the gateway drains, the log-in has expired, there are as many sessions as may be, the address is in use, or
    /// the filter is not there any more.
    pub fn resume(
        &self,
        peer: &Peer,
        remote: SocketAddr,
        local: SocketAddr,
        line: &Line,
    ) -> Result<Seat, Refusal> {
        let resumed = self.resume_at(peers::now(), peer, (remote, local), line);
        if let Err(refusal) = &resumed {
            let reason = refusal.reason.as_str();
            metrics::counter!("causeway_session_setup_failures_total",
                "protocol" => TunnelKind::Mobility.as_str(), "stage" => "auth", "reason" => reason)
            .increment(1);
        }
        resumed
    }

    /// Says what the renewed log-in of a device means for the session that it has: its limits from now on, and its filter.
    ///
    /// # Errors
    ///
    /// When the log-in asks for what the gateway does not have; then it must not go on with what it had, either.
    pub fn renew(
        &self,
        peer: &Peer,
        now: SystemTime,
    ) -> Result<(LimitChange, Option<Arc<Filter>>), Refusal> {
        let settings = self.settings.load();
        let authorization = &peer.authorization();
        let filter = filter(&settings, authorization)?;
        let limits = limits(&settings, authorization)?;
        let change = LimitChange {
            session_timeout: Some(peer.time_left(now).unwrap_or(Duration::MAX)),
            idle_timeout: Some(limits.idle_timeout.unwrap_or_default()),
        };
        Ok((change, filter))
    }

    pub(in crate::session) fn resume_at(
        &self,
        now: SystemTime,
        peer: &Peer,
        (remote, local): (SocketAddr, SocketAddr),
        line: &Line,
    ) -> Result<Seat, Refusal> {
        if !peer.is_open(now) {
            debug!(device = peer.name(), user.name = %peer.user().display(), "the log-in of the device has expired");
            return Err(Refusal::new(RefuseReason::Rejected));
        }
        let id = self.new_session_id();
        let began = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let applicant = Applicant {
            nas_port: id.number(),
            connect_info: Some("WireGuard".to_owned()),
            ..Applicant::new(TunnelKind::Mobility, remote, local, id.accounting_id(began))
        };
        let authorization = &peer.authorization();
        let mut seat = self.enter_by(id, &applicant, peer.user(), |session| {
            let guard = self.table.register_device(session, line, peer.id())?;
            Ok((guard, Commands::closed()))
        })?;
        let settings = self.settings.load();
        let filter = filter(&settings, authorization)?;
        let limits = Limits {
            session_timeout: peer.time_left(now),
            ..limits(&settings, authorization)?
        };
        let lease = peer.lease().map_err(|error| {
            info!(device = peer.name(), user.name = %peer.user().display(), %error, "no address for the device");
            Refusal::new(RefuseReason::NoAddress)
        })?;
        let network = self.seat(&mut seat, authorization, (filter, lease, limits))?;
        if !authorization.server.is_empty() {
            let server = authorization.server.clone();
            seat.guard.update(|facts| facts.server = Some(server));
        }
        seat.guard.update(|facts| {
            facts.method = peer.method();
            facts.device = Some(peer.name().to_owned());
        });
        let authentic = match peer.origin() {
            Origin::Login => Authentic::Radius,
            Origin::Administrator => Authentic::Local,
        };
        let account = self.table.accounting().account(
            &applicant,
            authorization,
            (peer.method(), authentic),
            network.address,
        );
        if let Some(account) = account {
            seat.guard.set_account(account);
        }
        Ok(seat)
    }
}

#[cfg(test)]
mod tests;
