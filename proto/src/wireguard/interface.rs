//! The interface: peers by key and by index, and the verbs that a driver calls.

use core::net::SocketAddr;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::activity::PeerActivity;
use super::context::Context;
use super::event::{AddError, Config, Discard, Event, PeerId, Settings};
use super::index::Index;
use super::key::PublicKey;
use super::limiter::{Limiter, Strangers};
use super::mac::{Checker, Shown};
use super::message::{CookieReply, Initiation, Kind, Response};
use super::noise::{Local, Opened};
use super::peer::Peer;
use super::tai64n::Clock;
use crate::crypto::Rng;
use crate::timer::Deadlines;
use crate::wire::Decode;

/// All peers of one key of ours: handshakes, cookies and timers, but no data.
///
/// After each call the driver takes everything from [`poll_event`](Self::poll_event) and
/// [`poll_transmit`](Self::poll_transmit), and calls [`handle_timeout`](Self::handle_timeout) when
/// [`poll_timeout`](Self::poll_timeout) says so.
#[derive(Debug)]
pub struct Interface {
    cx: Context,
    checker: Checker,
    limiter: Limiter,
    strangers: Strangers,
    /// How many cookies an address gets: a sender who reads its first has no use for more.
    cookies: Limiter,
    peers: HashMap<PeerId, Known>,
    by_key: HashMap<PublicKey, PeerId>,
    deadlines: Deadlines<PeerId>,
}

impl Interface {
    /// Makes an interface without peers. `unix` is the time since 1970 at `now`; a clock that goes back is no harm.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32], now: Instant, unix: Duration) -> Self {
        let Config { private_key, epoch } = config;
        let local = Local::new(private_key);
        let checker = Checker::new(&local.public);
        let clock = Clock::new(now, unix);
        Self {
            cx: Context::new(local, clock, Rng::from_seed(&seed), epoch),
            checker,
            limiter: Limiter::default(),
            strangers: Strangers::default(),
            cookies: Limiter::default(),
            peers: HashMap::new(),
            by_key: HashMap::new(),
            deadlines: Deadlines::new(),
        }
    }

    /// Returns our public key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.cx.local.public
    }

    /// Adds a peer, which is not admitted until [`handle_decision`](Self::handle_decision) says so.
    ///
    /// # Errors
    ///
    /// When the number or the key is taken.
    pub fn add_peer(&mut self, now: Instant, settings: Settings) -> Result<(), AddError> {
        let (id, key) = (settings.id, settings.key);
        if self.peers.contains_key(&id) {
            return Err(AddError::Id(id));
        }
        if let Some(other) = self.by_key.get(&key) {
            return Err(AddError::Key(*other));
        }
        if key == self.cx.local.public {
            return Err(AddError::Own);
        }
        self.by_key.insert(key, id);
        self.peers.insert(id, Known::Asleep(Box::new(settings)));
        self.arm(now, id);
        Ok(())
    }

    /// Forgets a peer and its keys.
    pub fn remove_peer(&mut self, _now: Instant, id: PeerId) {
        let Some(known) = self.peers.remove(&id) else {
            return;
        };
        match known {
            Known::Asleep(settings) => self.by_key.remove(&settings.key),
            Known::Awake(mut peer) => {
                peer.forget_keys(&mut self.cx);
                self.by_key.remove(peer.key())
            }
        };
        self.deadlines.stop(id);
    }

    /// Returns what the packet path writes about a peer.
    #[must_use]
    pub fn activity(&mut self, id: PeerId) -> Option<Arc<PeerActivity>> {
        let peer = awake(&mut self.peers, id)?;
        Some(Arc::clone(peer.activity()))
    }

    /// Takes a handshake message or a cookie. `under_load` asks senders to show their addresses first (whitepaper §5.3),
    /// but for a few that may do without.
    ///
    /// # Errors
    ///
    /// Why nothing came of it. Nothing was answered then, but for [`Discard::Cookie`].
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        under_load: bool,
        octets: &[u8],
    ) -> Result<(), Discard> {
        if self.cx.is_full() {
            return Err(Discard::Full);
        }
        match Kind::of(octets) {
            Some(Kind::Initiation) => {
                let initiation = decode::<Initiation>(octets)?;
                self.check(now, from, under_load, initiation.sender, octets)?;
                self.handle_initiation(now, from, &initiation)
            }
            Some(Kind::Response) => {
                let response = decode::<Response>(octets)?;
                self.check(now, from, under_load, response.sender, octets)?;
                let id = self.owner(response.receiver)?;
                let peer = awake(&mut self.peers, id).ok_or(Discard::UnknownIndex)?;
                peer.handle_response(now, from, &response, &mut self.cx)?;
                self.arm(now, id);
                Ok(())
            }
            Some(Kind::CookieReply) => {
                let reply = decode::<CookieReply>(octets)?;
                let id = self.owner(reply.receiver)?;
                let peer = awake(&mut self.peers, id).ok_or(Discard::UnknownIndex)?;
                peer.handle_cookie(now, &reply)
            }
            Some(Kind::Data) | None => Err(Discard::Malformed),
        }
    }

    fn owner(&self, receiver: u32) -> Result<PeerId, Discard> {
        let owner = self.cx.indices.get(Index(receiver));
        owner.ok_or(Discard::UnknownIndex)
    }

    /// Lets a message pass whose sender has shown what it must.
    fn check(
        &mut self,
        now: Instant,
        from: SocketAddr,
        under_load: bool,
        sender: u32,
        octets: &[u8],
    ) -> Result<(), Discard> {
        match self.checker.check(now, from, octets) {
            Shown::Nothing => Err(Discard::BadMac1),
            Shown::Key | Shown::Address if !under_load => Ok(()),
            Shown::Key if self.strangers.take(now, from.ip()) => Ok(()),
            Shown::Key if self.cookies.exhausts(now, from) => Err(Discard::RateLimited),
            Shown::Key => {
                let cx = &mut self.cx;
                let reply = self.checker.reply(now, from, sender, octets, &mut cx.rng);
                if let Some(reply) = reply {
                    cx.send_message(from, &reply, |_| {});
                }
                Err(Discard::Cookie)
            }
            Shown::Address if self.limiter.take(now, from.ip()) => Ok(()),
            Shown::Address => Err(Discard::RateLimited),
        }
    }

    fn handle_initiation(
        &mut self,
        now: Instant,
        from: SocketAddr,
        initiation: &Initiation,
    ) -> Result<(), Discard> {
        let opened = Opened::new(&self.cx.local, initiation).map_err(|_| Discard::Forged)?;
        let id = *self.by_key.get(&opened.peer).ok_or(Discard::UnknownPeer)?;
        let peer = awake(&mut self.peers, id).ok_or(Discard::UnknownPeer)?;
        peer.handle_initiation(now, from, opened, initiation, &mut self.cx)?;
        self.arm(now, id);
        Ok(())
    }

    /// Says whether a peer may have a session: the answer to [`Event::Authorize`], and it holds until it is given anew.
    /// A peer that may not have one loses its keys.
    pub fn handle_decision(&mut self, now: Instant, id: PeerId, admit: bool) {
        self.with(now, id, |peer, cx| peer.decide(now, admit, cx));
    }

    /// The packet path has opened the first packet under a receiving key.
    pub fn handle_first_data(&mut self, now: Instant, index: Index) {
        if let Some(id) = self.cx.indices.get(index) {
            self.with(now, id, |peer, cx| peer.confirm(index, cx));
        }
    }

    /// The packet path has data for a peer and no key, or a key that should be replaced.
    pub fn handle_need(&mut self, now: Instant, id: PeerId) {
        self.with(now, id, |peer, cx| peer.call(now, cx));
    }

    /// Sets the wall clock, as the time since 1970: a gateway may start before its machine knows what time it is, and
    /// peers answer later timestamps alone. One that goes back makes no timestamp earlier than those before.
    pub const fn set_clock(&mut self, now: Instant, unix: Duration) {
        self.cx.clock = Clock::new(now, unix);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(id) = self.deadlines.pop_expired(now) {
            self.with(now, id, |peer, cx| peer.handle_timeout(now, cx));
        }
    }

    /// Appends the next message to `out` and returns where it goes.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<SocketAddr> {
        self.cx.poll_transmit(out)
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.cx.poll_event()
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    fn with(&mut self, now: Instant, id: PeerId, act: impl FnOnce(&mut Peer, &mut Context)) {
        if let Some(peer) = awake(&mut self.peers, id) {
            act(peer, &mut self.cx);
            self.arm(now, id);
        }
    }

    fn arm(&mut self, now: Instant, id: PeerId) {
        let due = match self.peers.get(&id) {
            Some(Known::Awake(peer)) => peer.due(now, &self.cx),
            Some(Known::Asleep(_)) | None => None,
        };
        match due {
            // Never in the past, so that a timeout ends.
            Some(due) => self.deadlines.arm(id, due.max(now + GRAIN)),
            None => self.deadlines.stop(id),
        }
    }
}

/// A peer as far as it is known: of many that are, few have anything going on.
#[derive(Debug)]
enum Known {
    /// Nothing has come from it or gone to it yet.
    Asleep(Box<Settings>),
    Awake(Box<Peer>),
}

/// Returns a peer with all that it needs for a handshake.
fn awake(peers: &mut HashMap<PeerId, Known>, id: PeerId) -> Option<&mut Peer> {
    let known = peers.get_mut(&id)?;
    if let Known::Asleep(settings) = known {
        *known = Known::Awake(Box::new(Peer::new(Settings::clone(settings))));
    }
    match known {
        Known::Awake(peer) => Some(peer),
        Known::Asleep(_) => None,
    }
}

/// The resolution of timers.
const GRAIN: Duration = Duration::from_millis(1);

fn decode<'a, M: Decode<'a>>(octets: &'a [u8]) -> Result<M, Discard> {
    M::decode_exact(octets).map_err(|_| Discard::Malformed)
}
