//! Answers that must not be believed, or cannot be used.

use causeway::client::Tunnel;

use super::house::House;
use super::*;

#[tokio::test]
async fn each_way_to_forge_an_answer_has_its_own_name() {
    use RadiusResult as R;
    let rows = [
        (Fault::WrongSecret, R::BadAuthenticator),
        (Fault::WrongAuthenticator, R::BadAuthenticator),
        (
            Fault::NoMessageAuthenticator,
            R::MessageAuthenticatorMissing,
        ),
        (
            Fault::WrongMessageAuthenticator,
            R::MessageAuthenticatorInvalid,
        ),
        (Fault::WrongCode(Code::ACCOUNTING_RESPONSE), R::Malformed),
        (Fault::WrongIdentifier, R::ServerSilent),
        (Fault::OtherPort, R::ServerSilent),
        (Fault::Silence, R::ServerSilent),
    ];
    let mut all = tokio::task::JoinSet::new();
    for (fault, result) in rows {
        all.spawn(async move {
            let server = faulty(fault.clone());
            let client = hasty_client(&server);
            let (one, other) = tokio::join!(
                ask(&client, pap("alice", "wonderland")),
                ask(&client, ms_chap("alice", "wonderland"))
            );
            for outcome in [one, other] {
                refused(&outcome, result, RefuseReason::NoAnswer);
                assert!(outcome.elapsed >= HASTY, "{fault:?}");
            }
            let counts = server.counts();
            assert_eq!((counts.requests, counts.identical), (2, 2), "{fault:?}");
        });
    }
    while let Some(one) = all.join_next().await {
        one.unwrap();
    }
}

#[tokio::test]
async fn the_true_answer_counts_behind_a_thousand_forged_ones() {
    let server = faulty(Fault::ForgedAhead(1000));
    let client = client(&server);
    accepted(&ask(&client, ms_chap("alice", "wonderland")).await);
    let outcome = ask(&client, ms_chap("alice", "wrong")).await;
    refused(&outcome, RadiusResult::RejectFast, RefuseReason::Rejected);
}

#[tokio::test]
async fn an_accept_that_lacks_something_is_refused_at_once() {
    let rows = [
        (Fault::NoKeys, "MS-MPPE-Recv-Key"),
        (Fault::ShortKeys, "key of 8 octets"),
        (Fault::NoSuccess, "MS-CHAP2-Success"),
    ];
    for (fault, words) in rows {
        let server = faulty(fault);
        let outcome = ask(&client(&server), ms_chap("alice", "wonderland")).await;
        refused(&outcome, RadiusResult::Malformed, RefuseReason::MissingKeys);
        assert!(outcome.elapsed < AT_ONCE);
        let explanation = outcome.explanation.unwrap();
        assert!(explanation.contains(words), "{explanation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_before_its_time_opens_nothing() {
    let rows = [
        (Fault::EarlyAccept, "before an EAP method has run"),
        (Fault::SuccessInChallenge, "cannot be used"),
    ];
    for (fault, words) in rows {
        let server = faulty(fault.clone());
        let hello = Credentials::Eap {
            user: identity("alice"),
            message: b"\x02\x01\x00\x0a\x01alice".to_vec(),
            state: None,
        };
        let outcome = ask(&client(&server), hello).await;
        refused(
            &outcome,
            RadiusResult::Malformed,
            RefuseReason::BadAuthorization,
        );
        let explanation = outcome.explanation.unwrap();
        assert!(explanation.contains(words), "{explanation}");

        // The same with a whole gateway and a client that runs the method.
        let house = House::start(
            Script {
                fault,
                ..Script::default()
            },
            |settings| settings.sstp.auth = vec![AuthMethod::Eap],
        );
        let options = house.options_by(AuthMethod::Eap, "alice", "wonderland");
        let Err(refused) = Tunnel::connect(&options).await else {
            panic!("a session");
        };
        assert!(refused.to_string().contains("auth_refused"), "{refused}");
        assert_eq!(house.server.counts().requests, 1);
        house.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_signed_answer_with_a_bad_attribute_lets_nobody_in() {
    let bad: [&[u8]; 12] = [
        &[27, 0],
        &[27, 1],
        &[27, 3, 0],
        &[27, 7, 0, 0, 0, 0, 9],
        &[27, 255, 0, 0],
        &[8, 5, 10, 0, 0],
        &[25, 2],
        &[11, 2],
        &[1, 2],
        &[26, 3, 0],
        &[26, 8, 0, 0, 1, 55, 28, 0],
        &[26, 8, 0, 0, 1, 55, 28, 9],
    ];
    for octets in bad {
        let server = faulty(Fault::Octets(octets.to_vec()));
        let outcome = ask(&client(&server), ms_chap("alice", "wonderland")).await;
        refused(
            &outcome,
            RadiusResult::Malformed,
            RefuseReason::BadAuthorization,
        );
        let explanation = outcome.explanation.unwrap();
        assert!(explanation.contains("cannot be used"), "{explanation}");
    }
}

#[tokio::test]
async fn an_old_server_is_believed_when_the_configuration_says_so() {
    let server = faulty(Fault::NoMessageAuthenticator);
    let (client, _) = client_of(&[server.address()], |c| {
        c.message_authenticator = Demand::IfPresent;
    });
    accepted(&ask(&client, ms_chap("alice", "wonderland")).await);
    server.change(|script| script.fault = Fault::WrongMessageAuthenticator);
    let (client, _) = client_of(&[server.address()], |c| {
        c.message_authenticator = Demand::IfPresent;
        c.timeout = HASTY;
    });
    let outcome = ask(&client, ms_chap("alice", "wonderland")).await;
    refused(
        &outcome,
        RadiusResult::MessageAuthenticatorInvalid,
        RefuseReason::NoAnswer,
    );
}
