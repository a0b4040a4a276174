//! Debian's wireguard-go with wg, in a namespace of its own, against the gateway as an operator runs it.
//!
//! `cargo test -p tests --test interop_mobility -- --include-ignored`, as root; `CAUSEWAY_INTEROP_LONG=1` moves 1 GB
//! where otherwise 20 MB are moved, and roams for five minutes.

use std::thread;
use std::time::Duration;

use harness::lab::{
    BEHIND, Device, Files, Gateway, Lab, Settings, eventually, is_long, lacks, read, rootless,
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
    assert!(sent >= seconds * 4 && received * 10 >= sent * 9, "{pings}");
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
