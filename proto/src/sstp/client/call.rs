//! The client's side of a call ([MS-SSTP] §3.2).
//!
//! ```text
//! AwaitAck     Client_Connect_Request_Sent, negotiation timer
//!    -- CALL_CONNECT_ACK, PPP may begin -->
//! AwaitKeys    Client_Connect_Ack_Received, negotiation timer; an Echo Request aborts, as it does with Windows
//!    -- inner authentication done / CALL_CONNECTED -->
//! Connected    Client_Call_Connected, hello timer
//! Ending       see `teardown`
//! Closed
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::faults::{
    BindingFault, ConnectedFault, DataFault, EchoFault, EndFault, Faults, RequestFault,
};
use super::packets::{call_connected, connect_request, early_data};
use crate::aaa::InnerKeys;
use crate::sstp::attribute::{AttributeId, CryptoBindingRequest, HashProtocol, Status, StatusInfo};
use crate::sstp::binding::CertificateHashes;
use crate::sstp::keepalive::{Hello, Keepalive};
use crate::sstp::message::Message;
use crate::sstp::reason::EndReason;
use crate::sstp::teardown::{Step, Teardown};
use crate::terminate::TerminateCause;
use crate::wire::Decode;

/// Both negotiation timers ([MS-SSTP] §3.2.2.1).
const NEGOTIATION: Duration = Duration::from_secs(60);
/// The patience of a client that wants to see what the server does.
const FOREVER: Duration = Duration::from_secs(86_400);
/// How often the request is sent ([MS-SSTP] §3.2.5.3.3).
const MAX_REQUESTS: u8 = 3;

/// What a call reports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Event {
    /// The server agreed: PPP may begin.
    Accepted,
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
    AwaitAck {
        deadline: Instant,
        requests: u8,
    },
    AwaitKeys {
        deadline: Instant,
        request: CryptoBindingRequest,
        keys: Option<InnerKeys>,
    },
    Connected(Keepalive),
    Ending(Teardown),
    Closed,
}

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    certificate: CertificateHashes,
    preferred: HashProtocol,
    hello_interval: Duration,
    faults: Faults,
    state: State,
    /// Whole packets that go out ahead of PPP.
    opening: VecDeque<Vec<u8>>,
    /// Messages that go out behind PPP.
    closing: VecDeque<Message>,
    echoes: u64,
    events: VecDeque<Event>,
}

impl Call {
    pub(super) fn new(config: &super::Config, now: Instant) -> Self {
        let faults = config.faults;
        Self {
            certificate: config.certificate,
            preferred: config.preferred,
            hello_interval: config.hello_interval,
            faults,
            state: State::AwaitAck {
                deadline: now + NEGOTIATION,
                requests: 1,
            },
            opening: connect_request(faults.request).into_iter().collect(),
            closing: VecDeque::new(),
            echoes: 0,
            events: VecDeque::new(),
        }
    }

    /// Takes a whole control packet.
    pub(super) fn handle_control(&mut self, now: Instant, packet: &[u8]) {
        let message = Message::decode_exact(packet);
        match (&mut self.state, message) {
            (State::Closed, _) | (State::Ending(_), Err(_)) => {}
            (State::Ending(_), Ok(_)) if self.faults.end == EndFault::Mute => {}
            (State::Ending(teardown), Ok(message)) => match teardown.handle(now, message.kind()) {
                Step::Ignore => {}
                Step::Reply(message) => self.closing.push_back(message),
                Step::Close => self.close(),
            },
            (_, Err(_)) => self.abort(
                now,
                Status::INVALID_FRAME_RECEIVED,
                EndReason::InvalidMessage,
            ),
            (_, Ok(Message::Abort(_))) => {
                self.report(TerminateCause::UserRequest, EndReason::PeerAbort);
                self.answer_end(Teardown::aborted(now));
            }
            (_, Ok(Message::Disconnect(_))) => {
                self.report(TerminateCause::UserRequest, EndReason::PeerDisconnect);
                self.answer_end(Teardown::disconnected(now));
            }
            (State::AwaitAck { .. }, Ok(Message::ConnectAck(request))) => {
                self.accept(now, request);
            }
            (State::AwaitAck { requests, .. }, Ok(Message::ConnectNak(_))) => {
                *requests = requests.saturating_add(1);
                if *requests > MAX_REQUESTS && self.faults.request == RequestFault::None {
                    self.abort(
                        now,
                        Status::RETRY_COUNT_EXCEEDED,
                        EndReason::RetryCountExceeded,
                    );
                } else {
                    self.opening.extend(connect_request(self.faults.request));
                }
            }
            (State::AwaitKeys { .. } | State::Connected(_), Ok(Message::EchoResponse)) => {
                self.echoes = self.echoes.saturating_add(1);
            }
            (State::Connected(_), Ok(Message::EchoRequest)) => {
                if self.faults.echo != EchoFault::Deaf {
                    self.opening.push_back(Message::EchoResponse.to_bytes());
                }
            }
            (State::AwaitAck { .. } | State::AwaitKeys { .. } | State::Connected(_), Ok(_)) => {
                self.abort(
                    now,
                    Status::UNACCEPTED_FRAME_RECEIVED,
                    EndReason::UnexpectedMessage,
                );
            }
        }
    }

    /// Notes that anything was received.
    pub(super) const fn heard(&mut self, now: Instant) {
        if let State::Connected(keepalive) = &mut self.state {
            keepalive.heard(now);
        }
    }

    /// Takes what the inner authentication left, and says Call Connected.
    pub(super) fn handle_keys(&mut self, now: Instant, new: Option<InnerKeys>) {
        if let State::AwaitKeys { keys, .. } = &mut self.state {
            *keys = new;
        }
        if self.faults.data == DataFault::BeforeConnected {
            self.opening.push_back(early_data());
        }
        match self.faults.connected {
            ConnectedFault::Never | ConnectedFault::AtNetworkUp => {}
            ConnectedFault::None
            | ConnectedFault::Early
            | ConnectedFault::Twice
            | ConnectedFault::TwiceDifferent => self.connect(now),
        }
    }

    /// Notes that IPCP is open.
    pub(super) fn handle_network_up(&mut self, now: Instant) {
        if self.faults.connected == ConnectedFault::AtNetworkUp {
            self.connect(now);
        }
    }

    /// Begins the polite end of the call.
    pub(super) fn disconnect(&mut self, now: Instant) {
        match self.state {
            State::AwaitAck { .. } | State::AwaitKeys { .. } | State::Connected(_) => {
                self.end(Teardown::disconnect(now));
            }
            State::Ending(_) | State::Closed => {}
        }
    }

    /// Ends the call without a word.
    pub(super) fn close(&mut self) {
        if !matches!(self.state, State::Closed) {
            self.state = State::Closed;
            self.events.push_back(Event::Close);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match &mut self.state {
            State::AwaitAck { deadline, .. } if *deadline <= now => {
                self.time_out(now, EndReason::ConnectRequestTimeout);
            }
            State::AwaitKeys { deadline, .. } if *deadline <= now => {
                self.time_out(now, EndReason::CallConnectedTimeout);
            }
            State::Connected(keepalive) => match keepalive.handle_timeout(now) {
                Hello::Wait => {}
                Hello::Ask => self.opening.push_back(Message::EchoRequest.to_bytes()),
                Hello::Lost => {
                    self.report(TerminateCause::PeerLost, EndReason::HelloTimeout);
                    self.close();
                }
            },
            State::Ending(teardown) if teardown.deadline() <= now => self.close(),
            State::AwaitAck { .. } | State::AwaitKeys { .. } | State::Ending(_) | State::Closed => {
            }
        }
    }

    pub(super) fn poll_opening(&mut self) -> Option<Vec<u8>> {
        self.opening.pop_front()
    }

    pub(super) fn poll_closing(&mut self) -> Option<Message> {
        self.closing.pop_front()
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::AwaitAck { deadline, .. } | State::AwaitKeys { deadline, .. } => Some(*deadline),
            State::Connected(keepalive) => Some(keepalive.deadline()),
            State::Ending(teardown) => Some(teardown.deadline()),
            State::Closed => None,
        }
    }

    pub(super) const fn takes_ppp(&self) -> bool {
        matches!(self.state, State::AwaitKeys { .. } | State::Connected(_))
    }

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

    /// Returns how many Echo Responses came.
    pub(super) const fn echoes(&self) -> u64 {
        self.echoes
    }

    fn accept(&mut self, now: Instant, request: CryptoBindingRequest) {
        let patience = match self.faults.connected {
            ConnectedFault::Never => FOREVER,
            ConnectedFault::None
            | ConnectedFault::Early
            | ConnectedFault::AtNetworkUp
            | ConnectedFault::Twice
            | ConnectedFault::TwiceDifferent => NEGOTIATION,
        };
        self.state = State::AwaitKeys {
            deadline: now + patience,
            request,
            keys: None,
        };
        self.events.push_back(Event::Accepted);
        if self.faults.request == RequestFault::Again {
            self.opening.extend(connect_request(RequestFault::None));
        }
        if self.faults.data == DataFault::BeforeLogin {
            self.opening.push_back(early_data());
        }
        if self.faults.echo == EchoFault::WhileConnecting {
            self.opening.push_back(Message::EchoRequest.to_bytes());
        }
        if self.faults.connected == ConnectedFault::Early
            && let Some(packet) = self.binding(&request, None, self.faults.binding)
        {
            self.opening.push_back(packet);
        }
    }

    /// Says Call Connected.
    fn connect(&mut self, now: Instant) {
        let State::AwaitKeys { request, keys, .. } = &self.state else {
            return;
        };
        let Some(packet) = self.binding(request, keys.as_ref(), self.faults.binding) else {
            self.abort(now, Status::VALUE_NOT_SUPPORTED, EndReason::BindingMissing);
            return;
        };
        let second = match self.faults.connected {
            ConnectedFault::Twice => Some(packet.clone()),
            ConnectedFault::TwiceDifferent => {
                self.binding(request, keys.as_ref(), BindingFault::WrongMac)
            }
            ConnectedFault::None
            | ConnectedFault::Never
            | ConnectedFault::Early
            | ConnectedFault::AtNetworkUp => None,
        };
        if self.faults.connected != ConnectedFault::Early {
            self.opening.push_back(packet);
        }
        self.opening.extend(second);
        let interval = match self.faults.echo {
            EchoFault::Deaf => FOREVER,
            EchoFault::None | EchoFault::WhileConnecting => self.hello_interval,
        };
        self.state = State::Connected(Keepalive::new(interval, now));
    }

    /// Returns the packet; `None` when the server offers no hash that exists.
    fn binding(
        &self,
        request: &CryptoBindingRequest,
        keys: Option<&InnerKeys>,
        fault: BindingFault,
    ) -> Option<Vec<u8>> {
        let hash = [self.preferred]
            .into_iter()
            .chain(HashProtocol::ALL)
            .find(|hash| request.hashes & hash.bit() != 0)?;
        Some(call_connected(
            request.nonce,
            hash,
            &self.certificate,
            keys,
            fault,
        ))
    }

    fn time_out(&mut self, now: Instant, reason: EndReason) {
        let status = StatusInfo::new(AttributeId::STATUS_INFO, Status::NEGOTIATION_TIMEOUT);
        self.report(TerminateCause::PeerLost, reason);
        self.end(Teardown::abort(now, status));
    }

    fn abort(&mut self, now: Instant, status: Status, reason: EndReason) {
        self.report(TerminateCause::ProtocolError, reason);
        let status = StatusInfo::new(AttributeId::STATUS_INFO, status);
        self.end(Teardown::abort(now, status));
    }

    fn report(&mut self, cause: TerminateCause, reason: EndReason) {
        self.events.push_back(Event::Ended { cause, reason });
    }

    fn end(&mut self, (teardown, message): (Teardown, Message)) {
        self.closing.push_back(message);
        self.state = State::Ending(teardown);
    }

    /// Begins an end that the server asked for.
    fn answer_end(&mut self, (teardown, message): (Teardown, Message)) {
        if self.faults.end == EndFault::None {
            self.closing.push_back(message);
        }
        self.state = State::Ending(teardown);
    }
}
