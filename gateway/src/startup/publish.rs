//! Once a second: the plain numbers of the packet path become metrics, and the health of the parts is looked at.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use metrics::Counter as Metric;

use super::desk::Desk;
use crate::auth::{AuthHealth, Authenticator};
use crate::config::Config;
use crate::control::protocol::{Response, to_json};
use crate::dataplane::{Counter, Counters, DataPlane, Tally};
use crate::front::tls::Certificates;
use crate::observe::exporter::StatusPage;
use crate::observe::health::{Component, Health, Status};
use crate::observe::metrics::Publish;
use crate::session::AddressPool;

/// One direction's handles.
struct Direction {
    packets: Metric,
    octets: Metric,
    tun_packets: Metric,
    tun_errors: Metric,
    drops: Vec<(Counter, Metric)>,
}

impl Direction {
    fn new(direction: &'static str, operation: &'static str) -> Self {
        let drops = Counter::DROPS.iter().map(|drop| {
            let metric = metrics::counter!("causeway_packets_dropped_total",
                "protocol" => "sstp", "direction" => direction, "reason" => drop.as_str());
            (*drop, metric)
        });
        Self {
            packets: metrics::counter!("causeway_packets_total", "protocol" => "sstp", "direction" => direction),
            octets: metrics::counter!("causeway_bytes_total", "protocol" => "sstp", "direction" => direction),
            tun_packets: metrics::counter!("causeway_tun_packets_total", "queue" => "0", "direction" => direction),
            tun_errors: metrics::counter!("causeway_tun_errors_total", "operation" => operation),
            drops: drops.collect(),
        }
    }

    fn publish(&self, tally: &Tally) {
        self.packets.absolute(tally.get(Counter::Packets));
        self.octets.absolute(tally.get(Counter::Octets));
        self.tun_packets.absolute(tally.get(Counter::TunPackets));
        self.tun_errors.absolute(tally.get(Counter::TunErrors));
        for (drop, metric) in &self.drops {
            metric.absolute(tally.get(*drop));
        }
    }
}

/// Publishes the counters of the packet path.
pub(super) fn packet_path(data_plane: Arc<DataPlane>) -> Publish {
    // "rx" is from the client: those packets are written to the TUN.
    let (up, down) = (Direction::new("rx", "write"), Direction::new("tx", "read"));
    let reads = metrics::counter!("causeway_tun_reads_total", "queue" => "0");
    Box::new(move || {
        let Counters {
            up: from_clients,
            down: to_clients,
        } = data_plane.counters();
        up.publish(&from_clients);
        down.publish(&to_clients);
        reads.absolute(to_clients.get(Counter::TunReads));
    })
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
