//! What is left of secrets once they have been used: in memory, in the log at its most talkative, in the metrics.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use harness::lab::{
    FreeRadius, GATEWAY, Gateway, Lab, Settings, binary, eventually, lacks, rootless,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Key, log_in};

/// Where nobody would take it for chance.
const WRONG: &str = "Tr0ub4dor-and-3";
const RIGHT: &str = "wonderland";

/// Makes the built-in client, which logs in as Windows does, by SSTP.
fn doctor(lab: &Lab, method: &str, password: &str) -> Command {
    let file = lab.path("password");
    fs::write(&file, password).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let mut doctor = lab.command(binary().to_str().unwrap());
    doctor.args(["doctor", "login", "--user", "alice", "--method", method]);
    doctor.arg("--config").arg(lab.path("gateway.toml"));
    doctor.arg("--password-file").arg(&file);
    doctor
}

/// Fills in the form of the page, as a browser without JavaScript does.
fn fill_in(lab: &Lab, password: &str, key: &Key) {
    let jar = lab.path("cookies");
    let curl = |more: &[&str]| {
        let mut command = lab.command("curl");
        command
            .args(["-sSk", "--max-time", "30"])
            .arg("-b")
            .arg(&jar);
        let output = command.arg("-c").arg(&jar).args(more).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let page = curl(&[&format!("https://{GATEWAY}/enrol/")]);
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap();
    let csrf = csrf.split('"').next().unwrap();
    let form = [
        format!("csrf={csrf}"),
        "user=alice".into(),
        format!("password={password}"),
        format!("public_key={}", key.public),
    ];
    let mut words = vec!["-i"];
    for field in &form {
        words.extend(["--data-urlencode", field]);
    }
    let url = format!("https://{GATEWAY}/enrol/login");
    words.push(&url);
    let answer = curl(&words);
    assert!(answer.contains(" 303 "), "{answer}");
}

/// Returns where the gateway still has a password, in octets or as MS-CHAPv2 hashes it: UTF-16.
fn left(gateway: &Gateway<'_>, word: &str) -> Vec<String> {
    let wide: Vec<u8> = word.encode_utf16().flat_map(u16::to_le_bytes).collect();
    gateway.holds(&[word.as_bytes(), &wide])
}

fn settings() -> Settings {
    Settings {
        level: "trace",
        ..Settings::radius(&["pap", "mschapv2", "eap"], FreeRadius::PORT).mobility("")
    }
}

#[test]
#[ignore = "needs root, FreeRADIUS, curl"]
fn nothing_is_left_of_a_password_once_the_server_has_answered() {
    need!(rootless(), lacks("freeradius"), lacks("curl"));
    let lab = Lab::new();
    let radius = FreeRadius::start(&lab);
    let gateway = Gateway::start(&lab, &settings());
    let key = Key::new();
    let way = |name: &str, password: &str| match name {
        "page" => fill_in(&lab, password, &key),
        "API" => {
            let answer = log_in(&lab, "alice", password, &key);
            let is_right = password == RIGHT;
            assert_eq!(answer["state"] == "accepted", is_right, "{answer}");
        }
        method => {
            let output = doctor(&lab, method, password).output().unwrap();
            assert_eq!(output.status.success(), password == RIGHT, "{output:?}");
        }
    };

    let mut found = Vec::new();
    for name in ["pap", "mschapv2", "eap", "page", "API"] {
        for word in [RIGHT, WRONG] {
            way(name, word);
            // A refusal is kept back for a second; RELIABILITY gives another one after it.
            thread::sleep(Duration::from_secs(2));
            let places = left(&gateway, word);
            found.extend(places.iter().map(|place| format!("{name}: {place}")));
        }
    }
    assert!(radius.requests() >= 10, "{}", radius.log());
    // What the gateway goes on using is there, so this looks in the right place.
    assert_ne!(gateway.holds(&[b"testing123"]), Vec::<String>::new());
    let metrics = lab.fetch(&format!("http://{GATEWAY}:9095/metrics"));
    assert!(metrics.contains("causeway_"), "{metrics}");
    let log = gateway.log();
    for word in [RIGHT, WRONG, "testing123"] {
        assert!(!log.contains(word), "{log}");
        assert!(!metrics.contains(word), "{metrics}");
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
#[ignore = "needs root, FreeRADIUS, openssl"]
fn a_client_that_stays_leaves_no_password_behind_either() {
    need!(rootless(), lacks("freeradius"), lacks("openssl"));
    let lab = Lab::new();
    let _radius = FreeRadius::start(&lab);
    let gateway = Gateway::start(&lab, &settings());

    // A session that has not said anything since: its client waits for a host that is not there, and stops.
    let mut client = doctor(&lab, "pap", RIGHT);
    let mut client = client.args(["--ping", "10.98.0.77"]).spawn().unwrap();
    let is_up = || gateway.log().contains("event=session_up");
    assert!(eventually(10, is_up), "{}", gateway.log());
    let process = Pid::from_raw(client.id().try_into().unwrap());
    kill(process, Signal::SIGSTOP).unwrap();
    thread::sleep(Duration::from_secs(2));
    let sessions = gateway.json(&["sessions"]);
    assert_eq!(sessions["sessions"][0]["user"], "alice", "{sessions}");
    let found = left(&gateway, RIGHT);
    assert!(found.is_empty(), "{}", found.join("\n"));
    client.kill().unwrap();
    client.wait().unwrap();

    // A connection that is kept for the next request.
    let key = Key::new();
    let body = serde_json::json!({"user": "alice", "password": RIGHT, "public_key": key.public});
    let body = body.to_string();
    let mut browser = lab.command("openssl");
    browser.args(["s_client", "-quiet", "-connect", &format!("{GATEWAY}:443")]);
    browser
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut browser = browser.spawn().unwrap();
    let request = format!(
        "POST /enrol/api/v1/login HTTP/1.1\r\nHost: vpn.test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut input = browser.stdin.take().unwrap();
    input.write_all(request.as_bytes()).unwrap();
    let is_enrolled = || gateway.log().contains("event=enrolled");
    assert!(eventually(10, is_enrolled), "{}", gateway.log());
    thread::sleep(Duration::from_secs(2));
    let found = left(&gateway, RIGHT);
    assert!(found.is_empty(), "{}", found.join("\n"));
    drop(input);
    browser.kill().unwrap();
    browser.wait().unwrap();
}
