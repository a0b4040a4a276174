//! A front door on loopback, and clients that knock at it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_proto::sstp::http::{ClientShape, request};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::front::tls::{Certificate, Certificates, MinTls, SelfMade};
use crate::front::{Config, Deadlines, Door, Front, SstpConnection};
use crate::observe::health::{self, Component, Health, Status};
use crate::observe::metrics::{self, Metrics, Names};
use crate::task::{self, StopHandle};
use crate::trust::Trust;

pub(super) fn client_config(alpn: &[&str]) -> ClientConfig {
    let mut config = Trust::Anything.client_config().unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.enable_sni = false;
    config
}

pub(super) struct House {
    pub(super) address: SocketAddr,
    pub(super) front: Arc<Front>,
    pub(super) health: Arc<Health>,
    pub(super) door: Arc<Door>,
    pub(super) metrics: Metrics,
    pub(super) arrivals: mpsc::Receiver<SstpConnection>,
    _stop: StopHandle,
}

pub(super) fn self_made() -> Certificates {
    let made = SelfMade::new(&["localhost".to_owned()]).unwrap();
    let pem = (made.certificate.as_bytes(), made.key.as_bytes());
    Certificates::fixed(Certificate::from_pem(pem.0, pem.1, MinTls::Tls12).unwrap())
}

pub(super) async fn build(config: Config) -> House {
    build_with(config, Arc::new(self_made())).await
}

pub(super) async fn build_with(config: Config, certificates: Arc<Certificates>) -> House {
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

pub(super) async fn handshake(
    stream: TcpStream,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(client_config(alpn)))
        .connect(name, stream)
        .await
}

impl House {
    pub(super) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(super) async fn tls(&self) -> TlsStream<TcpStream> {
        handshake(self.tcp().await, &["http/1.1"]).await.unwrap()
    }

    /// Sends a request and reads to the end of the connection.
    pub(super) async fn exchange(&self, request: &str) -> String {
        let mut stream = self.tls().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    pub(super) async fn ask(&self, method: &str, path: &str) -> String {
        self.exchange(&format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await
    }

    /// Logs in as far as the front door goes.
    pub(super) async fn arrive(&mut self) -> (TlsStream<TcpStream>, SstpConnection) {
        let mut stream = self.tls().await;
        stream
            .write_all(&request("a", "{1}", ClientShape::Windows))
            .await
            .unwrap();
        let arrived = self.arrivals.recv().await.unwrap();
        (stream, arrived)
    }

    pub(super) fn value(&self, series: &str) -> u64 {
        let text = self.metrics.render();
        let line = text.lines().find(|line| line.starts_with(series));
        let line = line.unwrap_or_else(|| panic!("no {series} in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    pub(super) fn failures(&self, stage: &str, reason: &str) -> u64 {
        self.value(&format!(
            "causeway_session_setup_failures_total{{protocol=\"sstp\",stage=\"{stage}\",reason=\"{reason}\"}}"
        ))
    }
}

/// Short deadlines: no test waits longer than the shortest that applies.
pub(super) fn hasty() -> Config {
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
pub(super) async fn drained(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut bytes = [0; 1024];
    while let Ok(1..) = stream.read(&mut bytes).await {}
}

pub(super) fn without_date(answer: &str) -> Vec<&str> {
    answer
        .lines()
        .filter(|line| !line.starts_with("Date: "))
        .collect()
}
