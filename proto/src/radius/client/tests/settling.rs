use super::*;

/// Returns the identifiers nobody waits for any more, and with `None` where a request ended.
fn settled(c: &mut Client) -> Vec<Option<(Port, u8)>> {
    let all = events(c).into_iter();
    all.filter_map(|event| match event {
        Event::Settled { port, identifier } => Some(Some((port, identifier))),
        Event::Finished { .. } => Some(None),
        Event::Started { .. }
        | Event::Retransmitted { .. }
        | Event::Late { .. }
        | Event::Unsigned { .. }
        | Event::Health { .. }
        | Event::Unexpected { .. } => None,
    })
    .collect()
}

#[test]
fn a_request_is_settled_once_however_it_ends() {
    let t = start();
    for result in [
        RadiusResult::AbandonedByClient,
        RadiusResult::Accept,
        RadiusResult::ServerSilent,
    ] {
        let mut c = client(1, |_| ());
        let (id, port, request) = ask(&mut c, t, "alice");
        assert_eq!(settled(&mut c), []);
        if result == RadiusResult::AbandonedByClient {
            c.abandon(t + s(5), id);
        } else if result == RadiusResult::Accept {
            c.handle_datagram(t, port, &accept(&request)).unwrap();
        } else {
            pass(&mut c, t + s(60));
        }
        assert_eq!(settled(&mut c), [Some((port, request[1])), None]);
        assert_eq!(sent(&mut c), None);
        // What comes late changes nothing.
        c.handle_datagram(t + s(61), port, &accept(&request))
            .unwrap_or_default();
        assert_eq!(settled(&mut c), []);
    }
}

#[test]
fn a_request_that_moves_is_settled_where_it_was() {
    let (t, mut c) = (start(), client(2, |_| ()));
    let (_, first, request) = ask(&mut c, t, "alice");
    c.handle_unreachable(t, first);
    assert_eq!(settled(&mut c), [Some((first, request[1]))]);
    let (second, request) = sent(&mut c).unwrap();
    c.handle_datagram(t, second, &accept(&request)).unwrap();
    assert_eq!(settled(&mut c), [Some((second, request[1])), None]);
}

#[test]
fn a_question_is_settled_by_its_answer_or_the_next_one() {
    let (t, mut c) = (
        start(),
        client(1, |c| c.servers[0].status = StatusServer::On),
    );
    c.begin(t);
    let asked = pass(&mut c, t);
    let (port, first) = asked.first().unwrap();
    pass(&mut c, t + s(2));
    assert_eq!(settled(&mut c), [], "its copies are out");
    let mut next = None;
    while next.is_none() {
        let due = c.poll_timeout().unwrap();
        next = pass(&mut c, due).into_iter().find(|(_, d)| d != first);
    }
    assert_eq!(settled(&mut c), [Some((*port, first[1]))]);
    let (port, second) = next.unwrap();
    c.handle_datagram(t + s(60), port, &accept(&second))
        .unwrap();
    assert_eq!(settled(&mut c), [Some((port, second[1]))]);
}
