//! The admin listener: `/metrics`, `/healthz`, `/readyz` and `/status`, for the networks that may ask; nothing else.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use metrics::Counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::debug;

use crate::observe::health::{Health, Status, Verdict};
use crate::observe::metrics::Metrics;
use crate::task::Stop;

/// Connections served at once; a scraper and a few people need no more.
const MAX_CONNECTIONS: usize = 64;
/// From the first byte of a request to its last.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// hyper's smallest buffer, and plenty for a request to four paths.
const MAX_HEAD: usize = 8192;
/// After this a connection is closed whatever it does.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);

/// The JSON that `/status` shows; the control room publishes it.
#[derive(Clone, Debug, Default)]
pub struct StatusPage {
    json: Arc<ArcSwap<String>>,
}

impl StatusPage {
    /// Replaces the page.
    pub fn publish(&self, json: String) {
        self.json.store(Arc::new(json));
    }

    fn read(&self) -> String {
        let json = self.json.load();
        if json.is_empty() {
            "{}".to_owned()
        } else {
            json.as_str().to_owned()
        }
    }
}

/// What the exporter shows, and to whom.
#[derive(Debug)]
pub struct Exporter {
    allow: Vec<IpNet>,
    metrics: Metrics,
    health: Arc<Health>,
    status: StatusPage,
    ready: Counter,
    not_ready: Counter,
}

impl Exporter {
    /// Makes the exporter; sources outside `allow` are turned away before a byte of theirs is read.
    #[must_use]
    pub fn new(
        allow: Vec<IpNet>,
        metrics: Metrics,
        health: Arc<Health>,
        status: StatusPage,
    ) -> Self {
        Self {
            allow,
            metrics,
            health,
            status,
            ready: metrics::counter!("causeway_health_probes_total", "path" => "readyz", "code" => "200"),
            not_ready: metrics::counter!("causeway_health_probes_total", "path" => "readyz", "code" => "503"),
        }
    }

    /// Serves until the stop.
    pub async fn serve(self, listener: TcpListener, mut stop: Stop) {
        let exporter = Arc::new(self);
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.stopped() => return,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = listener.accept() => accepted,
            };
            let (stream, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    debug!(%error, "the admin listener could not accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            if !exporter.allows(remote.ip()) {
                continue;
            }
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                continue;
            };
            let exporter = Arc::clone(&exporter);
            connections.spawn(async move {
                exporter.connection(stream).await;
                drop(permit);
            });
        }
    }

    fn allows(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.allow.iter().any(|network| network.contains(&source))
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(|request: Request<Incoming>| {
            let response = self.answer(
                request.method(),
                request.uri().path(),
                request.uri().query(),
            );
            async move { Ok::<_, Infallible>(response) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        // A scraper that went away in the middle is its own affair.
        if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_LIFE, connection).await {
            debug!(%error, "an admin connection broke");
        }
    }

    fn answer(&self, method: &Method, path: &str, query: Option<&str>) -> Response<Full<Bytes>> {
        const TEXT: &str = "text/plain; charset=utf-8";
        if !matches!(path, "/metrics" | "/healthz" | "/readyz" | "/status") {
            return response(StatusCode::NOT_FOUND, TEXT, "not found\n".to_owned());
        }
        if *method != Method::GET && *method != Method::HEAD {
            let mut refusal = response(
                StatusCode::METHOD_NOT_ALLOWED,
                TEXT,
                "GET or HEAD only\n".to_owned(),
            );
            refusal
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        match path {
            "/metrics" => response(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                self.metrics.render(),
            ),
            "/healthz" => response(StatusCode::OK, TEXT, "ok\n".to_owned()),
            "/status" => response(StatusCode::OK, "application/json", self.status.read()),
            _ => {
                let (code, text) = self.readiness(query == Some("verbose"));
                response(code, TEXT, text)
            }
        }
    }

    fn readiness(&self, verbose: bool) -> (StatusCode, String) {
        let (code, mut text) = match self.health.verdict() {
            Verdict::Healthy => {
                self.ready.increment(1);
                (StatusCode::OK, "ready\n".to_owned())
            }
            Verdict::Unhealthy(component) => {
                self.not_ready.increment(1);
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("not ready: {}\n", component.as_str()),
                )
            }
        };
        if verbose {
            for (component, status, _) in self.health.snapshot() {
                let sign = if matches!(status, Status::Down(_)) {
                    "[-]"
                } else {
                    "[+]"
                };
                text.push_str(sign);
                text.push_str(component.as_str());
                text.push(' ');
                text.push_str(status.as_str());
                if !status.reason().is_empty() {
                    text.push_str(": ");
                    text.push_str(status.reason());
                }
                text.push('\n');
            }
        }
        (code, text)
    }
}

fn response(code: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::observe::health::{Component, Config};
    use crate::observe::metrics::{self, Names};
    use crate::task;

    use super::*;

    async fn exchange(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let sent = stream.write_all(request.as_bytes()).await;
        let mut text = String::new();
        if sent.is_ok() && stream.read_to_string(&mut text).await.is_err() {
            text.clear();
        }
        text
    }

    async fn get(address: std::net::SocketAddr, path: &str) -> String {
        exchange(
            address,
            &format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
        )
        .await
    }

    async fn start(
        allow: &[&str],
    ) -> (
        std::net::SocketAddr,
        Arc<Health>,
        StatusPage,
        task::StopHandle,
    ) {
        let (recorder, metrics) = metrics::for_test(&Names::default());
        let health = Arc::new(Health::new(Config::default()));
        let page = StatusPage::default();
        let allow = allow
            .iter()
            .map(|network| network.parse().unwrap())
            .collect();
        let exporter = ::metrics::with_local_recorder(&recorder, || {
            Exporter::new(allow, metrics, Arc::clone(&health), page.clone())
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (handle, stop) = task::stop();
        tokio::spawn(exporter.serve(listener, stop));
        (address, health, page, handle)
    }

    #[tokio::test]
    async fn shows_four_pages_and_nothing_else() {
        let (address, health, page, _stop) = start(&["127.0.0.0/8"]).await;
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503 "));
        for component in Component::ALL {
            health.set(component, Status::Ok);
        }
        assert!(get(address, "/readyz").await.ends_with("\r\n\r\nready\n"));
        health.set(Component::Pool, Status::Warn("4 addresses left".to_owned()));
        let verbose = get(address, "/readyz?verbose").await;
        assert!(
            verbose.contains("[+]pool warn: 4 addresses left\n"),
            "{verbose}"
        );
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200 "));
        page.publish("{\"schema\":1}".to_owned());
        assert!(get(address, "/status").await.ends_with("{\"schema\":1}"));
        let scrape = get(address, "/metrics").await;
        assert!(
            scrape.contains("causeway_health_probes_total{path=\"readyz\",code=\"503\"} 1"),
            "{scrape}"
        );
        assert!(get(address, "/debug").await.starts_with("HTTP/1.1 404 "));
        let post = exchange(
            address,
            "POST /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        )
        .await;
        assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
    }

    #[tokio::test]
    async fn strangers_see_nothing() {
        let (address, _health, _page, _stop) = start(&["10.0.0.0/8"]).await;
        assert_eq!(get(address, "/metrics").await, "");
    }

    #[tokio::test]
    async fn an_endless_request_head_ends() {
        let (address, _health, _page, _stop) = start(&["127.0.0.1/32"]).await;
        let head = format!("GET /metrics HTTP/1.1\r\nx: {}", "y".repeat(64 * 1024));
        let answer = exchange(address, &head).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
            "{answer}"
        );
    }
}
