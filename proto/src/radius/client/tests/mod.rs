use std::time::{Duration, Instant};

use super::super::access::Nas;
use super::super::authenticator::{EMPTY_MESSAGE_AUTHENTICATOR, sign_reply};
use super::super::{AttributeList, AttributeType};
use super::*;
use crate::aaa::{Identity, TunnelKind};
use crate::timer::testing::start;

mod belief;
mod health;
mod servers;
mod settling;

const SECRET: &[u8] = b"secret";

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn client(servers: usize, change: impl FnOnce(&mut Config)) -> Client {
    let mut config = Config {
        nas: Nas::default(),
        servers: (0..servers)
            .map(|n| Server {
                name: format!("nps{n}"),
                secret: SECRET.into(),
                status: StatusServer::Off,
                repeat: None,
                is_sealed: false,
            })
            .collect(),
        mode: Mode::Failover,
        timeout: s(60),
        retransmit: vec![s(5)],
        patience: Patience::Mfa,
        dead_time: s(60),
        message_authenticator: Demand::Require,
        probe_after: s(10),
        probe: None,
    };
    change(&mut config);
    Client::new(config, Rng::from_seed(&[1; 32]))
}

fn applicant() -> Applicant {
    Applicant {
        nas_port: 1,
        ..Applicant::new(
            TunnelKind::Sstp,
            "198.51.100.7:50123".parse().unwrap(),
            "203.0.113.4:443".parse().unwrap(),
            "0a2b3c4d".into(),
        )
    }
}

fn pap(user: &str) -> Credentials {
    Credentials::Pap {
        user: Identity::new(user.as_bytes()).unwrap(),
        password: b"wonderland".as_slice().into(),
    }
}

/// Asks, and returns what went out.
fn ask(client: &mut Client, now: Instant, user: &str) -> (RequestId, Port, Vec<u8>) {
    let id = client
        .request(now, &applicant(), &pap(user), now + s(600))
        .unwrap();
    let (port, bytes) = sent(client).unwrap();
    (id, port, bytes)
}

fn sent(client: &mut Client) -> Option<(Port, Vec<u8>)> {
    let mut out = Vec::new();
    let transmit = client.poll_transmit(&mut out)?;
    Some((transmit.port, out))
}

/// Answers `request` as a server with `secret` does.
fn answer(
    request: &[u8],
    code: Code,
    secret: &[u8],
    fill: impl FnOnce(&mut AttributeList),
) -> Vec<u8> {
    let packet = Packet::decode_exact(request).unwrap();
    let mut list = AttributeList::new();
    list.push(
        AttributeType::MESSAGE_AUTHENTICATOR,
        &EMPTY_MESSAGE_AUTHENTICATOR,
    );
    fill(&mut list);
    sign(&packet, code, secret, &list)
}

fn sign(request: &Packet<'_>, code: Code, secret: &[u8], list: &AttributeList) -> Vec<u8> {
    sign_reply(
        code,
        request.identifier,
        list.finish().unwrap(),
        &request.authenticator,
        secret,
    )
    .unwrap()
}

fn accept(request: &[u8]) -> Vec<u8> {
    answer(request, Code::ACCESS_ACCEPT, SECRET, |_| ())
}

fn events(client: &mut Client) -> Vec<Event> {
    std::iter::from_fn(|| client.poll_event()).collect()
}

/// Returns how the request ended, which it did once.
fn finished(client: &mut Client) -> Option<Completion> {
    let mut all = events(client).into_iter().filter_map(|event| match event {
        Event::Finished { completion, .. } => Some(completion),
        Event::Started { .. }
        | Event::Retransmitted { .. }
        | Event::Settled { .. }
        | Event::Late { .. }
        | Event::Unsigned { .. }
        | Event::Health { .. }
        | Event::Unexpected { .. } => None,
    });
    let first = all.next();
    assert!(all.next().is_none());
    first
}

fn result(client: &mut Client) -> RadiusResult {
    finished(client).unwrap().result
}

/// Lets time pass until `until`, stopping wherever the machine wants to; returns what it sent.
fn pass(client: &mut Client, until: Instant) -> Vec<(Port, Vec<u8>)> {
    let mut out = Vec::new();
    while let Some(next) = client.poll_timeout().filter(|next| *next <= until) {
        client.handle_timeout(next);
        out.extend(std::iter::from_fn(|| sent(client)));
    }
    out
}
