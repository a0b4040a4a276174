//! The automaton with everything that it needs to run: restart timer, counters, identifiers, the last request.
//!
//! A [`ControlProtocol`] says what to ask for and what to think of the peer's wishes; [`Negotiation`] does the rest.
//!
//! Deviates from RFC 1661 in three points. A request that is sent again keeps its identifier, and a second answer to it
//! is dropped (RFC 1661 §4.3 would renegotiate when both answers to a repeated request arrive). A request that repeats
//! the last acknowledged one is acknowledged again without a change of state. And a negotiation ends after
//! [`MAX_ROUNDS`] packets, whatever they say.

use std::time::{Duration, Instant};

use super::automaton::{self, Action, Event, State};
use super::config::Config;
use super::control::{Code, HEADER, Options, Packet};
use super::control_protocol::{ControlProtocol, Judgement, Patience};
use super::event::DownReason;
use super::outbox::Outbox;

/// How many Configure packets the peer may send until the layer opens.
pub(crate) const MAX_ROUNDS: u8 = 60;

/// How many Code-Rejects a layer sends in its life.
const MAX_CODE_REJECTS: u8 = 5;

/// The largest reply, whatever the peer says it takes.
pub(crate) const MAX_REPLY: u16 = 1500;

/// What a packet or a timer did to the layer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Progress {
    /// Nothing that others must know.
    None,
    /// The layer is up.
    Up,
    /// The layer was up and negotiates anew or closes.
    Down,
    /// The layer has ended.
    Finished,
    /// It cannot go on.
    Failed(DownReason),
}

/// The numbers of RFC 1661 §4.6.
#[derive(Clone, Copy, Debug)]
struct Settings {
    restart_first: Duration,
    restart: Duration,
    max_configure: u8,
    max_terminate: u8,
    max_failure: u8,
}

/// Our request that is out.
#[derive(Debug, Default)]
struct Request {
    identifier: u8,
    options: Vec<u8>,
    answered: bool,
}

/// What has been counted.
#[derive(Debug, Default)]
struct Counters {
    restart: u8,
    naks: u8,
    rounds: u8,
    code_rejects: u8,
}

/// One control protocol's conversation.
#[derive(Debug)]
pub(crate) struct Negotiation<P> {
    /// The options.
    pub(crate) protocol: P,
    state: State,
    settings: Settings,
    timer: Option<Instant>,
    counters: Counters,
    request: Request,
    /// The identifier and the options of the peer's request that we acknowledged last.
    acknowledged: Option<(u8, Vec<u8>)>,
}

/// A packet that an action may send.
type Reply<'a> = (Code, u8, &'a [u8]);

impl<P: ControlProtocol> Negotiation<P> {
    /// Starts in `Initial`.
    pub(crate) fn new(protocol: P, config: &Config) -> Self {
        Self {
            protocol,
            state: State::Initial,
            settings: Settings {
                restart_first: config.restart_first,
                restart: config.restart,
                max_configure: config.max_configure.max(1),
                max_terminate: config.max_terminate.max(1),
                max_failure: config.max_failure,
            },
            timer: None,
            counters: Counters::default(),
            // The first request then has identifier 0, as that of Windows.
            request: Request {
                identifier: u8::MAX,
                ..Request::default()
            },
            acknowledged: None,
        }
    }

    /// The lower layer is there and we want to open.
    pub(crate) fn start(&mut self, now: Instant, out: &mut Outbox) {
        for event in [Event::Open, Event::Up] {
            self.apply(now, event, None, out);
        }
    }

    /// Asks the peer to end.
    pub(crate) fn close(&mut self, now: Instant, out: &mut Outbox) -> Progress {
        self.apply(now, Event::Close, None, out)
    }

    /// Returns whether the layer is up.
    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Opened
    }

    /// Returns whether an answer to our Terminate-Request, or the pause after the peer's, is awaited.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing | State::Stopping)
    }

    /// Returns when the restart timer fires.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.timer
    }

    /// Returns whether the packet is a request that was acknowledged before, octet by octet.
    pub(crate) fn repeats_acknowledged(&self, packet: &Packet<'_>) -> bool {
        Code(packet.code) == Code::CONFIGURE_REQUEST
            && self
                .acknowledged
                .as_ref()
                .is_some_and(|(_, options)| options == packet.data)
    }

    /// Returns whether the packet is our own request, sent back to us.
    pub(crate) fn is_own_request(&self, packet: &Packet<'_>) -> bool {
        Code(packet.code) == Code::CONFIGURE_REQUEST
            && packet.identifier == self.request.identifier
            && packet.data == self.request.options
    }

    /// Answers [`Negotiation::repeats_acknowledged`].
    pub(crate) fn acknowledge_again(packet: &Packet<'_>, out: &mut Outbox) {
        out.control(
            P::PROTOCOL,
            Code::CONFIGURE_ACK.0,
            packet.identifier,
            packet.data,
        );
    }

    /// Looks at the restart timer.
    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) -> Progress {
        if self.timer.is_none_or(|deadline| deadline > now) {
            return Progress::None;
        }
        self.timer = None;
        let event = if self.counters.restart > 0 {
            Event::TimeoutMore
        } else {
            Event::TimeoutLast
        };
        self.apply(now, event, None, out)
    }

    /// Takes a packet with one of the codes 1 to 7; `mru` is the largest frame that the peer takes.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        mru: u16,
        out: &mut Outbox,
    ) -> Progress {
        let code = Code(packet.code);
        let terminate_ack: Reply<'_> = (Code::TERMINATE_ACK, packet.identifier, &[]);
        match code {
            Code::CONFIGURE_REQUEST => self.handle_request(now, packet, budget(mru), out),
            Code::CONFIGURE_ACK | Code::CONFIGURE_NAK | Code::CONFIGURE_REJECT => {
                self.handle_answer(now, packet, out)
            }
            Code::TERMINATE_REQUEST => {
                self.apply(now, Event::TerminateRequest, Some(terminate_ack), out)
            }
            Code::TERMINATE_ACK => self.apply(now, Event::TerminateAck, None, out),
            Code::CODE_REJECT => {
                let fatal = packet
                    .data
                    .first()
                    .is_some_and(|code| (1..=7).contains(code));
                self.handle_reject(now, fatal, out)
            }
            _ => Progress::None,
        }
    }

    /// The peer does not know a code of ours or this protocol.
    pub(crate) fn handle_reject(
        &mut self,
        now: Instant,
        fatal: bool,
        out: &mut Outbox,
    ) -> Progress {
        let event = if fatal {
            Event::FatalReject
        } else {
            Event::HarmlessReject
        };
        self.apply(now, event, None, out)
    }

    /// Takes a packet with a code that this protocol does not have; `bytes` is the whole packet.
    pub(crate) fn handle_unknown(
        &mut self,
        now: Instant,
        bytes: &[u8],
        mru: u16,
        out: &mut Outbox,
    ) {
        // Android takes a Code-Reject as fatal, so a peer that has not even opened the layer is spared.
        if !self.is_open() || self.counters.code_rejects >= MAX_CODE_REJECTS {
            return;
        }
        self.counters.code_rejects = self.counters.code_rejects.saturating_add(1);
        let identifier = self
            .request
            .identifier
            .wrapping_add(self.counters.code_rejects);
        let data = bytes.get(..budget(mru)).unwrap_or(bytes);
        let reply = (Code::CODE_REJECT, identifier, data);
        self.apply(now, Event::UnknownCode, Some(reply), out);
    }

    fn handle_request(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        budget: usize,
        out: &mut Outbox,
    ) -> Progress {
        match self.state {
            State::Initial | State::Starting | State::Closing | State::Stopping => {
                return Progress::None;
            }
            State::Closed => {
                let reply = (Code::TERMINATE_ACK, packet.identifier, &[][..]);
                return self.apply(now, Event::BadRequest, Some(reply), out);
            }
            State::Stopped | State::ReqSent | State::AckRcvd | State::AckSent | State::Opened => {}
        }
        let Ok(options) = Options::new(packet.data) else {
            return Progress::None;
        };
        let retransmitted = (packet.identifier, packet.data);
        if self.is_open()
            && self
                .acknowledged
                .as_ref()
                .map(|(id, options)| (*id, options.as_slice()))
                == Some(retransmitted)
        {
            Self::acknowledge_again(packet, out);
            return Progress::None;
        }
        if let Some(failed) = self.count_round() {
            return failed;
        }
        let patience = if self.counters.naks < self.settings.max_failure {
            Patience::Left
        } else {
            Patience::Exhausted
        };
        let (event, code, mut answer) = match self.protocol.judge(options, patience) {
            Judgement::Ack => (
                Event::GoodRequest,
                Code::CONFIGURE_ACK,
                packet.data.to_vec(),
            ),
            Judgement::Nak(options) => {
                self.counters.naks = self.counters.naks.saturating_add(1);
                (Event::BadRequest, Code::CONFIGURE_NAK, options)
            }
            Judgement::Reject(options) => (Event::BadRequest, Code::CONFIGURE_REJECT, options),
            Judgement::Hopeless(reason) => return Progress::Failed(reason),
        };
        if event == Event::GoodRequest {
            self.counters.naks = 0;
            self.acknowledged = Some((packet.identifier, packet.data.to_vec()));
        } else {
            shorten(&mut answer, budget);
        }
        let reply = (code, packet.identifier, answer.as_slice());
        self.apply(now, event, Some(reply), out)
    }

    fn handle_answer(&mut self, now: Instant, packet: &Packet<'_>, out: &mut Outbox) -> Progress {
        match self.state {
            State::Initial | State::Starting | State::Closing | State::Stopping => {
                return Progress::None;
            }
            State::Closed | State::Stopped => {
                let reply = (Code::TERMINATE_ACK, packet.identifier, &[][..]);
                return self.apply(now, Event::ConfigureAck, Some(reply), out);
            }
            State::ReqSent | State::AckRcvd | State::AckSent | State::Opened => {}
        }
        if self.request.answered || packet.identifier != self.request.identifier {
            return Progress::None;
        }
        let Ok(options) = Options::new(packet.data) else {
            return Progress::None;
        };
        if let Some(failed) = self.count_round() {
            return failed;
        }
        let taken = match Code(packet.code) {
            Code::CONFIGURE_ACK if packet.data != self.request.options => return Progress::None,
            Code::CONFIGURE_ACK => Ok(Event::ConfigureAck),
            Code::CONFIGURE_NAK => self.protocol.naked(options).map(|()| Event::ConfigureNak),
            _ => self
                .protocol
                .rejected(options)
                .map(|()| Event::ConfigureNak),
        };
        match taken {
            Ok(event) => {
                self.request.answered = true;
                self.apply(now, event, None, out)
            }
            Err(reason) => Progress::Failed(reason),
        }
    }

    /// Counts one Configure packet; the negotiation fails at the limit.
    fn count_round(&mut self) -> Option<Progress> {
        self.counters.rounds = self.counters.rounds.saturating_add(1);
        (self.counters.rounds > MAX_ROUNDS).then_some(Progress::Failed(P::LOOP))
    }

    /// Does what the table says.
    fn apply(
        &mut self,
        now: Instant,
        event: Event,
        reply: Option<Reply<'_>>,
        out: &mut Outbox,
    ) -> Progress {
        let Some((actions, next)) = automaton::transition(event, self.state) else {
            return Progress::None;
        };
        let again = event == Event::TimeoutMore;
        let mut progress = Progress::None;
        for action in actions {
            match action {
                Action::Tlu => {
                    self.counters.rounds = 0;
                    progress = Progress::Up;
                }
                Action::Tld => progress = Progress::Down,
                Action::Tls => {}
                Action::Tlf => progress = Progress::Finished,
                Action::Irc => {
                    self.counters.restart = if actions.contains(&Action::Str) {
                        self.settings.max_terminate
                    } else {
                        self.settings.max_configure
                    };
                }
                Action::Zrc => {
                    self.counters.restart = 0;
                    self.timer = Some(now + self.settings.restart_first);
                }
                Action::Scr => self.send_request(now, again, out),
                Action::Str => self.send_terminate(now, out),
                Action::Sca | Action::Scn | Action::Sta | Action::Scj => {
                    if let Some((code, identifier, data)) = reply {
                        out.control(P::PROTOCOL, code.0, identifier, data);
                    }
                }
                // The link answers Echo-Requests itself.
                Action::Ser => {}
            }
        }
        self.state = next;
        match next {
            State::Initial | State::Starting | State::Closed | State::Stopped | State::Opened => {
                self.timer = None;
            }
            State::Closing | State::Stopping => {}
            State::ReqSent | State::AckRcvd | State::AckSent => {}
        }
        progress
    }

    fn send_request(&mut self, now: Instant, again: bool, out: &mut Outbox) {
        // Sent again, the request keeps its identifier as long as nobody has answered it.
        if !again || self.request.answered {
            self.request.identifier = self.request.identifier.wrapping_add(1);
            self.request.options.clear();
            self.protocol.request(&mut self.request.options);
            self.request.answered = false;
        }
        out.control(
            P::PROTOCOL,
            Code::CONFIGURE_REQUEST.0,
            self.request.identifier,
            &self.request.options,
        );
        self.counters.restart = self.counters.restart.saturating_sub(1);
        let pause = if again {
            self.settings.restart
        } else {
            self.settings.restart_first
        };
        self.timer = Some(now + pause);
    }

    fn send_terminate(&mut self, now: Instant, out: &mut Outbox) {
        self.request.identifier = self.request.identifier.wrapping_add(1);
        self.request.answered = true;
        out.control(
            P::PROTOCOL,
            Code::TERMINATE_REQUEST.0,
            self.request.identifier,
            &[],
        );
        self.counters.restart = self.counters.restart.saturating_sub(1);
        self.timer = Some(now + self.settings.restart_first);
    }
}

/// Returns how many octets of data a reply may have.
pub(crate) fn budget(mru: u16) -> usize {
    usize::from(mru.min(MAX_REPLY)).saturating_sub(HEADER)
}

/// Leaves off the options that exceed the budget; the peer hears of them in the next round.
fn shorten(options: &mut Vec<u8>, budget: usize) {
    if options.len() <= budget {
        return;
    }
    let Ok(all) = Options::new(options) else {
        return;
    };
    let fits = all.iter().try_fold(0usize, |sum, option| {
        let sum_with = sum.saturating_add(option.value.len()).saturating_add(2);
        if sum_with > budget {
            Err(sum)
        } else {
            Ok(sum_with)
        }
    });
    let (Ok(fits) | Err(fits)) = fits;
    options.truncate(fits);
}
