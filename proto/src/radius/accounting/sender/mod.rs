//! The sender: records wait in it until a server has answered for each.
//!
//! ```text
//!  push ─▶ Held ─ release ─▶ Behind ─ its turn ─▶ Waiting ─ poll_transmit ─▶ Flying ─ answer ─▶ Acknowledged
//!                               a session's records go one after the other    │
//!                                                     Waiting ◀── no answer ──┘
//! ```
//!
//! [`Sender::release`] says up to where the records are on disk. Accounting-On and -Off go when all before them have
//! been heard, or asked for three times, and hold back what is behind them as long: a server closes all sessions of a
//! gateway that has started, and must not do so to new ones.
//!
//! A server that left three requests in a row unanswered is dead: the next one is asked, and a single record tries the
//! dead one again, first soon and then ever more seldom. Which record that is changes, so that one which a server
//! does not like holds up nobody.

mod config;
mod order;
mod server;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use config::{Config, Dropped, Event, Sent, Server};
use order::PATIENCE;
use server::ServerState;

use super::super::authenticator::{Forged, verify_reply};
use super::super::{Code, Discard, Packet, ServerId};
use super::{Record, Status, encode_request};
use crate::crypto::Rng;
use crate::timer::Deadlines;
use crate::wire::Decode;

/// The longest pause before a record is sent again, or a dead server tried.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How many requests fly to a server that lives.
const WINDOW: usize = 128;
/// How long a request flies to a server that gets all that is sent: it is slow, or has thrown the request away.
const RELIABLE_FLIGHT: Duration = Duration::from_secs(30);

/// The sender machine.
#[derive(Debug)]
pub struct Sender {
    config: Config,
    rng: Rng,
    servers: Vec<ServerState>,
    entries: BTreeMap<u64, Entry>,
    /// The records of each session, in order.
    sessions: HashMap<Arc<str>, BTreeSet<u64>>,
    /// Interims that do not fly: the first to go when there is no room.
    interims: BTreeSet<u64>,
    barriers: BTreeSet<u64>,
    held: VecDeque<u64>,
    waiting: BTreeSet<(Instant, u64)>,
    flights: Deadlines<u64>,
    events: VecDeque<Event>,
}

#[derive(Debug)]
struct Entry {
    record: Record,
    state: State,
    attempts: u32,
    first_sent: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Not on disk yet.
    Held,
    /// Something else goes first.
    Behind,
    /// May go from then on.
    Waiting(Instant),
    /// Asked.
    Flying { server: ServerId, identifier: u8 },
}

impl Sender {
    /// Starts with every server alive and nothing to send.
    #[must_use]
    pub fn new(config: Config, rng: Rng) -> Self {
        let servers = config
            .servers
            .iter()
            .map(|_| ServerState::new(config.flight))
            .collect();
        Self {
            config,
            rng,
            servers,
            entries: BTreeMap::new(),
            sessions: HashMap::new(),
            interims: BTreeSet::new(),
            barriers: BTreeSet::new(),
            held: VecDeque::new(),
            waiting: BTreeSet::new(),
            flights: Deadlines::new(),
            events: VecDeque::new(),
        }
    }

    /// Takes a record under a number that is larger than all before; it goes when [`Self::release`] says so.
    ///
    /// An interim takes the place of an earlier one of its session that has not gone. When there is no room, the oldest
    /// interim goes, and when there is none, the record is not taken; either is an [`Event::Dropped`].
    pub fn push(&mut self, now: Instant, seq: u64, record: Record) {
        if record.status == Status::Interim
            && let Some(last) = self.last_of(&record.session)
            && self.interims.contains(&last)
        {
            self.drop_entry(now, last, Dropped::Superseded);
        }
        if self.entries.len() >= self.config.queue_max {
            if let Some(oldest) = self.interims.first().copied() {
                self.drop_entry(now, oldest, Dropped::Full);
            } else {
                self.events.push_back(Event::Dropped {
                    seq,
                    status: record.status,
                    why: Dropped::Full,
                });
                return;
            }
        }
        if record.status == Status::Interim {
            self.interims.insert(seq);
        }
        if record.status.is_of_gateway() {
            self.barriers.insert(seq);
        }
        self.sessions
            .entry(Arc::clone(&record.session))
            .or_default()
            .insert(seq);
        self.held.push_back(seq);
        self.entries.insert(
            seq,
            Entry {
                record,
                state: State::Held,
                attempts: 0,
                first_sent: None,
            },
        );
    }

    /// Says that the records up to this number are on disk, or never will be, and may go.
    pub fn release(&mut self, now: Instant, up_to: u64) {
        while let Some(seq) = self.held.front().copied().filter(|seq| *seq <= up_to) {
            self.held.pop_front();
            if let Some(entry) = self.entries.get_mut(&seq) {
                entry.state = State::Behind;
                self.settle(now, seq);
            }
        }
    }

    /// Takes a datagram that came from a server.
    ///
    /// # Errors
    ///
    /// When it is not believed; the record still waits.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        server: ServerId,
        bytes: &[u8],
    ) -> Result<(), Discard> {
        let packet = Packet::decode_exact(bytes).map_err(|_| Discard::Malformed)?;
        let (state, secret) = self
            .servers
            .get_mut(server.0)
            .zip(self.config.servers.get(server.0))
            .ok_or(Discard::UnknownIdentifier)?;
        let slot = state
            .slot(packet.identifier)
            .ok_or(Discard::UnknownIdentifier)?;
        match verify_reply(&packet, &slot.authenticator, secret.secret.expose()) {
            Ok(_) => {}
            Err(Forged::ResponseAuthenticator) => return Err(Discard::BadAuthenticator),
            Err(Forged::MessageAuthenticator) => return Err(Discard::MessageAuthenticatorInvalid),
        }
        if packet.code != Code::ACCOUNTING_RESPONSE {
            return Err(Discard::Malformed);
        }
        state.free(packet.identifier);
        if state.hear(now) {
            self.events.push_back(Event::Health {
                server,
                alive: true,
            });
        }
        if let Some(entry) = self.remove(now, slot.seq) {
            self.events.push_back(Event::Acknowledged {
                seq: slot.seq,
                server,
                elapsed: entry
                    .first_sent
                    .map_or(Duration::ZERO, |sent| now.saturating_duration_since(sent)),
            });
        }
        Ok(())
    }

    /// Takes the news that a host refused a datagram, or that there is no way to it.
    pub fn handle_unreachable(&mut self, now: Instant, server: ServerId) {
        let flying: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| matches!(entry.state, State::Flying { server: to, .. } if to == server))
            .map(|(seq, _)| *seq)
            .collect();
        if flying.is_empty() {
            // The host has said so before, of what was sent together with what it refused first.
            return;
        }
        if let Some(state) = self.servers.get_mut(server.0)
            && state.die(now)
        {
            self.events.push_back(Event::Health {
                server,
                alive: false,
            });
        }
        for seq in flying {
            self.land(now, seq);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(seq) = self.flights.pop_expired(now) {
            let Some(State::Flying { server, identifier }) =
                self.entries.get(&seq).map(|entry| entry.state)
            else {
                continue;
            };
            if let Some(state) = self.servers.get_mut(server.0)
                && state.miss(now, identifier)
            {
                self.events.push_back(Event::Health {
                    server,
                    alive: false,
                });
            }
            self.events.push_back(Event::Unanswered { server });
            self.land(now, seq);
        }
    }

    /// Appends one datagram to `out`; `wall` is the time now in seconds of Unix time.
    pub fn poll_transmit(&mut self, now: Instant, wall: u64, out: &mut Vec<u8>) -> Option<Sent> {
        loop {
            let (server, probe) = self.choose(now)?;
            let &(ready, seq) = self.waiting.first()?;
            if ready > now && !probe {
                return None;
            }
            let secret = self.config.servers.get(server.0)?.secret.clone();
            let identifier = self.free_identifier(server)?;
            let entry = self.entries.get(&seq)?;
            let made = encode_request(&entry.record, wall, identifier, secret.expose());
            let Some((bytes, authenticator)) = made else {
                self.drop_entry(now, seq, Dropped::TooLong);
                continue;
            };
            self.waiting.remove(&(ready, seq));
            self.interims.remove(&seq);
            if let Some(state) = self.servers.get_mut(server.0) {
                state.fly(now, identifier, seq, authenticator);
            }
            let flight = self.jitter(self.flight(server));
            self.flights.arm(seq, now + flight);
            let entry = self.entries.get_mut(&seq)?;
            entry.state = State::Flying { server, identifier };
            let again = entry.attempts > 0;
            entry.first_sent.get_or_insert(now);
            out.extend_from_slice(&bytes);
            return Some(Sent { server, again });
        }
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns when the machine wants to be called: [`Self::handle_timeout`], then [`Self::poll_transmit`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sendable = self.waiting.first().and_then(|(ready, _)| {
            let mut next: Option<Instant> = None;
            for state in &self.servers {
                match state.dead_until() {
                    Some(until) if state.flying() == 0 => {
                        next = Some(next.map_or(until, |other| other.min(until)));
                    }
                    Some(_) => {}
                    None if state.flying() < WINDOW => {
                        return Some(next.map_or(*ready, |other| other.min(*ready)));
                    }
                    None => return next,
                }
            }
            next
        });
        sendable.into_iter().chain(self.flights.next()).min()
    }

    /// Returns how many records have not been acknowledged.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether every record has been acknowledged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Walks the records that have not been acknowledged, the oldest first.
    pub fn records(&self) -> impl Iterator<Item = (u64, &Record)> {
        self.entries
            .iter()
            .map(|(seq, entry)| (*seq, &entry.record))
    }

    /// Returns whether a server is not known to be dead.
    #[must_use]
    pub fn is_alive(&self, server: ServerId) -> bool {
        self.servers
            .get(server.0)
            .is_some_and(|state| state.dead_until().is_none())
    }

    /// Returns whom to ask: the first that lives, or a dead one ahead of it whose time has come and that gets one.
    fn choose(&self, now: Instant) -> Option<(ServerId, bool)> {
        for (place, state) in self.servers.iter().enumerate() {
            match state.dead_until() {
                Some(until) if until <= now && state.flying() == 0 => {
                    return Some((ServerId(place), true));
                }
                Some(_) => {}
                None if state.flying() < WINDOW => return Some((ServerId(place), false)),
                None => return None,
            }
        }
        None
    }

    /// Returns an identifier under which nothing flies.
    /// Returns how long a request to a server flies before it counts as lost.
    fn flight(&self, server: ServerId) -> Duration {
        let reliable = self
            .config
            .servers
            .get(server.0)
            .is_some_and(|s| s.reliable);
        if reliable {
            self.config.flight.max(RELIABLE_FLIGHT)
        } else {
            self.config.flight
        }
    }

    fn free_identifier(&mut self, server: ServerId) -> Option<u8> {
        let Self {
            servers, entries, ..
        } = self;
        let state = servers.get_mut(server.0)?;
        state.next_identifier(|identifier, seq| {
            let flying = State::Flying { server, identifier };
            entries.get(&seq).is_some_and(|entry| entry.state == flying)
        })
    }

    /// Puts a record whose request was not answered back among those that wait.
    fn land(&mut self, now: Instant, seq: u64) {
        let Some(entry) = self.entries.get_mut(&seq) else {
            return;
        };
        let State::Flying { server, .. } = entry.state else {
            return;
        };
        entry.attempts = entry.attempts.saturating_add(1);
        entry.state = State::Behind;
        let attempts = entry.attempts;
        if let Some(state) = self.servers.get_mut(server.0) {
            state.land();
        }
        self.flights.stop(seq);
        let pause = match attempts {
            0 | 1 => Duration::ZERO,
            more => {
                let doubled = self
                    .config
                    .flight
                    .saturating_mul(1 << more.saturating_sub(2).min(5));
                self.jitter(doubled.min(LONGEST_PAUSE))
            }
        };
        self.wait(seq, now + pause);
        if attempts == PATIENCE {
            self.settle_all(now);
        }
    }

    fn wait(&mut self, seq: u64, at: Instant) {
        if let Some(entry) = self.entries.get_mut(&seq) {
            entry.state = State::Waiting(at);
            self.waiting.insert((at, seq));
        }
    }

    fn last_of(&self, session: &Arc<str>) -> Option<u64> {
        self.sessions.get(session)?.last().copied()
    }

    fn drop_entry(&mut self, now: Instant, seq: u64, why: Dropped) {
        if let Some(entry) = self.remove(now, seq) {
            let status = entry.record.status;
            self.events.push_back(Event::Dropped { seq, status, why });
        }
    }

    /// Takes out a record for good.
    fn remove(&mut self, now: Instant, seq: u64) -> Option<Entry> {
        let entry = self.take(seq)?;
        self.after(now, &entry, seq);
        Some(entry)
    }

    fn take(&mut self, seq: u64) -> Option<Entry> {
        let entry = self.entries.remove(&seq)?;
        self.interims.remove(&seq);
        self.flights.stop(seq);
        match entry.state {
            State::Held | State::Behind => {}
            State::Waiting(at) => {
                self.waiting.remove(&(at, seq));
            }
            State::Flying { server, .. } => {
                if let Some(state) = self.servers.get_mut(server.0) {
                    state.land();
                }
            }
        }
        if let Some(others) = self.sessions.get_mut(&entry.record.session) {
            others.remove(&seq);
            if others.is_empty() {
                self.sessions.remove(&entry.record.session);
            }
        }
        Some(entry)
    }

    /// Returns the time, a tenth more or less, so that not everybody speaks at once.
    fn jitter(&mut self, time: Duration) -> Duration {
        let tenth = time / 10;
        let share = tenth.saturating_mul(2).saturating_mul(self.rng.u8().into()) / 255;
        time.saturating_sub(tenth).saturating_add(share)
    }
}
