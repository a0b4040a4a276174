//! The Mobility tunnel: its sockets, its driver, and the log-in of devices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_proto::wireguard::PrivateKey;
use tokio::sync::mpsc;

use super::error::StartupError;
use crate::config::{Config, EnrolBy, Mobility};
use crate::dataplane::{DataPlane, Listeners, Stray};
use crate::front::enrolment::{self, Enrolment, Logins};
use crate::os::udp::{Group, Socket};
use crate::session::admission::Admission;
use crate::session::peers::Peers;
use crate::task::{Stop, Tasks};
use crate::tunnel::wireguard;

/// How long a person has for the phone, if RADIUS has as long.
const LONGEST_LOGIN: Duration = Duration::from_secs(120);
/// Handshake messages that the packet path may have found.
const STRAYS: usize = 64;

/// The sockets that are for the driver.
#[derive(Debug)]
pub(super) struct Sockets {
    control: Vec<Socket>,
    strays: mpsc::Receiver<Stray>,
    pub(super) addresses: Vec<SocketAddr>,
}

impl Sockets {
    /// Divides groups between the driver and the packet path.
    pub(super) fn of(groups: Vec<Group>) -> (Self, Listeners) {
        let (found, strays) = mpsc::channel(STRAYS);
        let mut own = Self {
            control: Vec::new(),
            strays,
            addresses: Vec::new(),
        };
        let mut data = Vec::new();
        for group in groups {
            own.addresses.push(group.address);
            own.control.push(group.control);
            data.push(group.data);
        }
        let listeners = Listeners {
            data,
            strays: Some(found),
        };
        (own, listeners)
    }
}

/// What is configured, with the ports that a trial may have found in place of those that were taken.
pub(super) fn found(config: &Config, sockets: &Sockets) -> Option<Mobility> {
    let mobility = config.mobility.clone()?;
    Some(Mobility {
        listen: sockets.addresses.clone(),
        ..mobility
    })
}

/// Who is in the tunnel, and who lets them in.
#[derive(Clone, Copy, Debug)]
pub(super) struct House<'a> {
    pub(super) config: &'a Config,
    pub(super) mobility: &'a Mobility,
    pub(super) key: &'a PrivateKey,
    pub(super) peers: &'a Arc<Peers>,
    pub(super) admission: &'a Arc<Admission>,
}

impl House<'_> {
    /// Starts the driver.
    pub(super) fn drive(
        &self,
        sockets: Sockets,
        data_plane: &Arc<DataPlane>,
        (tasks, stop): (&mut Tasks, Stop),
    ) -> Result<(), StartupError> {
        let settings = wireguard::Config {
            private_key: self.key.clone(),
            persist: self.mobility.persist,
            shards: u8::try_from(self.config.dataplane().shards).unwrap_or(u8::MAX),
        };
        let parts = wireguard::Parts {
            control: sockets.control,
            strays: sockets.strays,
            peers: Arc::clone(self.peers),
            admission: Arc::clone(self.admission),
            data_plane: Arc::clone(data_plane),
        };
        let driver = wireguard::Driver::new(settings, parts).map_err(StartupError::Socket)?;
        tasks.spawn("mobility", driver.run(stop));
        Ok(())
    }

    /// Starts to take log-ins of devices, if users may enrol them.
    pub(super) fn take_logins(
        &self,
        server: String,
        (tasks, stop): (&mut Tasks, Stop),
    ) -> Option<Arc<Enrolment>> {
        if self.mobility.enrol != EnrolBy::Radius {
            return None;
        }
        let settings = enrolment::Settings {
            deadline: self.config.radius.timeout.min(LONGEST_LOGIN),
            held: self.config.limits.table.pending,
            gateway: enrolment::Gateway {
                public_key: self.key.public(),
                endpoint: self.config.mobility_endpoint(self.mobility),
                routes: self.config.network.routes.clone(),
                dns_suffix: self.config.network.dns_suffix.clone(),
                keepalive: self.mobility.keepalive.unwrap_or_default(),
            },
        };
        let (admission, peers) = (Arc::clone(self.admission), Arc::clone(self.peers));
        let (logins, jobs) = Logins::new(settings, admission, peers);
        tasks.spawn("log-ins of devices", Arc::clone(&logins).run(jobs, stop));
        Some(Arc::new(Enrolment::new(logins, server)))
    }
}
