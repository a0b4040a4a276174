//! One end of a tunnel in tests: a machine, what a driver does with its events, and what a packet path does with its keys.

use core::net::SocketAddr;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::crypto::Rng;
use crate::timer::testing::start;
use crate::wireguard::{
    Config, Discard, Event, Index, Interface, Kind, PeerActivity, PeerId, PresharedKey, PrivateKey,
    PublicKey, ReceivingKey, Role, SendingKey, Settings,
};

/// The wall clock when tests begin: 2026-01-01.
pub(super) const UNIX: Duration = Duration::from_secs(1_767_225_600);
/// The one peer of each side.
pub(super) const PEER: PeerId = PeerId(7);

/// What a side says about itself to the other.
#[derive(Clone, Debug)]
pub(super) struct Card {
    pub(super) private: PrivateKey,
    pub(super) address: SocketAddr,
    pub(super) shard: u8,
}

impl Card {
    pub(super) fn new(seed: u8, address: &str) -> Self {
        Self {
            private: PrivateKey::generate(&mut Rng::from_seed(&[seed; 32])),
            address: address.parse().unwrap(),
            shard: seed % 4,
        }
    }

    pub(super) fn public(&self) -> PublicKey {
        self.private.public()
    }
}

/// What became of a message with data.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Arrived {
    Packet(Vec<u8>),
    Keepalive,
    Lost,
}

pub(super) struct Side {
    pub(super) interface: Interface,
    pub(super) activity: Arc<PeerActivity>,
    pub(super) card: Card,
    pub(super) now: Instant,
    pub(super) under_load: bool,
    /// Whether the driver lets the peer in when it is asked; nothing leaves the question open.
    pub(super) admits: Option<bool>,
    epoch: Instant,
    receiving: HashMap<Index, (ReceivingKey, bool)>,
    pub(super) sending: Option<Arc<SendingKey>>,
    /// What the machine said, in words.
    pub(super) said: Vec<String>,
    pub(super) timestamp: [u8; 12],
    pub(super) out: Vec<(SocketAddr, Vec<u8>)>,
}

impl Side {
    /// Makes a side that knows `other`, and where it is if `reaches` says so.
    pub(super) fn new(card: &Card, other: &Card, reaches: bool) -> Self {
        Self::with(card, other, reaches, start(), UNIX, |_| {})
    }

    pub(super) fn with(
        card: &Card,
        other: &Card,
        reaches: bool,
        now: Instant,
        unix: Duration,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let config = Config {
            private_key: card.private.clone(),
            epoch: now,
        };
        let address = card.address.port().to_le_bytes();
        let unix_octets = unix.as_millis().to_le_bytes();
        let mut seed = [0; 32];
        seed[..2].copy_from_slice(&address);
        seed[2..18].copy_from_slice(&unix_octets);
        let mut interface = Interface::new(config, seed, now, unix);
        let activity = Arc::new(PeerActivity::new());
        let mut settings = Settings {
            id: PEER,
            key: other.public(),
            preshared_key: PresharedKey::from_bytes([0; 32]),
            endpoint: reaches.then_some(other.address),
            shard: card.shard,
            keepalive: None,
            last_timestamp: [0; 12],
            activity: Some(Arc::clone(&activity)),
        };
        change(&mut settings);
        let timestamp = settings.last_timestamp;
        interface.add_peer(now, settings).unwrap();
        Self {
            interface,
            activity,
            card: card.clone(),
            now,
            under_load: false,
            admits: Some(true),
            epoch: now,
            receiving: HashMap::new(),
            sending: None,
            said: Vec::new(),
            timestamp,
            out: Vec::new(),
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from((self.now - self.epoch).as_millis()).unwrap()
    }

    /// Does what the driver does after each call.
    pub(super) fn drain(&mut self) {
        while let Some(event) = self.interface.poll_event() {
            self.act(event);
        }
        let mut octets = Vec::new();
        while let Some(to) = self.interface.poll_transmit(&mut octets) {
            self.out.push((to, core::mem::take(&mut octets)));
        }
    }

    fn act(&mut self, event: Event) {
        let word = match event {
            Event::Authorize { peer, .. } => {
                if let Some(admit) = self.admits {
                    self.interface.handle_decision(self.now, peer, admit);
                }
                "authorize".to_owned()
            }
            Event::InstallReceiving { key, .. } => {
                assert_eq!(key.index().shard(), self.card.shard);
                let old = self.receiving.insert(key.index(), (key, false));
                assert!(old.is_none(), "an index is given out once");
                "receiving".to_owned()
            }
            Event::PrepareSending { key, .. } => {
                assert!(!key.is_confirmed());
                "prepare".to_owned()
            }
            Event::InstallSending { key, .. } => {
                assert!(key.is_confirmed());
                self.sending = Some(key);
                "sending".to_owned()
            }
            Event::Remove { index, .. } => {
                assert!(self.receiving.remove(&index).is_some());
                "remove".to_owned()
            }
            Event::RemoveSending { .. } => {
                self.sending = None;
                "silent".to_owned()
            }
            Event::Timestamp { tai64n, .. } => {
                assert!(tai64n > self.timestamp);
                self.timestamp = tai64n;
                return;
            }
            Event::HandshakeDone { role, .. } => match role {
                Role::Initiator => "done initiator".to_owned(),
                Role::Responder => "done responder".to_owned(),
            },
            Event::GaveUp { .. } => "gave up".to_owned(),
        };
        self.said.push(word);
    }

    /// Returns how often the machine said so.
    pub(super) fn count(&self, word: &str) -> usize {
        self.said.iter().filter(|said| *said == word).count()
    }

    pub(super) fn keys(&self) -> usize {
        self.receiving.len()
    }

    /// Lets the peer in and begins a handshake, as a client does that is switched on.
    pub(super) fn dial(&mut self) {
        self.interface.handle_decision(self.now, PEER, true);
        self.interface.handle_need(self.now, PEER);
        self.drain();
    }

    /// Hands in whatever came.
    pub(super) fn receive(&mut self, from: SocketAddr, octets: &[u8]) -> Result<Arrived, Discard> {
        if Kind::of(octets) == Some(Kind::Data) {
            return Ok(self.open(from, octets));
        }
        let result = self
            .interface
            .handle_datagram(self.now, from, self.under_load, octets);
        self.drain();
        result.map(|()| Arrived::Lost)
    }

    fn open(&mut self, from: SocketAddr, octets: &[u8]) -> Arrived {
        let index = Index(u32::from_le_bytes(octets[4..8].try_into().unwrap()));
        let Some((key, used)) = self.receiving.get_mut(&index) else {
            return Arrived::Lost;
        };
        if key.is_expired(self.now) {
            return Arrived::Lost;
        }
        let mut frame = octets.to_vec();
        let Ok(packet) = key.open(&mut frame) else {
            return Arrived::Lost;
        };
        let packet = packet.to_vec();
        let first = !core::mem::replace(used, true);
        let old = key.wants_rekey(self.now);
        self.activity.endpoint().store(from);
        if packet.is_empty() {
            self.activity.received_keepalive(self.millis());
        } else {
            self.activity.received_data(self.millis());
        }
        if first {
            self.interface.handle_first_data(self.now, index);
        }
        if old {
            self.interface.handle_need(self.now, PEER);
        }
        self.drain();
        if packet.is_empty() {
            Arrived::Keepalive
        } else {
            Arrived::Packet(packet)
        }
    }

    /// Sends a packet, or asks for a key; returns whether it went.
    pub(super) fn send(&mut self, packet: &[u8]) -> bool {
        let key = self.sending.clone().filter(|key| !key.is_expired(self.now));
        let Some((key, to)) = key.zip(self.activity.endpoint().load()) else {
            self.interface.handle_need(self.now, PEER);
            self.drain();
            return false;
        };
        let mut frame = vec![0; 16];
        frame.extend_from_slice(packet);
        frame.resize(16 + packet.len().next_multiple_of(16) + 16, 0);
        let counter = key.reserve(1).unwrap();
        key.seal(counter, &mut frame).unwrap();
        self.activity.sent_data(self.millis());
        self.out.push((to, frame));
        if key.wants_rekey(self.now) {
            self.interface.handle_need(self.now, PEER);
            self.drain();
        }
        true
    }

    /// Lets time pass up to `now` and does what falls due.
    pub(super) fn pass(&mut self, now: Instant) {
        while let Some(due) = self.interface.poll_timeout().filter(|due| *due <= now) {
            self.now = self.now.max(due);
            self.interface.handle_timeout(self.now);
            self.drain();
        }
        self.now = now;
    }
}

/// Two sides of which one, the device, knows where the other, the gateway, is.
pub(super) fn pair() -> (Side, Side) {
    let device = Card::new(1, "192.0.2.1:1000");
    let gateway = Card::new(2, "198.51.100.1:5008");
    (
        Side::new(&device, &gateway, true),
        Side::new(&gateway, &device, false),
    )
}

/// Carries everything that waits from one to the other until both are quiet; returns the packets that arrived at each.
pub(super) fn carry(one: &mut Side, other: &mut Side) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut arrived = (Vec::new(), Vec::new());
    while !one.out.is_empty() || !other.out.is_empty() {
        for (_, octets) in core::mem::take(&mut one.out) {
            if let Ok(Arrived::Packet(packet)) = other.receive(one.card.address, &octets) {
                arrived.1.push(packet);
            }
        }
        for (_, octets) in core::mem::take(&mut other.out) {
            if let Ok(Arrived::Packet(packet)) = one.receive(other.card.address, &octets) {
                arrived.0.push(packet);
            }
        }
    }
    arrived
}
