//! A gateway in this process: every room built in floor order, each with only what it needs.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use causeway_proto::sstp::http::{ClientShape, client_shape};
use tokio::sync::mpsc;

use super::authority::Authority;
use super::desk::{Desk, Devices, Plan};
use super::error::StartupError;
use super::mobility::{House, Sockets};
use super::{publish, translate};
use crate::accounting::{self, Accounting};
use crate::auth::{Authenticator, RadiusAuthenticator, UserFile};
use crate::config::Config;
use crate::control::server::Server;
use crate::dataplane::{DataPlane, clock};
use crate::dynauth;
use crate::front::tls::Certificates;
use crate::front::{Door, Front, SstpConnection};
use crate::observe::exporter::{Exporter, StatusPage};
use crate::observe::health::{Component, Health, Status};
use crate::observe::metrics::{self, Metrics};
use crate::os::netlink::{self, Router};
use crate::os::tun::Device;
use crate::os::udp::Group;
use crate::radius::{self, Transport};
use crate::session::admission::Admission;
use crate::session::peers::Peers;
use crate::session::pool::{PoolConfig, Pools};
use crate::session::routes::RouteBook;
use crate::session::{SessionTable, lifetime};
use crate::task::{self, Stop, StopHandle, Tasks};
use crate::tunnel::sstp as driver;

/// How many calls may wait between the front door and the driver.
const HANDOVER: usize = 64;

/// What was made while the process still had its privileges.
#[derive(Debug)]
pub struct Parts {
    /// The listeners of the front door.
    pub listeners: Vec<TcpListener>,
    /// The listener of the exporter.
    pub admin: Option<TcpListener>,
    /// The sockets of the Mobility tunnel, for each listen address; none when it is off.
    pub mobility: Vec<Group>,
    /// The control socket.
    pub control: Option<Server>,
    /// What the front door shows; read while a key for root's eyes can be.
    pub certificates: Certificates,
    /// Who decides about log-ins.
    pub authority: Authority,
    /// The device.
    pub device: Device,
    /// The recorder of the metrics.
    pub metrics: Metrics,
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// Whether it is well.
    pub health: Arc<Health>,
    /// Its sessions.
    pub table: Arc<SessionTable>,
    /// Its certificates.
    pub certificates: Arc<Certificates>,
    /// The desk that answers administrators, and drains.
    pub desk: Arc<Desk>,
    /// Its register of devices, when the Mobility tunnel is on.
    pub peers: Option<Arc<Peers>>,
    /// Where the front door listens.
    pub addresses: Vec<SocketAddr>,
    /// Where the Mobility tunnel does.
    pub mobility: Vec<SocketAddr>,
    data_plane: Arc<DataPlane>,
    accounting: Accounting,
    tasks: Tasks,
    stop: StopHandle,
}

impl Gateway {
    /// Builds and starts everything.
    ///
    /// # Errors
    ///
    /// When a room cannot be built.
    #[expect(
        clippy::too_many_lines,
        reason = "every room once, in floor order; a split would hide the order"
    )]
    pub fn start(config: &Config, parts: Parts) -> Result<Self, StartupError> {
        let (handle, stop) = task::stop();
        let mut tasks = Tasks::new();
        let health = Arc::new(Health::new(config.health_rules()));
        let addresses: Vec<SocketAddr> = parts
            .listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect();
        let certificates = Arc::new(parts.certificates);
        let device_name = parts.device.name().to_owned();
        let (sockets, listeners) = Sockets::of(parts.mobility);
        let data_plane = DataPlane::start_with(parts.device, config.dataplane(), listeners)
            .map_err(StartupError::DataPlane)?;
        let data_plane = Arc::new(data_plane);
        let Authority {
            radius,
            accounting: accounts,
            dynauth,
            users,
            mobility,
        } = parts.authority;
        let authenticator = Arc::new(authenticator(config, radius, users, &mut tasks)?);
        let pools = Pools::new(config.pools.default.clone(), config.pools.others.clone());
        let accounting = accounting(accounts, &mut tasks)?;
        let (table, changes) =
            SessionTable::with_accounting(config.limits.table, accounting.clone());
        tasks.spawn(
            "session lifetimes",
            lifetime::run(Arc::clone(&table), changes, clock::coarse_ms),
        );
        let configured = super::mobility::found(config, &sockets);
        let mobility_addresses = sockets.addresses.clone();
        let devices = match (&configured, &mobility) {
            (Some(mobility), Some(key)) => {
                let own = (mobility, key.public());
                let life = (&mut tasks, stop.clone());
                Some(Devices::open(config, own, &pools, &authenticator, life)?)
            }
            (_, _) => None,
        };
        let admission = Admission::new(
            Arc::clone(&authenticator),
            Arc::clone(&table),
            pools.clone(),
            translate::admission(config),
        );
        let admission =
            Arc::new(admission.with_routes(route_book(config, &mut tasks, stop.clone())));
        dynamic_authorization(config, dynauth, &admission, &mut tasks, &stop)?;
        let mut enrolment = None;
        if let (Some(devices), Some(mobility), Some(key)) = (&devices, &configured, &mobility) {
            let house = House {
                config,
                mobility,
                key,
                peers: &devices.peers,
                admission: &admission,
            };
            house.drive(sockets, &data_plane, (&mut tasks, stop.clone()))?;
            let server = translate::front(config).server;
            enrolment = house.take_logins(server, (&mut tasks, stop.clone()));
            health.set(Component::Mobility, Status::Ok);
        }
        let sstp = translate::sstp(config, |method| authenticator.supports(method));
        if let causeway_proto::ppp::RoleConfig::Server(server) = &sstp.machine.ppp.role
            && server.auth.is_empty()
        {
            return Err(StartupError::NoMethod);
        }
        let driver = Arc::new(driver::Driver {
            config: arc_swap::ArcSwap::from_pointee(sstp),
            admission: Arc::clone(&admission),
            data_plane: Arc::clone(&data_plane),
        });
        let door = Arc::new(Door::default());
        let (calls, arriving) = mpsc::channel(HANDOVER);
        let (accepted, handed) = mpsc::channel(HANDOVER);
        tasks.spawn("hand-over", hand_over(handed, calls));
        tasks.spawn("sstp", Arc::clone(&driver).run(arriving, stop.clone()));
        let mut front = Front::new(
            translate::front(config),
            Arc::clone(&certificates),
            Arc::clone(&health),
            Arc::clone(&door),
            accepted,
        );
        if let Some(enrolment) = enrolment {
            front = front.with_enrolment(enrolment);
        }
        let front = Arc::new(front);
        for listener in parts.listeners {
            let listener =
                tokio::net::TcpListener::from_std(listener).map_err(StartupError::Socket)?;
            tasks.spawn(
                "front door",
                Arc::clone(&front).serve(listener, stop.clone()),
            );
        }
        drop(front);
        health.set(Component::Sstp, Status::Ok);
        let watched = (Arc::clone(&certificates), stop.clone());
        tasks.spawn("certificate watch", async move {
            watched.0.watch(watched.1).await;
        });
        let page = StatusPage::default();
        if let Some(listener) = parts.admin {
            let listener =
                tokio::net::TcpListener::from_std(listener).map_err(StartupError::Socket)?;
            let allow = config.admin.allow.clone();
            let exporter = Exporter::new(
                allow,
                parts.metrics.clone(),
                Arc::clone(&health),
                page.clone(),
            );
            tasks.spawn("exporter", exporter.serve(listener, stop.clone()));
        }
        let desk = Desk::new(
            Plan::of(config),
            Arc::clone(&health),
            Arc::clone(&table),
            pools.clone(),
            Arc::clone(&authenticator),
            Arc::clone(&certificates),
            door,
            Arc::clone(&admission),
            Arc::clone(&driver),
        );
        if let Some(devices) = &devices {
            desk.set_devices(devices.clone());
        }
        if let Some(server) = parts.control {
            let (asked, questions) = mpsc::channel(16);
            tasks.spawn("control socket", server.serve(asked, stop.clone()));
            tasks.spawn("desk", Arc::clone(&desk).answer(questions));
        }
        let parts_of_health = publish::Parts {
            health: Arc::clone(&health),
            data_plane: Arc::clone(&data_plane),
            pool: Arc::clone(pools.default_pool()),
            authenticator,
            certificates: Arc::clone(&certificates),
            pool_min_free: config.health.pool_min_free,
            cert_min: publish::cert_min(config),
        };
        let hooks = vec![
            publish::packet_path(Arc::clone(&data_plane)),
            publish::health(parts_of_health),
            publish::status_page(Arc::clone(&desk), page),
        ];
        tasks.spawn(
            "publisher",
            metrics::publish_every_second(parts.metrics, hooks, stop),
        );
        metrics::ready();
        tracing::info!(event = "ready", tun = device_name, listen = ?addresses, "the gateway takes clients");
        Ok(Self {
            health,
            table,
            certificates,
            desk,
            peers: devices.map(|devices| devices.peers),
            addresses,
            mobility: mobility_addresses,
            data_plane,
            accounting,
            tasks,
            stop: handle,
        })
    }

    /// Waits until a task ends that should not have, and returns its name.
    pub async fn failed(&mut self) -> String {
        self.tasks
            .next_ended()
            .await
            .unwrap_or_else(|| "all".to_owned())
    }

    /// Ends every session politely, then everything.
    pub async fn stop(mut self) {
        self.stop.stop();
        let limit = std::time::Duration::from_secs(8);
        let begun = Instant::now();
        while self.table.live() > 0 && begun.elapsed() < limit {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        // Behind the last Stop.
        self.accounting.finish().await;
        if tokio::time::timeout(std::time::Duration::from_secs(2), self.tasks.join())
            .await
            .is_err()
        {
            tracing::debug!("some tasks did not end in time");
        }
        // The threads are joined and the device is closed with the last handle.
        drop(self.data_plane);
    }
}

/// Makes the book of networks behind clients, and starts what tells the kernel of them.
fn route_book(config: &Config, tasks: &mut Tasks, mut stop: Stop) -> RouteBook {
    let allowed = config.radius.framed_routes.clone();
    let addressing = config.addressing().filter(|_| !allowed.is_empty());
    let router = addressing.map(|addressing| {
        let (router, orders) = Router::new();
        tasks.spawn("routes", async move {
            tokio::select! {
                () = netlink::run(orders, addressing.interface) => {}
                // The TUN goes, and its routes with it.
                () = stop.stopped() => {}
            }
        });
        router
    });
    let pools = config.pools.all().flat_map(PoolConfig::networks).copied();
    let servers = config.radius.servers.iter().map(|server| server.address);
    RouteBook::new(allowed, pools.collect(), servers.collect(), router)
}

/// Builds whoever decides about log-ins.
fn authenticator(
    config: &Config,
    radius: Option<radius::Config>,
    users: Option<UserFile>,
    tasks: &mut Tasks,
) -> Result<Authenticator, StartupError> {
    if let Some(radius) = radius {
        let mfa = radius.mfa;
        let (transport, driver) = Transport::new(radius).map_err(|_| StartupError::Random)?;
        tasks.spawn("radius", driver.run());
        let radius = RadiusAuthenticator::new(transport, mfa)
            .with_pap_code_split(config.radius.pap_code_split);
        return Ok(Authenticator::radius(radius, config.duplicate_logins()));
    }
    users
        .map(Authenticator::users)
        .ok_or(StartupError::NobodyDecides)
}

/// Starts to report sessions, if RADIUS servers decide about them.
fn accounting(
    settings: Option<accounting::Config>,
    tasks: &mut Tasks,
) -> Result<Accounting, StartupError> {
    let Some(settings) = settings else {
        return Ok(Accounting::off());
    };
    let (accounting, driver) = Accounting::start(settings).map_err(StartupError::Socket)?;
    tasks.spawn("accounting", driver.run());
    Ok(accounting)
}

/// Starts to listen to RADIUS servers that end or change sessions, if there is such a listener.
fn dynamic_authorization(
    config: &Config,
    settings: Option<dynauth::Config>,
    admission: &Arc<Admission>,
    tasks: &mut Tasks,
    stop: &Stop,
) -> Result<(), StartupError> {
    let (Some(listen), Some(settings)) = (&config.radius.dynamic_authorization, settings) else {
        return Ok(());
    };
    let address = listen.listen;
    let (table, door) = (Arc::clone(admission.table()), Arc::clone(admission));
    let filters = dynauth::Filters::new(move |name| door.filter(name));
    let listener = UdpSocket::bind(address)
        .and_then(|socket| dynauth::Listener::new(socket, settings, table, filters))
        .map_err(|source| StartupError::DynamicAuthorization { address, source })?;
    tasks.spawn("dynamic authorization", listener.run(stop.clone()));
    Ok(())
}

/// Turns the front door's connections into the driver's.
async fn hand_over(
    mut handed: mpsc::Receiver<SstpConnection>,
    calls: mpsc::Sender<driver::SstpConnection>,
) {
    while let Some(connection) = handed.recv().await {
        let eviction = connection.ticket.eviction();
        let call = driver::SstpConnection {
            reads_whole_records: client_shape(&connection.head) == ClientShape::Windows,
            correlation: connection.head.correlation,
            stream: connection.stream,
            tls: connection.tls,
            unread: connection.unread,
            certificate: connection.certificate,
            remote: connection.remote,
            local: connection.local,
            started: connection.started,
            place: Some(driver::Place {
                evicted: Box::pin(async move { eviction.evicted().await }),
                ticket: Box::new(connection.ticket),
            }),
        };
        if calls.send(call).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
