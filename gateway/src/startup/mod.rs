//! From the command line to a running gateway, in the order in which rights are used and given up.
//!
//! Everything that is privileged happens first and on one thread ([`prepare()`]): listeners, the TUN, addresses and
//! routes, rules, the control socket. Then the rights go, and only then the first task starts ([`Gateway::start`]).

mod authority;
mod desk;
mod error;
mod gateway;
mod mobility;
mod prepare;
mod publish;
mod translate;

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use crate::cli::Exit;
use crate::config::{self, Base, Colours, Config, Options};
use crate::observe::logging;
use crate::os::credentials::SecretRef;
use crate::os::netns::{self, ApartError, Root};
use crate::os::privileges::{self, Dropped};
use crate::os::systemd;

pub use authority::Authority;
pub use desk::{Desk, Plan};
pub use error::{StartupError, chain};
pub use gateway::{Gateway, Parts};
pub use prepare::{Prepared, Undo, prepare};

/// How the program is asked to run.
#[derive(Clone, Debug)]
pub enum Run {
    /// With this configuration file.
    File(PathBuf),
    /// With the embedded settings; ports are looked for from here on.
    Dev {
        /// The first port to try.
        ports_from: u16,
    },
}

/// Runs the gateway until it is told to stop.
#[must_use]
pub fn serve(run: &Run) -> Exit {
    let mut config = match configuration(run) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let apart = match run {
        Run::File(_) => None,
        Run::Dev { .. } => apart(&mut config),
    };
    // The guard writes out what waits when it goes.
    let _log = match logging::install(&log_config(&config)) {
        Ok(guard) => guard,
        Err(error) => {
            plain(&chain(&error));
            return Exit::Failure;
        }
    };
    match serve_with(run, &config, apart) {
        Ok(exit) => exit,
        Err(error) => {
            error!(error = %chain(&error), "the gateway does not start");
            error.exit()
        }
    }
}

/// A host that a trial by a plain user can reach through the tunnel.
const BEHIND: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);

/// Makes room for a trial by a plain user: a user namespace, in which it may have a device. Root needs none, and the
/// device is the machine's. Before anything makes a thread; returns what happened when it matters.
fn apart(config: &mut Config) -> Option<Result<(), ApartError>> {
    let root = netns::be_root_apart();
    if !matches!(root, Ok(Root::Real)) && config.admin.socket.starts_with("/run/causeway") {
        // Root's folder; a plain user has his own.
        config.admin.socket = own_folder().join("causeway-dev.sock");
    }
    match root {
        Ok(Root::Real) => None,
        Ok(Root::Apart) => {
            // There is nothing behind a network of one's own.
            config.network.manage_forwarding = false;
            Some(Ok(()))
        }
        Err(error) => Some(Err(error)),
    }
}

/// Where a plain user's sockets live.
fn own_folder() -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from)
}

fn log_config(config: &Config) -> logging::Config {
    logging::Config {
        format: match config.log.format {
            config::LogFormat::Auto => logging::Format::Auto,
            config::LogFormat::Text => logging::Format::Text,
            config::LogFormat::Json => logging::Format::Json,
            config::LogFormat::Logfmt => logging::Format::Logfmt,
        },
        level: config.log.level.clone(),
        user_names: match config.log.user_names {
            config::UserNames::Plain => logging::UserNames::Plain,
            config::UserNames::Hash => logging::UserNames::Hash,
        },
    }
}

/// Writes text that is no event to standard error: a drawn configuration error, or how to connect.
fn plain(text: &str) {
    if writeln!(std::io::stderr(), "{text}").is_err() {}
}

/// Reads the configuration; what is wrong with it goes to standard error.
fn configuration(run: &Run) -> Result<Config, Exit> {
    let base = match run {
        Run::File(path) => Base::File(path.clone()),
        Run::Dev { .. } => Base::Dev,
    };
    match config::load(&Options::of_process(base)) {
        Ok(loaded) => {
            if !loaded.report.findings().is_empty() {
                plain(&loaded.report.render(Colours::Off));
            }
            Ok(loaded.config)
        }
        Err(report) => {
            plain(&report.render(Colours::Off));
            Err(Exit::Configuration)
        }
    }
}

fn serve_with(
    run: &Run,
    config: &Config,
    apart: Option<Result<(), ApartError>>,
) -> Result<Exit, StartupError> {
    let ports = match run {
        Run::File(_) => None,
        Run::Dev { ports_from } => Some(*ports_from),
    };
    let own_network = matches!(apart, Some(Ok(())));
    let mut prepared = prepare(config, ports, || {
        if own_network {
            netns::enter_own(BEHIND)
        } else {
            Ok(())
        }
    })?;
    match apart {
        Some(Ok(())) if prepared.peer.is_none() => prepared.notes.push(format!(
            "no root: {} is in a network namespace of its own, where only {BEHIND} is to be reached",
            prepared.parts.device.name()
        )),
        Some(Err(error)) => prepared.notes.push(chain(&error)),
        Some(Ok(())) | None => {}
    }
    if let Some(user) = &config.gateway.user
        && privileges::drop_to(user)? == Dropped::ToUser
    {
        warn_of_forbidden_files(run, config, user);
    }
    if let Err(error) = privileges::harden() {
        warn!(%error, "core dumps could not be forbidden");
    }
    let runtime = runtime()?;
    let exit = runtime.block_on(run_until_stopped(run, config, prepared));
    runtime.shutdown_timeout(Duration::from_secs(1));
    exit
}

/// Says which of the files that are read again while the gateway runs are for root's eyes: the plain user that it is now
/// sees no new certificate in them, and no changed configuration.
fn warn_of_forbidden_files(run: &Run, config: &Config, user: &str) {
    let mut files = Vec::new();
    if let Run::File(path) = run {
        files.push(path.as_path());
    }
    if let Some(certificate) = &config.sstp.certificate {
        files.push(&certificate.chain);
        if let SecretRef::File(key) = &certificate.key {
            files.push(key);
        }
    }
    if let config::Users::File(path) = &config.users {
        files.push(path);
    }
    for server in &config.radius.servers {
        if let SecretRef::File(path) = &server.secret {
            files.push(path);
        }
    }
    for file in privileges::forbidden(files) {
        warn!(
            code = "E0109",
            file = %file.display(),
            user,
            "the user that the gateway runs as cannot read this file, so a new version of it will not be seen; \
             chown it to that user, let the folders above it be entered, or pass it with LoadCredential= of systemd"
        );
    }
}

/// Makes the runtime of the control plane.
///
/// # Errors
///
/// When the threads cannot be made.
pub fn runtime() -> Result<tokio::runtime::Runtime, StartupError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(StartupError::Runtime)
}

async fn run_until_stopped(
    run: &Run,
    config: &Config,
    prepared: Prepared,
) -> Result<Exit, StartupError> {
    let Prepared {
        parts,
        undo,
        notes,
        peer,
    } = prepared;
    let mut gateway = Gateway::start(config, parts)?;
    match run {
        Run::File(path) => gateway.desk.set_file(path.clone()),
        Run::Dev { .. } => plain(&how_to_connect(config, &gateway, &notes)),
    }
    systemd::ready("taking clients");
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    );
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        return Err(StartupError::Socket(std::io::Error::other("no signals")));
    };
    let watched = std::sync::Arc::clone(&gateway.health);
    // Whoever keeps time for systemd lives on this runtime, so it stops when the runtime does.
    tokio::spawn(systemd::watchdog(move || watched.can_serve()));
    let desk = std::sync::Arc::clone(&gateway.desk);
    let exit = loop {
        tokio::select! {
            _ = terminate.recv() => {
                let (notice, over) = desk.drain_times();
                systemd::stopping("draining", over);
                desk.begin_drain(notice.min(over), over.saturating_sub(notice));
            }
            _ = interrupt.recv() => {
                info!("stopping");
                break Exit::Done;
            }
            _ = hangup.recv() => {
                systemd::reloading();
                drop(desk.reload());
                systemd::ready("taking clients");
            }
            () = desk.drained() => break Exit::Done,
            name = gateway.failed() => {
                error!(task = name, "a part of the gateway has ended");
                break Exit::Failure;
            }
        }
    };
    gateway.stop().await;
    drop((undo, peer));
    Ok(exit)
}

/// What `serve --dev` shows: how to get in, and where to look.
fn how_to_connect(config: &Config, gateway: &Gateway, notes: &[String]) -> String {
    let address = gateway
        .addresses
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    let port = gateway
        .addresses
        .first()
        .map_or(443, std::net::SocketAddr::port);
    let socket = config.admin.socket.display();
    let metrics = config
        .admin
        .listen
        .map(|address| format!("http://{address}/metrics"))
        .unwrap_or_default();
    let mut text = format!(
        "\ncauseway {} · serve --dev · https://{address} · {metrics}\n\n  users     alice / wonderland, bob / builder   (MS-CHAPv2, PAP)\n  sstpc     sstpc --log-stderr --cert-warn --user alice --password wonderland {address} usepeerdns require-mschap-v2 noauth noipdefault\n  WireGuard https://{address}/enrol/ (log in, take the file or the QR code), or: causeway --socket {socket} peer add laptop --user alice\n  Windows   Add-VpnConnection -Name causeway -ServerAddress {}:{port} -TunnelType Sstp -AuthenticationMethod MSChapv2 (import the certificate first)\n  health    curl -k -i https://{address}/sra_%7BBA195980-CD49-458b-9E23-C84EE0ADCD75%7D/\n  look      causeway --socket {socket} status | sessions\n  stop      Ctrl-C\n",
        env!("CARGO_PKG_VERSION"),
        config.gateway.hostname,
    );
    for note in notes {
        text.push_str("  note      ");
        text.push_str(note);
        text.push('\n');
    }
    text
}
