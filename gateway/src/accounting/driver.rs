//! The task that owns the machine.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use causeway_proto::activity::Usage;
use causeway_proto::crypto::Rng;
use causeway_proto::radius::access::Nas;
use causeway_proto::radius::accounting::{
    self as proto, Dropped, Event, Record, Sender, Status, gateway_attributes,
};
use causeway_proto::radius::{Discard, ServerId};
use causeway_proto::terminate::TerminateCause;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use super::disk::{Disk, Job};
use super::journal::{self, Contents, Entry};
use super::sessions::{Sessions, cut_off};
use super::sockets::Sockets;
use super::{Config, Order, series};
use crate::radius::datagram::Arrival;

/// How long the last records may take when the gateway stops; what is left is on disk.
const FAREWELL: Duration = Duration::from_secs(3);
/// How often it is looked whether the packet path has let go.
const SETTLE: Duration = Duration::from_millis(20);
/// How long a disk that failed is left alone.
const DISK_PAUSE: Duration = Duration::from_secs(10);
/// From so many entries on that say nothing any more, the file is written anew.
const WASTE: usize = 10_000;

/// The task: reads orders, writes the file through its thread, and talks to the servers.
#[derive(Debug)]
pub struct Driver {
    sender: Sender,
    sessions: Sessions,
    sockets: Sockets,
    meters: Vec<Meter>,
    queue: Queue,
    orders: mpsc::UnboundedReceiver<Order>,
    waiting: Arc<AtomicUsize>,
    disk: Disk,
    path: PathBuf,
    nas: Nas,
    rng: Rng,
    next_seq: u64,
    /// What the disk thread gets when it has done what it has.
    pending: Vec<Entry>,
    /// Up to which record the job that is being done goes; `None` when none is.
    writing: Option<u64>,
    /// Whether the next job is a new file.
    rewrite: bool,
    /// Entries in the file.
    written: usize,
    disk_state: DiskState,
    finishing: Option<(Instant, oneshot::Sender<()>)>,
}

struct Meter(String, series::Meters);

struct Queue(series::Queue);

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum DiskState {
    Good,
    /// It failed; tried again then.
    Bad(Instant),
    /// There is a file that cannot be read, and that is not to be replaced.
    Shut,
}

impl Driver {
    pub(super) fn new(
        config: Config,
        orders: mpsc::UnboundedReceiver<Order>,
        waiting: Arc<AtomicUsize>,
    ) -> io::Result<Self> {
        let mut seed = [0; 32];
        SystemRandom::new()
            .fill(&mut seed)
            .map_err(|_| io::Error::other("the operating system gives no randomness"))?;
        let mut rng = Rng::from_seed(&seed);
        let machine = proto::Config {
            servers: config
                .servers
                .iter()
                .map(|server| proto::Server {
                    name: server.name.clone(),
                    secret: server.secret.clone(),
                    reliable: server.tls.is_some(),
                })
                .collect(),
            queue_max: config.queue_max,
            flight: config.flight,
        };
        let meters: Vec<_> = config
            .servers
            .iter()
            .map(|server| Meter(server.name.clone(), series::Meters::new(&server.name)))
            .collect();
        for Meter(_, meters) in &meters {
            meters.up.set(1.0);
        }
        let (contents, disk_state) = open(&config.queue);
        let mut driver = Self {
            sender: Sender::new(machine, rng.fork()),
            sessions: Sessions::new(Instant::now()),
            sockets: Sockets::new(config.servers),
            meters,
            queue: Queue(series::Queue::new()),
            orders,
            waiting,
            disk: Disk::start(config.queue.clone())?,
            path: config.queue,
            nas: config.nas,
            rng,
            next_seq: 1,
            pending: Vec::new(),
            writing: None,
            rewrite: true,
            written: 0,
            disk_state,
            finishing: None,
        };
        driver.recover(contents);
        Ok(driver)
    }

    /// Runs until the gateway stops.
    pub async fn run(mut self) {
        loop {
            self.transmit().await;
            self.take_events();
            self.write();
            self.publish();
            if self.is_finished() {
                break;
            }
            let wake = self.next_wake();
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.handle_order(order),
                    // Every handle is gone, and with it everybody who could have something to say.
                    None => break,
                },
                done = self.disk.done(), if self.writing.is_some() => self.handle_written(done),
                arrival = self.sockets.next() => self.handle_arrival(arrival),
                () = sleep_until(wake.into()) => {}
            }
            self.turn();
        }
        if let Some((_, done)) = self.finishing.take() {
            debug!(left = self.sender.len(), "accounting has ended");
            // Whoever asked may have lost patience.
            done.send(()).unwrap_or_default();
        }
    }

    /// Takes over what an earlier run has left behind.
    fn recover(&mut self, contents: Contents) {
        let (left, cut) = (contents.records.len(), contents.open.len());
        for record in contents.records.into_values() {
            self.push(record);
        }
        for (session, open) in &contents.open {
            self.push(cut_off(session, &open.base, open.last));
        }
        if left > 0 || cut > 0 {
            info!(
                event = "accounting_recovered",
                records = left,
                sessions = cut,
                "accounting goes on where it was; sessions that were up get their Stop"
            );
        }
        self.say_of_gateway(Status::On);
    }

    fn say_of_gateway(&mut self, status: Status) {
        let at = unix(SystemTime::now());
        let session = format!("{}-{at:x}-{:08x}", status.as_str(), self.rng.u32());
        if let Some(base) = gateway_attributes(&self.nas, &session) {
            self.push(Record {
                status,
                session: session.into(),
                at,
                elapsed: 0,
                usage: Usage::default(),
                base: base.into(),
            });
        }
    }

    fn push(&mut self, record: Record) {
        let seq = self.next_seq;
        self.next_seq = self.next_seq.saturating_add(1);
        self.pending.push(Entry::Record(seq, record.clone()));
        self.sender.push(Instant::now(), seq, record);
    }

    fn handle_order(&mut self, order: Order) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        match order {
            Order::Open(opening) => {
                let times = (opening.began, unix(opening.at));
                let spread = self.rng.u8();
                let record = self.sessions.open(
                    opening.ticket,
                    opening.account,
                    opening.activity,
                    times,
                    spread,
                );
                self.push(record);
            }
            Order::Close {
                ticket,
                cause,
                at,
                elapsed,
            } => {
                let cause = cause.acct_terminate_cause();
                self.sessions
                    .close(Instant::now(), ticket, cause, unix(at), elapsed.as_secs());
            }
            Order::Finish(done) => {
                let (now, at) = (Instant::now(), unix(SystemTime::now()));
                let cause = TerminateCause::ServerStop.acct_terminate_cause();
                self.sessions.close_all(now, cause, at);
                self.finishing = Some((now + FAREWELL, done));
                if !self.sessions.is_settling() {
                    self.say_of_gateway(Status::Off);
                }
            }
        }
    }

    fn handle_written(&mut self, done: io::Result<()>) {
        let now = Instant::now();
        if let Some(up_to) = self.writing.take() {
            self.sender.release(now, up_to);
        }
        let before = self.disk_state;
        match done {
            Ok(()) => {
                self.disk_state = DiskState::Good;
                if matches!(before, DiskState::Bad(_)) {
                    info!(path = %self.path.display(), "the accounting queue is on disk again");
                }
            }
            Err(error) => {
                self.disk_state = DiskState::Bad(now + DISK_PAUSE);
                self.rewrite = true;
                if before == DiskState::Good {
                    warn!(path = %self.path.display(), %error, "accounting records are kept in memory only: the queue cannot be written; make room or give the gateway the right to");
                }
            }
        }
    }

    fn handle_arrival(&mut self, arrival: Arrival<ServerId>) {
        let now = Instant::now();
        match arrival {
            Arrival::Datagram(server, bytes) => {
                let heard = self.sender.handle_datagram(now, server, &bytes);
                if let (Err(why), Some(Meter(_, meters))) = (heard, self.meters.get(server.0)) {
                    // An answer to what has been answered is nothing that anybody has to know.
                    if why != Discard::UnknownIdentifier {
                        meters.discarded(why);
                    }
                }
            }
            Arrival::Unreachable(server) => self.unreachable(now, server),
        }
    }

    fn unreachable(&mut self, now: Instant, server: ServerId) {
        if let Some(Meter(_, meters)) = self.meters.get(server.0) {
            meters.unreachable();
        }
        self.sender.handle_unreachable(now, server);
    }

    /// Does what is due.
    fn turn(&mut self) {
        let (now, at) = (Instant::now(), unix(SystemTime::now()));
        self.sender.handle_timeout(now);
        let settling = self.sessions.is_settling();
        for record in self.sessions.settled(now) {
            self.push(record);
        }
        if self.finishing.is_some() && settling && !self.sessions.is_settling() {
            self.say_of_gateway(Status::Off);
        }
        let Self { sessions, rng, .. } = self;
        for record in sessions.interims(now, at, || rng.u8()) {
            self.push(record);
        }
        let counted = self.sessions.checkpoint(now, at);
        self.pending.extend(counted);
    }

    async fn transmit(&mut self) {
        let mut datagram = Vec::new();
        loop {
            let (now, wall) = (Instant::now(), unix(SystemTime::now()));
            datagram.clear();
            let Some(sent) = self.sender.poll_transmit(now, wall, &mut datagram) else {
                return;
            };
            if let Some(Meter(_, meters)) = self.meters.get(sent.server.0) {
                if sent.again {
                    meters.retransmissions.increment(1);
                } else {
                    meters.requests.increment(1);
                }
            }
            if let Err(error) = self.sockets.send(sent.server, &datagram).await {
                debug!(%error, "an accounting request did not leave");
                self.unreachable(now, sent.server);
            }
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.sender.poll_event() {
            match event {
                Event::Acknowledged {
                    seq,
                    server,
                    elapsed,
                } => {
                    self.pending.push(Entry::Done(seq));
                    if let Some(Meter(_, meters)) = self.meters.get(server.0) {
                        meters.accepted(elapsed);
                    }
                }
                Event::Dropped { seq, status, why } => {
                    self.pending.push(Entry::Done(seq));
                    if why != Dropped::Superseded {
                        series::dropped(status.as_str(), 1);
                        debug!(
                            status = status.as_str(),
                            ?why,
                            "an accounting record is lost"
                        );
                    }
                }
                Event::Unanswered { server } => {
                    if let Some(Meter(_, meters)) = self.meters.get(server.0) {
                        meters.unanswered();
                    }
                }
                Event::Health { server, alive } => self.health(server, alive),
            }
        }
    }

    fn health(&self, server: ServerId, alive: bool) {
        let Some(Meter(name, meters)) = self.meters.get(server.0) else {
            return;
        };
        meters.up.set(if alive { 1.0 } else { 0.0 });
        let waiting = self.sender.len();
        if alive {
            info!(radius.server = %name, waiting, "the server takes accounting again");
        } else {
            warn!(radius.server = %name, waiting, "no answer to accounting requests: is the server's accounting port right, and does it have this gateway as a client? Records are kept and sent again");
        }
    }

    /// Gives the disk thread what has come up since its last job.
    fn write(&mut self) {
        let alive = self.sender.len().saturating_add(self.sessions.len());
        let much = alive.saturating_mul(4).saturating_add(WASTE);
        if self.writing.is_some() {
            if self.pending.len() > much {
                // The disk is slower than what happens: a new file will say it in fewer words.
                self.pending.clear();
                self.rewrite = true;
            }
            return;
        }
        let now = Instant::now();
        let up_to = self.next_seq.saturating_sub(1);
        match self.disk_state {
            DiskState::Good => {}
            DiskState::Bad(until) if until <= now => {}
            DiskState::Bad(_) | DiskState::Shut => {
                self.pending.clear();
                self.sender.release(now, up_to);
                return;
            }
        }
        if self.written > much {
            self.rewrite = true;
        }
        let job = if self.rewrite {
            self.pending.clear();
            let mut entries = self.sessions.describe(now, unix(SystemTime::now()));
            let records = self.sender.records();
            entries.extend(records.map(|(seq, record)| Entry::Record(seq, record.clone())));
            self.written = entries.len();
            self.rewrite = false;
            Job::Rewrite(entries)
        } else if self.pending.is_empty() {
            return;
        } else {
            self.written = self.written.saturating_add(self.pending.len());
            Job::Append(std::mem::take(&mut self.pending))
        };
        if self.disk.give(job) {
            self.writing = Some(up_to);
        } else {
            self.disk_state = DiskState::Shut;
        }
    }

    fn publish(&self) {
        let records = u32::try_from(self.sender.len()).unwrap_or(u32::MAX);
        self.queue.0.records.set(f64::from(records));
        let up = self.disk_state == DiskState::Good;
        self.queue.0.journal_up.set(if up { 1.0 } else { 0.0 });
    }

    /// Returns whether the gateway stops and nothing is left to do, or no time to do it.
    fn is_finished(&self) -> bool {
        let Some((until, _)) = &self.finishing else {
            return false;
        };
        let idle = self.sender.is_empty() && self.writing.is_none() && self.pending.is_empty();
        (idle && !self.sessions.is_settling()) || *until <= Instant::now()
    }

    fn next_wake(&self) -> Instant {
        let settle = self.sessions.is_settling().then(|| Instant::now() + SETTLE);
        let disk = match self.disk_state {
            // While a try runs, its end is what wakes.
            DiskState::Bad(until) if self.writing.is_none() => Some(until),
            DiskState::Bad(_) | DiskState::Good | DiskState::Shut => None,
        };
        [
            self.sender.poll_timeout(),
            settle,
            disk,
            self.finishing.as_ref().map(|(until, _)| *until),
        ]
        .into_iter()
        .flatten()
        .fold(self.sessions.next(), Instant::min)
    }
}

/// Reads the file, whatever is wrong with it.
fn open(path: &Path) -> (Contents, DiskState) {
    match journal::read(path) {
        Ok(contents) => {
            if contents.torn > 0 {
                let kept = journal::keep_damaged(path);
                warn!(path = %path.display(), octets = contents.torn, copy = ?kept.ok(), "the end of the accounting queue could not be read; the rest is sent");
            }
            (contents, DiskState::Good)
        }
        Err(error) => {
            warn!(path = %path.display(), %error, "the accounting queue cannot be read: records are kept in memory until the next start; give the gateway the right to it or change radius.accounting.queue");
            (Contents::default(), DiskState::Shut)
        }
    }
}

/// Seconds of Unix time.
fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
