//! What the rest of the house asks of a session's driver.

use std::sync::Arc;

use causeway_proto::ip::filter::Filter;
use causeway_proto::terminate::TerminateCause;
use causeway_proto::wireguard::PeerId;
use tokio::sync::mpsc;

use crate::ids::SessionId;

/// An order to the driver of one session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SessionCommand {
    /// Say goodbye in the session's own protocol, then drop the guard.
    Terminate(TerminateCause),
    /// Put another filter in force, or none.
    SetFilter(Option<Arc<Filter>>),
}

/// An order to one of the sessions of enrolled devices, whose one driver has one way for all of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Addressed {
    /// The session: a device may have another one by now.
    pub session: SessionId,
    /// Whose it is.
    pub device: PeerId,
    /// What to do.
    pub command: SessionCommand,
}

/// The table's end of the way to the driver of devices. Whoever may give orders is known, and gives few.
pub type Line = mpsc::UnboundedSender<Addressed>;

/// The driver's end: where its orders come in.
#[derive(Debug)]
pub struct Commands(Option<mpsc::Receiver<SessionCommand>>);

impl Commands {
    /// Returns an end where no order comes in.
    #[must_use]
    pub const fn closed() -> Self {
        Self(None)
    }

    /// Waits for the next order; `None` when the session is no longer in the table.
    ///
    /// Safe in `select!`: an order that has not been returned is not lost.
    pub async fn next(&mut self) -> Option<SessionCommand> {
        self.0.as_mut()?.recv().await
    }

    /// Takes an order that is there already.
    pub fn try_next(&mut self) -> Option<SessionCommand> {
        self.0.as_mut()?.try_recv().ok()
    }
}

/// The table's end.
#[derive(Clone, Debug)]
pub(super) enum Orders {
    /// The session's driver has no other.
    Own(mpsc::Sender<SessionCommand>),
    /// The driver has many.
    Shared {
        line: Line,
        session: SessionId,
        device: PeerId,
    },
}

impl Orders {
    /// Sends an order; false when the driver has gone, or has so many changes to make that this one is not taken.
    pub(super) fn send(&self, command: SessionCommand) -> bool {
        match self {
            Self::Own(sender) => send_own(sender, command),
            Self::Shared {
                line,
                session,
                device,
            } => {
                let (session, device) = (*session, *device);
                let order = Addressed {
                    session,
                    device,
                    command,
                };
                line.send(order).is_ok()
            }
        }
    }
}

/// Orders to end find a place that no other order may take; when those are full as well, one waits there already, which
/// is as good.
fn send_own(sender: &mpsc::Sender<SessionCommand>, command: SessionCommand) -> bool {
    let taken = match &command {
        SessionCommand::Terminate(_) => true,
        SessionCommand::SetFilter(_) => sender.capacity() > RESERVED,
    };
    taken
        && !matches!(
            sender.try_send(command),
            Err(mpsc::error::TrySendError::Closed(_))
        )
}

/// Places for orders to end.
const RESERVED: usize = 4;

/// Makes the two ends of a session's own way.
pub(super) fn channel() -> (Orders, Commands) {
    let (sender, receiver) = mpsc::channel(4 + RESERVED);
    (Orders::Own(sender), Commands(Some(receiver)))
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

    #[test]
    fn orders_on_a_shared_way_say_whose_they_are() {
        let (line, mut driver) = mpsc::unbounded_channel();
        let (session, device) = (SessionId::new(7), PeerId(3));
        let orders = Orders::Shared {
            line,
            session,
            device,
        };
        let command = SessionCommand::Terminate(TerminateCause::Admin);
        assert!(orders.send(command.clone()));
        let order = Addressed {
            session,
            device,
            command: command.clone(),
        };
        assert_eq!(driver.try_recv(), Ok(order));
        drop(driver);
        assert!(!orders.send(command));
    }
}
