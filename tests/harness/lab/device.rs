//! A device with `wireguard-go` and `wg`, in a namespace of its own beside the gateway's.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use super::{Lab, eventually, ip, run};

/// Where a device begins; it roams from there on.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 50);

/// A device that is configured by a `wg-quick` file.
pub struct Device<'a> {
    lab: &'a Lab,
    namespace: String,
    interface: String,
    address: Ipv4Addr,
    port: u16,
    profile: Profile,
    process: Option<Child>,
}

/// What a `wg-quick` file says.
#[derive(Clone, Debug)]
pub struct Profile {
    /// `Address`, without its length.
    pub address: String,
    /// `MTU`.
    pub mtu: Option<u16>,
    /// `AllowedIPs`.
    pub routes: Vec<String>,
    /// The lines that `wg setconf` takes.
    stripped: String,
}

impl Profile {
    /// Reads the file as `wg-quick` does.
    ///
    /// # Panics
    ///
    /// When it names no address.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut profile = Self {
            address: String::new(),
            mtu: None,
            routes: Vec::new(),
            stripped: String::new(),
        };
        for line in text.lines() {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "address" => value
                    .split('/')
                    .next()
                    .unwrap_or(value)
                    .clone_into(&mut profile.address),
                "mtu" => profile.mtu = value.parse().ok(),
                "dns" => {}
                key => {
                    if key == "allowedips" {
                        let routes = value.split(',').map(|route| route.trim().to_owned());
                        profile.routes.extend(routes);
                    }
                    profile.stripped.push_str(line);
                    profile.stripped.push('\n');
                }
            }
        }
        assert!(!profile.address.is_empty(), "no address in\n{text}");
        profile
    }
}

impl<'a> Device<'a> {
    /// Plugs a device into the gateway's network and brings its tunnel up.
    #[must_use]
    pub fn start(lab: &'a Lab, profile: &str) -> Self {
        let namespace = format!("{}d", lab.namespace());
        let mut device = Self {
            lab,
            interface: format!("w{}", lab.namespace()),
            namespace,
            address: FIRST,
            port: 40_000,
            profile: Profile::parse(profile),
            process: None,
        };
        device.remove();
        run(&mut ip(&["netns", "add", &device.namespace]));
        let lan = device.lan();
        lab.ip(&[
            "link",
            "add",
            &lan,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            &device.namespace,
        ]);
        lab.ip(&["link", "set", &lan, "master", "br0", "up"]);
        device.ip(&["addr", "add", &format!("{FIRST}/24"), "dev", "eth0"]);
        // When it moves, the address that it left must not take the new one along.
        let keep = "sysctl -qw net.ipv4.conf.all.promote_secondaries=1";
        assert_eq!(device.shell(keep), "");
        device.ip(&["link", "set", "lo", "up"]);
        device.ip(&["link", "set", "eth0", "up"]);
        device.up();
        device
    }

    /// Starts the tunnel program and configures it.
    pub fn up(&mut self) {
        let mut command = self.command("wireguard-go");
        command
            .args(["-f", &self.interface])
            .env("LOG_LEVEL", "error");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        assert!(
            eventually(10, || self.wg(&["show", &self.interface]).status.success()),
            "wireguard-go does not start"
        );
        let file = self.lab.path("device.conf");
        std::fs::write(&file, &self.profile.stripped).unwrap();
        let set = self.wg(&["setconf", &self.interface, file.to_str().unwrap()]);
        assert!(set.status.success(), "{set:?}");
        self.listen();
        self.ip(&[
            "addr",
            "add",
            &format!("{}/32", self.profile.address),
            "dev",
            &self.interface,
        ]);
        if let Some(mtu) = self.profile.mtu {
            self.ip(&["link", "set", &self.interface, "mtu", &mtu.to_string()]);
        }
        self.ip(&["link", "set", &self.interface, "up"]);
        for route in self.profile.routes.clone() {
            self.ip(&["route", "add", &route, "dev", &self.interface]);
        }
    }

    /// Ends the tunnel program; its keys are gone.
    pub fn down(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Takes other keys and another address, as another `wg-quick` file has them.
    pub fn reconfigure(&mut self, profile: &str) {
        self.down();
        self.profile = Profile::parse(profile);
        self.up();
    }

    /// Goes somewhere else: another address and another port.
    pub fn roam(&mut self) {
        let [a, b, c, d] = self.address.octets();
        let next = if d >= 99 { 50 } else { d + 1 };
        let before = self.address;
        self.address = Ipv4Addr::new(a, b, c, next);
        self.port = if self.port >= 49_999 {
            40_000
        } else {
            self.port + 1
        };
        self.ip(&[
            "addr",
            "add",
            &format!("{}/24", self.address),
            "dev",
            "eth0",
        ]);
        self.ip(&["addr", "del", &format!("{before}/24"), "dev", "eth0"]);
        self.listen();
    }

    /// Pulls the plug, or puts it in again.
    pub fn plug(&self, is_in: bool) {
        let state = if is_in { "up" } else { "down" };
        self.lab.ip(&["link", "set", &self.lan(), state]);
    }

    /// Returns whether a host answers within so many echo requests, one a second.
    #[must_use]
    pub fn reaches(&self, host: &str, tries: u32) -> bool {
        (0..tries).any(|_| {
            let ping = self
                .command("ping")
                .args(["-c", "1", "-W", "1", host])
                .output()
                .unwrap();
            if !ping.status.success() {
                thread::sleep(Duration::from_millis(100));
            }
            ping.status.success()
        })
    }

    /// Runs a shell command on the device and returns what it printed.
    #[must_use]
    pub fn shell(&self, text: &str) -> String {
        let output = self.command("sh").args(["-c", text]).output().unwrap();
        let all = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Returns the time of the latest handshake, in seconds of Unix time; 0 when there was none.
    #[must_use]
    pub fn latest_handshake(&self) -> u64 {
        let output = self.wg(&["show", &self.interface, "latest-handshakes"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split_whitespace()
            .nth(1)
            .and_then(|time| time.parse().ok())
            .unwrap_or(0)
    }

    /// Makes a program that runs on the device.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        ip(&["netns", "exec", &self.namespace, program])
    }

    /// Where the device is: its outer address and port.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}:{}", self.address, self.port)
    }

    /// The name of the tunnel's interface.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The device's inner address.
    #[must_use]
    pub fn inner(&self) -> &str {
        &self.profile.address
    }

    fn listen(&self) {
        let set = self.wg(&[
            "set",
            &self.interface,
            "listen-port",
            &self.port.to_string(),
        ]);
        assert!(set.status.success(), "{set:?}");
    }

    fn lan(&self) -> String {
        // Names with this beginning are left out of the lab's record of the kernel's state.
        "t-gdev".to_owned()
    }

    fn wg(&self, words: &[&str]) -> Output {
        self.command("wg").args(words).output().unwrap()
    }

    fn ip(&self, words: &[&str]) {
        let output = ip(&["-n", &self.namespace]).args(words).output().unwrap();
        assert!(output.status.success(), "ip {words:?}: {output:?}");
    }

    fn remove(&mut self) {
        self.down();
        let _ = ip(&["netns", "del", &self.namespace])
            .stderr(Stdio::null())
            .status();
        let _ = std::fs::remove_file(format!("/var/run/wireguard/{}.sock", self.interface));
    }
}

impl Drop for Device<'_> {
    fn drop(&mut self) {
        self.remove();
        self.lab.ip(&["link", "del", &self.lan()]);
    }
}
