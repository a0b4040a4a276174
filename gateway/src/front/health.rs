//! The answer on the health path, from the cached verdict: nobody is asked while the probe waits.

use causeway_proto::sstp::http::StatusCode;

use crate::front::HealthyStatus;
use crate::observe::health::Verdict;

/// What a probe is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ProbeAnswer {
    /// 200, with nothing behind it.
    Ok,
    /// Another status.
    Status(StatusCode),
}

/// Turns the verdict into the answer; the reason is in the metrics and in `causeway status`, not on the wire.
pub(super) const fn probe_answer(verdict: Verdict, healthy: HealthyStatus) -> ProbeAnswer {
    match (verdict, healthy) {
        (Verdict::Healthy, HealthyStatus::Ok) => ProbeAnswer::Ok,
        (Verdict::Healthy, HealthyStatus::Unauthorized) => {
            ProbeAnswer::Status(StatusCode::Unauthorized)
        }
        (Verdict::Unhealthy(_), _) => ProbeAnswer::Status(StatusCode::ServiceUnavailable),
    }
}
