//! The command line.
//!
//! [`Cli`] is what clap reads; [`dispatch`] does it. Most commands ask the running gateway over its control socket
//! (`remote.rs`); the rest is one call each into the room that does the work.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand};

use crate::config;

mod demo;
mod doctor;
mod explain;
mod local;
mod output;
mod peer;
mod remote;
mod table;

pub use doctor::{Doctor, DoctorLogin, DoctorMobility, DoctorRadius};
pub use explain::explain;
pub use output::{Answer, NoSecret, Output, Reader, Style};
pub use peer::{Add as PeerAdd, Form as ProfileForm, Keys, Peer, ProfileOf};
pub use remote::run as ask_gateway;

/// How the program ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// Done.
    Done,
    /// A run-time failure.
    Failure,
    /// The configuration is wrong.
    Configuration,
    /// The daemon is not reachable on its socket.
    Unreachable,
    /// A privilege, a device or a kernel feature is missing.
    Missing,
    /// `doctor`: a check failed.
    CheckFailed,
    /// Nothing matched.
    NothingMatched,
    /// The command line lacks something; clap says the same.
    Usage,
}

impl Exit {
    /// Returns the number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Configuration => 3,
            Self::Unreachable => 4,
            Self::Missing => 5,
            Self::CheckFailed => 6,
            Self::NothingMatched => 7,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Remote-access VPN gateway.
#[derive(Clone, Debug, Parser)]
#[command(name = "causeway", version, about, max_term_width = 100)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Args, Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one flag of the command line"
)]
pub struct Common {
    /// The control socket of the running gateway
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "/run/causeway/admin.sock"
    )]
    pub socket: PathBuf,
    /// Print one JSON object with stable keys
    #[arg(long, global = true)]
    pub json: bool,
    /// Print without colour
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Print nothing; the exit code tells
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print more
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the gateway
    Serve(Serve),
    /// Run the gateway with clients that log in and move packets, and tell the story
    Demo(Demo),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(Config),
    /// Show the health with reasons, sessions, pools, RADIUS, the certificate
    Status(Status),
    /// List the sessions
    Sessions(Sessions),
    /// Show one session
    Session {
        /// Its id, or the beginning of it
        id: String,
    },
    /// End sessions
    Disconnect(Disconnect),
    /// Read the configuration and the certificate again
    Reload,
    /// Send the clients elsewhere, then stop
    Drain(Drain),
    /// Look at one part step by step, and say what to do about what is wrong
    #[command(subcommand)]
    Doctor(Doctor),
    /// Users of the embedded user file
    #[command(subcommand)]
    Users(Users),
    /// Devices of the Mobility tunnel
    #[command(subcommand)]
    Peer(Peer),
    /// Files for clients
    #[command(subcommand)]
    Profile(ProfileOf),
    /// Make keys
    #[command(subcommand)]
    Keys(Keys),
    /// Explain an error code, the cause of a session's end, or an error number of Windows
    Explain {
        /// Such as E0204, 7, `peer_lost`, 691 or 0x80072746
        code: String,
    },
}

/// `causeway serve`.
#[derive(Args, Clone, Debug)]
pub struct Serve {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Run on embedded defaults: a self-made certificate, users that are shown, free ports
    #[arg(long, conflicts_with = "config")]
    pub dev: bool,
    /// With `--dev`, the first of the port numbers to try
    #[arg(long, value_name = "PORT", requires = "dev")]
    pub ports_from: Option<u16>,
}

/// `causeway demo`.
#[derive(Args, Clone, Debug)]
pub struct Demo {
    /// Leave the gateway running
    #[arg(long)]
    pub keep: bool,
    /// The first of the port numbers to try
    #[arg(long, value_name = "PORT")]
    pub ports_from: Option<u16>,
}

/// `causeway config`.
#[derive(Clone, Debug, Subcommand)]
pub enum Config {
    /// Say what is wrong with the configuration
    Check {
        /// The configuration
        #[arg(
            long,
            value_name = "FILE",
            default_value = "/etc/causeway/gateway.toml"
        )]
        config: PathBuf,
    },
    /// Print the configuration
    Show {
        /// The configuration
        #[arg(
            long,
            value_name = "FILE",
            default_value = "/etc/causeway/gateway.toml"
        )]
        config: PathBuf,
        /// With every default, and where each value comes from
        #[arg(long)]
        effective: bool,
    },
}

/// `causeway status`.
#[derive(Args, Clone, Debug)]
pub struct Status {
    /// Show it anew every two seconds, until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
}

/// `causeway sessions`.
#[derive(Args, Clone, Debug)]
pub struct Sessions {
    /// Only of this tunnel
    #[arg(long)]
    pub protocol: Option<String>,
    /// Only of this user
    #[arg(long)]
    pub user: Option<String>,
}

/// `causeway disconnect`.
#[derive(Args, Clone, Debug)]
#[command(group(ArgGroup::new("which").required(true).args(["id", "user", "ip", "all"])))]
pub struct Disconnect {
    /// The session with this id
    #[arg(long)]
    pub id: Option<String>,
    /// The sessions of this user
    #[arg(long)]
    pub user: Option<String>,
    /// The session with this inner address
    #[arg(long)]
    pub ip: Option<std::net::IpAddr>,
    /// All sessions
    #[arg(long)]
    pub all: bool,
    /// Why, for the log
    #[arg(long)]
    pub reason: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// `causeway drain`.
#[derive(Args, Clone, Debug)]
pub struct Drain {
    /// How long the probe fails before sessions are touched [default: `drain.notice`]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub notice: Option<Duration>,
    /// How long the disconnecting takes [default: `drain.on_sigterm`]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub over: Option<Duration>,
    /// Take clients again
    #[arg(long, conflicts_with_all = ["notice", "over"])]
    pub cancel: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// `causeway users`.
#[derive(Clone, Debug, Subcommand)]
pub enum Users {
    /// Add a user, or set the password of one; the password is read from the terminal or standard input
    Add {
        /// The user's name
        name: String,
        /// The user file
        #[arg(long, value_name = "FILE", default_value = "/etc/causeway/users.toml")]
        file: PathBuf,
    },
}

fn duration(text: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(text)
}

/// Reads the arguments of this process and does what they say, on its own streams.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let (stdin, mut out, mut err) = (io::stdin(), io::stdout(), io::stderr());
    let ask = stdin.is_terminal();
    // Held only when there is somebody to ask: whoever reads a pipe takes the lock for himself.
    let mut keyboard = ask.then(|| stdin.lock());
    let answers = keyboard
        .as_mut()
        .map(|keyboard| keyboard as &mut dyn io::BufRead);
    let style = output::style(cli.common.no_color);
    let mut output = Output::new(&mut out, &mut err, answers, style);
    if ask {
        output = output.typed();
    }
    dispatch(&cli, &mut output).into()
}

/// Does what the command line says.
pub fn dispatch(cli: &Cli, out: &mut Output<'_>) -> Exit {
    match &cli.command {
        Command::Status(_)
        | Command::Sessions(_)
        | Command::Session { .. }
        | Command::Disconnect(_)
        | Command::Reload
        | Command::Drain(_) => ask_gateway(cli, out),
        Command::Explain { code } => match config::explain(code) {
            Some(page) if !cli.common.json => {
                out.text(page);
                Exit::Done
            }
            _ => explain(code, &[], cli.common.json, out),
        },
        Command::Serve(serve) => local::serve(serve),
        Command::Demo(demo) => demo::run(demo, cli.common.json, out),
        Command::Doctor(doctor) => doctor::run(doctor, cli.common.json, out),
        Command::Config(command) => local::config(command, cli.common.quiet, out),
        Command::Peer(command) => peer::run(command, &cli.common, out),
        Command::Profile(command) => peer::profile_of(command, &cli.common, out),
        Command::Keys(command) => peer::keys(command, out),
        Command::Users(Users::Add { name, file }) => local::add_user(name, file, out),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn reads_what_an_administrator_types() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        let drain = parse("causeway drain --notice 80s --over 5m --json").unwrap();
        assert!(drain.common.json);
        let Command::Drain(drain) = drain.command else {
            panic!("not a drain")
        };
        assert_eq!(drain.notice, Some(Duration::from_secs(80)));
        assert_eq!(drain.over, Some(Duration::from_secs(300)));
        assert!(parse("causeway disconnect --user CORP\\alice --reason moved --yes").is_ok());
        for wrong in [
            "causeway",
            "causeway disconnect",
            "causeway disconnect --all --user a",
            "causeway drain --cancel --over 5m",
            "causeway serve --ports-from 20000",
            "causeway serve --dev --config x",
        ] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }
}
