//! Deadlines, late answers, which server is asked, and how many may wait.

use super::*;

#[test]
fn the_nearer_deadline_counts() {
    for (caller, expected) in [(58, 58), (120, 60)] {
        let (t, mut c) = (start(), client(1, |_| ()));
        c.request(t, &applicant(), &pap("alice"), t + s(caller))
            .unwrap();
        pass(&mut c, t + s(600));
        let completion = finished(&mut c).unwrap();
        assert_eq!(completion.elapsed, s(expected));
        assert_eq!(completion.result, RadiusResult::ServerSilent);
    }
}

#[test]
fn silence_while_others_are_answered_is_a_discard() {
    let (t, mut c) = (start(), client(1, |_| ()));
    let (_, _, _) = ask(&mut c, t, "alice");
    let (_, port, other) = ask(&mut c, t + s(1), "bob");
    c.handle_datagram(t + s(2), port, &accept(&other)).unwrap();
    assert_eq!(result(&mut c), RadiusResult::Accept);
    pass(&mut c, t + s(60));
    assert_eq!(result(&mut c), RadiusResult::SilentDiscard);
    assert!(c.is_alive(ServerId(0)));
}

#[test]
fn a_late_answer_is_counted_and_opens_nothing() {
    let (t, mut c) = (start(), client(1, |_| ()));
    let (id, port, left) = ask(&mut c, t, "alice");
    c.abandon(t + s(20), id);
    assert_eq!(result(&mut c), RadiusResult::AbandonedByClient);
    let (_, _, slow) = ask(&mut c, t, "bob");
    pass(&mut c, t + s(60));
    assert_eq!(result(&mut c), RadiusResult::ServerSilent);
    for (request, user) in [(&left, "alice"), (&slow, "bob")] {
        let forged = answer(request, Code::ACCESS_ACCEPT, b"wrong", |_| ());
        assert_eq!(
            c.handle_datagram(t + s(70), port, &forged),
            Err(Discard::BadAuthenticator)
        );
        c.handle_datagram(t + s(70), port, &accept(request))
            .unwrap();
        assert_eq!(
            events(&mut c),
            [Event::Late {
                server: ServerId(0),
                code: Code::ACCESS_ACCEPT,
                login: Box::new(Login {
                    user: Identity::new(user.as_bytes()).unwrap(),
                    session: "0a2b3c4d".into(),
                    correlation: None,
                    source: [198, 51, 100, 7].into(),
                    asked: t,
                }),
            }]
        );
    }
    // Once is enough.
    assert_eq!(
        c.handle_datagram(t + s(71), port, &accept(&left)),
        Err(Discard::UnknownIdentifier)
    );
    assert_eq!(c.poll_timeout(), None);
}

#[test]
fn a_late_answer_is_forgotten_after_three_minutes() {
    let (t, mut c) = (start(), client(1, |_| ()));
    let (_, port, request) = ask(&mut c, t, "alice");
    pass(&mut c, t + s(181));
    assert_eq!(
        c.handle_datagram(t + s(181), port, &accept(&request)),
        Err(Discard::UnknownIdentifier)
    );
    assert_eq!(c.poll_timeout(), None);
}

#[test]
fn a_refused_request_goes_to_a_server_that_lives() {
    let (t, mut c) = (start(), client(2, |_| ()));
    let (_, port, first) = ask(&mut c, t, "alice");
    c.handle_unreachable(t, port);
    let (next, second) = sent(&mut c).unwrap();
    assert_eq!(next.server, ServerId(1));
    assert_ne!(first[4..20], second[4..20]);
    assert!(!c.is_alive(ServerId(0)));
    c.handle_datagram(t, next, &accept(&second)).unwrap();
    let completion = finished(&mut c).unwrap();
    assert_eq!(completion.result, RadiusResult::Accept);
    assert_eq!(completion.server, Some(ServerId(1)));
    // The dead one is passed over, then tried again.
    assert_eq!(ask(&mut c, t + s(59), "bob").1.server, ServerId(1));
    let (_, port, request) = ask(&mut c, t + s(60), "carol");
    assert_eq!(port.server, ServerId(0));
    c.handle_datagram(t + s(60), port, &accept(&request))
        .unwrap();
    assert!(events(&mut c).contains(&Event::Health {
        server: ServerId(0),
        health: Health::Alive
    }));
}

#[test]
fn a_slow_answer_never_moves_to_another_server() {
    let (t, mut c) = (start(), client(2, |_| ()));
    ask(&mut c, t, "alice");
    let copies = pass(&mut c, t + s(60));
    assert!(copies.iter().all(|(port, _)| port.server == ServerId(0)));
    assert_eq!(copies.len(), 1);
    assert_eq!(result(&mut c), RadiusResult::ServerSilent);
}

#[test]
fn without_a_second_factor_a_slow_answer_does() {
    let patience = Patience::Machine {
        failover_after: s(10),
    };
    let (t, mut c) = (start(), client(2, |c| c.patience = patience));
    ask(&mut c, t, "alice");
    let out = pass(&mut c, t + s(12));
    let servers: Vec<_> = out.iter().map(|(port, _)| port.server.0).collect();
    assert_eq!(servers, [0, 1]);
    let (port, request) = out.last().unwrap();
    c.handle_datagram(t + s(12), *port, &accept(request))
        .unwrap();
    assert_eq!(result(&mut c), RadiusResult::Accept);
}

#[test]
fn a_server_that_restarts_is_tried_again_with_the_same_octets() {
    let (t, mut c) = (start(), client(1, |_| ()));
    let (_, port, first) = ask(&mut c, t, "alice");
    c.handle_unreachable(t, port);
    assert_eq!(pass(&mut c, t + s(1)), [(port, first.clone())]);
    c.handle_datagram(t + s(2), port, &accept(&first)).unwrap();
    assert_eq!(result(&mut c), RadiusResult::Accept);

    let (_, port, _) = ask(&mut c, t + s(20), "bob");
    for n in 20..31 {
        c.handle_unreachable(t + s(n), port);
        pass(&mut c, t + s(n + 1));
    }
    let completion = finished(&mut c).unwrap();
    assert_eq!(completion.result, RadiusResult::Unreachable);
    assert_eq!(completion.elapsed, s(10));
}

#[test]
fn a_restart_costs_nobody_the_login_who_waits_for_a_phone() {
    let (t, mut c) = (start(), client(1, |_| ()));
    let (_, port, early) = ask(&mut c, t, "alice");
    pass(&mut c, t + s(30));
    let (_, _, late) = ask(&mut c, t + s(30), "bob");
    for n in 30..34 {
        c.handle_unreachable(t + s(n), port);
        let again = pass(&mut c, t + s(n + 1));
        assert_eq!(again, [(port, early.clone()), (port, late.clone())]);
    }
    // It is back, and what was lost with it has been asked again; the scheduled copy still goes out.
    assert_eq!(pass(&mut c, t + s(36)), [(port, late.clone())]);
    for request in [early, late] {
        c.handle_datagram(t + s(50), port, &accept(&request))
            .unwrap();
        assert_eq!(result(&mut c), RadiusResult::Accept);
    }
}

#[test]
fn one_person_who_looks_away_kills_no_server() {
    let (t, mut c) = (start(), client(2, |_| ()));
    let login = |c: &mut Client, at: u64, user: &str| {
        let port = ask(c, t + s(at), user).1;
        pass(c, t + s(at + 60));
        port.server.0
    };
    for at in 0..5 {
        assert_eq!(login(&mut c, 100 * at, "alice"), 0);
    }
    assert!(c.is_alive(ServerId(0)));
    assert_eq!(login(&mut c, 500, "bob"), 0);
    assert!(!c.is_alive(ServerId(0)), "two people who got nothing");
    assert_eq!(login(&mut c, 600, "carol"), 1);
}

#[test]
fn servers_take_turns_when_told_so() {
    let (t, mut c) = (start(), client(3, |c| c.mode = Mode::RoundRobin));
    let turn = |c: &mut Client, user: &str| {
        let (id, port, _) = ask(c, t, user);
        (id, port.server.0)
    };
    let turns: Vec<_> = ["a", "b", "c", "d"].map(|user| turn(&mut c, user).1).into();
    assert_eq!(turns, [0, 1, 2, 0]);
    // Whoever may have a prompt open gets no second one from another server, whether the client left or not.
    assert_eq!(turn(&mut c, "A").1, 0);
    let (id, server) = turn(&mut c, "e");
    assert_eq!(server, 1);
    c.abandon(t, id);
    assert_eq!(turn(&mut c, "E").1, 1);
}

#[test]
fn the_answer_to_a_question_goes_to_who_asked() {
    let (t, mut c) = (start(), client(3, |_| ()));
    let credentials = Credentials::Eap {
        user: Identity::new(b"alice").unwrap(),
        message: vec![2, 1, 0, 4],
        state: Some(Challenge {
            eap: vec![],
            state: b"s".to_vec(),
            server: "nps2".into(),
            message: None,
            timeout: None,
        }),
    };
    c.request(t, &applicant(), &credentials, t + s(60)).unwrap();
    let (port, _) = sent(&mut c).unwrap();
    assert_eq!(port.server, ServerId(2));
    c.handle_unreachable(t, port);
    assert_eq!(sent(&mut c), None, "nobody else knows the question");
}

#[test]
fn five_thousand_wait_without_sharing_an_identifier() {
    let (t, mut c) = (start(), client(1, |_| ()));
    let mut seen = std::collections::HashSet::new();
    let mut requests = Vec::new();
    for n in 0..5000 {
        let (_, port, request) = ask(&mut c, t, &format!("user{n}"));
        assert!(seen.insert((port, request[1])));
        requests.push((port, request));
    }
    assert_eq!(c.waiting(ServerId(0)), 5000);
    assert_eq!(requests.last().unwrap().0.number, 24);
    for (port, request) in &requests {
        c.handle_datagram(t + s(50), *port, &accept(request))
            .unwrap();
    }
    assert_eq!(c.waiting(ServerId(0)), 0);
    assert_eq!(c.poll_timeout(), None);
}

#[test]
fn when_every_identifier_waits_the_next_is_refused() {
    let (t, mut c) = (start(), client(1, |_| ()));
    let ids: Vec<_> = (0..12_800).map(|_| ask(&mut c, t, "a").0).collect();
    let refused = c.request(t, &applicant(), &pap("a"), t + s(60));
    assert_eq!(refused, Err(Refused::Full));
    // One whose client left gives its place.
    c.abandon(t, ids[77]);
    ask(&mut c, t, "a");
    let long = Credentials::Pap {
        user: Identity::new(b"a").unwrap(),
        password: vec![0; 200].as_slice().into(),
    };
    c.abandon(t, ids[78]);
    let refused = c.request(t, &applicant(), &long, t + s(60));
    assert!(matches!(refused, Err(Refused::Request(_))));
    assert_eq!(c.waiting(ServerId(0)), 12_799);
}

/// Returns after which times the octets of one request went out, in milliseconds.
fn copies(client: &mut Client, now: Instant, until: Duration) -> Vec<u128> {
    let mut at = now;
    let mut sent = Vec::new();
    let mut first: Option<Vec<u8>> = None;
    while at <= now + until {
        client.handle_timeout(at);
        let mut out = Vec::new();
        while client.poll_transmit(&mut out).is_some() {
            let datagram = core::mem::take(&mut out);
            if datagram.first() == Some(&Code::ACCESS_REQUEST.0) {
                assert_eq!(*first.get_or_insert_with(|| datagram.clone()), datagram);
                sent.push((at - now).as_millis());
            }
        }
        match client.poll_timeout() {
            Some(due) => at = due.max(at + Duration::from_millis(1)),
            None => break,
        }
    }
    sent
}

#[test]
fn a_server_that_knows_copies_gets_them_until_it_answers_and_another_one_by_the_schedule() {
    let now = start();
    let asked = |status, crowd: usize| {
        let mut client = client(1, |config| {
            config.retransmit = vec![s(1), s(2), s(4), s(8)];
            config.servers[0].status = status;
            config.servers[0].repeat = Some(Duration::from_millis(500));
        });
        let mut out = Vec::new();
        for _ in 0..crowd {
            let (applicant, credentials) = (applicant(), pap("alice"));
            client
                .request(now, &applicant, &credentials, now + s(60))
                .unwrap();
            // They went out before anybody looked.
            while client.poll_transmit(&mut out).is_some() {}
        }
        client
            .request(now, &applicant(), &pap("alice"), now + s(60))
            .unwrap();
        client
    };
    let silent = copies(&mut asked(StatusServer::Off, 0), now, s(60));
    assert_eq!(silent, [0, 1000, 2000, 4000, 8000]);
    let unknown = copies(&mut asked(StatusServer::Auto, 0), now, s(60));
    assert_eq!(unknown, [0, 1000, 2000, 4000, 8000]);
    let repeats = copies(&mut asked(StatusServer::On, 0), now, s(60));
    let expected: Vec<u128> = (0..120).map(|n| n * 500).collect();
    assert_eq!(repeats, expected);
    // A thousand copies a second for all of them together, once each has heard of the others.
    let mut crowd = asked(StatusServer::On, 1999);
    let mut at = now;
    let mut sent = [0; 20];
    while let Some(due) = crowd.poll_timeout().filter(|due| *due < now + s(20)) {
        at = at.max(due);
        crowd.handle_timeout(at);
        let mut out = Vec::new();
        while crowd.poll_transmit(&mut out).is_some() {
            let second = usize::try_from((at - now).as_secs()).unwrap();
            sent[second] += usize::from(out.first() == Some(&Code::ACCESS_REQUEST.0));
            out.clear();
        }
        at += Duration::from_millis(1);
    }
    let steady: usize = sent[10..].iter().sum();
    assert!((9_000..=11_000).contains(&steady), "{sent:?}");
}
