//! Why the packet path drops packets, as label values.

/// Reasons of both kinds of sessions.
const COMMON: [&str; 11] = [
    "malformed",
    "not_ipv4",
    "source_address",
    "destination",
    "blocked",
    "isolated",
    "gateway",
    "filter",
    "too_big",
    "queue_full",
    "control_full",
];
const STREAMS: [&str; 2] = ["no_session", "late"];
const DATAGRAMS: [&str; 4] = ["replay", "integrity", "no_key", "unsent"];

/// Returns every row of protocol, direction and reason.
pub(super) fn drops() -> Vec<Vec<&'static str>> {
    let mut rows = Vec::new();
    for (protocol, own) in [("sstp", &STREAMS[..]), ("mobility", &DATAGRAMS[..])] {
        for direction in ["rx", "tx"] {
            let reasons = COMMON.iter().chain(own);
            rows.extend(reasons.map(|reason| vec![protocol, direction, *reason]));
        }
    }
    rows
}
