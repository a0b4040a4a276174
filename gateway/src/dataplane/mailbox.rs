//! How others speak to a thread of the packet path: a queue and a bell.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};

use crate::os::poll::Bell;

/// Messages for one thread, which sleeps in its poller and is woken by the bell.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    messages: Mutex<VecDeque<T>>,
    bell: Bell,
}

impl<T> Mailbox<T> {
    /// The most messages that wait before [`offer`](Self::offer) refuses one.
    const BOUND: usize = 1_024;

    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            messages: Mutex::new(VecDeque::new()),
            bell: Bell::new()?,
        })
    }

    /// Leaves a message unless too many wait; gives it back then.
    pub(crate) fn offer(&self, message: T) -> Result<(), T> {
        {
            let mut messages = self.lock();
            if messages.len() >= Self::BOUND {
                return Err(message);
            }
            messages.push_back(message);
        }
        self.bell.ring();
        Ok(())
    }

    /// Leaves a message of a kind of which each session sends a few at most.
    pub(crate) fn send(&self, message: T) {
        self.lock().push_back(message);
        self.bell.ring();
    }

    /// Takes all messages and silences the bell.
    pub(crate) fn take(&self) -> VecDeque<T> {
        self.bell.silence();
        std::mem::take(&mut *self.lock())
    }

    pub(crate) const fn bell(&self) -> &Bell {
        &self.bell
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<T>> {
        // A queue is whole after every statement, whoever panicked.
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
