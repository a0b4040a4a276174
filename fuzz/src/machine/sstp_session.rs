//! A server session and a client with a stream between them that the program cuts, spoils and adds to.
//!
//! What must hold: no packet passes and nothing comes up unless the authority admitted and the binding is right, the end
//! comes once, and a session that is told to end closes in time.

use std::time::{Duration, Instant};

use causeway_proto::aaa::{AuthMethod, Credentials, Decision, Identity};
use causeway_proto::crypto::Rng;
use causeway_proto::ppp;
use causeway_proto::sstp::client::{
    BindingFault, ConnectedFault, DataFault, EchoFault, EndFault, RequestFault,
};
use causeway_proto::sstp::packet::MAX_LEN;
use causeway_proto::sstp::{
    CertificateHashes, Client, ClientConfig, ClientEvent, Config, Event, Faults, HashProtocol,
    PacketSink, Session, data_header,
};
use causeway_proto::terminate::TerminateCause;

use super::authority::{PASSWORD, USER, decide};
use super::ppp_link::invent;
use crate::Program;

/// Runs the program.
pub fn sstp_session(bytes: &[u8]) {
    let mut program = Program::new(bytes);
    let mut world = World::new(&mut program);
    while !program.is_done() {
        world.step(&mut program);
        world.settle(&mut program);
    }
    world.drain(&mut program);
}

struct World {
    now: Instant,
    server: Session,
    client: Client,
    /// Octets on their way, and what the other end has not consumed yet.
    up: Vec<u8>,
    down: Vec<u8>,
    pending: Option<Credentials>,
    admitted: bool,
    /// The client is dishonest about its binding.
    binding_fault: bool,
    was_up: bool,
    ended: bool,
    closed: bool,
    client_closed: bool,
}

/// Counts what the session would hand to the packet path.
#[derive(Default)]
struct Count(usize);

impl<'a> PacketSink<'a> for Count {
    fn deliver(&mut self, packet: &'a mut [u8]) {
        packet.fill(0);
        self.0 += 1;
    }
}

fn one_of<T: Copy>(all: &[T], choice: u8, none: T) -> T {
    // Honest more often than not.
    if choice < 160 {
        none
    } else {
        all[usize::from(choice) % all.len()]
    }
}

/// Whether the mistake is one: without keys there are none to leave out or to exchange.
fn is_wrong(fault: BindingFault, method: AuthMethod) -> bool {
    match fault {
        BindingFault::None => false,
        BindingFault::ZeroKeys | BindingFault::SwappedKeys => method != AuthMethod::Pap,
        _ => true,
    }
}

impl World {
    fn new(program: &mut Program<'_>) -> Self {
        let choice = program.byte();
        let method = [
            AuthMethod::MsChapV2,
            AuthMethod::Pap,
            AuthMethod::Eap,
            AuthMethod::MsChapV2,
        ][usize::from(choice & 3)];
        let faults = Faults {
            request: one_of(RequestFault::ALL, program.byte(), RequestFault::None),
            binding: one_of(BindingFault::ALL, program.byte(), BindingFault::None),
            connected: one_of(ConnectedFault::ALL, program.byte(), ConnectedFault::None),
            data: one_of(DataFault::ALL, program.byte(), DataFault::None),
            echo: one_of(EchoFault::ALL, program.byte(), EchoFault::None),
            end: one_of(EndFault::ALL, program.byte(), EndFault::None),
        };
        let now = Instant::now();
        let certificate = CertificateHashes::of(b"a certificate");
        let server = Config {
            ppp: ppp::Config::server(ppp::ServerConfig {
                auth: vec![method],
                name: "causeway".to_owned(),
                auth_wait: Duration::from_secs(30),
                password_change: true,
            }),
            hashes: vec![HashProtocol::Sha256, HashProtocol::Sha1],
            hello_interval: Duration::from_secs(60),
            connect_request_timeout: Duration::from_secs(20),
            call_connected_timeout: Duration::from_secs(75),
        };
        let client = ClientConfig {
            ppp: ppp::Config::client(ppp::ClientConfig {
                user: Identity::new(USER).expect("a name"),
                password: PASSWORD.as_bytes().into(),
                auth: vec![method],
                want_dns: true,
                request_wins: false,
                mtu: 1400,
                supplicant: ppp::Supplicant::BuiltIn,
                new_password: Some(b"looking glass".as_slice().into()),
                profile: [
                    ppp::Profile::Plain,
                    ppp::Profile::Windows,
                    ppp::Profile::Pppd,
                ][usize::from(choice >> 4) % 3],
            }),
            certificate,
            preferred: if choice & 4 == 0 {
                HashProtocol::Sha256
            } else {
                HashProtocol::Sha1
            },
            hello_interval: Duration::from_secs(60),
            faults,
        };
        Self {
            now,
            server: Session::new(server, certificate, Rng::from_seed(&[1; 32]), now),
            client: Client::new(client, Rng::from_seed(&[2; 32]), now),
            up: Vec::new(),
            down: Vec::new(),
            pending: None,
            admitted: false,
            binding_fault: is_wrong(faults.binding, method),
            was_up: false,
            ended: false,
            closed: false,
            client_closed: false,
        }
    }

    fn step(&mut self, program: &mut Program<'_>) {
        let choice = program.byte();
        let up = choice & 0x80 == 0;
        match choice % 12 {
            0..=3 => {
                self.deliver(true, usize::MAX);
                self.settle(program);
                self.deliver(false, usize::MAX);
            }
            4 => self.deliver(up, usize::from(program.byte())),
            5 => {
                let stream = if up { &mut self.up } else { &mut self.down };
                let at = usize::from(program.byte()) % stream.len().max(1);
                if let Some(octet) = stream.get_mut(at) {
                    *octet ^= program.byte();
                }
            }
            6 => {
                let bytes = program.short();
                if up {
                    self.up.extend(bytes)
                } else {
                    self.down.extend(bytes)
                }
            }
            7 => {
                let frame = invent(program);
                self.packet(up, 0, &frame);
            }
            8 => {
                let (kind, count) = (program.byte(), program.byte());
                let body = [&[0, kind % 12, 0, count % 4], program.short()].concat();
                self.packet(up, 1, &body);
            }
            9 => self.answer(program),
            10 => {
                self.now += Duration::from_millis(u64::from(program.word()));
                self.server.handle_timeout(self.now);
                self.client.handle_timeout(self.now);
            }
            _ => match program.byte() % 4 {
                0 => self.server.terminate(self.now, TerminateCause::Admin),
                1 => self.client.terminate(self.now, TerminateCause::UserRequest),
                2 => self.server.handle_closed(self.now),
                _ => {
                    let payload = program.short();
                    let header = data_header(u16::try_from(payload.len()).unwrap());
                    self.up.extend(header);
                    self.up.extend(payload);
                }
            },
        }
    }

    fn packet(&mut self, up: bool, kind: u8, body: &[u8]) {
        let stream = if up { &mut self.up } else { &mut self.down };
        let length = u16::try_from(body.len() + 4).unwrap();
        stream.extend([0x10, kind]);
        stream.extend(length.to_be_bytes());
        stream.extend(body);
    }

    /// Hands at most `len` octets over; a machine that stops early is called again.
    fn deliver(&mut self, up: bool, len: usize) {
        let mut count = Count::default();
        let before = self.server.is_up();
        let stream = if up { &mut self.up } else { &mut self.down };
        let len = len.min(stream.len());
        let taken = if up {
            self.server
                .handle_stream(self.now, &mut stream[..len], &mut count)
        } else {
            self.client
                .handle_stream(self.now, &mut stream[..len], &mut count)
        };
        match taken {
            Ok(taken) => {
                assert!(taken <= len);
                if len == stream.len() && taken < len && !up {
                    assert!(len - taken < MAX_LEN, "{} octets left lying", len - taken);
                }
                stream.drain(..taken);
            }
            Err(_) => stream.clear(),
        }
        if up && count.0 > 0 {
            assert!(
                before && self.admitted,
                "{} packets before the session is up",
                count.0
            );
        }
    }

    fn answer(&mut self, program: &mut Program<'_>) {
        let Some(credentials) = self.pending.take() else {
            return;
        };
        let decision = decide(program, &credentials);
        self.admitted |= matches!(decision, Decision::Admit(_));
        self.server.handle_decision(self.now, decision);
    }

    fn settle(&mut self, program: &mut Program<'_>) {
        for _ in 0..200 {
            let (server, client) = (self.server.poll_event(), self.client.poll_event());
            if server.is_none() && client.is_none() {
                break;
            }
            if let Some(event) = server {
                self.take(program, event);
            }
            if let Some(event) = client {
                assert!(!self.client_closed, "{event:?} behind the close");
                self.client_closed = matches!(event, ClientEvent::Close);
            }
        }
        self.send();
    }

    fn take(&mut self, program: &mut Program<'_>, event: Event) {
        assert!(!self.closed, "{event:?} behind the close");
        match event {
            Event::Authenticate(credentials) => {
                assert!(self.pending.is_none() && !self.ended, "asked again");
                self.pending = Some(credentials);
                if program.byte() & 1 == 0 {
                    self.answer(program);
                }
            }
            Event::Authenticated => assert!(self.admitted, "let in by nobody"),
            Event::Up(_) => {
                assert!(
                    self.admitted && !self.was_up && !self.ended,
                    "up by nobody, twice, or after the end"
                );
                assert!(!self.binding_fault, "up with a wrong binding");
                self.was_up = true;
            }
            Event::Down { .. } => {
                assert!(!self.ended, "ends twice");
                self.ended = true;
            }
            Event::Close => {
                assert!(self.ended, "closed without an end");
                self.closed = true;
            }
        }
    }

    fn send(&mut self) {
        let mut out = Vec::new();
        for packets in 0.. {
            out.clear();
            if !self.server.poll_transmit(&mut out) {
                break;
            }
            assert!(packets < 100, "packets without end");
            let length = usize::from(u16::from_be_bytes([out[2], out[3]]));
            assert!(
                out[0] == 0x10 && length == out.len(),
                "not one packet: {} octets",
                out.len()
            );
            if self.down.len() < 100_000 {
                self.down.extend(&out);
            }
        }
        for packets in 0.. {
            out.clear();
            if !self.client.poll_transmit(&mut out) {
                break;
            }
            assert!(packets < 100, "packets without end");
            if self.up.len() < 100_000 {
                self.up.extend(&out);
            }
        }
    }

    /// With nobody at the other end, the session closes in time.
    fn drain(&mut self, program: &mut Program<'_>) {
        self.settle(program);
        self.server.terminate(self.now, TerminateCause::Admin);
        let end = self.now + Duration::from_secs(120);
        for _ in 0..1_000 {
            self.settle(program);
            match self.server.poll_timeout() {
                Some(due) if due <= end && !self.closed => {
                    self.now = self.now.max(due);
                    self.server.handle_timeout(self.now);
                }
                _ => break,
            }
        }
        self.settle(program);
        assert!(self.closed, "a session that was told to end is still there");
    }
}
