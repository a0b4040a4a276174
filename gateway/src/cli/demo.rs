//! `causeway demo`: the gateway on embedded defaults, and clients that log in over real sockets.

use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use causeway_proto::aaa::{AuthMethod, Identity};
use causeway_proto::crypto::SecretBytes;
use causeway_proto::wireguard::{PresharedKey, PrivateKey};

use crate::cli::{Demo, Exit, Output, local};
use crate::client::{
    ClientError, Login, MobilityOptions, MobilityTunnel, Options, Trust, Tunnel, probe,
};
use crate::config::Config;
use crate::control::protocol::{NewDevice, Request, Response};
use crate::os::credentials;
use crate::os::netns::{self, Root};
use crate::os::tun;
use crate::session::State;
use crate::startup::{Gateway, Prepared, StartupError, chain, prepare, runtime};

/// A host behind the gateway, in the demo's own namespace.
const BEHIND: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);

/// How often the device moves.
const PINGS: u32 = 5;

/// The story as it is told.
struct Story<'o, 'p> {
    begun: Instant,
    out: &'o mut Output<'p>,
    json: bool,
    passed: usize,
    failed: usize,
    lines: Vec<(f64, &'static str, String)>,
}

impl Story<'_, '_> {
    fn tell(&mut self, about: &'static str, text: &str) {
        let at = self.begun.elapsed().as_secs_f64();
        if !self.json {
            self.out.line(&format!("{at:6.2} s  {about:<8} {text}"));
        }
        self.lines.push((at, about, text.to_owned()));
    }

    fn check(&mut self, about: &'static str, good: bool, text: &str) {
        if good {
            self.passed += 1;
            self.tell(about, text);
        } else {
            self.failed += 1;
            self.tell(about, &format!("FAILED: {text}"));
        }
    }
}

/// `causeway demo`.
pub(super) fn run(demo: &Demo, json: bool, out: &mut Output<'_>) -> Exit {
    let mut story = Story {
        begun: Instant::now(),
        out,
        json,
        passed: 0,
        failed: 0,
        lines: Vec::new(),
    };
    match act(demo, &mut story) {
        Ok(()) => {}
        Err(error) => story.check("demo", false, &chain(&error)),
    }
    let (passed, all) = (story.passed, story.passed + story.failed);
    if json {
        let lines: Vec<_> = story
            .lines
            .iter()
            .map(|(at, about, text)| serde_json::json!({"at_s": at, "about": about, "text": text}))
            .collect();
        let object =
            serde_json::json!({"schema": 1, "passed": passed, "checks": all, "story": lines});
        story.out.line(&object.to_string());
    } else {
        story
            .out
            .line(&format!("\n {passed} of {all} checks passed"));
    }
    if story.failed == 0 {
        Exit::Done
    } else {
        Exit::Failure
    }
}

fn act(demo: &Demo, story: &mut Story<'_, '_>) -> Result<(), StartupError> {
    // Before anything makes a thread.
    let root = netns::be_root_apart();
    let mut config = Config::dev().map_err(|_| StartupError::NobodyDecides)?;
    config.network.manage_forwarding = false;
    let ports = Some(demo.ports_from.unwrap_or(local::PORTS_FROM));
    // The listeners are bound first, so that other programs of this machine reach them; the device comes to live in a
    // namespace of its own, so that nothing of this machine is changed.
    let mut prepared = prepare(&config, ports, || netns::enter_own(BEHIND))?;
    for note in &prepared.notes {
        story.tell("note", note);
    }
    let peer = prepared.peer.take();
    let name = prepared.parts.device.name();
    match (&peer, &root) {
        (None, Ok(Root::Real)) => {
            story.tell("tun", &format!("{name} in a network namespace of its own"));
        }
        (None, Ok(Root::Apart)) => story.tell(
            "tun",
            &format!(
                "{name} in a network namespace of its own, by way of a user namespace (no root)"
            ),
        ),
        (None, Err(_)) => story.tell("tun", name),
        (Some(_), Err(error)) => story.tell("tun", &format!("in memory: {}", chain(error))),
        (Some(_), Ok(_)) => story.tell("tun", "in memory"),
    }
    let responder = peer.map(|peer| std::thread::spawn(move || answer_echoes(&peer)));
    let runtime = runtime()?;
    let outcome = runtime.block_on(scenes(&config, prepared, BEHIND, demo.keep, story));
    runtime.shutdown_timeout(Duration::from_secs(1));
    if let Some(responder) = responder
        && responder.join().is_err()
    {
        story.tell("tun", "the echo responder died");
    }
    outcome
}

#[expect(clippy::too_many_lines, reason = "a story is told in one piece")]
async fn scenes(
    config: &Config,
    prepared: Prepared,
    behind: Ipv4Addr,
    keep: bool,
    story: &mut Story<'_, '_>,
) -> Result<(), StartupError> {
    let Prepared { parts, undo, .. } = prepared;
    let metrics = parts
        .admin
        .as_ref()
        .and_then(|listener| listener.local_addr().ok());
    let gateway = Gateway::start(config, parts)?;
    let Some(server) = gateway.addresses.first().copied() else {
        return Err(StartupError::Socket(io::Error::other("nothing listens")));
    };
    story.tell("gateway", &format!("https://{server}"));
    let health = client_probe(&gateway, server).await;
    story.check(
        "health",
        health.contains(" 401"),
        &format!("GET /sra_%7BBA195980-...%7D/  {health}"),
    );
    let first = log_in(
        &gateway,
        server,
        "alice",
        "wonderland",
        AuthMethod::MsChapV2,
    )
    .await;
    let second = log_in(&gateway, server, "bob", "builder", AuthMethod::Pap).await;
    let mut tunnels = Vec::new();
    for (name, tunnel) in [("alice", first), ("bob", second)] {
        match tunnel {
            Ok(mut tunnel) => {
                let ping = tunnel.ping(behind, 1000).await;
                let text = format!(
                    "{name:<6} up {}  {}  ping {behind} {}",
                    tunnel.network().address,
                    tunnel.tls(),
                    ping.as_ref().map_or_else(ToString::to_string, in_ms),
                );
                story.check("sstp", ping.is_ok(), &text);
                tunnels.push(tunnel);
            }
            Err(error) => story.check("sstp", false, &format!("{name} {error}")),
        }
    }
    mobility(&gateway, behind, story).await;
    let wrong = log_in(&gateway, server, "alice", "guess", AuthMethod::MsChapV2).await;
    let text = match &wrong {
        Ok(_) => "a wrong password was let in".to_owned(),
        Err(error) => format!("wrong password: {error}"),
    };
    story.check("sstp", wrong.is_err(), &text);
    if let Some(metrics) = metrics {
        story.tell("metrics", &format!("http://{metrics}/metrics"));
    }
    if keep {
        story.tell("demo", "kept running; Ctrl-C ends it");
        if tokio::signal::ctrl_c().await.is_err() {
            story.tell("demo", "no signals here");
        }
    }
    let before = gateway.table.count(State::Up);
    gateway
        .desk
        .begin_drain(Duration::ZERO, Duration::from_millis(100));
    for tunnel in &mut tunnels {
        let end = tokio::time::timeout(Duration::from_secs(10), tunnel.ended()).await;
        story.check("drain", end.is_ok(), "a client was told to leave");
    }
    drop(tunnels);
    let drained = tokio::time::timeout(Duration::from_secs(15), gateway.desk.drained())
        .await
        .is_ok();
    let after = gateway.table.count(State::Up);
    story.check(
        "drain",
        drained && after == 0,
        &format!("{before} sessions, then {after}"),
    );
    gateway.stop().await;
    drop(undo);
    Ok(())
}

/// A device is enrolled, comes through the UDP tunnel, and changes its port in the middle.
async fn mobility(gateway: &Gateway, behind: Ipv4Addr, story: &mut Story<'_, '_>) {
    let mut tunnel = match come(gateway).await {
        Ok(tunnel) => tunnel,
        Err(error) => {
            story.check("mobility", false, &format!("phone: {error}"));
            return;
        }
    };
    let ping = tunnel.ping(behind, 1000).await;
    let text = format!(
        "phone  up {}  WireGuard  ping {behind} {}",
        tunnel.address(),
        ping.as_ref().map_or_else(ToString::to_string, in_ms),
    );
    story.check("mobility", ping.is_ok(), &text);
    let before = tunnel.port().unwrap_or_default();
    let mut answered = 0;
    for _ in 0..PINGS {
        let moved = tunnel.roam().map_err(ClientError::from);
        if moved.is_ok() && tunnel.ping(behind, 1000).await.is_ok() {
            answered += 1;
        }
    }
    let after = tunnel.port().unwrap_or_default();
    story.check(
        "mobility",
        answered == PINGS,
        &format!(
            "phone  :{before} → :{after}, {PINGS} moves, {answered} of {PINGS} pings answered"
        ),
    );
}

async fn come(gateway: &Gateway) -> Result<MobilityTunnel, ClientError> {
    let key = PrivateKey::from_bytes(*credentials::random().map_err(io::Error::other)?);
    let request = Request::DeviceAdd(Box::new(NewDevice {
        name: "phone".to_owned(),
        user: Some("alice".to_owned()),
        public_key: key.public().to_string(),
        ..NewDevice::default()
    }));
    let nothing = || io::Error::other("no device can be enrolled");
    let Response::Enrolled { profile, .. } = gateway.desk.respond(request) else {
        return Err(nothing().into());
    };
    let address = profile.address.split('/').next().unwrap_or_default();
    let options = MobilityOptions {
        server: gateway.mobility.first().copied().ok_or_else(nothing)?,
        server_key: profile
            .server_public_key
            .parse()
            .map_err(io::Error::other)?,
        private_key: key,
        preshared_key: PresharedKey::default(),
        address: address.parse().map_err(io::Error::other)?,
    };
    MobilityTunnel::connect(options, Duration::from_secs(10)).await
}

fn in_ms(time: &Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

async fn log_in(
    gateway: &Gateway,
    server: std::net::SocketAddr,
    user: &str,
    password: &str,
    method: AuthMethod,
) -> Result<Tunnel, ClientError> {
    let user = Identity::new(user.as_bytes())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let login = Login {
        user,
        password: SecretBytes::from(password.as_bytes()),
        method,
    };
    let trust = Trust::Pinned(gateway.certificates.current().hashes().sha256);
    let options = Options::windows(server, trust, login);
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, Tunnel::connect(&options))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Asks the health path as Traffic Manager does; returns the status line.
async fn client_probe(gateway: &Gateway, server: std::net::SocketAddr) -> String {
    let trust = Trust::Pinned(gateway.certificates.current().hashes().sha256);
    match probe(
        server,
        &trust,
        "/sra_%7BBA195980-CD49-458b-9E23-C84EE0ADCD75%7D/",
    )
    .await
    {
        Ok(line) => line,
        Err(error) => error.to_string(),
    }
}

/// Plays the network behind the gateway for an in-memory device: answers pings until the device is closed.
fn answer_echoes(peer: &tun::Peer) {
    loop {
        match peer.receive() {
            Ok((_, mut packet)) => {
                let is_echo = packet.get(9) == Some(&1) && packet.get(20) == Some(&8);
                if !is_echo || packet.len() < 28 {
                    continue;
                }
                let (source, destination) = (12..16, 16..20);
                let from: Vec<u8> = packet
                    .get(source.clone())
                    .map(<[u8]>::to_vec)
                    .unwrap_or_default();
                packet.copy_within(destination.clone(), source.start);
                packet.splice(destination, from);
                packet.splice(20..24, [0, 0, 0, 0]);
                let sum = causeway_proto::ip::checksum::wide(packet.get(20..).unwrap_or_default())
                    .checksum();
                packet.splice(22..24, sum);
                if peer.send(&packet).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(_) => return,
        }
    }
}
