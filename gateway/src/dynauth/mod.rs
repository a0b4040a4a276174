//! The listener for dynamic authorization: a RADIUS server ends a session, or changes it (RFC 5176).
//!
//! Who is not on the list, does not know the secret or is not of now gets no answer and no line in the log above
//! debug, and is counted. What is authentic is done at most once: the same request again gets the same answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use causeway_proto::crypto::SecretBytes;
use causeway_proto::ip::filter::Filter;
use causeway_proto::radius::access::Nas;
use causeway_proto::radius::dynamic_authorization::{
    Answered, Change, ErrorCause, Refusal, Request, Selector, Wanted, respond, verify,
};
use causeway_proto::radius::{Code, MAX_LEN};
use causeway_proto::terminate::TerminateCause;
use ipnet::IpNet;
use metrics::counter;
use tokio::net::UdpSocket;
use tracing::{debug, info};

use crate::session::{LimitChange, MAX_SESSION_TIMEOUT, SessionCommand, SessionTable, SessionView};
use crate::task::Stop;

/// What the listener needs to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Who may ask.
    pub clients: Vec<IpNet>,
    /// The secret that they share with the gateway.
    pub secret: SecretBytes,
    /// What the gateway calls itself towards RADIUS servers; a request for another name is refused.
    pub nas: Nas,
}

/// How a filter is found by the name that Filter-Id gives.
pub struct Filters(Box<Find>);

/// Returns the filter of a name.
type Find = dyn Fn(&str) -> Option<Arc<Filter>> + Send;

impl Filters {
    /// Finds them with `find`.
    pub fn new(find: impl Fn(&str) -> Option<Arc<Filter>> + Send + 'static) -> Self {
        Self(Box::new(find))
    }
}

impl std::fmt::Debug for Filters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Filters")
    }
}

/// The listener.
#[derive(Debug)]
pub struct Listener {
    desk: Desk,
    socket: UdpSocket,
}

impl Listener {
    /// Takes the socket, which is to be bound already.
    ///
    /// # Errors
    ///
    /// When the socket cannot be watched.
    pub fn new(
        socket: std::net::UdpSocket,
        config: Config,
        table: Arc<SessionTable>,
        filters: Filters,
    ) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            desk: Desk {
                config,
                table,
                filters,
                answered: Answered::default(),
            },
            socket: UdpSocket::from_std(socket)?,
        })
    }

    /// Answers until the gateway stops.
    pub async fn run(mut self, mut stop: Stop) {
        // One octet more than a packet may have, so that a longer datagram is not taken for one that fits.
        let mut buffer = vec![0; MAX_LEN + 1];
        loop {
            let received = tokio::select! {
                received = self.socket.recv_from(&mut buffer) => received,
                () = stop.stopped() => return,
            };
            let (len, from) = match received {
                Ok(received) => received,
                Err(error) => {
                    // A host that did not want our last answer.
                    debug!(%error, "dynamic authorization socket");
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                    continue;
                }
            };
            let bytes = buffer.get(..len).unwrap_or_default();
            let wall = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs());
            if let Some(answer) = self.desk.handle(Instant::now(), wall, from, bytes)
                && let Err(error) = self.socket.send_to(&answer, from).await
            {
                debug!(%error, "an answer to a dynamic authorization request did not leave");
            }
        }
    }
}

/// Decides and acts; knows no socket and no clock.
#[derive(Debug)]
struct Desk {
    config: Config,
    table: Arc<SessionTable>,
    filters: Filters,
    answered: Answered,
}

impl Desk {
    /// Returns the answer to a datagram, if it gets one.
    fn handle(
        &mut self,
        now: Instant,
        wall: u64,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Option<Vec<u8>> {
        let source = from.ip().to_canonical();
        if !self.config.clients.iter().any(|net| net.contains(&source)) {
            dropped("unlisted");
            return None;
        }
        let secret = self.config.secret.expose();
        let packet = match verify(bytes, wall, secret) {
            Ok(packet) => packet,
            Err(why) => {
                dropped(why.as_str());
                debug!(client.address = %source, %why, "a dynamic authorization request gets no answer");
                return None;
            }
        };
        let (identifier, authenticator) = (packet.identifier, packet.authenticator);
        if let Some(answer) = self.answered.find(now, identifier, &authenticator) {
            return Some(answer.to_vec());
        }
        let kind = if packet.code == Code::DISCONNECT_REQUEST {
            "disconnect"
        } else {
            "coa"
        };
        let result = if self.answered.has_room() {
            Request::read(&packet).and_then(|request| self.act(&request))
        } else {
            Err(refuse(
                ErrorCause::RESOURCES_UNAVAILABLE,
                "too many requests",
            ))
        };
        let word = if result.is_ok() { "ack" } else { "nak" };
        counter!("causeway_radius_dynauth_requests_total", "type" => kind, "result" => word)
            .increment(1);
        match &result {
            Ok(view) => {
                info!(event = "dynamic_authorization", kind, result = word, client.address = %source, session = %view.id, user.name = %view.user.display(), "a RADIUS server changes a session");
            }
            Err(refusal) => {
                info!(event = "dynamic_authorization", kind, result = word, client.address = %source, error_cause = refusal.cause.0, reason = refusal.field, "a RADIUS server's request is refused");
            }
        }
        let cause = result.err().map(|refusal| refusal.cause);
        let answer = respond(&packet, cause, secret)?;
        self.answered
            .keep(now, identifier, authenticator, answer.clone());
        Some(answer)
    }

    fn act(&self, request: &Request) -> Result<SessionView, Refusal> {
        self.check_nas(request)?;
        let session = self.find(&request.selector)?;
        match &request.wanted {
            Wanted::Disconnect => {
                let end = SessionCommand::Terminate(TerminateCause::DynamicAuthorization);
                if !self.table.command(session.id, end) {
                    return Err(refuse(
                        ErrorCause::SESSION_CONTEXT_NOT_REMOVABLE,
                        "the session is ending",
                    ));
                }
            }
            Wanted::Change(change) => self.change(&session, change)?,
        }
        Ok(session)
    }

    /// A request that names a gateway must name this one (RFC 5176 §3).
    fn check_nas(&self, request: &Request) -> Result<(), Refusal> {
        let nas = &self.config.nas;
        let ours = |address: &IpAddr| match address {
            IpAddr::V4(address) => nas.ipv4 == Some(*address),
            IpAddr::V6(address) => nas.ipv6 == Some(*address),
        };
        let named = request
            .nas_identifier
            .as_ref()
            .is_none_or(|name| name == nas.identifier.as_bytes());
        if named && request.nas_addresses.iter().all(ours) {
            Ok(())
        } else {
            Err(refuse(
                ErrorCause::NAS_IDENTIFICATION_MISMATCH,
                "the request names another gateway",
            ))
        }
    }

    /// Finds the one session that has begun and fits. Log-ins do not count: a stranger can begin one under any name.
    fn find(&self, selector: &Selector) -> Result<SessionView, Refusal> {
        let mut fitting = self
            .table
            .snapshot()
            .into_iter()
            .filter(|view| view.state.is_live() && fits(selector, view));
        match (fitting.next(), fitting.next()) {
            (Some(session), None) => Ok(session),
            (None, _) => Err(refuse(
                ErrorCause::SESSION_CONTEXT_NOT_FOUND,
                "no such session",
            )),
            (Some(_), Some(_)) => Err(refuse(
                ErrorCause::MULTIPLE_SESSION_SELECTION_UNSUPPORTED,
                "several sessions; name one by Acct-Session-Id or Framed-IP-Address",
            )),
        }
    }

    /// Changes all that is wanted, or nothing.
    fn change(&self, session: &SessionView, change: &Change) -> Result<(), Refusal> {
        let filter = match &change.filter {
            Some(name) => Some((self.filters.0)(name).ok_or_else(|| {
                refuse(
                    ErrorCause::INVALID_ATTRIBUTE_VALUE,
                    "Filter-Id names a filter that is not configured; add [filters.NAME]",
                )
            })?),
            None => None,
        };
        // Orders come first: a full mailbox refuses, limits are always taken.
        if let Some(filter) = filter
            && !self
                .table
                .command(session.id, SessionCommand::SetFilter(Some(filter)))
        {
            return Err(refuse(
                ErrorCause::RESOURCES_UNAVAILABLE,
                "the session takes no more orders now",
            ));
        }
        let limits = LimitChange {
            session_timeout: change
                .session_timeout
                .map(|timeout| timeout.min(MAX_SESSION_TIMEOUT)),
            idle_timeout: change.idle_timeout,
        };
        if self.table.change_limits(session.id, limits) {
            Ok(())
        } else {
            Err(refuse(
                ErrorCause::SESSION_CONTEXT_NOT_FOUND,
                "the session has just ended",
            ))
        }
    }
}

/// Returns whether everything that is said of a session is so.
fn fits(selector: &Selector, view: &SessionView) -> bool {
    let Selector {
        session,
        user,
        address,
        calling,
        port,
    } = selector;
    let by_session = session.as_ref().is_none_or(|wanted| {
        let id = view.facts.accounting.as_deref().unwrap_or_default();
        !id.is_empty() && id.as_bytes() == wanted.as_slice()
    });
    by_session
        && user
            .as_ref()
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(view.user.as_bytes()))
        && address.is_none_or(|wanted| view.address == Some(wanted))
        && calling.is_none_or(|wanted| view.remote.ip().to_canonical() == wanted)
        && port.is_none_or(|wanted| view.id.number() == wanted)
}

const fn refuse(cause: ErrorCause, field: &'static str) -> Refusal {
    Refusal { cause, field }
}

fn dropped(reason: &'static str) {
    counter!("causeway_radius_dynauth_dropped_total", "reason" => reason).increment(1);
}

#[cfg(test)]
mod tests;
