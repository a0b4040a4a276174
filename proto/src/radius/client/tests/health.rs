//! Whether a server lives: by what it says, never by one slow log-in.

use super::*;

fn probing(servers: usize, status: StatusServer) -> Client {
    client(servers, |config| {
        config.probe = Some(Probe {
            user: Identity::new(b"causeway-probe").unwrap(),
            interval: s(30),
            expect: Code::ACCESS_REJECT,
        });
        for server in &mut config.servers {
            server.status = status;
        }
    })
}

fn is_probe(datagram: &[u8]) -> bool {
    Packet::decode_exact(datagram)
        .unwrap()
        .attributes()
        .any(|a| a.is_ok_and(|a| a.value == b"causeway-probe"))
}

fn is_status(datagram: &[u8]) -> bool {
    datagram[0] == Code::STATUS_SERVER.0
}

fn reject(request: &[u8]) -> Vec<u8> {
    answer(request, Code::ACCESS_REJECT, SECRET, |_| ())
}

fn health(c: &Client) -> Health {
    c.health(ServerId(0)).unwrap()
}

/// A server that answers what `answers` says, until `until`; returns what it was asked.
fn serve(
    c: &mut Client,
    until: Instant,
    mut answers: impl FnMut(Port, &[u8]) -> Option<Vec<u8>>,
) -> Vec<(Port, Vec<u8>)> {
    let mut asked = Vec::new();
    while let Some(next) = c.poll_timeout().filter(|next| *next <= until) {
        c.handle_timeout(next);
        while let Some((port, datagram)) = sent(c) {
            if let Some(reply) = answers(port, &datagram) {
                // It may be an answer to a copy of what was answered.
                c.handle_datagram(next, port, &reply).unwrap_or_default();
            }
            asked.push((port, datagram));
        }
    }
    asked
}

#[test]
fn a_quiet_server_is_asked_about_the_probe_user_and_no_login_is_counted() {
    let (t, mut c) = (start(), probing(1, StatusServer::Off));
    c.begin(t);
    let asked = serve(&mut c, t + s(95), |_, datagram| {
        is_probe(datagram).then(|| reject(datagram))
    });
    assert_eq!(asked.len(), 4, "at the start and each 30 s");
    assert!(asked.iter().all(|(_, datagram)| is_probe(datagram)));
    assert!(
        events(&mut c)
            .iter()
            .all(|event| matches!(event, Event::Settled { .. }))
    );
    assert_eq!(health(&c), Health::Alive);
    assert_eq!(c.waiting(ServerId(0)), 0);
}

#[test]
fn traffic_makes_questions_needless() {
    let (t, mut c) = (start(), probing(1, StatusServer::Off));
    c.begin(t);
    serve(&mut c, t, |_, datagram| Some(reject(datagram)));
    for n in 1..20 {
        let now = t + s(20 * n);
        assert!(pass(&mut c, now).is_empty());
        let (_, port, request) = ask(&mut c, now, "alice");
        c.handle_datagram(now, port, &accept(&request)).unwrap();
        assert_eq!(result(&mut c), RadiusResult::Accept);
    }
}

#[test]
fn status_server_is_used_where_it_is_answered() {
    let (t, mut c) = (start(), probing(1, StatusServer::Auto));
    c.begin(t);
    let asked = serve(&mut c, t + s(70), |_, datagram| {
        Some(if is_status(datagram) {
            accept(datagram)
        } else {
            reject(datagram)
        })
    });
    let kinds: Vec<_> = asked.iter().map(|(_, d)| is_status(d)).collect();
    assert_eq!(kinds, [true, false, true, true], "{kinds:?}");
}

#[test]
fn the_probe_user_is_used_where_status_server_is_not_answered() {
    let (t, mut c) = (start(), probing(1, StatusServer::Auto));
    c.begin(t);
    let answers = |_, datagram: &[u8]| is_probe(datagram).then(|| reject(datagram));
    serve(&mut c, t + s(20), answers);
    let asked = serve(&mut c, t + s(100), answers);
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|(_, datagram)| is_probe(datagram)));
}

#[test]
fn status_server_is_signed_and_says_who_asks() {
    let (t, mut c) = (
        start(),
        client(1, |c| {
            c.servers[0].status = StatusServer::On;
            c.nas.identifier = "gw".into();
        }),
    );
    c.begin(t);
    c.handle_timeout(t);
    let (_, datagram) = sent(&mut c).unwrap();
    let packet = Packet::decode_exact(&datagram).unwrap();
    assert_eq!(packet.code, Code::STATUS_SERVER);
    let verified = crate::radius::authenticator::verify_message_authenticator(
        &packet,
        &packet.authenticator,
        SECRET,
    );
    assert_eq!(verified, Ok(MessageAuthenticator::Verified));
    assert!(packet.attributes().any(|a| a.unwrap().value == b"gw"));
}

#[test]
fn a_slow_login_makes_the_machine_ask_and_decides_nothing() {
    let (t, mut c) = (start(), probing(2, StatusServer::Off));
    ask(&mut c, t, "alice");
    let asked = serve(&mut c, t + s(60), |_, datagram| {
        is_probe(datagram).then(|| reject(datagram))
    });
    let probes = asked.iter().filter(|(_, d)| is_probe(d)).count();
    assert!((1..=3).contains(&probes), "{probes}");
    assert!(asked.iter().all(|(port, _)| port.server == ServerId(0)));
    assert_eq!(health(&c), Health::Alive);
    // The server answered the question and not this log-in.
    assert_eq!(result(&mut c), RadiusResult::SilentDiscard);
}

#[test]
fn a_dead_server_is_left_by_new_logins_within_five_seconds_and_keeps_those_that_wait() {
    let (t, mut c) = (start(), probing(2, StatusServer::Off));
    ask(&mut c, t, "user0");
    for n in 1..=5 {
        let now = t + s(n);
        serve(&mut c, now, |_, _| None);
        c.request(now, &applicant(), &pap(&format!("user{n}")), now + s(58))
            .unwrap();
        let out: Vec<_> = std::iter::from_fn(|| sent(&mut c)).collect();
        let (port, _) = out.iter().find(|(_, d)| !is_probe(d)).unwrap();
        assert_eq!(port.server.0, usize::from(n >= 4), "after {n} s");
    }
    assert_eq!(health(&c), Health::Dead);
    // A second prompt would be worse than a slow failure.
    assert_eq!(c.waiting(ServerId(0)), 4);
    let moved = serve(&mut c, t + s(30), |_, _| None);
    assert!(
        moved
            .iter()
            .all(|(port, d)| is_probe(d) || port.server.0 == 0 || d[1] < 255)
    );
    assert_eq!(c.waiting(ServerId(0)), 4);
}

#[test]
fn without_a_second_factor_those_that_wait_leave_a_dead_server() {
    let (t, mut c) = (start(), probing(2, StatusServer::Off));
    c.config.patience = Patience::Machine {
        failover_after: s(50),
    };
    ask(&mut c, t, "alice");
    serve(&mut c, t + s(15), |_, _| None);
    assert_eq!(health(&c), Health::Dead);
    assert_eq!((c.waiting(ServerId(0)), c.waiting(ServerId(1))), (0, 1));
}

#[test]
fn a_dead_server_is_back_within_thirty_seconds_after_two_answers() {
    let (t, mut c) = (start(), probing(2, StatusServer::Off));
    c.begin(t);
    serve(&mut c, t + s(10), |_, _| None);
    assert_eq!(health(&c), Health::Dead);
    events(&mut c);
    let back = t + s(100);
    serve(&mut c, back, |_, _| None);
    let port = ask(&mut c, back, "alice").1;
    assert_eq!(port.server, ServerId(0), "both are dead, so the first");
    let mut seen = Vec::new();
    serve(&mut c, back + s(30), |port, datagram| {
        (is_probe(datagram) && port.server.0 == 0).then(|| reject(datagram))
    });
    for event in events(&mut c) {
        if let Event::Health { server, health } = event
            && server.0 == 0
        {
            seen.push(health);
        }
    }
    assert_eq!(seen[..2], [Health::Recovering, Health::Alive]);
    assert_eq!(health(&c), Health::Alive);
}

#[test]
fn one_answer_alone_does_not_bring_a_server_back() {
    let (t, mut c) = (start(), probing(1, StatusServer::Off));
    c.begin(t);
    serve(&mut c, t + s(10), |_, _| None);
    let mut answers = 1;
    serve(&mut c, t + s(40), |_, datagram| {
        answers -= 1;
        (answers >= 0).then(|| reject(datagram))
    });
    let mut turns = Vec::new();
    for event in events(&mut c) {
        if let Event::Health { health, .. } = event {
            turns.push(health.as_str());
        }
    }
    assert_eq!(turns, ["suspect", "dead", "recovering", "dead"]);
}

#[test]
fn a_forged_answer_is_no_sign_of_life() {
    let (t, mut c) = (start(), probing(1, StatusServer::Auto));
    c.begin(t);
    serve(&mut c, t + s(20), |_, datagram| {
        Some(answer(datagram, Code::ACCESS_REJECT, b"wrong", |_| ()))
    });
    assert_eq!(health(&c), Health::Dead);
}

#[test]
fn silence_proves_nothing_when_nothing_was_ever_answered() {
    let (t, mut c) = (
        start(),
        client(1, |c| c.servers[0].status = StatusServer::Auto),
    );
    c.begin(t);
    let asked = pass(&mut c, t + s(100));
    assert!(!asked.is_empty() && asked.iter().all(|(_, d)| is_status(d)));
    assert_eq!(health(&c), Health::Alive);
}

#[test]
fn nothing_is_due_where_there_is_no_way_to_ask() {
    let (t, mut c) = (start(), client(1, |_| ()));
    c.begin(t);
    let (id, port, _) = ask(&mut c, t, "alice");
    c.handle_unreachable(t, port);
    c.abandon(t, id);
    assert!(pass(&mut c, t + s(600)).is_empty());
    assert_eq!(c.poll_timeout(), None);
}

#[test]
fn a_probe_user_who_may_come_in_is_told() {
    let (t, mut c) = (start(), probing(1, StatusServer::Off));
    c.begin(t);
    serve(&mut c, t, |_, datagram| Some(accept(datagram)));
    let told: Vec<_> = events(&mut c)
        .into_iter()
        .filter(|event| !matches!(event, Event::Settled { .. }))
        .collect();
    assert_eq!(
        told,
        [Event::Unexpected {
            server: ServerId(0),
            code: Code::ACCESS_ACCEPT
        }]
    );
}

#[test]
fn flapping_costs_few_logins() {
    let (t, mut c) = (start(), probing(2, StatusServer::Off));
    c.begin(t);
    let (mut ended, mut accepted) = (0, 0);
    for n in 0..600u64 {
        let now = t + s(n);
        // The first lives for 5 s of each 10.
        let up = n % 10 < 5;
        let deal = |port: Port, datagram: &[u8]| {
            (up || port.server.0 == 1).then(|| {
                if is_probe(datagram) {
                    reject(datagram)
                } else {
                    accept(datagram)
                }
            })
        };
        serve(&mut c, now, deal);
        c.request(now, &applicant(), &pap(&format!("u{n}")), now + s(58))
            .unwrap();
        while let Some((port, datagram)) = sent(&mut c) {
            if let Some(reply) = deal(port, &datagram) {
                c.handle_datagram(now, port, &reply).unwrap_or_default();
            }
        }
        for event in events(&mut c) {
            if let Event::Finished { completion, .. } = event {
                ended += 1;
                accepted += u32::from(completion.result == RadiusResult::Accept);
            }
        }
    }
    assert!(ended >= 590, "{ended}");
    assert!(accepted * 100 >= ended * 99, "{accepted} of {ended}");
}
