//! What the rest of the house asks of a session's driver.

use causeway_proto::terminate::TerminateCause;
use tokio::sync::mpsc;

/// An order to the driver of one session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SessionCommand {
    /// Say goodbye in the session's own protocol, then drop the guard.
    Terminate(TerminateCause),
}

/// The driver's end: where its orders come in.
#[derive(Debug)]
pub struct Commands(mpsc::Receiver<SessionCommand>);

impl Commands {
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
    /// Sends an order; false when the driver has gone.
    ///
    /// A full queue means that an order to end waits there already, which is as good.
    pub(super) fn send(&self, command: SessionCommand) -> bool {
        !matches!(
            self.0.try_send(command),
            Err(mpsc::error::TrySendError::Closed(_))
        )
    }
}

/// Makes the two ends.
pub(super) fn channel() -> (Orders, Commands) {
    let (sender, receiver) = mpsc::channel(4);
    (Orders(sender), Commands(receiver))
}
