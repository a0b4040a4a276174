//! A guest with sstpc and pppd: one session, or one try.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Lab, eventually, read, script};

/// A guest to be booted.
pub struct Guest<'a> {
    lab: &'a Lab,
    options: Vec<String>,
    files: Vec<PathBuf>,
    seconds: u32,
}

impl<'a> Guest<'a> {
    /// A guest in which alice connects to the gateway and checks its certificate.
    #[must_use]
    pub fn new(lab: &'a Lab) -> Self {
        Self {
            lab,
            options: vec!["--ca".into(), "$IN/ca.pem".into()],
            files: vec![lab.path("pki/ca.pem")],
            seconds: 60,
        }
    }

    /// Adds an option of `sstpc-connect.sh`.
    #[must_use]
    pub fn with(mut self, option: &str, value: &str) -> Self {
        self.options.extend([option.to_owned(), value.to_owned()]);
        self
    }

    /// Adds an option without a value.
    #[must_use]
    pub fn flag(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// Puts a file into the guest, as `$IN/` and its name.
    #[must_use]
    pub fn put(mut self, file: PathBuf) -> Self {
        self.files.push(file);
        self
    }

    /// Sets how long the session may last.
    #[must_use]
    pub const fn seconds(mut self, seconds: u32) -> Self {
        self.seconds = seconds;
        self
    }

    /// Boots it, and waits for its end.
    #[must_use]
    pub fn run(self) -> Outcome {
        self.boot().wait()
    }

    /// Boots it.
    #[must_use]
    pub fn boot(self) -> Running {
        let folder = tempfile::tempdir_in(self.lab.path("")).unwrap().keep();
        let stdout = folder.join("stdout");
        let stderr = folder.join("stderr");
        let mut command = script("guest.sh");
        command.args(["--netns", self.lab.namespace(), "--mem", "512M"]);
        for file in &self.files {
            command.arg("--put").arg(file);
        }
        command.arg("--out").arg(folder.join("out"));
        command.args(["--timeout", &self.seconds.to_string()]);
        command
            .arg(super::scripts().join("guest/sstpc-connect.sh"))
            .args(&self.options);
        command
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap());
        command.stdin(Stdio::null());
        Running {
            child: command.spawn().unwrap(),
            folder,
        }
    }
}

/// A guest that has been booted.
pub struct Running {
    child: Child,
    folder: PathBuf,
}

impl Running {
    /// Waits until the client has printed `text`; it may take `seconds`.
    pub fn wait_for(&mut self, text: &str, seconds: u64) {
        let stdout = self.folder.join("stdout");
        let seen = eventually(seconds, || {
            read(&stdout).contains(text) || self.child.try_wait().unwrap().is_some()
        });
        let all = read(&stdout);
        assert!(
            seen && all.contains(text),
            "no `{text}` in:\n{all}{}",
            read(&self.folder.join("stderr"))
        );
    }

    /// Waits for the end.
    #[must_use]
    pub fn wait(mut self) -> Outcome {
        let status = self.child.wait().unwrap();
        Outcome {
            code: status.code().unwrap_or(-1),
            facts: read(&self.folder.join("stdout")),
            remarks: read(&self.folder.join("stderr")),
            pppd: read(&self.folder.join("out/pppd.log")),
            sstpc: read(&self.folder.join("out/sstpc.log")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // guest.sh takes its guest along.
        let _ = kill(
            Pid::from_raw(self.child.id().try_into().unwrap()),
            Signal::SIGTERM,
        );
        let _ = self.child.wait();
    }
}

/// What came of a session.
pub struct Outcome {
    /// The exit code of `sstpc-connect.sh`.
    pub code: i32,
    /// The `R key=value` lines.
    pub facts: String,
    /// What went wrong, in words.
    pub remarks: String,
    /// pppd's log.
    pub pppd: String,
    /// sstpc's log.
    pub sstpc: String,
}

impl Outcome {
    /// Returns the first value of a key.
    #[must_use]
    pub fn fact(&self, key: &str) -> &str {
        self.facts
            .lines()
            .filter_map(|line| line.strip_prefix("R "))
            .flat_map(str::split_whitespace)
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
            .unwrap_or("")
    }

    /// Panics unless the session went as asked.
    #[track_caller]
    pub fn assert_ok(&self) -> &Self {
        assert!(
            self.code == 0,
            "exit code {}\n{}{}",
            self.code,
            self.facts,
            self.remarks
        );
        self
    }
}
