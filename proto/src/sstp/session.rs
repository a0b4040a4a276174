//! The server's half of one connection: the framer, the call and PPP in one machine.
//!
//! A session begins when the 200 has been sent. It lives with the driver that logs the client in and moves into the
//! packet path once it is up; it is the same value all the time, and the only one that either of them holds.
//!
//! - PPP control frames (protocol 0x8000 and above) flow from the Call Connect Ack on ([MS-SSTP] §3.3.5.2.3), data
//!   frames only when the binding is right *and* IPCP is open; before that they are dropped and counted.
//! - The end is polite where it can be: what the authenticator wanted to say, LCP Terminate, Call Disconnect, close.
//!   Closing at once would make Windows show a transport error in place of 691.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::attribute::HashProtocol;
use super::binding::CertificateHashes;
use super::call::{self, Call};
use super::framer::{Frame, Packet, Packets, classify};
use super::outbox::append_frame;
use super::packet::{Broken, MAX_LEN};
use super::reason::EndReason;
use crate::aaa::{
    AuthMethod, Credentials, Decision, InnerKeys, NetworkConfig, Refusal, RefuseReason,
};
use crate::crypto::Rng;
use crate::ppp::{self, Identification, Link};
use crate::terminate::TerminateCause;
use crate::wire::Encode;

/// What rules a session.
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings of PPP; its role is the server's.
    pub ppp: ppp::Config,
    /// The hashes to offer for crypto binding.
    pub hashes: Vec<HashProtocol>,
    /// The silence behind which an Echo Request is sent ([MS-SSTP] §3.1.2.3: 60 s).
    pub hello_interval: Duration,
    /// How long to wait for the Call Connect Request.
    pub connect_request_timeout: Duration,
    /// How long to wait for the Call Connected behind the Ack: the larger of 60 s, and the time that the authenticator
    /// has and 15 s more.
    pub call_connected_timeout: Duration,
}

/// What a session reports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// Ask the authenticator, then call [`Session::handle_decision`].
    Authenticate(Credentials),
    /// The log-in succeeded and the client has been told.
    Authenticated,
    /// The call is connected and IPCP is open: packets may flow.
    Up(NetworkConfig),
    /// The session has ended, for this reason; comes once, and the transport is still needed to say so.
    Down {
        /// For accounting.
        cause: TerminateCause,
        /// For the log.
        reason: EndReason,
    },
    /// Send what is queued, then `close_notify`, then close the socket; comes last.
    Close,
}

/// Takes inner packets out of the stream.
pub trait PacketSink<'a> {
    /// Takes one inner IPv4 packet, where it lies; nothing in it has been checked.
    fn deliver(&mut self, packet: &'a mut [u8]);
}

/// The server's half of one connection.
#[derive(Debug)]
pub struct Session {
    ppp: ppp::Config,
    rng: Rng,
    call: Call,
    link: Option<Box<Link>>,
    hash: Option<HashProtocol>,
    progress: Progress,
    /// Data frames may pass: the call is connected and IPCP is open.
    open: bool,
    dropped: u64,
    events: VecDeque<Event>,
}

/// How far a session has come.
#[derive(Debug)]
enum Progress {
    /// IPCP has not opened.
    Connecting,
    /// IPCP is open, the call is not connected.
    Network(NetworkConfig),
    /// [`Event::Up`] has been reported.
    Up,
    /// [`Event::Down`] has been reported.
    Down,
}

impl Session {
    /// Makes the session of a connection whose 200 has been sent; `certificate` is the one that this connection showed.
    #[must_use]
    pub fn new(config: Config, certificate: CertificateHashes, rng: Rng, now: Instant) -> Self {
        let call = call::Config {
            hashes: config.hashes,
            hello_interval: config.hello_interval,
            connect_request_timeout: config.connect_request_timeout,
            call_connected_timeout: config.call_connected_timeout,
        };
        Self {
            ppp: config.ppp,
            rng,
            call: Call::new(call, certificate, now),
            link: None,
            hash: None,
            progress: Progress::Connecting,
            open: false,
            dropped: 0,
            events: VecDeque::new(),
        }
    }

    /// Walks the whole SSTP packets at the front of `bytes` and returns how many octets they took.
    ///
    /// The caller keeps the rest, which is shorter than the packet that it begins, and puts more behind it. Inner
    /// packets go to `sink` where they lie. The walk stops early when [`Event::Up`] is due, so that packets behind it
    /// can be walked with the sink of the packet path.
    ///
    /// # Errors
    ///
    /// The stream is broken: close the connection without a word. The events say so as well.
    pub fn handle_stream<'a>(
        &mut self,
        now: Instant,
        bytes: &'a mut [u8],
        sink: &mut impl PacketSink<'a>,
    ) -> Result<usize, Broken> {
        let total = bytes.len();
        if self.call.is_closed() {
            return Ok(total);
        }
        let mut heard = false;
        let mut data = false;
        let mut packets = Packets::of(bytes);
        loop {
            match packets.next() {
                Ok(None) => break,
                Ok(Some(Packet::Data(frame))) => {
                    data |= self.handle_data(now, frame, sink);
                }
                Ok(Some(Packet::Control(packet))) => {
                    self.call.handle_control(now, &mut self.rng, packet);
                    self.settle(now);
                }
                Err(broken) => {
                    self.end(TerminateCause::ProtocolError, EndReason::BrokenStream);
                    self.call.close();
                    self.settle(now);
                    return Err(broken);
                }
            }
            heard = true;
            if self.is_up_due() {
                break;
            }
        }
        if heard {
            self.call.heard(now);
        }
        if data && let Some(link) = &mut self.link {
            link.heard(now);
        }
        Ok(total.saturating_sub(packets.remaining()))
    }

    /// Takes the gateway's answer to [`Event::Authenticate`].
    ///
    /// Crypto binding cannot do without the keys that MS-CHAPv2 and EAP leave, so a grant without them is a refusal.
    pub fn handle_decision(&mut self, now: Instant, decision: Decision) {
        let needs_keys = !matches!(
            self.method(),
            None | Some(AuthMethod::Pap | AuthMethod::ChapMd5)
        );
        let decision = match decision {
            Decision::Admit(grant) if grant.keys.is_none() && needs_keys => {
                Decision::Refuse(Refusal::new(RefuseReason::MissingKeys))
            }
            Decision::Admit(_) | Decision::Challenge(_) | Decision::Refuse(_) => decision,
        };
        if let Some(link) = self.live_link() {
            link.handle_decision(now, decision);
        }
        self.settle(now);
    }

    /// Takes the end of the transport: the client closed it, or it broke.
    pub fn handle_closed(&mut self, now: Instant) {
        self.end(TerminateCause::PeerLost, EndReason::TransportClosed);
        self.call.close();
        self.settle(now);
    }

    /// Begins the polite end of the session.
    pub fn terminate(&mut self, now: Instant, cause: TerminateCause) {
        if let Some(link) = self.live_link() {
            link.terminate(now, cause);
        } else {
            self.end(cause, EndReason::Terminated);
            self.call.disconnect(now);
        }
        self.settle(now);
    }

    /// Lets whatever is due happen.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.call.handle_timeout(now);
        if let Some(link) = self.live_link() {
            link.handle_timeout(now);
        }
        self.settle(now);
    }

    /// Appends exactly one SSTP packet to `out`; `false` when there is none.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        if let Some(message) = self.call.poll_opening() {
            return message.append_to(out, MAX_LEN).is_ok();
        }
        if self.call.sends_ppp()
            && let Some(link) = &mut self.link
            && append_frame(out, |out| link.poll_transmit(out))
        {
            return true;
        }
        match self.call.poll_closing() {
            Some(message) => message.append_to(out, MAX_LEN).is_ok(),
            None => false,
        }
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns when [`Session::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let link = match self.progress {
            Progress::Connecting | Progress::Network(_) | Progress::Up => &self.link,
            Progress::Down => &None,
        };
        let link = link.as_ref().and_then(|link| link.poll_timeout());
        self.call.poll_timeout().into_iter().chain(link).min()
    }

    /// Returns whether inner packets may flow.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.open
    }

    /// Returns how the client logged in, once that is agreed.
    #[must_use]
    pub fn method(&self) -> Option<AuthMethod> {
        self.link.as_ref().and_then(|link| link.auth_method())
    }

    /// Returns the hash of the binding, once the call is connected.
    #[must_use]
    pub const fn hash_protocol(&self) -> Option<HashProtocol> {
        self.hash
    }

    /// Returns what the client said of itself by LCP Identification, once PPP has begun.
    #[must_use]
    pub fn identification(&self) -> Option<&Identification> {
        self.link.as_ref().map(|link| link.identification())
    }

    /// Returns the largest PPP frame that the client takes.
    #[must_use]
    pub fn peer_mru(&self) -> u16 {
        self.link.as_ref().map_or(1500, |link| link.peer_mru())
    }

    /// Returns how many frames came when they could not be taken.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes one PPP frame and returns whether it carried user data.
    fn handle_data<'a>(
        &mut self,
        now: Instant,
        frame: &'a mut [u8],
        sink: &mut impl PacketSink<'a>,
    ) -> bool {
        match classify(frame) {
            Frame::Ipv4 { offset } if self.open => {
                sink.deliver(frame.get_mut(offset..).unwrap_or_default());
                true
            }
            Frame::Control if self.call.takes_ppp() => {
                self.handle_frame(now, frame);
                false
            }
            // The link rejects what it does not know.
            Frame::Data if self.open => {
                self.handle_frame(now, frame);
                false
            }
            Frame::Ipv4 { .. } | Frame::Control | Frame::Data | Frame::Runt => {
                self.dropped = self.dropped.saturating_add(1);
                false
            }
        }
    }

    fn handle_frame(&mut self, now: Instant, frame: &[u8]) {
        if let Some(link) = self.live_link() {
            link.handle_frame(now, frame);
            self.settle(now);
        }
    }

    /// Returns the link unless the session has ended.
    fn live_link(&mut self) -> Option<&mut Link> {
        match self.progress {
            Progress::Connecting | Progress::Network(_) | Progress::Up => self.link.as_deref_mut(),
            Progress::Down => None,
        }
    }

    /// Returns whether [`Event::Up`] has just been queued.
    fn is_up_due(&self) -> bool {
        self.open && matches!(self.events.back(), Some(Event::Up(_)))
    }

    /// Lets call and link hear of each other until neither has anything new.
    fn settle(&mut self, now: Instant) {
        loop {
            if let Some(event) = self.call.poll_event() {
                self.handle_call_event(now, event);
            } else if let Some(event) = self.live_link().and_then(Link::poll_event) {
                self.handle_link_event(now, event);
            } else {
                break;
            }
        }
        self.open =
            self.call.is_connected() && self.live_link().is_some_and(|link| link.is_network_open());
        if self.open && matches!(self.progress, Progress::Network(_)) {
            let progress = core::mem::replace(&mut self.progress, Progress::Up);
            if let Progress::Network(network) = progress {
                self.events.push_back(Event::Up(network));
            }
        }
    }

    fn handle_call_event(&mut self, now: Instant, event: call::Event) {
        match event {
            call::Event::Accepted => {
                let link = Link::new(self.ppp.clone(), self.rng.fork(), now);
                self.link = Some(Box::new(link));
            }
            call::Event::Connected(hash) => self.hash = Some(hash),
            call::Event::Ended { cause, reason } => self.end(cause, reason),
            call::Event::Close => self.events.push_back(Event::Close),
        }
    }

    fn handle_link_event(&mut self, now: Instant, event: ppp::Event) {
        match event {
            ppp::Event::Authenticate(credentials) => {
                self.events.push_back(Event::Authenticate(credentials));
            }
            // Only clients have a supplicant.
            ppp::Event::Eap(_) => {}
            ppp::Event::Authenticated { keys } => {
                self.call.handle_keys(now, self.binding_keys(keys));
                self.events.push_back(Event::Authenticated);
            }
            ppp::Event::NetworkUp(network) => self.progress = Progress::Network(network),
            ppp::Event::Down(down) => {
                self.end(down.cause, EndReason::Ppp(down.reason));
                self.call.disconnect(now);
            }
        }
    }

    /// Returns the keys that the binding rests on: none with PAP and CHAP-MD5, whatever the authenticator sent.
    fn binding_keys(&self, keys: Option<InnerKeys>) -> Option<InnerKeys> {
        match self.method() {
            Some(AuthMethod::Pap | AuthMethod::ChapMd5) => None,
            Some(AuthMethod::MsChapV2 | AuthMethod::Eap) | None => keys,
        }
    }

    /// Reports the end, the first time.
    fn end(&mut self, cause: TerminateCause, reason: EndReason) {
        match self.progress {
            Progress::Down => {}
            Progress::Connecting | Progress::Network(_) | Progress::Up => {
                self.progress = Progress::Down;
                self.open = false;
                self.events.push_back(Event::Down { cause, reason });
            }
        }
    }
}
