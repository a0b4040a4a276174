//! The driver of the Mobility tunnel: one task that owns the WireGuard machine, reads what is not data, lets enrolled
//! devices in and gives their keys to the packet path.
//!
//! A device has no log-on here: it was enrolled by logging in elsewhere. Its session begins with its first good
//! handshake, is `unreachable` while no key is alive, and ends when it has been that for `mobility.persist`, when its
//! enrolment does, or when somebody ends it.

mod results;
mod session;
mod sockets;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use causeway_proto::terminate::TerminateCause;
use causeway_proto::timer::Deadlines;
use causeway_proto::wireguard::{self, AddError, Event, Interface, PeerId, PrivateKey, Role};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::dataplane::{DataPlane, Endpoint, Notice, Stray};
use crate::os::clock;
use crate::os::udp::{Path, Socket};
use crate::session::admission::Admission;
use crate::session::peers::{Change, Peer, Peers};
use crate::session::{Addressed, Line, SessionCommand};
use crate::task::Stop;

use results::Results;
use session::Live;
use sockets::Sockets;

/// The driver's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The gateway's key.
    pub private_key: PrivateKey,
    /// How long the session of a device that is not heard of is kept.
    pub persist: Duration,
    /// Threads of the packet path.
    pub shards: u8,
}

/// What the driver works with.
#[derive(Debug)]
pub struct Parts {
    /// The sockets for everything that is not data, one for each listen address.
    pub control: Vec<Socket>,
    /// Handshake messages that the packet path has found.
    pub strays: mpsc::Receiver<Stray>,
    /// The enrolled devices.
    pub peers: Arc<Peers>,
    /// The door.
    pub admission: Arc<Admission>,
    /// The packet path.
    pub data_plane: Arc<DataPlane>,
}

/// So many handshake messages at once say that more come than are answered.
const CROWD: usize = 16;
/// How long cookies are asked for after a crowd came.
const UNDER_LOAD: Duration = Duration::from_secs(1);

/// Devices that were there when the gateway stopped are called again at its start, so many at a time.
const CALLS: usize = 64;
/// And so often.
const CALL_INTERVAL: Duration = Duration::from_millis(250);

/// A session whose first handshake is not complete after this is none: a little longer than the machine tries.
const FIRST_HANDSHAKE: Duration = Duration::from_secs(100);

/// Notices that may wait; most of them are lossy.
const NOTICES: usize = 1024;

/// The driver.
pub struct Driver {
    config: Config,
    interface: Interface,
    sockets: Sockets,
    peers: Arc<Peers>,
    admission: Arc<Admission>,
    data_plane: Arc<DataPlane>,
    sessions: HashMap<PeerId, Box<Live>>,
    /// Whose session is at an address.
    places: HashMap<SocketAddr, PeerId>,
    /// When the session of an unreachable device ends.
    patience: Deadlines<PeerId>,
    /// Devices to call, and when the next are.
    calls: Vec<PeerId>,
    next_call: Option<Instant>,
    strays: mpsc::Receiver<Stray>,
    changes: mpsc::UnboundedReceiver<Change>,
    notices: (mpsc::Sender<Notice>, mpsc::Receiver<Notice>),
    /// Orders to sessions.
    orders: (Line, mpsc::UnboundedReceiver<Addressed>),
    load_until: Option<Instant>,
    out: Vec<u8>,
    results: Results,
}

impl Driver {
    /// Makes the driver, in the runtime that will run it.
    ///
    /// # Errors
    ///
    /// When the runtime cannot watch the sockets.
    pub fn new(config: Config, parts: Parts) -> io::Result<Self> {
        let now = Instant::now();
        let machine = wireguard::Config {
            private_key: config.private_key.clone(),
            epoch: clock::epoch(),
        };
        let changes = parts.peers.subscribe();
        Ok(Self {
            interface: Interface::new(machine, parts.admission.seed(), now, unix()),
            sockets: Sockets::new(parts.control)?,
            config,
            peers: parts.peers,
            admission: parts.admission,
            data_plane: parts.data_plane,
            sessions: HashMap::new(),
            places: HashMap::new(),
            patience: Deadlines::new(),
            calls: Vec::new(),
            next_call: None,
            strays: parts.strays,
            changes,
            notices: mpsc::channel(NOTICES),
            orders: mpsc::unbounded_channel(),
            load_until: None,
            out: Vec::new(),
            results: Results::new(),
        })
    }

    /// Serves devices until the stop.
    pub async fn run(mut self, mut stop: Stop) {
        self.begin();
        loop {
            self.drain();
            self.interface.set_clock(Instant::now(), unix());
            let wake = [
                self.interface.poll_timeout(),
                self.patience.next(),
                self.next_call,
            ];
            let wake = wake.into_iter().flatten().min();
            tokio::select! {
                listener = self.sockets.readable() => {
                    self.catch_up();
                    self.receive(listener);
                }
                Some(stray) = self.strays.recv() => {
                    self.catch_up();
                    self.datagram(stray.endpoint, &stray.octets);
                }
                Some(notice) = self.notices.1.recv() => self.notice(notice),
                Some(order) = self.orders.1.recv() => self.order(order),
                Some(change) = self.changes.recv() => self.change(change),
                () = sleep_until(wake) => self.timeout(),
                () = stop.stopped() => break,
            }
        }
        let peers: Vec<PeerId> = self.sessions.keys().copied().collect();
        for peer in peers {
            self.end(peer, TerminateCause::ServerStop);
        }
    }

    /// Makes the changes that were told by now: a device that has just been enrolled may be quicker than the news of it,
    /// and would try again in 5 s only.
    fn catch_up(&mut self) {
        while let Ok(change) = self.changes.try_recv() {
            self.change(change);
        }
    }

    /// Makes every enrolled device known, and plans to call those that were there when the gateway stopped: until they
    /// have a new key they send into the void, and would notice after a quarter of a minute.
    fn begin(&mut self) {
        let now = Instant::now();
        for peer in self.peers.list() {
            self.know(now, &peer);
            if peer.connected_at().is_some() && peer.is_open(self.peers.now()) {
                self.calls.push(peer.id());
            }
        }
        if !self.calls.is_empty() {
            info!(
                event = "mobility_resume",
                devices = self.calls.len(),
                "calling the devices that were connected"
            );
            self.next_call = Some(now);
        }
    }

    /// Makes a device known to the machine.
    fn know(&mut self, now: Instant, peer: &Peer) {
        let settings = wireguard::Settings {
            id: peer.id(),
            key: peer.key(),
            preshared_key: peer.preshared_key().cloned().unwrap_or_default(),
            endpoint: peer.endpoint(),
            shard: self.shard(peer.id()),
            keepalive: None,
            last_timestamp: peer.timestamp(),
            activity: None,
        };
        match self.interface.add_peer(now, settings) {
            // It was enrolled while the devices were listed: it was among them, and the news of it came behind.
            Ok(()) | Err(AddError::Id(_)) => {}
            Err(error) => {
                warn!(peer = peer.name(), %error, "an enrolled device cannot be let in; revoke it");
            }
        }
    }

    fn shard(&self, peer: PeerId) -> u8 {
        let shards = u32::from(self.config.shards.max(1));
        u8::try_from(peer.0 % shards).unwrap_or(0)
    }

    fn receive(&mut self, listener: usize) {
        let now = Instant::now();
        let load = self.load_until.is_some_and(|until| now < until);
        let Self {
            sockets,
            interface,
            results,
            ..
        } = self;
        let mut ways = Vec::new();
        let mut count = 0_usize;
        sockets.receive(listener, |endpoint, octets| {
            let from = endpoint.path.remote;
            // A crowd is one from its first batch on: thousands fit into it.
            let under_load = load || count >= CROWD;
            let result = interface.handle_datagram(now, from, under_load, octets);
            results.count(result);
            count += 1;
            if ways.last() != Some(&endpoint) {
                ways.push(endpoint);
            }
        });
        if count >= CROWD {
            self.load_until = Some(now + UNDER_LOAD);
        }
        self.drain_along(&ways);
    }

    fn datagram(&mut self, endpoint: Endpoint, octets: &[u8]) {
        let now = Instant::now();
        if self.strays.len() >= CROWD {
            self.load_until = Some(now + UNDER_LOAD);
        }
        let under_load = self.load_until.is_some_and(|until| now < until);
        let from = endpoint.path.remote;
        let result = self
            .interface
            .handle_datagram(now, from, under_load, octets);
        self.results.count(result);
        self.drain_along(&[endpoint]);
    }

    fn notice(&mut self, notice: Notice) {
        let now = Instant::now();
        match notice {
            Notice::FirstData(index) => self.interface.handle_first_data(now, index),
            Notice::NeedHandshake(peer) => self.interface.handle_need(now, peer),
            Notice::Roamed { peer, to } => self.roamed(peer, to),
        }
    }

    fn order(&mut self, order: Addressed) {
        let live = self.sessions.get_mut(&order.device);
        let Some(live) = live.filter(|live| live.id() == order.session) else {
            return;
        };
        match order.command {
            SessionCommand::Terminate(cause) => self.terminate(order.device, cause),
            SessionCommand::SetFilter(filter) => live.set_filter(filter),
        }
    }

    /// Ends a session as somebody ordered. A log-in that was ended has to be made again; a device that an administrator
    /// has enrolled may come back.
    fn terminate(&mut self, peer: PeerId, cause: TerminateCause) {
        // The user may have logged in again since the order was given.
        if cause == TerminateCause::AuthenticationExpired && self.is_renewed(peer) {
            return self.last_as_long_as_the_log_in(peer);
        }
        self.end(peer, cause);
        match cause {
            TerminateCause::Admin
            | TerminateCause::DynamicAuthorization
            | TerminateCause::SessionTimeout
            | TerminateCause::IdleTimeout
            | TerminateCause::AuthenticationExpired
            | TerminateCause::Blocked => self.peers.expire(peer),
            TerminateCause::UserRequest
            | TerminateCause::Drain
            | TerminateCause::PeerLost
            | TerminateCause::Replaced
            | TerminateCause::ProtocolError
            | TerminateCause::ServerStop
            | TerminateCause::AuthFailed => {}
        }
    }

    fn change(&mut self, change: Change) {
        let now = Instant::now();
        match change {
            Change::Added(peer) => self.know(now, &peer),
            Change::Renewed(peer) => self.renewed(&peer),
            Change::Removed { id, cause } => {
                self.end(id, cause);
                self.interface.remove_peer(now, id);
            }
        }
    }

    fn timeout(&mut self) {
        let now = Instant::now();
        self.interface.handle_timeout(now);
        while let Some(peer) = self.patience.pop_expired(now) {
            self.end(peer, TerminateCause::PeerLost);
        }
        if self.next_call.is_some_and(|at| at <= now) {
            for _ in 0..CALLS {
                let Some(peer) = self.calls.pop() else { break };
                self.call(now, peer);
            }
            self.next_call = (!self.calls.is_empty()).then_some(now + CALL_INTERVAL);
        }
    }

    fn drain(&mut self) {
        self.drain_along(&[]);
    }

    /// Does what the machine wants done and sends what it has to say; answers go back the way that questions came.
    fn drain_along(&mut self, ways: &[Endpoint]) {
        let now = Instant::now();
        loop {
            let mut idle = true;
            // Keys first: an answer brings data at once.
            while let Some(event) = self.interface.poll_event() {
                idle = false;
                self.act(now, ways, event);
            }
            self.out.clear();
            while let Some(to) = self.interface.poll_transmit(&mut self.out) {
                idle = false;
                if let Some(endpoint) = self.way(ways, to) {
                    self.sockets.send(&endpoint, &self.out);
                }
                self.out.clear();
            }
            if idle {
                return;
            }
        }
    }

    fn act(&mut self, now: Instant, ways: &[Endpoint], event: Event) {
        match event {
            Event::Authorize { peer, from } => {
                let admitted = self.open(peer, self.way(ways, from));
                self.interface.handle_decision(now, peer, admitted);
            }
            Event::InstallReceiving { peer, key } => {
                self.with(peer, |live| live.attachment.install_receiving(key));
            }
            Event::PrepareSending { peer, key } => {
                self.with(peer, |live| live.attachment.prepare_sending(key));
            }
            Event::InstallSending {
                peer,
                key,
                endpoint,
            } => {
                // Data that confirmed a key has told the packet path more than the machine knows.
                let seen = |live: &Live| live.attachment.endpoint();
                let seen = self.sessions.get(&peer).and_then(|live| seen(live));
                let seen = seen.filter(|seen| seen.path.remote == endpoint);
                let way = seen.or_else(|| self.way(ways, endpoint));
                self.moved(peer, way, key.role());
                self.with(peer, |live| live.attachment.install_sending(key));
            }
            Event::Remove { peer, index } => {
                self.with(peer, |live| live.attachment.remove_receiving(index));
            }
            Event::RemoveSending { peer } => self.unreachable(now, peer),
            Event::Timestamp { peer, tai64n } => {
                let endpoint = self.sessions.get(&peer).and_then(|live| live.remote());
                self.peers.note_seen(peer, endpoint, tai64n);
            }
            Event::HandshakeDone { peer, role } => self.done(peer, role),
            Event::GaveUp { peer } => {
                self.results.gave_up();
                debug!(peer = peer.0, "a device did not answer");
            }
        }
    }

    fn with(&mut self, peer: PeerId, act: impl FnOnce(&mut Live)) {
        if let Some(live) = self.sessions.get_mut(&peer) {
            act(live);
        }
    }

    /// Returns the way to an address: that of a question from there, else that of the session that is there, else that
    /// of the first listener that can reach it.
    fn way(&self, ways: &[Endpoint], remote: SocketAddr) -> Option<Endpoint> {
        let asked = ways.iter().find(|way| way.path.remote == remote);
        if let Some(way) = asked {
            return Some(*way);
        }
        let there = self.places.get(&remote);
        let there = there.and_then(|peer| self.sessions.get(peer)?.endpoint());
        there.or_else(|| {
            Some(Endpoint {
                listener: self.sockets.listener_for(remote)?,
                path: Path::to(remote),
            })
        })
    }

    fn done(&mut self, peer: PeerId, role: Role) {
        self.patience.stop(peer);
        self.results.done();
        let live = self.sessions.get_mut(&peer);
        if live.is_some_and(|live| live.reached(role)) {
            self.last_as_long_as_the_log_in(peer);
        }
    }

    fn unreachable(&mut self, now: Instant, peer: PeerId) {
        let persist = self.config.persist;
        if let Some(live) = self.sessions.get_mut(&peer) {
            live.unreachable();
            if let Some(until) = now.checked_add(persist) {
                self.patience.arm(peer, until);
            }
        }
    }
}

/// Returns the time since 1970.
fn unix() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Sleeps until the deadline; for ever when there is none.
async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
