//! What administrators ask about enrolled devices.

use std::sync::Arc;
use std::time::Duration;

use causeway_proto::aaa::{Authorization, FramedAddress, Identity, Proof};
use causeway_proto::terminate::TerminateCause;
use causeway_proto::wireguard::{PresharedKey, PublicKey};
use tracing::{info, warn};

use super::failed;
use crate::auth::Authenticator;
use crate::config::{Config, Mobility};
use crate::control::protocol::{Device, NewDevice, Profile, Response};
use crate::session::peers::{EnrolError, Enrolment, FindError, Origin, Peer, Peers, SaveError};
use crate::session::pool::Pools;
use crate::session::{SessionTable, State};
use crate::startup::error::StartupError;
use crate::task::{Stop, Tasks};

/// The register of devices, and what their profiles say of the gateway.
#[derive(Clone, Debug)]
pub(in crate::startup) struct Devices {
    pub(in crate::startup) peers: Arc<Peers>,
    gateway: Arc<Profile>,
}

impl Devices {
    /// Opens the register and starts to keep it. Devices of users who are not in the user file any more are removed.
    pub(in crate::startup) fn open(
        config: &Config,
        (mobility, own): (&Mobility, PublicKey),
        pools: &Pools,
        authenticator: &Authenticator,
        (tasks, stop): (&mut Tasks, Stop),
    ) -> Result<Self, StartupError> {
        let settings = config.peers(mobility, own);
        let (peers, keeper) = match &mobility.peers_file {
            Some(file) => Peers::open(file, pools.clone(), settings)?,
            None => Peers::in_memory(pools.clone(), settings),
        };
        remove_strangers(&peers, authenticator);
        tasks.spawn("enrolled devices", keeper.run(stop));
        let everything = vec!["0.0.0.0/0".to_owned()];
        let routes = config.network.routes.iter().map(ToString::to_string);
        let gateway = Profile {
            address: String::new(),
            dns: config.network.dns.iter().map(ToString::to_string).collect(),
            dns_suffix: config.network.dns_suffix.clone(),
            mtu: config.network.tun.mtu,
            server_public_key: own.to_string(),
            preshared_key: None,
            endpoint: config.mobility_endpoint(mobility),
            allowed_ips: Some(routes.collect())
                .filter(|routes: &Vec<_>| !routes.is_empty())
                .unwrap_or(everything),
            keepalive: mobility
                .keepalive
                .map_or(0, |keepalive| keepalive.as_secs()),
        };
        info!(devices = peers.len(), key = %own, "devices may come through the Mobility tunnel");
        Ok(Self {
            peers,
            gateway: Arc::new(gateway),
        })
    }

    /// Takes what may change while the gateway runs: limits, and how long a log-in lasts.
    pub(super) fn change(&self, config: &Config, mobility: &Mobility) {
        if let Ok(own) = self.gateway.server_public_key.parse() {
            self.peers.set_settings(config.peers(mobility, own));
        }
    }

    /// Waits until what an answer says is on disk; if it cannot be, the answer is another one.
    pub(super) async fn settled(&self, response: Response) -> Response {
        /// The client of the control socket waits for half a minute.
        const PATIENCE: Duration = Duration::from_secs(20);
        let message = match tokio::time::timeout(PATIENCE, self.peers.saved()).await {
            Ok(Ok(())) => return response,
            Ok(Err(error @ SaveError::Write { .. })) => error.to_string(),
            Ok(Err(SaveError::Stopped)) => "the gateway stops".to_owned(),
            Err(_) => "the disk is slow".to_owned(),
        };
        failed(
            "E0705",
            format!("it holds until the next restart only, because it is not on disk: {message}"),
        )
    }

    /// All devices, or those of one user.
    pub(super) fn list(&self, user: Option<&str>, table: &SessionTable) -> Response {
        let sessions = Sessions::of(table);
        let wanted = user.map(str::to_lowercase);
        let devices = self.peers.list();
        let of_user = |device: &Device| {
            wanted
                .as_ref()
                .is_none_or(|wanted| device.user.to_lowercase() == *wanted)
        };
        Response::Devices {
            devices: devices
                .iter()
                .map(|peer| self.device(peer, &sessions))
                .filter(of_user)
                .collect(),
        }
    }

    pub(super) fn show(&self, what: &str, table: &SessionTable) -> Response {
        match self.peers.find(what) {
            Ok(peer) => Response::Device {
                device: Box::new(self.device(&peer, &Sessions::of(table))),
            },
            Err(error) => not_found(what, &error),
        }
    }

    pub(super) fn profile(&self, what: &str, table: &SessionTable) -> Response {
        match self.peers.find(what) {
            Ok(peer) => self.enrolled(&peer, table),
            Err(error) => not_found(what, &error),
        }
    }

    pub(super) fn add(&self, new: &NewDevice, table: &SessionTable) -> Response {
        let enrolment = match enrolment(new) {
            Ok(enrolment) => enrolment,
            Err(message) => return refused(message),
        };
        match self.peers.enrol(enrolment) {
            Ok(peer) => {
                info!(event = "peer_added", device = peer.name(), user.name = %peer.user().display(), key = %peer.key(),
                    inner.ip = %peer.address(), "an administrator enrolled a device");
                self.enrolled(&peer, table)
            }
            Err(error) => {
                let mut message = error.to_string();
                if let EnrolError::NoAddress(why) = &error {
                    message = format!("{message}: {why}");
                }
                refused(message)
            }
        }
    }

    pub(super) fn revoke(&self, what: &str, dry_run: bool, table: &SessionTable) -> Response {
        let found = match self.peers.find(what) {
            Ok(peer) => peer,
            Err(error) => return not_found(what, &error),
        };
        let device = Box::new(self.device(&found, &Sessions::of(table)));
        if !dry_run {
            // By the key, which is nobody else's even if the name has changed hands.
            let key = found.key().to_string();
            if let Err(error) = self.peers.revoke(&key, TerminateCause::Admin) {
                return not_found(what, &error);
            }
            info!(event = "peer_revoked", device = found.name(), user.name = %found.user().display(), key,
                "an administrator revoked a device");
        }
        Response::Revoked { device, dry_run }
    }

    fn enrolled(&self, peer: &Peer, table: &SessionTable) -> Response {
        let said = peer.authorization();
        let mut profile = (*self.gateway).clone();
        profile.address = format!("{}/32", peer.address());
        profile.preshared_key = peer
            .preshared_key()
            .map(|key| key.expose_base64().as_str().to_owned());
        if !said.dns.is_empty() {
            profile.dns = said.dns.iter().map(ToString::to_string).collect();
        }
        profile.dns.truncate(2);
        profile.mtu = said.mtu.map_or(profile.mtu, |mtu| mtu.min(profile.mtu));
        Response::Enrolled {
            device: Box::new(self.device(peer, &Sessions::of(table))),
            profile: Box::new(profile),
        }
    }

    fn device(&self, peer: &Peer, sessions: &Sessions) -> Device {
        let session = sessions.0.get(&peer.address());
        let state = match session {
            Some((_, State::Authenticating | State::Up)) => "connected",
            Some((_, State::Unreachable)) => "unreachable",
            None if peer.is_open(self.peers.now()) => "away",
            None => "expired",
        };
        Device {
            state: state.to_owned(),
            session: session.map(|(id, _)| id.clone()),
            ..Device::from(peer)
        }
    }
}

/// The sessions of devices by their inner addresses: the id, and how it is.
struct Sessions(std::collections::HashMap<std::net::Ipv4Addr, (String, State)>);

impl Sessions {
    fn of(table: &SessionTable) -> Self {
        let devices = table
            .snapshot()
            .into_iter()
            .filter(|view| view.facts.device.is_some())
            .filter_map(|view| Some((view.address?, (view.id.to_string(), view.state))));
        Self(devices.collect())
    }
}

/// Users who have been taken out of the user file have no devices any more.
fn remove_strangers(peers: &Peers, authenticator: &Authenticator) {
    let strangers = peers
        .list()
        .into_iter()
        .filter(|peer| peer.origin() == Origin::Login && !authenticator.may_know(peer.user()));
    for peer in strangers {
        let key = peer.key().to_string();
        if peers.revoke(&key, TerminateCause::Blocked).is_ok() {
            warn!(device = peer.name(), user.name = %peer.user().display(), "the device's user is not in the user file any more; it was removed");
        }
    }
}

fn enrolment(new: &NewDevice) -> Result<Enrolment, String> {
    let key: PublicKey = new
        .public_key
        .parse()
        .map_err(|error| format!("--public-key: {error}"))?;
    let preshared_key: Option<PresharedKey> = match &new.preshared_key {
        Some(text) => Some(text.parse().map_err(|error| format!("--psk: {error}"))?),
        None => None,
    };
    let user = new.user.as_deref().unwrap_or(&new.name);
    let user = Identity::new(user.as_bytes()).ok_or("--user: a name of 1 to 253 octets")?;
    Ok(Enrolment {
        name: new.name.clone(),
        key,
        preshared_key,
        authorization: Authorization {
            user,
            proof: Proof::Message(String::new()),
            keys: None,
            address: new
                .address
                .map_or(FramedAddress::Pool, FramedAddress::Fixed),
            pool: None,
            routes: Vec::new(),
            session_timeout: None,
            idle_timeout: None,
            interim: None,
            mtu: None,
            class: Vec::new(),
            filter: None,
            dns: Vec::new(),
            wins: Vec::new(),
            server: String::new(),
            message: None,
        },
        method: None,
        origin: Origin::Administrator,
        lifetime: new.lifetime_seconds.map(Duration::from_secs),
    })
}

fn not_found(what: &str, error: &FindError) -> Response {
    match error {
        FindError::Unknown => Response::NotFound {
            what: format!("no device {what}"),
        },
        FindError::Ambiguous(_) => {
            refused(format!("{error}; say one of the numbers, or USER/NAME"))
        }
    }
}

fn refused(message: String) -> Response {
    Response::Failed {
        code: None,
        message,
    }
}

#[cfg(test)]
mod tests;
