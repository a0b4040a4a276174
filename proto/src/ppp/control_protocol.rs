//! What one control protocol adds to the negotiation: its options.

use super::control::Options;
use super::event::DownReason;
use super::frame::Protocol;

/// Whether there are Naks left to send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Patience {
    /// A Nak may still suggest something.
    Left,
    /// Max-Failure is reached: reject instead.
    Exhausted,
}

/// What to answer to a Configure-Request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Judgement {
    /// All of it is agreed.
    Ack,
    /// These values are wanted instead.
    Nak(Vec<u8>),
    /// These options are not wanted at all.
    Reject(Vec<u8>),
    /// There is nothing left to negotiate about.
    Hopeless(DownReason),
}

/// The options of one control protocol.
pub(crate) trait ControlProtocol {
    /// The number of the protocol.
    const PROTOCOL: Protocol;
    /// The reason when the negotiation never ends.
    const LOOP: DownReason;

    /// Appends the options that we want.
    fn request(&self, out: &mut Vec<u8>);
    /// Judges what the peer wants, and keeps it when the answer is [`Judgement::Ack`].
    fn judge(&mut self, options: Options<'_>, patience: Patience) -> Judgement;
    /// Takes the peer's suggestions.
    fn naked(&mut self, options: Options<'_>) -> Result<(), DownReason>;
    /// Gives up what the peer rejects.
    fn rejected(&mut self, options: Options<'_>) -> Result<(), DownReason>;
}
