//! The gateway as an operator runs it: the binary, a configuration file, its command line.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::OnceLock;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{GATEWAY, Lab, POOL, eventually, read, run};

/// `[users]` of the lab: alice with "wonderland", bob with "builder" (NT hashes).
const USERS: &str = r#"
[[user]]
name = "alice"
nt_hash = "3e057cd123205aa168af5f121716b335"

[[user]]
name = "bob"
nt_hash = "46fb959f16db7ae7466bb1d00a79e894"
"#;

/// What differs between the tests' configurations.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `sstp.auth`.
    pub auth: &'static [&'static str],
    /// The RADIUS server's port on the gateway's own address; `None` is the user file.
    pub radius_port: Option<u16>,
    /// `network.manage_nftables`.
    pub nftables: &'static str,
    /// `gateway.user`; `None` stays root.
    pub user: Option<&'static str>,
    /// More of `[radius]`.
    pub radius: &'static str,
    /// More of `[mobility]`; `None` turns it off.
    pub mobility: Option<&'static str>,
    /// Reports sessions to the RADIUS server, and takes its orders on port 3799.
    pub accounting: bool,
    /// `log.level`.
    pub level: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            auth: &["mschapv2", "pap"],
            radius_port: None,
            nftables: "off",
            user: None,
            radius: "",
            mobility: None,
            accounting: false,
            level: "info,causeway=debug",
        }
    }
}

impl Settings {
    /// The user file, by these methods alone.
    #[must_use]
    pub fn local(auth: &'static [&'static str]) -> Self {
        Self {
            auth,
            ..Self::default()
        }
    }

    /// The RADIUS server on `port`, by these methods alone.
    #[must_use]
    pub fn radius(auth: &'static [&'static str], port: u16) -> Self {
        Self {
            radius_port: Some(port),
            ..Self::local(auth)
        }
    }

    /// The same, with the Mobility tunnel.
    #[must_use]
    pub fn mobility(self, more: &'static str) -> Self {
        Self {
            mobility: Some(more),
            ..self
        }
    }

    /// The same, with sessions that are reported and may be changed: filters are `staff`, which lets everything pass, and
    /// `nothing`.
    #[must_use]
    pub fn accounted(self) -> Self {
        Self {
            accounting: true,
            ..self
        }
    }

    /// The same, with masquerading.
    #[must_use]
    pub fn masquerading(self) -> Self {
        Self {
            nftables: "masquerade",
            ..self
        }
    }
}

/// A running gateway; stopped when dropped.
pub struct Gateway<'a> {
    lab: &'a Lab,
    child: Option<Child>,
    config: PathBuf,
    log: PathBuf,
}

impl<'a> Gateway<'a> {
    /// Writes the configuration, starts the gateway and waits until it lets clients in.
    #[must_use]
    pub fn start(lab: &'a Lab, settings: &Settings) -> Self {
        let config = lab.path("gateway.toml");
        fs::write(&config, configuration(lab, settings)).unwrap();
        let mut gateway = Self {
            lab,
            child: None,
            config,
            log: lab.path("gateway.log"),
        };
        gateway.launch();
        gateway
    }

    /// Starts the process, again if need be.
    pub fn launch(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let mut command = self.lab.command(binary().to_str().unwrap());
        command.args(["serve", "--config"]).arg(&self.config);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let url = format!("https://{GATEWAY}/sra_{{BA195980-CD49-458b-9E23-C84EE0ADCD75}}/");
        let up = eventually(20, || {
            self.child.as_mut().unwrap().try_wait().unwrap().is_some()
                || self.lab.status_of("GET", &url) == 401
        });
        let alive = self.child.as_mut().unwrap().try_wait().unwrap().is_none();
        assert!(
            up && alive,
            "the gateway does not let clients in:\n{}",
            self.log()
        );
    }

    /// Everything that the gateway has logged.
    #[must_use]
    pub fn log(&self) -> String {
        read(&self.log)
    }

    /// Runs another command of the binary against this gateway.
    #[must_use]
    pub fn cli(&self, words: &[&str]) -> Output {
        self.lab
            .command(binary().to_str().unwrap())
            .args(words)
            .arg("--socket")
            .arg(self.lab.path("admin.sock"))
            .output()
            .unwrap()
    }

    /// The same, as JSON; the command must succeed.
    #[must_use]
    pub fn json(&self, words: &[&str]) -> serde_json::Value {
        let output = self.cli(&[words, &["--json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{words:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{words:?}: {e}: {text}"))
    }

    /// Returns the user that the process runs as, by number.
    #[must_use]
    pub fn uid(&self) -> u32 {
        let child = self.child.as_ref().unwrap();
        let status = read(Path::new(&format!("/proc/{}/status", child.id())));
        let line = status.lines().find(|line| line.starts_with("Uid:"));
        let uid = line.and_then(|line| line.split_whitespace().nth(1));
        uid.unwrap().parse().unwrap()
    }

    /// Returns where the process holds any of these in memory that it can write to: the octets around each place.
    #[must_use]
    pub fn holds(&self, words: &[&[u8]]) -> Vec<String> {
        super::memory::search(self.child.as_ref().unwrap().id(), words)
    }

    /// Ends the process without a chance to clean up.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.take().unwrap().wait().unwrap();
    }

    /// Ends the process politely and returns its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        let mut child = self.child.take()?;
        assert!(
            eventually(20, || child.try_wait().unwrap().is_some()),
            "does not stop:\n{}",
            self.log()
        );
        child.wait().unwrap().code()
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            // `ip netns exec` has become the gateway by now.
            let _ = kill(Pid::from_raw(child.id().try_into().unwrap()), signal);
        }
    }
}

impl Drop for Gateway<'_> {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.lines().rev().take(60).collect::<Vec<_>>();
            eprintln!("--- the gateway's log (end)");
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// The gateway's binary: `CAUSEWAY_BIN`, or built in the profile of this test.
#[must_use]
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("CAUSEWAY_BIN") {
            return path.into();
        }
        // target/<profile>/deps/<this test>
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(Path::parent).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--quiet",
            "-p",
            "causeway",
            "--bin",
            "causeway",
            "--target-dir",
        ]);
        cargo
            .arg(profile.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        run(&mut cargo);
        profile.join("causeway")
    })
}

fn configuration(lab: &Lab, settings: &Settings) -> String {
    let path = |name: &str| lab.path(name).to_str().unwrap().to_owned();
    let private = |name: &str, text: &str| {
        fs::write(lab.path(name), text).unwrap();
        fs::set_permissions(lab.path(name), fs::Permissions::from_mode(0o600)).unwrap();
        path(name)
    };
    let who = match settings.radius_port {
        None => format!("[users]\nfile = {:?}\n", private("users.toml", USERS)),
        Some(port) => format!(
            "[radius]\nmessage_authenticator = \"if-present\"\n{}\n\n[[radius.servers]]\nname = \"freeradius\"\naddress = \"{GATEWAY}\"\nauth_port = {port}\nsecret_file = {:?}\n\n[radius.accounting]\n{}\n",
            settings.radius,
            private("radius.secret", "testing123\n"),
            if settings.accounting {
                format!(
                    "queue = {:?}\n\n[radius.dynamic_authorization]\nlisten = \"{GATEWAY}:3799\"\nclients = [\"{GATEWAY}\"]\nsecret_file = {:?}\n\n[filters.staff]\nallow = [\"0.0.0.0/0\"]\n\n[filters.nothing]\ndeny = [\"0.0.0.0/0\"]\n",
                    path("acct.queue"),
                    private("coa.secret", "orders\n")
                )
            } else {
                "enabled = false\n".to_owned()
            }
        ),
    };
    let user = settings
        .user
        .map(|user| format!("user = {user:?}\n"))
        .unwrap_or_default();
    let mobility = match settings.mobility {
        None => String::new(),
        Some(more) => {
            let key = Command::new(binary()).args(["keys", "mobility"]).output();
            let key = String::from_utf8(key.unwrap().stdout).unwrap();
            // The gateway keeps its key over a restart of the lab's gateway.
            if !lab.path("mobility.key").exists() {
                private("mobility.key", &key);
            }
            format!(
                "[mobility]\nenabled = true\nlisten = [\"{GATEWAY}:5008\"]\nexternal = [\"{GATEWAY}:5008\"]\nprivate_key = {:?}\npeers_file = {:?}\n{more}\n",
                path("mobility.key"),
                path("peers.toml"),
            )
        }
    };
    format!(
        r#"schema = 1

[gateway]
name = "lab"
hostname = "vpn.test"
{user}
[pools.users]
ipv4 = ["{POOL}"]

[network]
tun = "causeway0"
uplink = "uplink"
manage_nftables = "{nftables}"
dns = ["10.98.0.1"]
routes = ["10.98.0.0/24"]

[sstp]
listen = ["{GATEWAY}:443"]
certificate = "{certificate}"
key = "{key}"
auth = {auth:?}

[health]
flap_hold = "1s"

[drain]
on_sigterm = "2s"
notice = "0s"

[admin]
socket = "{socket}"
listen = "{GATEWAY}:9095"
allow = ["10.99.0.0/24"]

[log]
format = "text"
level = "{level}"

{mobility}
{who}"#,
        nftables = settings.nftables,
        certificate = path("pki/server-chain.pem"),
        key = path("pki/server.key"),
        auth = settings.auth,
        level = settings.level,
        socket = path("admin.sock"),
    )
}
