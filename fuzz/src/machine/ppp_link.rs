//! A server link and a client link with a wire that the program owns: it delivers, drops, repeats, and invents frames.
//!
//! What must hold: nobody is let in unless the authority said so, each log-in is asked about once, replies do not outgrow
//! questions, a link that is down stays down, and timers never fire without end.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use causeway_proto::aaa::{AuthMethod, Credentials, Decision, Identity};
use causeway_proto::crypto::Rng;
use causeway_proto::ppp::{ClientConfig, Config, Event, Link, Profile, ServerConfig, Supplicant};
use causeway_proto::terminate::TerminateCause;

use super::authority::{PASSWORD, USER, decide};
use crate::Program;

/// Runs the program.
pub fn ppp_link(bytes: &[u8]) {
    let mut program = Program::new(bytes);
    let mut world = World::new(program.byte());
    while !program.is_done() {
        world.step(&mut program);
        world.settle(&mut program);
    }
    world.drain(&mut program);
}

struct World {
    now: Instant,
    server: End,
    client: End,
    pending: Option<Credentials>,
    admitted: bool,
}

struct End {
    link: Link,
    /// Frames on their way to the other end.
    wire: VecDeque<Vec<u8>>,
    down: bool,
}

impl World {
    fn new(choice: u8) -> Self {
        let methods: &[AuthMethod] = match choice & 7 {
            0 => &[AuthMethod::Pap],
            1 => &[AuthMethod::ChapMd5],
            2 => &[AuthMethod::Eap],
            3 => &[AuthMethod::Eap, AuthMethod::MsChapV2],
            _ => &[AuthMethod::MsChapV2, AuthMethod::Pap],
        };
        let profile =
            [Profile::Plain, Profile::Windows, Profile::Pppd][usize::from(choice >> 4) % 3];
        let server = Config::server(ServerConfig {
            auth: methods.to_vec(),
            name: "causeway".to_owned(),
            auth_wait: Duration::from_secs(30),
            password_change: true,
        });
        let client = Config::client(ClientConfig {
            user: Identity::new(USER).expect("a name"),
            password: PASSWORD.as_bytes().into(),
            auth: if choice & 8 == 0 {
                methods.to_vec()
            } else {
                AuthMethod::ALL.to_vec()
            },
            want_dns: true,
            request_wins: true,
            mtu: 1400,
            supplicant: Supplicant::BuiltIn,
            new_password: Some(b"looking glass".as_slice().into()),
            profile,
        });
        let now = Instant::now();
        let end = |config, seed| End {
            link: Link::new(config, Rng::from_seed(&[seed; 32]), now),
            wire: VecDeque::new(),
            down: false,
        };
        Self {
            now,
            server: end(server, 1),
            client: end(client, 2),
            pending: None,
            admitted: false,
        }
    }

    fn step(&mut self, program: &mut Program<'_>) {
        let choice = program.byte();
        let up = choice & 0x80 == 0;
        match choice % 12 {
            // Most steps let the conversation go on.
            0..=3 => self.deliver(up),
            4 => {
                self.deliver(true);
                self.deliver(false);
            }
            5 => drop(self.from(up).wire.pop_front()),
            6 => {
                if let Some(frame) = self.from(up).wire.front().cloned() {
                    self.inject(up, &frame);
                }
            }
            7 => {
                if let Some(frame) = self.from(up).wire.front_mut() {
                    let at = usize::from(program.byte()) % frame.len().max(1);
                    if let Some(octet) = frame.get_mut(at) {
                        *octet ^= program.byte();
                    }
                }
            }
            8 => {
                let frame = invent(program);
                self.inject(up, &frame);
            }
            9 => self.answer(program),
            10 => {
                self.now += Duration::from_millis(u64::from(program.word()));
                self.server.link.handle_timeout(self.now);
                self.client.link.handle_timeout(self.now);
            }
            _ => {
                let cause =
                    TerminateCause::ALL[usize::from(program.byte()) % TerminateCause::ALL.len()];
                let now = self.now;
                self.from(up).link.terminate(now, cause);
            }
        }
    }

    fn from(&mut self, up: bool) -> &mut End {
        if up {
            &mut self.client
        } else {
            &mut self.server
        }
    }

    fn deliver(&mut self, up: bool) {
        if let Some(frame) = self.from(up).wire.pop_front() {
            self.inject(up, &frame);
        }
    }

    fn inject(&mut self, up: bool, frame: &[u8]) {
        let now = self.now;
        let end = if up {
            &mut self.server
        } else {
            &mut self.client
        };
        end.link.handle_frame(now, frame);
        // What one frame brings about is small, whatever the frame says.
        let (mut frames, mut octets) = (0, 0);
        let limit = usize::from(end.link.peer_mru()).max(1500) + 4;
        let mut out = Vec::new();
        while end.link.poll_transmit(&mut out) {
            frames += 1;
            octets += out.len();
            assert!(
                out.starts_with(&[0xff, 3]) && out.len() > 4,
                "not a frame: {out:02x?}"
            );
            assert!(
                out.len() <= limit,
                "{} octets for a peer that takes {limit}",
                out.len()
            );
            if end.wire.len() < 64 {
                end.wire.push_back(core::mem::take(&mut out));
            }
            out.clear();
        }
        assert!(frames <= 12, "{frames} frames for one");
        assert!(
            octets <= frame.len() + 1200,
            "{octets} octets for {}",
            frame.len()
        );
    }

    fn answer(&mut self, program: &mut Program<'_>) {
        let Some(credentials) = self.pending.take() else {
            return;
        };
        let decision = decide(program, &credentials);
        self.admitted |= matches!(decision, Decision::Admit(_));
        self.server.link.handle_decision(self.now, decision);
    }

    fn settle(&mut self, program: &mut Program<'_>) {
        for up in [false, true] {
            let end = self.from(up);
            let mut out = Vec::new();
            let mut frames = 0;
            while end.link.poll_transmit(&mut out) {
                frames += 1;
                assert!(frames <= 64, "frames without end");
                if end.wire.len() < 64 {
                    end.wire.push_back(core::mem::take(&mut out));
                }
                out.clear();
            }
        }
        while let Some(event) = self.server.link.poll_event() {
            assert!(!self.server.down, "{event:?} behind the end");
            match event {
                Event::Authenticate(credentials) => {
                    assert!(self.pending.is_none(), "asked again before an answer");
                    self.pending = Some(credentials);
                    if program.byte() & 1 == 0 {
                        self.answer(program);
                    }
                }
                Event::Authenticated { .. } | Event::NetworkUp(_) => {
                    assert!(self.admitted, "let in by nobody");
                }
                Event::Eap(packet) => panic!("a server has no supplicant for {packet:?}"),
                Event::Down(_) => self.server.down = true,
            }
        }
        assert!(
            !self.server.link.is_network_open() || self.admitted,
            "a network without a log-in"
        );
        while let Some(event) = self.client.link.poll_event() {
            assert!(!self.client.down, "{event:?} behind the end");
            self.client.down |= matches!(event, Event::Down(_));
        }
    }

    /// With nobody on the wire, both ends give up in time.
    fn drain(&mut self, program: &mut Program<'_>) {
        self.server.link.terminate(self.now, TerminateCause::Admin);
        self.client.link.terminate(self.now, TerminateCause::Admin);
        let end = self.now + Duration::from_secs(120);
        for _ in 0..1_000 {
            self.settle(program);
            let due = [
                self.server.link.poll_timeout(),
                self.client.link.poll_timeout(),
            ]
            .into_iter()
            .flatten()
            .min();
            match due {
                Some(due) if due <= end && !(self.server.down && self.client.down) => {
                    self.now = self.now.max(due);
                    self.server.link.handle_timeout(self.now);
                    self.client.link.handle_timeout(self.now);
                }
                _ => break,
            }
        }
        self.settle(program);
        assert!(
            self.server.down && self.client.down,
            "a link that was told to end is still there"
        );
    }
}

/// Makes a frame of a likely protocol with a header that may fit.
pub fn invent(program: &mut Program<'_>) -> Vec<u8> {
    const PROTOCOLS: [[u8; 2]; 10] = [
        [0xc0, 0x21],
        [0xc0, 0x23],
        [0xc2, 0x23],
        [0xc2, 0x27],
        [0x80, 0x21],
        [0x80, 0xfd],
        [0x80, 0x57],
        [0x00, 0x21],
        [0xc0, 0x25],
        [0x00, 0x3d],
    ];
    let choice = program.byte();
    let [high, low] = PROTOCOLS[usize::from(choice & 15) % PROTOCOLS.len()];
    let (code, identifier, body) = (program.byte(), program.byte(), program.short());
    let length = if choice & 0x80 == 0 {
        u16::try_from(body.len() + 4).unwrap()
    } else {
        program.word()
    };
    let mut frame = if choice & 0x40 == 0 {
        vec![0xff, 3, high, low]
    } else {
        vec![high, low]
    };
    frame.extend([code, identifier]);
    frame.extend(length.to_be_bytes());
    frame.extend(body);
    frame
}
