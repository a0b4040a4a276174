//! Who is let in, and what a client hears who is not.

use super::*;

#[tokio::test]
async fn pap_and_ms_chap_log_in_with_what_the_policy_allows() {
    let server = RadiusServer::start(Script {
        attributes: vec![
            (AttributeType::FRAMED_IP_ADDRESS, vec![10, 99, 0, 7]),
            (AttributeType::SESSION_TIMEOUT, 3600u32.to_be_bytes().into()),
            (AttributeType::CLASS, b"one".to_vec()),
            (AttributeType::CLASS, b"two".to_vec()),
            (AttributeType::FILTER_ID, b"staff".to_vec()),
        ],
        ..Script::default()
    })
    .unwrap();
    let client = client(&server);
    let outcome = ask(&client, pap("alice", "wonderland")).await;
    let a = accepted(&outcome);
    assert_eq!((&a.proof, &a.keys), (&Proof::Message(String::new()), &None));
    assert_eq!(outcome.server.as_deref(), Some("nps0"));

    let outcome = ask(&client, ms_chap("CORP\\bob", "builder")).await;
    let a = accepted(&outcome);
    let hash = nt_password_hash("builder");
    let nt_response = response("bob", "builder");
    assert_eq!(a.keys, Some(server_keys(&hash, &nt_response)));
    let Proof::MsChapV2(text) = &a.proof else {
        panic!("{:?}", a.proof);
    };
    assert!(verify_authenticator_response(
        text.as_bytes(),
        &hash,
        &nt_response,
        (&PEER, &CHALLENGE),
        b"bob"
    ));
    assert_eq!(a.address, FramedAddress::Fixed([10, 99, 0, 7].into()));
    assert_eq!(a.session_timeout, Some(Duration::from_secs(3600)));
    assert_eq!(a.class, [b"one".to_vec(), b"two".to_vec()]);
    assert_eq!(a.filter.as_deref(), Some("staff"));
    assert_eq!(server.counts().requests, 2);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_are_rejected() {
    let server = RadiusServer::start(Script {
        reject_message: Some("Dial-in denied".into()),
        ..Script::default()
    })
    .unwrap();
    let client = client(&server);
    for credentials in [
        pap("alice", "wrong"),
        pap("eve", "wonderland"),
        ms_chap("alice", "wrong"),
        ms_chap("eve", "wonderland"),
    ] {
        let method = credentials.method();
        let outcome = ask(&client, credentials).await;
        refused(&outcome, RadiusResult::RejectFast, RefuseReason::Rejected);
        let explanation = outcome.explanation.clone().unwrap();
        assert!(explanation.contains("6273") && explanation.contains("Dial-in denied"));
        let error = outcome.rejection().ms_chap_error;
        match method {
            AuthMethod::MsChapV2 => assert!(error.unwrap().starts_with("E=691 R=1 C=")),
            _ => assert_eq!(error, None),
        }
    }
}

#[tokio::test]
async fn an_eap_conversation_is_relayed_with_its_state() {
    let server = faulty(Fault::None);
    let client = client(&server);
    let round = async |message: Vec<u8>, state: Option<Challenge>| {
        let user = identity("alice");
        ask(
            &client,
            Credentials::Eap {
                user,
                message,
                state,
            },
        )
        .await
    };
    let mut hello = vec![2, 1, 0, 10, 1];
    hello.extend(b"alice");
    let outcome = round(hello.clone(), None).await;
    assert_eq!(
        (outcome.result, outcome.refusal),
        (RadiusResult::Challenge, None)
    );
    let Some(Verdict::Challenge(challenge)) = outcome.verdict else {
        panic!("{:?}", outcome.verdict);
    };
    let identifier = challenge.eap[1];
    let answer = md5_of(&[&[identifier], b"wonderland", &challenge.eap[6..22]]);
    let mut message = vec![2, identifier, 0, 22, 4, 16];
    message.extend(answer);
    let outcome = round(message.clone(), Some(challenge.clone())).await;
    let a = accepted(&outcome);
    assert_eq!(a.proof, Proof::Eap(vec![3, identifier, 0, 4]));
    assert!(matches!(&a.keys, Some(InnerKeys { recv, .. }) if recv.expose() == [0xaa; 32]));
    // The conversation is over: its state opens nothing again.
    let outcome = round(message, Some(challenge)).await;
    refused(&outcome, RadiusResult::RejectFast, RefuseReason::Rejected);
    assert_eq!(outcome.rejection().eap, Some(vec![4, identifier, 0, 4]));
}

#[tokio::test]
async fn a_code_cannot_be_asked_for() {
    let server = faulty(Fault::AskForCode);
    for credentials in [pap("alice", "wonderland"), ms_chap("alice", "wonderland")] {
        let outcome = ask(&client(&server), credentials).await;
        refused(
            &outcome,
            RadiusResult::Challenge,
            RefuseReason::ChallengeNotSupported,
        );
        let explanation = outcome.explanation.unwrap();
        assert!(explanation.contains("OVERRIDE_NUMBER_MATCHING_WITH_OTP=FALSE"));
        assert!(explanation.contains("Enter your code"));
    }
}

#[tokio::test]
async fn a_reject_reaches_the_client_in_the_servers_words() {
    let text = "E=649 R=0 C=00112233445566778899AABBCCDDEEFF V=3 M=No dial-in";
    let server = faulty(Fault::Reject(text.into()));
    let outcome = ask(&client(&server), ms_chap("alice", "wonderland")).await;
    refused(&outcome, RadiusResult::RejectFast, RefuseReason::Rejected);
    assert_eq!(outcome.rejection().ms_chap_error.as_deref(), Some(text));
}

#[tokio::test]
async fn the_user_file_answers_in_the_servers_place() {
    let users = Authenticator::users(UserFile::dev());
    let outcome = ask(&users, ms_chap("alice", "wonderland")).await;
    assert!(accepted(&outcome).keys.is_some());
    let outcome = ask(&users, ms_chap("alice", "wrong")).await;
    refused(&outcome, RadiusResult::RejectFast, RefuseReason::Rejected);
    let error = outcome.rejection().ms_chap_error.unwrap();
    assert!(error.starts_with("E=691 R=0 C="));
    assert!(users.supports(AuthMethod::MsChapV2) && !users.supports(AuthMethod::Eap));
    assert_eq!(users.health(), AuthHealth::Up);
}
