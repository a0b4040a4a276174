//! The front door of a whole gateway, as strangers meet it: those who dawdle, those who flood, those who send rubbish,
//! and beside them the probe and an honest call.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use causeway::client::{Login, Options, Trust, Tunnel, probe};
use causeway::config::{Certificate, Config};
use causeway::front::tls::SelfMade;
use causeway::observe::metrics::Metrics;
use causeway::os::credentials::SecretRef;
use causeway::os::tun::Peer;
use causeway::startup::{Gateway, Prepared, Undo, prepare};
use causeway_proto::aaa::{AuthMethod, Identity};
use causeway_proto::sstp::http::{ClientShape, SRA_PATH, request};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Nothing here lasts longer, unless it hangs.
const FAILSAFE: Duration = Duration::from_secs(120);
/// How often a dripping client sends an octet.
const DRIP: Duration = Duration::from_millis(100);
/// The first octets of a `ClientHello`, which announce many more.
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
const CALL: &str = "{00000000-0000-0000-0000-000000000001}";

/// The counters are the process's: one gateway at a time.
static ALONE: Mutex<()> = Mutex::new(());

struct House {
    gateway: Gateway,
    metrics: Metrics,
    address: SocketAddr,
    roots: Arc<RootCertStore>,
    _undo: Undo,
    _peer: Option<Peer>,
    _folder: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// Starts a gateway on an in-memory device, as `serve` does.
fn start(change: impl FnOnce(&mut Config)) -> (tokio::runtime::Runtime, House) {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let made = SelfMade::new(&["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let (chain, key) = (folder.path().join("chain"), folder.path().join("key"));
    std::fs::write(&chain, &made.certificate).unwrap();
    std::fs::write(&key, made.key.as_str()).unwrap();
    let mut roots = RootCertStore::empty();
    let leaf = CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap();
    roots.add(leaf).unwrap();

    let mut config = Config::dev().unwrap();
    config.network.manage_forwarding = false;
    config.network.best_effort = true;
    config.sstp.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.sstp.certificate = Some(Certificate {
        chain,
        key: SecretRef::File(key),
    });
    config.admin.listen = None;
    config.admin.socket = folder.path().join("admin.sock");
    // Its port is a fixed one.
    config.mobility = None;
    config.limits.new_per_second = 1_000_000;
    change(&mut config);
    let in_memory = || Err(io::Error::other("a test"));
    let Prepared {
        parts, undo, peer, ..
    } = prepare(&config, None, in_memory).unwrap();
    let metrics = parts.metrics.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    let gateway = runtime
        .block_on(async { Gateway::start(&config, parts) })
        .unwrap();
    let address = gateway.addresses[0];
    let house = House {
        gateway,
        metrics,
        address,
        roots: Arc::new(roots),
        _undo: undo,
        _peer: peer,
        _folder: folder,
        _alone: alone,
    };
    (runtime, house)
}

/// Runs a test against a gateway.
fn with_house<F: Future<Output = House>>(test: impl FnOnce(House) -> F) {
    with_house_of(|_| {}, test);
}

fn with_house_of<F: Future<Output = House>>(
    change: impl FnOnce(&mut Config),
    test: impl FnOnce(House) -> F,
) {
    let (runtime, house) = start(change);
    let done = async {
        let house = time::timeout(FAILSAFE, test(house)).await.unwrap();
        house.gateway.stop().await;
    };
    runtime.block_on(done);
}

async fn tcp_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

async fn tls(to: SocketAddr, roots: Arc<RootCertStore>) -> TlsStream<TcpStream> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
        .connect(
            ServerName::try_from("localhost").unwrap(),
            TcpStream::connect(to).await.unwrap(),
        )
        .await
        .unwrap()
}

/// Reads until the gateway closes, however it does that.
async fn cut(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut octets = [0; 4096];
    while let Ok(1..) = stream.read(&mut octets).await {}
}

/// Sends `octets` again and again until the gateway takes no more; returns how many went out.
async fn pour(stream: &mut (impl AsyncWrite + Unpin), octets: &[u8], pause: Duration) -> usize {
    let mut sent = 0;
    while stream.write_all(octets).await.is_ok() && stream.flush().await.is_ok() {
        sent += octets.len();
        time::sleep(pause).await;
    }
    sent
}

/// How a client wastes the gateway's time.
#[derive(Clone, Copy, Debug)]
enum Stall {
    Tcp,
    HelloDrip,
    AfterTls,
    HttpDrip,
    EndlessHeaders,
    PostThenSilence,
    NeverReading,
}

const STALLS: [Stall; 7] = [
    Stall::Tcp,
    Stall::HelloDrip,
    Stall::AfterTls,
    Stall::HttpDrip,
    Stall::EndlessHeaders,
    Stall::PostThenSilence,
    Stall::NeverReading,
];

/// Plays a client that stalls, until the gateway has cut it.
async fn stall(how: Stall, to: SocketAddr, roots: Arc<RootCertStore>) {
    let mut plain = TcpStream::connect(to).await.unwrap();
    match how {
        Stall::Tcp => return cut(&mut plain).await,
        Stall::HelloDrip => {
            plain.write_all(HELLO).await.unwrap();
            pour(&mut plain, b"\0", DRIP).await;
            return;
        }
        Stall::AfterTls
        | Stall::HttpDrip
        | Stall::EndlessHeaders
        | Stall::PostThenSilence
        | Stall::NeverReading => drop(plain),
    }
    let mut stream = tls(to, roots).await;
    match how {
        Stall::Tcp | Stall::HelloDrip => unreachable!(),
        Stall::AfterTls => cut(&mut stream).await,
        Stall::HttpDrip => {
            stream.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
            pour(&mut stream, b"y", DRIP).await;
        }
        Stall::EndlessHeaders => {
            stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
            pour(
                &mut stream,
                b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
                DRIP / 10,
            )
            .await;
        }
        Stall::PostThenSilence => {
            let hello = request("localhost", CALL, ClientShape::Windows);
            stream.write_all(&hello).await.unwrap();
            stream.flush().await.unwrap();
            cut(&mut stream).await;
        }
        Stall::NeverReading => {
            let probe = format!("GET {SRA_PATH} HTTP/1.1\r\nHost: a\r\n\r\n");
            pour(&mut stream, probe.as_bytes(), Duration::ZERO).await;
        }
    }
}

impl House {
    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// The health path answers 401 as ever.
    async fn is_probed(&self) {
        let trust = Trust::Roots(Arc::clone(&self.roots));
        let status = probe(self.address, &trust, SRA_PATH).await.unwrap();
        assert!(status.starts_with("HTTP/1.1 401"), "{status}");
    }

    async fn log_in(&self, user: &str, password: &str) -> Tunnel {
        let login = Login {
            user: Identity::new(user.as_bytes()).unwrap(),
            password: password.as_bytes().into(),
            method: AuthMethod::MsChapV2,
        };
        let trust = Trust::Roots(Arc::clone(&self.roots));
        let options = Options::windows(self.address, trust, login);
        Tunnel::connect(&options).await.unwrap()
    }

    /// Somebody dials, gets an address, and hangs up.
    async fn is_called(&self) {
        let tunnel = self.log_in("alice", "wonderland").await;
        assert!(!tunnel.network().address.is_unspecified());
        tunnel.close().await.unwrap();
    }

    fn value(&self, series: &str) -> u64 {
        let text = self.metrics.render();
        let line = text.lines().find(|line| line.starts_with(series));
        let line = line.unwrap_or_else(|| panic!("no {series} in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    fn failures(&self, stage: &str, reason: &str) -> u64 {
        self.value(&format!(
            "causeway_session_setup_failures_total{{protocol=\"sstp\",stage=\"{stage}\",reason=\"{reason}\"}}"
        ))
    }

    /// How many connections are counted as strangers.
    fn strangers(&self) -> u64 {
        let text = self.metrics.render();
        text.lines()
            .filter(|line| line.starts_with("causeway_front_connections{"))
            .filter(|line| !line.contains("authentication"))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    }

    /// Waits until the front door holds this many.
    async fn holds(&self, count: u64) {
        while self.strangers() != count {
            time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Lets this process have as many descriptors as it may; returns how many.
fn raise_descriptors() -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    usize::try_from(hard).unwrap()
}

#[test]
fn a_client_that_stalls_is_cut_at_every_stage_and_disturbs_nobody() {
    const EACH: u64 = 8;
    with_house(|house| async move {
        let before: Vec<u64> = [("tls", "timeout"), ("http", "timeout")]
            .map(|(stage, reason)| house.failures(stage, reason))
            .into();
        let mut clients = JoinSet::new();
        for how in STALLS {
            for _ in 0..EACH {
                clients.spawn(stall(how, house.address, Arc::clone(&house.roots)));
            }
        }
        // While they are held: six kinds are, the one that never reads is answered and thrown out at once.
        while house.strangers() < 4 * EACH {
            time::sleep(Duration::from_millis(20)).await;
        }
        for _ in 0..5 {
            house.is_probed().await;
            house.is_called().await;
        }
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        house.holds(0).await;
        assert!(house.failures("tls", "timeout") >= before[0] + 2 * EACH);
        assert!(house.failures("http", "timeout") >= before[1] + 2 * EACH);
        assert!(house.value("causeway_front_responses_total{code=\"431\"}") >= EACH);
        house.is_called().await;
        house
    });
}

#[test]
fn one_source_that_fills_its_places_keeps_nobody_out_not_even_itself() {
    const PER_SOURCE: usize = 256;
    raise_descriptors();
    with_house(|house| async move {
        let evicted = house.failures("tls", "evicted");
        let mut held = Vec::new();
        for _ in 0..2 * PER_SOURCE {
            held.push(house.tcp().await);
        }
        house.holds(PER_SOURCE as u64).await;
        for _ in 0..5 {
            house.is_probed().await;
            house.is_called().await;
        }
        assert!(house.failures("tls", "evicted") >= evicted + PER_SOURCE as u64);
        // The first half has made way already.
        for stream in &mut held[..PER_SOURCE] {
            cut(stream).await;
        }
        drop(held);
        house.holds(0).await;
        house
    });
}

#[test]
fn many_sources_that_fill_every_place_keep_nobody_out() {
    const TOTAL: usize = 4096;
    let room = raise_descriptors();
    if room < 3 * TOTAL {
        println!("skipped: {room} descriptors are too few to hold both ends");
        return;
    }
    with_house(|house| async move {
        let mut held = Vec::new();
        for n in 0..TOTAL + 400 {
            let last = u8::try_from(2 + n % 200).unwrap();
            held.push(tcp_from(Ipv4Addr::new(127, 0, 7, last), house.address).await);
        }
        house.holds(TOTAL as u64).await;
        for _ in 0..5 {
            house.is_probed().await;
            house.is_called().await;
            assert!(house.strangers() <= TOTAL as u64);
        }
        // Nobody lets go; their deadline does it.
        for stream in &mut held {
            cut(stream).await;
        }
        house.holds(0).await;
        house
    });
}

#[test]
fn what_is_no_tls_is_thrown_out_and_disturbs_nobody() {
    with_house(|house| async move {
        let before = house.failures("tls", "not_tls");
        let rubbish: [&[u8]; 6] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            &[0xff; 4096],
            &[0; 64],
            b"\x16\x03\x01\xff\xff\x01",
        ];
        for octets in rubbish {
            for _ in 0..10 {
                let mut stream = house.tcp().await;
                stream.write_all(octets).await.unwrap();
                cut(&mut stream).await;
            }
            house.is_probed().await;
            house.is_called().await;
        }
        // An alert, and a reset in the middle of a handshake.
        let mut alert = house.tcp().await;
        alert
            .write_all(b"\x15\x03\x01\x00\x02\x02\x28")
            .await
            .unwrap();
        cut(&mut alert).await;
        let mut reset = house.tcp().await;
        reset.write_all(HELLO).await.unwrap();
        reset.set_zero_linger().unwrap();
        drop(reset);
        house.holds(0).await;
        assert_eq!(house.failures("tls", "not_tls"), before + 60);
        house.is_called().await;
        house
    });
}

#[test]
fn a_flood_waits_its_turn_and_the_probe_does_not() {
    const FLOODERS: u8 = 4;
    const EACH: usize = 40;
    let slow = |config: &mut Config| config.limits.new_per_second = 5;
    with_house_of(slow, |house| async move {
        let waits = house.value("causeway_front_waits_total");
        let limited = house.failures("tls", "rate_limited");
        // They say nothing, so there is nothing to do for them.
        let mut silent = Vec::new();
        for _ in 0..EACH {
            silent.push(house.tcp().await);
        }
        house.holds(EACH as u64).await;
        house.is_probed().await;
        assert_eq!(house.value("causeway_front_waits_total"), waits);
        let mut flood = Vec::new();
        for n in 0..FLOODERS {
            for _ in 0..EACH {
                let mut stream = tcp_from(Ipv4Addr::new(127, 0, 8, 1 + n), house.address).await;
                stream.write_all(HELLO).await.unwrap();
                flood.push(stream);
            }
        }
        while house.value("causeway_front_waits_total") < waits + 100 {
            time::sleep(Duration::from_millis(20)).await;
        }
        // Those who reset leave the line at once, long before their turn.
        let closed = house.failures("tls", "closed");
        for _ in 0..EACH {
            let stream = flood.pop().unwrap();
            stream.set_zero_linger().unwrap();
            drop(stream);
        }
        while house.failures("tls", "closed") < closed + EACH as u64 {
            time::sleep(Duration::from_millis(20)).await;
        }
        // Each of these comes after at most one of each flooding source: behind all of them it would be too late.
        for _ in 0..3 {
            house.is_probed().await;
        }
        house.is_called().await;
        assert!(house.value("causeway_front_connections{stage=\"waiting\"}") > 0);
        for stream in &mut flood {
            cut(stream).await;
        }
        house.holds(0).await;
        // The bucket gives at most five at once and five a second for the ten seconds that each has.
        assert!(house.failures("tls", "rate_limited") > limited);
        house
    });
}
