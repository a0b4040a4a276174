//! Frames to write by hand, and links to try them on.

use std::time::{Duration, Instant};

use super::aaa::PASSWORD;
use crate::aaa::{AuthMethod, Identity};
use crate::crypto::{Rng, SecretBytes};
use crate::ppp::control::{self, Packet};
use crate::ppp::frame::{self, Protocol};
use crate::ppp::{ClientConfig, Config, Event, Link, Profile, ServerConfig, Supplicant};
pub(super) use crate::timer::testing::start;
use crate::wire::{Decode, Reader};

pub(super) fn rng(seed: u8) -> Rng {
    Rng::from_seed(&[seed; 32])
}

pub(super) fn server_config(auth: &[AuthMethod]) -> Config {
    Config::server(ServerConfig {
        auth: auth.to_vec(),
        name: "gateway".to_owned(),
        auth_wait: Duration::from_secs(30),
        password_change: false,
    })
}

pub(super) fn client_config(auth: &[AuthMethod], profile: Profile) -> Config {
    Config::client(ClientConfig {
        user: Identity::new(b"WONDER\\alice").unwrap(),
        password: SecretBytes::from(PASSWORD.as_bytes()),
        auth: auth.to_vec(),
        want_dns: true,
        request_wins: profile == Profile::Windows,
        mtu: 1400,
        supplicant: Supplicant::BuiltIn,
        new_password: None,
        profile,
    })
}

/// Builds one frame.
pub(super) fn frame(protocol: Protocol, code: u8, id: u8, data: &[u8]) -> Vec<u8> {
    let mut out = frame::header(protocol).to_vec();
    control::append(&mut out, code, id, data);
    out
}

/// A frame as it was sent: protocol, code, identifier, data.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Sent {
    pub(super) protocol: Protocol,
    pub(super) code: u8,
    pub(super) id: u8,
    pub(super) data: Vec<u8>,
}

impl Sent {
    pub(super) fn read(bytes: &[u8]) -> Self {
        let (protocol, body) = frame::split(bytes).unwrap();
        let packet = Packet::decode(&mut Reader::new(body)).unwrap();
        Self {
            protocol,
            code: packet.code,
            id: packet.identifier,
            data: packet.data.to_vec(),
        }
    }
}

/// A server whose peer is written by hand.
pub(super) struct Bench {
    pub(super) link: Link,
    pub(super) now: Instant,
}

impl Bench {
    pub(super) fn new(auth: &[AuthMethod]) -> Self {
        Self::with(server_config(auth))
    }

    pub(super) fn with(config: Config) -> Self {
        let now = start();
        Self {
            link: Link::new(config, rng(1), now),
            now,
        }
    }

    /// A server with LCP open; the peer has magic 1 and the given MRU.
    pub(super) fn open(auth: AuthMethod, mru: u16) -> Self {
        let mut bench = Self::new(&[auth]);
        let [high, low] = mru.to_be_bytes();
        let sent = bench.lcp(1, 9, &[1, 4, high, low, 5, 6, 0, 0, 0, 1]);
        let request = sent.iter().find(|sent| sent.code == 1).unwrap().clone();
        bench.lcp(2, request.id, &request.data);
        assert!(bench.link.is_lcp_open());
        bench
    }

    /// A server with IPCP open, the client logged in by PAP.
    pub(super) fn up() -> Self {
        let mut bench = Self::open(AuthMethod::Pap, 1500);
        bench.send(&pap(1));
        let Some(Event::Authenticate(credentials)) = bench.link.poll_event() else {
            panic!("no log-in");
        };
        bench
            .link
            .handle_decision(bench.now, super::aaa::decide(&credentials));
        let sent = bench.drain();
        let request = sent
            .iter()
            .find(|sent| sent.protocol == Protocol::IPCP)
            .unwrap()
            .clone();
        bench.send(&frame(Protocol::IPCP, 2, request.id, &request.data));
        bench.send(&frame(Protocol::IPCP, 1, 1, &[3, 6, 10, 9, 0, 7]));
        assert!(bench.link.is_network_open());
        while bench.link.poll_event().is_some() {}
        bench
    }

    /// Hands a frame in and returns what comes back.
    pub(super) fn send(&mut self, frame: &[u8]) -> Vec<Sent> {
        self.link.handle_frame(self.now, frame);
        self.drain()
    }

    pub(super) fn lcp(&mut self, code: u8, id: u8, data: &[u8]) -> Vec<Sent> {
        self.send(&frame(Protocol::LCP, code, id, data))
    }

    pub(super) fn drain(&mut self) -> Vec<Sent> {
        self.drain_raw()
            .iter()
            .map(|bytes| Sent::read(bytes))
            .collect()
    }

    pub(super) fn drain_raw(&mut self) -> Vec<Vec<u8>> {
        core::iter::from_fn(|| {
            let mut out = Vec::new();
            self.link.poll_transmit(&mut out).then_some(out)
        })
        .collect()
    }

    /// Jumps to the next deadline; false when there is none.
    pub(super) fn jump(&mut self) -> bool {
        let Some(at) = self.link.poll_timeout() else {
            return false;
        };
        self.now = self.now.max(at);
        self.link.handle_timeout(self.now);
        true
    }

    /// Lets the clock run to the end of the link, without a peer.
    pub(super) fn run_out(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..200 {
            events.extend(core::iter::from_fn(|| self.link.poll_event()));
            self.drain_raw();
            if events.iter().any(|event| matches!(event, Event::Down(_))) || !self.jump() {
                break;
            }
        }
        events
    }
}

/// Alice's PAP request.
pub(super) fn pap(id: u8) -> Vec<u8> {
    frame(Protocol::PAP, 1, id, b"\x05alice\x0awonderland")
}
