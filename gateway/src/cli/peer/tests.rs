use super::*;

use std::fs;
use std::io::BufRead;
use std::os::unix::fs::PermissionsExt as _;

use causeway_proto::wireguard::PublicKey;
use clap::Parser as _;

use crate::cli::output::Style;
use crate::cli::remote::tests::gateway;
use crate::cli::{Cli, dispatch};

const SERVER: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

struct Ran {
    exit: Exit,
    out: String,
    err: String,
    requests: Vec<Request>,
}

fn run_with(line: &str, answers: Vec<Response>, keyboard: Option<&str>) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let gateway = gateway(&socket, answers);
    let socket = ["--socket".to_owned(), socket.display().to_string()];
    let arguments = line.split(' ').map(str::to_owned).chain(socket);
    let cli = Cli::try_parse_from(arguments).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut keyboard = keyboard.map(str::as_bytes);
    let answers = keyboard
        .as_mut()
        .map(|keyboard| keyboard as &mut dyn BufRead);
    let exit = dispatch(
        &cli,
        &mut Output::new(&mut out, &mut err, answers, Style::Plain),
    );
    Ran {
        exit,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
        requests: gateway.join().unwrap(),
    }
}

fn device() -> Device {
    Device {
        id: 7,
        name: "laptop".to_owned(),
        user: "al\nice".to_owned(),
        public_key: SERVER.to_owned(),
        address: "10.99.0.7".to_owned(),
        pool: Some("users".to_owned()),
        origin: "administrator".to_owned(),
        created: "2026-07-01T00:00:00Z".to_owned(),
        state: "away".to_owned(),
        ..Device::default()
    }
}

fn profile() -> Profile {
    Profile {
        address: "10.99.0.7/32".to_owned(),
        dns: vec!["10.0.0.10".to_owned()],
        dns_suffix: vec!["corp.example.com".to_owned()],
        mtu: 1400,
        server_public_key: SERVER.to_owned(),
        preshared_key: None,
        endpoint: "vpn.example.com:5008".to_owned(),
        allowed_ips: vec!["10.0.0.0/8".to_owned(), "192.168.0.0/16".to_owned()],
        keepalive: 25,
    }
}

fn enrolled() -> Vec<Response> {
    vec![Response::Enrolled {
        device: Box::new(device()),
        profile: Box::new(profile()),
    }]
}

fn new_device(request: &Request) -> &NewDevice {
    let Request::DeviceAdd(new) = request else {
        panic!("{request:?}")
    };
    new
}

/// The private key in a profile.
fn private_key(text: &str) -> Option<PrivateKey> {
    text.lines()
        .find_map(|line| line.strip_prefix("PrivateKey = "))
        .and_then(|key| key.parse().ok())
}

#[test]
fn a_device_without_a_key_gets_one_that_the_gateway_never_sees() {
    let line = "causeway peer add laptop --user alice --address 10.99.0.7 --psk --expires 30d";
    let ran = run_with(line, enrolled(), None);
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Done, ""));
    let new = new_device(&ran.requests[0]);
    let key = private_key(&ran.out).unwrap();
    assert_eq!(new.public_key, key.public().to_string());
    assert_eq!(new.user.as_deref(), Some("alice"));
    assert_eq!(new.address, Some(Ipv4Addr::new(10, 99, 0, 7)));
    assert_eq!(new.lifetime_seconds, Some(30 * 86_400));
    assert!(
        new.preshared_key
            .as_ref()
            .unwrap()
            .parse::<PresharedKey>()
            .is_ok()
    );
    let sent = serde_json::to_string(&ran.requests[0]).unwrap();
    assert!(!sent.contains(key.expose_base64().as_str()));
    let expected = format!(
        "# laptop of al\u{fffd}ice\n[Interface]\nPrivateKey = {}\nAddress = 10.99.0.7/32\n\
         DNS = 10.0.0.10, corp.example.com\nMTU = 1400\n\n[Peer]\nPublicKey = {SERVER}\n\
         Endpoint = vpn.example.com:5008\nAllowedIPs = 10.0.0.0/8, 192.168.0.0/16\n\
         PersistentKeepalive = 25\n",
        key.expose_base64().as_str()
    );
    assert_eq!(ran.out, expected);
    let again = run_with("causeway peer add laptop", enrolled(), None);
    assert_ne!(private_key(&again.out).unwrap().public(), key.public());
}

#[test]
fn a_device_that_has_made_its_key_keeps_it() {
    let line = format!("causeway peer add laptop --public-key {SERVER}");
    let ran = run_with(&line, enrolled(), None);
    let new = new_device(&ran.requests[0]);
    assert_eq!(
        (new.public_key.as_str(), &new.preshared_key),
        (SERVER, &None)
    );
    assert_eq!((&new.user, new.lifetime_seconds), (&None, None));
    assert!(private_key(&ran.out).is_none());
    assert!(
        ran.out
            .contains("PrivateKey = PASTE-YOUR-PRIVATE-KEY-HERE\n")
    );
}

#[test]
fn a_profile_goes_into_a_file_that_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("laptop.conf");
    let line = format!("causeway peer add laptop --out {}", file.display());
    let ran = run_with(&line, enrolled(), None);
    let said = format!(
        "laptop of al\u{fffd}ice has 10.99.0.7; its profile is in {}\n",
        file.display()
    );
    assert_eq!((ran.exit, ran.out), (Exit::Done, said));
    let text = fs::read_to_string(&file).unwrap();
    assert!(private_key(&text).is_some());
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    // Nothing is enrolled when the file could not be written.
    let again = run_with(&line, Vec::new(), None);
    assert_eq!(again.exit, Exit::Failure);
    assert!(again.err.contains("is there already"), "{}", again.err);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn a_profile_is_drawn_for_a_camera() {
    let ran = run_with("causeway peer add laptop --qr", enrolled(), None);
    let (text, code) = ran.out.split_once("PersistentKeepalive = 25\n").unwrap();
    assert!(private_key(text).is_some());
    let lines: Vec<_> = code.lines().collect();
    let width = lines[0].chars().count();
    assert!(lines.iter().all(|line| line.chars().count() == width));
    // Two rows a line; the light margin is ink.
    assert!(lines.len() == width.div_ceil(2), "{} {width}", lines.len());
    assert!(lines[0].chars().all(|c| c == '\u{2588}'));
    assert!(
        code.chars()
            .all(|c| " \n\u{2580}\u{2584}\u{2588}".contains(c))
    );
}

#[test]
fn json_has_everything_once() {
    let ran = run_with("causeway peer add laptop --json", enrolled(), None);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&json["schema"], &json["response"]),
        (&1.into(), &"enrolled".into())
    );
    assert_eq!(json["device"]["address"], "10.99.0.7");
    assert_eq!(json["profile"]["endpoint"], "vpn.example.com:5008");
    let key: PrivateKey = json["private_key"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        new_device(&ran.requests[0]).public_key,
        key.public().to_string()
    );
    assert!(private_key(json["wg_quick"].as_str().unwrap()).is_some());
}

#[test]
fn the_profile_of_an_enrolled_device_has_no_private_key() {
    let ran = run_with("causeway profile wireguard alice/laptop", enrolled(), None);
    let what = "alice/laptop".to_owned();
    assert_eq!(ran.requests, [Request::DeviceProfile { what }]);
    assert!(private_key(&ran.out).is_none());
    assert!(
        ran.out.contains("\nEndpoint = vpn.example.com:5008\n"),
        "{}",
        ran.out
    );
    let missing = vec![Response::NotFound {
        what: "no device laptop".to_owned(),
    }];
    let ran = run_with("causeway profile wireguard laptop", missing, None);
    assert_eq!(ran.exit, Exit::NothingMatched);
}

#[test]
fn devices_are_listed_and_shown() {
    let mut second = device();
    second.name = "phone".to_owned();
    second.endpoint = Some("192.0.2.1:7".to_owned());
    second.expires = Some("2026-07-01T12:00:00Z".to_owned());
    second.state = "expired".to_owned();
    let answer = || {
        vec![Response::Devices {
            devices: vec![device(), second.clone()],
        }]
    };
    let ran = run_with("causeway peer list --user alice", answer(), None);
    let user = Some("alice".to_owned());
    assert_eq!(ran.requests, [Request::Devices { user }]);
    let lines: Vec<_> = ran
        .out
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .collect();
    assert_eq!(
        lines[1],
        [
            "7",
            "laptop",
            "al\u{fffd}ice",
            "away",
            "10.99.0.7",
            "-",
            "never",
            "administrator"
        ]
    );
    assert_eq!(
        lines[2][3..7],
        [
            "expired",
            "10.99.0.7",
            "192.0.2.1:7",
            "2026-07-01T12:00:00Z"
        ]
    );
    let ran = run_with("causeway peer list --json", answer(), None);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["devices"][1]["state"], "expired");

    let shown = vec![Response::Device {
        device: Box::new(device()),
    }];
    let ran = run_with("causeway peer show 7", shown, None);
    for (name, value) in [
        ("public key", SERVER),
        ("pre-shared key", "no"),
        ("expires", "never"),
    ] {
        let has = |line: &str| line.starts_with(name) && line.ends_with(value);
        assert!(ran.out.lines().any(has), "{name}: {}", ran.out);
    }
}

#[test]
fn revoking_asks_first() {
    let revoked = |dry_run| Response::Revoked {
        device: Box::new(Device {
            session: Some("008f31c2".to_owned()),
            ..device()
        }),
        dry_run,
    };
    let no = run_with(
        "causeway peer revoke laptop",
        vec![revoked(true)],
        Some("n\n"),
    );
    assert_eq!(no.exit, Exit::Failure);
    assert_eq!(
        no.err,
        "This removes laptop of al\u{fffd}ice (10.99.0.7) and ends its session. Go on? [y/N] "
    );
    let both = vec![revoked(true), revoked(false)];
    let yes = run_with("causeway peer revoke laptop", both, Some("y\n"));
    assert_eq!(
        (yes.exit, yes.out.as_str()),
        (Exit::Done, "laptop of al\u{fffd}ice is removed\n")
    );
    let at_once = run_with(
        "causeway peer revoke laptop --yes",
        vec![revoked(false)],
        None,
    );
    let what = "laptop".to_owned();
    let dry_run = false;
    assert_eq!(at_once.requests, [Request::DeviceRevoke { what, dry_run }]);
    let nobody = run_with("causeway peer revoke laptop", Vec::new(), None);
    assert_eq!(nobody.exit, Exit::Usage);
}

#[test]
fn a_key_for_the_gateway_is_written_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mobility.key");
    let line = format!("causeway keys mobility --out {}", file.display());
    let ran = run_with(&line, Vec::new(), None);
    assert_eq!(ran.exit, Exit::Done);
    let key: PrivateKey = fs::read_to_string(&file).unwrap().parse().unwrap();
    let public: PublicKey = ran.out.trim().rsplit(' ').next().unwrap().parse().unwrap();
    assert_eq!(key.public(), public);
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    // A key that is in use is not written over.
    assert_eq!(run_with(&line, Vec::new(), None).exit, Exit::Failure);
    let kept: PrivateKey = fs::read_to_string(&file).unwrap().parse().unwrap();
    assert_eq!(kept.public(), public);
    let shown = run_with("causeway keys mobility", Vec::new(), None);
    assert!(shown.out.trim_end().parse::<PrivateKey>().is_ok());
}
