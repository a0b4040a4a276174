//! How the front door of a running gateway bears up: figures for RELIABILITY's R1, R2, R5, R11 and R12, printed and not
//! judged.
//!
//! In a network namespace of one's own, with the program to be measured:
//! `CAUSEWAY__LIMITS__NEW_PER_SECOND=1000000 causeway serve --dev &`, then
//! `CAUSEWAY_PID=$! cargo run --release -p benches --example front -- r1 r2 r11`; without a name it says which there are.
//! `CAUSEWAY_SERVER` is the gateway's address, `CAUSEWAY_SECONDS` how long a flood lasts.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use causeway::client::{Login, Options, Trust, Tunnel};
use causeway_proto::aaa::{AuthMethod, Identity};
use causeway_proto::sstp::CertificateHashes;
use causeway_proto::sstp::http::{ClientShape, request};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const CALL: &str = "{00000000-0000-0000-0000-000000000001}";
/// `Call-Connect-Request` for PPP ([MS-SSTP] 2.2.9).
const CONNECT: &[u8] = &[0x10, 1, 0, 14, 0, 1, 0, 1, 0, 1, 0, 6, 0, 1];
const FLOODERS: usize = 2;
const AT_ONCE: usize = 16;

/// What can be measured.
const MEASUREMENTS: [(&str, fn()); 7] = [
    ("r1", r1_calls_during_a_flood),
    ("r2", r2_half_open_calls_a_second),
    ("r5-tcp", r5_memory_before_tls),
    ("r5-tls", r5_memory_after_tls),
    ("r5-call", r5_memory_before_the_log_in),
    ("r11", r11_calls_while_the_door_is_full),
    ("r12", r12_endless_headers_and_a_drip),
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for name in &wanted {
        match MEASUREMENTS.iter().find(|(known, _)| known == name) {
            Some((_, measure)) => measure(),
            None => println!("{name}: no such measurement"),
        }
    }
    if wanted.is_empty() {
        let names: Vec<_> = MEASUREMENTS.iter().map(|(name, _)| *name).collect();
        println!("measurements: {}", names.join(" "));
    }
}

fn server() -> SocketAddr {
    let said = std::env::var("CAUSEWAY_SERVER");
    said.as_deref().unwrap_or("127.0.0.1:8443").parse().unwrap()
}

fn seconds() -> Duration {
    let said = std::env::var("CAUSEWAY_SECONDS");
    Duration::from_secs(said.as_deref().unwrap_or("10").parse().unwrap())
}

fn connector() -> TlsConnector {
    let mut config = Trust::Anything.client_config().unwrap();
    config.resumption = rustls::client::Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}

async fn tcp() -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(server()).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn tcp_from(source: Ipv4Addr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((source, 0)))?;
    let stream = socket.connect(server()).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn tls(connector: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    connector.connect(name, tcp().await?).await
}

/// Goes as far as a stranger can: to the Call-Connect-Ack.
async fn half_open(connector: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let mut stream = tls(connector).await?;
    stream
        .write_all(&request("localhost", CALL, ClientShape::Windows))
        .await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await?);
    }
    if !answer.starts_with(b"HTTP/1.1 200") {
        return Err(std::io::ErrorKind::ConnectionRefused.into());
    }
    stream.write_all(CONNECT).await?;
    stream.flush().await?;
    let mut acknowledged = [0; 8];
    stream.read_exact(&mut acknowledged).await?;
    assert_eq!(acknowledged[5], 2, "no Call-Connect-Ack");
    Ok(stream)
}

async fn call(options: &Options) -> Option<Duration> {
    let begun = Instant::now();
    let tunnel = time::timeout(Duration::from_secs(20), Tunnel::connect(options));
    let tunnel = match tunnel.await {
        Ok(Ok(tunnel)) => tunnel,
        Ok(Err(error)) => {
            println!("   {error}");
            return None;
        }
        Err(_) => return None,
    };
    let elapsed = begun.elapsed();
    tunnel.close().await.ok();
    Some(elapsed)
}

async fn honest() -> Options {
    let stream = tls(&connector()).await.unwrap();
    let leaf = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let login = Login {
        user: Identity::new(b"alice").unwrap(),
        password: b"wonderland".as_slice().into(),
        method: AuthMethod::MsChapV2,
    };
    let trust = Trust::Pinned(CertificateHashes::of(&leaf).sha256);
    Options::windows(server(), trust, login)
}

/// Calls again and again until the time is over or so many calls are made; says how it went.
async fn calls(about: &str, until: Duration, most: usize) {
    let options = honest().await;
    let begun = Instant::now();
    let (mut times, mut failed) = (Vec::new(), 0);
    while begun.elapsed() < until && times.len() < most {
        match call(&options).await {
            Some(elapsed) => times.push(elapsed),
            None => failed += 1,
        }
    }
    times.sort();
    let at = |part: usize| times.get((times.len() * part / 100).min(times.len().saturating_sub(1)));
    println!(
        "{about}: {} calls, {failed} failed, p50 {:?}, p99 {:?}, worst {:?}",
        times.len(),
        at(50),
        at(99),
        times.last()
    );
}

fn resident() -> f64 {
    let pid = std::env::var("CAUSEWAY_PID").unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Does something as often as it goes, on threads of its own, until `stop`; counts how often it worked.
fn flood<F>(
    stop: &Arc<AtomicBool>,
    done: &Arc<AtomicU64>,
    what: fn(Ipv4Addr, TlsConnector) -> F,
) -> Vec<std::thread::JoinHandle<()>>
where
    F: Future<Output = bool> + 'static,
{
    (0..FLOODERS)
        .map(|n| {
            // Other sources than the honest caller's.
            let source = Ipv4Addr::new(127, 0, 9, u8::try_from(n + 1).unwrap());
            let (stop, done) = (Arc::clone(stop), Arc::clone(done));
            std::thread::spawn(move || {
                let local = tokio::task::LocalSet::new();
                for _ in 0..AT_ONCE {
                    let (stop, done, connector) = (stop.clone(), done.clone(), connector());
                    local.spawn_local(async move {
                        while !stop.load(Ordering::Relaxed) {
                            if what(source, connector.clone()).await {
                                done.fetch_add(1, Ordering::Relaxed);
                            } else {
                                tokio::task::yield_now().await;
                            }
                        }
                    });
                }
                runtime().block_on(local);
            })
        })
        .collect()
}

async fn full_handshake(source: Ipv4Addr, connector: TlsConnector) -> bool {
    let name = ServerName::try_from("localhost").unwrap();
    let Ok(stream) = tcp_from(source).await else {
        return false;
    };
    let Ok(stream) = connector.connect(name, stream).await else {
        return false;
    };
    // No TIME_WAIT: ports of two sources would run out.
    stream.get_ref().0.set_zero_linger().ok();
    true
}

async fn say(source: Ipv4Addr, octets: &[u8]) -> bool {
    let Ok(mut stream) = tcp_from(source).await else {
        return false;
    };
    let said = stream.write_all(octets).await.is_ok();
    stream.set_zero_linger().ok();
    said
}

async fn hello_only(source: Ipv4Addr, connector: TlsConnector) -> bool {
    let name = ServerName::try_from("localhost").unwrap();
    let config = Arc::clone(connector.config());
    let mut client = rustls::ClientConnection::new(config, name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    say(source, &hello).await
}

async fn junk(source: Ipv4Addr, _: TlsConnector) -> bool {
    say(source, &[0xa5; 512]).await
}

async fn instant_alert(source: Ipv4Addr, _: TlsConnector) -> bool {
    say(source, b"\x15\x03\x01\x00\x02\x02\x28").await
}

async fn whole_half_open(_: Ipv4Addr, connector: TlsConnector) -> bool {
    half_open(&connector).await.is_ok()
}

fn during<F>(about: &str, what: fn(Ipv4Addr, TlsConnector) -> F)
where
    F: Future<Output = bool> + 'static,
{
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let begun = Instant::now();
    let threads = flood(&stop, &done, what);
    runtime().block_on(calls(about, seconds(), usize::MAX));
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    let rate = done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    println!("   flood: {rate:.0}/s");
}

fn r1_calls_during_a_flood() {
    runtime().block_on(calls("R1 no flood", seconds() / 2, usize::MAX));
    during("R1 full handshakes", full_handshake);
    during("R1 ClientHello only", hello_only);
    during("R1 junk", junk);
    during("R1 instant alert", instant_alert);
}

fn r2_half_open_calls_a_second() {
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let begun = Instant::now();
    let threads = flood(&stop, &done, whole_half_open);
    std::thread::sleep(seconds());
    let rate = done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    println!("R2 TLS 1.3 + HTTP + Call-Connect-Ack: {rate:.0}/s");
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Holds so many connections and says what each costs the gateway.
async fn weigh<S, F: Future<Output = std::io::Result<S>>>(about: &str, each: impl Fn() -> F) {
    const COUNT: usize = 250;
    let before = resident();
    let mut held = Vec::new();
    for _ in 0..COUNT {
        held.push(each().await.unwrap());
    }
    time::sleep(Duration::from_millis(300)).await;
    let grown = (resident() - before) / COUNT as f64;
    println!("R5 {about}: {grown:.1} KiB each of {COUNT} ({before:.0} KiB before)");
    drop(held);
    time::sleep(Duration::from_secs(1)).await;
}

// What one test leaves in the allocator the next one uses: start the gateway anew for each of these.

fn r5_memory_before_tls() {
    runtime().block_on(weigh("tcp only", tcp));
}

fn r5_memory_after_tls() {
    let connector = connector();
    runtime().block_on(weigh("after TLS", || tls(&connector)));
}

fn r5_memory_before_the_log_in() {
    let connector = connector();
    runtime().block_on(weigh("after Call-Connect-Ack", || half_open(&connector)));
}

fn r11_calls_while_the_door_is_full() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    runtime().block_on(async {
        for sources in [1, 200] {
            let begun = Instant::now();
            let mut held = Vec::new();
            for n in 0..4500_usize {
                let socket = TcpSocket::new_v4().unwrap();
                let last = u8::try_from(1 + n % sources).unwrap();
                socket
                    .bind(SocketAddr::from((Ipv4Addr::new(127, 0, 7, last), 0)))
                    .unwrap();
                held.push(socket.connect(server()).await.unwrap());
            }
            println!("R11 filled from {sources} in {:?}", begun.elapsed());
            // Well within the ten seconds after which they are cut.
            calls("R11", Duration::from_secs(5), 200).await;
            drop(held);
            time::sleep(Duration::from_secs(1)).await;
        }
    });
}

fn r12_endless_headers_and_a_drip() {
    runtime().block_on(async {
        let connector = connector();
        for (about, octets, pause) in [
            (
                "endless headers",
                &b"x: yyyyyyyyyyyyyyyyyyyyyyyyy\r\n"[..],
                Duration::ZERO,
            ),
            ("drip", b"y", Duration::from_millis(100)),
        ] {
            let mut stream = tls(&connector).await.unwrap();
            let begun = Instant::now();
            stream.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
            let (mut reader, mut writer) = tokio::io::split(stream);
            let end = tokio::spawn(async move {
                let mut octets = [0; 4096];
                while let Ok(1..) = reader.read(&mut octets).await {}
            });
            let mut sent = 0;
            while !end.is_finished()
                && writer.write_all(octets).await.is_ok()
                && writer.flush().await.is_ok()
            {
                sent += octets.len();
                time::sleep(pause).await;
            }
            println!(
                "R12 {about}: cut after {:?}, {sent} octets sent",
                begun.elapsed()
            );
        }
    });
}
