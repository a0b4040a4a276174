//! A thousand log-ins over a bad network to a server that restarts, in virtual time: a thousand sessions, and as many
//! requests as the server counts them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use causeway_proto::crypto::Rng;
use causeway_proto::radius::access::Nas;
use causeway_proto::radius::authenticator::{EMPTY_MESSAGE_AUTHENTICATOR, sign_reply};
use causeway_proto::radius::{
    AttributeList, AttributeType, Client, Code, Config, Demand, Event, Mode, Packet, Patience,
    Port, RadiusResult, Server, ServerId, StatusServer,
};
use causeway_proto::wire::Decode;

use super::*;

const LOGINS: u32 = 1000;
/// How long the server is away.
const RESTART: Duration = Duration::from_secs(3);

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

enum Step {
    Login(u32),
    AtServer(Port, Vec<u8>),
    Answer(Port, Vec<u8>, u32),
    AtClient(Port, Vec<u8>),
    Restart,
}

/// What the server knows of a request.
struct Known {
    /// In which life of the server it was taken up.
    life: u32,
    answer: Option<Vec<u8>>,
}

struct World {
    now: Instant,
    client: Client,
    rng: Rng,
    steps: BTreeMap<(Instant, u64), Step>,
    next: u64,
    /// By the octets: a copy is no new request.
    known: HashMap<Vec<u8>, Known>,
    prompts: HashMap<Vec<u8>, u32>,
    life: u32,
    away_until: Instant,
    lost: u32,
    copies: u32,
    results: Vec<RadiusResult>,
    late: u32,
}

impl World {
    fn new(seed: u8) -> Self {
        let now = Instant::now();
        let config = Config {
            nas: Nas::default(),
            servers: vec![Server {
                name: "nps".into(),
                secret: SECRET.into(),
                status: StatusServer::Off,
            }],
            mode: Mode::Failover,
            timeout: s(150),
            retransmit: (1..30).map(|n| s(5 * n)).collect(),
            patience: Patience::Mfa,
            dead_time: s(60),
            message_authenticator: Demand::Require,
            probe_after: s(10),
            probe: None,
        };
        Self {
            now,
            client: Client::new(config, Rng::from_seed(&[seed; 32])),
            rng: Rng::from_seed(&[seed.wrapping_add(1); 32]),
            steps: BTreeMap::new(),
            next: 0,
            known: HashMap::new(),
            prompts: HashMap::new(),
            life: 0,
            away_until: now,
            lost: 0,
            copies: 0,
            results: Vec::new(),
            late: 0,
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        u64::from(self.rng.u32()) % limit
    }

    fn plan(&mut self, after: Duration, step: Step) {
        self.steps.insert((self.now + after, self.next), step);
        self.next += 1;
    }

    /// Sends over the network: one in five gets lost, one in ten comes twice, none keeps its place.
    fn send(&mut self, make: impl Fn() -> Step) {
        let copies = if self.below(10) == 0 { 2 } else { 1 };
        for _ in 0..copies {
            if self.below(5) == 0 {
                self.lost += 1;
                continue;
            }
            let after = Duration::from_millis(1 + self.below(200));
            self.plan(after, make());
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Login(n) => {
                let (applicant, credentials) = (applicant(n), pap(n));
                let deadline = self.now + s(150);
                self.client
                    .request(self.now, &applicant, &credentials, deadline)
                    .unwrap();
            }
            Step::AtServer(port, datagram) => self.at_server(port, datagram),
            Step::Answer(port, datagram, life) => {
                if life == self.life {
                    let reply = reply(&datagram);
                    self.known.get_mut(&datagram).unwrap().answer = Some(reply.clone());
                    self.send(|| Step::AtClient(port, reply.clone()));
                }
            }
            Step::AtClient(port, reply) => {
                // A copy of an answer is unknown by then.
                let _ = self.client.handle_datagram(self.now, port, &reply);
            }
            Step::Restart => {
                self.life += 1;
                self.away_until = self.now + RESTART;
            }
        }
    }

    fn at_server(&mut self, port: Port, datagram: Vec<u8>) {
        if self.now < self.away_until {
            self.client.handle_unreachable(self.now, port);
            return;
        }
        let life = self.life;
        match self.known.get(&datagram) {
            Some(Known {
                life: taken,
                answer,
            }) if *taken == life => {
                self.copies += 1;
                // As RFC 5080 §2.2.2 has it: the same answer again; silence while there is none.
                if let Some(reply) = answer.clone() {
                    self.send(|| Step::AtClient(port, reply.clone()));
                }
                return;
            }
            // What was in its hands is lost with the old life: it takes the copy up.
            Some(_) => self.copies += 1,
            None => {
                let packet = Packet::decode_exact(&datagram).unwrap();
                let mut attributes = packet.attributes().map(Result::unwrap);
                let name = attributes.find(|a| a.kind == AttributeType::USER_NAME);
                *self
                    .prompts
                    .entry(name.unwrap().value.to_vec())
                    .or_default() += 1;
            }
        }
        self.known
            .insert(datagram.clone(), Known { life, answer: None });
        let delay = Duration::from_millis(self.below(58_000));
        self.plan(delay, Step::Answer(port, datagram, life));
    }

    fn settle(&mut self) {
        let mut out = Vec::new();
        while let Some(transmit) = self.client.poll_transmit(&mut out) {
            let datagram = std::mem::take(&mut out);
            self.send(|| Step::AtServer(transmit.port, datagram.clone()));
        }
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Finished { completion, .. } => self.results.push(completion.result),
                Event::Late { .. } => self.late += 1,
                _ => {}
            }
        }
    }

    fn run(&mut self) {
        loop {
            let step = self.steps.first_key_value().map(|((at, _), _)| *at);
            let timer = self.client.poll_timeout();
            match (step, timer) {
                (None, None) => return,
                (Some(at), due) if due.is_none_or(|due| at <= due) => {
                    self.now = self.now.max(at);
                    if let Some((_, step)) = self.steps.pop_first() {
                        self.step(step);
                    }
                }
                (_, Some(due)) => {
                    self.now = self.now.max(due);
                    self.client.handle_timeout(self.now);
                }
                (Some(_), None) => unreachable!("the step comes first"),
            }
            self.settle();
        }
    }
}

fn reply(request: &[u8]) -> Vec<u8> {
    let request = Packet::decode_exact(request).unwrap();
    let mut list = AttributeList::new();
    list.push(
        AttributeType::MESSAGE_AUTHENTICATOR,
        &EMPTY_MESSAGE_AUTHENTICATOR,
    );
    sign_reply(
        Code::ACCESS_ACCEPT,
        request.identifier,
        list.finish().unwrap(),
        &request.authenticator,
        SECRET,
    )
    .unwrap()
}

#[test]
fn a_thousand_logins_are_a_thousand_sessions_and_a_thousand_prompts() {
    for seed in 0..4 {
        let mut world = World::new(seed);
        for n in 0..LOGINS {
            let after = Duration::from_millis(world.below(60_000));
            world.plan(after, Step::Login(n));
        }
        world.plan(s(40), Step::Restart);
        world.run();

        let accepts = world
            .results
            .iter()
            .filter(|result| **result == RadiusResult::Accept);
        assert_eq!(accepts.count(), 1000, "seed {seed}");
        assert_eq!(world.results.len(), 1000, "seed {seed}");
        assert_eq!(world.prompts.len(), 1000, "seed {seed}");
        assert!(world.prompts.values().all(|prompts| *prompts == 1));
        assert_eq!(world.known.len(), 1000, "seed {seed}");
        assert_eq!(world.client.waiting(ServerId(0)), 0);
        // The network was as bad as it should be, and the server was away while many waited.
        let identifiers: HashSet<_> = world.known.values().map(|known| known.life).collect();
        assert_eq!(identifiers.len(), 2);
        assert!(world.lost > 1000 && world.copies > 1000);
    }
}
