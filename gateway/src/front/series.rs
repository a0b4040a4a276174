//! The counters of the front door, resolved once.

use metrics::Counter;
use rustls::ProtocolVersion;

use crate::observe::labels::{AcceptFailure, HttpFailure, ProxyFailure, TlsFailure};

/// Why a connection ended without an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Failure {
    Proxy(ProxyFailure),
    Tls(TlsFailure),
    Http(HttpFailure),
}

#[derive(Debug)]
pub(super) struct Series {
    pub(super) accepts: Counter,
    accept_errors: Vec<(AcceptFailure, Counter)>,
    responses: Vec<(u16, Counter)>,
    probes: Vec<(u16, Counter)>,
    tls12: Counter,
    tls13: Counter,
    handshake_failures: Vec<(TlsFailure, Counter)>,
    setup_failures: Vec<(Failure, Counter)>,
}

impl Series {
    pub(super) fn new() -> Self {
        let code = |code: u16| {
            (
                code,
                metrics::counter!("causeway_front_responses_total", "code" => code.to_string()),
            )
        };
        let probe = |code: u16| {
            let text = code.to_string();
            let counter =
                metrics::counter!("causeway_health_probes_total", "path" => "sra", "code" => text);
            (code, counter)
        };
        let handshake = |version: &'static str, result: &'static str| metrics::counter!("causeway_tls_handshakes_total", "version" => version, "result" => result);
        let failure = |failure: Failure| {
            let (stage, reason) = match failure {
                Failure::Proxy(reason) => ("proxy", reason.as_str()),
                Failure::Tls(reason) => ("tls", reason.as_str()),
                Failure::Http(reason) => ("http", reason.as_str()),
            };
            let counter = metrics::counter!(
                "causeway_session_setup_failures_total",
                "protocol" => "sstp", "stage" => stage, "reason" => reason
            );
            (failure, counter)
        };
        let accept = |reason: AcceptFailure| {
            let word = reason.as_str();
            (
                reason,
                metrics::counter!("causeway_front_accept_errors_total", "reason" => word),
            )
        };
        let proxies = ProxyFailure::ALL.iter().copied().map(Failure::Proxy);
        let handshakes = TlsFailure::ALL.iter().copied().map(Failure::Tls);
        let heads = HttpFailure::ALL.iter().copied().map(Failure::Http);
        Self {
            accepts: metrics::counter!("causeway_front_accepts_total"),
            accept_errors: AcceptFailure::ALL.iter().copied().map(accept).collect(),
            responses: [
                200, 202, 303, 400, 401, 403, 404, 405, 408, 409, 413, 415, 431, 503, 505,
            ]
            .map(code)
            .into(),
            probes: [200, 401, 503].map(probe).into(),
            tls12: handshake("1.2", "ok"),
            tls13: handshake("1.3", "ok"),
            handshake_failures: TlsFailure::ALL
                .iter()
                .map(|&failure| (failure, handshake("none", failure.as_str())))
                .collect(),
            setup_failures: proxies
                .chain(handshakes)
                .chain(heads)
                .map(failure)
                .collect(),
        }
    }

    pub(super) fn accept_error(&self, failure: AcceptFailure) {
        count(&self.accept_errors, failure);
    }

    pub(super) fn response(&self, code: u16) {
        count(&self.responses, code);
    }

    pub(super) fn probe(&self, code: u16) {
        count(&self.probes, code);
    }

    pub(super) fn handshake(&self, version: Option<ProtocolVersion>) {
        if version == Some(ProtocolVersion::TLSv1_2) {
            self.tls12.increment(1);
        } else {
            self.tls13.increment(1);
        }
    }

    pub(super) fn failure(&self, failure: Failure) {
        count(&self.setup_failures, failure);
        if let Failure::Tls(reason) = failure {
            count(&self.handshake_failures, reason);
        }
    }
}

fn count<K: Copy + PartialEq>(counters: &[(K, Counter)], key: K) {
    if let Some((_, counter)) = counters.iter().find(|(other, _)| *other == key) {
        counter.increment(1);
    }
}
