//! One PPP link from its first frame to its last (RFC 1661 §3.2).
//!
//! ```text
//! Waiting --first frame or 500 ms--> Establish --LCP up--> Authenticate --admitted--> Network
//!    any of them --refused, timed out, terminated--> Terminate --answer or silence--> Ended
//! ```
//!
//! Once LCP is open it is never negotiated anew: that would need a second log-in in the middle of an SSTP call. A repeated
//! request is acknowledged again, a different one ends the link.

mod lcp_packets;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::auth::{Auth, Step};
use super::config::{Config, Role, RoleConfig};
use super::control::{Code, Packet};
use super::event::{Down, DownReason, Event};
use super::frame::{self, Protocol};
use super::identification::Identification;
use super::ipcp::Ipcp;
use super::lcp::Lcp;
use super::liveness::{Liveness, Vitals};
use super::negotiation::{MAX_REPLY, Negotiation, Progress};
use super::outbox::Outbox;
use super::refused::Refused;
use crate::aaa::{AuthMethod, Decision};
use crate::crypto::Rng;
use crate::eap::PeerStep;
use crate::terminate::TerminateCause;
use crate::wire::{Decode, Reader};

/// How long LCP and then IPCP may take, however busy both sides are; with the goodbye it is a minute.
const NEGOTIATION_LIMIT: Duration = Duration::from_secs(57);

/// How many Terminate-Requests are acknowledged when the link has ended.
const MAX_LAST_ACKS: u8 = 4;

/// One end of a PPP link.
#[derive(Debug)]
pub struct Link {
    config: Config,
    rng: Rng,
    lcp: Negotiation<Lcp>,
    phase: Phase,
    /// When the phase must be over, where something limits it.
    deadline: Option<Instant>,
    liveness: Liveness,
    refused: Refused,
    identification: Identification,
    echo_identifier: u8,
    events: VecDeque<Event>,
    outbox: Outbox,
}

/// The phases (RFC 1661 §3.2).
#[derive(Debug)]
enum Phase {
    /// The server gives the client time to be ready.
    Waiting,
    /// LCP negotiates.
    Establish,
    /// LCP is open and the client logs in.
    Authenticate(Auth),
    /// The client is in.
    Network(Box<Network>),
    /// We have asked to end, and this is what will be said then.
    Terminate(Down),
    /// It has been said; so many Terminate-Requests are still acknowledged.
    Ended(u8),
}

/// The phase in which packets flow.
#[derive(Debug)]
struct Network {
    /// For a client that has not seen its success.
    auth: Auth,
    ipcp: Negotiation<Ipcp>,
    announced: bool,
}

impl Link {
    /// Makes a link; the client sends its first frame at once.
    #[must_use]
    pub fn new(config: Config, mut rng: Rng, now: Instant) -> Self {
        let lcp = Negotiation::new(Lcp::new(&config, rng.fork()), &config);
        let liveness = Liveness::new(config.echo_interval, config.echo_failures, now);
        let mut link = Self {
            deadline: Some(now + config.start_delay),
            config,
            rng,
            lcp,
            phase: Phase::Waiting,
            liveness,
            refused: Refused::default(),
            identification: Identification::default(),
            echo_identifier: 0,
            events: VecDeque::new(),
            outbox: Outbox::default(),
        };
        if link.config.role() == Role::Client {
            link.establish(now);
        }
        link
    }

    /// Takes one frame; `FF 03` may be missing. IP packets are not for here and are dropped.
    pub fn handle_frame(&mut self, now: Instant, frame: &[u8]) {
        self.liveness.heard(now);
        let Ok((protocol, body)) = frame::split(frame) else {
            return;
        };
        if self.outbox.is_full() {
            return;
        }
        match protocol {
            Protocol::LCP => self.handle_lcp(now, body),
            Protocol::PAP | Protocol::CHAP | Protocol::EAP => self.handle_auth(now, protocol, body),
            Protocol::IPCP => self.handle_ipcp(now, body),
            Protocol::IPV4 => {}
            other => self.handle_other(other, body),
        }
    }

    /// Takes the answer to [`Event::Authenticate`]; one that nobody waits for is dropped.
    pub fn handle_decision(&mut self, now: Instant, decision: Decision) {
        let Phase::Authenticate(auth) = &mut self.phase else {
            return;
        };
        let step = auth.decide(now, &decision, &mut self.outbox);
        let ipcp = match decision {
            Decision::Admit(grant) => {
                let mut network = grant.network;
                network.mtu = network.mtu.min(self.lcp.protocol.peer_mru());
                Some(Ipcp::server(network))
            }
            Decision::Challenge(_) | Decision::Refuse(_) => None,
        };
        self.step(now, step, ipcp);
    }

    /// Takes what the owner's supplicant makes of [`Event::Eap`]; nothing when nobody asked.
    pub fn handle_supplicant(&mut self, now: Instant, said: PeerStep) {
        let client = self.client_ipcp();
        if let Phase::Authenticate(auth) = &mut self.phase {
            let step = auth.supplicate(said, &mut self.outbox);
            self.step(now, step, client);
        }
    }

    /// Looks at the deadlines.
    pub fn handle_timeout(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Ended(_)) {
            return;
        }
        let progress = self.lcp.handle_timeout(now, &mut self.outbox);
        self.lcp_progress(now, progress, DownReason::LcpTimeout);
        match &mut self.phase {
            Phase::Authenticate(auth) => {
                let step = auth.handle_timeout(now, &mut self.outbox);
                self.step(now, step, None);
            }
            Phase::Network(network) => {
                let progress = network.ipcp.handle_timeout(now, &mut self.outbox);
                self.ipcp_progress(now, progress);
            }
            Phase::Waiting | Phase::Establish | Phase::Terminate(_) | Phase::Ended(_) => {}
        }
        match self.liveness.check(now) {
            Vitals::Alive => {}
            Vitals::Silent => self.send_echo(),
            Vitals::Lost => self.fail(now, DownReason::EchoLost),
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            match &self.phase {
                Phase::Waiting => self.establish(now),
                Phase::Establish => self.fail(now, DownReason::LcpTimeout),
                Phase::Network(_) => self.fail(now, DownReason::IpcpTimeout),
                Phase::Authenticate(_) | Phase::Terminate(_) | Phase::Ended(_) => {}
            }
        }
    }

    /// Says that something else was received from the peer, which therefore lives.
    pub fn heard(&mut self, now: Instant) {
        self.liveness.heard(now);
    }

    /// Ends the link politely; [`Event::Down`] follows when the peer has answered or keeps silent.
    pub fn terminate(&mut self, now: Instant, cause: TerminateCause) {
        let reason = DownReason::Local;
        self.end(now, Down { cause, reason });
    }

    /// Appends one whole frame to `out`; false when there is none.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        self.outbox.pop(out)
    }

    /// Takes the oldest event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns when to call [`Link::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Authenticate(auth) => auth.deadline(),
            Phase::Network(network) => network.ipcp.deadline(),
            Phase::Waiting | Phase::Establish | Phase::Terminate(_) => None,
            Phase::Ended(_) => return None,
        };
        [
            phase,
            self.lcp.deadline(),
            self.liveness.deadline(),
            self.deadline,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Returns whether LCP is open.
    #[must_use]
    pub fn is_lcp_open(&self) -> bool {
        self.lcp.is_open()
    }

    /// Returns whether IPCP is open: packets may flow.
    #[must_use]
    pub fn is_network_open(&self) -> bool {
        match &self.phase {
            Phase::Network(network) => network.ipcp.is_open(),
            Phase::Waiting
            | Phase::Establish
            | Phase::Authenticate(_)
            | Phase::Terminate(_)
            | Phase::Ended(_) => false,
        }
    }

    /// Returns the largest frame that the peer takes.
    #[must_use]
    pub const fn peer_mru(&self) -> u16 {
        self.lcp.protocol.peer_mru()
    }

    /// Returns what the client has said about itself.
    #[must_use]
    pub const fn identification(&self) -> &Identification {
        &self.identification
    }

    /// Returns the method that LCP agreed on; `None` before.
    #[must_use]
    pub fn auth_method(&self) -> Option<AuthMethod> {
        match &self.phase {
            Phase::Waiting | Phase::Establish => None,
            Phase::Authenticate(_) | Phase::Network(_) | Phase::Terminate(_) | Phase::Ended(_) => {
                self.lcp.protocol.method()
            }
        }
    }

    fn establish(&mut self, now: Instant) {
        self.phase = Phase::Establish;
        self.deadline = Some(now + NEGOTIATION_LIMIT);
        if self.config.role() == Role::Server && self.lcp.protocol.method().is_none() {
            // A server without a method lets nobody in.
            return self.fail(now, DownReason::LcpNoAuthAgreed);
        }
        self.lcp.start(now, &mut self.outbox);
    }

    /// Does what LCP says; `finished` is the reason if it has ended on its own.
    fn lcp_progress(&mut self, now: Instant, progress: Progress, finished: DownReason) {
        match progress {
            Progress::None => {}
            Progress::Up => self.authenticate(now),
            Progress::Down => self.fail(now, DownReason::Renegotiation),
            Progress::Failed(reason) => self.fail(now, reason),
            Progress::Finished => self.ended(finished),
        }
    }

    fn authenticate(&mut self, now: Instant) {
        let Some(method) = self.lcp.protocol.method() else {
            return self.fail(now, DownReason::LcpNoAuthAgreed);
        };
        self.deadline = None;
        if let RoleConfig::Client(client) = &self.config.role {
            for message in client.profile.identifications() {
                let data = [&self.lcp.protocol.magic().to_be_bytes()[..], message].concat();
                self.outbox
                    .control(Protocol::LCP, Code::IDENTIFICATION.0, 1, &data);
            }
        }
        let rng = self.rng.fork();
        let auth = Auth::start(&self.config, method, rng, now, &mut self.outbox);
        self.phase = Phase::Authenticate(auth);
    }

    fn handle_auth(&mut self, now: Instant, protocol: Protocol, body: &[u8]) {
        let client = self.client_ipcp();
        match &mut self.phase {
            Phase::Authenticate(auth) if auth.protocol() == protocol => {
                let step = auth.handle(body, &mut self.outbox);
                self.step(now, step, client);
            }
            Phase::Network(network) if network.auth.protocol() == protocol => {
                // Only to repeat what was said; it changes nothing any more.
                network.auth.handle(body, &mut self.outbox);
            }
            Phase::Waiting
            | Phase::Establish
            | Phase::Authenticate(_)
            | Phase::Network(_)
            | Phase::Terminate(_)
            | Phase::Ended(_) => {}
        }
    }

    /// Returns what follows a client's success; `None` for a server, whose grant says it.
    fn client_ipcp(&self) -> Option<Ipcp> {
        match &self.config.role {
            RoleConfig::Server(_) => None,
            RoleConfig::Client(client) => {
                let mtu = client.mtu.min(self.lcp.protocol.peer_mru());
                Some(Ipcp::client(client, mtu))
            }
        }
    }

    /// Does what the authentication says; `ipcp` is what follows a success.
    fn step(&mut self, now: Instant, step: Step, ipcp: Option<Ipcp>) {
        match (step, ipcp) {
            (Step::Wait | Step::Prompt, _) => {}
            (Step::Ask(credentials), _) => self.events.push_back(Event::Authenticate(credentials)),
            (Step::Consult(packet), _) => self.events.push_back(Event::Eap(packet)),
            (Step::Success(keys), Some(ipcp)) => {
                let Phase::Authenticate(auth) =
                    core::mem::replace(&mut self.phase, Phase::Establish)
                else {
                    return;
                };
                self.events.push_back(Event::Authenticated { keys });
                self.liveness.start(now);
                self.deadline = Some(now + NEGOTIATION_LIMIT);
                let mut ipcp = Negotiation::new(ipcp, &self.config);
                ipcp.start(now, &mut self.outbox);
                if let RoleConfig::Client(client) = &self.config.role {
                    for (protocol, options) in client.profile.other_protocols() {
                        let code = Code::CONFIGURE_REQUEST.0;
                        self.outbox.control(*protocol, code, 1, options);
                    }
                }
                self.phase = Phase::Network(Box::new(Network {
                    auth,
                    ipcp,
                    announced: false,
                }));
            }
            (Step::Success(_), None) => self.fail(now, DownReason::AuthRefused),
            (Step::Failure(reason), _) => self.fail(now, reason),
        }
    }

    fn handle_ipcp(&mut self, now: Instant, body: &[u8]) {
        let mru = self.peer_mru();
        // Before the client is in, NCPs are dropped in silence (RFC 1661 §3.5).
        let Phase::Network(network) = &mut self.phase else {
            return;
        };
        let Ok(packet) = Packet::decode(&mut Reader::new(body)) else {
            return;
        };
        let progress = if (1..=Code::CODE_REJECT.0).contains(&packet.code) {
            network.ipcp.handle(now, &packet, mru, &mut self.outbox)
        } else {
            network
                .ipcp
                .handle_unknown(now, body, mru, &mut self.outbox);
            Progress::None
        };
        self.ipcp_progress(now, progress);
    }

    fn ipcp_progress(&mut self, now: Instant, progress: Progress) {
        let Phase::Network(network) = &mut self.phase else {
            return;
        };
        match progress {
            Progress::None => {}
            Progress::Up => {
                self.deadline = None;
                if !core::mem::replace(&mut network.announced, true) {
                    let event = Event::NetworkUp(network.ipcp.protocol.network());
                    self.events.push_back(event);
                }
            }
            Progress::Down => self.deadline = Some(now + NEGOTIATION_LIMIT),
            Progress::Failed(reason) => self.fail(now, reason),
            Progress::Finished if network.announced => self.fail(now, DownReason::IpcpTerminated),
            Progress::Finished => self.fail(now, DownReason::IpcpTimeout),
        }
    }

    fn handle_other(&mut self, protocol: Protocol, body: &[u8]) {
        let network = matches!(self.phase, Phase::Network(_));
        let early = !network
            && (protocol.is_network_control() || protocol.is_network_data())
            && protocol != Protocol::MULTILINK;
        if self.lcp.is_open() && !early {
            let limit = self.peer_mru().min(MAX_REPLY);
            self.refused.reject(protocol, body, limit, &mut self.outbox);
        }
    }

    fn send_echo(&mut self) {
        self.echo_identifier = self.echo_identifier.wrapping_add(1);
        let magic = self.lcp.protocol.magic().to_be_bytes();
        self.outbox.control(
            Protocol::LCP,
            Code::ECHO_REQUEST.0,
            self.echo_identifier,
            &magic,
        );
    }

    /// Ends the link because something is wrong.
    fn fail(&mut self, now: Instant, reason: DownReason) {
        let cause = reason.cause();
        self.end(now, Down { cause, reason });
    }

    /// Asks the peer to end, once.
    fn end(&mut self, now: Instant, down: Down) {
        match self.phase {
            Phase::Terminate(_) | Phase::Ended(_) => return,
            Phase::Waiting | Phase::Establish | Phase::Authenticate(_) | Phase::Network(_) => {}
        }
        self.phase = Phase::Terminate(down);
        self.deadline = None;
        self.liveness.stop();
        self.lcp.close(now, &mut self.outbox);
        if !self.lcp.is_closing() {
            self.ended(down.reason);
        }
    }

    /// The link has ended.
    fn ended(&mut self, reason: DownReason) {
        let down = match self.phase {
            Phase::Ended(_) => return,
            Phase::Terminate(down) => down,
            Phase::Waiting | Phase::Establish | Phase::Authenticate(_) | Phase::Network(_) => {
                Down {
                    cause: reason.cause(),
                    reason,
                }
            }
        };
        self.phase = Phase::Ended(MAX_LAST_ACKS);
        self.deadline = None;
        self.liveness.stop();
        self.events.push_back(Event::Down(down));
    }
}
