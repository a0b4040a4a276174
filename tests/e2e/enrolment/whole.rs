//! A whole gateway from its configuration file: a log-in on the front door becomes a device, and the device comes in.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use causeway::client::{MobilityOptions, MobilityTunnel};
use causeway::config::{self, Base, Options};
use causeway::front::tls::SelfMade;
use causeway::os::tun::Peer;
use causeway::startup::{Gateway, prepare};
use causeway_proto::radius::AttributeType;
use causeway_proto::wireguard::PrivateKey;
use harness::radius_server::{Fault, RadiusServer, Script};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::house::{Client, FAILSAFE};

const CODE: &str = "123456";

/// What an operator has written before the first start.
struct Etc {
    folder: tempfile::TempDir,
    certificate: String,
}

impl Etc {
    fn new(server: &RadiusServer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = SelfMade::new(&["localhost".to_owned()]).unwrap();
        let here = folder.path();
        fs::write(here.join("chain.pem"), &made.certificate).unwrap();
        write_secret(&here.join("key.pem"), made.key.as_bytes());
        write_secret(&here.join("nps.secret"), &Script::default().secret);
        let text = format!(
            r#"
[gateway]
hostname = "localhost"
workers = 1
[sstp]
listen = ["127.0.0.1:0"]
certificate = "{here}/chain.pem"
key = "{here}/key.pem"
[mobility]
enabled = true
listen = ["127.0.0.1:0"]
external = ["vpn.example.com:5008"]
peers_file = "{here}/peers.toml"
[network]
routes = ["10.0.0.0/8"]
dns = ["10.0.0.10"]
[pools.users]
ipv4 = ["10.99.0.0/24"]
[[radius.servers]]
name = "nps"
address = "127.0.0.1"
auth_port = {port}
secret_file = "{here}/nps.secret"
status_server = false
[radius.probe]
user = ""
[radius.accounting]
enabled = false
[filters.staff]
allow = ["0.0.0.0/0"]
[filters.visitors]
allow = ["10.0.0.10/32"]
[admin]
socket = "{here}/admin.sock"
"#,
            here = here.display(),
            port = server.address().port(),
        );
        fs::write(here.join("gateway.toml"), text).unwrap();
        Self {
            folder,
            certificate: made.certificate,
        }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// Starts the gateway; its device is in memory, so nothing of this machine is touched, whoever runs the test.
    fn start(&self) -> (Gateway, Client, Peer) {
        let options = Options {
            base: Base::File(self.folder.path().join("gateway.toml")),
            environment: Vec::new(),
            set: Vec::new(),
        };
        let mut settings = match config::load(&options) {
            Ok(loaded) => loaded.config,
            Err(report) => panic!("{}", report.render(config::Colours::Off)),
        };
        settings.network.best_effort = true;
        settings.admin.listen = None;
        let prepared = prepare(&settings, None, || Err(io::Error::other("in memory"))).unwrap();
        let gateway = Gateway::start(&settings, prepared.parts).unwrap();
        let client = Client::new(gateway.addresses[0], self.certificate.as_bytes());
        (gateway, client, prepared.peer.unwrap())
    }
}

fn write_secret(file: &Path, secret: &[u8]) {
    fs::write(file, secret).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A phone that takes a while, and then a code is asked for.
fn slow_and_asks() -> Script {
    Script {
        delay: Duration::from_millis(2000),
        fault: Fault::Code(CODE.into()),
        ..Script::default()
    }
}

/// Begins alice's log-in with a device, and returns its id.
async fn begin(client: &Client, device: &PrivateKey) -> String {
    let body = json!({
        "user": "alice", "password": "wonderland", "device": "phone",
        "public_key": device.public().to_string(),
    });
    let begun = client.post_json("/enrol/api/v1/login", &body).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    begun.json()["login"].as_str().unwrap().to_owned()
}

/// Follows a log-in, gives the code, and returns what the device is told.
async fn finish(client: &Client, id: &str) -> Value {
    let asked = timeout(FAILSAFE, client.follow(id)).await.unwrap().json();
    assert_eq!(
        (&asked["state"], &asked["message"]),
        (&json!("challenge"), &json!("Enter your code"))
    );
    assert!(asked.get("profile").is_none(), "{asked}");
    let path = format!("/enrol/api/v1/login/{id}/answer");
    let taken = client.post_json(&path, &json!({"code": CODE})).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    let accepted = timeout(FAILSAFE, client.follow(id)).await.unwrap().json();
    assert_eq!(accepted["state"], "accepted", "{accepted}");
    accepted
}

async fn log_in(client: &Client, device: &PrivateKey) -> Value {
    let id = begin(client, device).await;
    finish(client, &id).await
}

/// Reads a line of a wg-quick file.
fn line<'a>(accepted: &'a Value, name: &str) -> &'a str {
    let profile = accepted["profile"].as_str().unwrap();
    let start = format!("{name} = ");
    let found = profile.lines().find_map(|line| line.strip_prefix(&start));
    found.unwrap_or_else(|| panic!("no {name}: {profile}"))
}

/// Comes in as the profile says, except that the gateway is on a port that was free.
async fn come_in(gateway: &Gateway, device: &PrivateKey, accepted: &Value) -> MobilityTunnel {
    let options = MobilityOptions {
        server: gateway.mobility[0],
        server_key: line(accepted, "PublicKey").parse().unwrap(),
        private_key: device.clone(),
        preshared_key: line(accepted, "PresharedKey").parse().unwrap(),
        address: line(accepted, "Address")
            .strip_suffix("/32")
            .unwrap()
            .parse()
            .unwrap(),
    };
    MobilityTunnel::connect(options, FAILSAFE).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_pins_an_address_that_the_next_one_and_a_restart_keep() {
    let server = RadiusServer::start(slow_and_asks()).unwrap();
    let etc = Etc::new(&server);
    let device = PrivateKey::from_bytes([7; 32]);
    let (gateway, client, _peer) = etc.start();
    let own: PrivateKey = etc.read("mobility.key").trim_end().parse().unwrap();

    let id = begin(&client, &device).await;
    assert_eq!(client.look(&id, 0).await.json()["state"], "pending");
    let first = finish(&client, &id).await;
    // One prompt and one code.
    assert_eq!(server.counts().requests, 2);
    server.change(|script| script.delay = Duration::ZERO);
    assert_eq!(first["server_public_key"], own.public().to_string());
    assert_eq!(first["endpoint"], "vpn.example.com:5008");
    assert_eq!(first["allowed_ips"], json!(["10.0.0.0/8"]));
    assert_eq!(first["dns"], json!(["10.0.0.10"]));
    assert!(first["expires"].is_string(), "{first}");
    let address = first["address"].as_str().unwrap();
    assert_eq!(line(&first, "Address"), format!("{address}/32"));

    let register = etc.read("peers.toml");
    for kept in [
        address,
        &device.public().to_string(),
        line(&first, "PresharedKey"),
    ] {
        assert!(register.contains(kept), "{kept}");
    }
    for secret in [
        "wonderland",
        CODE,
        device.expose_base64().as_str(),
        own.expose_base64().as_str(),
    ] {
        assert!(!register.contains(secret), "{secret}");
    }

    // With another pre-shared key than the profile's there is no handshake.
    let tunnel = come_in(&gateway, &device, &first).await;
    let [session] = gateway.table.snapshot().try_into().unwrap();
    assert_eq!(
        session.address.map(|it| it.to_string()).as_deref(),
        Some(address)
    );
    drop(tunnel);

    let again = log_in(&client, &device).await;
    let other = log_in(&client, &PrivateKey::from_bytes([8; 32])).await;
    assert_eq!(again["address"], first["address"]);
    assert_eq!(again["preshared_key"], first["preshared_key"]);
    assert_ne!(other["address"], first["address"]);
    assert_ne!(other["preshared_key"], first["preshared_key"]);
    gateway.stop().await;

    let (gateway, client, _peer) = etc.start();
    let later = log_in(&client, &device).await;
    for same in ["address", "preshared_key", "server_public_key"] {
        assert_eq!(later[same], first[same], "{same}");
    }
    gateway.stop().await;
}

/// A server that lets alice in under a filter, for so long.
fn allows(filter: &[u8], seconds: u32) -> Script {
    Script {
        attributes: vec![
            (AttributeType::FILTER_ID, filter.to_vec()),
            (
                AttributeType::SESSION_TIMEOUT,
                seconds.to_be_bytes().to_vec(),
            ),
        ],
        ..Script::default()
    }
}

/// Logs in where nobody asks for a code.
async fn log_in_at_once(client: &Client, device: &PrivateKey) {
    let id = begin(client, device).await;
    let accepted = timeout(FAILSAFE, client.follow(&id)).await.unwrap().json();
    assert_eq!(accepted["state"], "accepted", "{accepted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_as_the_log_in_says_that_renewed_it() {
    let server = RadiusServer::start(allows(b"staff", 8)).unwrap();
    let etc = Etc::new(&server);
    let device = PrivateKey::from_bytes([7; 32]);
    let (gateway, client, _peer) = etc.start();
    let id = begin(&client, &device).await;
    let accepted = timeout(FAILSAFE, client.follow(&id)).await.unwrap().json();
    let ends = Instant::now() + Duration::from_secs(8);
    let _tunnel = come_in(&gateway, &device, &accepted).await;
    let [first] = gateway.table.snapshot().try_into().unwrap();
    assert_eq!(first.facts.filter.as_deref(), Some("staff"));

    server.change(|script| *script = allows(b"visitors", 3600));
    log_in_at_once(&client, &device).await;
    let filter = || {
        let [now] = gateway.table.snapshot().try_into().unwrap();
        assert_eq!(now.id, first.id);
        now.facts.filter
    };
    timeout(FAILSAFE, async {
        while filter().as_deref() != Some("visitors") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    // The time of the first log-in runs out, and nothing comes of it.
    tokio::time::sleep_until((ends + Duration::from_millis(500)).into()).await;
    assert_eq!(filter().as_deref(), Some("visitors"));
    gateway.stop().await;
}
