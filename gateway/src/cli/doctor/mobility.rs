//! `causeway doctor mobility`: whether devices can come through the Mobility tunnel: keys, the way of UDP, and how long
//! packets may be on it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use causeway_proto::wireguard::{PrivateKey, PublicKey};

use crate::cli::{Exit, Output};
use crate::client::{ClientError, MobilityOptions, MobilityTunnel};
use crate::config::{Config, Mobility};
use crate::control::client::ask;
use crate::control::protocol::{NewDevice, Profile, Request, Response};
use crate::os::credentials;
use crate::startup::runtime;

use super::{DoctorMobility, Report, load, reachable, seconds};

/// A handshake, and the one after it if a datagram gets lost.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long the device of this examination is enrolled if nobody removes it.
const LIFETIME_SECONDS: u64 = 300;
/// IPv4 and ICMP headers.
const HEADERS: u16 = 28;
/// No network that carries the tunnel carries less.
const LEAST: u16 = 576;

/// What a device needs to know.
struct Wanted {
    endpoint: String,
    mtu: u16,
    options: MobilityOptions,
}

pub(super) fn run(asked: &DoctorMobility, json: bool, out: &mut Output<'_>) -> Result<Exit, Exit> {
    let runtime = runtime().map_err(|error| {
        out.error(&error.to_string());
        Exit::Failure
    })?;
    if let Some(file) = &asked.profile {
        let mut report = Report::new(out, json);
        report.subject(&format!("as {} says", file.display()));
        match read(file) {
            Ok(wanted) => runtime.block_on(come(asked, &wanted, None, &mut report)),
            Err(why) => report.fail(
                "profile",
                why,
                "name a file for wg-quick that has a private key",
            ),
        }
        return Ok(report.finish());
    }
    let config = load(&asked.config, out)?;
    let mut report = Report::new(out, json);
    report.subject(&format!("the Mobility tunnel of {}", config.gateway.name));
    let Some(mobility) = &config.mobility else {
        report.fail(
            "config",
            "the Mobility tunnel is off",
            "set `mobility.enabled = true`, or `mobility.private_key`",
        );
        return Ok(report.finish());
    };
    if let Some(own) = key(mobility, &mut report) {
        examine(asked, &config, (mobility, own), &runtime, &mut report);
    }
    Ok(report.finish())
}

/// Reads the gateway's key as the start does.
fn key(mobility: &Mobility, report: &mut Report<'_, '_>) -> Option<PublicKey> {
    match mobility.key.read() {
        Ok(key) => {
            report.ok("key", format!("public half {}", key.public()));
            Some(key.public())
        }
        Err(error) => {
            report.fail(
                "key",
                error.to_string(),
                "`causeway keys mobility --out FILE` makes one, for root's eyes alone; without \
                 `mobility.private_key` the gateway makes it at its first start",
            );
            None
        }
    }
}

/// Enrols a device, comes with it, and removes it again.
fn examine(
    asked: &DoctorMobility,
    config: &Config,
    (mobility, own): (&Mobility, PublicKey),
    runtime: &tokio::runtime::Runtime,
    report: &mut Report<'_, '_>,
) {
    let socket = &config.admin.socket;
    let Some((id, key, profile)) = enrol(socket, report) else {
        return;
    };
    if profile.server_public_key == own.to_string() {
        report.ok("keys", "the running gateway has the configured key");
    } else {
        report.fail(
            "keys",
            format!(
                "the running gateway has another key: {}",
                profile.server_public_key
            ),
            "restart it, or put the former key back: every device knows the gateway by its key",
        );
    }
    match wanted(&profile, key, asked.endpoint.as_deref()) {
        Ok(wanted) => {
            let local = mobility.listen.first().copied().map(reachable);
            let gateway = (config.pools.gateway, local);
            runtime.block_on(come(asked, &wanted, Some(gateway), report));
        }
        Err(why) => report.fail(
            "profile",
            why,
            "the command and the gateway are of different versions",
        ),
    }
    let request = Request::DeviceRevoke {
        what: id,
        dry_run: false,
    };
    match ask(socket, &request) {
        Ok(Response::Revoked { .. }) => {}
        Ok(_) | Err(_) => report.warn(
            "clean-up",
            "the device of this examination is still enrolled",
            "it goes by itself in five minutes; `causeway peer list` shows it",
        ),
    }
}

/// Enrols a device for this examination.
fn enrol(socket: &Path, report: &mut Report<'_, '_>) -> Option<(String, PrivateKey, Profile)> {
    let key = match credentials::random() {
        Ok(octets) => PrivateKey::from_bytes(*octets),
        Err(error) => {
            report.fail("key", error.to_string(), "this machine gives no randomness");
            return None;
        }
    };
    let public = key.public().to_string();
    let name: String = public
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(8)
        .collect();
    let request = Request::DeviceAdd(Box::new(NewDevice {
        name: format!("doctor-{name}"),
        public_key: public,
        lifetime_seconds: Some(LIFETIME_SECONDS),
        ..NewDevice::default()
    }));
    let failed = |report: &mut Report<'_, '_>, why: String| {
        report.fail(
            "gateway",
            why,
            "is the gateway running, with [mobility]? `systemctl status causeway`; run this as root",
        );
    };
    match ask(socket, &request) {
        Ok(Response::Enrolled { device, profile }) => {
            report.ok(
                "gateway",
                format!("runs, and has given a device {}", profile.address),
            );
            Some((device.id.to_string(), key, *profile))
        }
        Ok(Response::Failed { message, .. }) => {
            failed(report, message);
            None
        }
        Ok(_) => {
            failed(report, "it does not take devices".to_owned());
            None
        }
        Err(error) => {
            failed(report, error.to_string());
            None
        }
    }
}

fn wanted(
    profile: &Profile,
    private_key: PrivateKey,
    endpoint: Option<&str>,
) -> Result<Wanted, String> {
    let address = profile.address.split('/').next().unwrap_or_default();
    let server_key = profile.server_public_key.parse();
    let preshared_key = profile.preshared_key.as_deref().map(str::parse);
    Ok(Wanted {
        endpoint: endpoint.unwrap_or(&profile.endpoint).to_owned(),
        mtu: profile.mtu,
        options: MobilityOptions {
            // Found out later.
            server: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            server_key: server_key.map_err(|_| "the gateway's key is no key".to_owned())?,
            private_key,
            preshared_key: preshared_key
                .transpose()
                .map_err(|_| "the pre-shared key is no key".to_owned())?
                .unwrap_or_default(),
            address: address
                .parse()
                .map_err(|_| format!("{address:?} is no IPv4 address"))?,
        },
    })
}

/// Reads a file for `wg-quick`.
fn read(file: &Path) -> Result<Wanted, String> {
    let text = std::fs::read(file)
        .map(zeroize::Zeroizing::new)
        .map_err(|error| error.to_string())?;
    let text = str::from_utf8(&text).map_err(|error| error.to_string())?;
    let value = |wanted: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        let found = lines.find(|(key, _)| key.trim().eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.trim())
    };
    let needed = |wanted: &str| value(wanted).ok_or_else(|| format!("{wanted} is missing"));
    let key: PrivateKey = needed("PrivateKey")?
        .parse()
        .map_err(|_| "PrivateKey is no key".to_owned())?;
    let profile = Profile {
        address: needed("Address")?.to_owned(),
        mtu: value("MTU")
            .and_then(|mtu| mtu.parse().ok())
            .unwrap_or(1420),
        server_public_key: needed("PublicKey")?.to_owned(),
        preshared_key: value("PresharedKey").map(str::to_owned),
        endpoint: needed("Endpoint")?.to_owned(),
        ..Profile::default()
    };
    wanted(&profile, key, None)
}

/// Comes in as a device does. `gateway` is its inner address, and where it listens, when this is the gateway's machine.
async fn come(
    asked: &DoctorMobility,
    wanted: &Wanted,
    gateway: Option<(Ipv4Addr, Option<SocketAddr>)>,
    report: &mut Report<'_, '_>,
) {
    let Some(server) = resolve(&wanted.endpoint, report).await else {
        return;
    };
    let begun = Instant::now();
    let tunnel = match connect(wanted, server).await {
        Ok(tunnel) => {
            report.ok(
                "handshake",
                format!("{server} answers after {}", seconds(begun.elapsed())),
            );
            tunnel
        }
        Err(error) => {
            let local = gateway.and_then(|(_, local)| local);
            no_answer(wanted, (server, &error), local, report).await;
            return;
        }
    };
    let target = asked.ping.or_else(|| gateway.map(|(inner, _)| inner));
    match target {
        Some(target) => packets(tunnel, target, wanted.mtu, report).await,
        None => report.warn(
            "packets",
            "none were sent",
            "name a host behind the gateway with --ping",
        ),
    }
}

async fn resolve(endpoint: &str, report: &mut Report<'_, '_>) -> Option<SocketAddr> {
    let found = tokio::net::lookup_host(endpoint).await;
    let remedy =
        "`mobility.external` has the name and port that devices are told; correct it or the DNS";
    match found.map(|mut addresses| addresses.next()) {
        Ok(Some(server)) => {
            report.ok("endpoint", format!("{endpoint} is {server}"));
            Some(server)
        }
        Ok(None) => {
            report.fail("endpoint", format!("{endpoint} has no address"), remedy);
            None
        }
        Err(error) => {
            report.fail("endpoint", format!("{endpoint}: {error}"), remedy);
            None
        }
    }
}

async fn connect(wanted: &Wanted, server: SocketAddr) -> Result<MobilityTunnel, ClientError> {
    let options = MobilityOptions {
        server,
        ..wanted.options.clone()
    };
    MobilityTunnel::connect(options, PATIENCE).await
}

/// Says why nobody answers, as far as it can be seen from here.
async fn no_answer(
    wanted: &Wanted,
    (server, error): (SocketAddr, &ClientError),
    local: Option<SocketAddr>,
    report: &mut Report<'_, '_>,
) {
    let blocked = "something on the way drops UDP to this port: the network security group (inbound, UDP), a firewall, or the network that this machine is in";
    let Some(local) = local.filter(|local| *local != server) else {
        report.fail("handshake", format!("{server}: {error}"), format!("{blocked}; or the device is not enrolled any more, to which the gateway is silent, or the key is another one"));
        return;
    };
    report.fail("handshake", format!("{server}: {error}"), blocked);
    match connect(wanted, local).await {
        Ok(_) => report.ok(
            "local",
            format!("{local} answers: the gateway works, and the way to it does not"),
        ),
        Err(error) => report.fail(
            "local",
            format!("{local}: {error}"),
            "the gateway itself does not answer: `ss -lun`, `causeway status`, and causeway_mobility_handshakes_total by result",
        ),
    }
}

/// Sends packets through the tunnel: a short one, then as long ones as devices will.
async fn packets(
    mut tunnel: MobilityTunnel,
    target: Ipv4Addr,
    mtu: u16,
    report: &mut Report<'_, '_>,
) {
    match tunnel.ping(target, 56).await {
        Ok(time) => report.ok(
            "ping",
            format!("{target} answers after {:.2} ms", time.as_secs_f64() * 1e3),
        ),
        Err(error) => {
            report.fail("ping", format!("{target}: {error}"), "does a filter forbid it, does the host answer pings, and is there a route back to the pool?");
            return;
        }
    }
    let mut passes = async |length: u16| {
        let payload = usize::from(length.saturating_sub(HEADERS));
        tunnel.ping(target, payload).await.is_ok()
    };
    if passes(mtu).await {
        report.ok("mtu", format!("packets of {mtu} octets come through"));
        return;
    }
    let (mut good, mut bad) = (LEAST, mtu);
    while bad.saturating_sub(good) > 1 {
        let middle = good.midpoint(bad);
        if passes(middle).await {
            good = middle;
        } else {
            bad = middle;
        }
    }
    report.fail("mtu", format!("packets of {mtu} octets are lost on the way; {good} come through"), format!("set `network.mtu = {good}` (or less) and give devices new profiles, or `MTU = {good}` in this device's"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_as_wg_quick_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wg.conf");
        let text = "# phone\n[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\nAddress = 10.99.0.7/32\nDNS = 10.0.0.10\n\n[Peer]\npublickey=xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\nEndpoint = vpn.example.com:5008\n";
        std::fs::write(&file, text).unwrap();
        let wanted = read(&file).unwrap();
        assert_eq!(wanted.endpoint, "vpn.example.com:5008");
        assert_eq!(
            (wanted.mtu, wanted.options.address),
            (1420, Ipv4Addr::new(10, 99, 0, 7))
        );
        for line in ["PrivateKey", "Address", "publickey", "Endpoint"] {
            let kept = text.lines().filter(|at| !at.starts_with(line));
            let without = kept.collect::<Vec<_>>().join(
                "
",
            );
            std::fs::write(&file, without).unwrap();
            let why = read(&file).err().unwrap();
            assert!(why.to_lowercase().contains(&line.to_lowercase()), "{why}");
        }
        std::fs::write(&file, text.replace("yAnz", "PASTE")).unwrap();
        assert_eq!(read(&file).err().unwrap(), "PrivateKey is no key");
    }
}
