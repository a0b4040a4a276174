//! Debian's sstpc with pppd, on a kernel with real PPP, against the gateway as an operator runs it.
//!
//! `cargo test -p tests --test interop_sstp -- --include-ignored`, as root; `CAUSEWAY_INTEROP_LONG=1` moves 100 MB
//! where otherwise 10 are moved, and waits 45 s for every method.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use harness::lab::{
    BEHIND, Files, FreeRadius, GATEWAY, Gateway, Guest, Hold, Lab, Outcome, Peer, Settings,
    eventually, is_long, lacks, missing, relay,
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

const SRA: &str = "sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}";

#[test]
#[ignore = "needs root, user-mode Linux, sstp-client"]
fn mschapv2_carries_files_and_is_ended_by_the_administrator() {
    need!(missing());
    carries_files_and_is_ended("mschap-v2", &["mschapv2"]);
}

#[test]
#[ignore = "needs root, user-mode Linux, sstp-client"]
fn pap_carries_files_and_is_ended_by_the_administrator() {
    need!(missing());
    carries_files_and_is_ended("pap", &["pap"]);
}

fn carries_files_and_is_ended(method: &str, auth: &'static [&'static str]) {
    let lab = Lab::new();
    let _files = Files::start(&lab);
    let gateway = Gateway::start(&lab, &Settings::local(auth));
    let megabytes = if is_long() { 100 } else { 10 };
    let first = client(&lab, method)
        .with("--level", "3")
        .with("--ping", BEHIND)
        .with("--exec", &Files::exchange(megabytes))
        .with("--hold", "60")
        .with("--end", "server")
        .seconds(if is_long() { 400 } else { 150 });
    let mut running = first.boot();
    running.wait_for("R exec_rc=", if is_long() { 350 } else { 100 });

    let sessions = gateway.json(&["sessions"]);
    let listed = sessions["sessions"].as_array().unwrap();
    assert_eq!(listed.len(), 1, "{sessions}");
    assert_eq!(listed[0]["user"], "alice");

    let ended = gateway.cli(&["disconnect", "--user", "alice", "--yes"]);
    assert!(ended.status.success(), "{ended:?}");
    let outcome = running.wait();
    outcome.assert_ok();
    assert_eq!(outcome.fact("down_by"), "server", "{}", outcome.facts);
    assert_files(&outcome, megabytes);
    assert_eq!(outcome.fact("dns"), "10.98.0.1", "{}", outcome.facts);
    assert_ne!(outcome.fact("ping_full_mtu"), "", "{}", outcome.facts);

    let again = client(&lab, method).with("--ping", BEHIND).run();
    again.assert_ok();
    assert_eq!(
        again.fact("local"),
        outcome.fact("local"),
        "another address after a new log-in"
    );
    assert!(
        again.facts.contains("crypto_binding_sent=1"),
        "{}",
        again.facts
    );

    let nobody = gateway.cli(&["disconnect", "--user", "alice", "--yes"]);
    assert_eq!(nobody.status.code(), Some(7), "{nobody:?}");
}

fn assert_files(outcome: &Outcome, megabytes: u32) {
    let digest = Files::digest(megabytes);
    assert_eq!(outcome.fact("fetched_sha256"), digest, "{}", outcome.facts);
    assert_eq!(outcome.fact("stored_sha256"), digest, "{}", outcome.facts);
}

#[test]
#[ignore = "needs root, user-mode Linux, sstp-client"]
fn a_wrong_password_is_told_as_691() {
    need!(missing());
    let lab = Lab::new();
    let gateway = Gateway::start(&lab, &Settings::local(&["mschapv2"]));
    let outcome = client(&lab, "mschap-v2")
        .with("--pass", "nope")
        .with("--expect", "fail")
        .with("--wait", "10")
        .run();
    outcome.assert_ok();
    assert_eq!(
        outcome.fact("reason"),
        "auth",
        "{}{}",
        outcome.facts,
        outcome.remarks
    );
    assert!(outcome.pppd.contains("E=691"), "{}", outcome.pppd);
    assert!(
        !gateway.log().contains("nope"),
        "the password is in the log"
    );
    client(&lab, "mschap-v2").run().assert_ok();
}

/// A certificate of 8 KB, by the authority that FreeRADIUS believes.
fn large_certificate(radius: &FreeRadius<'_>, folder: &Path, user: &str) {
    let names: Vec<String> = (0..400)
        .map(|n| format!("DNS:host-{n:03}.vpn.test"))
        .collect();
    let extensions = format!(
        "extendedKeyUsage=clientAuth\nsubjectAltName={}\n",
        names.join(",")
    );
    std::fs::write(folder.join("large.ext"), extensions).unwrap();
    let openssl = |arguments: &[&str]| {
        let done = Command::new("openssl")
            .args(arguments)
            .current_dir(folder)
            .output();
        let done = done.unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    };
    let subject = format!("/CN={}", user.get(..60).unwrap_or(user));
    let (ca, key) = (radius.pki("ca.pem"), radius.pki("ca.key"));
    openssl(&[
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "large.key",
        "-out",
        "large.csr",
        "-subj",
        &subject,
    ]);
    openssl(&[
        "x509",
        "-req",
        "-in",
        "large.csr",
        "-CA",
        ca.to_str().unwrap(),
        "-CAkey",
        key.to_str().unwrap(),
        "-CAcreateserial",
        "-days",
        "30",
        "-extfile",
        "large.ext",
        "-out",
        "large.pem",
    ]);
}

#[test]
#[ignore = "needs root, user-mode Linux, sstp-client, FreeRADIUS"]
fn eap_tls_logs_in_by_certificate_in_fragments() {
    need!(missing(), lacks("freeradius"));
    let lab = Lab::new();
    let radius = FreeRadius::start(&lab);
    let settings = Settings::radius(&["eap"], FreeRadius::PORT);
    let mut gateway = Gateway::start(&lab, &settings);
    // Two authorities: the gateway's for TLS, the RADIUS server's inside of EAP.
    let both =
        [lab.path("pki/ca.pem"), radius.pki("ca.pem")].map(|file| std::fs::read(file).unwrap());
    std::fs::write(lab.path("both.pem"), both.concat()).unwrap();
    let long = format!("{}@vpn.test", "u".repeat(190));
    large_certificate(&radius, &lab.path(""), &long);
    for (user, certificate, key) in [
        (
            "cert-user@vpn.test",
            radius.pki("client.pem"),
            radius.pki("client.key"),
        ),
        (long.as_str(), lab.path("large.pem"), lab.path("large.key")),
    ] {
        let inside = |file: &Path| format!("$IN/{}", file.file_name().unwrap().to_str().unwrap());
        let outcome = client(&lab, "eap")
            .put(lab.path("both.pem"))
            .put(certificate.clone())
            .put(key.clone())
            .with("--ca", "$IN/both.pem")
            .with("--user", user)
            .with("--cert", &inside(&certificate))
            .with("--key", &inside(&key))
            .with("--ping", BEHIND)
            .run();
        outcome.assert_ok();
    }
    let log = radius.log();
    assert!(
        log.matches("Received Access-Request").count() >= 12,
        "no fragments: {log}"
    );
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

#[test]
#[ignore = "needs root, user-mode Linux, sstp-client, FreeRADIUS"]
fn freeradius_lets_in_by_pap_mschapv2_and_eap() {
    need!(missing(), lacks("freeradius"));
    let lab = Lab::new();
    let radius = FreeRadius::start(&lab);
    for (method, auth) in [
        ("pap", &["pap"][..]),
        ("mschap-v2", &["mschapv2"]),
        ("eap", &["eap"]),
    ] {
        let settings = Settings::radius(auth, FreeRadius::PORT).masquerading();
        let mut gateway = Gateway::start(&lab, &settings);
        let outcome = client(&lab, method).with("--ping", BEHIND).run();
        outcome.assert_ok();
        assert!(
            outcome.facts.contains("crypto_binding_sent=1") || method == "eap",
            "{}",
            outcome.facts
        );
        let refused = client(&lab, method)
            .with("--pass", "nope")
            .with("--expect", "fail")
            .with("--wait", "15")
            .run();
        refused.assert_ok();
        assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    }
    assert!(radius.requests() >= 6, "{} requests", radius.requests());
}

#[test]
#[ignore = "needs root, user-mode Linux, sstp-client, FreeRADIUS"]
fn an_address_from_radius_is_given_and_reached() {
    need!(missing(), lacks("freeradius"));
    let lab = Lab::new();
    let _radius = FreeRadius::start(&lab);
    let settings = Settings::radius(&["mschapv2"], FreeRadius::PORT).masquerading();
    let _gateway = Gateway::start(&lab, &settings);
    let outcome = client(&lab, "mschap-v2")
        .with("--user", "fixed")
        .with("--pass", "fixedpw")
        .with("--ping", BEHIND)
        .run();
    assert_eq!(outcome.fact("local"), "10.97.0.77", "{}", outcome.facts);
    outcome.assert_ok();
}

#[test]
#[ignore = "needs root, user-mode Linux, sstp-client, FreeRADIUS"]
fn a_session_ends_when_radius_said_so() {
    need!(missing(), lacks("freeradius"));
    let lab = Lab::new();
    let _radius = FreeRadius::start(&lab);
    let settings = Settings::radius(&["mschapv2"], FreeRadius::PORT);
    let gateway = Gateway::start(&lab, &settings);
    let outcome = client(&lab, "mschap-v2")
        .with("--user", "brief")
        .with("--pass", "briefpw")
        .with("--hold", "20")
        .with("--end", "server")
        .run();
    outcome.assert_ok();
    assert_eq!(outcome.fact("down_by"), "server", "{}", outcome.facts);
    let log = gateway.log();
    assert!(
        log.lines()
            .any(|line| line.contains("session_end") && line.contains("session_timeout")),
        "{log}"
    );
}

#[test]
#[ignore = "needs root, user-mode Linux, sstp-client, FreeRADIUS"]
fn a_second_factor_of_45_seconds_costs_one_request_and_no_client() {
    need!(missing(), lacks("freeradius"));
    let lab = Lab::new();
    let _radius = FreeRadius::start(&lab);
    let methods: &[(&str, &'static [&'static str])] = if is_long() {
        &[
            ("mschap-v2", &["mschapv2"]),
            ("pap", &["pap"]),
            ("eap", &["eap"]),
        ]
    } else {
        &[("mschap-v2", &["mschapv2"])]
    };
    for (method, auth) in methods {
        let hold = Hold::start(&lab, 45);
        let settings = Settings::radius(auth, Hold::PORT);
        let gateway = Gateway::start(&lab, &settings);
        // pppd repeats a PAP request every 3 s, ten times, and waits 20 s for EAP, unless told to be patient.
        let outcome = client(&lab, method)
            .with("--wait", "58")
            .with("--ppp", "pap-restart 30")
            .with("--ppp", "eap-timeout 60")
            .with("--ping", BEHIND)
            .seconds(90)
            .run();
        outcome.assert_ok();
        let log = hold.log();
        match *method {
            // Identity, challenge, response, success: the last one waits.
            "eap" => assert!((3..=4).contains(&hold.requests("alice")), "{log}"),
            _ => assert_eq!(hold.requests("alice"), 1, "{log}"),
        }
        drop(gateway);
    }
}

#[test]
#[ignore = "needs root, user-mode Linux, sstp-client, python3"]
fn a_spoilt_crypto_binding_is_refused() {
    need!(missing());
    let lab = Lab::new();
    let _gateway = Gateway::start(&lab, &Settings::local(&["mschapv2"]));
    let through = || client(&lab, "mschap-v2").with("--server", &format!("{GATEWAY}:9443"));

    // With the server's own pair the relay is transparent: the rows below fail for the binding alone.
    let honest = relay(&lab, &[], "server");
    through().run().assert_ok();
    drop(honest);
    for field in ["cmac", "nonce", "certhash", "hashproto"] {
        let relay = relay(&lab, &["--tamper", field], "server");
        through()
            .with("--expect", "fail")
            .with("--wait", "12")
            .run()
            .assert_ok();
        let log = relay.log();
        assert!(
            log.contains("changed"),
            "{field}: the client never got so far:\n{log}"
        );
        assert!(log.contains("CALL_ABORT"), "{field}:\n{log}");
    }
    // Somebody else's certificate, of a CA that the client trusts.
    let _other = relay(&lab, &[], "client");
    through()
        .with("--expect", "fail")
        .with("--wait", "12")
        .run()
        .assert_ok();
}

#[test]
#[ignore = "needs root, user-mode Linux, sstp-client"]
fn call_connected_twice_is_taken_once() {
    need!(missing());
    let lab = Lab::new();
    let _gateway = Gateway::start(&lab, &Settings::local(&["mschapv2"]));
    client(&lab, "mschap-v2")
        .flag("--plugin")
        .with("--ping", BEHIND)
        .run()
        .assert_ok();
}

#[test]
#[ignore = "needs root, FreeRADIUS, curl"]
fn files_for_root_alone_do_for_a_gateway_that_gives_its_rights_up() {
    need!(missing());
    let lab = Lab::new();
    // Without one that answers, the gateway would tell those who probe it to go elsewhere.
    let _radius = FreeRadius::start(&lab);
    for (settings, secret) in [
        (Settings::default(), "users.toml"),
        (
            Settings::radius(&["pap"], FreeRadius::PORT),
            "radius.secret",
        ),
    ] {
        let settings = Settings {
            user: Some("nobody"),
            ..settings
        };
        let mut gateway = Gateway::start(&lab, &settings);
        assert_ne!(gateway.uid(), 0);
        let log = gateway.log();
        let is_named = |line: &str| line.contains("E0109") && line.contains(secret);
        assert!(log.lines().any(is_named), "{secret}: {log}");
        assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    }
}

#[test]
#[ignore = "needs root, curl"]
fn the_health_path_answers_in_every_spelling_before_during_and_after_a_drain() {
    need!(missing());
    let lab = Lab::new();
    let gateway = Gateway::start(&lab, &Settings::default());
    let asked =
        |method: &str, path: &str| lab.status_of(method, &format!("https://{GATEWAY}/{path}"));
    let spellings = [
        SRA.to_owned(),
        format!("{SRA}/"),
        format!("{SRA}/?probe=1"),
        SRA.replace('{', "%7B").replace('}', "%7D"),
        SRA.replace('{', "%7b").replace('}', "%7d") + "/",
        SRA.to_ascii_lowercase() + "/",
        SRA.to_ascii_uppercase().replace("SRA_", "sra_") + "/",
    ];
    let all = |expected: u16, when: &str| {
        for path in &spellings {
            for method in ["GET", "HEAD"] {
                assert_eq!(asked(method, path), expected, "{method} /{path} {when}");
            }
        }
    };
    all(401, "before");
    assert_eq!(asked("GET", ""), 404);
    assert_eq!(
        asked("GET", "sra_{00000000-CD49-458b-9E23-C84EE0ADCD75}/"),
        404
    );
    assert_eq!(asked("POST", &spellings[1]), 405);
    assert_eq!(asked("OPTIONS", &spellings[1]), 405);

    let drain = gateway.cli(&["drain", "--notice", "60s", "--over", "60s", "--yes"]);
    assert!(drain.status.success(), "{drain:?}");
    assert!(
        eventually(5, || asked("GET", &spellings[1]) == 503),
        "no 503 while draining"
    );
    all(503, "while draining");
    assert_eq!(
        lab.status_of("GET", &format!("http://{GATEWAY}:9095/readyz")),
        503
    );

    let cancel = gateway.cli(&["drain", "--cancel"]);
    assert!(cancel.status.success(), "{cancel:?}");
    assert!(
        eventually(10, || asked("GET", &spellings[1]) == 401),
        "no 401 after the drain"
    );
    all(401, "after");
    assert_eq!(
        lab.status_of("GET", &format!("http://{GATEWAY}:9095/readyz")),
        200
    );
}

#[test]
#[ignore = "needs root, prometheus"]
fn prometheus_scrapes_and_promtool_has_nothing_to_say() {
    need!(missing(), lacks("prometheus"), lacks("promtool"));
    let lab = Lab::new();
    let _gateway = Gateway::start(&lab, &Settings::default());
    client(&lab, "mschap-v2").run().assert_ok();
    let scraped = lab.fetch(&format!("http://{GATEWAY}:9095/metrics"));
    assert!(scraped.contains("causeway_sessions{"), "{scraped}");
    std::fs::write(lab.path("metrics.txt"), &scraped).unwrap();
    let promtool = lab
        .command("promtool")
        .args(["check", "metrics"])
        .stdin(std::fs::File::open(lab.path("metrics.txt")).unwrap())
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&promtool.stdout),
        String::from_utf8_lossy(&promtool.stderr)
    );
    assert!(
        promtool.status.success() && said.trim().is_empty(),
        "{said}"
    );

    let config = lab.path("prometheus.yml");
    let target = format!("{GATEWAY}:9095");
    std::fs::write(
        &config,
        format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: causeway\n    static_configs:\n      - targets: [\"{target}\"]\n"
        ),
    )
    .unwrap();
    let mut prometheus = lab.command("prometheus");
    prometheus.arg(format!("--config.file={}", config.display()));
    prometheus.arg(format!(
        "--storage.tsdb.path={}",
        lab.path("tsdb").display()
    ));
    prometheus.arg(format!("--web.listen-address={GATEWAY}:9090"));
    let _prometheus = Peer::start(&lab, "prometheus", &mut prometheus, |log| {
        log.contains("ready to receive")
    });
    let query = |text: &str| lab.fetch(&format!("http://{GATEWAY}:9090/api/v1/query?query={text}"));
    assert!(
        eventually(15, || query("up").contains("\"1\"]")),
        "{}",
        query("up")
    );
    assert!(eventually(10, || query("causeway_session_starts_total")
        .contains("\"protocol\":\"sstp\"")));
}

#[test]
#[ignore = "needs root, user-mode Linux, sstp-client"]
fn after_a_kill_nothing_is_left_and_the_client_comes_back_to_its_address() {
    need!(missing());
    let lab = Lab::new();
    let settings = Settings::local(&["mschapv2"]).masquerading();
    let before = lab.kernel_state();
    let mut gateway = Gateway::start(&lab, &settings);
    assert_ne!(
        lab.kernel_state(),
        before,
        "the gateway left no trace while running"
    );
    let mut running = client(&lab, "mschap-v2")
        .with("--ping", BEHIND)
        .with("--hold", "30")
        .with("--end", "server")
        .boot();
    running.wait_for("R ping_full_mtu", 40);
    gateway.kill();
    let first = running.wait();
    first.assert_ok();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(
        lab.kernel_state(),
        before,
        "something is left after kill -9"
    );

    gateway.launch();
    let again = client(&lab, "mschap-v2").with("--ping", BEHIND).run();
    again.assert_ok();
    assert_eq!(again.fact("local"), first.fact("local"));
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    assert_eq!(lab.kernel_state(), before, "something is left after a stop");
}

fn client<'a>(lab: &'a Lab, method: &str) -> Guest<'a> {
    Guest::new(lab).with("--auth", method)
}
