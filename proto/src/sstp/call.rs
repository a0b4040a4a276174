//! The server's side of a call ([MS-SSTP] §3.3).
//!
//! ```text
//! AwaitRequest    Server_Connect_Request_Pending, negotiation timer from the HTTP response on
//!    -- CALL_CONNECT_REQUEST / CALL_CONNECT_ACK, PPP may begin -->
//! AwaitConnected  Server_Call_Connected_Pending, negotiation timer from the Ack on; no echo extends it
//!    -- CALL_CONNECTED, keys known, binding right -->
//! Connected       Server_Call_Connected, hello timer
//!    -- Abort or Disconnect, ours or the peer's -->
//! Ending          see `teardown`
//! Closed
//! ```
//!
//! Deviates from §3.3.5.2.7: an Echo Request in `AwaitConnected` is answered instead of aborting, at most once a second,
//! because sstp-client and the Android client send it while a second factor is pending. None is sent in that state: a
//! Windows client aborts on it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::attribute::{AttributeId, CryptoBindingRequest, HashProtocol, Status, StatusInfo};
use super::binding::{CONNECTED_LEN, CertificateHashes, Expected, verify_mac};
use super::judge::{judge_request, only_binding};
use super::keepalive::{Hello, Keepalive};
use super::message::{Control, Message, MessageType};
use super::reason::EndReason;
use super::teardown::{Step, Teardown};
use crate::aaa::InnerKeys;
use crate::crypto::Rng;
use crate::terminate::TerminateCause;
use crate::wire::Decode;

/// How many Call Connect Requests are answered with a Nak before the call is aborted ([MS-SSTP] §3.3.5.2.2).
const MAX_NAKS: u8 = 3;
/// How often an Echo Request is answered while connecting.
const ECHO_PAUSE: Duration = Duration::from_secs(1);

/// What rules a call.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// The hashes to offer.
    pub(super) hashes: Vec<HashProtocol>,
    /// The hello timer.
    pub(super) hello_interval: Duration,
    /// From the HTTP response to the Call Connect Request.
    pub(super) connect_request_timeout: Duration,
    /// From the Call Connect Ack to the Call Connected.
    pub(super) call_connected_timeout: Duration,
}

/// What a call reports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Event {
    /// The Call Connect Ack is queued: PPP may begin.
    Accepted,
    /// The binding is right.
    Connected(HashProtocol),
    /// The call is ending by itself; comes at most once, and not for an end that was asked for.
    Ended {
        cause: TerminateCause,
        reason: EndReason,
    },
    /// Close the transport.
    Close,
}

#[derive(Debug)]
enum State {
    AwaitRequest { deadline: Instant, naks: u8 },
    AwaitConnected(Box<AwaitConnected>),
    Connected(Box<Connected>),
    Ending(Teardown),
    Closed,
}

#[derive(Debug)]
struct AwaitConnected {
    deadline: Instant,
    expected: Expected,
    keys: Keys,
    /// A Call Connected that came before the keys were known.
    parked: Option<Parked>,
    /// Until then Echo Requests go unanswered.
    echo_from: Instant,
}

#[derive(Debug)]
enum Keys {
    Unknown,
    Known(Option<InnerKeys>),
}

/// A Call Connected whose MAC has not been checked, though everything else has.
#[derive(Clone, Copy, Debug)]
struct Parked {
    packet: [u8; CONNECTED_LEN],
    hash: HashProtocol,
}

#[derive(Debug)]
struct Connected {
    /// What the client said, to recognise a duplicate.
    packet: [u8; CONNECTED_LEN],
    keepalive: Keepalive,
}

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    config: Config,
    certificate: CertificateHashes,
    state: State,
    /// Messages that go out ahead of PPP.
    opening: VecDeque<Message>,
    /// Messages that go out behind PPP.
    closing: VecDeque<Message>,
    /// An Echo Response is due; any number of requests in one read are answered by one.
    echo_due: bool,
    events: VecDeque<Event>,
}

impl Call {
    pub(super) fn new(config: Config, certificate: CertificateHashes, now: Instant) -> Self {
        let deadline = now + config.connect_request_timeout;
        Self {
            config,
            certificate,
            state: State::AwaitRequest { deadline, naks: 0 },
            opening: VecDeque::new(),
            closing: VecDeque::new(),
            echo_due: false,
            events: VecDeque::new(),
        }
    }

    /// Takes a whole control packet.
    pub(super) fn handle_control(&mut self, now: Instant, rng: &mut Rng, packet: &[u8]) {
        let control = Control::decode_exact(packet);
        match (&mut self.state, control) {
            (State::Closed, _) | (State::Ending(_), Err(_)) => {}
            (State::Ending(teardown), Ok(control)) => match teardown.handle(now, control.kind) {
                Step::Ignore => {}
                Step::Reply(message) => self.closing.push_back(message),
                Step::Close => self.close(),
            },
            (_, Err(_)) => self.abort_invalid(now),
            (State::AwaitRequest { .. }, Ok(control)) => self.while_requested(now, rng, &control),
            (State::AwaitConnected(_), Ok(control)) => self.while_pending(now, &control, packet),
            (State::Connected(_), Ok(control)) => self.while_connected(now, &control, packet),
        }
    }

    /// Notes that anything was received.
    pub(super) const fn heard(&mut self, now: Instant) {
        if let State::Connected(connected) = &mut self.state {
            connected.keepalive.heard(now);
        }
    }

    /// Takes what the inner authentication left; a parked Call Connected is checked now.
    pub(super) fn handle_keys(&mut self, now: Instant, keys: Option<InnerKeys>) {
        let State::AwaitConnected(pending) = &mut self.state else {
            return;
        };
        pending.keys = Keys::Known(keys);
        if let Some(parked) = pending.parked.take() {
            self.connect(now, parked);
        }
    }

    /// Begins the polite end of the call.
    pub(super) fn disconnect(&mut self, now: Instant) {
        match self.state {
            State::AwaitRequest { .. } | State::AwaitConnected(_) | State::Connected(_) => {
                self.end(Teardown::disconnect(now));
            }
            State::Ending(_) | State::Closed => {}
        }
    }

    /// Ends the call without a word: the transport is gone, or about to be.
    pub(super) fn close(&mut self) {
        if !matches!(self.state, State::Closed) {
            self.state = State::Closed;
            self.events.push_back(Event::Close);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match &mut self.state {
            State::AwaitRequest { deadline, .. } if *deadline <= now => {
                self.time_out(now, EndReason::ConnectRequestTimeout);
            }
            State::AwaitConnected(pending) if pending.deadline <= now => {
                self.time_out(now, EndReason::CallConnectedTimeout);
            }
            State::Connected(connected) => match connected.keepalive.handle_timeout(now) {
                Hello::Wait => {}
                Hello::Ask => self.opening.push_back(Message::EchoRequest),
                Hello::Lost => {
                    self.report(TerminateCause::PeerLost, EndReason::HelloTimeout);
                    self.close();
                }
            },
            State::Ending(teardown) if teardown.deadline() <= now => self.close(),
            State::AwaitRequest { .. }
            | State::AwaitConnected(_)
            | State::Ending(_)
            | State::Closed => {}
        }
    }

    /// Takes the next message that goes out ahead of PPP.
    pub(super) fn poll_opening(&mut self) -> Option<Message> {
        self.opening
            .pop_front()
            .or_else(|| core::mem::take(&mut self.echo_due).then_some(Message::EchoResponse))
    }

    /// Takes the next message that goes out when PPP has nothing more to say.
    pub(super) fn poll_closing(&mut self) -> Option<Message> {
        self.closing.pop_front()
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::AwaitRequest { deadline, .. } => Some(*deadline),
            State::AwaitConnected(pending) => Some(pending.deadline),
            State::Connected(connected) => Some(connected.keepalive.deadline()),
            State::Ending(teardown) => Some(teardown.deadline()),
            State::Closed => None,
        }
    }

    /// Returns whether PPP control frames are taken from the client.
    pub(super) const fn takes_ppp(&self) -> bool {
        match self.state {
            State::AwaitConnected(_) | State::Connected(_) => true,
            State::AwaitRequest { .. } | State::Ending(_) | State::Closed => false,
        }
    }

    /// Returns whether PPP control frames go out: also those that are queued ahead of a Disconnect.
    pub(super) fn sends_ppp(&self) -> bool {
        self.takes_ppp()
            || matches!(
                self.closing.front(),
                Some(Message::Disconnect(_) | Message::DisconnectAck)
            )
    }

    pub(super) const fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected(_))
    }

    pub(super) const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// A message in `AwaitRequest`.
    fn while_requested(&mut self, now: Instant, rng: &mut Rng, control: &Control<'_>) {
        match control.kind {
            MessageType::CALL_CONNECT_REQUEST => match judge_request(control) {
                Ok(()) => self.accept(now, rng),
                Err(status) => self.refuse(now, status),
            },
            MessageType::CALL_ABORT => self.aborted(now),
            MessageType::CALL_DISCONNECT => self.disconnected(now),
            MessageType(_) => self.abort_unexpected(now),
        }
    }

    /// A message in `AwaitConnected`.
    fn while_pending(&mut self, now: Instant, control: &Control<'_>, packet: &[u8]) {
        match control.kind {
            MessageType::CALL_CONNECTED => self.connected(now, control, packet),
            MessageType::ECHO_REQUEST => {
                if let State::AwaitConnected(pending) = &mut self.state
                    && pending.echo_from <= now
                {
                    pending.echo_from = now + ECHO_PAUSE;
                    self.echo_due = true;
                }
            }
            MessageType::ECHO_RESPONSE => {}
            MessageType::CALL_ABORT => self.aborted(now),
            MessageType::CALL_DISCONNECT => self.disconnected(now),
            MessageType(_) => self.abort_unexpected(now),
        }
    }

    /// A message in `Connected`.
    fn while_connected(&mut self, now: Instant, control: &Control<'_>, packet: &[u8]) {
        match control.kind {
            MessageType::CALL_CONNECTED => {
                // sstp-client says it twice when pppd's plug-in hands over the keys.
                let State::Connected(connected) = &self.state else {
                    return;
                };
                if packet != connected.packet {
                    self.abort_changed(now);
                }
            }
            MessageType::ECHO_REQUEST => self.echo_due = true,
            MessageType::ECHO_RESPONSE => {}
            MessageType::CALL_ABORT => self.aborted(now),
            MessageType::CALL_DISCONNECT => self.disconnected(now),
            MessageType(_) => self.abort_unexpected(now),
        }
    }

    fn accept(&mut self, now: Instant, rng: &mut Rng) {
        let nonce = rng.array();
        let hashes = self.config.hashes.clone();
        self.opening
            .push_back(Message::ConnectAck(CryptoBindingRequest {
                hashes: HashProtocol::mask(&hashes),
                nonce,
            }));
        self.state = State::AwaitConnected(Box::new(AwaitConnected {
            deadline: now + self.config.call_connected_timeout,
            expected: Expected {
                hashes,
                nonce,
                certificate: self.certificate,
            },
            keys: Keys::Unknown,
            parked: None,
            echo_from: now,
        }));
        self.events.push_back(Event::Accepted);
    }

    fn refuse(&mut self, now: Instant, status: StatusInfo) {
        let State::AwaitRequest { naks, .. } = &mut self.state else {
            return;
        };
        if *naks < MAX_NAKS {
            *naks = naks.saturating_add(1);
            self.opening.push_back(Message::ConnectNak(status));
        } else {
            let status = StatusInfo::new(AttributeId::STATUS_INFO, Status::RETRY_COUNT_EXCEEDED);
            self.abort(now, status, EndReason::RetryCountExceeded);
        }
    }

    /// A Call Connected in `AwaitConnected`: everything is checked that can be, the rest when the keys are known.
    fn connected(&mut self, now: Instant, control: &Control<'_>, packet: &[u8]) {
        let State::AwaitConnected(pending) = &mut self.state else {
            return;
        };
        if let Some(parked) = &pending.parked {
            if packet != parked.packet {
                self.abort_changed(now);
            }
            return;
        }
        let (Some(binding), Ok(packet)) = (only_binding(control), packet.try_into()) else {
            let status = StatusInfo::new(
                AttributeId::STATUS_INFO,
                Status::ATTRIB_NOT_SUPPORTED_IN_MSG,
            );
            self.abort(now, status, EndReason::BindingMissing);
            return;
        };
        match pending.expected.check(&binding) {
            Err(mismatch) => self.abort_binding(now, EndReason::Binding(mismatch)),
            Ok(hash) => {
                let parked = Parked { packet, hash };
                match pending.keys {
                    Keys::Unknown => pending.parked = Some(parked),
                    Keys::Known(_) => self.connect(now, parked),
                }
            }
        }
    }

    /// Checks the MAC: the last step to `Connected`.
    fn connect(&mut self, now: Instant, parked: Parked) {
        let State::AwaitConnected(pending) = &self.state else {
            return;
        };
        let Keys::Known(keys) = &pending.keys else {
            return;
        };
        if let Err(mismatch) = verify_mac(parked.hash, &parked.packet, keys.as_ref()) {
            self.abort_binding(now, EndReason::Binding(mismatch));
            return;
        }
        self.state = State::Connected(Box::new(Connected {
            packet: parked.packet,
            keepalive: Keepalive::new(self.config.hello_interval, now),
        }));
        self.events.push_back(Event::Connected(parked.hash));
    }

    fn aborted(&mut self, now: Instant) {
        self.report(TerminateCause::UserRequest, EndReason::PeerAbort);
        self.end(Teardown::aborted(now));
    }

    fn disconnected(&mut self, now: Instant) {
        self.report(TerminateCause::UserRequest, EndReason::PeerDisconnect);
        self.end(Teardown::disconnected(now));
    }

    fn time_out(&mut self, now: Instant, reason: EndReason) {
        let status = StatusInfo::new(AttributeId::STATUS_INFO, Status::NEGOTIATION_TIMEOUT);
        self.report(TerminateCause::PeerLost, reason);
        self.end(Teardown::abort(now, status));
    }

    fn abort_unexpected(&mut self, now: Instant) {
        let status = StatusInfo::new(AttributeId::STATUS_INFO, Status::UNACCEPTED_FRAME_RECEIVED);
        self.abort(now, status, EndReason::UnexpectedMessage);
    }

    fn abort_invalid(&mut self, now: Instant) {
        let status = StatusInfo::new(AttributeId::STATUS_INFO, Status::INVALID_FRAME_RECEIVED);
        self.abort(now, status, EndReason::InvalidMessage);
    }

    fn abort_changed(&mut self, now: Instant) {
        self.abort_binding(now, EndReason::BindingChanged);
    }

    fn abort_binding(&mut self, now: Instant, reason: EndReason) {
        let status = StatusInfo::new(AttributeId::CRYPTO_BINDING, Status::VALUE_NOT_SUPPORTED);
        self.abort(now, status, reason);
    }

    fn abort(&mut self, now: Instant, status: StatusInfo, reason: EndReason) {
        self.report(TerminateCause::ProtocolError, reason);
        self.end(Teardown::abort(now, status));
    }

    fn report(&mut self, cause: TerminateCause, reason: EndReason) {
        self.events.push_back(Event::Ended { cause, reason });
    }

    fn end(&mut self, (teardown, message): (Teardown, Message)) {
        self.closing.push_back(message);
        self.state = State::Ending(teardown);
    }
}

#[cfg(test)]
mod tests;
