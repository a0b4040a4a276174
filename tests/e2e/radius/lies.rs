//! Every lie ahead of the truth: the truth still counts, and nobody is let in for a lie.

use harness::radius_server::{LIES, Lie, Worth};

use super::*;

async fn told(lie: &'static Lie, password: &str) -> Outcome {
    let server = faulty(Fault::Lie(lie));
    let client = client(&server);
    let outcome = ask(&client, ms_chap("alice", password)).await;
    let counts = server.counts();
    assert_eq!(counts.requests, 1, "{lie:?}");
    outcome
}

#[tokio::test]
async fn the_truth_counts_behind_every_lie() {
    let mut all = tokio::task::JoinSet::new();
    for lie in LIES {
        all.spawn(async move {
            let right = told(lie, "wonderland").await;
            let wrong = told(lie, "wrong").await;
            match lie.worth {
                Worth::Nothing => {
                    assert_eq!(right.result, RadiusResult::Accept, "{lie:?}");
                    accepted(&right);
                    assert_eq!(wrong.result, RadiusResult::RejectFast, "{lie:?}");
                    refused(&wrong, RadiusResult::RejectFast, RefuseReason::Rejected);
                }
                Worth::Unreadable => {
                    assert_eq!(right.result, RadiusResult::Malformed, "{lie:?}");
                    assert!(right.refusal.is_some(), "{lie:?}");
                    assert!(wrong.refusal.is_some(), "{lie:?}");
                }
            }
            for outcome in [right, wrong] {
                assert!(outcome.elapsed < AT_ONCE, "{lie:?}");
            }
        });
    }
    while let Some(one) = all.join_next().await {
        one.unwrap();
    }
}

/// With the right password and with a wrong one, so many times each.
const ROUNDS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a while: two hundred log-ins behind each lie"]
async fn two_hundred_log_ins_behind_every_lie_are_all_decided_by_the_truth() {
    for lie in LIES {
        let server = faulty(Fault::Lie(lie));
        for _ in 0..ROUNDS {
            // A new one each time: one that guesses is braked.
            let right = ask(&client(&server), ms_chap("alice", "wonderland")).await;
            let wrong = ask(&client(&server), ms_chap("alice", "wrong")).await;
            let (expected, lets_in) = match lie.worth {
                Worth::Nothing => (RadiusResult::Accept, true),
                Worth::Unreadable => (RadiusResult::Malformed, false),
            };
            assert_eq!(right.result, expected, "{lie:?}");
            assert_eq!(right.refusal.is_none(), lets_in, "{lie:?}");
            assert!(wrong.refusal.is_some(), "{lie:?}");
        }
        assert_eq!(server.counts().requests, 2 * ROUNDS, "{lie:?}");
    }
}

#[test]
fn there_are_as_many_lies_as_were_promised() {
    let mut names: Vec<_> = LIES.iter().map(|lie| lie.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), LIES.len(), "each has its own name");
    assert!(names.len() >= 62, "{}", names.len());
}
