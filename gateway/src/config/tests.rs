mod filters;
mod mobility;
mod pools;

use super::*;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use causeway_proto::aaa::AuthMethod;

/// A folder in the place of `/etc/causeway`, with a certificate, a key and secrets in it.
struct Etc(tempfile::TempDir);

impl Etc {
    fn new(names: &[&str]) -> Self {
        let etc = Self(tempfile::tempdir().unwrap());
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        for folder in ["tls", "radius", "conf.d"] {
            fs::create_dir(etc.path(folder)).unwrap();
        }
        etc.write("tls/fullchain.pem", &made.cert.pem(), 0o644);
        etc.write("tls/key.pem", &made.signing_key.serialize_pem(), 0o600);
        etc.write("radius/nps1.secret", "0123456789abcdef\n", 0o600);
        etc.write("radius/nps2.secret", "0123456789abcdef\n", 0o600);
        etc
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file; `/etc/causeway` in it becomes this folder.
    fn write(&self, name: &str, text: &str, mode: u32) {
        let here = self.0.path().display().to_string();
        let text = text.replace("/etc/causeway", &here);
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load_with(&self, environment: &[(&str, &str)]) -> Result<Loaded, String> {
        let pair = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        let options = Options {
            base: Base::File(self.path("gateway.toml")),
            environment: environment.iter().map(pair).collect(),
            set: Vec::new(),
        };
        load(&options).map_err(|report| self.plain(&report))
    }

    fn load(&self, text: &str) -> Result<Loaded, String> {
        self.write("gateway.toml", text, 0o644);
        self.load_with(&[])
    }

    fn plain(&self, report: &Report) -> String {
        let here = self.0.path().display().to_string();
        report.render(Colours::Off).replace(&here, "/etc/causeway")
    }

    /// Loads what is wrong, and returns how that is drawn.
    fn fault(&self, text: &str) -> String {
        self.load(text).map(|_| ()).unwrap_err()
    }
}

const BASE: &str = r#"
[gateway]
hostname = "vpn.example.com"
[sstp]
certificate = "/etc/causeway/tls/fullchain.pem"
key = "/etc/causeway/tls/key.pem"
"#;

const SERVER: &str = r#"
[[radius.servers]]
name = "nps1"
address = "10.0.0.20"
secret_file = "/etc/causeway/radius/nps1.secret"
"#;

fn etc() -> Etc {
    Etc::new(&["vpn.example.com"])
}

fn sample() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/gateway.toml");
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_settings_of_dev_are_good() {
    match Config::dev() {
        Ok(config) => {
            assert_eq!(config.users, Users::Shown);
            assert_eq!(config.sstp.certificate, None);
            assert_eq!(config.limits.session_timeout, None);
        }
        Err(report) => panic!("{}", report.render(Colours::Off)),
    }
}

#[test]
fn the_example_is_good_without_a_remark() {
    let etc = etc();
    let loaded = etc
        .load(&sample())
        .unwrap_or_else(|drawn| panic!("{drawn}"));
    assert_eq!(etc.plain(&loaded.report), "");
    let config = loaded.config;
    assert_eq!(config.radius.servers.len(), 2);
    assert_eq!(config.pools.default.size(), 1021);
    assert_eq!(config.pools.gateway.to_string(), "10.99.0.1");
    assert_eq!(config.sstp.auth, [AuthMethod::Eap, AuthMethod::MsChapV2]);
    assert_eq!(
        config.limits.session_timeout,
        Some(Duration::from_secs(43_200))
    );
    assert_eq!(config.limits.idle_timeout, None);
}

/// A line that begins with `# key = value` in the example shows a default, so it must say what is true.
#[test]
fn the_example_shows_the_defaults() {
    let etc = etc();
    let open: String = sample()
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if is_default(rest) => format!("{rest}\n"),
            Some(_) | None => format!("{line}\n"),
        })
        .collect();
    let shown = etc.load(&open).unwrap_or_else(|drawn| panic!("{drawn}"));
    let plain = etc
        .load(&sample())
        .unwrap_or_else(|drawn| panic!("{drawn}"));
    assert_eq!(shown.config, plain.config);
}

fn is_default(line: &str) -> bool {
    let is_key = |key: &str| {
        key.trim_end()
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b == b'_')
    };
    let not_defaults = ["name ", "user ", "exclude ", "uplink ", "source ", "file "];
    line.split_once('=').is_some_and(|(key, _)| is_key(key))
        && !not_defaults.iter().any(|key| line.starts_with(key))
}

/// Every key that will ever be, as the manual lists them.
#[test]
fn keys_of_what_is_to_come_are_read_and_noted() {
    let etc = etc();
    let text = sample() + include_str!("later.toml");
    let loaded = etc.load(&text).unwrap_or_else(|drawn| panic!("{drawn}"));
    let notes: Vec<_> = loaded
        .report
        .findings()
        .iter()
        .map(Finding::title)
        .collect();
    for path in [
        "ikev2",
        "azure",
        "metrics.per_user_series",
        "pools.devices.ipv6",
    ] {
        assert!(
            notes.contains(&format!("`{path}` is not in this version").as_str()),
            "{path}: {notes:?}"
        );
    }
    assert!(!notes.iter().any(|note| note.contains("pools.users")));
    assert_eq!(loaded.config.pools.others.len(), 1);
}

#[test]
fn who_is_asked_whether_a_server_lives_is_configured() {
    let etc = etc();
    let load = |text: &str| {
        etc.load(&format!("{BASE}{text}"))
            .unwrap_or_else(|drawn| panic!("{drawn}"))
            .config
            .radius
    };
    let radius = load(SERVER);
    assert_eq!(radius.servers[0].status_server, StatusServer::Auto);
    assert_eq!(
        radius.duplicate_logins,
        (DuplicatePolicy::Wait, Duration::from_secs(60))
    );
    let probe = radius.probe.unwrap();
    assert_eq!(probe.user.as_bytes(), b"causeway-probe");
    assert_eq!(probe.interval, Duration::from_secs(30));

    let radius = load(&format!(
        "[radius.probe]\nuser = \"\"\n[radius.duplicate_logins]\npolicy = \"refuse\"\n{SERVER}status_server = true\n"
    ));
    assert_eq!(radius.probe, None);
    assert_eq!(radius.duplicate_logins.0, DuplicatePolicy::Refuse);
    assert_eq!(radius.servers[0].status_server, StatusServer::On);
    let radius = load(&format!("{SERVER}status_server = \"auto\"\n"));
    assert_eq!(radius.servers[0].status_server, StatusServer::Auto);

    let drawn = etc.fault(&format!(
        "{BASE}[radius.probe]\ninterval = \"1s\"\n{SERVER}"
    ));
    assert!(drawn.contains("E0203"), "{drawn}");
}

#[test]
fn accounting_and_dynamic_authorization_are_read() {
    let etc = etc();
    let more = "[radius.accounting]\ninterim = \"0s\"\nqueue = \"/tmp/q\"\nqueue_max = 100\n";
    let loaded = etc.load(&format!("{BASE}{SERVER}{more}"));
    let config = loaded.unwrap_or_else(|drawn| panic!("{drawn}")).config;
    let accounting = config.accounting().unwrap().unwrap();
    assert_eq!(accounting.interim, Duration::ZERO);
    assert_eq!(accounting.queue_max, 100);
    assert_eq!(accounting.servers.len(), 1);
    assert_eq!(accounting.servers[0].endpoint.port(), 1813);
    assert!(config.dynauth().unwrap().is_none());

    for (table, label) in [
        ("[radius.accounting]\ninterim = \"59s\"\n", "at least 60 s"),
        ("[radius.accounting]\nqueue_max = 99\n", "at least 100"),
        (
            "[radius.dynamic_authorization]\nlisten = \"127.0.0.1:3799\"\nclients = []\nsecret_file = \"env:NONE\"\n",
            "the addresses from which",
        ),
        (
            "[radius.dynamic_authorization]\nlisten = \"127.0.0.1:3799\"\nclients = [\"10.0.0.20\"]\nsecret_file = \"/nowhere/coa.secret\"\n",
            "E0401",
        ),
    ] {
        let drawn = etc.fault(&format!("{BASE}{SERVER}{table}"));
        assert!(drawn.contains(label), "{drawn}");
    }
}

#[test]
fn a_short_radius_timeout_is_drawn() {
    let drawn = etc().fault(&format!("{BASE}[radius]\ntimeout  = \"5s\"\n{SERVER}"));
    assert_eq!(
        drawn,
        r#"error[E0204]: RADIUS timeout is too short for MFA
 --> /etc/causeway/gateway.toml:8:12
  |
8 | timeout  = "5s"
  |            ^^^^ NPS with the Entra MFA extension needs 60 s (30 s at the very least)
  |
  = note: after 5 s Windows would dial again and the user would get a second push
help: set `timeout = "60s"`, or `mfa = false` if no second factor is used
      more: causeway explain E0204

"#
    );
    let etc = etc();
    assert!(
        etc.load(&format!(
            "{BASE}[radius]\ntimeout = \"5s\"\nmfa = false\n{SERVER}"
        ))
        .is_ok()
    );
    let loaded = etc
        .load(&format!("{BASE}[radius]\ntimeout = \"45s\"\n{SERVER}"))
        .unwrap();
    assert_eq!(loaded.report.findings()[0].severity(), Severity::Warning);
}

#[test]
fn a_certificate_for_another_name_is_drawn() {
    let etc = Etc::new(&["vpn1.example.com", "www.example.com"]);
    assert_eq!(
        etc.fault(&format!("{BASE}{SERVER}")),
        r#"error[E0312]: certificate does not cover the host name clients use
 --> /etc/causeway/gateway.toml:3:12
  |
3 | hostname = "vpn.example.com"
  |            ^^^^^^^^^^^^^^^^^ not among the names of /etc/causeway/tls/fullchain.pem
  |
  = note: the certificate is for: vpn1.example.com, www.example.com
help: causeway explain E0312

"#
    );
}

#[test]
fn faults_are_told_apart_by_their_codes() {
    let etc = etc();
    for (code, text) in [
        ("E0201", "[gateway\n"),
        ("E0202", "[radius]\ntimout = \"60s\"\n"),
        ("E0203", "[radius]\ntimeout = 60\n"),
        ("E0203", "[limits]\nsessions = 0\n"),
        ("E0203", "[gateway]\nworkers = \"many\"\n"),
        ("E0205", "[gateway]\n"),
        ("E0206", "[admin]\nlisten = \"0.0.0.0:443\"\n"),
        ("E0207", "[pools.users]\nipv4 = [\"127.0.0.0/8\"]\n"),
        (
            "E0207",
            "[pools.a]\nipv4 = [\"10.0.0.0/8\"]\n[pools.b]\nipv4 = [\"10.1.0.0/16\"]\n",
        ),
        ("E0208", "[network]\nmtu = 9000\n"),
        ("E0208", "[network]\ntcp_mss_clamp = 1400\n"),
        ("E0212", "schema = 2\n"),
        ("E0301", "[sstp]\n"),
        (
            "E0401",
            "[[radius.servers]]\nname = \"a\"\naddress = \"10.0.0.1\"\nsecret_file = \"/x\"\n",
        ),
        ("E0403", ""),
        ("E0501", "[sstp]\nauth_timeout = \"60s\"\n"),
        ("E0502", "[sstp]\nproxy_protocol = true\n"),
    ] {
        let drawn = etc.fault(text);
        assert!(drawn.contains(&format!("error[{code}]")), "{code}\n{drawn}");
    }
}

#[test]
fn a_typing_error_gets_the_key_that_was_meant() {
    let drawn = etc().fault("[radius]\ntimout = \"60s\"\n");
    assert!(
        drawn.contains("2 | timout = \"60s\"\n  | ^^^^^^ no such key here"),
        "{drawn}"
    );
    assert!(drawn.contains("did you mean `timeout`?"), "{drawn}");
}

#[test]
fn a_secret_that_others_may_read_is_refused() {
    let etc = etc();
    etc.write("radius/nps1.secret", "0123456789abcdef", 0o644);
    let drawn = etc.fault(&format!("{BASE}{SERVER}"));
    assert!(drawn.contains("error[E0401]"), "{drawn}");
    assert!(
        drawn.contains("nps1.secret has mode 0644; wanted is 0600"),
        "{drawn}"
    );
    assert!(
        drawn.contains("chmod 0600 /etc/causeway/radius/nps1.secret"),
        "{drawn}"
    );
    assert!(!drawn.contains("0123456789abcdef"), "{drawn}");
}

#[test]
fn later_layers_win_and_are_named() {
    let etc = etc();
    etc.write(
        "gateway.toml",
        &format!("{BASE}[limits]\nsessions = 1\nsessions_per_user = 1\n{SERVER}"),
        0o644,
    );
    etc.write("conf.d/20-b.toml", "[limits]\nsessions = 3\n", 0o644);
    etc.write(
        "conf.d/10-a.toml",
        "[limits]\nsessions = 2\npending_auth = 7\n",
        0o644,
    );
    etc.write("conf.d/30-c.toml.off", "[limits]\nsessions = 9\n", 0o644);
    let loaded = etc
        .load_with(&[
            ("CAUSEWAY__SSTP__MIN_TLS", "1.3"),
            ("CAUSEWAY__RADIUS__TIMEOUT", "90s"),
            ("CAUSEWAY__POOLS__USERS__IPV4", "[\"10.5.0.0/24\"]"),
            ("CAUSEWAY_TEST", "not ours"),
        ])
        .unwrap_or_else(|drawn| panic!("{drawn}"));
    let config = &loaded.config;
    assert_eq!(config.limits.table.sessions, 3);
    assert_eq!(config.limits.table.per_user, 1);
    assert_eq!(config.limits.table.pending, 7);
    assert_eq!(config.sstp.min_tls, MinTls::V1_3);
    assert_eq!(config.radius.timeout, Duration::from_secs(90));
    assert_eq!(config.pools.default.size(), 253);

    let here = etc.0.path().display().to_string();
    let shown = loaded
        .show(Scope::Effective)
        .replace(&here, "/etc/causeway");
    let line = |key: &str| {
        let found = shown.lines().find(|line| line.starts_with(key));
        found
            .unwrap_or_else(|| panic!("{key}\n{shown}"))
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        line("sessions ="),
        "sessions = 3 # /etc/causeway/conf.d/20-b.toml:2"
    );
    assert_eq!(
        line("pending_auth"),
        "pending_auth = 7 # /etc/causeway/conf.d/10-a.toml:3"
    );
    assert_eq!(
        line("min_tls"),
        "min_tls = \"1.3\" # environment CAUSEWAY__SSTP__MIN_TLS"
    );
    assert_eq!(line("mtu"), "mtu = 1400 # default");
    assert_eq!(
        line("secret_file").split('#').nth(1).unwrap().trim(),
        "/etc/causeway/gateway.toml:14"
    );
    let set = loaded.show(Scope::Set);
    assert!(!set.contains("default") && !set.contains("[ikev2"), "{set}");
    assert!(toml::from_str::<toml::Table>(&shown).is_ok(), "{shown}");

    let drawn = etc
        .load_with(&[("CAUSEWAY__RADIUS__TIMEOUT", "soon")])
        .map(|_| ())
        .unwrap_err();
    assert!(
        drawn.contains("environment CAUSEWAY__RADIUS__TIMEOUT"),
        "{drawn}"
    );
    assert!(drawn.contains("no length of time"), "{drawn}");
}

#[test]
fn the_user_file_is_asked_without_a_server_and_takes_no_eap() {
    let etc = etc();
    etc.write("users.toml", "", 0o600);
    let text = format!("{BASE}[users]\nfile = \"/etc/causeway/users.toml\"\n");
    let loaded = etc.load(&text).unwrap_or_else(|drawn| panic!("{drawn}"));
    assert_eq!(loaded.config.sstp.auth, [AuthMethod::MsChapV2]);
    etc.write("users.toml", "", 0o640);
    assert!(etc.fault(&text).contains("error[E0405]"));
}

#[test]
fn a_missing_file_is_named() {
    let etc = etc();
    let drawn = etc.load_with(&[]).map(|_| ()).unwrap_err();
    assert!(
        drawn.contains("error[E0105]: /etc/causeway/gateway.toml cannot be read"),
        "{drawn}"
    );
    assert!(drawn.contains("serve --dev"), "{drawn}");
}

#[test]
fn no_text_makes_the_reader_panic() {
    let etc = etc();
    let text = sample();
    for end in (0..text.len())
        .step_by(61)
        .filter(|end| text.is_char_boundary(*end))
    {
        drop(etc.load(&text[..end]));
    }
}

#[test]
fn the_rooms_get_what_was_configured() {
    let etc = etc();
    let loaded = etc
        .load(&sample())
        .unwrap_or_else(|drawn| panic!("{drawn}"));
    let config = loaded.config;
    let packets = config.dataplane();
    assert_eq!(packets.mtu, 1400);
    assert_eq!(packets.mss_clamp, Some(1350));
    let pool = ("10.99.0.0".parse().unwrap(), "10.99.3.255".parse().unwrap());
    assert_eq!(packets.pools, [pool]);
    assert_eq!(config.addressing().unwrap().address, packets.gateway);
    assert!(config.rule_set().unwrap().masquerade.is_empty());
    assert_eq!(config.needs().listeners.len(), 3);
    assert_eq!(config.login_deadline(), Duration::from_secs(58));
    assert_eq!(
        config.sstp.call_connected_timeout(),
        Duration::from_secs(73)
    );
    let radius = config.radius_client().unwrap().unwrap();
    assert_eq!(radius.servers[1].secret.expose(), b"0123456789abcdef");
    assert_eq!(radius.retransmit, [1, 2, 4, 6, 8].map(Duration::from_secs));
    assert_eq!(radius.repeat, Some(Duration::from_millis(500)));
    assert_eq!(config.health_rules().require.len(), 5);

    let dev = Config::dev()
        .map_err(|report| report.render(Colours::Off))
        .unwrap();
    assert_eq!(dev.rule_set().unwrap().masquerade.len(), 1);
    assert!(dev.radius_client().unwrap().is_none());
}

#[test]
fn a_radius_server_over_tls_needs_an_authority_and_no_secret() {
    let etc = etc();
    let server =
        "[[radius.servers]]\nname = \"cloud\"\naddress = \"192.0.2.9\"\ntransport = \"tls\"\n";
    let drawn = etc.fault(&format!("{BASE}{server}"));
    assert!(
        drawn.contains("error[E0203]") && drawn.contains("authority"),
        "{drawn}"
    );
    let ca = etc.path("tls/fullchain.pem").display().to_string();
    let text =
        format!("{BASE}{server}tls = {{ ca = {ca:?}, server_name = \"cloud.example.com\" }}\n");
    let loaded = etc.load(&text).unwrap_or_else(|drawn| panic!("{drawn}"));
    let client = loaded.config.radius_client().unwrap().unwrap();
    assert_eq!(client.servers[0].auth_port, 2083);
    // Sessions are reported over the same connection.
    let accounting = loaded.config.accounting().unwrap().unwrap();
    assert_eq!(accounting.servers[0].endpoint.port(), 2083);
    assert!(accounting.servers[0].tls.is_some());
    assert_eq!(client.servers[0].secret.expose(), b"radsec");
    assert!(client.servers[0].tls.is_some());
    // A file that has no certificate in it.
    etc.write("tls/empty.pem", "nothing", 0o644);
    let drawn = etc.fault(&text.replace("fullchain", "empty"));
    assert!(
        drawn.contains("error[E0401]") && drawn.contains("authority"),
        "{drawn}"
    );
    // UDP has no well-known secret.
    let drawn = etc.fault(&format!("{BASE}{}", server.replace("tls", "udp")));
    assert!(drawn.contains("secret_file"), "{drawn}");
}
