//! The JSON API, as a program uses it.

use std::time::Duration;

use causeway_proto::radius::AttributeType;
use harness::radius_server::{Fault, Script};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::house::{FAILSAFE, GATEWAY_KEY, House, key};

/// A person who takes a while to find the phone.
fn slow(delay: Duration) -> Script {
    Script {
        delay,
        ..Script::default()
    }
}

fn asks_for(code: &str) -> Script {
    Script {
        fault: Fault::Code(code.into()),
        ..Script::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_break_off_and_come_again_and_the_phone_rings_once() {
    let house = House::new(slow(Duration::from_millis(1500))).await;
    let id = house.login("alice", "wonderland", 7).await;
    assert_eq!(house.pending(), 1);
    for _ in 0..3 {
        // Asks to wait and hangs up.
        let mut broken = house.connect().await;
        let request = format!("GET /enrol/api/v1/login/{id}?wait=20 HTTP/1.1\r\nHost: x\r\n\r\n");
        broken.write_all(request.as_bytes()).await.unwrap();
        broken.flush().await.unwrap();
        drop(broken);
        let seen = house.look(&id, 0).await;
        assert_eq!(
            (seen.status, &seen.json()["state"]),
            (200, &json!("pending"))
        );
    }
    let accepted = timeout(FAILSAFE, house.follow(&id)).await.unwrap();
    assert_eq!(accepted.status, 200);
    let accepted = accepted.json();
    let [device] = &house.devices.list()[..] else {
        panic!("one device");
    };
    assert_eq!(
        (device.user().as_bytes(), device.name()),
        (&b"alice"[..], "phone")
    );
    assert_eq!(device.key().to_string(), key(7));
    // What the user has been told, no restart forgets.
    assert!(
        std::fs::read_to_string(&house.file)
            .unwrap()
            .contains(&key(7))
    );
    let address = device.address().to_string();
    let secret = device.preshared_key().unwrap().expose_base64();
    assert_eq!(
        accepted,
        json!({
            "login": id, "state": "accepted", "elapsed": accepted["elapsed"],
            "address": address, "prefix": 32, "server_public_key": GATEWAY_KEY,
            "preshared_key": secret.as_str(),
            "endpoint": "vpn.example.com:5008", "allowed_ips": ["10.0.0.0/8"], "dns": ["10.0.0.10"], "mtu": 1400,
            "keepalive": 25, "expires": "2027-01-15T08:00:00Z", "profile": accepted["profile"],
        })
    );
    let profile = accepted["profile"].as_str().unwrap();
    let place = format!("PrivateKey = PASTE-YOUR-PRIVATE-KEY-HERE\nAddress = {address}/32\n");
    assert!(profile.contains(&place));
    assert_eq!(house.server.counts().requests, 1);
    assert_eq!(house.pending(), 0);
    assert!(house.logins.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_asked_for_and_the_state_stays_here() {
    let house = House::new(asks_for("123456")).await;
    let id = house.login("alice", "wonderland", 7).await;
    let seen = house.follow(&id).await;
    let asked = seen.json();
    assert_eq!(
        (&asked["state"], &asked["message"]),
        (&json!("challenge"), &json!("Enter your code"))
    );
    // The server's State is its own affair.
    assert!(!seen.body.contains("the code"));
    assert_eq!(
        house.pending(),
        1,
        "a log-in that waits for a code is pending"
    );
    let path = format!("/enrol/api/v1/login/{id}/answer");
    let taken = house.post_json(&path, &json!({"code": "123456"})).await;
    assert_eq!(
        (taken.status, &taken.json()["state"]),
        (202, &json!("pending"))
    );
    let accepted = house.follow(&id).await.json();
    assert_eq!(accepted["state"], "accepted");
    assert_eq!(house.server.counts().requests, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_nobody_asked_for_is_not_taken_and_a_wrong_one_is_refused() {
    let house = House::new(slow(Duration::from_millis(700))).await;
    let id = house.login("bob", "builder", 7).await;
    let path = format!("/enrol/api/v1/login/{id}/answer");
    let early = house.post_json(&path, &json!({"code": "123456"})).await;
    assert_eq!(
        (early.status, &early.json()["error"]["code"]),
        (409, &json!("not_asked"))
    );
    assert_eq!(house.follow(&id).await.json()["state"], "accepted");

    house.server.change(|script| *script = asks_for("123456"));
    let id = house.login("alice", "wonderland", 8).await;
    assert_eq!(house.follow(&id).await.json()["state"], "challenge");
    let path = format!("/enrol/api/v1/login/{id}/answer");
    assert_eq!(
        house
            .post_json(&path, &json!({"code": "654321"}))
            .await
            .status,
        202
    );
    let refused = house.follow(&id).await.json();
    assert_eq!(
        (&refused["state"], &refused["code"]),
        (&json!("refused"), &json!("rejected"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_with_a_comma_is_not_taken_apart() {
    let mut script = asks_for("123456");
    script.users.insert("carol".into(), "secret,123456".into());
    let house = House::new(script).await;
    let id = house.login("carol", "secret,123456", 7).await;
    // A page can ask; the client without one would have sent the password `secret` and the code.
    assert_eq!(house.follow(&id).await.json()["state"], "challenge");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_an_unknown_user() {
    let house = House::new(Script {
        reject_message: Some("No such user here".into()),
        ..Script::default()
    })
    .await;
    let mut seen = Vec::new();
    for user in ["alice", "nobody"] {
        let id = house.login(user, "wrong", 7).await;
        let refused = house.follow(&id).await;
        seen.push((
            refused.status,
            refused.body.replace(&id, "ID"),
            refused.head.lines().count(),
        ));
    }
    assert_eq!(seen[0], seen[1]);
    assert!(
        seen[0].1.contains("\"state\":\"refused\"") && seen[0].1.contains("\"code\":\"rejected\"")
    );
    assert!(!seen[0].1.contains("No such user"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_one_owner_and_a_renewal_keeps_the_address() {
    let house = House::new(Script::default()).await;
    let first = house.whole("alice", "wonderland", 7).await.json();
    assert_eq!(first["state"], "accepted");
    let other = house.whole("bob", "builder", 7).await.json();
    assert_eq!(
        (&other["state"], &other["code"]),
        (&json!("refused"), &json!("key_in_use"))
    );
    assert!(other.get("address").is_none() && other.get("profile").is_none());
    let again = house.whole("alice", "wonderland", 7).await.json();
    assert_eq!(again["address"], first["address"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sixth_device_is_one_too_many() {
    let house = House::new(Script::default()).await;
    for number in 1..=5 {
        assert_eq!(
            house.whole("alice", "wonderland", number).await.json()["state"],
            "accepted"
        );
    }
    let sixth = house.whole("alice", "wonderland", 6).await.json();
    assert_eq!(
        (&sixth["state"], &sixth["code"]),
        (&json!("refused"), &json!("too_many_devices"))
    );
    assert_eq!(
        house.whole("bob", "builder", 6).await.json()["state"],
        "accepted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_given_once() {
    let house = House::new(Script::default()).await;
    let id = house.login("alice", "wonderland", 7).await;
    assert_eq!(house.follow(&id).await.json()["state"], "accepted");
    let replayed = house.look(&id, 1).await;
    assert_eq!(
        (replayed.status, &replayed.json()["error"]["code"]),
        (404, &json!("unknown_login"))
    );
    let path = format!("/enrol/api/v1/login/{id}/answer");
    assert_eq!(
        house.post_json(&path, &json!({"code": "1"})).await.status,
        404
    );
    for guess in ["", "0", &"0".repeat(64), &id.to_uppercase(), "%30"] {
        assert_eq!(house.look(guess, 0).await.status, 404, "{guess}");
    }
    // One log-in, one key.
    assert_eq!(house.server.counts().requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_log_in_waits_for_the_first_prompt() {
    let mut script = slow(Duration::from_millis(1200));
    script.users.insert("ALICE".into(), "wonderland".into());
    let house = House::new(script).await;
    let first = house.login("alice", "wonderland", 7).await;
    let second = house.login("ALICE", "wonderland", 8).await;
    assert_eq!(house.look(&first, 0).await.json()["state"], "pending");
    assert_eq!(house.server.counts().requests, 1);
    assert_eq!(house.follow(&first).await.json()["state"], "accepted");
    assert_eq!(house.follow(&second).await.json()["state"], "accepted");
    assert_eq!(house.server.counts().requests, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_ins_that_are_pending_are_counted() {
    let house = House::with_pending(slow(Duration::from_millis(900)), 2).await;
    let ids = [
        house.login("alice", "wonderland", 7).await,
        house.login("bob", "builder", 8).await,
    ];
    let third = house.begin("carol", "x", 9).await;
    assert_eq!(
        (third.status, &third.json()["error"]["code"]),
        (503, &json!("busy"))
    );
    for id in &ids {
        assert_eq!(house.follow(id).await.json()["state"], "accepted");
    }
    assert_eq!(house.begin("carol", "x", 9).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_told_so_and_gets_nothing() {
    let house = House::new(Script {
        attributes: vec![(AttributeType::FILTER_ID, b"no-such-filter".to_vec())],
        ..Script::default()
    })
    .await;
    let refused = house.whole("alice", "wonderland", 7).await.json();
    assert_eq!(
        (&refused["state"], &refused["code"]),
        (&json!("refused"), &json!("not_allowed"))
    );
    assert!(house.devices.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_log_in_is_named_and_nobody_is_asked() {
    let house = House::new(Script::default()).await;
    let good = json!({"user": "alice", "password": "x", "device": "phone", "public_key": key(7)});
    let with = |name: &str, value: &str| {
        let mut body = good.clone();
        body[name] = json!(value);
        body
    };
    let rows = [
        (json!({}), "bad_request"),
        (with("is_admin", "true"), "bad_request"),
        (with("user", ""), "bad_user"),
        (with("password", ""), "bad_password"),
        (with("public_key", "AAAA"), "bad_public_key"),
        (with("device", "a\nPostUp = x"), "bad_device"),
    ];
    for (body, code) in rows {
        let refused = house.post_json("/enrol/api/v1/login", &body).await;
        assert_eq!(
            (refused.status, &refused.json()["error"]["code"]),
            (400, &json!(code))
        );
    }
    assert_eq!(house.server.counts().requests, 0);
}
