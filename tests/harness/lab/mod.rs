//! A small network of namespaces with the real gateway in it, real clients, and a host behind it.
//!
//! ```text
//!   guest (user-mode Linux)      namespace "gateway"                     namespace "behind"
//!   10.99.0.2 ───────────────── br0 10.99.0.1   10.98.0.254 ─── veth ─── 10.98.0.1
//!   sstpc, pppd                  causeway, RADIUS, relay                 files
//! ```
//!
//! Everything is gone when the [`Lab`] is dropped. Needs root; [`missing`] says what else is not there.

mod device;
mod files;
mod gateway;
mod guest;
mod memory;
mod peers;
mod supplicant;
mod tap;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use device::{Device, Profile};
pub use files::Files;
pub use gateway::{Gateway, Settings, binary};
pub use guest::{Guest, Outcome};
pub use peers::{FreeRadius, Hold, Peer, relay};
pub use supplicant::{Attempt, eapol_test};
pub use tap::Tap;

/// The gateway's address towards the clients.
pub const GATEWAY: &str = "10.99.0.1";
/// The host behind the gateway.
pub const BEHIND: &str = "10.98.0.1";
/// The gateway's address towards that host.
const UPLINK: &str = "10.98.0.254";
/// Where clients get their addresses.
pub const POOL: &str = "10.97.0.0/24";

/// The folder of the scripts that boot guests and make certificates.
#[must_use]
pub fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/sstp-uml")
}

/// Says what a lab needs and does not find; `None` when it can be built.
#[must_use]
pub fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    let check = script("mkroot.sh").arg("--check").output().ok()?;
    (!check.status.success()).then(|| String::from_utf8_lossy(&check.stderr).trim().to_owned())
}

/// Says that a lab without guests cannot be built; `None` when it can.
#[must_use]
pub fn rootless() -> Option<String> {
    (!nix::unistd::geteuid().is_root()).then(|| "not root".to_owned())
}

/// Says that a program is missing; `None` when it is there.
#[must_use]
pub fn lacks(program: &str) -> Option<String> {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .stdout(Stdio::null())
        .status();
    (!found.is_ok_and(|status| status.success())).then(|| format!("`{program}` is not installed"))
}

/// Whether the whole tests were asked for; otherwise they move less and wait less.
#[must_use]
pub fn is_long() -> bool {
    std::env::var_os("CAUSEWAY_INTEROP_LONG").is_some_and(|value| value != "0")
}

/// The namespaces, the certificates and a folder for files.
pub struct Lab {
    name: String,
    folder: tempfile::TempDir,
    /// Guests want memory and processor time for themselves: one lab at a time.
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl Lab {
    /// Builds the network and makes certificates.
    #[must_use]
    pub fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("cw{}", std::process::id());
        let folder = tempfile::Builder::new()
            .prefix("causeway-lab-")
            .tempdir()
            .unwrap();
        let lab = Self {
            name,
            folder,
            _turn: turn,
        };
        lab.tear_down();
        run(script("net.sh").args(["up", &lab.name]));
        let behind = lab.behind();
        run(&mut ip(&["netns", "add", &behind]));
        run(&mut ip(&[
            "link", "add", "uplink", "netns", &lab.name, "type", "veth", "peer", "name", "lan",
            "netns", &behind,
        ]));
        lab.ip(&["addr", "add", &format!("{UPLINK}/24"), "dev", "uplink"]);
        lab.ip(&["link", "set", "uplink", "up"]);
        for words in [
            &["addr", "add", &format!("{BEHIND}/24"), "dev", "lan"][..],
            &["link", "set", "lan", "up"],
            &["link", "set", "lo", "up"],
            &["route", "add", POOL, "via", UPLINK],
        ] {
            run(ip(&["-n", &behind]).args(words));
        }
        run(script("pki.sh").arg(lab.path("pki")));
        lab
    }

    /// The name of the gateway's namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.name
    }

    /// The name of the namespace behind the gateway.
    #[must_use]
    pub fn behind(&self) -> String {
        format!("{}b", self.name)
    }

    /// A path in the lab's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a program that will run in the gateway's namespace.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = ip(&["netns", "exec", &self.name, program]);
        command.env("TESTBED_CACHE", cache());
        command
    }

    /// Runs `ip` in the gateway's namespace and returns what it printed; empty when it failed.
    pub fn ip(&self, words: &[&str]) -> String {
        let output = ip(&["-n", &self.name]).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `ip` in the namespace behind the gateway.
    pub fn ip_behind(&self, words: &[&str]) {
        run(ip(&["-n", &self.behind()]).args(words));
    }

    /// What the kernel holds in the gateway's namespace: addresses, routes, rules and packet filter, but for what
    /// guests change by plugging in.
    #[must_use]
    pub fn kernel_state(&self) -> String {
        let nft = self.command("nft").args(["list", "ruleset"]).output();
        let nft = nft
            .map(|out| String::from_utf8_lossy(&out.stdout).into_owned())
            .unwrap_or_default();
        [
            self.ip(&["-o", "link"])
                .lines()
                .map(|line| line.split(':').nth(1).unwrap_or("").to_owned())
                .collect(),
            self.ip(&["-o", "addr"])
                .lines()
                .map(str::to_owned)
                .collect(),
            self.ip(&["route", "show", "table", "all"])
                .lines()
                .map(str::to_owned)
                .collect(),
            self.ip(&["rule"]).lines().map(str::to_owned).collect(),
            nft.lines().map(str::to_owned).collect::<Vec<_>>(),
        ]
        .concat()
        .into_iter()
        .filter(|line| {
            !["fe80", "ff00", "br0", "t-g"]
                .iter()
                .any(|word| line.contains(word))
        })
        .collect::<Vec<_>>()
        .join("\n")
    }

    /// Asks with curl, from the gateway's namespace; returns the status, 0 when there was no answer.
    #[must_use]
    pub fn status_of(&self, method: &str, url: &str) -> u16 {
        let mut curl = self.command("curl");
        curl.args([
            "-sk",
            "-m",
            "5",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--path-as-is",
            "--globoff",
        ]);
        match method {
            "HEAD" => curl.arg("-I"),
            other => curl.args(["-X", other]),
        };
        let output = curl.arg(url).output().unwrap();
        String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse()
            .unwrap_or(0)
    }

    /// Fetches a text with curl, from the gateway's namespace.
    #[must_use]
    pub fn fetch(&self, url: &str) -> String {
        let output = self
            .command("curl")
            .args(["-sk", "-m", "5", url])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn tear_down(&self) {
        let quiet = |command: &mut Command| {
            let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        };
        quiet(script("net.sh").args(["down", &self.name]));
        quiet(ip(&["netns", "del", &self.behind()]).env("LC_ALL", "C"));
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.tear_down();
    }
}

/// Where guests keep their things.
fn cache() -> PathBuf {
    std::env::var_os("TESTBED_CACHE").map_or_else(|| "/tmp/causeway-testbed".into(), PathBuf::from)
}

fn script(name: &str) -> Command {
    let mut command = Command::new(scripts().join(name));
    // The host behind has that address, in a namespace of its own.
    command
        .env("TB_NET_SVC4", "10.96.0.1")
        .env("TESTBED_CACHE", cache())
        .stdin(Stdio::null());
    command
}

fn ip(words: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(words).stdin(Stdio::null());
    command
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Returns what a file holds; nothing when it is not there.
#[must_use]
pub fn read(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// Looks again and again, for at most `seconds`.
pub fn eventually(seconds: u64, mut is_so: impl FnMut() -> bool) -> bool {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    loop {
        if is_so() {
            return true;
        }
        if std::time::Instant::now() > end {
            return false;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
