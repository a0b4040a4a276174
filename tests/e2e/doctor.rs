//! `causeway doctor` against servers and a gateway that are well, and against everything that can be wrong.

use std::io::{self, Cursor};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use causeway::cli::{Cli, Exit, Output, Style, dispatch};
use causeway::config::{self, Base, Options};
use causeway::startup::{Gateway, prepare, runtime};
use causeway_proto::radius::AttributeType;
use clap::Parser;
use harness::radius_server::{Fault, RadiusServer, Script};

const PASSWORD: &str = "wonderland";

/// A folder with a configuration whose one RADIUS server is at `server`.
fn configured(server: SocketAddr, more: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let made = rcgen::generate_simple_self_signed(vec!["vpn.example.com".to_owned()]).unwrap();
    let chain = write("chain.pem", &made.cert.pem());
    let key = write("key.pem", &made.signing_key.serialize_pem());
    let secret = write("secret", "a shared secret\n");
    write("password", PASSWORD);
    let socket = folder.path().join("admin.sock").display().to_string();
    let text = format!(
        r#"
[gateway]
hostname = "vpn.example.com"
[pools.users]
ipv4 = ["10.99.0.0/24"]
[network]
manage_forwarding = false
manage_nftables = "off"
dns = ["10.0.0.10"]
[sstp]
listen = ["127.0.0.1:0"]
certificate = "{chain}"
key = "{key}"
auth = ["mschapv2", "pap"]
[admin]
socket = "{socket}"
listen = "off"
[[radius.servers]]
name = "nps1"
address = "{}"
auth_port = {}
secret_file = "{secret}"
[radius.accounting]
enabled = false
{more}
"#,
        server.ip(),
        server.port()
    );
    write("gateway.toml", &text);
    folder
}

/// Runs a command line; returns how it ended and what it printed.
fn causeway(folder: &Path, line: &str) -> (Exit, String) {
    let config = folder.join("gateway.toml").display().to_string();
    let password = folder.join("password").display().to_string();
    let line = format!("causeway {line} --config {config}");
    let words = line.replace("PASSWORD", &format!("--password-file {password}"));
    let cli = Cli::try_parse_from(words.split(' ')).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut answers = Cursor::new(Vec::new());
    let exit = dispatch(
        &cli,
        &mut Output::new(&mut out, &mut err, Some(&mut answers), Style::Plain),
    );
    let text = [out, err].concat();
    (exit, String::from_utf8(text).unwrap())
}

/// A server with this fault, asked in this way.
fn with_fault(fault: Fault, line: &str) -> (Exit, String) {
    let script = Script {
        fault,
        ..Script::default()
    };
    let server = RadiusServer::start(script).unwrap();
    causeway(configured(server.address(), "").path(), line)
}

#[test]
fn a_server_that_is_well_passes_by_every_method() {
    let server = RadiusServer::start(Script {
        attributes: vec![(AttributeType::SESSION_TIMEOUT, vec![0, 0, 14, 16])],
        ..Script::default()
    })
    .unwrap();
    let folder = configured(server.address(), "");
    for (method, requests) in [("mschapv2", 1), ("pap", 1)] {
        let before = server.counts().requests;
        let line = format!("doctor radius --user alice PASSWORD --method {method}");
        let (exit, text) = causeway(folder.path(), &line);
        assert_eq!(exit, Exit::Done, "{text}");
        assert!(text.contains("accepted as alice"), "{text}");
        assert!(text.contains("ends after 1h"), "{text}");
        assert!(text.contains("asked from 127.0.0.1"), "{text}");
        assert!(
            !text.contains(PASSWORD) && !text.contains("a shared secret"),
            "{text}"
        );
        assert_eq!(server.counts().requests - before, requests, "{method}");
    }
    assert_eq!(server.counts().refused, 0);
}

#[test]
fn without_a_user_nobody_is_logged_in_and_nobodys_phone_rings() {
    let server = RadiusServer::start(Script::default()).unwrap();
    let (exit, text) = causeway(configured(server.address(), "").path(), "doctor radius");
    assert_eq!(exit, Exit::Done, "{text}");
    assert!(
        text.contains("a user that does not exist is rejected"),
        "{text}"
    );
    assert_eq!((server.counts().requests, server.counts().accepts), (1, 0));
}

#[test]
fn each_fault_fails_with_its_own_cause_and_a_remedy() {
    let ask = "doctor radius --user alice PASSWORD --method mschapv2 --timeout 8s";
    let rows = [
        (
            Fault::WrongSecret,
            "bad_authenticator",
            "Get-NpsRadiusClient",
        ),
        (
            Fault::WrongAuthenticator,
            "bad_authenticator",
            "shared secret differs",
        ),
        (
            Fault::NoMessageAuthenticator,
            "message_authenticator_missing",
            "KB5040268",
        ),
        (
            Fault::WrongMessageAuthenticator,
            "message_authenticator_invalid",
            "CVE-2024-3596",
        ),
        (Fault::NoKeys, "malformed", "MS-MPPE"),
        (Fault::NoSuccess, "malformed", "MS-CHAP2-Success"),
        (
            Fault::AskForCode,
            "challenge",
            "OVERRIDE_NUMBER_MATCHING_WITH_OTP",
        ),
        (
            Fault::Reject("E=691 R=0 V=3".to_owned()),
            "reject_fast",
            "6273",
        ),
        (Fault::Silence, "server_silent", "event 13"),
    ];
    for (fault, cause, remedy) in rows {
        let (exit, text) = with_fault(fault.clone(), ask);
        assert_eq!(exit, Exit::CheckFailed, "{fault:?}: {text}");
        assert!(
            text.contains(cause) && text.contains(remedy),
            "{fault:?}: {text}"
        );
        assert!(!text.contains(PASSWORD), "{text}");
    }
}

#[test]
fn an_eap_method_that_the_client_does_not_have_ends_in_two_rounds() {
    // The scripted server has EAP-MD5 alone, the built-in client EAP-MSCHAPv2.
    let (exit, text) = with_fault(
        Fault::None,
        "doctor radius --user alice PASSWORD --method eap",
    );
    assert_eq!(exit, Exit::CheckFailed, "{text}");
    assert!(
        text.contains("Access-Reject") && text.contains("in 2 rounds"),
        "{text}"
    );
    assert!(text.contains("EAP-MSCHAPv2"), "{text}");
}

#[test]
fn a_wrong_password_is_a_failed_check() {
    let server = RadiusServer::start(Script::default()).unwrap();
    let folder = configured(server.address(), "");
    std::fs::write(folder.path().join("password"), "guess\n").unwrap();
    let (exit, text) = causeway(folder.path(), "doctor radius --user alice PASSWORD");
    assert_eq!(exit, Exit::CheckFailed, "{text}");
    assert!(text.contains("reject_fast"), "{text}");
}

#[test]
fn nobody_listening_is_told_from_silence() {
    // Bound and gone again: nobody has it now.
    let nobody = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let (exit, text) = causeway(configured(nobody, "").path(), "doctor radius --timeout 3s");
    assert_eq!(exit, Exit::CheckFailed, "{text}");
    assert!(
        text.contains("unreachable") && text.contains("Get-Service IAS"),
        "{text}"
    );
}

#[test]
fn an_accept_without_a_person_is_remarked_on() {
    let (exit, text) = with_fault(Fault::None, "doctor radius --user alice PASSWORD --mfa");
    assert_eq!(exit, Exit::Done, "{text}");
    assert!(
        text.contains("warn") && text.contains("no second factor"),
        "{text}"
    );
}

#[test]
fn a_pool_or_filter_that_does_not_exist_is_found_before_the_user_finds_it() {
    let server = RadiusServer::start(Script {
        attributes: vec![(AttributeType::FRAMED_POOL, b"staff".to_vec())],
        ..Script::default()
    })
    .unwrap();
    let folder = configured(
        server.address(),
        "[filters.guests]\nallow = [\"10.0.0.0/8\"]\n",
    );
    let (exit, text) = causeway(folder.path(), "doctor radius --user alice PASSWORD");
    assert_eq!(exit, Exit::CheckFailed, "{text}");
    assert!(text.contains("add [pools.staff]"), "{text}");

    for (filter, exits) in [("guests", Exit::Done), ("staff", Exit::CheckFailed)] {
        server.change(|script| {
            script.attributes = vec![(AttributeType::FILTER_ID, filter.as_bytes().to_vec())];
        });
        let (exit, text) = causeway(folder.path(), "doctor radius --user alice PASSWORD");
        assert_eq!(exit, exits, "{text}");
        assert_eq!(text.contains("add [filters."), exit != Exit::Done, "{text}");
    }
}

#[test]
fn one_object_for_machines_and_a_code_for_a_name_that_is_none() {
    let server = RadiusServer::start(Script::default()).unwrap();
    let folder = configured(server.address(), "");
    let (exit, text) = causeway(folder.path(), "doctor radius --json");
    assert_eq!(exit, Exit::Done);
    let object: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(object["failed"], 0);
    assert_eq!(object["findings"][0]["topic"], "route");
    let (exit, text) = causeway(folder.path(), "doctor radius --server nps7");
    assert_eq!(exit, Exit::NothingMatched, "{text}");
}

#[test]
fn a_whole_login_through_the_listener() {
    let server = RadiusServer::start(Script::default()).unwrap();
    let folder = configured(server.address(), "");
    let file = folder.path().join("gateway.toml");
    let mut config = config::load(&Options::of_process(Base::File(file)))
        .unwrap_or_else(|report| panic!("{}", report.render(config::Colours::Off)))
        .config;
    // The device in memory: nothing of this machine is touched, whoever runs the test.
    config.network.best_effort = true;
    let prepared = prepare(&config, None, || Err(io::Error::other("in memory"))).unwrap();
    let runtime = runtime().unwrap();
    let gateway = {
        let _inside = runtime.enter();
        Gateway::start(&config, prepared.parts).unwrap()
    };
    let address = gateway.addresses[0];
    let visit = |folder: &Path, more: &str| {
        causeway(
            folder,
            &format!("doctor login --user alice PASSWORD --address {address}{more}"),
        )
    };
    for method in ["mschapv2", "pap"] {
        let (exit, text) = visit(folder.path(), &format!(" --method {method}"));
        assert_eq!(exit, Exit::Done, "{text}");
        assert!(text.contains(", TLSv1_3 TLS13_AES_"), "{text}");
        assert!(
            text.contains("10.99.0.") && text.contains("politely"),
            "{text}"
        );
    }

    // Another certificate than the listener shows.
    let stranger = configured(server.address(), "");
    let (exit, text) = visit(stranger.path(), "");
    assert_eq!(exit, Exit::CheckFailed, "{text}");
    assert!(text.contains("another certificate"), "{text}");

    std::fs::write(folder.path().join("password"), "guess").unwrap();
    let (exit, text) = visit(folder.path(), "");
    assert_eq!(exit, Exit::CheckFailed, "{text}");
    assert!(text.contains("fail  login"), "{text}");

    runtime.block_on(gateway.stop());
    let (exit, text) = visit(folder.path(), "");
    assert_eq!(exit, Exit::CheckFailed, "{text}");
    assert!(text.contains("fail  tcp"), "{text}");
    runtime.shutdown_timeout(Duration::from_secs(1));
}
