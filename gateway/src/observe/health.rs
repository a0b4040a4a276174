//! Whether the gateway can take a log-in: each component's state, and the verdict that probes are answered with.
//!
//! Rooms write with [`Health::set`]; the probe reads [`Health::verdict`], which is a few atomic loads and asks nobody.
//! A component that goes down is forgiven for its grace (RADIUS: longer than one MFA prompt), and once it has made
//! the probe fail it keeps it failing for `flap_hold`, so that a flapping server does not flip DNS answers.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use metrics::Gauge;
use tracing::{info, warn};

/// A part of the gateway that can make the probe fail.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Component {
    /// The SSTP listener.
    Sstp,
    /// The TUN device.
    Tun,
    /// The RADIUS servers, or the embedded user file.
    Radius,
    /// The address pools.
    Pool,
    /// The certificate.
    Certificate,
    /// The Mobility tunnel.
    Mobility,
    /// The drain: down while the gateway drains.
    Drain,
}

/// How many components there are.
const COUNT: usize = 7;

impl Component {
    /// Every component, in the order in which the verdict looks at them.
    pub const ALL: [Self; COUNT] = [
        Self::Drain,
        Self::Sstp,
        Self::Tun,
        Self::Radius,
        Self::Pool,
        Self::Certificate,
        Self::Mobility,
    ];

    /// Returns the word for configuration, label and log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sstp => "sstp",
            Self::Tun => "tun",
            Self::Radius => "radius",
            Self::Pool => "pool",
            Self::Certificate => "certificate",
            Self::Mobility => "mobility",
            Self::Drain => "drain",
        }
    }

    const fn slot(self) -> usize {
        match self {
            Self::Drain => 0,
            Self::Sstp => 1,
            Self::Tun => 2,
            Self::Radius => 3,
            Self::Pool => 4,
            Self::Certificate => 5,
            Self::Mobility => 6,
        }
    }
}

/// The state of a component, with a sentence for the administrator when it is not well.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Status {
    /// It works.
    Ok,
    /// It works, and somebody should look.
    Warn(String),
    /// It does not work.
    Down(String),
}

impl Status {
    /// Returns `ok`, `warn` or `down`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn(_) => "warn",
            Self::Down(_) => "down",
        }
    }

    /// Returns the sentence, empty when all is well.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Ok => "",
            Self::Warn(reason) | Self::Down(reason) => reason,
        }
    }
}

/// What a probe is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// A client that comes now can log in.
    Healthy,
    /// It cannot, because of this component.
    Unhealthy(Component),
}

/// Which components count, and how patiently.
#[derive(Clone, Debug)]
pub struct Config {
    /// The components that make the probe fail; [`Component::Drain`] always does.
    pub require: Vec<Component>,
    /// How long RADIUS may be down before the probe fails.
    pub radius_grace: Duration,
    /// How long the probe keeps failing at least.
    pub flap_hold: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            require: vec![
                Component::Sstp,
                Component::Tun,
                Component::Radius,
                Component::Pool,
                Component::Certificate,
            ],
            radius_grace: Duration::from_secs(90),
            flap_hold: Duration::from_secs(30),
        }
    }
}

/// The health of the gateway; shared, written by the rooms.
#[derive(Debug)]
pub struct Health {
    config: Config,
    epoch: Instant,
    cells: [Cell; COUNT],
    states: Mutex<States>,
    gauges: [Gauge; COUNT],
}

/// What the verdict needs of one component, in milliseconds since the epoch.
#[derive(Debug)]
struct Cell {
    /// From when the component makes the probe fail; `NEVER` while it is well, 0 before it was first set.
    bad_from: AtomicU64,
    /// Until when a component that is well again still does.
    held_until: AtomicU64,
}

#[derive(Debug)]
struct States {
    components: [(Status, Instant); COUNT],
    logged: Verdict,
}

const NEVER: u64 = u64::MAX;

impl Health {
    /// Makes the health of a gateway that starts: every component is down until it is set.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let epoch = Instant::now();
        let starting = || (Status::Down("starting".to_owned()), epoch);
        let health = Self {
            config,
            epoch,
            cells: std::array::from_fn(|_| Cell {
                bad_from: AtomicU64::new(0),
                held_until: AtomicU64::new(0),
            }),
            states: Mutex::new(States {
                components: std::array::from_fn(|_| starting()),
                logged: Verdict::Unhealthy(Component::Sstp),
            }),
            gauges: Component::ALL.map(
                |component| metrics::gauge!("causeway_health_status", "component" => component.as_str()),
            ),
        };
        health.set_at(epoch, Component::Drain, Status::Ok);
        health
    }

    /// Writes the state of a component.
    pub fn set(&self, component: Component, status: Status) {
        self.set_at(Instant::now(), component, status);
    }

    /// Writes the state that a component has from `now` on.
    pub fn set_at(&self, now: Instant, component: Component, status: Status) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = states.components.get_mut(component.slot()) else {
            return;
        };
        let cell = self.cell(component);
        let bad_from = cell.bad_from.load(Ordering::Relaxed);
        let ms = self.ms(now);
        if matches!(status, Status::Down(_)) {
            if bad_from == NEVER {
                let grace = if component == Component::Radius {
                    self.config.radius_grace
                } else {
                    Duration::ZERO
                };
                // 0 means "not yet set", so the first millisecond counts as the second.
                cell.bad_from
                    .store(ms.saturating_add(millis(grace)).max(1), Ordering::Relaxed);
            }
        } else {
            // An operator who cancels a drain wants clients at once.
            if bad_from != 0 && bad_from <= ms && component != Component::Drain {
                let until = bad_from.saturating_add(millis(self.config.flap_hold));
                cell.held_until.store(until, Ordering::Relaxed);
            }
            cell.bad_from.store(NEVER, Ordering::Relaxed);
        }
        if state.0.as_str() != status.as_str() {
            state.1 = now;
        }
        state.0 = status;
        drop(states);
        self.publish_at(now);
    }

    /// Answers the probe; never blocks.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict_at(Instant::now())
    }

    /// Answers a probe that comes at `now`.
    #[must_use]
    pub fn verdict_at(&self, now: Instant) -> Verdict {
        let ms = self.ms(now);
        Component::ALL
            .into_iter()
            .find(|&component| self.is_required(component) && self.is_bad(component, ms))
            .map_or(Verdict::Healthy, Verdict::Unhealthy)
    }

    /// Returns whether a log-in can be carried out at all: the device and the pool are there.
    ///
    /// RADIUS is not asked here: a log-in may be what finds out that it is back.
    #[must_use]
    pub fn can_serve(&self) -> bool {
        [Component::Tun, Component::Pool]
            .into_iter()
            .all(|component| self.cell(component).bad_from.load(Ordering::Relaxed) == NEVER)
    }

    /// Returns each component's state and since when it has it.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(Component, Status, Instant)> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        Component::ALL
            .into_iter()
            .filter_map(|component| {
                let (status, since) = states.components.get(component.slot())?;
                Some((component, status.clone(), *since))
            })
            .collect()
    }

    /// Brings the metrics up to date and says once when the verdict has changed; called once a second.
    pub fn publish(&self) {
        self.publish_at(Instant::now());
    }

    fn publish_at(&self, now: Instant) {
        let ms = self.ms(now);
        for (component, gauge) in Component::ALL.into_iter().zip(&self.gauges) {
            let fails = self.is_required(component) && self.is_bad(component, ms);
            gauge.set(if fails { 0.0 } else { 1.0 });
        }
        let verdict = self.verdict_at(now);
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if states.logged == verdict {
            return;
        }
        states.logged = verdict;
        let Verdict::Unhealthy(component) = verdict else {
            info!(event = "probe_state", "the probe succeeds");
            return;
        };
        let reason = states
            .components
            .get(component.slot())
            .map_or_else(String::new, |(status, _)| status.reason().to_owned());
        drop(states);
        if component == Component::Drain {
            info!(
                event = "probe_state",
                component = component.as_str(),
                "the probe fails: the gateway drains"
            );
        } else if reason != "starting" {
            warn!(
                event = "probe_state",
                component = component.as_str(),
                reason,
                "the probe fails"
            );
        }
    }

    fn is_required(&self, component: Component) -> bool {
        component == Component::Drain || self.config.require.contains(&component)
    }

    fn is_bad(&self, component: Component, ms: u64) -> bool {
        let cell = self.cell(component);
        ms >= cell.bad_from.load(Ordering::Relaxed) || ms < cell.held_until.load(Ordering::Relaxed)
    }

    fn cell(&self, component: Component) -> &Cell {
        let [drain, sstp, tun, radius, pool, certificate, mobility] = &self.cells;
        match component {
            Component::Drain => drain,
            Component::Sstp => sstp,
            Component::Tun => tun,
            Component::Radius => radius,
            Component::Pool => pool,
            Component::Certificate => certificate,
            Component::Mobility => mobility,
        }
    }

    fn ms(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.epoch))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(now: Instant) -> Health {
        let health = Health::new(Config::default());
        for component in Component::ALL {
            health.set_at(now, component, Status::Ok);
        }
        health
    }

    fn down() -> Status {
        Status::Down("gone".to_owned())
    }

    #[test]
    fn a_gateway_that_starts_is_healthy_once_all_it_needs_is_there() {
        let health = Health::new(Config::default());
        let now = Instant::now();
        assert_eq!(health.verdict_at(now), Verdict::Unhealthy(Component::Sstp));
        for component in [
            Component::Sstp,
            Component::Tun,
            Component::Radius,
            Component::Pool,
        ] {
            health.set_at(now, component, Status::Ok);
        }
        assert_eq!(
            health.verdict_at(now),
            Verdict::Unhealthy(Component::Certificate)
        );
        health.set_at(
            now,
            Component::Certificate,
            Status::Warn("1 day left".to_owned()),
        );
        assert_eq!(health.verdict_at(now), Verdict::Healthy);
        assert!(health.can_serve());
    }

    #[test]
    fn the_probe_keeps_failing_for_the_hold() {
        let t0 = Instant::now() + Duration::from_secs(1);
        let health = started(t0);
        health.set_at(t0, Component::Tun, down());
        assert_eq!(health.verdict_at(t0), Verdict::Unhealthy(Component::Tun));
        assert!(!health.can_serve());
        health.set_at(t0 + Duration::from_secs(5), Component::Tun, Status::Ok);
        assert!(health.can_serve());
        assert_eq!(
            health.verdict_at(t0 + Duration::from_secs(29)),
            Verdict::Unhealthy(Component::Tun)
        );
        assert_eq!(
            health.verdict_at(t0 + Duration::from_secs(30)),
            Verdict::Healthy
        );
    }

    #[test]
    fn radius_is_forgiven_for_its_grace() {
        let t0 = Instant::now() + Duration::from_secs(1);
        let health = started(t0);
        health.set_at(t0, Component::Radius, down());
        health.set_at(t0 + Duration::from_secs(60), Component::Radius, down());
        assert_eq!(
            health.verdict_at(t0 + Duration::from_secs(89)),
            Verdict::Healthy
        );
        assert_eq!(
            health.verdict_at(t0 + Duration::from_secs(90)),
            Verdict::Unhealthy(Component::Radius)
        );
        health.set_at(t0 + Duration::from_secs(91), Component::Radius, Status::Ok);
        assert_eq!(
            health.verdict_at(t0 + Duration::from_secs(121)),
            Verdict::Healthy
        );
    }

    #[test]
    fn a_short_fault_inside_the_grace_leaves_no_trace() {
        let t0 = Instant::now() + Duration::from_secs(1);
        let health = started(t0);
        health.set_at(t0, Component::Radius, down());
        health.set_at(t0 + Duration::from_secs(10), Component::Radius, Status::Ok);
        assert_eq!(
            health.verdict_at(t0 + Duration::from_secs(10)),
            Verdict::Healthy
        );
    }

    #[test]
    fn a_cancelled_drain_is_over_at_once() {
        let t0 = Instant::now() + Duration::from_secs(1);
        let health = started(t0);
        health.set_at(t0, Component::Drain, Status::Down("draining".to_owned()));
        assert_eq!(health.verdict_at(t0), Verdict::Unhealthy(Component::Drain));
        health.set_at(t0 + Duration::from_secs(1), Component::Drain, Status::Ok);
        assert_eq!(
            health.verdict_at(t0 + Duration::from_secs(1)),
            Verdict::Healthy
        );
    }

    #[test]
    fn a_component_that_is_not_required_lets_the_probe_succeed() {
        let t0 = Instant::now() + Duration::from_secs(1);
        let health = Health::new(Config {
            require: vec![Component::Sstp],
            ..Config::default()
        });
        health.set_at(t0, Component::Sstp, Status::Ok);
        health.set_at(t0, Component::Radius, down());
        assert_eq!(
            health.verdict_at(t0 + Duration::from_secs(600)),
            Verdict::Healthy
        );
    }
}
