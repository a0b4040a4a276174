//! The desk that answers administrators: what the control socket asks, and what signals ask.

use std::sync::atomic::AtomicU8;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use causeway_proto::aaa::{AuthMethod, Identity};
use causeway_proto::terminate::TerminateCause;
use tokio::sync::{mpsc, watch};
use tracing::info;

use super::error::chain;
use super::translate;
use crate::auth::{AuthHealth, Authenticator};
use crate::config::{self, Base, Config};
use crate::control::protocol::{
    CertificateStatus, Pool, RadiusServer, Reloaded, Request, Response, Session, SessionCounts,
    Status, Target, rfc3339,
};
use crate::control::server::Asked;
use crate::front::Door;
use crate::front::tls::Certificates;
use crate::ids::SessionId;
use crate::observe::health::Health;
use crate::observe::metrics;
use crate::session::admission::Admission;
use crate::session::pool::Pools;
use crate::session::{SessionCommand, SessionTable, SessionView, State};
use crate::tunnel::sstp::Driver;

mod devices;
mod drain;
mod reload;

pub(super) use devices::Devices;
use drain::DrainState;
use reload::Change;

/// What the desk has to know of the configuration.
#[derive(Clone, Debug)]
pub struct Plan {
    name: String,
    healthy: u16,
    limit: usize,
    notice: Duration,
    over: Duration,
    mfa: bool,
    file: Option<std::path::PathBuf>,
    running: Config,
}

impl Plan {
    /// Takes it from the configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            name: config.gateway.name.clone(),
            healthy: config.sstp.health_status,
            limit: config.limits.table.sessions,
            notice: config.drain.notice,
            over: config.drain.on_sigterm,
            mfa: config.radius.mfa && !config.radius.servers.is_empty(),
            file: None,
            running: config.clone(),
        }
    }
}

/// The desk.
#[derive(Debug)]
pub struct Desk {
    plan: Mutex<Plan>,
    started: Instant,
    started_at: SystemTime,
    health: Arc<Health>,
    table: Arc<SessionTable>,
    pools: Pools,
    authenticator: Arc<Authenticator>,
    certificates: Arc<Certificates>,
    door: Arc<Door>,
    admission: Arc<Admission>,
    driver: Arc<Driver>,
    /// Nothing when the Mobility tunnel is off.
    devices: OnceLock<Devices>,
    drain: AtomicU8,
    /// The number of the drain that runs; a cancelled one sees that it is no longer the one.
    drains: watch::Sender<u64>,
    drained: watch::Sender<bool>,
}

impl Desk {
    /// Makes the desk.
    #[must_use]
    #[expect(
        clippy::too_many_arguments,
        reason = "the desk stands before every room; startup alone calls this"
    )]
    pub fn new(
        plan: Plan,
        health: Arc<Health>,
        table: Arc<SessionTable>,
        pools: Pools,
        authenticator: Arc<Authenticator>,
        certificates: Arc<Certificates>,
        door: Arc<Door>,
        admission: Arc<Admission>,
        driver: Arc<Driver>,
    ) -> Arc<Self> {
        Arc::new(Self {
            plan: Mutex::new(plan),
            started: Instant::now(),
            started_at: SystemTime::now(),
            health,
            table,
            pools,
            authenticator,
            certificates,
            door,
            admission,
            driver,
            devices: OnceLock::new(),
            drain: AtomicU8::new(DrainState::Serving as u8),
            drains: watch::Sender::new(0),
            drained: watch::Sender::new(false),
        })
    }

    /// Says who knows the enrolled devices; only once.
    pub(super) fn set_devices(&self, devices: Devices) {
        if self.devices.set(devices).is_err() {
            debug_assert!(false, "the devices were set twice");
        }
    }

    /// Says from which file a reload reads.
    pub fn set_file(&self, file: std::path::PathBuf) {
        self.plan().file = Some(file);
    }

    /// Answers requests until nobody can ask any more.
    pub async fn answer(self: Arc<Self>, mut questions: mpsc::Receiver<Asked>) {
        while let Some((request, reply)) = questions.recv().await {
            let response = self.respond(request);
            match self.devices.get() {
                Some(devices) if response.is_to_last() => {
                    let devices = devices.clone();
                    tokio::spawn(async move {
                        drop(reply.send(devices.settled(response).await));
                    });
                }
                // A command that was interrupted does not wait for its answer.
                Some(_) | None => drop(reply.send(response)),
            }
        }
    }

    /// Answers what is asked about devices.
    fn about_devices(&self, answer: impl FnOnce(&Devices, &SessionTable) -> Response) -> Response {
        self.devices.get().map_or_else(
            || {
                failed(
                    "E0701",
                    "the Mobility tunnel is off: `mobility.private_key` turns it on".to_owned(),
                )
            },
            |devices| answer(devices, &self.table),
        )
    }

    /// Answers one request; what it changes about devices may not be on disk yet.
    pub fn respond(self: &Arc<Self>, request: Request) -> Response {
        match request {
            Request::Status => Response::Status(Box::new(self.status())),
            Request::Sessions { protocol, user } => Response::Sessions {
                sessions: self
                    .table
                    .snapshot()
                    .iter()
                    .map(Session::from)
                    .filter(|session| {
                        protocol
                            .as_ref()
                            .is_none_or(|wanted| session.protocol == *wanted)
                    })
                    .filter(|session| {
                        user.as_ref().is_none_or(|wanted| {
                            session.user.to_lowercase() == wanted.to_lowercase()
                        })
                    })
                    .collect(),
            },
            Request::Session { id } => match self.by_id(&id).as_slice() {
                [session] => Response::Session {
                    session: Box::new(Session::from(session)),
                },
                _ => Response::NotFound {
                    what: format!("session {id}"),
                },
            },
            Request::Disconnect {
                target,
                reason,
                dry_run,
            } => self.disconnect(&target, reason.as_deref(), dry_run),
            Request::Reload => self.reload(),
            Request::Devices { user } => {
                self.about_devices(|devices, table| devices.list(user.as_deref(), table))
            }
            Request::Device { what } => {
                self.about_devices(|devices, table| devices.show(&what, table))
            }
            Request::DeviceProfile { what } => {
                self.about_devices(|devices, table| devices.profile(&what, table))
            }
            Request::DeviceAdd(new) => {
                self.about_devices(|devices, table| devices.add(&new, table))
            }
            Request::DeviceRevoke { what, dry_run } => {
                self.about_devices(|devices, table| devices.revoke(&what, dry_run, table))
            }
            Request::Drain {
                notice_seconds,
                over_seconds,
                dry_run,
            } => {
                let (notice, over) = {
                    let plan = self.plan();
                    (
                        notice_seconds.map_or(plan.notice, Duration::from_secs),
                        over_seconds.map_or(plan.over, Duration::from_secs),
                    )
                };
                if !dry_run {
                    self.begin_drain(notice, over);
                }
                Response::Drain(self.drain_report(notice, over))
            }
            Request::DrainCancel => {
                self.cancel_drain();
                Response::Drain(self.drain_report(Duration::ZERO, Duration::ZERO))
            }
        }
    }

    /// Returns the state of the gateway.
    #[must_use]
    pub fn status(&self) -> Status {
        let plan = self.plan().clone();
        let certificate = self.certificates.current();
        let left = certificate
            .not_after()
            .duration_since(SystemTime::now())
            .unwrap_or_default();
        let mut status = Status {
            name: plan.name,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: rfc3339(self.started_at),
            uptime_seconds: self.started.elapsed().as_secs(),
            sessions: SessionCounts {
                up: self.table.count(State::Up),
                unreachable: self.table.count(State::Unreachable),
                authenticating: self.table.count(State::Authenticating),
                limit: plan.limit,
            },
            pools: self
                .pools
                .usage()
                .into_iter()
                .map(|(name, usage)| Pool {
                    name,
                    used: count(usage.used),
                    free: count(usage.free),
                    reserved: count(usage.reserved),
                })
                .collect(),
            radius: self.radius(&plan.running),
            certificate: Some(CertificateStatus {
                names: certificate.names().to_vec(),
                not_after: rfc3339(certificate.not_after()),
                days_left: left.as_secs() / 86_400,
            }),
            drain: (self.drain_state() != DrainState::Serving)
                .then(|| self.drain_report(plan.notice, plan.over)),
            ..Status::default()
        };
        status.judge(&self.health, plan.healthy);
        status
    }

    fn radius(&self, config: &Config) -> Vec<RadiusServer> {
        let down = match self.authenticator.health() {
            AuthHealth::Up => Vec::new(),
            AuthHealth::Degraded { down } => down,
            AuthHealth::Down { .. } => config
                .radius
                .servers
                .iter()
                .map(|server| server.name.clone())
                .collect(),
        };
        let row = |server: &config::Server| RadiusServer {
            name: server.name.clone(),
            up: !down.contains(&server.name),
            pending: 0,
        };
        config.radius.servers.iter().map(row).collect()
    }

    fn by_id(&self, prefix: &str) -> Vec<SessionView> {
        if let Some(id) = SessionId::parse(prefix) {
            return self.table.find(id).into_iter().collect();
        }
        let all = self.table.snapshot();
        all.into_iter()
            .filter(|view| {
                let whole = view.facts.accounting.as_deref() == Some(prefix);
                whole || (!prefix.is_empty() && view.id.to_string().starts_with(prefix))
            })
            .collect()
    }

    fn disconnect(&self, target: &Target, reason: Option<&str>, dry_run: bool) -> Response {
        let (found, what) = match target {
            Target::Id(id) => (self.by_id(id), format!("session {id}")),
            Target::User(user) => {
                let found = Identity::new(user.as_bytes()).map(|user| self.table.find_user(&user));
                (found.unwrap_or_default(), format!("user {user}"))
            }
            Target::Ip(std::net::IpAddr::V4(ip)) => (
                self.table.find_address(*ip).into_iter().collect(),
                format!("address {ip}"),
            ),
            Target::Ip(ip) => (Vec::new(), format!("address {ip}")),
            Target::All => (self.table.snapshot(), "any session".to_owned()),
        };
        if found.is_empty() && !matches!(target, Target::All) {
            return Response::NotFound { what };
        }
        if !dry_run {
            for session in &found {
                info!(event = "disconnect", session = %session.id, reason = reason.unwrap_or_default(), "an administrator ends a session");
                self.table
                    .command(session.id, SessionCommand::Terminate(TerminateCause::Admin));
            }
        }
        Response::Disconnected {
            sessions: found.len(),
            dry_run,
        }
    }

    /// Reads certificate and configuration again.
    pub fn reload(&self) -> Response {
        let file = self.plan().file.clone();
        let mut report = Reloaded::default();
        if let Err(error) = self.certificates.reload() {
            metrics::reloaded(false);
            return failed(
                "E0302",
                format!("the certificate stays as it was: {}", chain(&error)),
            );
        }
        report.applied.push("sstp.certificate".to_owned());
        if let Some(file) = file {
            match config::load(&config::Options::of_process(Base::File(file))) {
                Ok(loaded) => self.apply(&loaded.config, &mut report),
                Err(wrong) => {
                    metrics::reloaded(false);
                    return failed(
                        "E0203",
                        format!(
                            "nothing was changed:\n{}",
                            wrong.render(config::Colours::Off)
                        ),
                    );
                }
            }
        }
        metrics::reloaded(true);
        info!(event = "reload", applied = ?report.applied, needs_restart = ?report.needs_restart, "configuration read again");
        Response::Reloaded(report)
    }

    fn apply(&self, new: &Config, report: &mut Reloaded) {
        let mut plan = self.plan();
        let Change {
            running,
            report: found,
            sstp,
            limits,
        } = reload::compare(&plan.running, new);
        if limits {
            self.table.set_limits(running.limits.table);
        }
        if sstp {
            let supports = |method: AuthMethod| self.authenticator.supports(method);
            self.driver
                .config
                .store(Arc::new(translate::sstp(&running, supports)));
        }
        if let (Some(devices), Some(mobility)) = (self.devices.get(), &running.mobility) {
            devices.change(&running, mobility);
        }
        self.admission.set_settings(translate::admission(&running));
        report.applied.extend(found.applied);
        report.new_sessions = found.new_sessions;
        report.needs_restart = found.needs_restart;
        let file = plan.file.take();
        *plan = Plan {
            file,
            ..Plan::of(&running)
        };
    }

    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn failed(code: &str, message: String) -> Response {
    Response::Failed {
        code: Some(code.to_owned()),
        message,
    }
}
