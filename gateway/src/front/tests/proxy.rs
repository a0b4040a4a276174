//! The PROXY protocol at the door.

use causeway_proto::sstp::http::{ClientShape, request};
use tokio::io::AsyncWriteExt;

use super::house::{build, drained, handshake, hasty};
use crate::front::Config;

fn proxied_from(network: &str) -> Config {
    Config {
        trusted_proxies: vec![network.parse().unwrap()],
        ..hasty()
    }
}

#[tokio::test]
async fn a_trusted_load_balancer_names_the_client() {
    let mut house = build(proxied_from("127.0.0.0/8")).await;
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    v2.extend([203, 0, 113, 9, 198, 51, 100, 1, 0xC7, 0x4E, 0x01, 0xBB]);
    for (header, source) in [
        (
            b"PROXY TCP4 203.0.113.7 198.51.100.1 51022 443\r\n".to_vec(),
            "203.0.113.7:51022",
        ),
        (v2, "203.0.113.9:51022"),
    ] {
        let mut stream = house.tcp().await;
        stream.write_all(&header).await.unwrap();
        let mut stream = handshake(stream, &[]).await.unwrap();
        stream
            .write_all(&request("a", "1", ClientShape::Sstpc))
            .await
            .unwrap();
        let arrived = house.arrivals.recv().await.unwrap();
        assert_eq!(arrived.remote, source.parse().unwrap());
        assert_eq!(arrived.local, "198.51.100.1:443".parse().unwrap());
    }
    // Its own health check, by either version.
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let mut stream = house.tcp().await;
        stream.write_all(header).await.unwrap();
        let local = stream.local_addr().unwrap();
        let mut stream = handshake(stream, &[]).await.unwrap();
        stream
            .write_all(&request("a", "1", ClientShape::Sstpc))
            .await
            .unwrap();
        assert_eq!(house.arrivals.recv().await.unwrap().remote, local);
    }
}

#[tokio::test]
async fn a_header_is_required_from_a_load_balancer_and_refused_from_strangers() {
    let house = build(proxied_from("127.0.0.0/8")).await;
    assert!(handshake(house.tcp().await, &[]).await.is_err());
    assert_eq!(house.failures("proxy", "malformed"), 1);
    let mut silent = house.tcp().await;
    drained(&mut silent).await;
    assert_eq!(house.failures("proxy", "timeout"), 1);
    let house = build(proxied_from("10.0.0.0/8")).await;
    let mut forged = house.tcp().await;
    forged
        .write_all(b"PROXY TCP4 203.0.113.7 198.51.100.1 51022 443\r\n")
        .await
        .unwrap();
    drained(&mut forged).await;
    assert_eq!(house.failures("tls", "not_tls"), 1);
}
