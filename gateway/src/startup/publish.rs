//! Once a second: the plain numbers of the packet path become metrics, and the health of the parts is looked at.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::desk::Desk;
use crate::auth::{AuthHealth, Authenticator};
use crate::config::Config;
use crate::control::protocol::{Response, to_json};
use crate::dataplane::{DataPlane, series};
use crate::front::tls::Certificates;
use crate::observe::exporter::StatusPage;
use crate::observe::health::{Component, Health, Status};
use crate::observe::metrics::Publish;
use crate::session::AddressPool;

/// Publishes the counters of the packet path.
pub(super) fn packet_path(data_plane: Arc<DataPlane>) -> Publish {
    Box::new(series::publisher(move || data_plane.counters()))
}

/// What the health of the gateway depends on.
pub(super) struct Parts {
    pub(super) health: Arc<Health>,
    pub(super) data_plane: Arc<DataPlane>,
    pub(super) pool: Arc<AddressPool>,
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) pool_min_free: u64,
    pub(super) cert_min: Duration,
}

impl Parts {
    /// Looks at each part.
    pub(super) fn look(&self) {
        self.health.set(Component::Tun, self.tun());
        self.health.set(Component::Pool, self.pool());
        self.health.set(Component::Radius, self.radius());
        self.health.set(Component::Certificate, self.certificate());
        self.health.publish();
    }

    fn tun(&self) -> Status {
        if self.data_plane.tun_healthy() {
            Status::Ok
        } else {
            Status::Down("the TUN device is gone".to_owned())
        }
    }

    fn pool(&self) -> Status {
        let free = self.pool.usage().free;
        if free == 0 {
            Status::Down("no free address".to_owned())
        } else if free < self.pool_min_free {
            Status::Down(format!(
                "{free} addresses free, fewer than health.pool_min_free"
            ))
        } else {
            Status::Ok
        }
    }

    fn radius(&self) -> Status {
        match self.authenticator.health() {
            AuthHealth::Up => Status::Ok,
            AuthHealth::Degraded { down } => {
                Status::Warn(format!("no answer from {}", down.join(", ")))
            }
            AuthHealth::Down { since } => Status::Down(format!(
                "no server has answered for {} s",
                since.elapsed().as_secs()
            )),
        }
    }

    fn certificate(&self) -> Status {
        self.certificates
            .current()
            .status(SystemTime::now(), self.cert_min)
    }
}

/// Looks at the parts now and from then on once a second.
pub(super) fn health(parts: Parts) -> Publish {
    parts.look();
    Box::new(move || parts.look())
}

/// How long before its end a certificate counts as ended.
pub(super) fn cert_min(config: &Config) -> Duration {
    Duration::from_secs(u64::from(config.health.cert_min_days) * 24 * 3600)
}

/// Shows the state of the gateway on the admin listener.
pub(super) fn status_page(desk: Arc<Desk>, page: StatusPage) -> Publish {
    Box::new(move || {
        let status = Response::Status(Box::new(desk.status()));
        page.publish(to_json(&status).to_string());
    })
}
