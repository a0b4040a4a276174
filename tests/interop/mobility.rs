//! Debian's wireguard-go with wg, in a namespace of its own, against the gateway as an operator runs it.
//!
//! `cargo test -p tests --test interop_mobility -- --include-ignored`, as root; `CAUSEWAY_INTEROP_LONG=1` moves 1 GB
//! where otherwise 20 MB are moved, and roams for five minutes.

use std::process::Command;
use std::thread;
use std::time::Duration;

use harness::lab::{
    BEHIND, Device, Files, FreeRadius, GATEWAY, Gateway, Hold, Lab, Settings, binary, eventually,
    is_long, lacks, read, rootless,
};

/// Leaves the test, saying why, when something that it needs is not there.
macro_rules! need {
    ($($missing:expr),+) => {
        $(if let Some(reason) = $missing {
            println!("skipped: {reason}");
            return;
        })+
    };
}

mod mobility_orders;
mod secrets;

/// Enrols a device as an administrator does, and returns its profile.
fn enrol(gateway: &Gateway<'_>, name: &str) -> String {
    let added = gateway.cli(&["peer", "add", name, "--user", "alice"]);
    assert!(added.status.success(), "{added:?}");
    String::from_utf8(added.stdout).unwrap()
}

#[test]
#[ignore = "needs root, wireguard-go, wireguard-tools"]
fn a_device_moves_files_roams_and_outlives_a_crash_of_the_gateway() {
    need!(rootless(), lacks("wireguard-go"), lacks("wg"));
    let lab = Lab::new();
    let _files = Files::start(&lab);
    let settings = Settings::local(&["mschapv2"]).mobility("");
    let mut gateway = Gateway::start(&lab, &settings);
    let profile = enrol(&gateway, "laptop");
    let mut device = Device::start(&lab, &profile);
    assert!(device.reaches(BEHIND, 5), "{}", profile);

    let megabytes = if is_long() { 1000 } else { 20 };
    let said = device.shell(&Files::exchange_over(device.interface(), megabytes));
    let digest = Files::digest(megabytes);
    assert!(said.contains(&format!("fetched_sha256={digest}")), "{said}");
    assert!(said.contains(&format!("stored_sha256={digest}")), "{said}");

    let before = gateway.json(&["sessions"]);
    let session = &before["sessions"][0];
    assert_eq!(session["protocol"], "mobility", "{before}");
    assert_eq!(session["user"], "alice", "{before}");
    let id = session["id"].clone();

    // Another address and another port every second, while packets go.
    let seconds = if is_long() { 300 } else { 15 };
    let mut pings = device.command("ping");
    pings.args(["-i", "0.2", "-w", &seconds.to_string(), BEHIND]);
    let pings = pings.stdout(std::process::Stdio::piped()).spawn().unwrap();
    for _ in 0..seconds - 1 {
        thread::sleep(Duration::from_secs(1));
        device.roam();
    }
    let pings = pings.wait_with_output().unwrap();
    let pings = String::from_utf8_lossy(&pings.stdout).into_owned();
    let (sent, received) = counts(&pings);
    // A machine that stood still for a while has sent fewer.
    assert!(sent >= seconds * 2 && received * 10 >= sent * 9, "{pings}");
    let after = gateway.json(&["sessions"]);
    assert_eq!(after["sessions"][0]["id"], id, "{after}");
    assert_eq!(after["sessions"].as_array().unwrap().len(), 1, "{after}");

    // What devices do is written down within some seconds.
    let place = device.endpoint();
    let register = lab.path("peers.toml");
    assert!(
        eventually(30, || read(&register).contains(&place)),
        "{place}"
    );
    gateway.kill();
    let handshake = device.latest_handshake();
    gateway.launch();
    assert!(device.reaches(BEHIND, 5), "{}", gateway.log());
    assert!(device.latest_handshake() > handshake);
    let again = gateway.json(&["sessions"]);
    assert_eq!(
        again["sessions"][0]["address"], after["sessions"][0]["address"],
        "{again}"
    );

    let revoked = gateway.cli(&["peer", "revoke", "laptop", "--yes"]);
    assert!(revoked.status.success(), "{revoked:?}");
    assert!(!device.reaches(BEHIND, 2));
    assert!(eventually(5, || {
        gateway.json(&["sessions"])["sessions"] == serde_json::json!([])
    }));
}

#[test]
#[ignore = "needs root, wireguard-go, wireguard-tools, FreeRADIUS, curl"]
fn a_user_logs_in_with_a_phone_is_cut_at_expiry_and_comes_back_to_the_same_address() {
    need!(
        rootless(),
        lacks("wireguard-go"),
        lacks("wg"),
        lacks("freeradius"),
        lacks("curl")
    );
    let lab = Lab::new();
    let _files = Files::start(&lab);
    let _radius = FreeRadius::start(&lab);
    let wait = if is_long() { 45 } else { 6 };
    let hold = Hold::start(&lab, wait);
    let settings = Settings::radius(&["pap"], Hold::PORT).mobility("reauth = \"20s\"");
    let gateway = Gateway::start(&lab, &settings);
    let device_key = Key::new();

    let refused = log_in(&lab, "alice", "nope", &device_key);
    assert_eq!(refused["code"], "rejected", "{refused}");
    let accepted = log_in(&lab, "alice", "wonderland", &device_key);
    assert_eq!(accepted["state"], "accepted", "{accepted}");
    assert!(
        accepted["elapsed"].as_u64().unwrap() + 1 >= u64::from(wait),
        "{accepted}"
    );
    // The wrong password was answered with as much patience.
    assert_eq!(hold.requests("alice"), 2, "{}", hold.log());
    let log = gateway.log();
    assert!(
        !log.contains("wonderland") && !log.contains("nope"),
        "{log}"
    );

    let profile = accepted["profile"].as_str().unwrap();
    let profile = profile.replace("PASTE-YOUR-PRIVATE-KEY-HERE", &device_key.private);
    let device = Device::start(&lab, &profile);
    assert!(device.reaches(BEHIND, 5), "{profile}");
    let sessions = gateway.json(&["sessions"]);
    assert_eq!(sessions["sessions"][0]["user"], "alice", "{sessions}");

    let over = || gateway.json(&["sessions"])["sessions"] == serde_json::json!([]);
    assert!(eventually(40, over), "{}", gateway.log());
    assert!(!device.reaches(BEHIND, 2), "traffic after the expiry");
    let log = gateway.log();
    assert!(log.contains("authentication_expired"), "{log}");

    let again = log_in(&lab, "alice", "wonderland", &device_key);
    assert_eq!(again["address"], accepted["address"], "{again}");
    assert_eq!(again["preshared_key"], accepted["preshared_key"]);
    // With the same configuration; the device tries again when it has something to say.
    assert!(device.reaches(BEHIND, 15), "{}", gateway.log());
}

#[test]
#[ignore = "needs root, wireguard-tools"]
fn the_doctor_comes_through_the_tunnel_and_says_what_is_in_the_way() {
    need!(rootless(), lacks("wg"), lacks("nft"));
    let lab = Lab::new();
    let settings = Settings::local(&["mschapv2"]).mobility("");
    let gateway = Gateway::start(&lab, &settings);
    let doctor = |more: &[&str]| {
        let mut command = lab.command(binary().to_str().unwrap());
        command.args(["doctor", "mobility"]).args(more);
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let config = lab.path("gateway.toml");
    let config = ["--config", config.to_str().unwrap()];
    let (code, text) = doctor(&config);
    assert_eq!(code, Some(0), "{text}");
    for part in [
        "key",
        "handshake",
        "ping",
        "packets of 1400 octets come through",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (code, text) = doctor(&[&config[..], &["--ping", BEHIND]].concat());
    assert_eq!(code, Some(0), "{text}");
    // It leaves nothing behind.
    assert_eq!(
        gateway.json(&["peer", "list"])["devices"],
        serde_json::json!([])
    );

    // Elsewhere, with a profile, over a way that is shorter than the gateway thinks.
    let profile = lab.path("doctor.conf");
    let added = gateway.cli(&["peer", "add", "travel", "--out", profile.to_str().unwrap()]);
    assert!(added.status.success(), "{added:?}");
    let elsewhere =
        |more: &[&str]| doctor(&[&["--profile", profile.to_str().unwrap()], more].concat());
    let (code, text) = elsewhere(&["--ping", BEHIND]);
    assert_eq!(code, Some(0), "{text}");
    let rules = |verdict: &str| {
        let text = format!(
            "table inet t {{ chain c {{ type filter hook input priority 0; udp dport 5008 {verdict}; }}\n}}\n"
        );
        let file = lab.path("rules.nft");
        std::fs::write(&file, text).unwrap();
        let _ = lab
            .command("nft")
            .args(["delete", "table", "inet", "t"])
            .output();
        let set = lab.command("nft").arg("-f").arg(&file).output().unwrap();
        assert!(set.status.success(), "{set:?}");
    };
    rules("meta length > 1300 drop");
    let (code, text) = elsewhere(&["--ping", BEHIND]);
    assert_eq!(code, Some(6), "{text}");
    // 1300 without 28 of UDP and IP and 32 of WireGuard, and a packet is padded to 16.
    assert!(text.contains("1232 come through"), "{text}");
    rules("drop");
    let (code, text) = elsewhere(&[]);
    assert_eq!(code, Some(6), "{text}");
    assert!(text.contains("drops UDP to this port"), "{text}");
    let (code, text) = doctor(&config);
    assert_eq!(code, Some(6), "{text}");
}

/// A device's key pair, as `wg` makes it.
struct Key {
    private: String,
    public: String,
}

impl Key {
    fn new() -> Self {
        let shell = |text: &str| {
            let output = Command::new("sh").args(["-c", text]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let private = shell("wg genkey");
        let public = shell(&format!("echo {private} | wg pubkey"));
        Self { private, public }
    }
}

/// Logs a device in through the API and returns the last answer.
fn log_in(lab: &Lab, user: &str, password: &str, key: &Key) -> serde_json::Value {
    let url = format!("https://{GATEWAY}/enrol/api/v1/login");
    let ca = lab.path("pki/ca.pem");
    let curl = |more: &[&str]| -> serde_json::Value {
        let mut command = lab.command("curl");
        command
            .args(["-sS", "--insecure", "--max-time", "30", "--cacert"])
            .arg(&ca);
        let output = command.args(more).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    };
    let body = serde_json::json!({
        "user": user, "password": password, "device": "laptop", "public_key": key.public,
    });
    let body = body.to_string();
    let mut answer = curl(&["-H", "Content-Type: application/json", "-d", &body, &url]);
    let login = answer["login"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
        .to_owned();
    while answer["state"] == "pending" {
        answer = curl(&[&format!("{url}/{login}?wait=15")]);
    }
    answer
}

/// Returns how many echo requests were sent and answered.
fn counts(pings: &str) -> (u64, u64) {
    let line = pings
        .lines()
        .find(|line| line.contains("packets transmitted"));
    let mut numbers = line
        .unwrap_or_default()
        .split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.find_map(|word| word.parse().ok()).unwrap_or(0);
    (next(), next())
}
