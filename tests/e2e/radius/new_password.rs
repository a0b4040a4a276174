//! A whole gateway and a client whose password has expired (MS-CHAPv2, error 648).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use causeway::client::{ClientError, Login, Options, Trust, Tunnel};
use causeway::config::{self, Config as Settings};
use causeway::os::credentials::SecretRef;
use causeway::startup::{Gateway, prepare};
use causeway_proto::aaa::{AuthMethod, Identity};
use causeway_proto::ppp::RoleConfig;
use harness::radius_server::{Fault, RadiusServer, Script};

fn settings(folder: &Path, server: SocketAddr, password_change: bool) -> Settings {
    let secret = folder.join("secret");
    std::fs::write(&secret, "a shared secret").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut settings = Settings::dev().unwrap();
    settings.radius.servers = vec![config::Server {
        name: "nps0".into(),
        address: server.ip(),
        auth_port: server.port(),
        acct_port: 9,
        secret: SecretRef::File(secret),
        transport: config::Transport::Udp,
        source: None,
        status_server: config::StatusServer::Off,
        tls: None,
    }];
    settings.radius.probe = None;
    settings.radius.accounting = None;
    settings.radius.password_change = password_change;
    settings.network.best_effort = true;
    settings.admin.socket = folder.join("admin.sock");
    settings.sstp.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    settings.admin.listen = None;
    settings.mobility = None;
    settings
}

/// Logs alice in with the password that has expired, and perhaps another one.
async fn log_in(gateway: &Gateway, old: &str, new: Option<&str>) -> Result<Tunnel, ClientError> {
    let login = Login {
        user: Identity::new(b"CORP\\alice").unwrap(),
        password: old.as_bytes().into(),
        method: AuthMethod::MsChapV2,
    };
    let trust = Trust::Pinned(gateway.certificates.current().hashes().sha256);
    let mut options = Options::windows(gateway.addresses[0], trust, login);
    if let RoleConfig::Client(client) = &mut options.ppp.role {
        client.new_password = new.map(|new| new.as_bytes().into());
    }
    Tunnel::connect(&options).await
}

async fn start(password_change: bool) -> (RadiusServer, Gateway, tempfile::TempDir) {
    let server = RadiusServer::start(Script {
        fault: Fault::Expired,
        ..Script::default()
    });
    let server = server.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), server.address(), password_change);
    let prepared = prepare(&settings, None, || Err(io::Error::other("in memory"))).unwrap();
    let gateway = Gateway::start(&settings, prepared.parts).unwrap();
    (server, gateway, folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_chooses_another_password_and_is_in() {
    let (server, gateway, _folder) = start(true).await;
    let tunnel = log_in(&gateway, "wonderland", Some("looking glass \u{1f511}"))
        .await
        .unwrap();
    assert_eq!(server.counts().requests, 2);
    assert_eq!(server.counts().accepts, 1);
    tunnel.close().await.unwrap();
    // Not one that the server does not want, and not for somebody who does not know the old one.
    for (old, new) in [("wonderland", Some("short")), ("wonderland", None)] {
        assert!(log_in(&gateway, old, new).await.is_err());
    }
    let before = server.counts().requests;
    assert!(
        log_in(&gateway, "guess", Some("looking glass"))
            .await
            .is_err()
    );
    assert_eq!(
        server.counts().requests,
        before + 1,
        "nobody was asked again"
    );
    assert_eq!(server.counts().accepts, 1);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_switch_nobody_does() {
    let (server, gateway, _folder) = start(false).await;
    let refused = log_in(&gateway, "wonderland", Some("looking glass")).await;
    assert!(refused.is_err());
    assert_eq!(server.counts().requests, 1);
    gateway.stop().await;
}
