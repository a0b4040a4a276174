//! What becomes of handshake messages, counted.

use causeway_proto::wireguard::Discard;

/// Counts what became of handshake messages.
#[derive(Debug)]
pub(super) struct Results {
    ok: metrics::Counter,
    gave_up: metrics::Counter,
    discards: Vec<(Discard, metrics::Counter)>,
}

impl Results {
    pub(super) fn new() -> Self {
        let counter = |result: &'static str| metrics::counter!("causeway_mobility_handshakes_total", "result" => result);
        Self {
            ok: counter("ok"),
            gave_up: counter("gave_up"),
            discards: Discard::ALL
                .map(|discard| (discard, counter(result(discard))))
                .into(),
        }
    }

    pub(super) fn gave_up(&self) {
        self.gave_up.increment(1);
    }

    pub(super) fn done(&self) {
        self.ok.increment(1);
    }

    pub(super) fn count(&self, result: Result<(), Discard>) {
        let Err(discard) = result else { return };
        let counter = self.discards.iter().find(|(one, _)| *one == discard);
        if let Some((_, counter)) = counter {
            counter.increment(1);
        }
    }
}

/// Returns the label of a discard, as the documentation of the metrics has it.
const fn result(discard: Discard) -> &'static str {
    match discard {
        Discard::Cookie => "cookie_sent",
        Discard::Replay => "replayed_timestamp",
        Discard::Malformed
        | Discard::BadMac1
        | Discard::RateLimited
        | Discard::Forged
        | Discard::UnknownPeer
        | Discard::Flood
        | Discard::UnknownIndex
        | Discard::Full => discard.as_str(),
    }
}
