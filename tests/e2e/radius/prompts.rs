//! At most one prompt for a user, codes behind passwords, and brakes on guessing.

use super::*;

fn guarded(
    server: &RadiusServer,
    policy: DuplicatePolicy,
    pap_code_split: bool,
) -> std::sync::Arc<Authenticator> {
    let window = Duration::from_secs(60);
    let duplicates = DuplicateLogins { policy, window };
    guarded_by(server, duplicates, pap_code_split)
}

fn guarded_by(
    server: &RadiusServer,
    duplicates: DuplicateLogins,
    pap_code_split: bool,
) -> std::sync::Arc<Authenticator> {
    let config = Config {
        servers: vec![Server {
            name: "nps".into(),
            address: server.address().ip(),
            auth_port: server.address().port(),
            secret: Script::default().secret.as_slice().into(),
            source: None,
            status: StatusServer::Off,
            tls: None,
        }],
        ..Config::default()
    };
    let (transport, driver) = Transport::new(config).unwrap();
    tokio::spawn(driver.run());
    let radius = RadiusAuthenticator::new(transport, true).with_pap_code_split(pap_code_split);
    std::sync::Arc::new(Authenticator::radius(radius, Some(duplicates)))
}

/// Logs in from a device of its own, at an address of its own.
async fn dial(authenticator: &Authenticator, device: u8, credentials: Credentials) -> Outcome {
    let mut applicant = applicant();
    applicant.session = format!("{device:08x}");
    applicant.remote.set_ip([198, 51, 100, device].into());
    let deadline = Instant::now() + Duration::from_secs(58);
    authenticator
        .authenticate(&applicant, credentials, deadline)
        .await
}

fn slow() -> RadiusServer {
    RadiusServer::start(Script {
        delay: Duration::from_millis(300),
        ..Script::default()
    })
    .unwrap()
}

#[tokio::test]
async fn a_second_device_waits_for_the_prompt_of_the_first() {
    let server = slow();
    let client = guarded(&server, DuplicatePolicy::Wait, false);
    let first = tokio::spawn({
        let client = client.clone();
        async move { dial(&client, 1, pap("alice", "wonderland")).await }
    });
    while server.counts().requests == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let second = tokio::spawn({
        let client = client.clone();
        async move { dial(&client, 2, pap("ALICE", "wrong")).await }
    });
    accepted(&dial(&client, 3, pap("bob", "builder")).await);
    accepted(&first.await.unwrap());
    // Bob's answer came behind Alice's first; her second request went out only then.
    let outcome = second.await.unwrap();
    assert_eq!(outcome.result, RadiusResult::RejectFast);
    assert_eq!(server.counts().requests, 3);
}

#[tokio::test]
async fn a_second_device_is_refused_where_the_policy_says_so() {
    let server = slow();
    let client = guarded(&server, DuplicatePolicy::Refuse, false);
    let (first, second) = tokio::join!(dial(&client, 1, pap("alice", "wonderland")), async {
        while server.counts().requests == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        dial(&client, 2, pap("alice", "wonderland")).await
    });
    accepted(&first);
    refused(&second, RadiusResult::NotAsked, RefuseReason::Busy);
    assert!(second.explanation.unwrap().contains("duplicate_logins"));
    assert_eq!(server.counts().requests, 1);
}

#[tokio::test]
async fn a_client_that_dials_again_waits_for_the_late_answer_to_its_first_try() {
    let server = slow();
    let client = guarded(&server, DuplicatePolicy::Wait, false);
    let left = tokio::time::timeout(
        Duration::from_millis(100),
        dial(&client, 1, pap("alice", "wonderland")),
    );
    assert!(left.await.is_err());
    // Without the late answer it would wait for the rest of the minute.
    let outcome = dial(&client, 2, pap("alice", "wonderland")).await;
    accepted(&outcome);
    assert_eq!(server.counts().requests, 2);
}

#[tokio::test]
async fn who_has_waited_until_too_little_time_is_left_causes_no_prompt() {
    let server = faulty(Fault::Silence);
    let duplicates = DuplicateLogins {
        policy: DuplicatePolicy::Wait,
        window: Duration::from_secs(3),
    };
    let client = guarded_by(&server, duplicates, false);
    let left = tokio::time::timeout(
        Duration::from_millis(100),
        dial(&client, 1, pap("alice", "wonderland")),
    );
    assert!(left.await.is_err());
    // The window ends when a quarter of its time is left.
    let deadline = Instant::now() + Duration::from_secs(4);
    let mut applicant = applicant();
    applicant.session = "00000002".into();
    let outcome = client
        .authenticate(&applicant, pap("alice", "wonderland"), deadline)
        .await;
    refused(&outcome, RadiusResult::NotAsked, RefuseReason::Busy);
    assert!(outcome.explanation.unwrap().contains("duplicate_logins"));
    assert_eq!(server.counts().requests, 1);
}

#[tokio::test]
async fn prompts_that_are_approved_too_late_are_six_an_hour() {
    let server = RadiusServer::start(Script {
        delay: Duration::from_millis(1100),
        ..Script::default()
    })
    .unwrap();
    let client = guarded(&server, DuplicatePolicy::Wait, false);
    let login = |session: usize| {
        let mut applicant = applicant();
        applicant.session = format!("{session:08x}");
        let client = client.clone();
        async move {
            let deadline = Instant::now() + Duration::from_secs(58);
            client
                .authenticate(&applicant, pap("alice", "wonderland"), deadline)
                .await
        }
    };
    for session in 1..=6 {
        let attempt = tokio::spawn(login(session));
        while server.counts().requests < session {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        attempt.abort();
        assert!(attempt.await.unwrap_err().is_cancelled());
    }
    // Each has waited for the answer to the one before; somebody else learns when the last has come.
    accepted(&dial(&client, 9, pap("alice", "wonderland")).await);
    let outcome = login(7).await;
    refused(&outcome, RadiusResult::NotAsked, RefuseReason::Busy);
    assert!(outcome.explanation.unwrap().contains("answered too late"));
    assert_eq!(server.counts().requests, 7);
}

#[tokio::test]
async fn those_who_share_an_outer_identity_do_not_wait_for_each_other() {
    let server = faulty(Fault::Silence);
    let client = guarded(&server, DuplicatePolicy::Refuse, false);
    let first_round = |user: &str| Credentials::Eap {
        user: identity(user),
        message: vec![2, 0, 0, 5, 1],
        state: None,
    };
    let mut open = tokio::task::JoinSet::new();
    for (device, user) in [(1, "Anonymous@example.com"), (2, "alice@example.com")] {
        let (client, round) = (client.clone(), first_round(user));
        open.spawn(async move { dial(&client, device, round).await });
    }
    while server.counts().requests < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let outcome = dial(&client, 3, first_round("alice@example.com")).await;
    refused(&outcome, RadiusResult::NotAsked, RefuseReason::Busy);
    let (client, round) = (client.clone(), first_round("anonymous@example.com"));
    open.spawn(async move { dial(&client, 3, round).await });
    while server.counts().requests < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        // Nobody has been refused.
        assert!(open.try_join_next().is_none());
    }
}

#[tokio::test]
async fn a_code_behind_the_password_answers_the_question() {
    let server = faulty(Fault::Code("123456".into()));
    let client = guarded(&server, DuplicatePolicy::Wait, true);
    accepted(&dial(&client, 1, pap("alice", "wonderland,123456")).await);
    assert_eq!(server.counts().requests, 2);
    let outcome = dial(&client, 2, pap("alice", "wonderland,654321")).await;
    refused(&outcome, RadiusResult::RejectFast, RefuseReason::Rejected);
    // The password was wrong, so no code was asked for.
    let outcome = dial(&client, 3, pap("alice", "wrong,123456")).await;
    refused(&outcome, RadiusResult::RejectFast, RefuseReason::Rejected);
    assert_eq!(server.counts().requests, 5);
    // Nothing to answer with.
    let outcome = dial(&client, 4, pap("alice", "wonderland")).await;
    let reason = RefuseReason::ChallengeNotSupported;
    refused(&outcome, RadiusResult::Challenge, reason);
    let explanation = outcome.explanation.unwrap();
    assert!(explanation.contains("OVERRIDE_NUMBER_MATCHING_WITH_OTP"));
}

#[tokio::test]
async fn without_the_switch_a_question_fails_at_once() {
    let server = faulty(Fault::Code("123456".into()));
    let client = guarded(&server, DuplicatePolicy::Wait, false);
    let outcome = dial(&client, 1, pap("alice", "wonderland,123456")).await;
    refused(&outcome, RadiusResult::RejectFast, RefuseReason::Rejected);
    let outcome = dial(&client, 2, pap("alice", "wonderland")).await;
    let reason = RefuseReason::ChallengeNotSupported;
    refused(&outcome, RadiusResult::Challenge, reason);
    assert!(outcome.elapsed < AT_ONCE);
}

#[tokio::test]
async fn guessing_is_braked_for_the_guesser_alone() {
    let server = faulty(Fault::None);
    let radius = guarded(&server, DuplicatePolicy::Wait, false);
    let users = std::sync::Arc::new(Authenticator::users(UserFile::dev()));
    // As many as fit into what a client waits: the second is due 1 s after the first, then 2, 4, 8, 16. Half of it is a
    // person's, where there may be one to be prompted.
    for (client, tried) in [(radius, 2), (users, 3)] {
        let mut guesses = tokio::task::JoinSet::new();
        for n in 0..12 {
            let client = client.clone();
            guesses.spawn(async move {
                let mut applicant = applicant();
                applicant.session = format!("{n:08x}");
                let deadline = Instant::now() + Duration::from_secs(4);
                let guess = pap("alice", &format!("guess{n}"));
                client.authenticate(&applicant, guess, deadline).await
            });
        }
        let (mut asked, mut held) = (0, 0);
        while let Some(outcome) = guesses.join_next().await {
            match outcome.unwrap().result {
                RadiusResult::RejectFast => asked += 1,
                RadiusResult::NotAsked => held += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((asked, held), (tried, 12 - tried));
        // Alice herself is somewhere else.
        let outcome = dial(&client, 9, pap("alice", "wonderland")).await;
        accepted(&outcome);
        assert!(outcome.elapsed < AT_ONCE);
    }
}
