//! The client's half of one connection: what the built-in client, the demonstration, the tests and the benches use.
//!
//! It begins where the server's 200 ends; [`Client::request`] writes what comes before. [`Faults`] makes it break the
//! rules one at a time.

mod call;
mod faults;
mod packets;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use faults::{
    BindingFault, ConnectedFault, DataFault, EchoFault, EndFault, Faults, RequestFault,
};

use self::call::Call;
use super::attribute::HashProtocol;
use super::binding::CertificateHashes;
use super::framer::{Frame, Packet, Packets, classify};
use super::http::{self, ClientShape};
use super::outbox::append_frame;
use super::packet::{Broken, MAX_LEN};
use super::reason::EndReason;
use super::session::PacketSink;
use crate::aaa::{AuthMethod, InnerKeys, NetworkConfig};
use crate::crypto::Rng;
use crate::eap::PeerStep;
use crate::ppp::{self, Link};
use crate::terminate::TerminateCause;
use crate::wire::Encode;

/// What rules a client.
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings of PPP; its role is the client's.
    pub ppp: ppp::Config,
    /// The certificate that the server showed.
    pub certificate: CertificateHashes,
    /// The hash to choose when it is offered.
    pub preferred: HashProtocol,
    /// The silence behind which an Echo Request is sent.
    pub hello_interval: Duration,
    /// Which mistakes to make.
    pub faults: Faults,
}

/// What a client reports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// The log-in succeeded.
    AuthenticateDone,
    /// An EAP packet for the owner's supplicant; [`Client::handle_supplicant`] answers it.
    Eap(Vec<u8>),
    /// Packets may flow.
    Up(NetworkConfig),
    /// The connection has ended, for this reason; comes once, and the transport is still needed to say so.
    Down {
        /// Who ended it.
        cause: TerminateCause,
        /// Why.
        reason: EndReason,
    },
    /// Send what is queued, then close the socket; comes last.
    Close,
}

/// The client's half of one connection.
#[derive(Debug)]
pub struct Client {
    ppp: ppp::Config,
    rng: Rng,
    call: Call,
    link: Option<Box<Link>>,
    progress: Progress,
    open: bool,
    dropped: u64,
    events: VecDeque<Event>,
}

/// How far a client has come.
#[derive(Debug)]
enum Progress {
    Connecting,
    Network(NetworkConfig),
    Up,
    Down,
}

impl Client {
    /// Makes the client of a connection on which the server's 200 has been read.
    #[must_use]
    pub fn new(config: Config, rng: Rng, now: Instant) -> Self {
        let call = Call::new(&config, now);
        Self {
            ppp: config.ppp,
            rng,
            call,
            link: None,
            progress: Progress::Connecting,
            open: false,
            dropped: 0,
            events: VecDeque::new(),
        }
    }

    /// Returns the HTTP request that opens the stream; the answer is for [`http::parse_response`].
    #[must_use]
    pub fn request(host: &str, correlation: &str, shape: ClientShape) -> Vec<u8> {
        http::request(host, correlation, shape)
    }

    /// Walks the whole SSTP packets at the front of `bytes` and returns how many octets they took; inner packets go to
    /// `sink` where they lie.
    ///
    /// # Errors
    ///
    /// The stream is broken: close the connection.
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
        let mut packets = Packets::of(bytes);
        loop {
            match packets.next() {
                Ok(None) => break,
                Ok(Some(Packet::Data(frame))) => self.handle_data(now, frame, sink),
                Ok(Some(Packet::Control(packet))) => self.call.handle_control(now, packet),
                Err(broken) => {
                    self.end(TerminateCause::ProtocolError, EndReason::BrokenStream);
                    self.call.close();
                    self.settle(now);
                    return Err(broken);
                }
            }
            self.call.heard(now);
            self.settle(now);
        }
        Ok(total.saturating_sub(packets.remaining()))
    }

    /// Takes the end of the transport.
    pub fn handle_closed(&mut self, now: Instant) {
        self.end(TerminateCause::PeerLost, EndReason::TransportClosed);
        self.call.close();
        self.settle(now);
    }

    /// Hangs up politely.
    pub fn terminate(&mut self, now: Instant, cause: TerminateCause) {
        if let Some(link) = self.live_link() {
            link.terminate(now, cause);
        } else {
            self.end(cause, EndReason::Terminated);
            self.call.disconnect(now);
        }
        self.settle(now);
    }

    /// Takes what the owner's supplicant makes of [`Event::Eap`].
    pub fn handle_supplicant(&mut self, now: Instant, said: PeerStep) {
        if let Some(link) = self.live_link() {
            link.handle_supplicant(now, said);
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
        if let Some(packet) = self.call.poll_opening() {
            out.extend(packet);
            return true;
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

    /// Returns when [`Client::handle_timeout`] wants to be called.
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

    /// Returns how many frames came when they could not be taken.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Returns how many Echo Responses came.
    #[must_use]
    pub const fn echoes(&self) -> u64 {
        self.call.echoes()
    }

    /// Returns the method that was agreed on, once there is one.
    #[must_use]
    pub fn method(&self) -> Option<AuthMethod> {
        self.link.as_ref().and_then(|link| link.auth_method())
    }

    fn handle_data<'a>(
        &mut self,
        now: Instant,
        frame: &'a mut [u8],
        sink: &mut impl PacketSink<'a>,
    ) {
        match classify(frame) {
            Frame::Ipv4 { offset } if self.open => {
                sink.deliver(frame.get_mut(offset..).unwrap_or_default());
                if let Some(link) = self.live_link() {
                    link.heard(now);
                }
            }
            Frame::Control if self.call.takes_ppp() => {
                if let Some(link) = self.live_link() {
                    link.handle_frame(now, frame);
                }
            }
            Frame::Ipv4 { .. } | Frame::Control | Frame::Data | Frame::Runt => {
                self.dropped = self.dropped.saturating_add(1);
            }
        }
    }

    fn live_link(&mut self) -> Option<&mut Link> {
        match self.progress {
            Progress::Connecting | Progress::Network(_) | Progress::Up => self.link.as_deref_mut(),
            Progress::Down => None,
        }
    }

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
            call::Event::Ended { cause, reason } => self.end(cause, reason),
            call::Event::Close => self.events.push_back(Event::Close),
        }
    }

    fn handle_link_event(&mut self, now: Instant, event: ppp::Event) {
        match event {
            // Only servers ask.
            ppp::Event::Authenticate(_) => {}
            ppp::Event::Eap(packet) => self.events.push_back(Event::Eap(packet)),
            ppp::Event::Authenticated { keys } => {
                self.call.handle_keys(now, self.binding_keys(keys));
                self.events.push_back(Event::AuthenticateDone);
            }
            ppp::Event::NetworkUp(network) => {
                self.progress = Progress::Network(network);
                self.call.handle_network_up(now);
            }
            ppp::Event::Down(down) => {
                self.end(down.cause, EndReason::Ppp(down.reason));
                self.call.disconnect(now);
            }
        }
    }

    fn binding_keys(&self, keys: Option<InnerKeys>) -> Option<InnerKeys> {
        match self.method() {
            Some(AuthMethod::Pap | AuthMethod::ChapMd5) => None,
            Some(AuthMethod::MsChapV2 | AuthMethod::Eap) | None => keys,
        }
    }

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
