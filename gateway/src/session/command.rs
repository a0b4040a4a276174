//! What the rest of the house asks of a session's driver.

use std::sync::Arc;

use causeway_proto::ip::filter::Filter;
use causeway_proto::terminate::TerminateCause;
use tokio::sync::mpsc;

/// An order to the driver of one session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SessionCommand {
    /// Say goodbye in the session's own protocol, then drop the guard.
    Terminate(TerminateCause),
    /// Put another filter in force, or none.
    SetFilter(Option<Arc<Filter>>),
}

/// The driver's end: where its orders come in.
#[derive(Debug)]
pub struct Commands(mpsc::Receiver<SessionCommand>);

impl Commands {
    /// Returns an end where no order comes in.
    #[must_use]
    pub fn closed() -> Self {
        channel().1
    }

    /// Waits for the next order; `None` when the session is no longer in the table.
    ///
    /// Safe in `select!`: an order that has not been returned is not lost.
    pub async fn next(&mut self) -> Option<SessionCommand> {
        self.0.recv().await
    }

    /// Takes an order that is there already.
    pub fn try_next(&mut self) -> Option<SessionCommand> {
        self.0.try_recv().ok()
    }
}

/// The table's end.
#[derive(Clone, Debug)]
pub(super) struct Orders(mpsc::Sender<SessionCommand>);

impl Orders {
    /// Sends an order; false when the driver has gone, or has so many changes to make that this one is not taken.
    ///
    /// Orders to end find a place that no other order may take; when those are full as well, one waits there already,
    /// which is as good.
    pub(super) fn send(&self, command: SessionCommand) -> bool {
        let taken = match &command {
            SessionCommand::Terminate(_) => true,
            SessionCommand::SetFilter(_) => self.0.capacity() > RESERVED,
        };
        taken
            && !matches!(
                self.0.try_send(command),
                Err(mpsc::error::TrySendError::Closed(_))
            )
    }
}

/// Places for orders to end.
const RESERVED: usize = 4;

/// Makes the two ends.
pub(super) fn channel() -> (Orders, Commands) {
    let (sender, receiver) = mpsc::channel(4 + RESERVED);
    (Orders(sender), Commands(receiver))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_that_nobody_makes_leave_room_for_the_order_to_end() {
        let (orders, mut commands) = channel();
        let taken = (0..20).filter(|_| orders.send(SessionCommand::SetFilter(None)));
        assert_eq!(taken.count(), 4);
        let end = SessionCommand::Terminate(TerminateCause::Admin);
        assert!(orders.send(end.clone()));
        for _ in 0..4 {
            assert_eq!(commands.next().await, Some(SessionCommand::SetFilter(None)));
        }
        assert_eq!(commands.next().await, Some(end.clone()));
        drop(commands);
        assert!(!orders.send(end));
        assert!(!orders.send(SessionCommand::SetFilter(None)));
    }
}
