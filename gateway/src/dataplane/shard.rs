//! An uplink thread: the receiving halves of its SSTP connections, their protocol machines and their timers; and its
//! datagram sessions with their sockets.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use causeway_proto::ip::filter::Filter;
use causeway_proto::terminate::TerminateCause;
use causeway_proto::timer::Deadlines;
use ipnet::Ipv4Net;
use tokio::sync::oneshot;

use crate::dataplane::coalesce::Storage;
use crate::dataplane::counters::{Counter, Published, Tally};
use crate::dataplane::downlink::DownCommand;
use crate::dataplane::mailbox::Mailbox;
use crate::dataplane::slots::{Slot, Table};
use crate::dataplane::stream::{Call, CallEnd, Ended, Key, Opened, Stream};
use crate::dataplane::uplink::datagrams::{self, Datagrams};
use crate::dataplane::uplink::{Client, Gate, Inbound, Tun, TunWriter};
use crate::os::clock;
use crate::os::poll::{Interest, Poller, Ready};

/// What an uplink thread is told.
pub(crate) enum UpCommand {
    /// A session begins.
    Attach(Box<Connection>),
    /// End a session politely.
    Terminate(Key, TerminateCause),
    /// Put another filter in force.
    SetFilter(Key, Option<Arc<Filter>>),
    /// Forget a session at once.
    Detach(Key),
    /// Something for the datagram sessions.
    Datagram(datagrams::Order),
    /// End the thread.
    Stop,
}

/// The receiving half of a session.
pub(crate) struct Connection {
    pub(crate) stream: Arc<Stream>,
    pub(crate) address: Ipv4Addr,
    pub(crate) networks: Vec<Ipv4Net>,
    pub(crate) mss: u16,
    pub(crate) filter: Option<Arc<Filter>>,
    pub(crate) call: Box<dyn Call>,
    /// Plaintext that is not a whole frame yet.
    pub(crate) rest: Vec<u8>,
    pub(crate) ended: Option<oneshot::Sender<Ended>>,
    /// What the machine has said about the end.
    pub(crate) outcome: Option<Ended>,
    /// The deadline that the thread waits for; the machine's own may be later by now.
    pub(crate) armed: Option<Instant>,
}

/// An uplink thread.
pub(crate) struct Uplink {
    connections: Table<Connection>,
    by_key: HashMap<Key, Slot>,
    deadlines: Deadlines<Slot>,
    ready: Vec<Ready>,
    ciphertext: Box<[u8]>,
    plaintext: Box<[u8]>,
    control: Vec<u8>,
    storage: Storage,
    tally: Tally,
    datagrams: Datagrams,
    poller: Poller,
    links: Links,
}

/// What the thread shares with others.
#[derive(Clone)]
pub(crate) struct Links {
    pub(crate) mailbox: Arc<Mailbox<UpCommand>>,
    pub(crate) downlink: Arc<Mailbox<DownCommand>>,
    pub(crate) tun: Arc<Tun>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) published: Arc<Published>,
    /// The counters of the thread's datagram sessions.
    pub(crate) datagrams: Arc<Published>,
    /// How many sessions the thread has.
    pub(crate) load: Arc<AtomicUsize>,
}

const BELL: u64 = u64::MAX;

/// The number of the first UDP socket; those of connections have 32 bits.
const SOCKETS: u64 = 1 << 32;

/// One read from a socket.
const READ: usize = 128 * 1024;

/// A read, the part of a record that TLS had, and the part of a frame from before.
const PLAINTEXT: usize = READ + 64 * 1024;

impl Uplink {
    pub(crate) fn new(links: Links, datagrams: Datagrams) -> io::Result<Self> {
        let poller = Poller::new(256)?;
        poller.add(links.mailbox.bell(), BELL, Interest::Read)?;
        for (token, socket) in (SOCKETS..).zip(datagrams.sockets()) {
            poller.add(socket, token, Interest::Read)?;
        }
        Ok(Self {
            connections: Table::default(),
            by_key: HashMap::new(),
            deadlines: Deadlines::new(),
            ready: Vec::new(),
            ciphertext: vec![0; READ].into_boxed_slice(),
            plaintext: vec![0; PLAINTEXT].into_boxed_slice(),
            control: Vec::new(),
            storage: Storage::default(),
            tally: Tally::default(),
            datagrams,
            poller,
            links,
        })
    }

    /// Works until it is told to stop.
    pub(crate) fn run(mut self) -> io::Result<()> {
        loop {
            let timeout = self
                .deadlines
                .next()
                .map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let mut ready = std::mem::take(&mut self.ready);
            ready.extend(self.poller.wait(timeout)?);
            let now = Instant::now();
            // Orders first: what arrives behind one finds it done.
            if ready.iter().any(|event| event.token == BELL) && self.obey(now) {
                self.stop();
                return Ok(());
            }
            for event in ready.drain(..) {
                if let Some(slot) = Slot::from_number(event.token) {
                    self.readable(slot, now);
                } else if let Ok(listener) = u8::try_from(event.token.wrapping_sub(SOCKETS)) {
                    self.receive(listener, now);
                }
            }
            self.ready = ready;
            while let Some(slot) = self.deadlines.pop_expired(now) {
                self.expired(slot, now);
            }
            self.links.published.publish(&self.tally);
            self.datagrams.publish();
        }
    }

    /// Takes one batch of datagrams.
    fn receive(&mut self, listener: u8, now: Instant) {
        let writer = TunWriter {
            tun: &self.links.tun,
            tally: &mut self.tally,
        };
        let (gate, storage) = (&self.links.gate, &mut self.storage);
        self.datagrams.receive(listener, now, gate, storage, writer);
    }

    /// Takes the messages; returns whether the end is among them.
    fn obey(&mut self, now: Instant) -> bool {
        for command in self.links.mailbox.take() {
            match command {
                UpCommand::Attach(connection) => self.attach(*connection, now),
                UpCommand::Terminate(key, cause) => {
                    if let Some(slot) = self.by_key.get(&key).copied() {
                        if let Some(connection) = self.connections.get_mut(slot) {
                            connection.call.terminate(now, cause);
                        }
                        self.settle(slot, now, Opened::default());
                    }
                }
                UpCommand::SetFilter(key, filter) => {
                    let slot = self.by_key.get(&key).copied();
                    if let Some(connection) = slot.and_then(|slot| self.connections.get_mut(slot)) {
                        connection.filter = filter;
                    }
                }
                UpCommand::Detach(key) => {
                    if let Some(slot) = self.by_key.get(&key).copied() {
                        self.remove(slot, DownCommand::Remove(key));
                    }
                }
                UpCommand::Datagram(order) => self.datagrams.obey(order),
                UpCommand::Stop => return true,
            }
        }
        false
    }

    fn attach(&mut self, connection: Connection, now: Instant) {
        let stream = connection.stream.clone();
        let slot = self.connections.insert(connection);
        self.by_key.insert(stream.key, slot);
        let added = self
            .poller
            .add(&stream.socket, slot.number(), Interest::Read);
        if added.is_err() {
            self.closed(slot, now);
            return;
        }
        // What came behind the log-in may be in TLS's hands already.
        self.decrypt(slot, 0, now);
    }

    fn readable(&mut self, slot: Slot, now: Instant) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        match (&connection.stream.socket).read(&mut self.ciphertext) {
            Ok(0) => self.closed(slot, now),
            Ok(len) => self.decrypt(slot, len, now),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(_) => self.closed(slot, now),
        }
    }

    /// Decrypts the first `len` octets read and gives the machine all the plaintext there is.
    fn decrypt(&mut self, slot: Slot, len: usize, now: Instant) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let mut have = connection.rest.len().min(PLAINTEXT);
        self.plaintext[..have].copy_from_slice(&connection.rest[..have]);
        connection.rest.clear();
        let ciphertext = &self.ciphertext[..len];
        let opened = connection
            .stream
            .open(ciphertext, &mut self.plaintext, &mut have);

        let client = Client {
            address: connection.address,
            networks: &connection.networks,
            mss: connection.mss,
            filter: connection.filter.as_deref(),
            activity: &connection.stream.activity,
        };
        let writer = TunWriter {
            tun: &self.links.tun,
            tally: &mut self.tally,
        };
        let plaintext = &mut self.plaintext[..have];
        let mut inbound = Inbound::new(client, &self.links.gate, &mut self.storage, writer);
        let walked = connection.call.handle_stream(now, plaintext, &mut inbound);
        inbound.finish(clock::coarse_ms());

        match (walked, opened) {
            (Ok(consumed), Ok(opened)) => {
                let rest = self.plaintext.get(consumed..have).unwrap_or_default();
                connection.rest.extend_from_slice(rest);
                self.settle(slot, now, opened);
                if opened.closed {
                    self.closed(slot, now);
                }
            }
            (Err(_), _) => self.broken(slot, "stream_broken"),
            (Ok(_), Err(_)) => self.broken(slot, "tls_error"),
        }
    }

    fn closed(&mut self, slot: Slot, now: Instant) {
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.call.handle_closed(now);
            // The machine may want to wait for something; there is nothing to wait for.
            self.settle(slot, now, Opened::default());
            self.end(slot);
        }
    }

    /// The peer cannot be understood any more.
    fn broken(&mut self, slot: Slot, reason: &'static str) {
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.outcome.get_or_insert(Ended {
                cause: TerminateCause::ProtocolError,
                reason,
            });
            self.end(slot);
        }
    }

    fn expired(&mut self, slot: Slot, now: Instant) {
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.armed = None;
            let due = connection.call.poll_timeout();
            if due.is_some_and(|deadline| deadline <= now) {
                connection.call.handle_timeout(now);
            }
            self.settle(slot, now, Opened::default());
        }
    }

    /// Takes what the machine has to say after it was given something.
    fn settle(&mut self, slot: Slot, now: Instant, opened: Opened) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        self.control.clear();
        while connection.call.poll_transmit(&mut self.control) {}
        let stream = &connection.stream;
        if !self.control.is_empty() && !stream.leave_control(&self.control) {
            self.tally.add(Counter::ControlFull, 1);
        }
        if (opened.wants_write || !self.control.is_empty()) && stream.must_tell() {
            self.links.downlink.send(DownCommand::Control(stream.key));
        }
        let mut close = false;
        while let Some(end) = connection.call.poll_end() {
            match end {
                CallEnd::Down(ended) => {
                    connection.outcome.get_or_insert(ended);
                }
                CallEnd::Close => close = true,
            }
        }
        if close {
            self.end(slot);
            return;
        }
        // A deadline that has moved away is looked at when the old one fires, and armed again then.
        if let Some(deadline) = connection.call.poll_timeout() {
            let deadline = deadline.max(now);
            if connection.armed.is_none_or(|armed| deadline < armed) {
                connection.armed = Some(deadline);
                self.deadlines.arm(slot, deadline);
            }
        }
    }

    /// Ends a session: what is left to say goes out, then the socket is closed.
    fn end(&mut self, slot: Slot) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let finish = DownCommand::Finish(connection.stream.key);
        let outcome = connection.outcome.unwrap_or(Ended {
            cause: TerminateCause::PeerLost,
            reason: "transport_closed",
        });
        let ended = connection.ended.take();
        self.remove(slot, finish);
        // Told behind the downlink, so that the address has no route when it is given to somebody else.
        if let Some(ended) = ended {
            ended.send(outcome).ok();
        }
    }

    fn remove(&mut self, slot: Slot, farewell: DownCommand) {
        let Some(connection) = self.connections.remove(slot) else {
            return;
        };
        self.by_key.remove(&connection.stream.key);
        self.deadlines.stop(slot);
        self.poller.remove(&connection.stream.socket).ok();
        self.links.downlink.send(farewell);
        self.links.load.fetch_sub(1, Ordering::Relaxed);
    }

    fn stop(&mut self) {
        let slots: Vec<Slot> = self.connections.slots().collect();
        for slot in slots {
            if let Some(connection) = self.connections.get_mut(slot) {
                connection.outcome.get_or_insert(Ended {
                    cause: TerminateCause::ServerStop,
                    reason: "server_stop",
                });
            }
            self.end(slot);
        }
    }
}
