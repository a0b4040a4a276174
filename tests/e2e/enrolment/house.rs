//! A front door with the log-in behind it, and a client that speaks HTTP octet by octet.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use causeway::auth::{Authenticator, DuplicateLogins, RadiusAuthenticator};
use causeway::front::enrolment::{Enrolment, Gateway, Logins, Settings};
use causeway::front::tls::{Certificate, Certificates, MinTls, SelfMade};
use causeway::front::{self, Door, Front};
use causeway::observe::health::{self, Health};
use causeway::radius::{Config, Server, StatusServer, Transport};
use causeway::session::admission::{self, Admission};
use causeway::session::peers::{self, Peers};
use causeway::session::{PoolConfig, Pools, SessionTable, State, TableLimits};
use causeway::task::{self, StopHandle};
use causeway_proto::aaa::Limits;
use causeway_proto::wireguard::PublicKey;
use harness::radius_server::{RadiusServer, Script};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) const GATEWAY_KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
/// Nothing here lasts longer, unless it hangs.
pub(crate) const FAILSAFE: Duration = Duration::from_secs(60);

pub(crate) struct House {
    pub(crate) server: RadiusServer,
    pub(crate) table: Arc<SessionTable>,
    pub(crate) logins: Arc<Logins>,
    pub(crate) devices: Arc<Peers>,
    pub(crate) file: std::path::PathBuf,
    pub(crate) front: Arc<Front>,
    client: Client,
    _folder: tempfile::TempDir,
    _stop: StopHandle,
    _handed: mpsc::Receiver<front::SstpConnection>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Every value of a header field.
    pub(crate) fn fields(&self, name: &str) -> Vec<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// The value of a cookie that it sets.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.fields("set-cookie").into_iter().find_map(|cookie| {
            let (known, rest) = cookie.split_once('=')?;
            assert!(rest.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict"));
            (known == name).then(|| rest.split(';').next().unwrap())
        })
    }
}

impl House {
    pub(crate) async fn new(script: Script) -> Self {
        Self::with_pending(script, 100).await
    }

    /// A house in which so many log-ins may be pending.
    pub(crate) async fn with_pending(script: Script, pending: usize) -> Self {
        let server = RadiusServer::start(script).unwrap();
        let (transport, driver) = Transport::new(radius(server.address())).unwrap();
        tokio::spawn(driver.run());
        let authenticator = Authenticator::radius(
            RadiusAuthenticator::new(transport, true).with_pap_code_split(true),
            Some(DuplicateLogins::default()),
        );
        let (table, _) = SessionTable::new(TableLimits {
            sessions: 1000,
            per_user: 2,
            pending,
        });
        let pools = pools();
        let admission = Arc::new(Admission::new(
            Arc::new(authenticator),
            Arc::clone(&table),
            pools.clone(),
            door_settings(),
        ));
        let (stop_handle, stop) = task::stop();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("peers.toml");
        let (devices, keeper) = Peers::with_clock(&file, pools, device_settings(), clock).unwrap();
        tokio::spawn(keeper.run(stop.clone()));
        let (logins, jobs) = Logins::new(login_settings(pending), admission, Arc::clone(&devices));
        tokio::spawn(Arc::clone(&logins).run(jobs, stop.clone()));
        let made = SelfMade::new(&["localhost".to_owned()]).unwrap();
        let certificate = Certificate::from_pem(
            made.certificate.as_bytes(),
            made.key.as_bytes(),
            MinTls::Tls12,
        )
        .unwrap();
        let (handover, handed) = mpsc::channel(1);
        let front = Front::new(
            front::Config {
                new_per_second: 100_000,
                ..front::Config::default()
            },
            Arc::new(Certificates::fixed(certificate)),
            Arc::new(Health::new(health::Config::default())),
            Arc::new(Door::default()),
            handover,
        );
        let enrolment = Enrolment::new(Arc::clone(&logins), "Causeway".to_owned());
        let front = Arc::new(front.with_enrolment(Arc::new(enrolment)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(Arc::clone(&front).serve(listener, stop));
        Self {
            server,
            table,
            logins,
            devices,
            file,
            front,
            client: Client::new(address, made.certificate.as_bytes()),
            _folder: folder,
            _stop: stop_handle,
            _handed: handed,
        }
    }

    pub(crate) fn pending(&self) -> usize {
        self.table.count(State::Authenticating)
    }
}

impl Deref for House {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Who comes to a front door.
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    roots: Arc<RootCertStore>,
}

impl Client {
    /// A client that trusts this certificate.
    pub(crate) fn new(address: SocketAddr, certificate: &[u8]) -> Self {
        let mut roots = RootCertStore::empty();
        let leaf = CertificateDer::from_pem_slice(certificate).unwrap();
        roots.add(leaf).unwrap();
        Self {
            address,
            roots: Arc::new(roots),
        }
    }

    pub(crate) async fn connect(&self) -> TlsStream<TcpStream> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await.unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from("localhost").unwrap(), stream)
            .await
            .unwrap()
    }

    /// Sends octets on a connection of their own and reads what comes back.
    pub(crate) async fn raw(&self, octets: &[u8]) -> Response {
        let mut stream = self.connect().await;
        stream.write_all(octets).await.unwrap();
        receive(&mut stream).await.expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str, headers: &str) -> Response {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").as_bytes())
            .await
    }

    pub(crate) async fn post(&self, path: &str, headers: &str, body: &str) -> Response {
        self.raw(post(path, headers, body).as_bytes()).await
    }

    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> Response {
        let kind = "Content-Type: application/json\r\n";
        self.post(path, kind, &body.to_string()).await
    }

    /// Begins a log-in with a key of so many sevens.
    pub(crate) async fn begin(&self, user: &str, password: &str, key: u8) -> Response {
        let body = json!({"user": user, "password": password, "device": "phone", "public_key": self::key(key)});
        self.post_json("/enrol/api/v1/login", &body).await
    }

    /// Begins a log-in that is taken, and returns its id.
    pub(crate) async fn login(&self, user: &str, password: &str, key: u8) -> String {
        let begun = self.begin(user, password, key).await;
        assert_eq!(begun.status, 202, "{begun:?}");
        let begun = begun.json();
        assert_eq!(begun["state"], "pending");
        begun["login"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn look(&self, id: &str, wait: u32) -> Response {
        self.get(&format!("/enrol/api/v1/login/{id}?wait={wait}"), "")
            .await
    }

    /// Follows a log-in until it is no longer pending.
    pub(crate) async fn follow(&self, id: &str) -> Response {
        loop {
            let seen = self.look(id, 5).await;
            if seen.status >= 400 || seen.json()["state"] != "pending" {
                return seen;
            }
        }
    }

    /// Logs in from the first request to the last.
    pub(crate) async fn whole(&self, user: &str, password: &str, key: u8) -> Response {
        let id = self.login(user, password, key).await;
        self.follow(&id).await
    }
}

pub(crate) fn key(number: u8) -> String {
    PublicKey::from_bytes([number; 32]).to_string()
}

pub(crate) fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

/// Reads one response; `None` when the connection closes ahead of it.
pub(crate) async fn receive(stream: &mut TlsStream<TcpStream>) -> Option<Response> {
    let mut octets = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&octets).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let mut response = Response {
                status: head.split(' ').nth(1).unwrap().parse().unwrap(),
                head: head.to_owned(),
                body: body.to_owned(),
            };
            let length: usize = response
                .fields("content-length")
                .first()
                .map_or(0, |length| length.parse().unwrap());
            if response.body.len() >= length {
                response.body.truncate(length);
                return Some(response);
            }
        }
        match stream.read(&mut chunk).await {
            Ok(read @ 1..) => octets.extend(&chunk[..read]),
            Ok(0) | Err(_) => return None,
        }
    }
}

fn radius(server: SocketAddr) -> Config {
    Config {
        servers: vec![Server {
            name: "nps".into(),
            address: server.ip(),
            auth_port: server.port(),
            secret: Script::default().secret.as_slice().into(),
            source: None,
            status: StatusServer::Off,
            tls: None,
        }],
        nas_identifier: "gw-test".into(),
        timeout: Duration::from_secs(20),
        ..Config::default()
    }
}

fn pools() -> Pools {
    let networks = ["10.99.0.0/24".parse().unwrap()];
    let gateway = Ipv4Addr::new(10, 99, 0, 1);
    let pool = PoolConfig::new("users", &networks, &[], gateway, Duration::ZERO).unwrap();
    Pools::new(pool, Vec::new())
}

fn door_settings() -> admission::Settings {
    admission::Settings {
        dns: vec![Ipv4Addr::new(10, 0, 0, 10)],
        wins: Vec::new(),
        mtu: 1400,
        limits: Limits::default(),
        framed_ip: true,
        filters: std::collections::BTreeMap::new(),
        max_session_timeout: Duration::from_secs(3600),
        password_change: false,
    }
}

/// It is always the hour before 2027-01-15T08:00:00Z.
fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_799_996_400)
}

fn device_settings() -> peers::Settings {
    peers::Settings {
        devices_per_user: 5,
        devices: 100,
        pool: None,
        framed_ip: true,
        reauth: Some(Duration::from_secs(3600)),
        persist: Duration::from_secs(3600),
        own: Some(GATEWAY_KEY.parse().unwrap()),
    }
}

fn login_settings(held: usize) -> Settings {
    Settings {
        deadline: Duration::from_secs(20),
        held,
        gateway: Gateway {
            public_key: GATEWAY_KEY.parse().unwrap(),
            endpoint: "vpn.example.com:5008".into(),
            routes: vec!["10.0.0.0/8".parse().unwrap()],
            dns_suffix: Vec::new(),
            keepalive: Duration::from_secs(25),
        },
    }
}
