//! Two WireGuard interfaces, one packet path each, and a network between them that loses, doubles, reorders and alters
//! what it carries; both may die and come back.
//!
//! What must hold: a message that was altered is not answered and says nothing, unless it asks for a cookie; nothing is
//! answered with more octets than it had; an index is given out once; every key that goes was there; a packet arrives at
//! most once; and time passes whatever falls due.

use core::net::SocketAddr;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_proto::crypto::Rng;
use causeway_proto::wireguard::{
    Config, Discard, Event, Index, Interface, Kind, OVERHEAD, PeerActivity, PeerId, PresharedKey,
    PrivateKey, ReceivingKey, SendingKey, Settings,
};

use crate::Program;

const PEER: PeerId = PeerId(1);
/// Messages that are kept on the way; the rest is lost.
const WIRE: usize = 16;
/// Calls of one timeout, and some.
const ENOUGH: usize = 1_000;

/// Runs the program.
pub fn wireguard(bytes: &[u8]) {
    let mut program = Program::new(bytes);
    let mut world = World::new();
    while !program.is_done() {
        world.step(&mut program);
    }
}

struct Message {
    octets: Vec<u8>,
    /// As it was sent; nothing for one that nobody sent.
    original: Option<Vec<u8>>,
}

struct End {
    number: u8,
    lives: u32,
    interface: Interface,
    activity: Arc<PeerActivity>,
    receiving: HashMap<Index, (ReceivingKey, bool)>,
    sending: Option<Arc<SendingKey>>,
    timestamp: [u8; 12],
    admits: bool,
    under_load: bool,
    /// What has arrived, by number.
    arrived: HashSet<u32>,
}

struct World {
    now: Instant,
    epoch: Instant,
    ends: [End; 2],
    /// What is on its way to each end.
    wires: [VecDeque<Message>; 2],
    packets: u32,
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, number], 5008))
}

fn private(number: u8) -> PrivateKey {
    PrivateKey::generate(&mut Rng::from_seed(&[number + 1; 32]))
}

impl End {
    fn new(number: u8, lives: u32, now: Instant, epoch: Instant, timestamp: [u8; 12]) -> Self {
        let mut seed = [number; 32];
        seed[1..5].copy_from_slice(&lives.to_be_bytes());
        let config = Config {
            private_key: private(number),
            epoch,
        };
        let unix = Duration::from_secs(1_767_225_600) + (now - epoch);
        let mut end = Self {
            number,
            lives,
            interface: Interface::new(config, seed, now, unix),
            activity: Arc::default(),
            receiving: HashMap::new(),
            sending: None,
            timestamp,
            admits: true,
            under_load: false,
            arrived: HashSet::new(),
        };
        end.meet(now);
        end
    }

    fn meet(&mut self, now: Instant) {
        self.activity = Arc::default();
        let other = 1 - self.number;
        let settings = Settings {
            id: PEER,
            key: private(other).public(),
            preshared_key: PresharedKey::default(),
            endpoint: Some(address(other)),
            shard: self.number,
            keepalive: None,
            last_timestamp: self.timestamp,
            activity: Some(Arc::clone(&self.activity)),
        };
        assert_eq!(self.interface.add_peer(now, settings), Ok(()));
    }

    /// Does what the machine says; returns how many events there were, and what it sends.
    fn drain(&mut self, now: Instant) -> (usize, Vec<Vec<u8>>) {
        let mut events = 0;
        let mut sent = Vec::new();
        loop {
            let mut idle = true;
            while let Some(event) = self.interface.poll_event() {
                idle = false;
                events += 1;
                self.act(now, event);
            }
            let mut octets = Vec::new();
            while let Some(to) = self.interface.poll_transmit(&mut octets) {
                idle = false;
                assert_eq!(to, address(1 - self.number));
                sent.push(core::mem::take(&mut octets));
            }
            if idle {
                return (events, sent);
            }
        }
    }

    fn act(&mut self, now: Instant, event: Event) {
        match event {
            Event::Authorize { peer, .. } => {
                self.interface.handle_decision(now, peer, self.admits);
            }
            Event::InstallReceiving { key, .. } => {
                let before = self.receiving.insert(key.index(), (key, false));
                assert!(before.is_none(), "an index is given out once");
                assert!(self.receiving.len() <= 4, "keys pile up");
            }
            Event::PrepareSending { key, .. } => {
                assert!(!key.is_confirmed(), "nobody has shown it");
            }
            Event::InstallSending { key, .. } => {
                assert!(key.is_confirmed());
                self.sending = Some(key);
            }
            Event::Remove { index, .. } => {
                assert!(
                    self.receiving.remove(&index).is_some(),
                    "a key that was there"
                );
            }
            Event::RemoveSending { .. } => self.sending = None,
            Event::Timestamp { tai64n, .. } => {
                assert!(tai64n > self.timestamp, "timestamps rise");
                self.timestamp = tai64n;
            }
            Event::HandshakeDone { .. } | Event::GaveUp { .. } => {}
        }
    }
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            now,
            epoch: now,
            ends: [0, 1].map(|number| End::new(number, 0, now, now, [0; 12])),
            wires: [VecDeque::new(), VecDeque::new()],
            packets: 0,
        }
    }

    fn step(&mut self, program: &mut Program<'_>) {
        let choice = program.byte();
        let side = usize::from(choice & 1);
        match choice >> 1 & 15 {
            0 => {
                self.ends[side]
                    .interface
                    .handle_decision(self.now, PEER, true);
                self.ends[side].interface.handle_need(self.now, PEER);
            }
            1 => self.pass(Duration::from_millis(u64::from(program.word()))),
            2 => self.pass(Duration::from_secs(u64::from(program.byte()))),
            3..=6 => self.deliver(side),
            7 => drop(self.wires[side].pop_front()),
            8 => {
                let front = self.wires[side].front();
                let copy = front.map(|message| (message.octets.clone(), message.original.clone()));
                if let Some((octets, original)) = copy {
                    self.wires[side].push_back(Message { octets, original });
                }
            }
            9 => {
                if let Some(message) = self.wires[side].pop_front() {
                    self.wires[side].push_back(message);
                }
            }
            10 => self.alter(side, program),
            11 => self.send(side),
            12 => self.restart(side, program.byte()),
            13 => {
                let admits = program.byte() & 1 == 0;
                self.ends[side].admits = admits;
                self.ends[side]
                    .interface
                    .handle_decision(self.now, PEER, admits);
            }
            14 => {
                self.ends[side].interface.remove_peer(self.now, PEER);
                self.collect(side);
                assert!(self.ends[side].receiving.is_empty(), "keys of nobody");
                self.ends[side].meet(self.now);
            }
            _ => {
                self.ends[side].under_load = program.byte() & 1 == 0;
                let octets = program.short().to_vec();
                let original = None;
                self.wires[side].push_back(Message { octets, original });
            }
        }
        self.collect(0);
        self.collect(1);
    }

    /// Puts what an end has to send on the wire to the other.
    fn collect(&mut self, side: usize) {
        let (_, sent) = self.ends[side].drain(self.now);
        for octets in sent {
            self.carry(1 - side, octets);
        }
    }

    fn carry(&mut self, to: usize, octets: Vec<u8>) {
        if self.wires[to].len() < WIRE {
            let original = Some(octets.clone());
            self.wires[to].push_back(Message { octets, original });
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        for side in 0..2 {
            let mut calls = 0;
            let mut now = self.now;
            while let Some(due) = self.ends[side].interface.poll_timeout() {
                if due > until {
                    break;
                }
                now = now.max(due);
                self.ends[side].interface.handle_timeout(now);
                let (_, sent) = self.ends[side].drain(now);
                for octets in sent {
                    self.carry(1 - side, octets);
                }
                calls += 1;
                assert!(calls < ENOUGH, "time stands still");
            }
        }
        self.now = until;
    }

    fn deliver(&mut self, side: usize) {
        let Some(message) = self.wires[side].pop_front() else {
            return;
        };
        if Kind::of(&message.octets) == Some(Kind::Data) {
            self.open(side, &message);
            return;
        }
        let from = address(u8::try_from(1 - side).unwrap_or(0));
        let end = &mut self.ends[side];
        let result = end
            .interface
            .handle_datagram(self.now, from, end.under_load, &message.octets);
        let (events, sent) = end.drain(self.now);
        let octets: usize = sent.iter().map(Vec::len).sum();
        assert!(octets <= message.octets.len(), "more than was asked");
        if result.is_err() {
            assert_eq!(events, 0, "{result:?}");
            assert!(
                sent.is_empty() || result == Err(Discard::Cookie),
                "{result:?}"
            );
        }
        if message.original.as_deref() != Some(&message.octets[..]) {
            assert!(
                result.is_err() && result != Err(Discard::Cookie),
                "{result:?}"
            );
        }
        for octets in sent {
            self.carry(1 - side, octets);
        }
    }

    fn open(&mut self, side: usize, message: &Message) {
        let end = &mut self.ends[side];
        let index = message.octets[4..]
            .first_chunk()
            .copied()
            .unwrap_or_default();
        let index = Index(u32::from_le_bytes(index));
        let Some((key, used)) = end.receiving.get_mut(&index) else {
            return;
        };
        let mut frame = message.octets.clone();
        if key.is_expired(self.now) {
            return;
        }
        let Ok(packet) = key.open(&mut frame) else {
            return;
        };
        assert_eq!(message.original.as_ref(), Some(&message.octets), "altered");
        let ms = u64::try_from((self.now - self.epoch).as_millis()).unwrap_or(0);
        if let Some(number) = packet.first_chunk().copied().map(u32::from_be_bytes) {
            assert!(end.arrived.insert(number), "a packet arrives once");
            end.activity.received_data(ms);
        } else {
            end.activity.received_keepalive(ms);
        }
        let first = !core::mem::replace(used, true);
        let old = key.wants_rekey(self.now);
        end.activity.endpoint().store(address(1 - end.number));
        if first {
            end.interface.handle_first_data(self.now, index);
        }
        if old {
            end.interface.handle_need(self.now, PEER);
        }
    }

    /// Changes a bit that something vouches for: `mac2` is looked at under load alone.
    fn alter(&mut self, side: usize, program: &mut Program<'_>) {
        let (at, bit) = (usize::from(program.word()), program.byte() & 7);
        if let Some(message) = self.wires[side].front_mut() {
            let sealed = match Kind::of(&message.octets) {
                Some(Kind::Initiation | Kind::Response) => message.octets.len() - 16,
                Some(Kind::CookieReply | Kind::Data) | None => message.octets.len(),
            };
            if sealed > 0 {
                message.octets[at % sealed] ^= 1 << bit;
            }
        }
    }

    fn send(&mut self, side: usize) {
        let end = &self.ends[side];
        let Some(key) = end.sending.clone().filter(|key| !key.is_expired(self.now)) else {
            self.ends[side].interface.handle_need(self.now, PEER);
            return;
        };
        self.packets += 1;
        let mut frame = vec![0; OVERHEAD + 16];
        frame[16..20].copy_from_slice(&self.packets.to_be_bytes());
        let counter = key.reserve(1).expect("not so many packets");
        assert!(key.seal(counter, &mut frame).is_ok());
        let ms = u64::try_from((self.now - self.epoch).as_millis()).unwrap_or(0);
        end.activity.sent_data(ms);
        if key.wants_rekey(self.now) {
            self.ends[side].interface.handle_need(self.now, PEER);
        }
        self.carry(1 - side, frame);
    }

    /// The process dies; the timestamps that were kept may be old ones.
    fn restart(&mut self, side: usize, choice: u8) {
        let end = &self.ends[side];
        let timestamp = if choice & 1 == 0 {
            end.timestamp
        } else {
            [0; 12]
        };
        let mut next = End::new(end.number, end.lives + 1, self.now, self.epoch, timestamp);
        next.arrived = core::mem::take(&mut self.ends[side].arrived);
        next.admits = end_admits(choice);
        self.ends[side] = next;
    }
}

const fn end_admits(choice: u8) -> bool {
    choice & 2 == 0
}
