//! The desk that answers administrators: what the control socket asks, and what signals ask.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
    CertificateStatus, Drain, Pool, RadiusServer, Reloaded, Request, Response, Session,
    SessionCounts, Status, Target, rfc3339,
};
use crate::control::server::Asked;
use crate::front::Door;
use crate::front::tls::Certificates;
use crate::ids::SessionId;
use crate::observe::health::{Component, Health, Status as Part};
use crate::observe::metrics;
use crate::session::admission::Admission;
use crate::session::pool::Pools;
use crate::session::{SessionCommand, SessionTable, SessionView, State};
use crate::tunnel::sstp::Driver;

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

/// How far a drain has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum DrainState {
    Serving = 0,
    Notice = 1,
    Disconnecting = 2,
    Drained = 3,
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
            drain: AtomicU8::new(DrainState::Serving as u8),
            drains: watch::Sender::new(0),
            drained: watch::Sender::new(false),
        })
    }

    /// Says from which file a reload reads.
    pub fn set_file(&self, file: std::path::PathBuf) {
        self.plan().file = Some(file);
    }

    /// Answers requests until nobody can ask any more.
    pub async fn answer(self: Arc<Self>, mut questions: mpsc::Receiver<Asked>) {
        while let Some((request, reply)) = questions.recv().await {
            let response = self.respond(request);
            // A command that was interrupted does not wait for its answer.
            drop(reply.send(response));
        }
    }

    fn respond(self: &Arc<Self>, request: Request) -> Response {
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
        let old = &plan.running;
        let pace = config::Limits {
            new_per_second: new.limits.new_per_second,
            ..old.limits
        };
        if pace != new.limits {
            self.table.set_limits(new.limits.table);
            report.applied.push("limits".to_owned());
        }
        if old.drain != new.drain {
            report.applied.push("drain".to_owned());
        }
        if old.sstp.auth != new.sstp.auth
            || old.sstp.crypto_binding != new.sstp.crypto_binding
            || old.sstp.record_packing != new.sstp.record_packing
            || old.sstp.hello_interval != new.sstp.hello_interval
            || old.sstp.auth_timeout != new.sstp.auth_timeout
        {
            let supports = |method: AuthMethod| self.authenticator.supports(method);
            self.driver
                .config
                .store(Arc::new(translate::sstp(new, supports)));
            report.new_sessions.push("sstp".to_owned());
        }
        if old.network.dns != new.network.dns || old.radius.framed_ip != new.radius.framed_ip {
            report.new_sessions.push("network.dns".to_owned());
        }
        if old.filters != new.filters {
            report.new_sessions.push("filters".to_owned());
        }
        self.admission.set_settings(translate::admission(new));
        for (name, same) in [
            ("gateway", old.gateway == new.gateway),
            ("limits.new_per_second", pace == old.limits),
            ("pools", old.pools == new.pools),
            ("network.tun", old.network.tun == new.network.tun),
            ("sstp.listen", old.sstp.listen == new.sstp.listen),
            ("users", old.users == new.users),
            ("radius", old.radius == new.radius),
            ("health", old.health == new.health),
            ("admin", old.admin == new.admin),
            ("log", old.log == new.log),
        ] {
            if !same {
                report.needs_restart.push(name.to_owned());
            }
        }
        let file = plan.file.take();
        *plan = Plan {
            file,
            ..Plan::of(new)
        };
    }

    /// Begins to drain; a second call while one runs changes nothing.
    pub fn begin_drain(self: &Arc<Self>, notice: Duration, over: Duration) {
        if self.drain_state() != DrainState::Serving {
            return;
        }
        self.enter(DrainState::Notice);
        self.health
            .set(Component::Drain, Part::Down("draining".to_owned()));
        let mut number = 0;
        self.drains.send_modify(|current| {
            *current += 1;
            number = *current;
        });
        info!(
            event = "drain",
            notice_s = notice.as_secs(),
            over_s = over.as_secs(),
            sessions = self.table.live(),
            "draining"
        );
        let desk = Arc::clone(self);
        tokio::spawn(async move {
            let mut current = desk.drains.subscribe();
            let run = desk.run_drain(notice, over);
            tokio::select! {
                () = run => {}
                _ = current.wait_for(|current| *current != number) => {}
            }
        });
    }

    async fn run_drain(&self, notice: Duration, over: Duration) {
        tokio::time::sleep(notice).await;
        self.door.close();
        self.admission.set_draining(true);
        self.enter(DrainState::Disconnecting);
        let sessions = self.table.snapshot();
        let pause = over / u32::try_from(sessions.len().max(1)).unwrap_or(u32::MAX);
        for session in sessions {
            self.table
                .command(session.id, SessionCommand::Terminate(TerminateCause::Drain));
            tokio::time::sleep(pause).await;
        }
        // Those that came during the notice, and those that say good-bye slowly.
        for _ in 0..50 {
            if self
                .table
                .command_all(&SessionCommand::Terminate(TerminateCause::Drain))
                == 0
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.enter(DrainState::Drained);
        info!(event = "drain", "drained");
        self.drained.send_replace(true);
    }

    fn cancel_drain(&self) {
        self.drains.send_modify(|current| *current += 1);
        self.enter(DrainState::Serving);
        self.drained.send_replace(false);
        self.door.open();
        self.admission.set_draining(false);
        self.health.set(Component::Drain, Part::Ok);
        info!(event = "drain", "drain cancelled");
    }

    /// Waits until a drain has come to its end.
    pub async fn drained(&self) {
        let mut drained = self.drained.subscribe();
        if drained.wait_for(|drained| *drained).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The configured times of a drain.
    #[must_use]
    pub fn drain_times(&self) -> (Duration, Duration) {
        let plan = self.plan();
        (plan.notice, plan.over)
    }

    fn enter(&self, state: DrainState) {
        self.drain.store(state as u8, Ordering::Relaxed);
        let gauge = match state {
            DrainState::Serving => 0,
            DrainState::Notice | DrainState::Disconnecting => 1,
            DrainState::Drained => 2,
        };
        metrics::drain(gauge, if gauge == 1 { self.table.live() } else { 0 });
    }

    fn drain_state(&self) -> DrainState {
        match self.drain.load(Ordering::Relaxed) {
            0 => DrainState::Serving,
            1 => DrainState::Notice,
            2 => DrainState::Disconnecting,
            _ => DrainState::Drained,
        }
    }

    fn drain_report(&self, notice: Duration, over: Duration) -> Drain {
        let sessions = self.table.live();
        Drain {
            state: match self.drain_state() {
                DrainState::Serving => "serving",
                DrainState::Notice => "notice",
                DrainState::Disconnecting => "disconnecting",
                DrainState::Drained => "drained",
            }
            .to_owned(),
            sessions,
            mfa_prompts: if self.plan().mfa { sessions } else { 0 },
            notice_seconds: notice.as_secs(),
            over_seconds: over.as_secs(),
        }
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
