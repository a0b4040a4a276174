//! One call: from the HTTP answer to the log line that says how it ended.

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use causeway_proto::aaa::{Applicant, Credentials, Decision, TunnelKind};
use causeway_proto::crypto::Rng;
use causeway_proto::ip::filter::Filter;
use causeway_proto::sstp::{
    CertificateHashes, EndReason, Event, HashProtocol, PacketSink, Session,
};
use causeway_proto::terminate::TerminateCause;
use rustls::ServerConnection;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tracing::{Instrument, debug, info};

use super::io::TlsIo;
use super::{Driver, Packing};
use crate::dataplane::{Attachment, Ended, RecordPacking, StreamSession};
use crate::ids::SessionId;
use crate::observe::labels;
use crate::session::SessionCommand;
use crate::session::admission::Seat;
use crate::task::Stop;

/// How long a closing call may take to get its last octets out.
const LINGER: Duration = Duration::from_secs(2);
/// How much plaintext may wait in front of a call that is not up: one packet and a record behind it.
const MAX_UNREAD: usize = 32 * 1024;

/// A connection whose SSTP request has been answered with 200.
pub struct SstpConnection {
    /// The socket.
    pub stream: TcpStream,
    /// The TLS state.
    pub tls: ServerConnection,
    /// Octets that came behind the request head.
    pub unread: Vec<u8>,
    /// `SSTPCORRELATIONID`.
    pub correlation: Option<String>,
    /// Whether the request has the shape of a client that reads whole TLS records.
    pub reads_whole_records: bool,
    /// The hashes of the certificate that this connection was shown.
    pub certificate: CertificateHashes,
    /// The client's outer address.
    pub remote: SocketAddr,
    /// The address that it reached.
    pub local: SocketAddr,
    /// When the connection was accepted.
    pub started: Instant,
    /// Its place among connections that have not logged in; given back when it is dropped.
    pub place: Option<Place>,
}

/// A place among strangers.
pub struct Place {
    /// Returns when the place has gone to somebody else: the connection must close.
    pub evicted: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// What gives the place back when it is dropped.
    pub ticket: Box<dyn Any + Send>,
}

impl std::fmt::Debug for SstpConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SstpConnection")
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

/// Runs one call to its end.
pub(super) async fn run(driver: Arc<Driver>, connection: SstpConnection, stop: Stop) {
    let id = driver.admission.new_session_id();
    let span = tracing::info_span!(
        "session",
        session = %id,
        protocol = "sstp",
        client.address = %connection.remote.ip(),
        correlation = connection.correlation.as_deref(),
    );
    Box::pin(Call::new(&driver, connection, id).run(stop))
        .instrument(span)
        .await;
}

/// A log-in that is being decided; its seat comes back with the decision.
type Pending = Pin<Box<dyn Future<Output = (Seat, Decision)> + Send>>;

/// A call until it is up.
struct Call {
    driver: Arc<Driver>,
    id: SessionId,
    io: TlsIo,
    machine: Session,
    /// Plaintext that the machine has not consumed.
    plain: Vec<u8>,
    /// What only the log and RADIUS want to know.
    applicant: Applicant,
    facts: Facts,
    pending: Option<Pending>,
    seat: Option<Seat>,
    /// Why the call is ending, once it is.
    down: Option<(TerminateCause, EndReason)>,
    place: Option<Place>,
    started: Instant,
    deadline: Instant,
}

/// What is known of the connection itself.
struct Facts {
    tls_version: &'static str,
    cipher: String,
    reads_whole_records: bool,
}

/// How the negotiation ended.
enum Outcome {
    /// The call is up; the data plane takes it.
    Up,
    /// It ended before that.
    Ended(TerminateCause, EndReason),
    /// The transport failed.
    Broken(io::Error),
}

/// No inner packet passes before the call is up.
struct NoPackets;

impl<'a> PacketSink<'a> for NoPackets {
    fn deliver(&mut self, _packet: &'a mut [u8]) {}
}

impl Call {
    fn new(driver: &Arc<Driver>, connection: SstpConnection, id: SessionId) -> Self {
        let config = driver.config.load();
        let facts = Facts {
            tls_version: match connection.tls.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
                Some(rustls::ProtocolVersion::TLSv1_2) => "1.2",
                _ => "none",
            },
            cipher: connection
                .tls
                .negotiated_cipher_suite()
                .map(|suite| format!("{:?}", suite.suite()))
                .unwrap_or_default(),
            reads_whole_records: connection.reads_whole_records,
        };
        let now = Instant::now();
        let machine = Session::new(
            config.machine.clone(),
            connection.certificate,
            Rng::from_seed(&driver.admission.seed()),
            now,
        );
        let applicant = Applicant {
            nas_port: id.number(),
            correlation: connection.correlation,
            connect_info: Some(format!("SSTP TLS{} {}", facts.tls_version, facts.cipher)),
            mtu: config.machine.ppp.mru.min(1400),
            ..Applicant::new(
                TunnelKind::Sstp,
                connection.remote,
                connection.local,
                id.accounting_id(unix_now()),
            )
        };
        let mut io = TlsIo::new(connection.stream, connection.tls);
        io.bound_unsent();
        Self {
            deadline: now + config.auth_timeout,
            driver: Arc::clone(driver),
            id,
            io,
            machine,
            plain: connection.unread,
            applicant,
            facts,
            pending: None,
            seat: None,
            down: None,
            place: connection.place,
            started: connection.started,
        }
    }

    async fn run(mut self, mut stop: Stop) {
        debug!(event = "call_begins", tls.version = self.facts.tls_version, tls.cipher = %self.facts.cipher, "SSTP call begins");
        match self.negotiate(&mut stop).await {
            Outcome::Up => self.hand_over(&mut stop).await,
            Outcome::Ended(cause, reason) => {
                self.failed(cause, reason.as_str(), labels::end_reason(reason));
                self.linger().await;
            }
            Outcome::Broken(error) => {
                debug!(%error, "the transport failed");
                self.failed(
                    TerminateCause::PeerLost,
                    "transport",
                    labels::end_reason(EndReason::TransportClosed),
                );
            }
        }
    }

    /// Turns the loop until the call is up or over.
    async fn negotiate(&mut self, stop: &mut Stop) -> Outcome {
        let mut stopping = false;
        loop {
            match self.drain() {
                Ok(None) => {}
                Ok(Some(outcome)) => return outcome,
                Err(error) => return Outcome::Broken(error),
            }
            let sleep = self
                .machine
                .poll_timeout()
                .map(tokio::time::Instant::from_std);
            tokio::select! {
                read = self.io.read(&mut self.plain) => {
                    match read {
                        Ok(0) => return self.closed(),
                        Ok(_) if self.plain.len() <= MAX_UNREAD => {}
                        Ok(_) => return Outcome::Broken(io::ErrorKind::InvalidData.into()),
                        Err(error) => return Outcome::Broken(error),
                    }
                    if let Err(error) = self.feed() {
                        return Outcome::Broken(error);
                    }
                }
                (seat, decision) = decided(&mut self.pending) => self.decided(seat, decision),
                () = sleep_until(sleep) => self.machine.handle_timeout(Instant::now()),
                () = evicted(&mut self.place) => {
                    return Outcome::Broken(io::Error::other("its place went to another connection"));
                }
                () = stop.stopped(), if !stopping => {
                    stopping = true;
                    self.machine.terminate(Instant::now(), TerminateCause::ServerStop);
                }
            }
        }
    }

    /// The client has closed the transport: asks the machine what that means.
    fn closed(&mut self) -> Outcome {
        self.machine.handle_closed(Instant::now());
        match self.drain() {
            Ok(Some(outcome @ Outcome::Ended(..))) => outcome,
            Ok(_) | Err(_) => match self.down.take() {
                Some((cause, reason)) => Outcome::Ended(cause, reason),
                None => Outcome::Broken(io::ErrorKind::ConnectionReset.into()),
            },
        }
    }

    /// Sends what the machine has to say and does what it wants done.
    fn drain(&mut self) -> io::Result<Option<Outcome>> {
        // What came with the request head, or behind a packet that made the machine wait.
        self.feed()?;
        let mut packet = Vec::new();
        while self.machine.poll_transmit(&mut packet) {
            // Before the log-in every client gets one SSTP packet a record: that is right for all of them.
            self.io.write_record(&packet)?;
            packet.clear();
        }
        self.io.try_flush()?;
        let mut outcome = None;
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::Authenticate(credentials) => self.authenticate(credentials),
                Event::Authenticated => debug!("inner authentication done"),
                Event::Up(_) => outcome = Some(Outcome::Up),
                // The good-byes still have to be exchanged; `Close` says when they are.
                Event::Down { cause, reason } => self.down = Some((cause, reason)),
                Event::Close => {
                    self.io.close_notify();
                    let (cause, reason) = self
                        .down
                        .take()
                        .unwrap_or((TerminateCause::PeerLost, EndReason::TransportClosed));
                    outcome = Some(Outcome::Ended(cause, reason));
                }
            }
        }
        Ok(outcome)
    }

    /// Shows the machine the plaintext that is here.
    fn feed(&mut self) -> io::Result<()> {
        let consumed = self
            .machine
            .handle_stream(Instant::now(), &mut self.plain, &mut NoPackets)
            .map_err(|broken| io::Error::new(io::ErrorKind::InvalidData, broken))?;
        self.plain.drain(..consumed);
        Ok(())
    }

    /// Asks the door; the answer comes through `pending`.
    fn authenticate(&mut self, credentials: Credentials) {
        if let Some(identification) = self.machine.identification() {
            self.applicant
                .ras_client_version
                .clone_from(&identification.version);
            self.applicant
                .ras_client_name
                .clone_from(&identification.name);
        }
        let admission = Arc::clone(&self.driver.admission);
        let seat = match self.seat.take() {
            Some(seat) => seat,
            None => match admission.enter(self.id, &self.applicant, credentials.user()) {
                Ok(seat) => seat,
                Err(refusal) => {
                    info!(event = "auth_result", user.name = %credentials.user().display(), reason = refusal.reason.as_str(), "log-in refused");
                    return self
                        .machine
                        .handle_decision(Instant::now(), Decision::Refuse(refusal));
                }
            },
        };
        // From here on the table's limit of pending log-ins counts, not the budget of strangers.
        self.place = None;
        let step = admission.step(seat, self.applicant.clone(), credentials, self.deadline);
        self.pending = Some(Box::pin(step));
    }

    /// Tells the machine what the door said.
    fn decided(&mut self, seat: Seat, decision: Decision) {
        self.pending = None;
        self.seat = Some(seat);
        self.machine.handle_decision(Instant::now(), decision);
    }

    /// Moves the connection to the data plane and waits for its end.
    async fn hand_over(self, stop: &mut Stop) {
        let Some(mut seat) = self.seat else {
            debug!("up without a log-in");
            return;
        };
        let Some(network) = seat.network.take() else {
            debug!("up without an address");
            return;
        };
        let config = self.driver.config.load();
        let packing = match (config.packing, self.facts.reads_whole_records) {
            (Packing::One, _) | (Packing::Auto, false) => RecordPacking::One,
            (Packing::Many, _) | (Packing::Auto, true) => RecordPacking::Many,
        };
        seat.guard.set_up();
        let hash_protocol = self.machine.hash_protocol().map(HashProtocol::as_str);
        seat.guard.update(|facts| {
            facts.tls = Some(format!(
                "TLS {} {}",
                self.facts.tls_version, self.facts.cipher
            ));
            facts.hash_protocol = hash_protocol;
            facts.packing = Some(packing.as_str());
        });
        let (stream, tls) = self.io.into_parts();
        let socket = match stream.into_std() {
            Ok(socket) => socket,
            Err(error) => {
                debug!(%error, "the socket is gone");
                return;
            }
        };
        let (ended_sender, mut ended) = oneshot::channel();
        let attached = self.driver.data_plane.attach_stream(StreamSession {
            id: self.id,
            address: network.address,
            networks: std::mem::take(&mut seat.networks),
            mtu: network.mtu.min(self.machine.peer_mru()),
            filter: seat.filter.take(),
            socket,
            tls,
            unread: self.plain,
            machine: self.machine,
            packing,
            activity: Arc::clone(&seat.activity),
            ended: ended_sender,
        });
        let attachment = match attached {
            Ok(attachment) => attachment,
            Err(error) => {
                tracing::error!(%error, "the data plane took no session");
                seat.guard.set_cause(TerminateCause::ServerStop);
                return;
            }
        };
        metrics::histogram!("causeway_session_setup_duration_seconds", "protocol" => "sstp")
            .record(self.started.elapsed());
        info!(event = "session_up", user.name = %seat.user.display(), inner.ip = %network.address, tls.version = self.facts.tls_version,
            record_packing = packing.as_str(), "session up");
        let up = Instant::now();
        let end = loop {
            tokio::select! {
                end = &mut ended => break end.unwrap_or(Ended { cause: TerminateCause::ServerStop, reason: "data_plane" }),
                command = seat.commands.next() => match command {
                    Some(SessionCommand::Terminate(cause)) => attachment.terminate(cause),
                    Some(SessionCommand::SetFilter(filter)) => set_filter(&attachment, &seat, filter),
                    None => attachment.terminate(TerminateCause::ServerStop),
                },
                () = stop.stopped() => attachment.terminate(TerminateCause::ServerStop),
            }
        };
        drop(attachment);
        seat.guard.set_cause(end.cause);
        let usage = seat.activity.usage();
        info!(event = "session_end", user.name = %seat.user.display(), inner.ip = %network.address, end_cause = end.cause.as_str(),
            reason = end.reason, code = end.cause.number(), rx_bytes = usage.up_octets, tx_bytes = usage.down_octets,
            duration_s = up.elapsed().as_secs(), "session ended");
    }

    /// Notes a call that never came up.
    fn failed(&mut self, cause: TerminateCause, reason: &'static str, label: &'static str) {
        if let Some(seat) = &mut self.seat {
            seat.guard.set_cause(cause);
        }
        metrics::counter!("causeway_session_setup_failures_total", "protocol" => "sstp", "stage" => "ppp", "reason" => label).increment(1);
        let waited = self
            .pending
            .is_some()
            .then_some("the client left while its log-in was being decided");
        info!(
            event = "session_setup_failed",
            stage = "ppp",
            reason,
            end_cause = cause.as_str(),
            note = waited,
            duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "call ended before it was up"
        );
    }

    /// Lets the last words out: the machine's teardown timers run, and then the socket closes.
    async fn linger(&mut self) {
        let flush = async {
            loop {
                if self.io.try_flush().is_err()
                    || !self.io.has_unsent()
                    || self.io.writable().await.is_err()
                {
                    break;
                }
            }
        };
        if tokio::time::timeout(LINGER, flush).await.is_err() {
            debug!("the client took no more octets");
        }
    }
}

/// The time in seconds of Unix time.
fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Puts another filter in force and notes its name.
fn set_filter(attachment: &Attachment, seat: &Seat, filter: Option<Arc<Filter>>) {
    let name = filter.as_ref().map(|filter| filter.name().to_owned());
    info!(
        event = "filter",
        filter = name.as_deref().unwrap_or_default(),
        "the session has another filter"
    );
    attachment.set_filter(filter);
    seat.guard.update(|facts| facts.filter = name);
}

/// Waits for the decision that is pending; for ever when none is.
async fn decided(pending: &mut Option<Pending>) -> (Seat, Decision) {
    match pending {
        Some(pending) => pending.await,
        None => std::future::pending().await,
    }
}

/// Waits until the call has lost its place among strangers; for ever once it is known.
async fn evicted(place: &mut Option<Place>) {
    match place {
        Some(place) => place.evicted.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Sleeps until the deadline; for ever when there is none.
async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
