//! The one declaration of every metric: name, kind, help, labels and all their values.
//!
//! [`install`] describes each metric and brings every series into being at zero, so `rate()` and alerts work from the
//! first scrape. Rooms then resolve handles by name (`metrics::counter!("causeway_…", "label" => "value")`); a series
//! that is not in [`TABLE`] is a bug that a test finds. Names of users, addresses and identifiers are never labels.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::task::Stop;

mod drops;
mod table;

pub use table::TABLE;

/// One metric of the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name in the exposition format.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Its unit, when it has one.
    pub unit: Option<Unit>,
    /// One sentence for the reader of a dashboard.
    pub help: &'static str,
    /// The labels and their values.
    pub labels: Labels,
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Goes up only.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations in the buckets whose upper bounds these are.
    Histogram(&'static [f64]),
}

impl Kind {
    /// Returns the word of the `# TYPE` line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// The labels of a metric, and with them its series.
#[derive(Clone, Copy, Debug)]
pub enum Labels {
    /// One series for each combination of values.
    Every(&'static [(&'static str, Values)]),
    /// One series for each row; the first list names the labels.
    Rows(&'static [&'static str], fn() -> Vec<Vec<&'static str>>),
    /// A series for each served certificate (`use`, `name`), made when the certificate is known.
    Certificates,
}

/// Where the values of a label come from.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// These words.
    Words(&'static [&'static str]),
    /// A closed enum of a lower room.
    Listed(fn() -> Vec<&'static str>),
    /// The pools of the configuration.
    Pools,
    /// The RADIUS servers of the configuration.
    Servers,
    /// The queues of the TUN device, by number.
    Queues,
    /// The one value that this build or place has.
    Build(fn(&Names) -> String),
}

/// The names that only the configuration knows.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The address pools.
    pub pools: Vec<String>,
    /// The RADIUS servers; empty with the embedded user file.
    pub servers: Vec<String>,
    /// How many queues the TUN device has.
    pub queues: usize,
    /// Buckets for the waiting times of log-ins, in seconds; empty for the defaults.
    pub auth_buckets: Vec<f64>,
}

/// The metrics that need the names of the configuration, and the renderer of them all.
#[derive(Clone, Debug)]
pub struct Metrics {
    handle: PrometheusHandle,
}

/// Why the metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// A histogram's buckets are empty or the process already has a recorder.
    #[error("the metrics cannot be set up")]
    Build(#[from] BuildError),
    /// The process already has another recorder.
    #[error("the process already has a metrics recorder")]
    Taken,
}

/// Makes the recorder of this process and every series; call it before any room is built.
///
/// A second call in the same process (tests run several gateways in one) adds the series of its own names.
pub fn install(names: &Names) -> Result<Metrics, MetricsError> {
    static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    let handle = if let Some(handle) = installed.as_ref() {
        handle.clone()
    } else {
        let recorder = builder(names)?.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|_taken| MetricsError::Taken)?;
        installed.insert(handle).clone()
    };
    drop(installed);
    metrics::with_recorder(|recorder| bring_into_being(recorder, names));
    Ok(Metrics { handle })
}

fn builder(names: &Names) -> Result<PrometheusBuilder, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in TABLE {
        if let Kind::Histogram(buckets) = metric.kind {
            let auth = table::AUTH_SECONDS.as_ptr() == buckets.as_ptr();
            let buckets = if auth && !names.auth_buckets.is_empty() {
                names.auth_buckets.as_slice()
            } else {
                buckets
            };
            builder =
                builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)?;
        }
    }
    Ok(builder)
}

/// Describes every metric and registers every series.
fn bring_into_being(recorder: &dyn Recorder, names: &Names) {
    const METADATA: Metadata<'static> = Metadata::new("causeway", Level::INFO, None);
    for metric in TABLE {
        let name = KeyName::from_const_str(metric.name);
        match metric.kind {
            Kind::Counter => recorder.describe_counter(name, metric.unit, metric.help.into()),
            Kind::Gauge => recorder.describe_gauge(name, metric.unit, metric.help.into()),
            Kind::Histogram(_) => {
                recorder.describe_histogram(name, metric.unit, metric.help.into());
            }
        }
        for labels in metric.series(names) {
            let labels: Vec<Label> = labels
                .into_iter()
                .map(|(name, value)| Label::new(name, value))
                .collect();
            let key = Key::from_parts(metric.name, labels);
            match metric.kind {
                // Resolving a handle registers its series.
                Kind::Counter => drop(recorder.register_counter(&key, &METADATA)),
                Kind::Gauge => drop(recorder.register_gauge(&key, &METADATA)),
                Kind::Histogram(_) => drop(recorder.register_histogram(&key, &METADATA)),
            }
        }
    }
}

impl Metric {
    /// Returns the labels of each series that exists from the start.
    #[must_use]
    pub fn series(&self, names: &Names) -> Vec<Vec<(&'static str, String)>> {
        match self.labels {
            Labels::Every(labels) => {
                let mut series = vec![Vec::new()];
                for (label, values) in labels {
                    let values = values.list(names);
                    series = series
                        .iter()
                        .flat_map(|row| values.iter().map(|value| with(row, label, value.clone())))
                        .collect();
                }
                series
            }
            Labels::Rows(labels, rows) => rows()
                .into_iter()
                .map(|row| {
                    labels
                        .iter()
                        .copied()
                        .zip(row.into_iter().map(str::to_owned))
                        .collect()
                })
                .collect(),
            Labels::Certificates => Vec::new(),
        }
    }

    /// Returns the names of the labels.
    #[must_use]
    pub fn label_names(&self) -> Vec<&'static str> {
        match self.labels {
            Labels::Every(labels) => labels.iter().map(|(name, _)| *name).collect(),
            Labels::Rows(labels, _) => labels.to_vec(),
            Labels::Certificates => vec!["use", "name"],
        }
    }
}

fn with(
    row: &[(&'static str, String)],
    label: &'static str,
    value: String,
) -> Vec<(&'static str, String)> {
    let mut row = row.to_vec();
    row.push((label, value));
    row
}

impl Values {
    fn list(self, names: &Names) -> Vec<String> {
        match self {
            Self::Words(words) => words.iter().map(|&word| word.to_owned()).collect(),
            Self::Listed(list) => list().into_iter().map(str::to_owned).collect(),
            Self::Pools => names.pools.clone(),
            Self::Servers => names.servers.clone(),
            Self::Queues => (0..names.queues).map(|queue| queue.to_string()).collect(),
            Self::Build(value) => vec![value(names)],
        }
    }
}

impl Metrics {
    /// Returns all metrics in the text exposition format.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Moves what histograms have collected into their buckets, so that it does not pile up between scrapes.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// What a room does once a second: moves its plain counters into its metric handles.
pub type Publish = Box<dyn FnMut() + Send>;

/// Calls each hook once a second until the stop.
pub async fn publish_every_second(metrics: Metrics, hooks: Vec<Publish>, stop: Stop) {
    publish_every(Duration::from_secs(1), metrics, hooks, stop).await;
}

async fn publish_every(
    period: Duration,
    metrics: Metrics,
    mut hooks: Vec<Publish>,
    mut stop: Stop,
) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.stopped() => return,
            _ = ticks.tick() => {}
        }
        for hook in &mut hooks {
            hook();
        }
        metrics.upkeep();
    }
}

/// Writes down the moment at which the gateway became ready, which build it is, and that its configuration is in force.
pub fn ready() {
    reloaded(true);
    metrics::gauge!("causeway_start_time_seconds").set(unix_seconds(SystemTime::now()));
    metrics::gauge!("causeway_build_info", table::build_labels()).set(1.0);
}

/// Writes down how a reload of the configuration went.
pub fn reloaded(applied: bool) {
    metrics::gauge!("causeway_config_last_reload_successful").set(f64::from(u8::from(applied)));
    if applied {
        metrics::gauge!("causeway_config_last_reload_success_timestamp_seconds")
            .set(unix_seconds(SystemTime::now()));
    }
}

/// Writes down until when the certificate served for a host name is valid.
pub fn certificate_expiry(name: &str, not_after: SystemTime) {
    metrics::gauge!("causeway_certificate_expiry_timestamp_seconds", "use" => "sstp", "name" => name.to_owned())
        .set(unix_seconds(not_after));
}

/// Writes down how far a drain has come: 0 serving, 1 draining, 2 drained; and the sessions that are still up.
pub fn drain(state: u8, remaining: usize) {
    metrics::gauge!("causeway_drain_state").set(f64::from(state));
    metrics::gauge!("causeway_drain_sessions_remaining")
        .set(f64::from(u32::try_from(remaining).unwrap_or(u32::MAX)));
}

#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floats; seconds fit without loss for longer than we care"
)]
fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs() as f64)
}

/// Returns the metrics as the table that the documentation shows.
#[must_use]
pub fn markdown() -> String {
    let mut text =
        String::from("| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n");
    for metric in TABLE {
        let labels: Vec<String> = metric
            .label_names()
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let labels = if labels.is_empty() {
            "–".to_owned()
        } else {
            labels.join(", ")
        };
        let (name, kind, help) = (metric.name, metric.kind.as_str(), metric.help);
        text.extend([format!("| `{name}` | {kind} | {labels} | {help} |\n")]);
    }
    text
}

/// A recorder of its own for a test, with every series of the table.
#[cfg(test)]
pub(crate) fn for_test(
    names: &Names,
) -> (metrics_exporter_prometheus::PrometheusRecorder, Metrics) {
    let recorder = builder(names).unwrap().build_recorder();
    bring_into_being(&recorder, names);
    let handle = recorder.handle();
    (recorder, Metrics { handle })
}

#[cfg(test)]
mod tests;
