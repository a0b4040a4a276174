//! CHAP at both ends of a link whose LCP is open: every frame is a CHAP packet of the program's making, or an honest
//! one that it bends.
//!
//! What must hold: the server asks about a log-in only when a whole response came, once until it is answered, and lets
//! nobody in by itself; a client that wants MS-CHAPv2 believes nobody who cannot prove the password.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use causeway_proto::aaa::{AuthMethod, Credentials, Decision, Identity};
use causeway_proto::crypto::Rng;
use causeway_proto::ppp::{ClientConfig, Config, Event, Link, Profile, ServerConfig, Supplicant};

use super::authority::{PASSWORD, USER, decide};
use crate::Program;

/// The protocol number of CHAP, behind PPP's address and control octets.
const HEAD: [u8; 4] = [0xff, 3, 0xc2, 0x23];
/// More frames than LCP takes to open.
const ENOUGH: usize = 40;
/// Frames that are kept on the way; the rest is lost.
const WIRE: usize = 32;

/// Runs the program.
pub fn chap(bytes: &[u8]) {
    let mut program = Program::new(bytes);
    let mut world = World::new(program.byte());
    world.open();
    while !program.is_done() {
        world.step(&mut program);
        world.settle(&mut program);
    }
}

struct World {
    now: Instant,
    method: AuthMethod,
    server: Link,
    client: Link,
    /// Frames on their way to the server, and to the client.
    up: VecDeque<Vec<u8>>,
    down: VecDeque<Vec<u8>>,
    pending: Option<Credentials>,
    admitted: bool,
    ended: bool,
}

impl World {
    fn new(choice: u8) -> Self {
        let method = if choice & 1 == 0 {
            AuthMethod::MsChapV2
        } else {
            AuthMethod::ChapMd5
        };
        let now = Instant::now();
        let server = Config::server(ServerConfig {
            auth: vec![method],
            name: "causeway".to_owned(),
            auth_wait: Duration::from_secs(30),
            password_change: true,
        });
        let client = Config::client(ClientConfig {
            user: Identity::new(USER).expect("a name"),
            password: PASSWORD.as_bytes().into(),
            auth: vec![method],
            want_dns: false,
            request_wins: false,
            mtu: 1400,
            supplicant: Supplicant::BuiltIn,
            new_password: Some(b"looking glass".as_slice().into()),
            profile: Profile::Plain,
        });
        Self {
            now,
            method,
            server: Link::new(server, Rng::from_seed(&[1; 32]), now),
            client: Link::new(client, Rng::from_seed(&[2; 32]), now),
            up: VecDeque::new(),
            down: VecDeque::new(),
            pending: None,
            admitted: false,
            ended: false,
        }
    }

    /// Opens LCP with an honest wire, until the server's challenge is on its way.
    fn open(&mut self) {
        for _ in 0..ENOUGH {
            self.send();
            if self.down.iter().any(|frame| frame.starts_with(&HEAD)) {
                return;
            }
            self.deliver(true);
            self.deliver(false);
        }
        panic!("LCP does not open");
    }

    fn send(&mut self) {
        for (link, wire) in [
            (&mut self.server, &mut self.down),
            (&mut self.client, &mut self.up),
        ] {
            let mut out = Vec::new();
            let mut frames = 0;
            while link.poll_transmit(&mut out) {
                frames += 1;
                assert!(frames <= 64, "frames without end");
                if wire.len() < WIRE {
                    wire.push_back(core::mem::take(&mut out));
                }
                out.clear();
            }
        }
    }

    fn deliver(&mut self, up: bool) {
        let wire = if up { &mut self.up } else { &mut self.down };
        if let Some(frame) = wire.pop_front() {
            self.hand(up, &frame);
        }
    }

    fn hand(&mut self, up: bool, frame: &[u8]) {
        let link = if up {
            &mut self.server
        } else {
            &mut self.client
        };
        link.handle_frame(self.now, frame);
    }

    fn step(&mut self, program: &mut Program<'_>) {
        let choice = program.byte();
        let up = choice & 0x80 == 0;
        match choice % 8 {
            0 | 1 => self.deliver(up),
            2 => {
                let wire = if up { &mut self.up } else { &mut self.down };
                if let Some(frame) = wire.front_mut() {
                    let at = HEAD.len() + usize::from(program.byte());
                    if let Some(octet) = frame.get_mut(at) {
                        *octet ^= program.byte();
                    }
                }
                self.deliver(up);
            }
            3 => {
                let wire = if up { &mut self.up } else { &mut self.down };
                if let Some(mut frame) = wire.pop_front() {
                    frame.truncate(HEAD.len() + usize::from(program.byte()));
                    self.hand(up, &frame);
                }
            }
            4 | 5 => {
                let frame = invent(program, choice & 0x40 == 0);
                self.hand(up, &frame);
            }
            6 => self.answer(program),
            _ => {
                self.now += Duration::from_millis(u64::from(program.word()));
                self.server.handle_timeout(self.now);
                self.client.handle_timeout(self.now);
            }
        }
    }

    fn answer(&mut self, program: &mut Program<'_>) {
        if let Some(credentials) = self.pending.take() {
            let decision = decide(program, &credentials);
            self.admitted |= matches!(decision, Decision::Admit(_));
            self.server.handle_decision(self.now, decision);
        }
    }

    fn settle(&mut self, program: &mut Program<'_>) {
        while let Some(event) = self.server.poll_event() {
            assert!(!self.ended, "{event:?} behind the end");
            match event {
                Event::Authenticate(credentials) => {
                    assert!(self.pending.is_none(), "asked again before an answer");
                    assert_eq!(credentials.method(), self.method, "another method");
                    assert!(!credentials.user().as_bytes().is_empty(), "nobody");
                    self.pending = Some(credentials);
                    if program.byte() & 1 == 0 {
                        self.answer(program);
                    }
                }
                Event::Authenticated { .. } | Event::NetworkUp(_) => {
                    assert!(self.admitted, "let in by nobody");
                }
                Event::Eap(packet) => panic!("a server has no supplicant for {packet:?}"),
                Event::Down(_) => self.ended = true,
            }
        }
        while let Some(event) = self.client.poll_event() {
            if let Event::Authenticated { .. } = event {
                assert!(
                    self.admitted || self.method == AuthMethod::ChapMd5,
                    "the client believes a server without proof"
                );
            }
        }
        self.send();
    }
}

/// Makes a CHAP packet; with `fits`, its length field is right.
fn invent(program: &mut Program<'_>, fits: bool) -> Vec<u8> {
    let (code, identifier, body) = (program.byte() % 6, program.byte(), program.short());
    let length = if fits {
        u16::try_from(body.len() + 4).unwrap_or(u16::MAX)
    } else {
        program.word()
    };
    [&HEAD[..], &[code, identifier], &length.to_be_bytes(), body].concat()
}
