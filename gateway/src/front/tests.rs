//! A whole front door on loopback.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_proto::sstp::CertificateHashes;
use causeway_proto::sstp::http::{ClientShape, SRA_PATH, request};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::front::tls::{Certificate, Certificates, Files, MinTls, SelfMade};
use crate::observe::health::{self, Component, Health, Status};
use crate::observe::metrics::{self, Metrics, Names};
use crate::task::{self, StopHandle};

use super::*;

/// Takes any certificate, as a probe does.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn client_config(alpn: &[&str]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.enable_sni = false;
    config
}

struct House {
    address: SocketAddr,
    front: Arc<Front>,
    health: Arc<Health>,
    door: Arc<Door>,
    metrics: Metrics,
    arrivals: mpsc::Receiver<SstpConnection>,
    _stop: StopHandle,
}

fn self_made() -> Certificates {
    let made = SelfMade::new(&["localhost".to_owned()]).unwrap();
    let pem = (made.certificate.as_bytes(), made.key.as_bytes());
    Certificates::fixed(Certificate::from_pem(pem.0, pem.1, MinTls::Tls12).unwrap())
}

async fn build(config: Config) -> House {
    build_with(config, Arc::new(self_made())).await
}

async fn build_with(config: Config, certificates: Arc<Certificates>) -> House {
    let (recorder, metrics) = metrics::for_test(&Names::default());
    let health = Arc::new(Health::new(health::Config::default()));
    for component in Component::ALL {
        health.set(component, Status::Ok);
    }
    let door = Arc::new(Door::default());
    let (sender, arrivals) = mpsc::channel(2);
    let front = ::metrics::with_local_recorder(&recorder, || {
        Arc::new(Front::new(
            config,
            certificates,
            Arc::clone(&health),
            Arc::clone(&door),
            sender,
        ))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (handle, stop) = task::stop();
    tokio::spawn(Arc::clone(&front).serve(listener, stop));
    House {
        address,
        front,
        health,
        door,
        metrics,
        arrivals,
        _stop: handle,
    }
}

async fn handshake(stream: TcpStream, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(client_config(alpn)))
        .connect(name, stream)
        .await
}

impl House {
    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn tls(&self) -> TlsStream<TcpStream> {
        handshake(self.tcp().await, &["http/1.1"]).await.unwrap()
    }

    /// Sends a request and reads to the end of the connection.
    async fn exchange(&self, request: &str) -> String {
        let mut stream = self.tls().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn ask(&self, method: &str, path: &str) -> String {
        self.exchange(&format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await
    }

    /// Logs in as far as the front door goes.
    async fn arrive(&mut self) -> (TlsStream<TcpStream>, SstpConnection) {
        let mut stream = self.tls().await;
        stream
            .write_all(&request("a", "{1}", ClientShape::Windows))
            .await
            .unwrap();
        let arrived = self.arrivals.recv().await.unwrap();
        (stream, arrived)
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
}

/// Short deadlines: no test waits longer than the shortest that applies.
fn hasty() -> Config {
    Config {
        deadlines: Deadlines {
            proxy: Duration::from_millis(50),
            tls: Duration::from_millis(50),
            turn: Duration::from_millis(50),
            head: Duration::from_millis(50),
            answer: Duration::from_millis(500),
            linger: Duration::from_millis(50),
        },
        ..Config::default()
    }
}

/// Reads until the other side closes, however it does that.
async fn drained(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut bytes = [0; 1024];
    while let Ok(1..) = stream.read(&mut bytes).await {}
}

fn without_date(answer: &str) -> Vec<&str> {
    answer
        .lines()
        .filter(|line| !line.starts_with("Date: "))
        .collect()
}

#[tokio::test]
async fn the_health_path_answers_in_all_its_spellings() {
    let house = build(Config::default()).await;
    let braces = "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}";
    let encoded = "/sra_%7BBA195980-CD49-458b-9E23-C84EE0ADCD75%7D";
    for base in [
        braces.to_owned(),
        encoded.to_owned(),
        encoded.to_lowercase(),
        braces.to_uppercase(),
    ] {
        for tail in ["", "/", "?tenantid=1", "/?a=b&c"] {
            let path = format!("{base}{tail}");
            let get = house.ask("GET", &path).await;
            assert!(get.starts_with("HTTP/1.1 401 "), "{path}: {get}");
            assert_eq!(
                without_date(&get),
                without_date(&house.ask("HEAD", &path).await)
            );
        }
    }
    let answer = house.ask("GET", SRA_PATH).await;
    for line in [
        "Content-Length: 0",
        "WWW-Authenticate: SSTP realm=\"vpn\"",
        "Connection: close",
    ] {
        assert!(answer.contains(&format!("\r\n{line}\r\n")), "{answer}");
    }
    assert!(answer.ends_with("\r\n\r\n"));
    house
        .health
        .set(Component::Tun, Status::Down("gone".to_owned()));
    assert!(
        house
            .ask("GET", SRA_PATH)
            .await
            .starts_with("HTTP/1.1 503 ")
    );
    assert_eq!(
        house.value("causeway_health_probes_total{path=\"sra\",code=\"401\"}"),
        33
    );
    assert_eq!(
        house.value("causeway_health_probes_total{path=\"sra\",code=\"503\"}"),
        1
    );
}

#[tokio::test]
async fn a_probe_that_knows_only_200_can_be_served() {
    let house = build(Config {
        healthy: HealthyStatus::Ok,
        ..Config::default()
    })
    .await;
    let answer = house.ask("GET", SRA_PATH).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"),
        "{answer}"
    );
    house
        .health
        .set(Component::Drain, Status::Down("draining".to_owned()));
    assert!(
        house
            .ask("HEAD", SRA_PATH)
            .await
            .starts_with("HTTP/1.1 503 ")
    );
}

#[tokio::test]
async fn nothing_else_is_answered_well() {
    let mut house = build(Config::default()).await;
    for (start, code) in [
        ("GET / HTTP/1.1", 404),
        ("GET /metrics HTTP/1.1", 404),
        ("SSTP_DUPLEX_POST / HTTP/1.1", 404),
        (&format!("POST {SRA_PATH} HTTP/1.1"), 405),
        ("DELETE / HTTP/1.1", 405),
        (&format!("SSTP_DUPLEX_POST {SRA_PATH} HTTP/1.0"), 505),
        ("PRI * HTTP/2.0", 505),
        ("complete nonsense", 400),
    ] {
        let answer = house.exchange(&format!("{start}\r\nHost: a\r\n\r\n")).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {code} ")),
            "{start}: {answer}"
        );
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        assert!(answer.contains("\r\nContent-Length: 0\r\n"), "{answer}");
        assert!(!answer.contains("nonsense"));
    }
    let refused = house.ask("POST", SRA_PATH).await;
    assert!(refused.contains("\r\nAllow: GET, HEAD"), "{refused}");
    let second =
        format!("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET {SRA_PATH} HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(house.exchange(&second).await.matches("HTTP/1.1").count(), 1);
    assert!(house.arrivals.try_recv().is_err());
}

#[tokio::test]
async fn an_sstp_connection_is_handed_over_whole() {
    let mut house = build(Config::default()).await;
    let mut stream = house.tls().await;
    let mut hello = request(
        "vpn.example.com",
        "{00000000-0000-0000-0000-000000000001}",
        ClientShape::Windows,
    );
    hello.extend(b"\x10\x01\x00\x0e");
    stream.write_all(&hello).await.unwrap();
    let arrived = house.arrivals.recv().await.unwrap();
    assert_eq!(arrived.unread, b"\x10\x01\x00\x0e");
    assert_eq!(arrived.remote, stream.get_ref().0.local_addr().unwrap());
    assert_eq!(arrived.head.host.as_deref(), Some("vpn.example.com"));
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_eq!(
        arrived.certificate.sha256,
        CertificateHashes::of(&shown).sha256
    );
    assert_eq!(house.front.budget().len(), 1);
    let mut answer = vec![0; 512];
    let read = stream.read(&mut answer).await.unwrap();
    let answer = str::from_utf8(&answer[..read]).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\n"));
    drop(arrived);
    assert!(house.front.budget().is_empty());
}

#[tokio::test]
async fn a_gateway_that_cannot_take_a_call_says_so() {
    let mut house = build(Config::default()).await;
    let call = String::from_utf8(request("a", "{1}", ClientShape::Windows)).unwrap();
    house.door.close();
    assert!(house.exchange(&call).await.starts_with("HTTP/1.1 503 "));
    assert!(
        house
            .ask("GET", SRA_PATH)
            .await
            .starts_with("HTTP/1.1 401 "),
        "the notice of a drain is the health's"
    );
    house.door.open();
    house
        .health
        .set(Component::Pool, Status::Down("empty".to_owned()));
    assert!(house.exchange(&call).await.starts_with("HTTP/1.1 503 "));
    house.health.set(Component::Pool, Status::Ok);
    house
        .health
        .set(Component::Radius, Status::Down("silent".to_owned()));
    let _first = house.arrive().await;
    // The hand-over holds two; the tunnel takes none.
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut stream = house.tls().await;
        stream.write_all(call.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        waiting.push(stream);
    }
    assert!(house.exchange(&call).await.starts_with("HTTP/1.1 503 "));
    assert_eq!(house.failures("http", "not_able"), 2);
    assert_eq!(house.failures("http", "busy"), 1);
}

#[tokio::test]
async fn a_client_that_dawdles_is_cut_at_each_stage() {
    let house = build(hasty()).await;
    let mut silent = house.tcp().await;
    drained(&mut silent).await;
    let mut half = house.tcp().await;
    half.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    drained(&mut half).await;
    assert_eq!(house.failures("tls", "timeout"), 2);
    let mut mute = house.tls().await;
    drained(&mut mute).await;
    let mut dripping = house.tls().await;
    dripping.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
    let drip = async {
        while dripping.write_all(b"y").await.is_ok() && dripping.flush().await.is_ok() {
            time::sleep(Duration::from_millis(5)).await;
        }
    };
    drip.await;
    assert_eq!(house.failures("http", "timeout"), 2);
    assert!(house.front.budget().is_empty());
}

#[tokio::test]
async fn an_endless_head_is_refused_at_its_limit() {
    let house = build(Config::default()).await;
    let mut stream = house.tls().await;
    let head = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(20_000));
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn what_is_not_tls_is_closed() {
    let house = build(Config::default()).await;
    let mut plain = house.tcp().await;
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    drained(&mut plain).await;
    assert_eq!(house.failures("tls", "not_tls"), 1);
    assert!(handshake(house.tcp().await, &["h2"]).await.is_err());
    assert_eq!(house.failures("tls", "no_application_protocol"), 1);
    let both = handshake(house.tcp().await, &["h2", "http/1.1"])
        .await
        .unwrap();
    assert_eq!(both.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let none = handshake(house.tcp().await, &[]).await.unwrap();
    assert_eq!(none.get_ref().1.alpn_protocol(), None);
}

#[tokio::test]
async fn a_full_house_still_serves_a_good_client_and_the_probe() {
    for limits in [
        // Full from one source, and full altogether.
        Limits {
            total: 100,
            per_source: 4,
        },
        Limits {
            total: 4,
            per_source: 100,
        },
    ] {
        let mut house = build(Config {
            limits,
            ..Config::default()
        })
        .await;
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(house.tcp().await);
        }
        assert!(
            house
                .ask("GET", SRA_PATH)
                .await
                .starts_with("HTTP/1.1 401 ")
        );
        let (_stream, arrived) = house.arrive().await;
        for _ in 0..8 {
            held.push(house.tcp().await);
        }
        assert!(
            house
                .ask("GET", SRA_PATH)
                .await
                .starts_with("HTTP/1.1 401 ")
        );
        // The eldest were really closed; the good client, further on than they, was not.
        for stream in held.iter_mut().take(8) {
            drained(stream).await;
        }
        let eviction = arrived.ticket.eviction();
        assert!(
            time::timeout(Duration::ZERO, eviction.evicted())
                .await
                .is_err()
        );
        assert!(house.failures("tls", "evicted") >= 8);
        assert!(house.front.budget().len() <= 4);
    }
}

fn proxied_from(network: &str) -> Config {
    Config {
        trusted_proxies: vec![network.parse().unwrap()],
        ..hasty()
    }
}

#[tokio::test]
async fn a_trusted_load_balancer_names_the_client() {
    let mut house = build(proxied_from("127.0.0.0/8")).await;
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    v2.extend([203, 0, 113, 9, 198, 51, 100, 1, 0xC7, 0x4E, 0x01, 0xBB]);
    for (header, source) in [
        (
            b"PROXY TCP4 203.0.113.7 198.51.100.1 51022 443\r\n".to_vec(),
            "203.0.113.7:51022",
        ),
        (v2, "203.0.113.9:51022"),
    ] {
        let mut stream = house.tcp().await;
        stream.write_all(&header).await.unwrap();
        let mut stream = handshake(stream, &[]).await.unwrap();
        stream
            .write_all(&request("a", "1", ClientShape::Sstpc))
            .await
            .unwrap();
        let arrived = house.arrivals.recv().await.unwrap();
        assert_eq!(arrived.remote, source.parse().unwrap());
        assert_eq!(arrived.local, "198.51.100.1:443".parse().unwrap());
    }
    // Its own health check, by either version.
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let mut stream = house.tcp().await;
        stream.write_all(header).await.unwrap();
        let local = stream.local_addr().unwrap();
        let mut stream = handshake(stream, &[]).await.unwrap();
        stream
            .write_all(&request("a", "1", ClientShape::Sstpc))
            .await
            .unwrap();
        assert_eq!(house.arrivals.recv().await.unwrap().remote, local);
    }
}

#[tokio::test]
async fn a_header_is_required_from_a_load_balancer_and_refused_from_strangers() {
    let house = build(proxied_from("127.0.0.0/8")).await;
    assert!(handshake(house.tcp().await, &[]).await.is_err());
    assert_eq!(house.failures("proxy", "malformed"), 1);
    let mut silent = house.tcp().await;
    drained(&mut silent).await;
    assert_eq!(house.failures("proxy", "timeout"), 1);
    let house = build(proxied_from("10.0.0.0/8")).await;
    let mut forged = house.tcp().await;
    forged
        .write_all(b"PROXY TCP4 203.0.113.7 198.51.100.1 51022 443\r\n")
        .await
        .unwrap();
    drained(&mut forged).await;
    assert_eq!(house.failures("tls", "not_tls"), 1);
}

#[tokio::test]
async fn each_connection_keeps_the_certificate_that_it_was_shown() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files {
        certificate: folder.path().join("chain"),
        key: folder.path().join("key"),
    };
    let write = |made: &SelfMade| {
        fs::write(&files.certificate, &made.certificate).unwrap();
        fs::write(&files.key, made.key.as_str()).unwrap();
    };
    let made = |name: &str| SelfMade::new(&[name.to_owned()]).unwrap();
    write(&made("one"));
    let certificates = Arc::new(Certificates::open(files.clone(), MinTls::Tls12).unwrap());
    let mut house = build_with(Config::default(), Arc::clone(&certificates)).await;
    let first_hashes = certificates.current().hashes();
    // Shown the first certificate, and still without a request when the second one comes.
    let mut early = house.tls().await;
    write(&made("two"));
    certificates.reload().unwrap();
    early
        .write_all(&request("a", "1", ClientShape::Sstpc))
        .await
        .unwrap();
    let arrived = house.arrivals.recv().await.unwrap();
    assert_eq!(arrived.certificate.sha256, first_hashes.sha256);
    let (_stream, late) = house.arrive().await;
    assert_eq!(
        late.certificate.sha256,
        certificates.current().hashes().sha256
    );
    assert_ne!(late.certificate.sha256, first_hashes.sha256);
    // A bad pair changes nothing.
    fs::write(&files.key, made("three").key.as_str()).unwrap();
    assert!(certificates.reload().is_err());
    let (_stream, still) = house.arrive().await;
    assert_eq!(still.certificate.sha256, late.certificate.sha256);
}
