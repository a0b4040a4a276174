//! How a call ends, the same for both sides ([MS-SSTP] §3.1.2.1, §3.1.2.2).
//!
//! ```text
//! abort:       send Abort      -- T1 3 s --> peer's Abort   -- T2 1 s --> close
//! aborted:     answer Abort                                 -- T2 1 s --> close
//! disconnect:  send Disconnect -- T1 5 s --> its Ack               -----> close
//! hung up:     answer with Ack                              -- T2 1 s --> close
//! ```
//!
//! Every other message is ignored from here on, and so is PPP.

use std::time::{Duration, Instant};

use super::attribute::StatusInfo;
use super::message::{Message, MessageType};

/// How long an Abort waits for the peer's ([MS-SSTP] §3.1.2.1).
const ABORT_T1: Duration = Duration::from_secs(3);
/// How long the transport stays open behind both Aborts.
const ABORT_T2: Duration = Duration::from_secs(1);
/// How long a Disconnect waits for its acknowledgement ([MS-SSTP] §3.1.2.2).
const DISCONNECT_T1: Duration = Duration::from_secs(5);
/// How long the transport stays open behind an acknowledged Disconnect.
const DISCONNECT_T2: Duration = Duration::from_secs(1);

/// Where in its end a call is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// `Call_Abort_Pending`.
    AbortSent,
    /// `Call_Abort_Timeout_Pending`.
    Aborted,
    /// `Call_Disconnect_Ack_Pending`.
    DisconnectSent,
    /// `Call_Disconnect_Timeout_Pending`.
    Disconnected,
}

/// The end of a call in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Teardown {
    phase: Phase,
    deadline: Instant,
}

/// What a message means to a call that is ending.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing.
    Ignore,
    /// This is the answer.
    Reply(Message),
    /// It was the last thing to wait for.
    Close,
}

impl Teardown {
    /// Begins with an Abort of ours.
    pub(super) fn abort(now: Instant, status: StatusInfo) -> (Self, Message) {
        let teardown = Self::new(Phase::AbortSent, now, ABORT_T1);
        (teardown, Message::Abort(status))
    }

    /// Begins with the peer's Abort.
    pub(super) fn aborted(now: Instant) -> (Self, Message) {
        let teardown = Self::new(Phase::Aborted, now, ABORT_T2);
        (teardown, Message::Abort(StatusInfo::CLEAN))
    }

    /// Begins with a Disconnect of ours.
    pub(super) fn disconnect(now: Instant) -> (Self, Message) {
        let teardown = Self::new(Phase::DisconnectSent, now, DISCONNECT_T1);
        (teardown, Message::Disconnect(StatusInfo::CLEAN))
    }

    /// Begins with the peer's Disconnect.
    pub(super) fn disconnected(now: Instant) -> (Self, Message) {
        let teardown = Self::new(Phase::Disconnected, now, DISCONNECT_T2);
        (teardown, Message::DisconnectAck)
    }

    /// Takes a message of the type `kind`.
    pub(super) fn handle(&mut self, now: Instant, kind: MessageType) -> Step {
        match (self.phase, kind) {
            (Phase::AbortSent, MessageType::CALL_ABORT) => {
                *self = Self::new(Phase::Aborted, now, ABORT_T2);
                Step::Ignore
            }
            (Phase::DisconnectSent, MessageType::CALL_ABORT) => {
                let (next, message) = Self::aborted(now);
                *self = next;
                Step::Reply(message)
            }
            // Both hung up at once.
            (Phase::DisconnectSent, MessageType::CALL_DISCONNECT) => {
                let (next, message) = Self::disconnected(now);
                *self = next;
                Step::Reply(message)
            }
            (Phase::DisconnectSent | Phase::Disconnected, MessageType::CALL_DISCONNECT_ACK) => {
                Step::Close
            }
            (
                Phase::AbortSent | Phase::Aborted | Phase::DisconnectSent | Phase::Disconnected,
                MessageType(_),
            ) => Step::Ignore,
        }
    }

    /// Returns when the transport is closed whatever the peer does.
    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
    }

    fn new(phase: Phase, now: Instant, wait: Duration) -> Self {
        Self {
            phase,
            deadline: now + wait,
        }
    }
}
