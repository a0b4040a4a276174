//! The life of a connection on port 443, from `accept` to its answer or its hand-over.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use causeway_proto::sstp::http::{self, MAX_HEAD, RequestHead, StatusCode};
use rustls::{AlertDescription, Error as TlsError, PeerIncompatible};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use crate::front::budget::{Budget, Stage, Ticket};
use crate::front::enrolment::Enrolment;
use crate::front::health::{ProbeAnswer, probe_answer};
use crate::front::pace::{Pace, Turn};
use crate::front::proxy::{self, Header, ProxyError};
use crate::front::routing::{Route, answer, ok_answer, refusal, route};
use crate::front::series::{Failure, Series};
use crate::front::tls::Certificates;
use crate::front::{Config, Door, SstpConnection};
use crate::observe::health::Health;
use crate::observe::labels::{AcceptFailure, HttpFailure, ProxyFailure, TlsFailure};
use crate::os::tcp::AcceptError;
use crate::task::Stop;

mod enrol;

/// What a connection that has not logged in may leave unsent.
const BUFFER_LIMIT: usize = 8192;
/// rustls's own default, given back at hand-over.
const DEFAULT_BUFFER_LIMIT: usize = 64 * 1024;
/// How much of a request's rest is read and thrown away, so that the answer is not lost in a reset.
const LINGER_OCTETS: usize = 64 * 1024;
/// The first and the longest wait when descriptors are short.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// The front door.
#[derive(Debug)]
pub struct Front {
    config: Config,
    certificates: Arc<Certificates>,
    health: Arc<Health>,
    door: Arc<Door>,
    budget: Budget,
    pace: Pace,
    handover: mpsc::Sender<SstpConnection>,
    enrolment: Option<Arc<Enrolment>>,
    series: Series,
}

/// What is known of a connection before its bytes are.
struct Arrival {
    remote: SocketAddr,
    local: SocketAddr,
    started: Instant,
    ticket: Ticket,
}

impl Front {
    /// Makes the front door; SSTP connections go to `handover`.
    #[must_use]
    pub fn new(
        config: Config,
        certificates: Arc<Certificates>,
        health: Arc<Health>,
        door: Arc<Door>,
        handover: mpsc::Sender<SstpConnection>,
    ) -> Self {
        let budget = Budget::new(config.limits);
        let pace = Pace::new(config.new_per_second, Instant::now());
        Self {
            config,
            certificates,
            health,
            door,
            budget,
            pace,
            handover,
            enrolment: None,
            series: Series::new(),
        }
    }

    /// Serves the log-in of Mobility too.
    #[must_use]
    pub fn with_enrolment(mut self, enrolment: Arc<Enrolment>) -> Self {
        self.enrolment = Some(enrolment);
        self
    }

    /// Returns the places, for whoever wants to know how many are taken.
    #[must_use]
    pub const fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Takes connections until the stop; those that have not been handed over by then are closed.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, mut stop: Stop) {
        let mut connections = JoinSet::new();
        let mut wait = BACKOFF.0;
        loop {
            let accepted = tokio::select! {
                () = stop.stopped() => return,
                Some(ended) = connections.join_next(), if !connections.is_empty() => {
                    if let Err(error) = ended {
                        warn!(%error, "a connection of the front door ended by a fault of ours");
                    }
                    continue;
                }
                () = self.pace.keep() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, remote)) => {
                    wait = BACKOFF.0;
                    self.series.accepts.increment(1);
                    connections.spawn(Arc::clone(&self).connection(stream, remote));
                }
                Err(error) => {
                    if self.accept_failed(&error, wait).await {
                        wait = BACKOFF.1.min(wait * 2);
                    }
                }
            }
        }
    }

    /// Waits when waiting helps; returns whether it has.
    async fn accept_failed(&self, error: &io::Error, wait: Duration) -> bool {
        let reason = match AcceptError::of(error) {
            AcceptError::NextConnection => {
                self.series.accept_error(AcceptFailure::Aborted);
                return false;
            }
            AcceptError::WaitAWhile if error.kind() == io::ErrorKind::OutOfMemory => {
                AcceptFailure::Memory
            }
            AcceptError::WaitAWhile | AcceptError::Broken => AcceptFailure::Descriptors,
        };
        self.series.accept_error(reason);
        debug!(%error, "the front door could not accept");
        self.budget.evict_one();
        tokio::time::sleep(wait).await;
        true
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, remote: SocketAddr) {
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        let Ok(local) = stream.local_addr() else {
            return;
        };
        let proxied = self.trusts(remote.ip());
        let ticket = if proxied {
            self.budget.admit(None, Stage::Proxy)
        } else {
            self.budget.admit(Some(remote.ip()), Stage::Tls)
        };
        let eviction = ticket.eviction();
        let arrival = Arrival {
            remote,
            local,
            started: Instant::now(),
            ticket,
        };
        // The stage, for the reason, when the connection is thrown out.
        let stage = std::sync::Mutex::new(if proxied { Stage::Proxy } else { Stage::Tls });
        let life = self.life(stream, arrival, proxied, &stage);
        let ended = tokio::select! {
            biased;
            ended = life => ended,
            () = eviction.evicted() => {
                let stage = stage.lock().map_or(Stage::Tls, |stage| *stage);
                Err(match stage {
                    Stage::Proxy => Failure::Proxy(ProxyFailure::Evicted),
                    Stage::Waiting | Stage::Tls => Failure::Tls(TlsFailure::Evicted),
                    Stage::Http | Stage::Negotiation | Stage::Authentication => {
                        Failure::Http(HttpFailure::Evicted)
                    }
                })
            }
        };
        if let Err(failure) = ended {
            self.series.failure(failure);
            debug!(client.address = %remote.ip(), ?failure, "a connection came to nothing");
        }
    }

    async fn life(
        &self,
        mut stream: TcpStream,
        mut arrival: Arrival,
        proxied: bool,
        stage: &std::sync::Mutex<Stage>,
    ) -> Result<(), Failure> {
        if proxied {
            self.read_proxy_header(&mut stream, &mut arrival).await?;
            reached(&arrival.ticket, stage, Stage::Tls);
        }
        if stream.set_nodelay(true).is_err() {
            return Err(Failure::Tls(TlsFailure::Closed));
        }
        let deadlines = &self.config.deadlines;
        let mut deadline = tokio::time::Instant::now() + deadlines.tls;
        // Who says nothing costs nothing, and takes nobody's turn.
        match timeout_at(deadline, stream.peek(&mut [0])).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) => return Err(Failure::Tls(TlsFailure::Closed)),
            Err(_) => return Err(Failure::Tls(TlsFailure::Timeout)),
        }
        let turn = self.pace.turn(arrival.remote.ip(), Instant::now());
        if matches!(turn, Turn::Later(_)) {
            reached(&arrival.ticket, stage, Stage::Waiting);
            let patience = tokio::time::Instant::now() + deadlines.turn;
            tokio::select! {
                biased;
                // Who resets meanwhile costs nobody a turn.
                _ = stream.ready(Interest::ERROR) => {
                    return Err(Failure::Tls(TlsFailure::Closed));
                }
                come = timeout_at(patience, turn.come()) => if come.is_err() {
                    return Err(Failure::Tls(TlsFailure::RateLimited));
                },
            }
            // A turn that comes without the time to use it would be lost for everybody.
            deadline = tokio::time::Instant::now() + deadlines.tls;
            reached(&arrival.ticket, stage, Stage::Tls);
        }
        let certificate = self.certificates.current();
        let accept = TlsAcceptor::from(certificate.config())
            .accept_with(stream, |tls| tls.set_buffer_limit(Some(BUFFER_LIMIT)));
        let mut stream = match timeout_at(deadline, accept).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Failure::Tls(tls_failure(&error))),
            Err(_) => return Err(Failure::Tls(TlsFailure::Timeout)),
        };
        self.series.handshake(stream.get_ref().1.protocol_version());
        reached(&arrival.ticket, stage, Stage::Http);
        let read = timeout(self.config.deadlines.head, read_head(&mut stream)).await;
        let (head, mut octets, length) = match read {
            Err(_) => return Err(Failure::Http(HttpFailure::Timeout)),
            Ok(Ok(Some(read))) => read,
            Ok(Ok(None) | Err(HeadError::Io)) => return Err(Failure::Http(HttpFailure::Closed)),
            Ok(Err(HeadError::Http(error))) => {
                self.series.failure(Failure::Http(HttpFailure::Malformed));
                let status = refusal(error);
                self.respond(&mut stream, status.code(), self.whole(status))
                    .await;
                return Ok(());
            }
        };
        let enrolment = self.enrolment.as_ref();
        if let Some(enrolment) = enrolment.filter(|_| Enrolment::is_meant(&octets)) {
            self.enrol(enrolment, stream, octets, &arrival).await;
            return Ok(());
        }
        match route(&head) {
            Route::Probe => {
                self.probe(&mut stream).await;
                Ok(())
            }
            Route::Answer(status) => {
                self.respond(&mut stream, status.code(), self.whole(status))
                    .await;
                Ok(())
            }
            Route::Sstp => {
                let request = (head, octets.split_off(length.min(octets.len())));
                self.hand_over(stream, request, arrival, certificate.hashes())
                    .await
            }
        }
    }

    async fn read_proxy_header(
        &self,
        stream: &mut TcpStream,
        arrival: &mut Arrival,
    ) -> Result<(), Failure> {
        let header = match timeout(self.config.deadlines.proxy, proxy::read(stream)).await {
            Ok(Ok(header)) => header,
            Ok(Err(ProxyError::Malformed)) => return Err(Failure::Proxy(ProxyFailure::Malformed)),
            Ok(Err(ProxyError::Io(_))) => return Err(Failure::Proxy(ProxyFailure::Closed)),
            Err(_) => return Err(Failure::Proxy(ProxyFailure::Timeout)),
        };
        if let Header::Proxied {
            source,
            destination,
        } = header
        {
            arrival.remote = SocketAddr::new(source.ip().to_canonical(), source.port());
            arrival.local = destination;
            arrival.ticket.attribute(source.ip());
        }
        Ok(())
    }

    async fn probe(&self, stream: &mut TlsStream<TcpStream>) {
        let date = now();
        let server = &self.config.server;
        let (code, response) = match probe_answer(self.health.verdict(), self.config.healthy) {
            ProbeAnswer::Ok => (200, ok_answer(&date, server)),
            ProbeAnswer::Status(status) => (status.code(), answer(status, &date, server)),
        };
        self.series.probe(code);
        self.respond(stream, code, response).await;
    }

    fn whole(&self, status: StatusCode) -> Vec<u8> {
        answer(status, &now(), &self.config.server)
    }

    /// Sends an answer and closes, without losing the answer to a reset.
    async fn respond(&self, stream: &mut TlsStream<TcpStream>, code: u16, response: Vec<u8>) {
        self.series.response(code);
        let send = async {
            stream.write_all(&response).await?;
            stream.shutdown().await
        };
        if timeout(self.config.deadlines.answer, send)
            .await
            .is_ok_and(|sent| sent.is_ok())
        {
            self.linger(stream).await;
        }
    }

    /// Waits until the client has closed, and throws away what it still sends.
    async fn linger(&self, stream: &mut TlsStream<TcpStream>) {
        let linger = async {
            let mut rest = [0; 1024];
            let mut total = 0;
            while let Ok(1..) = stream.read(&mut rest).await.inspect(|read| total += read) {
                if total > LINGER_OCTETS {
                    break;
                }
            }
        };
        // Either way the connection is done with.
        if timeout(self.config.deadlines.linger, linger).await.is_err() {}
    }

    async fn hand_over(
        &self,
        mut stream: TlsStream<TcpStream>,
        (head, unread): (RequestHead, Vec<u8>),
        arrival: Arrival,
        certificate: causeway_proto::sstp::CertificateHashes,
    ) -> Result<(), Failure> {
        let refused = if !self.door.is_open() || !self.health.can_serve() {
            Err(HttpFailure::NotAble)
        } else {
            self.handover
                .try_reserve()
                .map_err(|_full| HttpFailure::Busy)
        };
        let place = match refused {
            Ok(place) => place,
            Err(reason) => {
                self.series.failure(Failure::Http(reason));
                let status = StatusCode::ServiceUnavailable;
                self.respond(&mut stream, status.code(), self.whole(status))
                    .await;
                return Ok(());
            }
        };
        let response = http::ok_response(&now(), &self.config.server);
        let send = async {
            stream.write_all(&response).await?;
            stream.flush().await
        };
        match timeout(self.config.deadlines.answer, send).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Failure::Http(HttpFailure::Closed)),
            Err(_) => return Err(Failure::Http(HttpFailure::Timeout)),
        }
        self.series.response(200);
        let (stream, mut tls) = stream.into_inner();
        tls.set_buffer_limit(Some(DEFAULT_BUFFER_LIMIT));
        let Arrival {
            remote,
            local,
            started,
            ticket,
        } = arrival;
        ticket.advance(Stage::Negotiation);
        place.send(SstpConnection {
            stream,
            tls,
            unread,
            head,
            certificate,
            remote,
            local,
            started,
            ticket,
        });
        Ok(())
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.config
            .trusted_proxies
            .iter()
            .any(|network| network.contains(&address))
    }
}

/// Writes down how far a connection has come, for its place and for the reason when it is thrown out.
fn reached(ticket: &Ticket, stage: &std::sync::Mutex<Stage>, new: Stage) {
    ticket.advance(new);
    if let Ok(mut stage) = stage.lock() {
        *stage = new;
    }
}

enum HeadError {
    Io,
    Http(http::HttpError),
}

/// Reads until the head is whole; returns it with all that was read and how much of that it takes, or `None` when the
/// client closed.
async fn read_head(
    stream: &mut TlsStream<TcpStream>,
) -> Result<Option<(RequestHead, Vec<u8>, usize)>, HeadError> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let room = MAX_HEAD.saturating_sub(head.len()).clamp(1, chunk.len());
        let room = chunk.get_mut(..room).ok_or(HeadError::Io)?;
        let read = stream.read(room).await.map_err(|_error| HeadError::Io)?;
        let Some(new) = chunk.get(..read).filter(|new| !new.is_empty()) else {
            return Ok(None);
        };
        head.extend_from_slice(new);
        // A head can only be whole, or too long, after one of these: a slow drip is not parsed octet by octet.
        if !new.contains(&b'\n') && head.len() < MAX_HEAD {
            continue;
        }
        match http::parse_request(&head) {
            Ok(Some((request, length))) => return Ok(Some((request, head, length))),
            Ok(None) if head.len() >= MAX_HEAD => {
                return Err(HeadError::Http(http::HttpError::TooLarge));
            }
            Ok(None) => {}
            Err(error) => return Err(HeadError::Http(error)),
        }
    }
}

/// Finds out why a handshake failed.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enums are rustls's; most of what they name is one word here"
)]
fn tls_failure(error: &io::Error) -> TlsFailure {
    let Some(error) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<TlsError>())
    else {
        return TlsFailure::Closed;
    };
    match error {
        TlsError::InvalidMessage(_) => TlsFailure::NotTls,
        TlsError::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => TlsFailure::Version,
        TlsError::PeerIncompatible(_) => TlsFailure::Cipher,
        TlsError::NoApplicationProtocol => TlsFailure::Alpn,
        TlsError::AlertReceived(alert) => match *alert {
            AlertDescription::UnknownCA => TlsFailure::UnknownCa,
            AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate => TlsFailure::Certificate,
            _ => TlsFailure::Alert,
        },
        _ => TlsFailure::Protocol,
    }
}

fn now() -> String {
    httpdate::fmt_http_date(SystemTime::now())
}
