//! The counters of one server, resolved once.

use std::time::Duration;

use causeway_proto::radius::{Code, Discard, RadiusResult};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// The label `kind` of everything here.
const KIND: &str = "auth";

/// The counters of one server.
pub(super) struct Meters {
    pub(super) requests: Counter,
    pub(super) retransmissions: Counter,
    pub(super) unsigned: Counter,
    pub(super) up: Gauge,
    pub(super) pending: Gauge,
    results: Vec<(RadiusResult, Counter, Histogram)>,
    dropped: Vec<(Discard, Counter)>,
    late: [Counter; 3],
}

impl Meters {
    pub(super) fn new(server: &str) -> Self {
        let server = server.to_owned();
        let late = |code: &'static str| counter!("causeway_radius_late_replies_total", "server" => server.clone(), "code" => code);
        Self {
            requests: counter!("causeway_radius_requests_total", "server" => server.clone(), "kind" => KIND),
            retransmissions: counter!("causeway_radius_retransmissions_total", "server" => server.clone(), "kind" => KIND),
            unsigned: counter!("causeway_radius_unsigned_replies_total", "server" => server.clone()),
            up: gauge!("causeway_radius_server_up", "server" => server.clone(), "kind" => KIND),
            pending: gauge!("causeway_radius_pending_requests", "server" => server.clone()),
            results: RadiusResult::ALL
                .map(|result| {
                    let word = result.as_str();
                    (
                        result,
                        counter!("causeway_radius_results_total", "server" => server.clone(), "kind" => KIND, "result" => word),
                        histogram!("causeway_radius_response_seconds", "server" => server.clone(), "kind" => KIND, "result" => word),
                    )
                })
                .into(),
            dropped: Discard::ALL
                .map(|why| {
                    let counter = counter!("causeway_radius_replies_dropped_total", "server" => server.clone(), "reason" => why.as_str());
                    (why, counter)
                })
                .into(),
            late: [late("accept"), late("reject"), late("challenge")],
        }
    }

    /// Counts how a request ended; the time only when the server answered.
    pub(super) fn result(&self, result: RadiusResult, answered: Option<Duration>) {
        for (other, counter, seconds) in &self.results {
            if *other == result {
                counter.increment(1);
                if let Some(elapsed) = answered {
                    seconds.record(elapsed);
                }
            }
        }
    }

    /// Counts a reply that was thrown away.
    pub(super) fn dropped(&self, why: Discard) {
        for (other, counter) in &self.dropped {
            if *other == why {
                counter.increment(1);
            }
        }
    }

    /// Counts an answer that came when nobody waited any more.
    pub(super) fn late(&self, code: Code) {
        let [accept, reject, challenge] = &self.late;
        match code {
            Code::ACCESS_ACCEPT => accept.increment(1),
            Code::ACCESS_REJECT => reject.increment(1),
            _ => challenge.increment(1),
        }
    }
}
