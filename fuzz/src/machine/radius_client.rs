//! The RADIUS client: every log-in ends exactly once, and only a signed accept lets anybody in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use causeway_proto::aaa::{Applicant, Credentials, Identity, TunnelKind, Verdict};
use causeway_proto::crypto::Rng;
use causeway_proto::radius::access::{Answer, Nas};
use causeway_proto::radius::authenticator::sign_reply;
use causeway_proto::radius::{
    Client, Code, Config, Demand, Event, Mode, Packet, Patience, Port, Probe, RequestId, Server,
    StatusServer,
};
use causeway_proto::wire::Decode;

use crate::Program;

const SECRET: &[u8] = b"testing123";

/// Runs a program of log-ins, answers, forgeries, silence and time.
pub fn radius_client(bytes: &[u8]) {
    let mut program = Program::new(bytes);
    let mut world = World::new(program.byte());
    while !program.is_done() {
        world.step(&mut program);
        world.settle();
    }
    world.drain();
}

struct World {
    client: Client,
    now: Instant,
    /// What went out last on each port by identifier, in the order of sending.
    outstanding: Vec<(Port, Vec<u8>)>,
    /// Log-ins that have not ended.
    waiting: BTreeSet<RequestId>,
    accepts_sent: usize,
    accepts_seen: usize,
    deadlines: BTreeMap<RequestId, Instant>,
}

impl World {
    fn new(choice: u8) -> Self {
        let server = |name: &str| Server {
            name: name.to_owned(),
            secret: SECRET.into(),
            status: StatusServer::Auto,
            repeat: None,
            is_sealed: false,
        };
        let config = Config {
            nas: Nas::default(),
            servers: vec![server("one"), server("two")],
            mode: if choice & 1 == 0 {
                Mode::Failover
            } else {
                Mode::RoundRobin
            },
            timeout: Duration::from_secs(60),
            retransmit: vec![Duration::from_secs(5)],
            patience: if choice & 2 == 0 {
                Patience::Mfa
            } else {
                Patience::Machine {
                    failover_after: Duration::from_secs(10),
                }
            },
            dead_time: Duration::from_secs(60),
            message_authenticator: if choice & 4 == 0 {
                Demand::Require
            } else {
                Demand::IfPresent
            },
            probe_after: Duration::from_secs(10),
            probe: (choice & 8 != 0).then(|| Probe {
                user: Identity::new(b"causeway-probe").expect("a name"),
                interval: Duration::from_secs(30),
                expect: Code::ACCESS_REJECT,
            }),
        };
        Self {
            client: Client::new(config, Rng::from_seed(&[choice; 32])),
            now: Instant::now(),
            outstanding: Vec::new(),
            waiting: BTreeSet::new(),
            accepts_sent: 0,
            accepts_seen: 0,
            deadlines: BTreeMap::new(),
        }
    }

    fn step(&mut self, program: &mut Program<'_>) {
        match program.byte() % 8 {
            0 | 1 => self.log_in(program),
            2 => self.answer(program, SECRET),
            3 => self.answer(program, b"wrong"),
            4 => {
                if let Some((port, _)) = self.pick(program.byte()) {
                    let _ = self.client.handle_datagram(self.now, port, program.short());
                }
            }
            5 => {
                if let Some((port, _)) = self.pick(program.byte()) {
                    self.client.handle_unreachable(self.now, port);
                }
            }
            6 => {
                let nth = usize::from(program.byte());
                if let Some(id) = self
                    .waiting
                    .iter()
                    .nth(nth % self.waiting.len().max(1))
                    .copied()
                {
                    self.client.abandon(self.now, id);
                }
            }
            _ => {
                self.now += Duration::from_millis(u64::from(program.word()));
                self.client.handle_timeout(self.now);
            }
        }
    }

    fn log_in(&mut self, program: &mut Program<'_>) {
        let user = Identity::new(program.short())
            .unwrap_or_else(|| Identity::new(b"alice").expect("a name"));
        let password = program.short().into();
        let here: SocketAddr = ([127, 0, 0, 1], 443).into();
        let applicant = Applicant {
            nas_port: 1,
            mtu: 1400,
            ..Applicant::new(TunnelKind::Sstp, here, here, "8f31c2".to_owned())
        };
        let deadline = self.now + Duration::from_secs(u64::from(program.byte()));
        let credentials = Credentials::Pap { user, password };
        if let Ok(id) = self
            .client
            .request(self.now, &applicant, &credentials, deadline)
        {
            assert!(self.waiting.insert(id), "an id is given out twice");
            self.deadlines
                .insert(id, deadline.min(self.now + Duration::from_secs(60)));
        }
    }

    fn answer(&mut self, program: &mut Program<'_>, secret: &[u8]) {
        let Some((port, request)) = self.pick(program.byte()) else {
            return;
        };
        let code = [
            Code::ACCESS_ACCEPT,
            Code::ACCESS_REJECT,
            Code::ACCESS_CHALLENGE,
            Code::ACCOUNTING_RESPONSE,
        ][usize::from(program.byte()) % 4];
        let mut attributes = vec![80, 18];
        attributes.extend([0; 16]);
        attributes.extend(program.short());
        let authenticator: [u8; 16] = request[4..20].try_into().unwrap();
        let Some(reply) = sign_reply(code, request[1], &attributes, &authenticator, secret) else {
            return;
        };
        let believed = self.client.handle_datagram(self.now, port, &reply).is_ok();
        assert!(
            !believed || secret == SECRET,
            "a reply with the wrong secret is believed"
        );
        if believed && code == Code::ACCESS_ACCEPT {
            self.accepts_sent += 1;
        }
    }

    fn pick(&self, choice: u8) -> Option<(Port, Vec<u8>)> {
        let nth = usize::from(choice) % self.outstanding.len().max(1);
        self.outstanding.get(nth).cloned()
    }

    /// Takes everything that the client has to say.
    fn settle(&mut self) {
        let mut out = Vec::new();
        while let Some(transmit) = self.client.poll_transmit(&mut out) {
            let request = Packet::decode_exact(&out).expect("our own request");
            assert!([Code::ACCESS_REQUEST, Code::STATUS_SERVER].contains(&request.code));
            self.outstanding
                .retain(|(port, old)| *port != transmit.port || old[1] != out[1] || *old == out);
            self.outstanding
                .push((transmit.port, core::mem::take(&mut out)));
            if self.outstanding.len() > 64 {
                self.outstanding.remove(0);
            }
        }
        while let Some(event) = self.client.poll_event() {
            if let Event::Finished {
                request,
                completion,
            } = event
            {
                assert!(self.waiting.remove(&request), "a log-in ends twice");
                self.deadlines.remove(&request);
                if let Some(Answer::Verdict(Verdict::Accept(_))) = completion.answer {
                    self.accepts_seen += 1;
                    assert!(
                        self.accepts_seen <= self.accepts_sent,
                        "an accept that no server sent"
                    );
                }
            }
        }
    }

    /// Lets time pass until nothing is due any more: no log-in may be left waiting.
    fn drain(&mut self) {
        for _ in 0..10_000 {
            let Some(due) = self.client.poll_timeout() else {
                break;
            };
            if self.waiting.is_empty() {
                // What is left are questions whether the servers live, and those have no end.
                break;
            }
            self.now = self.now.max(due);
            self.client.handle_timeout(self.now);
            self.settle();
            for (id, deadline) in &self.deadlines {
                assert!(self.now <= *deadline, "{id:?} waits past its deadline");
            }
        }
        assert!(
            self.waiting.is_empty(),
            "{} log-ins never end",
            self.waiting.len()
        );
    }
}
