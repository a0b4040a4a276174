//! Servers that are slow, gone or silent, and clients that leave.

use super::*;

#[tokio::test]
async fn one_login_is_one_request_whatever_gets_lost() {
    let server = faulty(Fault::LoseFirst(1));
    let client = client(&server);
    accepted(&ask(&client, pap("alice", "wonderland")).await);
    let counts = server.counts();
    assert_eq!((counts.requests, counts.identical), (1, 1));

    let server = RadiusServer::start(Script {
        delay: Duration::from_millis(450),
        fault: Fault::Duplicates(3),
        ..Script::default()
    })
    .unwrap();
    let client = self::client(&server);
    accepted(&ask(&client, pap("alice", "wonderland")).await);
    accepted(&ask(&client, pap("bob", "builder")).await);
    assert_eq!(server.counts().requests, 2);
}

#[tokio::test]
async fn a_slow_server_is_not_left_for_another_one() {
    let slow = RadiusServer::start(Script {
        delay: Duration::from_millis(450),
        ..Script::default()
    })
    .unwrap();
    let other = faulty(Fault::None);
    let (client, _) = client_of(&[slow.address(), other.address()], |c| {
        c.timeout = Duration::from_secs(2);
    });
    accepted(&ask(&client, ms_chap("alice", "wonderland")).await);
    assert_eq!(other.counts().requests, 0);
    slow.change(|script| script.fault = Fault::Silence);
    let outcome = ask(&client, ms_chap("alice", "wonderland")).await;
    refused(&outcome, RadiusResult::ServerSilent, RefuseReason::NoAnswer);
    assert_eq!(other.counts().requests, 0);
}

#[tokio::test]
async fn a_server_whose_host_refuses_is_left_and_taken_up_again() {
    let first = faulty(Fault::None);
    let (address, other) = (first.address(), faulty(Fault::None));
    drop(first);
    let (client, transport) = client_of(&[address, other.address()], |c| {
        c.dead_time = Duration::from_millis(300);
    });
    let outcome = ask(&client, ms_chap("alice", "wonderland")).await;
    accepted(&outcome);
    assert_eq!(outcome.server.as_deref(), Some("nps1"));
    assert!(outcome.elapsed < AT_ONCE);
    let AuthHealth::Degraded { down } = client.health() else {
        panic!("{:?}", client.health());
    };
    assert_eq!(down, ["nps0"]);

    let back = RadiusServer::start_at(address, Script::default()).unwrap();
    tokio::time::sleep(Duration::from_millis(350)).await;
    accepted(&ask(&client, ms_chap("alice", "wonderland")).await);
    assert_eq!(back.counts().requests, 1);
    assert_eq!(client.health(), AuthHealth::Up);
    assert!(transport.health().iter().all(|server| server.alive));
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let gone = faulty(Fault::None).address();
    let (client, _) = client_of(&[gone], |c| c.timeout = HASTY);
    let outcome = ask(&client, pap("alice", "wonderland")).await;
    refused(&outcome, RadiusResult::Unreachable, RefuseReason::NoAnswer);
    assert!(matches!(client.health(), AuthHealth::Down { .. }));
}

#[tokio::test]
async fn silence_for_one_while_others_are_answered_is_a_discard() {
    let server = RadiusServer::start(Script {
        ignored: vec!["alice".into()],
        ..Script::default()
    })
    .unwrap();
    let (client, _) = client_of(&[server.address()], |c| c.timeout = Duration::from_secs(2));
    let (alice, bob) = tokio::join!(ask(&client, pap("alice", "wonderland")), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        ask(&client, pap("bob", "builder")).await
    });
    accepted(&bob);
    refused(&alice, RadiusResult::SilentDiscard, RefuseReason::NoAnswer);
    assert!(alice.explanation.unwrap().contains("6274"));
}

#[tokio::test]
async fn an_answer_after_the_client_left_opens_nothing() {
    let server = RadiusServer::start(Script {
        delay: Duration::from_millis(300),
        ..Script::default()
    })
    .unwrap();
    let client = client(&server);
    let left = tokio::time::timeout(
        Duration::from_millis(100),
        ask(&client, pap("alice", "wonderland")),
    );
    assert!(left.await.is_err());
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(server.counts().accepts, 1);
    // The next log-in is a request of its own and gets an answer of its own.
    let outcome = ask(&client, pap("alice", "wrong")).await;
    refused(&outcome, RadiusResult::RejectFast, RefuseReason::Rejected);
}

#[tokio::test]
async fn the_callers_deadline_is_kept() {
    let server = faulty(Fault::Silence);
    let client = client(&server);
    let deadline = Instant::now() + Duration::from_millis(200);
    let outcome = client
        .authenticate(&applicant(), pap("alice", "x"), deadline)
        .await;
    refused(&outcome, RadiusResult::ServerSilent, RefuseReason::NoAnswer);
    assert!(outcome.elapsed < AT_ONCE);
}

#[tokio::test(flavor = "multi_thread")]
async fn six_hundred_wait_at_once() {
    let server = RadiusServer::start(Script {
        delay: Duration::from_millis(500),
        ..Script::default()
    })
    .unwrap();
    let (client, _) = client_of(&[server.address()], |c| {
        c.retransmit = vec![Duration::from_secs(10)];
    });
    let client = std::sync::Arc::new(client);
    let mut logins = tokio::task::JoinSet::new();
    for n in 0..600u32 {
        let client = client.clone();
        logins.spawn(async move {
            let password = if n % 3 == 0 { "wrong" } else { "wonderland" };
            // From an address each, or the brakes would hold them.
            let mut applicant = applicant();
            let [_, _, high, low] = n.to_be_bytes();
            applicant.remote.set_ip([198, 51, high, low].into());
            let deadline = Instant::now() + Duration::from_secs(58);
            let outcome = client
                .authenticate(&applicant, ms_chap("alice", password), deadline)
                .await;
            (n, matches!(outcome.verdict, Some(Verdict::Accept(_))))
        });
        if n % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    while let Some(login) = logins.join_next().await {
        let (n, accepted) = login.unwrap();
        assert_eq!(accepted, n % 3 != 0);
    }
    let counts = server.counts();
    assert_eq!((counts.requests, counts.accepts), (600, 400));
}
