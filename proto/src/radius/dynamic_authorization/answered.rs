//! What was answered to which request (RFC 5176 §2.3: a duplicate gets the same answer and does nothing).

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::WINDOW;

/// Twice the window: a request whose clock is ahead by all of it can be sent again for so long.
const KEPT: Duration = Duration::from_secs(WINDOW.as_secs() * 2 + 1);
/// How many answers are kept. All of them went to who knows the secret.
const MAX: usize = 8192;

/// Identifier and request authenticator, which is a digest of everything else in the request.
type Key = (u8, [u8; 16]);

/// The answers of the last ten minutes.
///
/// The source is not part of the key: a request that somebody has seen is the same one from wherever it comes.
#[derive(Debug, Default)]
pub struct Answered {
    answers: HashMap<Key, Vec<u8>>,
    order: VecDeque<(Instant, Key)>,
}

impl Answered {
    /// Returns the answer to a request that was here before.
    pub fn find(
        &mut self,
        now: Instant,
        identifier: u8,
        authenticator: &[u8; 16],
    ) -> Option<&[u8]> {
        while let Some((at, key)) = self.order.front()
            && now.saturating_duration_since(*at) > KEPT
        {
            self.answers.remove(key);
            self.order.pop_front();
        }
        self.answers
            .get(&(identifier, *authenticator))
            .map(Vec::as_slice)
    }

    /// Returns whether one more answer can be kept; without, a request must not be acted upon.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.order.len() < MAX
    }

    /// Keeps an answer.
    pub fn keep(&mut self, now: Instant, identifier: u8, authenticator: [u8; 16], answer: Vec<u8>) {
        let key = (identifier, authenticator);
        if self.has_room() && self.answers.insert(key, answer).is_none() {
            self.order.push_back((now, key));
        }
    }
}
