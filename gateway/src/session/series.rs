//! The series of sessions, resolved once.

use std::time::Duration;

use causeway_proto::aaa::TunnelKind;
use causeway_proto::terminate::TerminateCause;
use metrics::{Counter, Gauge, Histogram};

use super::record::State;

/// One set of handles for each tunnel.
pub(super) struct Series {
    sstp: Tunnel,
    ikev2: Tunnel,
    mobility: Tunnel,
}

struct Tunnel {
    authenticating: Gauge,
    up: Gauge,
    unreachable: Gauge,
    limit: Gauge,
    starts: Counter,
    /// In the order of [`TerminateCause::ALL`].
    ends: Vec<(TerminateCause, Counter)>,
    duration: Histogram,
}

impl Series {
    pub(super) fn new(limit: usize) -> Self {
        let series = Self {
            sstp: Tunnel::new(TunnelKind::Sstp),
            ikev2: Tunnel::new(TunnelKind::Ikev2),
            mobility: Tunnel::new(TunnelKind::Mobility),
        };
        series.limit(limit);
        series
    }

    pub(super) fn limit(&self, limit: usize) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge is a float; far below 2^52"
        )]
        let limit = limit as f64;
        for tunnel in TunnelKind::ALL {
            self.of(tunnel).limit.set(limit);
        }
    }

    pub(super) fn entered(&self, tunnel: TunnelKind) {
        self.of(tunnel).authenticating.increment(1.0);
    }

    pub(super) fn came_up(&self, tunnel: TunnelKind) {
        let tunnel = self.of(tunnel);
        tunnel.authenticating.decrement(1.0);
        tunnel.up.increment(1.0);
        tunnel.starts.increment(1);
    }

    /// A session that has begun is in another state.
    pub(super) fn moved(&self, tunnel: TunnelKind, from: State, to: State) {
        let tunnel = self.of(tunnel);
        tunnel.gauge(from).decrement(1.0);
        tunnel.gauge(to).increment(1.0);
    }

    pub(super) fn left(
        &self,
        tunnel: TunnelKind,
        state: State,
        cause: TerminateCause,
        lasted: Duration,
    ) {
        let tunnel = self.of(tunnel);
        tunnel.gauge(state).decrement(1.0);
        if state.is_live() {
            tunnel.duration.record(lasted.as_secs_f64());
            for (_, counter) in tunnel.ends.iter().filter(|(of, _)| *of == cause) {
                counter.increment(1);
            }
        }
    }

    const fn of(&self, tunnel: TunnelKind) -> &Tunnel {
        match tunnel {
            TunnelKind::Sstp => &self.sstp,
            TunnelKind::Ikev2 => &self.ikev2,
            TunnelKind::Mobility => &self.mobility,
        }
    }
}

impl std::fmt::Debug for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Series")
    }
}

impl Tunnel {
    fn new(kind: TunnelKind) -> Self {
        let protocol = kind.as_str();
        let sessions = |state: State| metrics::gauge!("causeway_sessions", "protocol" => protocol, "state" => state.as_str());
        let ends = TerminateCause::ALL.map(|cause| {
            let word = cause.as_str();
            let counter = metrics::counter!(
                "causeway_session_ends_total", "protocol" => protocol, "cause" => word
            );
            (cause, counter)
        });
        Self {
            authenticating: sessions(State::Authenticating),
            up: sessions(State::Up),
            unreachable: sessions(State::Unreachable),
            limit: metrics::gauge!("causeway_session_limit", "protocol" => protocol),
            starts: metrics::counter!("causeway_session_starts_total", "protocol" => protocol),
            ends: ends.into(),
            duration: metrics::histogram!(
                "causeway_session_duration_seconds", "protocol" => protocol
            ),
        }
    }

    const fn gauge(&self, state: State) -> &Gauge {
        match state {
            State::Authenticating => &self.authenticating,
            State::Up => &self.up,
            State::Unreachable => &self.unreachable,
        }
    }
}
