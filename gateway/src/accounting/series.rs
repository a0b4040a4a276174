//! The series of accounting.

use std::time::Duration;

use causeway_proto::radius::{Discard, RadiusResult};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// The label `kind` of what logs-ins count too.
const KIND: &str = "acct";

/// The numbers of the queue.
pub(super) struct Queue {
    pub(super) records: Gauge,
    pub(super) journal_up: Gauge,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            records: gauge!("causeway_radius_accounting_queue_records"),
            journal_up: gauge!("causeway_radius_accounting_journal_up"),
        }
    }
}

/// Counts records that nobody will hear of.
pub(super) fn dropped(status: &'static str, records: u64) {
    counter!("causeway_radius_accounting_dropped_total", "status" => status).increment(records);
}

/// The counters of one server.
pub(super) struct Meters {
    pub(super) requests: Counter,
    pub(super) retransmissions: Counter,
    pub(super) up: Gauge,
    accepted: Counter,
    silent: Counter,
    unreachable: Counter,
    seconds: Histogram,
    server: String,
}

impl Meters {
    pub(super) fn new(server: &str) -> Self {
        let server = server.to_owned();
        let result = |result: RadiusResult| counter!("causeway_radius_results_total", "server" => server.clone(), "kind" => KIND, "result" => result.as_str());
        Self {
            requests: counter!("causeway_radius_requests_total", "server" => server.clone(), "kind" => KIND),
            retransmissions: counter!("causeway_radius_retransmissions_total", "server" => server.clone(), "kind" => KIND),
            up: gauge!("causeway_radius_server_up", "server" => server.clone(), "kind" => KIND),
            accepted: result(RadiusResult::Accept),
            silent: result(RadiusResult::ServerSilent),
            unreachable: result(RadiusResult::Unreachable),
            seconds: histogram!("causeway_radius_response_seconds", "server" => server.clone(), "kind" => KIND, "result" => RadiusResult::Accept.as_str()),
            server,
        }
    }

    pub(super) fn accepted(&self, elapsed: Duration) {
        self.accepted.increment(1);
        self.seconds.record(elapsed);
    }

    pub(super) fn unanswered(&self) {
        self.silent.increment(1);
    }

    pub(super) fn unreachable(&self) {
        self.unreachable.increment(1);
    }

    pub(super) fn discarded(&self, why: Discard) {
        counter!("causeway_radius_replies_dropped_total", "server" => self.server.clone(), "reason" => why.as_str()).increment(1);
    }
}
