//! What is in flight over one link: what the machine sent and still waits for.
//!
//! ```text
//!   sent by the machine ──▶ Due ──▶ Out ──▶ Answered
//!                            ▲       │ the connection broke
//!                            ├───────┤
//!                            │       └─ for the third time ─▶ Spent
//!          sent once more ─ GivenBack ◀─ no connection ─ Due │ Out │ Spent
//! ```
//!
//! Whatever its stage, a request is forgotten as soon as nobody waits for it.

use std::collections::BTreeMap;

use super::Order;

/// How often the same octets go out at the most, whatever happens to the connections.
const MAX_COPIES: u8 = 3;

/// What is in flight, by identifier: the machine has 256 of them, so there is never more.
#[derive(Debug, Default)]
pub(super) struct Flight(BTreeMap<u8, Sent>);

#[derive(Debug)]
struct Sent {
    datagram: Vec<u8>,
    /// How often it went out.
    copies: u8,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// It is to go out.
    Due,
    /// It went out over the connection that is there.
    Out,
    /// It went out over too many that broke.
    Spent,
    /// It has an answer, which the machine may not have seen yet.
    Answered,
    /// The machine was told that it reached nobody: it goes out when the machine says so once more.
    GivenBack,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Added {
    /// It was obeyed.
    Done,
    /// The octets went out too often and will not again, and the machine was told so before.
    Spent,
}

impl Flight {
    pub(super) fn obey(&mut self, order: Order) -> Added {
        match order {
            Order::Send(datagram) => self.add(datagram),
            Order::Forget(identifier) => {
                self.forget(identifier);
                Added::Done
            }
        }
    }

    /// Adds a request; a copy of one that is out does nothing: TLS loses nothing.
    ///
    /// A copy may come even behind the answer, when the machine has not seen that yet.
    fn add(&mut self, datagram: Vec<u8>) -> Added {
        let Some(identifier) = datagram.get(1).copied() else {
            return Added::Done;
        };
        if let Some(sent) = self.0.get_mut(&identifier)
            && sent.datagram == datagram
        {
            match sent.stage {
                Stage::GivenBack if sent.copies >= MAX_COPIES => return Added::Spent,
                Stage::GivenBack => sent.stage = Stage::Due,
                Stage::Due | Stage::Out | Stage::Spent | Stage::Answered => {}
            }
            return Added::Done;
        }
        let sent = Sent {
            datagram,
            copies: 0,
            stage: Stage::Due,
        };
        self.0.insert(identifier, sent);
        Added::Done
    }

    /// Nobody waits for an answer under this identifier any more.
    pub(super) fn forget(&mut self, identifier: u8) {
        self.0.remove(&identifier);
    }

    /// Returns whether something is to go out.
    pub(super) fn is_due(&self) -> bool {
        self.0.values().any(|sent| sent.stage == Stage::Due)
    }

    /// Returns whether something went out so often in vain that it will not again.
    pub(super) fn has_spent(&self) -> bool {
        self.0.values().any(|sent| sent.stage == Stage::Spent)
    }

    /// Takes what is to go out next.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let sent = self.0.values_mut().find(|sent| sent.stage == Stage::Due)?;
        sent.stage = Stage::Out;
        sent.copies = sent.copies.saturating_add(1);
        Some(&sent.datagram)
    }

    pub(super) fn answered(&mut self, reply: &[u8]) {
        if let Some(sent) = reply.get(1).and_then(|id| self.0.get_mut(id)) {
            sent.stage = Stage::Answered;
        }
    }

    /// The connection broke: what had no answer over it is to go out again, unless it went too often.
    pub(super) fn break_off(&mut self) {
        for sent in self.0.values_mut() {
            if sent.stage == Stage::Out {
                sent.stage = if sent.copies < MAX_COPIES {
                    Stage::Due
                } else {
                    Stage::Spent
                };
            }
        }
    }

    /// The machine is told that nothing reached anybody.
    pub(super) fn give_back(&mut self) {
        for sent in self.0.values_mut() {
            match sent.stage {
                Stage::Due | Stage::Out | Stage::Spent => sent.stage = Stage::GivenBack,
                Stage::Answered | Stage::GivenBack => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(identifier: u8, filling: u8) -> Order {
        Order::Send(vec![1, identifier, 0, 4, filling])
    }

    /// Returns the identifiers of what goes out.
    fn out(flight: &mut Flight) -> Vec<u8> {
        std::iter::from_fn(|| flight.next().map(|datagram| datagram[1])).collect()
    }

    #[test]
    fn a_copy_is_not_sent_again_on_the_same_connection() {
        let mut flight = Flight::default();
        flight.obey(request(1, 0));
        flight.obey(request(1, 0));
        assert_eq!(out(&mut flight), [1]);
        flight.obey(request(1, 0));
        assert!(out(&mut flight).is_empty());
        // Another request under the same identifier: nobody waits for the first any more.
        flight.obey(request(1, 7));
        assert_eq!(out(&mut flight), [1]);
        flight.answered(&[2, 1, 0, 4]);
        flight.obey(request(1, 7));
        assert!(out(&mut flight).is_empty(), "behind its answer");
        flight.break_off();
        assert!(!flight.is_due());
    }

    #[test]
    fn only_what_somebody_waits_for_goes_out_again() {
        let mut flight = Flight::default();
        for identifier in 1..=3 {
            flight.obey(request(identifier, 0));
        }
        assert_eq!(out(&mut flight), [1, 2, 3]);
        flight.obey(Order::Forget(2));
        flight.answered(&[2, 3, 0, 4]);
        // It is late: there is nothing to note.
        flight.answered(&[2, 2, 0, 4]);
        flight.break_off();
        assert_eq!(out(&mut flight), [1]);
        // The identifier is free for another one.
        flight.obey(request(2, 7));
        assert_eq!(out(&mut flight), [2]);
        flight.obey(Order::Forget(1));
        flight.obey(Order::Forget(2));
        flight.break_off();
        assert!(!flight.is_due() && !flight.has_spent());
    }

    #[test]
    fn the_same_octets_go_out_three_times_at_the_most() {
        // Whether or not the machine is told in between.
        for told in [false, true] {
            let mut flight = Flight::default();
            for _ in 0..MAX_COPIES {
                assert_eq!(flight.obey(request(1, 0)), Added::Done);
                assert_eq!(out(&mut flight), [1]);
                assert!(!flight.has_spent());
                flight.break_off();
                if told {
                    flight.give_back();
                }
            }
            assert_eq!(flight.has_spent(), !told);
            flight.give_back();
            assert_eq!(flight.obey(request(1, 0)), Added::Spent);
            assert!(out(&mut flight).is_empty());
            // The next one with its identifier starts anew.
            flight.obey(Order::Forget(1));
            flight.obey(request(1, 7));
            assert_eq!(out(&mut flight), [1]);
        }
    }

    #[test]
    fn what_was_given_back_waits_for_the_machine() {
        let mut flight = Flight::default();
        flight.obey(request(1, 0));
        flight.obey(request(2, 0));
        flight.give_back();
        assert!(!flight.is_due());
        for _ in 0..5 {
            // What never went out is no copy.
            flight.obey(request(1, 0));
            assert!(flight.is_due());
            flight.give_back();
        }
        flight.obey(request(1, 0));
        assert_eq!(out(&mut flight), [1]);
    }
}
