//! Records over TLS (RFC 6614): each is sent once over a connection that holds, and again over the next when it breaks.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use causeway::radius::Tls;
use causeway_proto::radius::accounting::decode_request;
use causeway_proto::radius::authenticator::sign_reply;
use causeway_proto::radius::{Code, Packet};
use causeway_proto::wire::Decode as _;
use harness::authority::Authority;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::*;

const RADSEC: &[u8] = b"radsec";

#[derive(Default)]
struct Book {
    connections: usize,
    /// What was taken, with the connection that it came over.
    reports: Vec<(usize, Report)>,
    /// Before so many more requests the connection breaks: the record is not taken.
    breaks_before: Option<usize>,
    /// Behind so many more: it is, and the answer is lost.
    breaks_behind: Option<usize>,
    /// How long an answer takes.
    delay: Duration,
}

/// Returns whether a countdown has come to its end.
fn is_over(count: &mut Option<usize>) -> bool {
    let over = *count == Some(0);
    *count = count.and_then(|left| left.checked_sub(1));
    over
}

struct TestServer {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
}

impl TestServer {
    async fn start(authority: &Authority) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(authority.server("radius.example.com")));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let book = Arc::<Mutex<Book>>::default();
        let shared = Arc::clone(&book);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, book) = (acceptor.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        // Until one of the two breaks it off.
                        let _ = serve(stream, &book).await;
                    }
                });
            }
        });
        Self { address, book }
    }

    fn config(&self, authority: &Authority, name: &str, queue: &Path) -> Config {
        let (certificate, key) = authority.issue("gateway.example.com");
        let identity = (certificate.as_bytes(), key.as_bytes());
        let tls = Tls::from_pem(authority.pem().as_bytes(), Some(identity), name).unwrap();
        let mut config = config(&[self.address], queue);
        config.servers[0].secret = RADSEC.into();
        config.servers[0].tls = Some(tls);
        config
    }

    fn reports(&self) -> Vec<Report> {
        let book = self.book.lock().unwrap();
        book.reports.iter().map(|(_, r)| r.clone()).collect()
    }

    fn with(&self, change: impl FnOnce(&mut Book)) {
        change(&mut self.book.lock().unwrap());
    }

    async fn wait_for(&self, count: usize) -> Vec<Report> {
        for _ in 0..1_000 {
            if self.reports().len() >= count {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        let reports = self.reports();
        assert!(reports.len() >= count, "{count}: {reports:?}");
        reports
    }
}

async fn serve(
    mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    book: &Mutex<Book>,
) -> std::io::Result<()> {
    let connection = {
        let mut book = book.lock().unwrap();
        book.connections += 1;
        book.connections
    };
    loop {
        let mut request = vec![0; 4];
        stream.read_exact(&mut request).await?;
        let len = u16::from_be_bytes([request[2], request[3]]).into();
        request.resize(len, 0);
        stream.read_exact(&mut request[4..]).await?;
        let report = decode_request(&request, RADSEC).unwrap();
        let delay = {
            let mut book = book.lock().unwrap();
            if is_over(&mut book.breaks_before) {
                return Ok(());
            }
            book.reports.push((connection, report));
            if is_over(&mut book.breaks_behind) {
                return Ok(());
            }
            book.delay
        };
        sleep(delay).await;
        let packet = Packet::decode_exact(&request).unwrap();
        let (identifier, authenticator) = (packet.identifier, &packet.authenticator);
        let code = Code::ACCOUNTING_RESPONSE;
        let answer = sign_reply(code, identifier, &[], authenticator, RADSEC).unwrap();
        stream.write_all(&answer).await?;
        stream.flush().await?;
    }
}

fn kinds(reports: &[Report]) -> Vec<&'static str> {
    reports
        .iter()
        .map(|report| report.status.as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_go_once_over_one_connection_even_when_answers_are_slow() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = TestServer::start(&authority).await;
    // Five times what a datagram would have waited until it went again.
    server.with(|book| book.delay = Duration::from_millis(500));
    let queue = folder.path().join("acct.queue");
    let gateway = Gateway::start(server.config(&authority, "radius.example.com", &queue));
    let (guard, activity, session) = gateway.up(1, 1_700_000_000);
    activity.add_up(3, 3_000, 1);
    server.wait_for(2).await;
    drop(guard);
    let reports = server.wait_for(3).await;
    gateway.accounting.finish().await;
    let all = server.wait_for(4).await;
    assert_eq!(kinds(&all), ["on", "start", "stop", "off"]);
    assert_eq!(of(&reports, &session).len(), 2);
    server.with(|book| {
        assert!(book.reports.iter().all(|(connection, _)| *connection == 1));
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_costs_no_record() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = TestServer::start(&authority).await;
    let queue = folder.path().join("acct.queue");
    let gateway = Gateway::start(server.config(&authority, "radius.example.com", &queue));
    server.wait_for(1).await;
    server.with(|book| book.breaks_before = Some(3));
    let sessions: Vec<_> = (1..=8).map(|n| gateway.up(n, 1_700_000_000)).collect();
    server.wait_for(9).await;
    server.with(|book| book.breaks_behind = Some(2));
    let names: Vec<_> = sessions.iter().map(|(_, _, name)| name.clone()).collect();
    drop(sessions);
    for _ in 0..1_000 {
        let reports = server.reports();
        let stopped = |name: &String| of(&reports, name).into_iter().any(is_stop);
        if names.iter().all(stopped) {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    let reports = server.reports();
    for name in &names {
        let of = of(&reports, name);
        let stops = of.iter().filter(|report| is_stop(report)).count();
        // One whose answer was lost with the connection comes again, and says the same.
        assert!((1..=2).contains(&stops), "{name}: {of:?}");
        assert!((1..=2).contains(&(of.len() - stops)), "{name}: {of:?}");
    }
    server.with(|book| assert_eq!(book.connections, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_another_name_hears_nothing_and_nothing_is_lost() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = TestServer::start(&authority).await;
    let queue = folder.path().join("acct.queue");
    let gateway = Gateway::start(server.config(&authority, "other.example.com", &queue));
    let (guard, _, session) = gateway.up(1, 1_700_000_000);
    sleep(Duration::from_millis(500)).await;
    drop(guard);
    gateway.accounting.finish().await;
    assert_eq!(server.reports().len(), 0);
    server.with(|book| assert_eq!(book.connections, 0));
    // The next start tells it to whom it should have been told.
    let again = Gateway::start(server.config(&authority, "radius.example.com", &queue));
    let reports = server.wait_for(3).await;
    let of = of(&reports, &session);
    assert!(of.iter().any(|report| is_stop(report)), "{reports:?}");
    again.accounting.finish().await;
}
