//! Frames that wait to be sent.

use std::collections::VecDeque;

use super::control;
use super::frame::{self, Protocol};

/// Whole frames in order. A peer that makes us answer but does not read is not heard any more.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    frames: VecDeque<Vec<u8>>,
}

impl Outbox {
    /// More frames than any exchange leaves unread; beyond it nothing is taken from the peer.
    const FULL: usize = 64;

    /// The largest information that an SSTP packet carries behind `FF 03` and the protocol.
    pub(crate) const MAX_INFORMATION: usize = 4087;

    /// Queues a control packet.
    pub(crate) fn control(&mut self, protocol: Protocol, code: u8, identifier: u8, data: &[u8]) {
        let mut frame = frame::header(protocol).to_vec();
        control::append(&mut frame, code, identifier, data);
        self.frames.push_back(frame);
    }

    /// Queues information as it is.
    pub(crate) fn information(&mut self, protocol: Protocol, information: &[u8]) {
        let mut frame = frame::header(protocol).to_vec();
        frame.extend(information);
        self.frames.push_back(frame);
    }

    /// Returns whether the peer leaves too much unread.
    pub(crate) fn is_full(&self) -> bool {
        self.frames.len() >= Self::FULL
    }

    /// Appends the oldest frame to `out`; false when there is none.
    pub(crate) fn pop(&mut self, out: &mut Vec<u8>) -> bool {
        match self.frames.pop_front() {
            Some(frame) => {
                out.extend(frame);
                true
            }
            None => false,
        }
    }
}
