//! A whole front door on loopback.

mod house;
mod proxy;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use causeway_proto::sstp::CertificateHashes;
use causeway_proto::sstp::http::{ClientShape, SRA_PATH, request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time;

use crate::front::tls::{Certificates, Files, MinTls, SelfMade};
use crate::observe::health::{Component, Status};

use super::*;
use house::*;

#[tokio::test]
async fn the_health_path_answers_in_all_its_spellings() {
    let house = build(Config::default()).await;
    let braces = "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}";
    let encoded = "/sra_%7BBA195980-CD49-458b-9E23-C84EE0ADCD75%7D";
    for base in [
        braces.to_owned(),
        encoded.to_owned(),
        encoded.to_lowercase(),
        braces.to_uppercase(),
    ] {
        for tail in ["", "/", "?tenantid=1", "/?a=b&c"] {
            let path = format!("{base}{tail}");
            let get = house.ask("GET", &path).await;
            assert!(get.starts_with("HTTP/1.1 401 "), "{path}: {get}");
            assert_eq!(
                without_date(&get),
                without_date(&house.ask("HEAD", &path).await)
            );
        }
    }
    let answer = house.ask("GET", SRA_PATH).await;
    for line in [
        "Content-Length: 0",
        "WWW-Authenticate: SSTP realm=\"vpn\"",
        "Connection: close",
    ] {
        assert!(answer.contains(&format!("\r\n{line}\r\n")), "{answer}");
    }
    assert!(answer.ends_with("\r\n\r\n"));
    house
        .health
        .set(Component::Tun, Status::Down("gone".to_owned()));
    assert!(
        house
            .ask("GET", SRA_PATH)
            .await
            .starts_with("HTTP/1.1 503 ")
    );
    assert_eq!(
        house.value("causeway_health_probes_total{path=\"sra\",code=\"401\"}"),
        33
    );
    assert_eq!(
        house.value("causeway_health_probes_total{path=\"sra\",code=\"503\"}"),
        1
    );
}

#[tokio::test]
async fn a_probe_that_knows_only_200_can_be_served() {
    let house = build(Config {
        healthy: HealthyStatus::Ok,
        ..Config::default()
    })
    .await;
    let answer = house.ask("GET", SRA_PATH).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"),
        "{answer}"
    );
    house
        .health
        .set(Component::Drain, Status::Down("draining".to_owned()));
    assert!(
        house
            .ask("HEAD", SRA_PATH)
            .await
            .starts_with("HTTP/1.1 503 ")
    );
}

#[tokio::test]
async fn nothing_else_is_answered_well() {
    let mut house = build(Config::default()).await;
    for (start, code) in [
        ("GET / HTTP/1.1", 404),
        ("GET /metrics HTTP/1.1", 404),
        ("SSTP_DUPLEX_POST / HTTP/1.1", 404),
        (&format!("POST {SRA_PATH} HTTP/1.1"), 405),
        ("DELETE / HTTP/1.1", 405),
        (&format!("SSTP_DUPLEX_POST {SRA_PATH} HTTP/1.0"), 505),
        ("PRI * HTTP/2.0", 505),
        ("complete nonsense", 400),
    ] {
        let answer = house.exchange(&format!("{start}\r\nHost: a\r\n\r\n")).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {code} ")),
            "{start}: {answer}"
        );
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        assert!(answer.contains("\r\nContent-Length: 0\r\n"), "{answer}");
        assert!(!answer.contains("nonsense"));
    }
    let refused = house.ask("POST", SRA_PATH).await;
    assert!(refused.contains("\r\nAllow: GET, HEAD"), "{refused}");
    let second =
        format!("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET {SRA_PATH} HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(house.exchange(&second).await.matches("HTTP/1.1").count(), 1);
    assert!(house.arrivals.try_recv().is_err());
}

#[tokio::test]
async fn an_sstp_connection_is_handed_over_whole() {
    let mut house = build(Config::default()).await;
    let mut stream = house.tls().await;
    let mut hello = request(
        "vpn.example.com",
        "{00000000-0000-0000-0000-000000000001}",
        ClientShape::Windows,
    );
    hello.extend(b"\x10\x01\x00\x0e");
    stream.write_all(&hello).await.unwrap();
    let arrived = house.arrivals.recv().await.unwrap();
    assert_eq!(arrived.unread, b"\x10\x01\x00\x0e");
    assert_eq!(arrived.remote, stream.get_ref().0.local_addr().unwrap());
    assert_eq!(arrived.head.host.as_deref(), Some("vpn.example.com"));
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_eq!(
        arrived.certificate.sha256,
        CertificateHashes::of(&shown).sha256
    );
    assert_eq!(house.front.budget().len(), 1);
    let mut answer = vec![0; 512];
    let read = stream.read(&mut answer).await.unwrap();
    let answer = str::from_utf8(&answer[..read]).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\n"));
    drop(arrived);
    assert!(house.front.budget().is_empty());
}

#[tokio::test]
async fn a_gateway_that_cannot_take_a_call_says_so() {
    let mut house = build(Config::default()).await;
    let call = String::from_utf8(request("a", "{1}", ClientShape::Windows)).unwrap();
    house.door.close();
    assert!(house.exchange(&call).await.starts_with("HTTP/1.1 503 "));
    assert!(
        house
            .ask("GET", SRA_PATH)
            .await
            .starts_with("HTTP/1.1 401 "),
        "the notice of a drain is the health's"
    );
    house.door.open();
    house
        .health
        .set(Component::Pool, Status::Down("empty".to_owned()));
    assert!(house.exchange(&call).await.starts_with("HTTP/1.1 503 "));
    house.health.set(Component::Pool, Status::Ok);
    house
        .health
        .set(Component::Radius, Status::Down("silent".to_owned()));
    let _first = house.arrive().await;
    // The hand-over holds two; the tunnel takes none.
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut stream = house.tls().await;
        stream.write_all(call.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        waiting.push(stream);
    }
    assert!(house.exchange(&call).await.starts_with("HTTP/1.1 503 "));
    assert_eq!(house.failures("http", "not_able"), 2);
    assert_eq!(house.failures("http", "busy"), 1);
}

#[tokio::test]
async fn a_client_that_dawdles_is_cut_at_each_stage() {
    let house = build(hasty()).await;
    let mut silent = house.tcp().await;
    drained(&mut silent).await;
    let mut half = house.tcp().await;
    half.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    drained(&mut half).await;
    assert_eq!(house.failures("tls", "timeout"), 2);
    let mut mute = house.tls().await;
    drained(&mut mute).await;
    let mut dripping = house.tls().await;
    dripping.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
    let drip = async {
        while dripping.write_all(b"y").await.is_ok() && dripping.flush().await.is_ok() {
            time::sleep(Duration::from_millis(5)).await;
        }
    };
    drip.await;
    assert_eq!(house.failures("http", "timeout"), 2);
    assert!(house.front.budget().is_empty());
}

/// The third of three has its turn after about two seconds, when the time that a handshake may take has long passed.
#[tokio::test]
async fn a_turn_comes_with_the_time_to_use_it() {
    let house = build(Config {
        new_per_second: 1,
        deadlines: Deadlines {
            tls: Duration::from_millis(1_500),
            turn: Duration::from_secs(60),
            ..Deadlines::default()
        },
        ..Config::default()
    })
    .await;
    let streams = tokio::join!(house.tls(), house.tls(), house.tls());
    drop(streams);
    assert_eq!(house.value("causeway_front_waits_total"), 2);
}

#[tokio::test]
async fn an_endless_head_is_refused_at_its_limit() {
    let house = build(Config::default()).await;
    let mut stream = house.tls().await;
    let head = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(20_000));
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn what_is_not_tls_is_closed() {
    let house = build(Config::default()).await;
    let mut plain = house.tcp().await;
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    drained(&mut plain).await;
    assert_eq!(house.failures("tls", "not_tls"), 1);
    assert!(handshake(house.tcp().await, &["h2"]).await.is_err());
    assert_eq!(house.failures("tls", "no_application_protocol"), 1);
    let both = handshake(house.tcp().await, &["h2", "http/1.1"])
        .await
        .unwrap();
    assert_eq!(both.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let none = handshake(house.tcp().await, &[]).await.unwrap();
    assert_eq!(none.get_ref().1.alpn_protocol(), None);
}

#[tokio::test]
async fn a_full_house_still_serves_a_good_client_and_the_probe() {
    for limits in [
        // Full from one source, and full altogether.
        Limits {
            total: 100,
            per_source: 4,
        },
        Limits {
            total: 4,
            per_source: 100,
        },
    ] {
        let mut house = build(Config {
            limits,
            ..Config::default()
        })
        .await;
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(house.tcp().await);
        }
        assert!(
            house
                .ask("GET", SRA_PATH)
                .await
                .starts_with("HTTP/1.1 401 ")
        );
        let (_stream, arrived) = house.arrive().await;
        for _ in 0..8 {
            held.push(house.tcp().await);
        }
        assert!(
            house
                .ask("GET", SRA_PATH)
                .await
                .starts_with("HTTP/1.1 401 ")
        );
        // The eldest were really closed; the good client, further on than they, was not.
        for stream in held.iter_mut().take(8) {
            drained(stream).await;
        }
        let eviction = arrived.ticket.eviction();
        assert!(
            time::timeout(Duration::ZERO, eviction.evicted())
                .await
                .is_err()
        );
        assert!(house.failures("tls", "evicted") >= 8);
        assert!(house.front.budget().len() <= 4);
    }
}

#[tokio::test]
async fn each_connection_keeps_the_certificate_that_it_was_shown() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files {
        certificate: folder.path().join("chain"),
        key: folder.path().join("key"),
    };
    let write = |made: &SelfMade| {
        fs::write(&files.certificate, &made.certificate).unwrap();
        fs::write(&files.key, made.key.as_str()).unwrap();
    };
    let made = |name: &str| SelfMade::new(&[name.to_owned()]).unwrap();
    write(&made("one"));
    let certificates = Arc::new(Certificates::open(files.clone(), MinTls::Tls12).unwrap());
    let mut house = build_with(Config::default(), Arc::clone(&certificates)).await;
    let first_hashes = certificates.current().hashes();
    // Shown the first certificate, and still without a request when the second one comes.
    let mut early = house.tls().await;
    write(&made("two"));
    certificates.reload().unwrap();
    early
        .write_all(&request("a", "1", ClientShape::Sstpc))
        .await
        .unwrap();
    let arrived = house.arrivals.recv().await.unwrap();
    assert_eq!(arrived.certificate.sha256, first_hashes.sha256);
    let (_stream, late) = house.arrive().await;
    assert_eq!(
        late.certificate.sha256,
        certificates.current().hashes().sha256
    );
    assert_ne!(late.certificate.sha256, first_hashes.sha256);
    // A bad pair changes nothing.
    fs::write(&files.key, made("three").key.as_str()).unwrap();
    assert!(certificates.reload().is_err());
    let (_stream, still) = house.arrive().await;
    assert_eq!(still.certificate.sha256, late.certificate.sha256);
}
