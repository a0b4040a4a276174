//! What is done while the process still has its rights, before any other thread.

use std::net::{SocketAddr, TcpListener};

use super::authority::Authority;
use super::error::StartupError;
use super::gateway::Parts;
use super::translate;
use crate::config::Config;
use crate::control::server::Server;
use crate::observe::metrics::{self, Names};
use crate::os::forwarding::{Forwarding, STATE_FILE};
use crate::os::nftables::Nftables;
use crate::os::tcp::ListenError;
use crate::os::tun::{Device, Offload, Peer};
use crate::os::udp::{self, Group};
use crate::os::{netlink, peer, privileges, tcp};

/// How many ports a trial looks at.
const TRIES: u16 = 100;

/// What was made, and what undoes the rest when it is dropped.
#[derive(Debug)]
pub struct Prepared {
    /// For [`super::Gateway::start`].
    pub parts: Parts,
    /// Rules and forwarding; dropped last.
    pub undo: Undo,
    /// What a trial had to do without.
    pub notes: Vec<String>,
    /// The other end of the device, when it is in memory.
    pub peer: Option<Peer>,
}

/// What the machine gets back.
#[derive(Debug, Default)]
pub struct Undo {
    nftables: Option<Nftables>,
    forwarding: Option<Forwarding>,
}

/// Makes everything that needs rights; `ports` looks for free ports from there on, and `between` is called when the
/// listeners are there and the device is not.
///
/// # Errors
///
/// When a right, a device or a port is missing. A trial (`network.best_effort`) does without the device.
pub fn prepare(
    config: &Config,
    ports: Option<u16>,
    between: impl FnOnce() -> std::io::Result<()> + Send,
) -> Result<Prepared, StartupError> {
    let metrics = metrics::install(&names(config))?;
    let mut config = config.clone();
    let mut notes = Vec::new();
    let (listeners, admin) = listeners(&mut config, ports)?;
    let mobility = groups(&config, ports, &mut notes)?;
    let certificates = translate::certificates(&config, &config.sstp.listen)?;
    let authority = Authority::read(&config)?;
    let mut undo = Undo::default();
    let mut peer = None;
    // On a thread of its own: a namespace that it enters is its alone, and the device stays there.
    let made = std::thread::scope(|scope| {
        let make = || {
            between()
                .map_err(StartupError::Socket)
                .and_then(|()| tun(&config, &mut undo, &mut notes))
        };
        scope.spawn(make).join().unwrap_or_else(|_| {
            Err(StartupError::Socket(std::io::Error::other(
                "a fault of ours",
            )))
        })
    });
    let device = match made {
        Ok(device) => device,
        Err(error) if config.network.best_effort => {
            notes.push(format!("in-memory TUN: {}", super::chain(&error)));
            let pair = Device::pair(config.network.tun.mtu, Offload::Off);
            let (device, other) = pair.map_err(StartupError::Socket)?;
            peer = Some(other);
            device
        }
        Err(error) => return Err(error),
    };
    let control = control(&config, &mut notes)?;
    Ok(Prepared {
        parts: Parts {
            listeners,
            admin,
            mobility,
            control,
            certificates,
            authority,
            device,
            metrics,
        },
        undo,
        notes,
        peer,
    })
}

/// Names that labels take from the configuration.
fn names(config: &Config) -> Names {
    Names {
        pools: config
            .pools
            .all()
            .map(|pool| pool.name().to_owned())
            .collect(),
        servers: config
            .radius
            .servers
            .iter()
            .map(|server| server.name.clone())
            .collect(),
        queues: 1,
        auth_buckets: config.metrics.buckets_auth.clone(),
    }
}

fn listeners(
    config: &mut Config,
    ports: Option<u16>,
) -> Result<(Vec<TcpListener>, Option<TcpListener>), StartupError> {
    let mut doors = Vec::new();
    for address in &mut config.sstp.listen {
        doors.push(listen(address, ports)?);
    }
    let admin = match &mut config.admin.listen {
        Some(address) => Some(listen(address, ports)?),
        None => None,
    };
    Ok((doors, admin))
}

/// Opens the sockets of the Mobility tunnel. A machine without IPv6 does without, if it has IPv4.
fn groups(
    config: &Config,
    ports: Option<u16>,
    notes: &mut Vec<String>,
) -> Result<Vec<Group>, StartupError> {
    let Some(mobility) = &config.mobility else {
        return Ok(Vec::new());
    };
    let shards = u8::try_from(config.dataplane().shards).unwrap_or(u8::MAX);
    let offloads = config.network.udp_offloads;
    let mut groups: Vec<Group> = Vec::new();
    for wanted in &mobility.listen {
        let mut address = *wanted;
        let open = |address| udp::listen(address, shards, offloads);
        match find(&mut address, ports, open) {
            Ok(group) => groups.push(group),
            Err(error) if address.is_ipv6() && error.is_no_ipv6() && !groups.is_empty() => {
                tracing::info!(%address, "no IPv6: the Mobility tunnel listens on IPv4 alone");
                if ports.is_some() {
                    notes.push("no IPv6: the Mobility tunnel listens on IPv4 alone".to_owned());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(groups)
}

fn listen(address: &mut SocketAddr, ports: Option<u16>) -> Result<TcpListener, ListenError> {
    find(address, ports, tcp::listen)
}

/// Listens on the address, or in a trial on the next port that is free; the address says which.
fn find<T>(
    address: &mut SocketAddr,
    ports: Option<u16>,
    open: impl Fn(SocketAddr) -> Result<T, ListenError>,
) -> Result<T, ListenError> {
    let Some(from) = ports else {
        return open(*address);
    };
    let mut port = from.max(1024);
    let wanted = *address;
    if let Ok(listener) = open(wanted) {
        return Ok(listener);
    }
    loop {
        address.set_port(port);
        match open(*address) {
            Ok(listener) => return Ok(listener),
            Err(error) if port >= from.saturating_add(TRIES) => return Err(error),
            Err(_) => port = port.saturating_add(1),
        }
    }
}

fn tun(config: &Config, undo: &mut Undo, notes: &mut Vec<String>) -> Result<Device, StartupError> {
    privileges::check(&privileges::Needs {
        listeners: Vec::new(),
        ..config.needs()
    })?;
    let device = Device::open(&config.network.tun)?;
    if let Some(addressing) = config.addressing() {
        // A runtime of its own on this thread, gone again before rights are given up.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartupError::Runtime)?;
        runtime.block_on(netlink::set_up(&addressing))?;
    }
    if config.network.manage_forwarding {
        match Forwarding::enable(STATE_FILE.as_ref()) {
            Ok(forwarding) => undo.forwarding = Some(forwarding),
            Err(error) => {
                tracing::warn!(%error, code = error.code(), "packets are not forwarded");
                notes.push(error.to_string());
            }
        }
    } else if let Err(error) = Forwarding::recover(STATE_FILE.as_ref()) {
        tracing::warn!(%error, "what an earlier run changed could not be put back");
    }
    if let Some(rules) = config.rule_set() {
        match Nftables::install(&rules) {
            Ok(rules) => undo.nftables = Some(rules),
            Err(error) if config.network.best_effort => notes.push(error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(device)
}

fn control(config: &Config, notes: &mut Vec<String>) -> Result<Option<Server>, StartupError> {
    let socket = &config.admin.socket;
    let group = peer::group(&config.admin.group);
    if group.is_none() && !config.network.best_effort {
        tracing::info!(
            group = config.admin.group,
            "no such group: the control socket is for root and the gateway's own user"
        );
    }
    let bound = socket
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| Server::bind(socket, group));
    match bound {
        Ok(server) => Ok(Some(server)),
        Err(error) if config.network.best_effort => {
            notes.push(format!(
                "no control socket {}: {error}",
                config.admin.socket.display()
            ));
            Ok(None)
        }
        Err(source) => Err(StartupError::Control {
            path: config.admin.socket.display().to_string(),
            source,
        }),
    }
}
