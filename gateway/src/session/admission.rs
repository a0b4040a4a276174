//! The one door: limits, authentication, address, table, in that order, cheap refusals first.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use causeway_proto::aaa::{
    Applicant, Authorization, Credentials, Decision, FramedAddress, Grant, Identity, Limits,
    NetworkConfig, Refusal, RefuseReason, Verdict,
};
use causeway_proto::activity::Activity;
use causeway_proto::ip::filter::Filter;
use causeway_proto::radius::accounting::Authentic;
use ipnet::Ipv4Net;
use ring::rand::{SecureRandom, SystemRandom};
use tracing::{debug, info, warn};

use crate::auth::Authenticator;
use crate::ids::SessionId;

use super::command::Commands;
use super::pool::{Lease, LeaseError, Pools};
use super::record::{Admitted, Session};
use super::routes::{RouteBook, RouteError};
use super::table::{SessionGuard, SessionTable, TableError};

mod resume;
mod terms;
mod vouch;

use terms::{filter, first_two, is_absurd, limits, mtu};
pub use vouch::{Said, Terms, Vouched};

/// What every grant is made of unless the authenticator says otherwise.
#[derive(Clone, Debug)]
pub struct Settings {
    /// DNS servers for clients, at most two.
    pub dns: Vec<Ipv4Addr>,
    /// WINS servers for clients, at most two.
    pub wins: Vec<Ipv4Addr>,
    /// The largest inner packet.
    pub mtu: u16,
    /// How long sessions may last.
    pub limits: Limits,
    /// Whether `Framed-IP-Address` is honoured.
    pub framed_ip: bool,
    /// The filters by name.
    pub filters: BTreeMap<String, Arc<Filter>>,
    /// The longest `Session-Timeout` that is believed; more is shortened.
    pub max_session_timeout: Duration,
    /// Whether a password that has expired may be changed while logging in.
    pub password_change: bool,
}

/// The door.
#[derive(Debug)]
pub struct Admission {
    authenticator: Arc<Authenticator>,
    table: Arc<SessionTable>,
    pools: Pools,
    settings: ArcSwap<Settings>,
    routes: Option<Arc<RouteBook>>,
    draining: AtomicBool,
    random: SystemRandom,
}

/// A client's place from its first credentials to its end; dropping it gives everything back.
#[derive(Debug)]
pub struct Seat {
    /// The place in the table.
    pub guard: SessionGuard,
    /// Orders for the driver.
    pub commands: Commands,
    /// Where the packet path counts.
    pub activity: Arc<Activity>,
    /// The canonical name, for the log.
    pub user: Identity,
    /// The client's place in the network, once it is admitted.
    pub network: Option<NetworkConfig>,
    /// What may pass, once it is admitted; `None` is everything that may pass at all.
    pub filter: Option<Arc<Filter>>,
    /// The networks behind the client, once it is admitted.
    pub networks: Vec<Ipv4Net>,
}

impl Admission {
    /// Makes the door.
    #[must_use]
    pub fn new(
        authenticator: Arc<Authenticator>,
        table: Arc<SessionTable>,
        pools: Pools,
        settings: Settings,
    ) -> Self {
        Self {
            authenticator,
            table,
            pools,
            settings: ArcSwap::from_pointee(settings),
            routes: None,
            draining: AtomicBool::new(false),
            random: SystemRandom::new(),
        }
    }

    /// Honours `Framed-Route` as the book says; without one, the attribute is left alone.
    #[must_use]
    pub fn with_routes(mut self, book: RouteBook) -> Self {
        self.routes = book.is_open().then(|| Arc::new(book));
        self
    }

    /// Replaces the settings for new sessions.
    pub fn set_settings(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Refuses new log-ins from now on, or takes them again.
    pub fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }

    /// Returns whether new log-ins are refused.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Returns the table behind the door.
    #[must_use]
    pub const fn table(&self) -> &Arc<SessionTable> {
        &self.table
    }

    /// Returns the filter of that name, as a session that logs in now would get it.
    #[must_use]
    pub fn filter(&self, name: &str) -> Option<Arc<Filter>> {
        self.settings.load().filters.get(name).map(Arc::clone)
    }

    /// Draws the name of a new session.
    #[must_use]
    pub fn new_session_id(&self) -> SessionId {
        let [a, b, c, d, ..] = self.seed();
        SessionId::new(u32::from_be_bytes([a, b, c, d]))
    }

    /// Draws the seed of a machine's randomness.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        if self.random.fill(&mut seed).is_err() {
            // The kernel's generator cannot fail once the machine is up; a guessable nonce would be worse than an end.
            tracing::error!("the operating system gives no randomness");
            std::process::abort();
        }
        seed
    }

    /// Gives a seat to a client that has shown its first credentials.
    ///
    /// # Errors
    ///
    /// A refusal when the gateway drains or too many log-ins are pending.
    pub fn enter(
        &self,
        id: SessionId,
        applicant: &Applicant,
        user: &Identity,
    ) -> Result<Seat, Refusal> {
        self.enter_by(id, applicant, user, |session| self.table.register(session))
    }

    fn enter_by(
        &self,
        id: SessionId,
        applicant: &Applicant,
        user: &Identity,
        register: impl FnOnce(Session) -> Result<(SessionGuard, Commands), TableError>,
    ) -> Result<Seat, Refusal> {
        if self.is_draining() {
            return Err(Refusal::new(RefuseReason::Draining));
        }
        let activity = Arc::new(Activity::default());
        let session = Session {
            id,
            user: user.clone(),
            protocol: applicant.tunnel,
            remote: applicant.remote,
            correlation: applicant.correlation.clone(),
            activity: Arc::clone(&activity),
        };
        match register(session) {
            Ok((guard, commands)) => {
                guard.update(|facts| facts.accounting = Some(applicant.session.clone()));
                Ok(Seat {
                    guard,
                    commands,
                    activity,
                    user: user.clone(),
                    network: None,
                    filter: None,
                    networks: Vec::new(),
                })
            }
            Err(error) => {
                debug!(%error, "no seat");
                Err(Refusal::new(RefuseReason::Busy))
            }
        }
    }

    /// Takes one step of a log-in: credentials in, decision out. The seat comes back with it.
    pub async fn step(
        self: Arc<Self>,
        mut seat: Seat,
        applicant: Applicant,
        credentials: Credentials,
        deadline: Instant,
    ) -> (Seat, Decision) {
        let method = credentials.method();
        let user = credentials.user().clone();
        let may_change = matches!(credentials, Credentials::MsChapV2 { .. })
            && self.settings.load().password_change;
        let outcome = self
            .authenticator
            .authenticate(&applicant, credentials, deadline)
            .await;
        let result = outcome.result.as_str();
        seat.guard.update(|facts| {
            facts.method = Some(method);
            facts.server.clone_from(&outcome.server);
            facts.result = Some(result);
            facts.auth_elapsed = Some(facts.auth_elapsed.unwrap_or_default() + outcome.elapsed);
        });
        let server = outcome.server.as_deref();
        let duration = u64::try_from(outcome.elapsed.as_millis()).unwrap_or(u64::MAX);
        let explanation = outcome.explanation.as_deref();
        let elapsed = outcome.elapsed;
        let decision = match outcome.verdict {
            Some(Verdict::Accept(authorization)) => {
                debug!(
                    radius.server = server,
                    radius.duration_ms = duration,
                    "accepted"
                );
                let admitted = match self.admit(&mut seat, &authorization) {
                    Ok(grant) => self
                        .route(&mut seat, &authorization, applicant.remote.ip())
                        .await
                        .map(|()| grant),
                    Err(refusal) => Err(refusal),
                };
                match admitted {
                    Ok(grant) => {
                        let address = grant.network.address;
                        let accounting = self.table.accounting();
                        let how = (Some(method), Authentic::Radius);
                        let account = accounting.account(&applicant, &authorization, how, address);
                        if let Some(account) = account {
                            seat.guard.set_account(account);
                        }
                        Decision::Admit(Box::new(grant))
                    }
                    Err(refusal) => Decision::Refuse(refusal),
                }
            }
            Some(Verdict::Challenge(challenge)) => Decision::Challenge(challenge),
            Some(Verdict::Reject(rejection)) => Decision::Refuse(Refusal {
                reason: outcome.refusal.unwrap_or(RefuseReason::Rejected),
                rejection,
            }),
            None => Decision::Refuse(Refusal::new(
                outcome.refusal.unwrap_or(RefuseReason::NoAnswer),
            )),
        };
        let end = End::of(&decision, may_change);
        count(applicant.tunnel.as_str(), method.as_str(), end, elapsed);
        match &decision {
            Decision::Admit(grant) => {
                info!(event = "auth_result", user.name = %grant.user.display(), method = method.as_str(),
                radius.server = server, radius.result = result, radius.duration_ms = duration, inner.ip = %grant.network.address, "log-in accepted");
            }
            Decision::Challenge(_) => {
                debug!(event = "auth_result", user.name = %user.display(), method = method.as_str(), radius.result = result, "log-in goes on");
            }
            Decision::Refuse(_) if end == End::Open => {
                info!(event = "auth_result", user.name = %user.display(), method = method.as_str(),
                radius.server = server, radius.result = result, radius.duration_ms = duration, "the password has expired: the user may choose another");
            }
            Decision::Refuse(refusal) => {
                info!(event = "auth_result", user.name = %user.display(), method = method.as_str(),
                radius.server = server, radius.result = result, radius.duration_ms = duration, reason = refusal.reason.as_str(),
                radius.message = refusal.rejection.message.as_deref(), note = explanation, "log-in refused");
            }
        }
        (seat, decision)
    }

    /// Turns what the authenticator allowed into what the client gets.
    fn admit(&self, seat: &mut Seat, authorization: &Authorization) -> Result<Grant, Refusal> {
        let settings = self.settings.load();
        let filter = filter(&settings, authorization)?;
        let lease = self.lease(&settings, authorization)?;
        let limits = limits(&settings, authorization)?;
        let network = self.seat(seat, authorization, (filter, lease, limits))?;
        Ok(Grant {
            user: authorization.user.clone(),
            proof: authorization.proof.clone(),
            keys: authorization.keys.clone(),
            network,
            limits,
        })
    }

    /// Gives the client its place in the table and in the network.
    fn seat(
        &self,
        seat: &mut Seat,
        authorization: &Authorization,
        (filter, lease, limits): (Option<Arc<Filter>>, Lease, Limits),
    ) -> Result<NetworkConfig, Refusal> {
        let settings = self.settings.load();
        let network = NetworkConfig {
            address: lease.address(),
            gateway: lease.gateway(),
            dns: first_two(&authorization.dns, &settings.dns),
            wins: first_two(&authorization.wins, &settings.wins),
            mtu: mtu(&settings, authorization)?,
        };
        let user = authorization.user.clone();
        let admitted = Admitted {
            user: user.clone(),
            lease,
            limits,
        };
        seat.guard.admit(admitted).map_err(|error| match error {
            TableError::Full | TableError::TooManyForUser | TableError::IdTaken => {
                info!(user.name = %user.display(), %error, "no place");
                Refusal::new(RefuseReason::Busy)
            }
        })?;
        seat.user = user;
        seat.network = Some(network.clone());
        seat.guard.update(|facts| {
            facts.filter = filter.as_ref().map(|filter| filter.name().to_owned());
        });
        seat.filter = filter;
        Ok(network)
    }

    /// Gives the client the networks behind it that the authenticator names.
    async fn route(
        &self,
        seat: &mut Seat,
        authorization: &Authorization,
        remote: IpAddr,
    ) -> Result<(), Refusal> {
        if authorization.routes.is_empty() {
            return Ok(());
        }
        let (Some(book), Some(network)) = (&self.routes, &seat.network) else {
            info!(
                routes = authorization.routes.len(),
                "Framed-Route is not honoured; `radius.framed_routes` says in which networks it would be"
            );
            return Ok(());
        };
        let taken = book
            .take(&authorization.routes, network.address, remote)
            .await;
        let lease = taken.map_err(|error| {
            info!(
                %error,
                "Framed-Route names a network that cannot be behind this client; change the policy or `radius.framed_routes`"
            );
            let reason = match error {
                // The other session may end.
                RouteError::Taken { .. } => RefuseReason::NoAddress,
                RouteError::TooMany(_)
                | RouteError::Gateway { .. }
                | RouteError::NotAllowed(_)
                | RouteError::Own { .. }
                | RouteError::Kernel { .. } => RefuseReason::BadAuthorization,
            };
            Refusal::new(reason)
        })?;
        seat.networks = lease.networks().collect();
        let named: Vec<String> = seat.networks.iter().map(ToString::to_string).collect();
        info!(networks = named.join(","), "networks behind the client");
        seat.guard.update(|facts| facts.networks = named);
        seat.guard.set_routes(lease);
        Ok(())
    }

    fn lease(&self, settings: &Settings, authorization: &Authorization) -> Result<Lease, Refusal> {
        let wanted = match authorization.address {
            FramedAddress::Fixed(address) if settings.framed_ip => Some(address),
            FramedAddress::Fixed(_) | FramedAddress::Pool | FramedAddress::ClientChooses => None,
        };
        let pool = authorization.pool.as_deref();
        let user = &authorization.user;
        let leased = match wanted {
            Some(address) if is_absurd(address) => Err(LeaseError::Unusable(address)),
            Some(_) | None => self.pools.lease(user, None, pool, wanted),
        };
        leased.map_err(|error| {
            let reason = match error {
                LeaseError::Exhausted | LeaseError::Taken(_) => {
                    info!(%error, pool, "no address");
                    RefuseReason::NoAddress
                }
                LeaseError::Unusable(_) => {
                    info!(%error, "Framed-IP-Address is a network's, a broadcast, the gateway's own or no host's address; change the policy");
                    RefuseReason::BadAuthorization
                }
                LeaseError::Outside(_) => {
                    info!(%error, "Framed-IP-Address is in no pool of this gateway; add [pools.NAME] with its network and `framed_only = true`, or set radius.framed_ip = false");
                    RefuseReason::BadAuthorization
                }
                // Operators' mistakes, not a stranger's.
                LeaseError::FramedOnly => {
                    warn!(pool, "Framed-Pool names a pool with `framed_only = true`, and the user has no Framed-IP-Address; add one or name another pool");
                    RefuseReason::BadAuthorization
                }
                LeaseError::UnknownPool => {
                    warn!(pool, "Framed-Pool names a pool that is not configured; add [pools.NAME] or change the policy");
                    RefuseReason::BadAuthorization
                }
            };
            Refusal::new(reason)
        })
    }
}

/// What a step of a log-in came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Accepted,
    /// It goes on.
    Open,
    Refused(RefuseReason),
}

impl End {
    /// Returns it; `may_change` is whether a password that has expired may be changed now.
    fn of(decision: &Decision, may_change: bool) -> Self {
        match decision {
            Decision::Admit(_) => Self::Accepted,
            Decision::Challenge(_) => Self::Open,
            Decision::Refuse(refusal) if may_change && refusal.rejection.is_expired_password() => {
                Self::Open
            }
            Decision::Refuse(refusal) => Self::Refused(refusal.reason),
        }
    }
}

/// Counts what a log-in came to; a challenge is not its end.
fn count(protocol: &'static str, method: &'static str, end: End, elapsed: Duration) {
    let outcome = match end {
        End::Accepted => "accept",
        End::Open => return,
        End::Refused(reason) => {
            let reason = reason.as_str();
            metrics::counter!("causeway_session_setup_failures_total",
                "protocol" => protocol, "stage" => "auth", "reason" => reason)
            .increment(1);
            reason
        }
    };
    metrics::counter!("causeway_auth_total", "protocol" => protocol, "method" => method, "outcome" => outcome).increment(1);
    metrics::histogram!("causeway_auth_seconds", "protocol" => protocol, "method" => method, "outcome" => outcome).record(elapsed);
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
