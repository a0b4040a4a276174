use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::*;
use crate::crypto::Rng;
use crate::radius::authenticator::sign_reply;
use crate::radius::{Code, Discard, MAX_LEN, Packet, ServerId};
use crate::timer::testing::start;
use crate::wire::Decode;

/// The machine on a clock that jumps, and servers that keep what they take.
struct Rig {
    sender: Sender,
    now: Instant,
    wall: u64,
    seq: u64,
    /// What each server takes part in: nothing, everything, or what the dice leave.
    servers: Vec<Behaviour>,
    dice: Rng,
    taken: Vec<(usize, Report)>,
    datagrams: Vec<(usize, Vec<u8>)>,
    events: Vec<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Behaviour {
    Silent,
    Answers,
    /// Takes the record, and the answer gets lost this often in 256.
    Loses(u8),
}

impl Rig {
    fn new(servers: &[Behaviour], queue_max: usize) -> Self {
        let config = Config {
            servers: (0..servers.len())
                .map(|n| Server {
                    name: format!("nps{n}"),
                    secret: SECRET.into(),
                    reliable: false,
                })
                .collect(),
            queue_max,
            flight: Duration::from_secs(2),
        };
        Self {
            sender: Sender::new(config, Rng::from_seed(&[1; 32])),
            now: start(),
            wall: WALL,
            seq: 0,
            servers: servers.to_vec(),
            dice: Rng::from_seed(&[2; 32]),
            taken: Vec::new(),
            datagrams: Vec::new(),
            events: Vec::new(),
        }
    }

    fn push(&mut self, session: &str, status: Status) -> u64 {
        self.seq += 1;
        let mut record = record(session, status);
        record.at = self.wall;
        self.sender.push(self.now, self.seq, record);
        self.sender.release(self.now, self.seq);
        self.seq
    }

    /// Sends what may go now and brings the answers.
    fn turn(&mut self) {
        let mut out = Vec::new();
        while let Some(sent) = self.sender.poll_transmit(self.now, self.wall, &mut out) {
            let bytes = std::mem::take(&mut out);
            assert!(bytes.len() <= MAX_LEN);
            self.datagrams.push((sent.server.0, bytes.clone()));
            let behaviour = self.servers[sent.server.0];
            if behaviour == Behaviour::Silent {
                continue;
            }
            let report = decode_request(&bytes, SECRET).unwrap();
            self.taken.push((sent.server.0, report));
            if !matches!(behaviour, Behaviour::Loses(share) if self.dice.u8() < share) {
                let answer = answer(&bytes, SECRET);
                self.sender
                    .handle_datagram(self.now, sent.server, &answer)
                    .unwrap();
            }
        }
        while let Some(event) = self.sender.poll_event() {
            self.events.push(event);
        }
    }

    /// Goes on until nothing waits, or for so long.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.turn();
        while let Some(next) = self.sender.poll_timeout().filter(|next| *next <= end) {
            let step = next.saturating_duration_since(self.now);
            self.now += step;
            self.wall += u64::from(step.as_millis() >= 500) * step.as_secs().max(1);
            self.sender.handle_timeout(self.now);
            self.turn();
        }
    }

    fn taken_of(&self, session: &str) -> Vec<Status> {
        self.taken
            .iter()
            .filter(|(_, report)| report.session == session.as_bytes())
            .map(|(_, report)| report.status)
            .collect()
    }
}

fn answer(request: &[u8], secret: &[u8]) -> Vec<u8> {
    let packet = Packet::decode_exact(request).unwrap();
    sign_reply(
        Code::ACCOUNTING_RESPONSE,
        packet.identifier,
        &[],
        &packet.authenticator,
        secret,
    )
    .unwrap()
}

const STOP: Status = Status::Stop { cause: 1 };
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_record_goes_once_and_is_gone_when_it_is_heard() {
    let mut rig = Rig::new(&[Behaviour::Answers], 10);
    let seq = rig.push("a", Status::Start);
    rig.turn();
    assert_eq!(rig.datagrams.len(), 1);
    assert!(rig.sender.is_empty());
    assert!(matches!(rig.events[..], [Event::Acknowledged { seq: s, .. }] if s == seq));
    assert_eq!(rig.sender.poll_timeout(), None);
}

#[test]
fn nothing_goes_before_it_is_on_disk() {
    let mut rig = Rig::new(&[Behaviour::Answers], 10);
    rig.sender.push(rig.now, 1, record("a", Status::Start));
    rig.sender.push(rig.now, 2, record("b", Status::Start));
    rig.turn();
    assert!(rig.datagrams.is_empty());
    rig.sender.release(rig.now, 1);
    rig.turn();
    assert_eq!(rig.taken_of("a"), [Status::Start]);
    assert!(rig.taken_of("b").is_empty());
}

#[test]
fn each_retransmission_says_how_late_it_is_under_an_identifier_of_its_own() {
    let mut rig = Rig::new(&[Behaviour::Silent], 10);
    rig.push("a", Status::Start);
    rig.run(Duration::from_secs(120));
    let reports: Vec<_> = rig
        .datagrams
        .iter()
        .map(|(_, bytes)| {
            let report = decode_request(bytes, SECRET).unwrap();
            (bytes[1], report.at.unwrap(), report.delay)
        })
        .collect();
    assert!(reports.len() >= 4, "{reports:?}");
    for pair in reports.windows(2) {
        assert_ne!(pair[0].0, pair[1].0);
        assert_eq!(pair[0].1, pair[1].1);
        assert!(pair[0].2 < pair[1].2, "{reports:?}");
    }
    // An answer to the one before the last counts as well as any other.
    let (_, late) = &rig.datagrams[rig.datagrams.len() - 2];
    let answer = answer(late, SECRET);
    rig.sender
        .handle_datagram(rig.now, ServerId(0), &answer)
        .unwrap();
    assert!(rig.sender.is_empty());
}

#[test]
fn what_is_not_from_the_server_acknowledges_nothing() {
    let mut rig = Rig::new(&[Behaviour::Silent], 10);
    rig.push("a", Status::Start);
    rig.turn();
    let request = rig.datagrams[0].1.clone();
    let mut hear = |bytes: &[u8]| rig.sender.handle_datagram(rig.now, ServerId(0), bytes);
    assert_eq!(
        hear(&answer(&request, b"another")),
        Err(Discard::BadAuthenticator)
    );
    let mut other = answer(&request, SECRET);
    other[1] = other[1].wrapping_add(1);
    assert_eq!(hear(&other), Err(Discard::UnknownIdentifier));
    let packet = Packet::decode_exact(&request).unwrap();
    let accept = sign_reply(
        Code::ACCESS_ACCEPT,
        packet.identifier,
        &[],
        &packet.authenticator,
        SECRET,
    );
    assert_eq!(hear(&accept.unwrap()), Err(Discard::Malformed));
    assert_eq!(hear(&request[..19]), Err(Discard::Malformed));
    assert_eq!(rig.sender.len(), 1);
}

#[test]
fn a_dead_server_is_replaced_tried_again_and_preferred_when_it_is_back() {
    let mut rig = Rig::new(&[Behaviour::Silent, Behaviour::Answers], 100);
    for n in 0..10 {
        rig.push(&format!("s{n}"), Status::Start);
    }
    rig.run(Duration::from_secs(30));
    assert!(rig.sender.is_empty());
    assert!(rig.taken.iter().all(|(server, _)| *server == 1));
    assert!(!rig.sender.is_alive(ServerId(0)));
    rig.servers[0] = Behaviour::Answers;
    rig.now += HOUR;
    for n in 10..20 {
        rig.push(&format!("s{n}"), Status::Start);
    }
    rig.run(HOUR);
    assert!(rig.sender.is_alive(ServerId(0)));
    assert!(rig.taken[10..].iter().all(|(server, _)| *server == 0));
}

#[test]
fn a_server_that_refuses_is_dead_at_once() {
    let mut rig = Rig::new(&[Behaviour::Silent, Behaviour::Answers], 100);
    rig.push("a", Status::Start);
    rig.turn();
    rig.sender.handle_unreachable(rig.now, ServerId(0));
    rig.turn();
    assert_eq!(rig.taken_of("a"), [Status::Start]);
    assert!(rig.sender.is_empty());
}

#[test]
fn many_refusals_at_once_are_one() {
    let mut rig = Rig::new(&[Behaviour::Silent], 100);
    for n in 0..50 {
        rig.push(&format!("s{n}"), Status::Start);
    }
    rig.turn();
    for _ in 0..50 {
        rig.sender.handle_unreachable(rig.now, ServerId(0));
    }
    let next = rig.sender.poll_timeout().unwrap();
    assert!(next <= rig.now + Duration::from_secs(3));
    rig.servers[0] = Behaviour::Answers;
    rig.run(Duration::from_secs(10));
    assert!(rig.sender.is_empty());
}

#[test]
fn an_hour_of_silence_costs_few_datagrams_and_no_record() {
    let mut rig = Rig::new(&[Behaviour::Silent], 100_000);
    for n in 0..2_000 {
        rig.push(&format!("s{n}"), Status::Start);
        rig.push(&format!("s{n}"), STOP);
    }
    rig.run(HOUR);
    assert!(rig.datagrams.len() < 400, "{}", rig.datagrams.len());
    assert_eq!(rig.sender.len(), 4_000);
    rig.servers[0] = Behaviour::Answers;
    rig.run(Duration::from_secs(200));
    assert!(rig.sender.is_empty());
    for n in 0..2_000 {
        assert_eq!(rig.taken_of(&format!("s{n}")), [Status::Start, STOP]);
    }
}

#[test]
fn lost_answers_bring_a_record_again_but_never_out_of_turn() {
    for seed in 0..4 {
        let mut rig = Rig::new(&[Behaviour::Loses(77)], 100_000);
        rig.dice = Rng::from_seed(&[seed; 32]);
        for n in 0..300 {
            rig.push(&format!("s{n}"), Status::Start);
            rig.push(&format!("s{n}"), Status::Interim);
            rig.push(&format!("s{n}"), STOP);
        }
        rig.run(HOUR);
        assert!(rig.sender.is_empty(), "seed {seed}");
        for n in 0..300 {
            let mut taken = rig.taken_of(&format!("s{n}"));
            taken.dedup();
            assert_eq!(taken, [Status::Start, Status::Interim, STOP], "seed {seed}");
        }
    }
}

#[test]
fn a_record_that_the_server_does_not_like_holds_up_nobody() {
    let mut rig = Rig::new(&[Behaviour::Silent], 10_000);
    rig.push("bad", Status::Start);
    rig.run(HOUR);
    // From now on everything but that one is answered.
    for n in 0..100 {
        rig.push(&format!("s{n}"), Status::Start);
    }
    let end = rig.now + HOUR;
    let mut heard = BTreeSet::new();
    while heard.len() < 100 && rig.now < end {
        let mut out = Vec::new();
        while let Some(sent) = rig.sender.poll_transmit(rig.now, rig.wall, &mut out) {
            let bytes = std::mem::take(&mut out);
            let report = decode_request(&bytes, SECRET).unwrap();
            if report.session != b"bad" {
                heard.insert(report.session);
                let answer = answer(&bytes, SECRET);
                rig.sender
                    .handle_datagram(rig.now, sent.server, &answer)
                    .unwrap();
            }
        }
        rig.now = rig.sender.poll_timeout().unwrap_or(end).max(rig.now);
        rig.sender.handle_timeout(rig.now);
    }
    assert_eq!(heard.len(), 100);
    assert_eq!(rig.sender.len(), 1);
}

#[test]
fn the_gateways_start_stands_between_the_old_and_the_new() {
    let mut rig = Rig::new(&[Behaviour::Loses(77)], 1_000);
    for n in 0..20 {
        rig.push(&format!("old{n}"), Status::Stop { cause: 9 });
    }
    rig.push("boot", Status::On);
    for n in 0..20 {
        rig.push(&format!("new{n}"), Status::Start);
    }
    rig.run(HOUR);
    assert!(rig.sender.is_empty());
    let first = |wanted: fn(&Report) -> bool| rig.taken.iter().position(|(_, r)| wanted(r));
    let last = |wanted: fn(&Report) -> bool| rig.taken.iter().rposition(|(_, r)| wanted(r));
    let on = |r: &Report| r.status == Status::On;
    let (first_on, last_on) = (first(on).unwrap(), last(on).unwrap());
    assert!(last(|r| r.session.starts_with(b"old")).unwrap() < first_on);
    assert!(first(|r| r.session.starts_with(b"new")).unwrap() > last_on);
}

#[test]
fn a_server_that_never_answers_the_gateways_start_still_gets_the_rest() {
    let mut rig = Rig::new(&[Behaviour::Silent], 1_000);
    rig.push("boot", Status::On);
    rig.push("new", Status::Start);
    rig.run(Duration::from_secs(600));
    rig.servers[0] = Behaviour::Answers;
    rig.run(Duration::from_secs(600));
    assert!(rig.sender.is_empty());
    assert_eq!(rig.taken_of("new"), [Status::Start]);
}

#[test]
fn when_there_is_no_room_interims_go_first_and_then_what_is_new() {
    let mut rig = Rig::new(&[Behaviour::Silent], 4);
    let ahead = rig.push("a", Status::Interim);
    rig.push("b", Status::Start);
    rig.push("c", Status::Start);
    let newer = rig.push("a", Status::Interim);
    rig.push("d", Status::Start);
    let last = rig.push("e", STOP);
    let lost = rig.push("f", STOP);
    rig.turn();
    let dropped: Vec<_> = rig
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Dropped { seq, why, .. } => Some((*seq, *why)),
            Event::Acknowledged { .. } | Event::Unanswered { .. } | Event::Health { .. } => None,
        })
        .collect();
    assert_eq!(
        dropped,
        [
            (ahead, Dropped::Superseded),
            (newer, Dropped::Full),
            (lost, Dropped::Full)
        ]
    );
    assert_eq!(rig.sender.records().last().map(|(seq, _)| seq), Some(last));
}
