//! What is known of one server, and which identifiers are in use on the sockets to it.

use std::collections::BTreeMap;
use std::time::Instant;

use super::health::{Health, Inquiry, Questions, Supports};
use super::{Config, Patience, Port, RequestId, Server, ServerId};
use crate::aaa::Identity;

/// The most identifiers in use on one socket: some of the 256 stay free, so that none is used again soon.
const MAX_IN_USE: usize = 200;
/// The most sockets to one server: 12,800 log-ins at once.
const MAX_PORTS: u16 = 64;
/// So many requests in a row without an answer make a server dead.
const MAX_SILENT: usize = 3;

/// What stands behind an identifier.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Slot {
    /// A request waits.
    Waiting(RequestId),
    /// Nobody waits any more, but an answer may still come: kept to know it.
    Late {
        /// The request's authenticator.
        authenticator: [u8; 16],
    },
    /// A question whether the server lives.
    Asking {
        /// The question's authenticator.
        authenticator: [u8; 16],
    },
}

/// The identifiers of one socket.
#[derive(Debug, Default)]
struct Identifiers {
    slots: BTreeMap<u8, Slot>,
    next: u8,
}

impl Identifiers {
    /// Takes an identifier, the one that has been free for longest.
    fn allocate(&mut self, slot: Slot) -> Option<u8> {
        if self.slots.len() >= MAX_IN_USE {
            return None;
        }
        let free = (0..=u8::MAX)
            .map(|step| self.next.wrapping_add(step))
            .find(|identifier| !self.slots.contains_key(identifier))?;
        self.slots.insert(free, slot);
        self.next = free.wrapping_add(1);
        Some(free)
    }
}

/// One server.
#[derive(Debug)]
pub(super) struct ServerState {
    pub(super) server: Server,
    id: ServerId,
    ports: Vec<Identifiers>,
    /// When it was heard last, authentically.
    pub(super) heard: Option<Instant>,
    health: Health,
    /// When it is tried again if there is no way to ask after it.
    dead_until: Option<Instant>,
    /// The question whether it lives that is open.
    pub(super) inquiry: Option<Inquiry>,
    /// The questions that may still be answered.
    pub(super) questions: Questions,
    /// When the first request went out since it was heard last.
    pub(super) unheard: Option<Instant>,
    /// Whether it answers Status-Server, as far as is known.
    pub(super) supports: Supports,
    /// Whose requests had no answer since it was heard last.
    silent: Vec<Identity>,
    /// How many slots are [`Slot::Waiting`].
    waiting: usize,
}

impl ServerState {
    pub(super) const fn new(id: ServerId, server: Server) -> Self {
        Self {
            supports: Supports::of(server.status),
            server,
            id,
            ports: Vec::new(),
            heard: None,
            health: Health::Alive,
            dead_until: None,
            inquiry: None,
            questions: Questions::new(),
            unheard: None,
            silent: Vec::new(),
            waiting: 0,
        }
    }

    /// Returns whether it is known to answer Status-Server, so that it knows a copy when it sees one.
    pub(super) fn repeats_answers(&self) -> bool {
        self.supports == Supports::Yes
    }

    /// Takes an identifier on the first socket that has one, on a new one, or from an answer that may never come.
    pub(super) fn allocate(&mut self, slot: Slot, first: u8) -> Option<(Port, u8)> {
        let allocated = self.find_free(slot, first)?;
        if matches!(slot, Slot::Waiting(_)) {
            self.waiting = self.waiting.saturating_add(1);
        }
        Some(allocated)
    }

    fn find_free(&mut self, slot: Slot, first: u8) -> Option<(Port, u8)> {
        for (number, port) in (0u16..).zip(&mut self.ports) {
            if let Some(identifier) = port.allocate(slot) {
                return Some((self.port(number), identifier));
            }
        }
        let number = u16::try_from(self.ports.len()).ok()?;
        if number < MAX_PORTS {
            let mut port = Identifiers {
                slots: BTreeMap::new(),
                next: first,
            };
            let identifier = port.allocate(slot)?;
            self.ports.push(port);
            return Some((self.port(number), identifier));
        }
        for (number, port) in (0u16..).zip(&mut self.ports) {
            let late = port
                .slots
                .iter_mut()
                .find(|(_, slot)| matches!(slot, Slot::Late { .. }));
            if let Some((identifier, place)) = late {
                *place = slot;
                return Some((
                    Port {
                        server: self.id,
                        number,
                    },
                    *identifier,
                ));
            }
        }
        None
    }

    const fn port(&self, number: u16) -> Port {
        Port {
            server: self.id,
            number,
        }
    }

    pub(super) fn slot(&self, port: u16, identifier: u8) -> Option<Slot> {
        self.ports
            .get(usize::from(port))?
            .slots
            .get(&identifier)
            .copied()
    }

    /// Nobody waits for this answer any more.
    pub(super) fn retire(&mut self, port: u16, identifier: u8, authenticator: [u8; 16]) {
        self.replace(port, identifier, Some(Slot::Late { authenticator }));
    }

    /// Frees an identifier.
    pub(super) fn free(&mut self, port: u16, identifier: u8) {
        self.replace(port, identifier, None);
    }

    fn replace(&mut self, port: u16, identifier: u8, slot: Option<Slot>) {
        let Some(port) = self.ports.get_mut(usize::from(port)) else {
            return;
        };
        let before = match slot {
            Some(slot) => port.slots.insert(identifier, slot),
            None => port.slots.remove(&identifier),
        };
        if matches!(before, Some(Slot::Waiting(_))) {
            self.waiting = self.waiting.saturating_sub(1);
        }
    }

    /// Frees an identifier if nobody waits for its answer.
    pub(super) fn forget(&mut self, port: u16, identifier: u8) {
        if matches!(self.slot(port, identifier), Some(Slot::Late { .. })) {
            self.free(port, identifier);
        }
    }

    /// Returns how many requests wait.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Returns what is known of it.
    pub(super) const fn health(&self) -> Health {
        self.health
    }

    /// Returns whether it may be asked about a log-in when `can_ask` says whether there is a way to ask after it.
    pub(super) fn is_eligible(&self, now: Instant, can_ask: bool) -> bool {
        match self.health {
            Health::Alive | Health::Suspect => true,
            Health::Recovering => false,
            Health::Dead => !can_ask && self.dead_until.is_none_or(|until| until <= now),
        }
    }

    /// Returns whether it is not known to be dead.
    pub(super) const fn is_alive(&self) -> bool {
        self.health.is_alive()
    }

    /// Returns how willingly it is asked when nobody lives: first those that come back.
    pub(super) fn last_resort(&self) -> (bool, Option<Instant>) {
        (self.health != Health::Recovering, self.dead_until)
    }

    /// Returns whether it was heard at or after `when`.
    pub(super) fn heard_since(&self, when: Instant) -> bool {
        self.heard.is_some_and(|heard| heard >= when)
    }

    /// Notes an authentic reply.
    pub(super) fn hear(&mut self, now: Instant) {
        self.heard = Some(now);
        self.unheard = None;
        self.silent.clear();
    }

    /// Changes what is known; returns whether that is new.
    pub(super) fn turn(&mut self, now: Instant, health: Health, config: &Config) -> bool {
        match health {
            Health::Dead => {
                self.silent.clear();
                self.dead_until = Some(now + config.dead_time);
            }
            Health::Alive => self.dead_until = None,
            Health::Suspect | Health::Recovering => {}
        }
        core::mem::replace(&mut self.health, health) != health
    }

    /// Notes a request without an answer; returns whether that makes the server dead.
    ///
    /// One person who never looks at the phone does not: with a second factor it takes two of them.
    pub(super) fn miss(&mut self, user: &Identity, config: &Config) -> bool {
        self.silent.push(user.clone());
        let several = match config.patience {
            Patience::Machine { .. } => true,
            Patience::Mfa => self.silent.iter().any(|other| other != user),
        };
        if self.silent.len() >= MAX_SILENT && several {
            return true;
        }
        if self.silent.len() > MAX_SILENT {
            self.silent.remove(0);
        }
        false
    }
}
