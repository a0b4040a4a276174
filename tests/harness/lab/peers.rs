//! Programs around the gateway: FreeRADIUS, one that holds its answers back, a relay, Prometheus.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{GATEWAY, Lab, eventually, read, run, script};

/// A program that runs until it is dropped.
pub struct Peer {
    child: Child,
    log: PathBuf,
}

impl Peer {
    /// Starts a program with its output in `name`.log, and waits until `is_ready`.
    #[must_use]
    pub fn start(
        lab: &Lab,
        name: &str,
        command: &mut Command,
        is_ready: impl Fn(&str) -> bool,
    ) -> Self {
        let log = lab.path(&format!("{name}.log"));
        let out = File::create(&log).unwrap();
        command
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .stdin(Stdio::null());
        let peer = Self {
            child: command.spawn().unwrap(),
            log,
        };
        assert!(
            eventually(15, || is_ready(&peer.log())),
            "{name} does not start:\n{}",
            peer.log()
        );
        peer
    }

    /// What it has printed.
    #[must_use]
    pub fn log(&self) -> String {
        read(&self.log)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts what ends TLS on port 9443 and passes everything on to the gateway, but for what `options` spoil;
/// `certificate` is that of `server` or of `client`.
#[must_use]
pub fn relay(lab: &Lab, options: &[&str], certificate: &str) -> Peer {
    let mut command = lab.command("python3");
    command.arg(super::scripts().join("server/sstp-relay.py"));
    command.args([
        "--listen",
        &format!("{GATEWAY}:9443"),
        "--to",
        &format!("{GATEWAY}:443"),
    ]);
    command
        .arg("--cert")
        .arg(lab.path(&format!("pki/{certificate}.pem")));
    command
        .arg("--key")
        .arg(lab.path(&format!("pki/{certificate}.key")))
        .args(options);
    Peer::start(lab, "relay", &mut command, |log| {
        log.contains("relay cert_sha256")
    })
}

/// FreeRADIUS on port 1812.
pub struct FreeRadius<'a> {
    lab: &'a Lab,
}

impl<'a> FreeRadius<'a> {
    /// The port.
    pub const PORT: u16 = 1812;

    /// Starts it.
    #[must_use]
    pub fn start(lab: &'a Lab) -> Self {
        run(script("server/freeradius.sh").args(["up", lab.namespace()]));
        Self { lab }
    }

    /// A file of the certification authority that it believes.
    #[must_use]
    pub fn pki(&self, name: &str) -> PathBuf {
        super::cache().join("pki").join(name)
    }

    /// Its debug log.
    #[must_use]
    pub fn log(&self) -> String {
        read(&super::cache().join(format!("radius-{}/log", self.lab.namespace())))
    }

    /// The accounting records that it has written down, each by attribute.
    #[must_use]
    pub fn records(&self) -> Vec<HashMap<String, String>> {
        let name = format!("radius-{}/acct/detail", self.lab.namespace());
        let text = read(&super::cache().join(name));
        let record = |text: &str| {
            let lines = text.lines().filter_map(|line| line.split_once(" = "));
            let lines = lines.map(|(name, value)| (name.trim(), value.trim().trim_matches('"')));
            lines
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()
        };
        text.split("\n\n")
            .filter(|part| part.contains("Acct-Status-Type"))
            .map(record)
            .collect()
    }

    /// How many requests of a kind it has read.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.log().matches("Received Access-Request").count()
    }
}

impl Drop for FreeRadius<'_> {
    fn drop(&mut self) {
        let _ = script("server/freeradius.sh")
            .args(["down", self.lab.namespace()])
            .status();
    }
}

/// What holds FreeRADIUS' final answers back.
pub struct Hold(Peer);

impl Hold {
    /// The port that the gateway asks.
    pub const PORT: u16 = 11_812;

    /// Starts it.
    #[must_use]
    pub fn start(lab: &Lab, seconds: u32) -> Self {
        let mut command = lab.command("python3");
        command.arg(super::scripts().join("server/radius-hold.py"));
        command.args([
            format!("{GATEWAY}:{}", Self::PORT),
            "127.0.0.1:1812".into(),
            seconds.to_string(),
        ]);
        Self(Peer::start(lab, "hold", &mut command, |log| {
            log.contains("ready")
        }))
    }

    /// How many different requests about a user went on to the server; questions about its health do not count.
    #[must_use]
    pub fn requests(&self, user: &str) -> usize {
        let log = self.0.log();
        let about = format!(" user {user}");
        let is_request = |line: &&str| line.contains(" request code 1 ") && line.ends_with(&about);
        log.lines().filter(is_request).count()
    }

    /// What happened.
    #[must_use]
    pub fn log(&self) -> String {
        self.0.log()
    }
}
