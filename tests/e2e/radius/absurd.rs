//! Answers that are valid and make no sense (Framed-IP-Address, timeouts, MTU, names, text), through a whole gateway.

use causeway::client::Tunnel;
use causeway_proto::radius::AttributeType;
use harness::radius_server::Script;

use super::house::House;

fn says(attributes: &[(AttributeType, &[u8])]) -> Script {
    let attributes = attributes
        .iter()
        .map(|(kind, value)| (*kind, value.to_vec()));
    Script {
        attributes: attributes.collect(),
        ..Script::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_are_nobodys_let_nobody_in() {
    let house = House::start(Script::default(), |_| {});
    let options = house.options("alice", "wonderland");
    let bob = Tunnel::connect(&house.options("bob", "builder"))
        .await
        .unwrap();
    let of_bob = bob.network().address;
    let gateway = bob.network().gateway;
    for address in [
        [0, 0, 0, 0],
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [169, 254, 169, 254],
        [8, 8, 8, 8],
        gateway.octets(),
        of_bob.octets(),
    ] {
        let framed: &[(AttributeType, &[u8])] = &[(AttributeType::FRAMED_IP_ADDRESS, &address)];
        house.server.change(|script| *script = says(framed));
        let refused = Tunnel::connect(&options).await;
        assert!(refused.is_err(), "{address:?}");
    }
    // Bob keeps what he has, and the two that have a meaning are no addresses.
    for address in [[255, 255, 255, 255], [255, 255, 255, 254]] {
        let framed: &[(AttributeType, &[u8])] = &[(AttributeType::FRAMED_IP_ADDRESS, &address)];
        house.server.change(|script| *script = says(framed));
        let tunnel = Tunnel::connect(&options).await.unwrap();
        assert_ne!(tunnel.network().address, of_bob);
        tunnel.close().await.unwrap();
    }
    let found = house.gateway.table.find_address(of_bob).unwrap();
    assert_eq!(found.user.as_bytes(), b"bob");
    bob.close().await.unwrap();
    house.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_reason_is_brought_back_to_it() {
    let house = House::start(Script::default(), |_| {});
    let options = house.options("alice", "wonderland");
    let class = [7; 253];
    let mut many = vec![
        (AttributeType::SESSION_TIMEOUT, &[255, 255, 255, 255][..]),
        (AttributeType::IDLE_TIMEOUT, &[0, 0, 0, 0]),
        (AttributeType::FRAMED_MTU, &[0, 0, 0, 1]),
        (AttributeType(9), &[0, 0, 0, 0]),
        (AttributeType::USER_NAME, b"carol\n[31mroot"),
        (AttributeType::REPLY_MESSAGE, b"hello\x1b]0;owned\x07\r\n"),
    ];
    many.extend([(AttributeType::CLASS, &class[..]); 12]);
    house.server.change(|script| *script = says(&many));
    let tunnel = Tunnel::connect(&options).await.unwrap();
    let [session] = house.gateway.table.snapshot().try_into().unwrap();
    assert_eq!(session.user.as_bytes(), b"carol\n[31mroot");
    assert_eq!(session.user.display(), "carol\\u{a}[31mroot");
    tunnel.close().await.unwrap();
    house.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_nobody_may_have_is_refused() {
    let house = House::start(Script::default(), |_| {});
    let options = house.options("alice", "wonderland");
    for route in [
        "0.0.0.0/0 0.0.0.0 1",
        "10.0.0.0/8",
        "192.168.7.0/24 0.0.0.0 1",
    ] {
        let framed: &[(AttributeType, &[u8])] = &[(AttributeType::FRAMED_ROUTE, route.as_bytes())];
        house.server.change(|script| *script = says(framed));
        // No network is allowed by the configuration: the log-in goes without, or not at all.
        if let Ok(tunnel) = Tunnel::connect(&options).await {
            let sessions = house.gateway.table.snapshot();
            assert_eq!(sessions[0].facts.networks, Vec::<String>::new(), "{route}");
            tunnel.close().await.unwrap();
        }
    }
    house.gateway.stop().await;
}
