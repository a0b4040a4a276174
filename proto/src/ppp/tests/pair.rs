//! A server and a client joined by a wire that may lose frames.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::aaa;
use super::frames::{rng, start};
use crate::aaa::Decision;
use crate::crypto::Rng;
use crate::ppp::{Config, Down, Event, Link};

/// Two links and the wire between them.
pub(super) struct Pair {
    pub(super) server: Link,
    pub(super) client: Link,
    pub(super) now: Instant,
    pub(super) started: Instant,
    /// Frames on their way, to the server first.
    wire: [VecDeque<Vec<u8>>; 2],
    /// Every frame that was sent to the server and to the client.
    pub(super) seen: [Vec<Vec<u8>>; 2],
    loss_percent: u8,
    dice: Rng,
    pub(super) server_events: Vec<Event>,
    pub(super) client_events: Vec<Event>,
    /// How long the authenticator takes.
    pub(super) thinking: Duration,
    pending: Option<(Instant, Decision)>,
    pub(super) asked: usize,
}

impl Pair {
    pub(super) fn new(server: Config, client: Config) -> Self {
        Self::with_loss(server, client, 0, 1)
    }

    pub(super) fn with_loss(server: Config, client: Config, loss_percent: u8, seed: u8) -> Self {
        let now = start();
        Self {
            server: Link::new(server, rng(seed), now),
            client: Link::new(client, rng(seed.wrapping_add(100)), now),
            now,
            started: now,
            wire: Default::default(),
            seen: Default::default(),
            loss_percent,
            dice: rng(seed.wrapping_add(200)),
            server_events: Vec::new(),
            client_events: Vec::new(),
            thinking: Duration::ZERO,
            pending: None,
            asked: 0,
        }
    }

    /// Moves frames and answers questions until nothing is left to do at this instant.
    pub(super) fn settle(&mut self) {
        for _ in 0..1000 {
            let mut busy = false;
            for (at, link) in [(1, &mut self.server), (0, &mut self.client)] {
                let mut out = Vec::new();
                while link.poll_transmit(&mut out) {
                    let frame = core::mem::take(&mut out);
                    self.seen[at].push(frame.clone());
                    if self.dice.u8() % 100 >= self.loss_percent {
                        self.wire[at].push_back(frame);
                    }
                    busy = true;
                }
            }
            while let Some(event) = self.server.poll_event() {
                if let Event::Authenticate(credentials) = &event {
                    self.asked += 1;
                    self.pending = Some((self.now + self.thinking, aaa::decide(credentials)));
                }
                self.server_events.push(event);
                busy = true;
            }
            self.client_events
                .extend(core::iter::from_fn(|| self.client.poll_event()));
            if let Some((_, decision)) = self.pending.take_if(|(at, _)| *at <= self.now) {
                self.server.handle_decision(self.now, decision);
                busy = true;
            }
            if let Some(frame) = self.wire[0].pop_front() {
                self.server.handle_frame(self.now, &frame);
                busy = true;
            }
            if let Some(frame) = self.wire[1].pop_front() {
                self.client.handle_frame(self.now, &frame);
                busy = true;
            }
            if !busy {
                return;
            }
        }
        panic!("the two never stop talking");
    }

    /// Runs until both have what `done` wants, or the time is over.
    pub(super) fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.settle();
            if done(self) {
                return true;
            }
            let pending = self.pending.as_ref().map(|(at, _)| *at);
            let next = [
                self.server.poll_timeout(),
                self.client.poll_timeout(),
                pending,
            ];
            match next.into_iter().flatten().min() {
                Some(at) if at <= end => self.now = self.now.max(at),
                Some(_) | None => {
                    self.now = end;
                    return false;
                }
            }
            self.server.handle_timeout(self.now);
            self.client.handle_timeout(self.now);
        }
    }

    /// Runs until both networks are open.
    pub(super) fn connect(&mut self) -> bool {
        self.run(Duration::from_secs(100), |pair| {
            pair.server.is_network_open() && pair.client.is_network_open()
        })
    }

    /// Runs until both have ended and says how.
    pub(super) fn downs(&mut self) -> (Down, Down) {
        self.run(Duration::from_secs(300), |pair| {
            down(&pair.server_events).is_some() && down(&pair.client_events).is_some()
        });
        (
            down(&self.server_events).expect("the server has not ended"),
            down(&self.client_events).expect("the client has not ended"),
        )
    }
}

pub(super) fn down(events: &[Event]) -> Option<Down> {
    events.iter().find_map(|event| match event {
        Event::Down(down) => Some(*down),
        Event::Authenticate(_)
        | Event::Authenticated { .. }
        | Event::Eap(_)
        | Event::NetworkUp(_) => None,
    })
}
