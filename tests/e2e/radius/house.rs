//! A whole gateway that asks the scripted server; its device is in memory.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use causeway::client::{Login, Options, Trust};
use causeway::config::{self, Config as Settings};
use causeway::os::credentials::SecretRef;
use causeway::startup::{Gateway, prepare};
use causeway_proto::aaa::{AuthMethod, Identity};
use harness::radius_server::{RadiusServer, Script};

fn settings(folder: &Path, server: SocketAddr) -> Settings {
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
    settings.network.best_effort = true;
    settings.admin.socket = folder.join("admin.sock");
    settings.sstp.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    settings.admin.listen = None;
    settings.mobility = None;
    settings
}

/// The server, the gateway and its folder.
pub(super) struct House {
    pub(super) server: RadiusServer,
    pub(super) gateway: Gateway,
    _folder: tempfile::TempDir,
}

impl House {
    pub(super) fn start(script: Script, change: impl FnOnce(&mut Settings)) -> Self {
        let server = RadiusServer::start(script).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(folder.path(), server.address());
        change(&mut settings);
        let prepared = prepare(&settings, None, || Err(io::Error::other("in memory"))).unwrap();
        let gateway = Gateway::start(&settings, prepared.parts).unwrap();
        Self {
            server,
            gateway,
            _folder: folder,
        }
    }

    /// What the built-in client needs to log in.
    pub(super) fn options(&self, user: &str, password: &str) -> Options {
        self.options_by(AuthMethod::MsChapV2, user, password)
    }

    /// The same, by another method.
    pub(super) fn options_by(&self, method: AuthMethod, user: &str, password: &str) -> Options {
        let login = Login {
            user: Identity::new(user.as_bytes()).unwrap(),
            password: password.as_bytes().into(),
            method,
        };
        let trust = Trust::Pinned(self.gateway.certificates.current().hashes().sha256);
        Options::windows(self.gateway.addresses[0], trust, login)
    }
}
