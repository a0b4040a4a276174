//! One peer: its handshake in each direction, its key pairs and its timers (whitepaper §6).
//!
//! A key pair goes through three places. One that the peer began waits in `next` until the first packet under it has
//! shown that the peer has it, too; one that we began is `current` at once. What was current is `previous` until the pair
//! after it moves up, for packets that were on their way.
//!
//! There is one deadline for all timers of a peer. Those that depend on traffic are lazy: what the packet path wrote into
//! [`PeerActivity`] is read when the deadline comes, and the deadline is never later than the earliest time at which
//! traffic from now on could ask for something.

use core::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::activity::PeerActivity;
use super::context::Context;
use super::event::{Discard, Event, PeerId, Settings};
use super::index::Index;
use super::key::{PresharedKey, PublicKey};
use super::keypair::{ReceivingKey, Role, SendingKey};
use super::mac::Stamp;
use super::message::{CookieReply, Initiation, OVERHEAD, Response};
use super::noise::{Initiating, Keys, Opened, Responding};
use super::tai64n::Tai64n;
use super::timers::{
    DEAD_AFTER, INITIATION_INTERVAL, JITTER, KEEPALIVE_TIMEOUT, REJECT_AFTER_TIME,
    REKEY_ATTEMPT_TIME, REKEY_TIMEOUT,
};

/// A peer.
pub(super) struct Peer {
    id: PeerId,
    key: PublicKey,
    preshared_key: PresharedKey,
    shard: u8,
    keepalive: Option<Duration>,
    activity: Arc<PeerActivity>,
    /// What the static keys agree on; made when it is first needed, as 50,000 of them take seconds.
    agreed: Option<Zeroizing<[u8; 32]>>,
    stamp: Stamp,
    /// Whether its initiations are answered without a question.
    admitted: bool,
    /// The latest timestamp that it sent, and when it came.
    heard: (Tai64n, Option<Instant>),
    /// The latest timestamp that we sent, and when it went.
    called: (Tai64n, Option<Instant>),
    /// An initiation that waits for a decision.
    asking: Option<Box<(Responding, SocketAddr)>>,
    /// Our initiation that waits for its response.
    calling: Option<Box<Calling>>,
    /// Silence up to here has had its handshake, in milliseconds of the activity.
    despaired_ms: u64,
    /// When somebody who has to say something, and came too soon after the last handshake, gets another one.
    wanted: Option<Instant>,
    next: Option<Pair>,
    current: Option<Pair>,
    previous: Option<Pair>,
}

/// An initiation of ours.
struct Calling {
    state: Initiating,
    index: Index,
    /// When the first of the row was sent.
    since: Instant,
    /// When the next is due.
    again: Instant,
}

/// A key pair, of whose halves one is the packet path's.
struct Pair {
    index: Index,
    sending: Arc<SendingKey>,
    /// Where the handshake came from.
    from: SocketAddr,
}

impl Pair {
    fn end(&self) -> Instant {
        self.sending.created() + REJECT_AFTER_TIME
    }
}

impl Peer {
    pub(super) fn new(settings: Settings) -> Self {
        let Settings {
            id,
            key,
            preshared_key,
            endpoint,
            shard,
            keepalive,
            last_timestamp,
            activity,
        } = settings;
        let activity = activity.unwrap_or_default();
        if let Some(endpoint) = endpoint {
            activity.endpoint().store(endpoint);
        }
        Self {
            id,
            key,
            preshared_key,
            shard,
            keepalive,
            activity,
            agreed: None,
            stamp: Stamp::default(),
            admitted: false,
            heard: (Tai64n(last_timestamp), None),
            called: (Tai64n::default(), None),
            asking: None,
            calling: None,
            despaired_ms: 0,
            wanted: None,
            next: None,
            current: None,
            previous: None,
        }
    }

    pub(super) const fn key(&self) -> &PublicKey {
        &self.key
    }

    pub(super) const fn activity(&self) -> &Arc<PeerActivity> {
        &self.activity
    }

    /// Returns what the static keys agree on; nothing for a key of low order.
    fn agreed(&mut self, cx: &Context) -> Result<&Zeroizing<[u8; 32]>, Discard> {
        if self.agreed.is_none() {
            self.agreed = cx.local.agree(&self.key);
        }
        self.agreed.as_ref().ok_or(Discard::Forged)
    }

    /// Takes an initiation that claims to be this peer's.
    pub(super) fn handle_initiation(
        &mut self,
        now: Instant,
        from: SocketAddr,
        opened: Opened,
        initiation: &Initiation,
        cx: &mut Context,
    ) -> Result<(), Discard> {
        let agreed = self.agreed(cx)?;
        let (responding, timestamp) = opened
            .accept(agreed, initiation)
            .map_err(|_| Discard::Forged)?;
        let (last, at) = self.heard;
        if timestamp <= last {
            return Err(Discard::Replay);
        }
        let flood = |at| now.saturating_duration_since(at) < INITIATION_INTERVAL;
        if at.is_some_and(flood) {
            return Err(Discard::Flood);
        }
        self.heard = (timestamp, Some(now));
        cx.say(Event::Timestamp {
            peer: self.id,
            tai64n: timestamp.0,
        });
        if self.admitted {
            return self.respond(now, from, responding, cx);
        }
        self.asking = Some(Box::new((responding, from)));
        cx.say(Event::Authorize {
            peer: self.id,
            from,
        });
        Ok(())
    }

    /// Takes the answer to [`Event::Authorize`], or what would be the answer.
    pub(super) fn decide(&mut self, now: Instant, admit: bool, cx: &mut Context) {
        self.admitted = admit;
        let asking = self.asking.take();
        if !admit {
            self.forget_keys(cx);
        } else if let Some(asking) = asking {
            let (responding, from) = *asking;
            // A response that cannot be made is one that was lost: the peer asks again.
            let _lost = self.respond(now, from, responding, cx);
        }
    }

    fn respond(
        &mut self,
        now: Instant,
        from: SocketAddr,
        responding: Responding,
        cx: &mut Context,
    ) -> Result<(), Discard> {
        let receiver = responding.receiver;
        let index = cx
            .indices
            .insert(self.shard, self.id, &mut cx.rng)
            .ok_or(Discard::Full)?;
        let made = responding.respond(&self.key, &self.preshared_key, index.0, &mut cx.rng);
        let Ok((response, keys)) = made else {
            cx.indices.remove(index);
            return Err(Discard::Forged);
        };
        cx.send_message(from, &response, |octets| {
            self.stamp.sign(now, &self.key, octets);
        });
        self.activity.endpoint().store(from);
        let waiting = self.next.take();
        self.forget(waiting, cx);
        let next = self.pair(now, index, receiver, keys, Role::Responder, from, cx);
        cx.say(Event::PrepareSending {
            peer: self.id,
            key: Arc::clone(&next.sending),
        });
        self.next = Some(next);
        Ok(())
    }

    /// Makes a key pair and gives its receiving half away.
    #[expect(
        clippy::too_many_arguments,
        reason = "what a handshake leaves behind, once each"
    )]
    fn pair(
        &self,
        now: Instant,
        index: Index,
        receiver: u32,
        keys: Keys,
        role: Role,
        from: SocketAddr,
        cx: &mut Context,
    ) -> Pair {
        let sending = Arc::new(SendingKey::new(keys.sending, receiver, now, role));
        let key = ReceivingKey::new(keys.receiving, index, now, role);
        cx.say(Event::InstallReceiving {
            peer: self.id,
            key: key.with_partner(Arc::clone(&sending)),
        });
        Pair {
            index,
            sending,
            from,
        }
    }

    /// Takes a response to our initiation.
    pub(super) fn handle_response(
        &mut self,
        now: Instant,
        from: SocketAddr,
        response: &Response,
        cx: &mut Context,
    ) -> Result<(), Discard> {
        let calling = self
            .calling
            .take_if(|calling| calling.index.0 == response.receiver)
            .ok_or(Discard::UnknownIndex)?;
        let finished = calling
            .state
            .finish(&cx.local, &self.preshared_key, response);
        let Ok(keys) = finished else {
            self.calling = Some(calling);
            return Err(Discard::Forged);
        };
        self.activity.endpoint().store(from);
        // A pair that waited for a sign of the peer is older than this one, and must not take its place when that comes.
        if let Some(waiting) = self.next.take() {
            let before = self.current.replace(waiting);
            self.forget(before, cx);
        }
        let (index, sender) = (calling.index, response.sender);
        let pair = self.pair(now, index, sender, keys, Role::Initiator, from, cx);
        self.move_up(pair, cx);
        // The peer may not send before it has seen that we have the key.
        self.send_keepalive(now, cx);
        Ok(())
    }

    /// Takes a cookie for our last message.
    pub(super) fn handle_cookie(
        &mut self,
        now: Instant,
        reply: &CookieReply,
    ) -> Result<(), Discard> {
        self.stamp
            .keep(now, &self.key, reply)
            .map_err(|_| Discard::Forged)
    }

    /// The packet path has opened a first packet under `index`: the peer has the key.
    pub(super) fn confirm(&mut self, index: Index, cx: &mut Context) {
        if let Some(next) = self.next.take_if(|next| next.index == index) {
            self.stop_calling(cx);
            self.move_up(next, cx);
        }
    }

    /// Makes a pair the current one.
    fn move_up(&mut self, pair: Pair, cx: &mut Context) {
        let previous = core::mem::replace(&mut self.previous, self.current.take());
        self.forget(previous, cx);
        cx.say(Event::InstallSending {
            peer: self.id,
            key: Arc::clone(&pair.sending),
            endpoint: self.activity.endpoint().load().unwrap_or(pair.from),
        });
        cx.say(Event::HandshakeDone {
            peer: self.id,
            role: pair.sending.role(),
        });
        self.current = Some(pair);
        self.wanted = None;
    }

    /// Begins a handshake, unless the peer is not admitted, its place is not known, or one has just been: who asks may not
    /// have heard of it. If that one comes to nothing, there will be another.
    pub(super) fn call(&mut self, now: Instant, cx: &mut Context) {
        if !self.admitted || self.calling.is_some() {
            return;
        }
        let (_, last) = self.called;
        let made = [&self.next, &self.current];
        let made = made
            .into_iter()
            .flatten()
            .map(|pair| pair.sending.created());
        let latest = made.chain(last).max();
        match latest.filter(|at| now.saturating_duration_since(*at) < REKEY_TIMEOUT) {
            None => self.initiate(now, now, cx),
            Some(at) if self.current.is_none() => self.wanted = Some(at + REKEY_TIMEOUT),
            Some(_) => {}
        }
    }

    /// Sends an initiation of the row that began at `since`.
    fn initiate(&mut self, now: Instant, since: Instant, cx: &mut Context) {
        self.stop_calling(cx);
        let Some(to) = self.activity.endpoint().load() else {
            return;
        };
        let (last, _) = self.called;
        let timestamp = cx.clock.timestamp(now, last);
        let Some(index) = cx.indices.insert(self.shard, self.id, &mut cx.rng) else {
            return;
        };
        let key = self.key;
        let made = self.agreed(cx).ok().cloned().and_then(|agreed| {
            Initiating::new(&cx.local, &key, &agreed, index.0, timestamp, &mut cx.rng).ok()
        });
        let Some((state, initiation)) = made else {
            cx.indices.remove(index);
            return;
        };
        self.called = (timestamp, Some(now));
        cx.send_message(to, &initiation, |octets| {
            self.stamp.sign(now, &key, octets);
        });
        self.calling = Some(Box::new(Calling {
            state,
            index,
            since,
            again: now + REKEY_TIMEOUT + JITTER.mul_f64(f64::from(cx.rng.u8()) / 255.0),
        }));
    }

    fn stop_calling(&mut self, cx: &mut Context) {
        if let Some(calling) = self.calling.take() {
            cx.indices.remove(calling.index);
        }
    }

    /// Sends an empty packet under the current key.
    fn send_keepalive(&self, now: Instant, cx: &mut Context) {
        let (Some(pair), Some(to)) = (&self.current, self.activity.endpoint().load()) else {
            return;
        };
        let mut frame = [0; OVERHEAD];
        let counter = pair.sending.reserve(1);
        let sealed = counter.is_some_and(|counter| pair.sending.seal(counter, &mut frame).is_ok());
        if sealed {
            cx.send(to, &frame);
            self.activity.sent_keepalive(cx.millis(now));
        }
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant, cx: &mut Context) {
        self.expire(now, cx);
        if self.wanted.take_if(|at| *at <= now).is_some() {
            self.call(now, cx);
        }
        if let Some(calling) = self.calling.as_ref().filter(|calling| calling.again <= now) {
            let since = calling.since;
            if now.saturating_duration_since(since) >= REKEY_ATTEMPT_TIME {
                self.stop_calling(cx);
                self.despaired_ms = cx.millis(now);
                cx.say(Event::GaveUp { peer: self.id });
            } else {
                self.initiate(now, since, cx);
            }
        }
        if self.current.is_none() {
            return;
        }
        if self.keepalive_due(cx).is_some_and(|due| due <= now) {
            self.send_keepalive(now, cx);
        }
        if self.silence_due(cx).is_some_and(|due| due <= now) {
            self.despaired_ms = cx.millis(now);
            self.call(now, cx);
        }
    }

    /// Forgets the pairs that have reached their end.
    fn expire(&mut self, now: Instant, cx: &mut Context) {
        let over = |pair: &mut Pair| pair.end() <= now;
        let next = self.next.take_if(over);
        self.forget(next, cx);
        let previous = self.previous.take_if(over);
        self.forget(previous, cx);
        if let Some(current) = self.current.take_if(over) {
            self.forget(Some(current), cx);
            cx.say(Event::RemoveSending { peer: self.id });
        }
    }

    fn forget(&self, pair: Option<Pair>, cx: &mut Context) {
        if let Some(pair) = pair {
            cx.indices.remove(pair.index);
            cx.say(Event::Remove {
                peer: self.id,
                index: pair.index,
            });
        }
    }

    /// Forgets all keys and what was begun.
    pub(super) fn forget_keys(&mut self, cx: &mut Context) {
        self.asking = None;
        self.wanted = None;
        self.stop_calling(cx);
        for pair in [self.next.take(), self.previous.take()] {
            self.forget(pair, cx);
        }
        if let Some(current) = self.current.take() {
            self.forget(Some(current), cx);
            cx.say(Event::RemoveSending { peer: self.id });
        }
    }

    /// Returns when an empty packet is due: an answer is owed, or a keepalive is asked for.
    fn keepalive_due(&self, cx: &Context) -> Option<Instant> {
        let activity = &self.activity;
        let owed = activity
            .owing_since()
            .map(|since| cx.instant(since) + KEEPALIVE_TIMEOUT);
        let asked = self.keepalive.map(|interval| {
            let last = activity.last_sent_ms().max(activity.last_received_ms());
            cx.instant(last) + interval
        });
        owed.into_iter().chain(asked).min()
    }

    /// Returns when silence after data that was sent asks for a handshake.
    fn silence_due(&self, cx: &Context) -> Option<Instant> {
        let since = self.activity.waiting_since()?;
        // After a handshake for it, only data that was sent later can ask for another one.
        let new = self.calling.is_none() && self.activity.last_sent_data_ms() > self.despaired_ms;
        new.then(|| cx.instant(since.max(self.despaired_ms)) + DEAD_AFTER)
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) has something to do; nothing for a peer without keys.
    pub(super) fn due(&self, now: Instant, cx: &Context) -> Option<Instant> {
        let ends = [&self.next, &self.current, &self.previous];
        let ends = ends.into_iter().flatten().map(Pair::end);
        let again = self.calling.as_ref().map(|calling| calling.again);
        let traffic = self.current.as_ref().map(|_| {
            // Traffic from now on owes an answer so much later at the earliest.
            let look = now + KEEPALIVE_TIMEOUT;
            let dues = [self.keepalive_due(cx), self.silence_due(cx)];
            dues.into_iter().flatten().fold(look, Instant::min)
        });
        ends.chain(again).chain(traffic).chain(self.wanted).min()
    }
}

impl core::fmt::Debug for Peer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Peer")
            .field("id", &self.id)
            .field("key", &self.key)
            .field("admitted", &self.admitted)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_peer_is_small() {
        let size = size_of::<Peer>();
        assert!(size <= 512, "{size}");
        assert!(size_of::<Calling>() <= 256);
        // What is kept of one of which nothing was heard.
        assert!(size_of::<Settings>() <= 160);
    }
}
