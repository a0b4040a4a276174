//! The hello timer ([MS-SSTP] §3.1.2.3, §3.1.6.3).

use std::time::{Duration, Instant};

/// Watches a connected call: after `interval` of silence an Echo Request, after another the call is lost.
///
/// The deadline is lazy: what is heard only notes the time, and the timer finds out when it fires.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keepalive {
    interval: Duration,
    heard: Instant,
    /// An Echo Request is out, and nothing has been heard since.
    asked: bool,
    deadline: Instant,
}

/// What the timer wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hello {
    /// Nothing.
    Wait,
    /// An Echo Request.
    Ask,
    /// The end: nobody answers.
    Lost,
}

impl Keepalive {
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            heard: now,
            asked: false,
            deadline: now + interval,
        }
    }

    /// Notes that a packet was received.
    pub(super) const fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = false;
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Hello {
        if now < self.deadline {
            return Hello::Wait;
        }
        let silent_until = self.heard + self.interval;
        if silent_until > now {
            self.deadline = silent_until;
            Hello::Wait
        } else if self.asked {
            Hello::Lost
        } else {
            self.asked = true;
            self.deadline = now + self.interval;
            Hello::Ask
        }
    }
}
