//! What strangers may take of the log-in: time, room and paths.

use harness::radius_server::Script;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::house::{FAILSAFE, House, post, receive};

const JSON: &str = "Content-Type: application/json\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_strict() {
    let house = House::new(Script::default()).await;
    for path in [
        "/enrol/",
        "/enrol/page.js",
        "/enrol/page.css",
        "/enrol/nothing",
        "/enrol/api/v1/login/0",
    ] {
        let response = house.get(path, "").await;
        let field = |name: &str| response.fields(name).join(";");
        let policy = field("content-security-policy");
        for wanted in [
            "default-src 'none'",
            "script-src 'self';",
            "style-src 'self';",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        ] {
            assert!(policy.contains(wanted), "{path}: {wanted}");
        }
        assert!(!policy.contains("unsafe"));
        assert_eq!(field("cache-control"), "no-store");
        assert_eq!(field("x-content-type-options"), "nosniff");
        assert_eq!(field("x-frame-options"), "DENY");
        assert_eq!(field("referrer-policy"), "same-origin");
        assert_eq!(field("access-control-allow-origin"), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_methods_that_are_not_there_are_refused() {
    let house = House::new(Script::default()).await;
    for path in [
        "/enrol/x",
        "/enrol/api/",
        "/enrol/api/v2/login",
        "/enrol/login/",
        "/enrol/%2e%2e/",
        "/enrolment",
        "/",
    ] {
        assert_eq!(house.get(path, "").await.status, 404, "{path}");
    }
    assert_eq!(
        house.get("/enrol", "").await.fields("location"),
        ["/enrol/"]
    );
    let rows = [
        ("DELETE", "/enrol/", "GET, HEAD"),
        ("GET", "/enrol/answer", "POST"),
        ("GET", "/enrol/api/v1/login", "POST"),
        ("HEAD", "/enrol/api/v1/login/0", "GET"),
        ("OPTIONS", "/enrol/api/v1/login", "POST"),
    ];
    for (method, path, allowed) in rows {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let mut stream = house.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut octets = vec![0; 4096];
        let read = stream.read(&mut octets).await.unwrap();
        let head = String::from_utf8_lossy(&octets[..read]).to_lowercase();
        assert!(head.starts_with("http/1.1 405 "), "{method} {path}: {head}");
        assert!(head.contains(&format!("allow: {}\r\n", allowed.to_lowercase())));
    }
    // The door's own answers are as they were.
    assert_eq!(house.raw(b"POST / HTTP/1.1\r\n\r\n").await.status, 405);
    let duplex = b"SSTP_DUPLEX_POST /enrol/ HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(house.raw(duplex).await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_slow_or_long_are_cut() {
    let house = House::new(Script::default()).await;
    // Announced and not sent.
    let mut slow = house.connect().await;
    let head = format!(
        "POST /enrol/api/v1/login HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: 400\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    // Octet by octet, without an end.
    let mut drip = house.connect().await;
    drip.write_all(head.as_bytes()).await.unwrap();
    let dripping = async {
        let (mut reader, mut writer) = tokio::io::split(drip);
        let pour = async {
            while writer.write_all(b" ").await.is_ok() && writer.flush().await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut octets = Vec::new();
        tokio::select! {
            _ = reader.read_to_end(&mut octets) => octets,
            () = pour => unreachable!(),
        }
    };
    let (slow, dripping) = timeout(FAILSAFE, async {
        tokio::join!(receive(&mut slow), dripping)
    })
    .await
    .unwrap();
    let slow = slow.unwrap();
    assert_eq!(
        (slow.status, slow.fields("connection")),
        (408, vec!["close"])
    );
    assert!(dripping.starts_with(b"HTTP/1.1 408 "));

    let long = house
        .post("/enrol/api/v1/login", JSON, &" ".repeat(5000))
        .await;
    assert_eq!(long.status, 413);
    let chunked = "POST /enrol/api/v1/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(house.raw(chunked.as_bytes()).await.status, 400);
    let wide = format!("X-Padding: {}\r\n", "x".repeat(9000));
    assert_eq!(house.get("/enrol/", &wide).await.status, 431);
    assert_eq!(house.server.counts().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_serves_polls_and_one_post() {
    let house = House::new(Script::default()).await;
    let mut stream = house.connect().await;
    for _ in 0..3 {
        stream
            .write_all(b"GET /enrol/page.css HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(receive(&mut stream).await.unwrap().status, 200);
    }
    // A second one behind the first is not looked at.
    let both = [
        post("/enrol/api/v1/login", JSON, "{}"),
        post("/enrol/api/v1/login", JSON, "{}"),
    ]
    .concat();
    stream.write_all(both.as_bytes()).await.unwrap();
    let first = receive(&mut stream).await.unwrap();
    assert_eq!(
        (first.status, first.fields("connection")),
        (400, vec!["close"])
    );
    assert!(receive(&mut stream).await.is_none());
    // No more than so many requests in any case.
    let mut stream = house.connect().await;
    let mut served = 0;
    while stream
        .write_all(b"GET /enrol/page.css HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .is_ok()
        && let Some(response) = receive(&mut stream).await
    {
        assert_eq!(response.status, 200);
        served += 1;
    }
    assert_eq!(served, 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_more_is_closed_and_gives_the_place_back() {
    let house = House::new(Script::default()).await;
    let mut idle = house.connect().await;
    idle.write_all(b"GET /enrol/page.css HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    receive(&mut idle).await.unwrap();
    assert_eq!(house.front.budget().len(), 1);
    // Half a head, and no more of it.
    idle.write_all(b"GET /enrol/page").await.unwrap();
    let end = timeout(FAILSAFE, async {
        while receive(&mut idle).await.is_some() {}
    })
    .await;
    assert!(end.is_ok());
    drop(idle);
    timeout(FAILSAFE, async {
        while !house.front.budget().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
}
