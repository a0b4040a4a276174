//! Sessions of the table as an accounting server hears of them, with answers that get lost and gateways that are killed.

mod kills;
mod oracle;
mod oracle_tls;
mod reports;
mod tls;
mod whole;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use causeway::accounting::{Accounting, Config, Driver, Server};
use causeway::ids::SessionId;
use causeway::session::{
    AddressPool, Admitted, PoolConfig, Session, SessionGuard, SessionTable, TableLimits,
};
use causeway_proto::aaa::{
    Applicant, AuthMethod, Authorization, FramedAddress, Identity, Limits, Proof, TunnelKind,
};
use causeway_proto::activity::Activity;
use causeway_proto::radius::access::Nas;
use causeway_proto::radius::accounting::{Authentic, Report, Status};
use harness::accounting_server::{AccountingServer, SECRET};
use harness::lab::is_long;

/// Everything that reports, and no tunnel.
struct Gateway {
    accounting: Accounting,
    table: Arc<SessionTable>,
    pool: Arc<AddressPool>,
}

fn config(servers: &[SocketAddr], queue: &Path) -> Config {
    let server = |(n, endpoint): (usize, &SocketAddr)| Server {
        name: format!("nps{n}"),
        endpoint: *endpoint,
        secret: SECRET.into(),
        source: None,
        tls: None,
    };
    Config {
        servers: servers.iter().enumerate().map(server).collect(),
        nas: Nas {
            identifier: "gw-test".into(),
            ipv4: Some([127, 0, 0, 1].into()),
            ipv6: None,
        },
        interim: Duration::ZERO,
        class: true,
        queue: queue.to_owned(),
        queue_max: 100_000,
        flight: Duration::from_millis(100),
    }
}

impl Gateway {
    /// Starts it on the current runtime.
    fn start(config: Config) -> Self {
        let (gateway, driver) = Self::new(config);
        tokio::spawn(driver.run());
        gateway
    }

    fn new(config: Config) -> (Self, Driver) {
        let (accounting, driver) = Accounting::start(config).unwrap();
        let limits = TableLimits {
            sessions: 50_000,
            per_user: 50_000,
            pending: 50_000,
        };
        let (table, _) = SessionTable::with_accounting(limits, accounting.clone());
        let net = "10.0.0.0/16".parse().unwrap();
        let gateway = PoolConfig::first_usable(net);
        let pool = PoolConfig::new("users", &[net], &[], gateway, Duration::ZERO).unwrap();
        let gateway = Self {
            accounting,
            table,
            pool: Arc::new(AddressPool::new(pool)),
        };
        (gateway, driver)
    }

    /// Brings a session up.
    fn up(&self, number: u32, began: u64) -> (SessionGuard, Arc<Activity>, String) {
        let user = Identity::new(b"CORP\\alice").unwrap();
        let id = SessionId::new(number);
        let activity = Arc::new(Activity::default());
        let session = Session {
            id,
            user: user.clone(),
            protocol: TunnelKind::Sstp,
            remote: "198.51.100.7:50123".parse().unwrap(),
            correlation: None,
            activity: Arc::clone(&activity),
        };
        let (mut guard, _commands) = self.table.register(session).unwrap();
        let lease = self.pool.lease(&user, None, None).unwrap();
        let address = lease.address();
        let applicant = applicant(id.accounting_id(began));
        let account = self
            .accounting
            .account(
                &applicant,
                &authorization(user.clone()),
                (Some(AuthMethod::MsChapV2), Authentic::Radius),
                address,
            )
            .unwrap();
        guard.set_account(account);
        let limits = Limits::default();
        guard
            .admit(Admitted {
                user,
                lease,
                limits,
            })
            .unwrap();
        guard.set_up();
        (guard, activity, applicant.session)
    }
}

fn applicant(session: String) -> Applicant {
    Applicant {
        nas_port: 7,
        connect_info: Some("SSTP TLS1.3".into()),
        mtu: 1400,
        ..Applicant::new(
            TunnelKind::Sstp,
            "198.51.100.7:50123".parse().unwrap(),
            "203.0.113.4:443".parse().unwrap(),
            session,
        )
    }
}

fn authorization(user: Identity) -> Authorization {
    Authorization {
        user,
        proof: Proof::Message(String::new()),
        keys: None,
        address: FramedAddress::Pool,
        pool: None,
        routes: Vec::new(),
        session_timeout: None,
        idle_timeout: None,
        interim: None,
        mtu: None,
        class: vec![b"first".to_vec(), b"second".to_vec()],
        filter: None,
        dns: Vec::new(),
        wins: Vec::new(),
        server: "nps0".into(),
        message: None,
    }
}

fn of<'a>(reports: &'a [Report], session: &str) -> Vec<&'a Report> {
    reports
        .iter()
        .filter(|report| report.session == session.as_bytes())
        .collect()
}

fn is_stop(report: &Report) -> bool {
    matches!(report.status, Status::Stop { .. })
}
