//! A whole gateway and a client whose password has expired (MS-CHAPv2, error 648).

use causeway::client::{ClientError, Tunnel};
use causeway_proto::ppp::RoleConfig;
use harness::radius_server::{Fault, Script};

use super::house::House;

/// Logs alice in with the password that has expired, and perhaps another one.
async fn log_in(house: &House, old: &str, new: Option<&str>) -> Result<Tunnel, ClientError> {
    let mut options = house.options("CORP\\alice", old);
    if let RoleConfig::Client(client) = &mut options.ppp.role {
        client.new_password = new.map(|new| new.as_bytes().into());
    }
    Tunnel::connect(&options).await
}

fn start(password_change: bool) -> House {
    let script = Script {
        fault: Fault::Expired,
        ..Script::default()
    };
    House::start(script, |settings| {
        settings.radius.password_change = password_change;
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_chooses_another_password_and_is_in() {
    let house = start(true);
    let tunnel = log_in(&house, "wonderland", Some("looking glass \u{1f511}"))
        .await
        .unwrap();
    assert_eq!(house.server.counts().requests, 2);
    assert_eq!(house.server.counts().accepts, 1);
    tunnel.close().await.unwrap();
    // Not one that the server does not want, and not for somebody who does not know the old one.
    for (old, new) in [("wonderland", Some("short")), ("wonderland", None)] {
        assert!(log_in(&house, old, new).await.is_err());
    }
    let before = house.server.counts().requests;
    assert!(
        log_in(&house, "guess", Some("looking glass"))
            .await
            .is_err()
    );
    assert_eq!(
        house.server.counts().requests,
        before + 1,
        "nobody was asked again"
    );
    assert_eq!(house.server.counts().accepts, 1);
    house.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_switch_nobody_does() {
    let house = start(false);
    let refused = log_in(&house, "wonderland", Some("looking glass")).await;
    assert!(refused.is_err());
    assert_eq!(house.server.counts().requests, 1);
    house.gateway.stop().await;
}
