//! The constants of the whitepaper's §6.1 and those that the text implies.

use std::time::Duration;

/// A key pair's initiator makes a new one when it sends after this time.
pub const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);
/// A key pair is not used after this time.
pub const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);
/// A key pair is replaced after as many messages.
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// A key pair is not used for more messages than this.
pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
/// A handshake that nobody answers is given up after this time.
pub const REKEY_ATTEMPT_TIME: Duration = Duration::from_secs(90);
/// An initiation is repeated, as a new one, after this time and up to [`JITTER`] more.
pub const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// How much later than its time a handshake may begin, so that two peers do not begin together for ever.
pub const JITTER: Duration = Duration::from_millis(333);
/// Who has received data and sent nothing for this time sends an empty packet.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Who has sent data and received nothing for this time starts a handshake.
pub const DEAD_AFTER: Duration =
    Duration::from_secs(KEEPALIVE_TIMEOUT.as_secs() + REKEY_TIMEOUT.as_secs());
/// An initiator that receives under a key pair of this age makes a new one, so that it does not run out.
pub const REKEY_ON_RECEIVE: Duration = Duration::from_secs(
    REJECT_AFTER_TIME.as_secs() - KEEPALIVE_TIMEOUT.as_secs() - REKEY_TIMEOUT.as_secs(),
);
/// How long a cookie is good, and how often the secret changes from which cookies are made (§5.3, §5.4.7).
pub const COOKIE_LIFE: Duration = Duration::from_secs(120);
/// The shortest time between two initiations of a peer that are answered.
pub const INITIATION_INTERVAL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_those_of_the_whitepaper() {
        // §6.1, table of constants.
        assert_eq!(REKEY_AFTER_MESSAGES, 1_152_921_504_606_846_976);
        assert_eq!(REJECT_AFTER_MESSAGES, u64::MAX - (1 << 13));
        assert_eq!(REKEY_AFTER_TIME.as_secs(), 120);
        assert_eq!(REJECT_AFTER_TIME.as_secs(), 180);
        assert_eq!(REKEY_ATTEMPT_TIME.as_secs(), 90);
        assert_eq!(REKEY_TIMEOUT.as_secs(), 5);
        assert_eq!(KEEPALIVE_TIMEOUT.as_secs(), 10);
        // §6.2: REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT; §6.5: KEEPALIVE_TIMEOUT + REKEY_TIMEOUT.
        assert_eq!(REKEY_ON_RECEIVE.as_secs(), 165);
        assert_eq!(DEAD_AFTER.as_secs(), 15);
    }
}
