//! `[metrics]`: what is counted how.

use serde::{Deserialize, Serialize};

use super::report::Report;

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    per_user_series: bool,
    buckets_auth: Vec<f64>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            per_user_series: false,
            buckets_auth: vec![
                0.05, 0.25, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0,
            ],
        }
    }
}

/// What is counted how.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// The upper bounds of the histograms of log-ins, in seconds, rising.
    pub buckets_auth: Vec<f64>,
}

pub(super) fn check(file: File, report: &mut Report) -> Metrics {
    let File {
        per_user_series: _,
        buckets_auth,
    } = file;
    let rising = buckets_auth.iter().is_sorted_by(|a, b| a < b);
    let sane = buckets_auth
        .iter()
        .all(|bound| bound.is_finite() && *bound > 0.0);
    if buckets_auth.is_empty() || !rising || !sane {
        report
            .error(
                "E0203",
                "metrics.buckets_auth",
                "not the bounds of a histogram",
            )
            .label("numbers above 0, each larger than the one before");
    }
    Metrics { buckets_auth }
}
