//! A server and a client with a stream between them and a clock that jumps.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::authority::{self, Mood};
use crate::aaa::{AuthMethod, Credentials, Identity};
use crate::crypto::{Rng, SecretBytes};
use crate::eap::Peer;
use crate::ppp;
use crate::sstp::packet::Header;
use crate::sstp::{
    CertificateHashes, Client, ClientConfig, ClientEvent, Config, EndReason, Event, Faults,
    HashProtocol, PacketSink, Session, data_header,
};
use crate::terminate::TerminateCause;
use crate::timer::testing::start;

/// One direction of the stream.
#[derive(Default)]
struct Stream {
    /// Sent and not arrived.
    flying: VecDeque<u8>,
    /// Arrived and not consumed.
    unread: Vec<u8>,
    /// Every packet that was sent.
    seen: Vec<Vec<u8>>,
}

/// How the pair is set up.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) method: AuthMethod,
    pub(super) password: &'static str,
    pub(super) faults: Faults,
    pub(super) mood: Mood,
    pub(super) hashes: Vec<HashProtocol>,
    pub(super) preferred: HashProtocol,
    /// How long the authenticator thinks.
    pub(super) delay: Duration,
    /// How many octets arrive at a time.
    pub(super) chunk: usize,
    /// The transport breaks when so many octets have arrived, both directions together.
    pub(super) budget: usize,
    /// Whether LCP asks for life signs.
    pub(super) lcp_echo: bool,
    pub(super) profile: ppp::Profile,
    /// Whether user data follows each packet of the client's in the same read.
    pub(super) data_behind: bool,
    /// Who answers the server's EAP.
    pub(super) supplicant: ppp::Supplicant,
}

impl Setup {
    pub(super) fn new(method: AuthMethod) -> Self {
        Self {
            method,
            password: authority::PASSWORD,
            faults: Faults::default(),
            mood: Mood::Right,
            hashes: HashProtocol::ALL.to_vec(),
            preferred: HashProtocol::Sha256,
            delay: Duration::ZERO,
            chunk: 16384,
            budget: usize::MAX,
            lcp_echo: true,
            profile: ppp::Profile::Plain,
            data_behind: false,
            supplicant: ppp::Supplicant::BuiltIn,
        }
    }

    pub(super) fn pair(&self) -> Pair {
        Pair::new(self.clone())
    }
}

pub(super) struct Pair {
    setup: Setup,
    pub(super) now: Instant,
    pub(super) start: Instant,
    pub(super) server: Session,
    pub(super) client: Client,
    up: Stream,
    down: Stream,
    asked: Vec<(Instant, Credentials)>,
    pub(super) logins: usize,
    pub(super) arrived: usize,
    /// Nothing arrives any more when so many octets have.
    pause_at: usize,
    silent: bool,
    broken: bool,
    /// Asked by [`ClientEvent::Eap`].
    supplicant: Peer,
    pub(super) server_events: Vec<Event>,
    pub(super) client_events: Vec<ClientEvent>,
    /// Inner packets that the server took.
    pub(super) taken_up: Vec<Vec<u8>>,
    /// Inner packets that the client took.
    pub(super) taken_down: Vec<Vec<u8>>,
}

struct Collect<'s>(&'s mut Vec<Vec<u8>>);

impl<'a> PacketSink<'a> for Collect<'_> {
    fn deliver(&mut self, packet: &'a mut [u8]) {
        self.0.push(packet.to_vec());
    }
}

impl Pair {
    fn new(setup: Setup) -> Self {
        let now = start();
        let certificate = CertificateHashes::of(b"certificate");
        let mut rng = Rng::from_seed(&[3; 32]);
        let server = Config {
            ppp: server_ppp(&setup),
            hashes: setup.hashes.clone(),
            hello_interval: Duration::from_secs(60),
            connect_request_timeout: Duration::from_secs(20),
            call_connected_timeout: Duration::from_secs(75),
        };
        let client = ClientConfig {
            ppp: client_ppp(&setup),
            certificate,
            preferred: setup.preferred,
            hello_interval: Duration::from_secs(60),
            faults: setup.faults,
        };
        let user = Identity::new(authority::USER).unwrap();
        let password = SecretBytes::from(setup.password.as_bytes());
        Self {
            server: Session::new(server, certificate, rng.fork(), now),
            client: Client::new(client, rng.fork(), now),
            setup,
            now,
            start: now,
            up: Stream::default(),
            down: Stream::default(),
            asked: Vec::new(),
            logins: 0,
            arrived: 0,
            pause_at: usize::MAX,
            silent: false,
            broken: false,
            supplicant: Peer::new(user, password, rng.fork()),
            server_events: Vec::new(),
            client_events: Vec::new(),
            taken_up: Vec::new(),
            taken_down: Vec::new(),
        }
    }

    /// Lets everything happen that needs no time.
    pub(super) fn pump(&mut self) {
        self.act();
        while !self.broken {
            let mut moved = false;
            while poll(&mut self.up, |out| self.client.poll_transmit(out)) {
                moved = true;
                if self.setup.data_behind {
                    self.up.send([&data_header(1)[..], &[0x45]].concat());
                }
            }
            while poll(&mut self.down, |out| self.server.poll_transmit(out)) {
                moved = true;
            }
            moved |= self.deliver_up();
            moved |= self.deliver_down();
            if !moved {
                return;
            }
        }
    }

    /// Runs until `done` says so, nothing is left to wait for, or `limit` has passed.
    pub(super) fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        for _ in 0..100_000 {
            self.pump();
            if done(self) {
                return;
            }
            match self.next_deadline() {
                Some(next) if next <= end => self.now = self.now.max(next),
                Some(_) | None => {
                    self.now = end;
                    return;
                }
            }
            self.fire();
        }
        panic!("no end");
    }

    /// Runs until both sides are up.
    pub(super) fn run_up(&mut self) {
        self.run(Duration::from_secs(100), Self::is_up);
        assert!(
            self.is_up(),
            "{:?} {:?}",
            self.server_events,
            self.client_events
        );
    }

    /// Runs until both sides have closed.
    pub(super) fn run_down(&mut self) {
        self.run(Duration::from_secs(1000), |pair| {
            pair.server_events.last() == Some(&Event::Close)
                && pair.client_events.last() == Some(&ClientEvent::Close)
        });
    }

    pub(super) fn is_up(&self) -> bool {
        self.server.is_up() && self.client.is_up()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let asked = self.asked.iter().map(|(at, _)| *at);
        self.server
            .poll_timeout()
            .into_iter()
            .chain(self.client.poll_timeout())
            .chain(asked)
            .min()
    }

    /// Fires what is due.
    pub(super) fn fire(&mut self) {
        if self.server.poll_timeout().is_some_and(|at| at <= self.now) {
            self.server.handle_timeout(self.now);
        }
        if self.client.poll_timeout().is_some_and(|at| at <= self.now) {
            self.client.handle_timeout(self.now);
        }
        self.act();
    }

    /// Runs until `octets` have arrived, both directions together, and no further.
    pub(super) fn run_octets(&mut self, octets: usize) {
        let chunk = core::mem::replace(&mut self.setup.chunk, 1);
        self.pause_at = octets;
        self.run(Duration::from_secs(20), |pair| pair.arrived >= octets);
        self.pause_at = usize::MAX;
        self.setup.chunk = chunk;
    }

    /// Loses everything that the client says from now on.
    pub(super) const fn silence(&mut self) {
        self.silent = true;
    }

    /// Returns whether the transport is broken.
    pub(super) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Returns how many packets the server has sent.
    pub(super) const fn said_down(&self) -> usize {
        self.down.seen.len()
    }

    /// Sends octets of the client's that the client did not make.
    pub(super) fn inject_up(&mut self, bytes: &[u8]) {
        self.up.flying.extend(bytes);
    }

    /// Sends octets of the server's that the server did not make.
    pub(super) fn inject_down(&mut self, bytes: &[u8]) {
        self.down.flying.extend(bytes);
    }

    /// Breaks the transport.
    pub(super) fn reset(&mut self) {
        if !self.broken {
            self.broken = true;
            self.server.handle_closed(self.now);
            self.client.handle_closed(self.now);
            self.act();
        }
    }

    /// Returns what the server reported as the end.
    pub(super) fn server_down(&self) -> Option<(TerminateCause, EndReason)> {
        let mut downs = self.server_events.iter().filter_map(|event| match event {
            Event::Down { cause, reason } => Some((*cause, *reason)),
            Event::Authenticate(_) | Event::Authenticated | Event::Up(_) | Event::Close => None,
        });
        let down = downs.next();
        assert_eq!(downs.next(), None, "two ends");
        down
    }

    /// Returns what the client reported as the end.
    pub(super) fn client_down(&self) -> Option<(TerminateCause, EndReason)> {
        self.client_events.iter().find_map(|event| match event {
            ClientEvent::Down { cause, reason } => Some((*cause, *reason)),
            ClientEvent::AuthenticateDone
            | ClientEvent::Eap(_)
            | ClientEvent::Up(_)
            | ClientEvent::Close => None,
        })
    }

    /// Returns where among the server's packets the first stands that begins with `head`.
    pub(super) fn position_down(&self, head: &[u8]) -> Option<usize> {
        position(&self.down.seen, head)
    }

    /// Checks what must hold when a session is over, whatever happened.
    pub(super) fn check_over(&self) {
        assert!(self.server_down().is_some(), "{:?}", self.server_events);
        let closes = self
            .server_events
            .iter()
            .filter(|e| **e == Event::Close)
            .count();
        assert_eq!(closes, 1);
        assert_eq!(self.server_events.last(), Some(&Event::Close));
        assert_eq!(self.server.poll_timeout(), None);
        assert!(!self.server.is_up());
    }

    fn deliver_up(&mut self) -> bool {
        if self.silent {
            self.up.flying.clear();
        }
        let budget = self.budget();
        let Some(moved) = self.up.arrive(self.setup.chunk.min(budget)) else {
            return false;
        };
        self.arrived += moved;
        loop {
            let sink = &mut Collect(&mut self.taken_up);
            let taken = self
                .server
                .handle_stream(self.now, &mut self.up.unread, sink);
            let was_up = self.server_events.iter().any(|e| matches!(e, Event::Up(_)));
            self.up.unread.drain(..taken.unwrap_or(0));
            self.act();
            assert!(was_up || self.taken_up.is_empty(), "data before Up");
            if matches!(taken, Err(_) | Ok(0)) {
                break;
            }
        }
        assert!(self.up.unread.len() < 4095);
        self.reset_when_spent();
        true
    }

    fn deliver_down(&mut self) -> bool {
        let budget = self.budget();
        if self.broken {
            return false;
        }
        let Some(moved) = self.down.arrive(self.setup.chunk.min(budget)) else {
            return false;
        };
        self.arrived += moved;
        let sink = &mut Collect(&mut self.taken_down);
        let taken = self
            .client
            .handle_stream(self.now, &mut self.down.unread, sink);
        self.down.unread.drain(..taken.unwrap_or(0));
        assert!(self.down.unread.len() < 4095);
        self.act();
        self.reset_when_spent();
        true
    }

    fn budget(&self) -> usize {
        self.setup
            .budget
            .min(self.pause_at)
            .saturating_sub(self.arrived)
    }

    fn reset_when_spent(&mut self) {
        if self.arrived >= self.setup.budget {
            self.reset();
        }
    }

    /// Collects events and lets the authenticator answer.
    fn act(&mut self) {
        while let Some(event) = self.server.poll_event() {
            if let Event::Authenticate(credentials) = &event {
                self.logins += 1;
                let at = self.now + self.setup.delay;
                self.asked.push((at, credentials.clone()));
            }
            self.server_events.push(event);
        }
        while let Some(event) = self.client.poll_event() {
            if let ClientEvent::Eap(packet) = &event {
                let said = self.supplicant.handle(packet);
                self.client.handle_supplicant(self.now, said);
            }
            self.client_events.push(event);
        }
        if let Some(at) = self.asked.iter().position(|(at, _)| *at <= self.now) {
            let (_, credentials) = self.asked.swap_remove(at);
            let decision = authority::decide(self.setup.mood, credentials);
            self.server.handle_decision(self.now, decision);
            self.act();
        }
    }
}

impl Stream {
    fn send(&mut self, packet: Vec<u8>) {
        let header = Header::peek(&packet).unwrap().unwrap();
        assert_eq!(header.len, packet.len(), "one packet at a time");
        self.flying.extend(&packet);
        self.seen.push(packet);
    }

    /// Lets at most `chunk` octets arrive; `None` when there are none.
    fn arrive(&mut self, chunk: usize) -> Option<usize> {
        let len = chunk.min(self.flying.len());
        self.unread.extend(self.flying.drain(..len));
        (len > 0).then_some(len)
    }
}

fn poll(stream: &mut Stream, transmit: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
    let mut packet = Vec::new();
    let sent = transmit(&mut packet);
    if sent {
        stream.send(packet);
    } else {
        assert!(packet.is_empty());
    }
    sent
}

fn position(seen: &[Vec<u8>], head: &[u8]) -> Option<usize> {
    seen.iter()
        .position(|packet| packet.get(4..).unwrap_or_default().starts_with(head))
}

fn server_ppp(setup: &Setup) -> ppp::Config {
    let mut config = ppp::Config::server(ppp::ServerConfig {
        auth: vec![setup.method],
        name: "gateway".into(),
        auth_wait: Duration::from_secs(30),
        password_change: false,
    });
    if !setup.lcp_echo {
        config.echo_interval = Duration::ZERO;
    }
    config
}

fn client_ppp(setup: &Setup) -> ppp::Config {
    let mut config = ppp::Config::client(ppp::ClientConfig {
        user: Identity::new(authority::USER).unwrap(),
        password: SecretBytes::from(setup.password.as_bytes()),
        auth: vec![setup.method],
        want_dns: true,
        request_wins: false,
        mtu: 1400,
        supplicant: setup.supplicant,
        new_password: None,
        profile: setup.profile,
    });
    if !setup.lcp_echo {
        config.echo_interval = Duration::ZERO;
    }
    config
}
