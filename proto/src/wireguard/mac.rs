//! What keeps handshakes cheap to refuse (whitepaper §5.3, §5.4.4, §5.4.7).
//!
//! `mac1` shows that a sender knows our public key: without it we are silent. Under load `mac2` must show that it
//! receives at its address: without it we send a cookie, which costs no state and is shorter than what it answers.
//!
//! ```text
//!  mac1   = MAC(HASH("mac1----" ‖ public key of the receiver), message before mac1)
//!  mac2   = MAC(cookie, message before mac2)
//!  cookie = MAC(secret of two minutes, address ‖ port), sealed under HASH("cookie--" ‖ public key) with mac1 as data
//! ```

use core::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::key::PublicKey;
use super::message::CookieReply;
use super::timers::COOKIE_LIFE;
use crate::crypto::Rng;
use crate::crypto::blake2s::{blake2s, blake2s_mac};
use crate::crypto::chacha::{Forged, xchacha_open, xchacha_seal};

/// A cookie is not used in its last seconds, in which the other side may already have forgotten its secret.
const LATENCY: Duration = Duration::from_secs(5);

/// The macs of a message: what is before each, and each.
struct Macs<'a> {
    before1: &'a [u8],
    mac1: &'a [u8; 16],
    before2: &'a [u8],
    mac2: &'a [u8; 16],
}

impl<'a> Macs<'a> {
    fn of(message: &'a [u8]) -> Option<Self> {
        let (before2, mac2) = message.split_last_chunk::<16>()?;
        let (before1, mac1) = before2.split_last_chunk::<16>()?;
        Some(Self {
            before1,
            mac1,
            before2,
            mac2,
        })
    }
}

/// What the macs of a message show.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shown {
    /// Nothing.
    Nothing,
    /// The sender knows our key.
    Key,
    /// It also receives at its address.
    Address,
}

/// Checks the macs of what comes and makes cookies.
#[derive(Debug)]
pub(super) struct Checker {
    mac1_key: [u8; 32],
    cookie_key: Zeroizing<[u8; 32]>,
    secret: Zeroizing<[u8; 32]>,
    /// When the secret was made; nothing before the first cookie.
    since: Option<Instant>,
}

impl Checker {
    pub(super) fn new(public: &PublicKey) -> Self {
        Self {
            mac1_key: mac1_key(public),
            cookie_key: cookie_key(public),
            secret: Zeroizing::new([0; 32]),
            since: None,
        }
    }

    /// Looks at the macs of a message from `from`.
    pub(super) fn check(&self, now: Instant, from: SocketAddr, message: &[u8]) -> Shown {
        let Some(macs) = Macs::of(message) else {
            return Shown::Nothing;
        };
        if !same(&blake2s_mac(&self.mac1_key, &[macs.before1]), macs.mac1) {
            return Shown::Nothing;
        }
        let fresh = *macs.mac2 != [0; 16]
            && self
                .since
                .is_some_and(|since| now.saturating_duration_since(since) < COOKIE_LIFE);
        if fresh && same(&blake2s_mac(&self.cookie(from), &[macs.before2]), macs.mac2) {
            Shown::Address
        } else {
            Shown::Key
        }
    }

    /// Answers a message whose sender called itself `receiver`.
    pub(super) fn reply(
        &mut self,
        now: Instant,
        from: SocketAddr,
        receiver: u32,
        message: &[u8],
        rng: &mut Rng,
    ) -> Option<CookieReply> {
        let macs = Macs::of(message)?;
        let stale = self
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= COOKIE_LIFE);
        if stale {
            rng.fill(self.secret.as_mut_slice());
            self.since = Some(now);
        }
        let nonce = rng.array();
        let mut cookie = self.cookie(from);
        let tag = xchacha_seal(&self.cookie_key, &nonce, macs.mac1, &mut cookie).ok()?;
        Some(CookieReply {
            receiver,
            nonce,
            cookie,
            tag,
        })
    }

    fn cookie(&self, from: SocketAddr) -> [u8; 16] {
        let port = from.port().to_be_bytes();
        match from.ip() {
            IpAddr::V4(ip) => blake2s_mac(&self.secret, &[&ip.octets(), &port]),
            IpAddr::V6(ip) => blake2s_mac(&self.secret, &[&ip.octets(), &port]),
        }
    }
}

/// What we know of the cookies that one peer gives us.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    cookie: Option<(Zeroizing<[u8; 16]>, Instant)>,
    /// The `mac1` of the last message, which a cookie reply must be bound to.
    last: Option<[u8; 16]>,
}

impl Stamp {
    /// Fills in both macs of a message to the owner of `peer`.
    pub(super) fn sign(&mut self, now: Instant, peer: &PublicKey, message: &mut [u8]) {
        let cookie = self.cookie.as_ref().filter(|(_, since)| {
            now.saturating_duration_since(*since) < COOKIE_LIFE.saturating_sub(LATENCY)
        });
        let Some((before2, mac2)) = message.split_last_chunk_mut::<16>() else {
            return;
        };
        let Some((before1, mac1)) = before2.split_last_chunk_mut::<16>() else {
            return;
        };
        *mac1 = blake2s_mac(&mac1_key(peer), &[before1]);
        self.last = Some(*mac1);
        *mac2 = match cookie {
            Some((cookie, _)) => blake2s_mac(cookie, &[before2]),
            None => [0; 16],
        };
    }

    /// Keeps the cookie for the next message.
    pub(super) fn keep(
        &mut self,
        now: Instant,
        peer: &PublicKey,
        reply: &CookieReply,
    ) -> Result<(), Forged> {
        let last = self.last.ok_or(Forged)?;
        let mut cookie = Zeroizing::new(reply.cookie);
        xchacha_open(
            &cookie_key(peer),
            &reply.nonce,
            &last,
            cookie.as_mut_slice(),
            &reply.tag,
        )?;
        self.cookie = Some((cookie, now));
        self.last = None;
        Ok(())
    }
}

fn mac1_key(public: &PublicKey) -> [u8; 32] {
    blake2s(&[b"mac1----", public.as_bytes()])
}

fn cookie_key(public: &PublicKey) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(blake2s(&[b"cookie--", public.as_bytes()]))
}

fn same(a: &[u8; 16], b: &[u8; 16]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::super::key::PrivateKey;
    use super::*;
    use crate::timer::testing::start;

    struct Both {
        key: PublicKey,
        checker: Checker,
        stamp: Stamp,
        rng: Rng,
        now: Instant,
    }

    const HERE: &str = "192.0.2.1:1000";

    fn both() -> Both {
        let key = PrivateKey::from_bytes([1; 32]).public();
        Both {
            key,
            checker: Checker::new(&key),
            stamp: Stamp::default(),
            rng: Rng::from_seed(&[2; 32]),
            now: start(),
        }
    }

    impl Both {
        fn signed(&mut self) -> [u8; 148] {
            let mut message = [7; 148];
            self.stamp.sign(self.now, &self.key, &mut message);
            message
        }

        fn shown(&self, from: &str, message: &[u8]) -> Shown {
            self.checker.check(self.now, from.parse().unwrap(), message)
        }

        fn reply(&mut self, message: &[u8]) -> CookieReply {
            let from = HERE.parse().unwrap();
            self.checker
                .reply(self.now, from, 9, message, &mut self.rng)
                .unwrap()
        }
    }

    #[test]
    fn every_bit_before_mac1_counts() {
        let mut both = both();
        let message = both.signed();
        assert_eq!(both.shown(HERE, &message), Shown::Key);
        for at in 0..132 {
            let mut other = message;
            other[at] ^= 1;
            assert_eq!(both.shown(HERE, &other), Shown::Nothing, "{at}");
        }
        let zero = [0; 148];
        assert_eq!(both.shown(HERE, &zero), Shown::Nothing);
        assert_eq!(both.shown(HERE, &zero[..31]), Shown::Nothing);
    }

    #[test]
    fn a_cookie_is_good_for_one_address_and_port_and_two_minutes() {
        let mut both = both();
        let message = both.signed();
        let reply = both.reply(&message);
        assert_eq!(reply.receiver, 9);
        both.stamp.keep(both.now, &both.key, &reply).unwrap();
        let message = both.signed();
        assert_eq!(both.shown(HERE, &message), Shown::Address);
        assert_eq!(both.shown("192.0.2.1:1001", &message), Shown::Key);
        assert_eq!(both.shown("192.0.2.2:1000", &message), Shown::Key);
        assert_eq!(both.shown("[2001:db8::1]:1000", &message), Shown::Key);
        both.now += COOKIE_LIFE;
        assert_eq!(both.shown(HERE, &message), Shown::Key);
        let message = both.signed();
        assert_eq!(message[132..], [0; 16], "an old cookie is not used");
    }

    #[test]
    fn a_cookie_reply_must_answer_the_last_message() {
        let mut both = both();
        let first = both.signed();
        let reply = both.reply(&first);
        let mut second = [8; 148];
        both.stamp.sign(both.now, &both.key, &mut second);
        assert!(both.stamp.keep(both.now, &both.key, &reply).is_err());
        let reply = both.reply(&second);
        let mut forged = reply.clone();
        forged.cookie[0] ^= 1;
        assert!(both.stamp.keep(both.now, &both.key, &forged).is_err());
        assert!(both.stamp.keep(both.now, &both.key, &reply).is_ok());
        assert!(both.stamp.keep(both.now, &both.key, &reply).is_err());
    }

    #[test]
    fn before_the_first_cookie_no_mac2_is_good() {
        let mut both = both();
        let mut message = both.signed();
        // What it would be if the secret were all zeros.
        let cookie = both.checker.cookie(HERE.parse().unwrap());
        let (before, mac2) = message.split_last_chunk_mut::<16>().unwrap();
        *mac2 = blake2s_mac(&cookie, &[before]);
        assert_eq!(both.shown(HERE, &message), Shown::Key);
    }
}
