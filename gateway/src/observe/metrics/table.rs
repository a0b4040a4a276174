//! The table itself.

use causeway_proto::aaa::{AuthMethod, RefuseReason};
use causeway_proto::radius::{Discard, RadiusResult, dynamic_authorization};
use causeway_proto::sstp::EndReason;
use causeway_proto::terminate::TerminateCause;
use metrics::{Label, Unit};

use crate::observe::health::Component;
use crate::observe::labels::{AcceptFailure, HttpFailure, ProxyFailure, TlsFailure, end_reason};
use crate::observe::metrics::drops::drops;
use crate::observe::metrics::{Kind, Labels, Metric, Names, Values};

/// Waiting times of log-ins; they reach 120 s because a second factor takes its time.
pub(super) const AUTH_SECONDS: &[f64] = &[
    0.05, 0.25, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0,
];
const SESSION_SECONDS: &[f64] = &[
    10.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 28_800.0, 43_200.0, 86_400.0,
];

const NONE: Labels = Labels::Every(&[]);
const PROTOCOL: (&str, Values) = ("protocol", Values::Words(&["sstp"]));
/// Kinds of sessions that carry packets.
const CARRIER: (&str, Values) = ("protocol", Values::Words(&["sstp", "mobility"]));
const DIRECTION: (&str, Values) = ("direction", Values::Words(&["rx", "tx"]));
const SERVER: (&str, Values) = ("server", Values::Servers);
const KIND: (&str, Values) = ("kind", Values::Words(&["auth", "acct"]));
const AUTH: Labels = Labels::Rows(&["protocol", "method", "outcome"], log_ins);

/// How RADIUS requests end (the verdicts that the log explains).
const RADIUS_RESULTS: Values = Values::Listed(radius_results);

const fn counter(name: &'static str, help: &'static str, labels: Labels) -> Metric {
    Metric {
        name,
        kind: Kind::Counter,
        unit: None,
        help,
        labels,
    }
}

const fn gauge(name: &'static str, help: &'static str, labels: Labels) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        unit: None,
        help,
        labels,
    }
}

const fn moment(name: &'static str, help: &'static str, labels: Labels) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        unit: Some(Unit::Seconds),
        help,
        labels,
    }
}

const fn seconds(
    name: &'static str,
    help: &'static str,
    buckets: &'static [f64],
    labels: Labels,
) -> Metric {
    Metric {
        name,
        kind: Kind::Histogram(buckets),
        unit: Some(Unit::Seconds),
        help,
        labels,
    }
}

/// Every metric of the gateway.
pub const TABLE: &[Metric] = &[
    gauge(
        "causeway_build_info",
        "Constant 1; carries the build identity.",
        Labels::Every(&[
            ("version", Values::Build(version)),
            ("commit", Values::Build(commit)),
            ("rustc", Values::Build(rustc)),
        ]),
    ),
    moment(
        "causeway_start_time_seconds",
        "Unix time at which the daemon became ready.",
        NONE,
    ),
    gauge(
        "causeway_health_status",
        "1 when the component lets the probe succeed, 0 when it makes the probe fail.",
        Labels::Every(&[("component", Values::Listed(components))]),
    ),
    counter(
        "causeway_health_probes_total",
        "Health probe answers by path and HTTP status.",
        Labels::Rows(&["path", "code"], probes),
    ),
    gauge(
        "causeway_drain_state",
        "0 serving, 1 draining, 2 drained.",
        NONE,
    ),
    gauge(
        "causeway_drain_sessions_remaining",
        "Sessions still up while draining.",
        NONE,
    ),
    gauge(
        "causeway_config_last_reload_successful",
        "1 when the last reload was applied.",
        NONE,
    ),
    moment(
        "causeway_config_last_reload_success_timestamp_seconds",
        "Unix time of the last applied configuration.",
        NONE,
    ),
    moment(
        "causeway_certificate_expiry_timestamp_seconds",
        "Unix time at which a served certificate expires.",
        Labels::Certificates,
    ),
    gauge(
        "causeway_certificate_last_reload_successful",
        "1 when the certificate files, as they were last read, are served.",
        NONE,
    ),
    gauge(
        "causeway_front_connections",
        "Connections on the HTTPS listener that have not logged in yet, by stage.",
        Labels::Every(&[(
            "stage",
            Values::Words(&[
                "waiting",
                "proxy",
                "tls",
                "http",
                "negotiation",
                "authentication",
            ]),
        )]),
    ),
    counter(
        "causeway_front_accepts_total",
        "Connections accepted on the HTTPS listener.",
        NONE,
    ),
    counter(
        "causeway_front_waits_total",
        "Connections on the HTTPS listener that had to wait their turn (limits.new_per_second).",
        NONE,
    ),
    counter(
        "causeway_front_accept_errors_total",
        "Connections that the kernel could not hand over, by reason.",
        Labels::Every(&[("reason", Values::Words(AcceptFailure::WORDS))]),
    ),
    counter(
        "causeway_front_responses_total",
        "HTTP answers of the HTTPS listener by status; 200 begins an SSTP call or answers the enrolment.",
        Labels::Every(&[(
            "code",
            Values::Words(&[
                "200", "202", "303", "400", "401", "403", "404", "405", "408", "409", "413", "415",
                "431", "503", "505",
            ]),
        )]),
    ),
    counter(
        "causeway_tls_handshakes_total",
        "TLS handshakes on the HTTPS listener.",
        Labels::Rows(&["version", "result"], handshakes),
    ),
    gauge(
        "causeway_sessions",
        "Sessions by protocol and state.",
        Labels::Every(&[
            CARRIER,
            (
                "state",
                Values::Words(&["authenticating", "up", "unreachable"]),
            ),
        ]),
    ),
    gauge(
        "causeway_session_limit",
        "Configured maximum of sessions.",
        Labels::Every(&[PROTOCOL]),
    ),
    counter(
        "causeway_session_starts_total",
        "Sessions that reached the state up.",
        Labels::Every(&[PROTOCOL]),
    ),
    counter(
        "causeway_session_ends_total",
        "Sessions ended, by cause.",
        Labels::Every(&[PROTOCOL, ("cause", Values::Listed(causes))]),
    ),
    counter(
        "causeway_session_setup_failures_total",
        "Connection attempts that never came up, by stage and reason.",
        Labels::Rows(&["protocol", "stage", "reason"], setup_failures),
    ),
    seconds(
        "causeway_session_setup_duration_seconds",
        "Time from the first byte to the state up.",
        AUTH_SECONDS,
        Labels::Every(&[PROTOCOL]),
    ),
    seconds(
        "causeway_session_duration_seconds",
        "How long finished sessions lasted.",
        SESSION_SECONDS,
        Labels::Every(&[PROTOCOL]),
    ),
    counter(
        "causeway_auth_total",
        "Log-ins by method and outcome.",
        AUTH,
    ),
    seconds(
        "causeway_auth_seconds",
        "Time from the credentials to the decision.",
        AUTH_SECONDS,
        AUTH,
    ),
    counter(
        "causeway_packets_total",
        "Inner IP packets; rx is from the client.",
        Labels::Every(&[CARRIER, DIRECTION]),
    ),
    Metric {
        unit: Some(Unit::Bytes),
        ..counter(
            "causeway_bytes_total",
            "Inner IP bytes; rx is from the client.",
            Labels::Every(&[CARRIER, DIRECTION]),
        )
    },
    counter(
        "causeway_packets_dropped_total",
        "Packets dropped, by reason.",
        Labels::Rows(&["protocol", "direction", "reason"], drops),
    ),
    counter(
        "causeway_session_roams_total",
        "Changes of the client's address that its session survived.",
        Labels::Every(&[("protocol", Values::Words(&["mobility"]))]),
    ),
    counter(
        "causeway_mobility_handshakes_total",
        "Handshake messages of the Mobility tunnel, by what became of them.",
        Labels::Every(&[("result", Values::Words(&HANDSHAKES))]),
    ),
    gauge(
        "causeway_pool_addresses",
        "Addresses of a pool, by state.",
        Labels::Every(&[
            ("pool", Values::Pools),
            ("state", Values::Words(&["used", "free", "reserved"])),
        ]),
    ),
    counter(
        "causeway_pool_exhausted_total",
        "Sessions refused because the pool had no free address.",
        Labels::Every(&[("pool", Values::Pools)]),
    ),
    counter(
        "causeway_tun_reads_total",
        "Read system calls on the TUN device.",
        Labels::Every(&[("queue", Values::Queues)]),
    ),
    counter(
        "causeway_tun_packets_total",
        "Packets through the TUN device; divide by reads for the offload batch size.",
        Labels::Every(&[("queue", Values::Queues), DIRECTION]),
    ),
    counter(
        "causeway_tun_errors_total",
        "Failed TUN operations.",
        Labels::Every(&[("operation", Values::Words(&["read", "write"]))]),
    ),
    counter(
        "causeway_radius_requests_total",
        "New RADIUS requests, retransmissions not counted.",
        Labels::Every(&[SERVER, KIND]),
    ),
    counter(
        "causeway_radius_retransmissions_total",
        "RADIUS datagrams sent again with the same identifier and authenticator.",
        Labels::Every(&[SERVER, KIND]),
    ),
    counter(
        "causeway_radius_results_total",
        "How RADIUS requests ended. silent_discard: no reply although the server answered others in the same window.",
        Labels::Every(&[SERVER, KIND, ("result", RADIUS_RESULTS)]),
    ),
    counter(
        "causeway_radius_late_replies_total",
        "Valid replies that came after the client had gone; accept here means the user approved too late.",
        Labels::Every(&[
            SERVER,
            ("code", Values::Words(&["accept", "reject", "challenge"])),
        ]),
    ),
    seconds(
        "causeway_radius_response_seconds",
        "Time to the RADIUS reply; buckets reach 120 s because of MFA.",
        AUTH_SECONDS,
        Labels::Every(&[SERVER, KIND, ("result", RADIUS_RESULTS)]),
    ),
    counter(
        "causeway_radius_replies_dropped_total",
        "Datagrams from a RADIUS server's address that were not believed, by reason.",
        Labels::Every(&[SERVER, ("reason", Values::Listed(radius_discards))]),
    ),
    counter(
        "causeway_radius_unsigned_replies_total",
        "RADIUS replies without a Message-Authenticator that were accepted because the configuration allows it.",
        Labels::Every(&[SERVER]),
    ),
    gauge(
        "causeway_radius_server_up",
        "1 while the server is considered alive.",
        Labels::Every(&[SERVER, KIND]),
    ),
    gauge(
        "causeway_radius_pending_requests",
        "Requests waiting for a reply (of 256 identifiers for each source port).",
        Labels::Every(&[SERVER]),
    ),
    gauge(
        "causeway_radius_accounting_queue_records",
        "Accounting records not acknowledged yet.",
        NONE,
    ),
    gauge(
        "causeway_radius_accounting_journal_up",
        "1 while accounting records are kept on disk, 0 while in memory only or not at all.",
        NONE,
    ),
    counter(
        "causeway_radius_accounting_dropped_total",
        "Accounting records that were given up because the queue was full, by status.",
        Labels::Every(&[(
            "status",
            Values::Words(&["start", "interim", "stop", "on", "off"]),
        )]),
    ),
    counter(
        "causeway_radius_dynauth_requests_total",
        "Disconnect-Request and CoA-Request messages answered, repetitions not counted.",
        Labels::Every(&[
            ("type", Values::Words(&["disconnect", "coa"])),
            ("result", Values::Words(&["ack", "nak"])),
        ]),
    ),
    counter(
        "causeway_radius_dynauth_dropped_total",
        "Datagrams to the listener for dynamic authorization that got no answer, by reason.",
        Labels::Every(&[("reason", Values::Listed(dynauth_discards))]),
    ),
    counter(
        "causeway_radius_duplicate_logins_suppressed_total",
        "Second logins of a user whose MFA prompt was still open.",
        Labels::Every(&[("action", Values::Words(&["waited", "refused"]))]),
    ),
    counter(
        "causeway_login_attempts_held_total",
        "Logins that were delayed or refused because too many of the same user failed from the same address.",
        Labels::Every(&[("action", Values::Words(&["delayed", "refused"]))]),
    ),
    counter(
        "causeway_log_events_dropped_total",
        "Log events dropped because the writer was behind.",
        NONE,
    ),
];

/// The labels that `causeway_build_info` has.
pub(super) fn build_labels() -> Vec<Label> {
    let names = Names::default();
    vec![
        Label::new("version", version(&names)),
        Label::new("commit", commit(&names)),
        Label::new("rustc", rustc(&names)),
    ]
}

fn version(_: &Names) -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// What was built; "unknown" when neither the builder nor a repository said it.
fn commit(_: &Names) -> String {
    env!("CAUSEWAY_BUILT_FROM").to_owned()
}

fn rustc(_: &Names) -> String {
    env!("CAUSEWAY_RUSTC").to_owned()
}

fn components() -> Vec<&'static str> {
    Component::ALL
        .iter()
        .map(|component| component.as_str())
        .collect()
}

fn causes() -> Vec<&'static str> {
    TerminateCause::ALL
        .iter()
        .map(|cause| cause.as_str())
        .collect()
}

fn probes() -> Vec<Vec<&'static str>> {
    [
        ("sra", "401"),
        ("sra", "200"),
        ("sra", "503"),
        ("readyz", "200"),
        ("readyz", "503"),
    ]
    .map(|(path, code)| vec![path, code])
    .to_vec()
}

fn handshakes() -> Vec<Vec<&'static str>> {
    let failures = TlsFailure::WORDS.iter().map(|result| vec!["none", result]);
    [vec!["1.3", "ok"], vec!["1.2", "ok"]]
        .into_iter()
        .chain(failures)
        .collect()
}

/// What becomes of a handshake message.
const HANDSHAKES: [&str; 12] = [
    "ok",
    "gave_up",
    "malformed",
    "bad_mac1",
    "cookie_sent",
    "rate_limited",
    "forged",
    "unknown_peer",
    "replayed_timestamp",
    "flood",
    "unknown_index",
    "full",
];

fn setup_failures() -> Vec<Vec<&'static str>> {
    let proxy = ProxyFailure::WORDS
        .iter()
        .map(|reason| vec!["sstp", "proxy", reason]);
    let tls = TlsFailure::WORDS
        .iter()
        .map(|reason| vec!["sstp", "tls", reason]);
    let http = HttpFailure::WORDS
        .iter()
        .map(|reason| vec!["sstp", "http", reason]);
    let mut ppp: Vec<&str> = EndReason::all().map(end_reason).collect();
    ppp.sort_unstable();
    ppp.dedup();
    let ppp = ppp.into_iter().map(|reason| vec!["sstp", "ppp", reason]);
    let auth = RefuseReason::ALL.iter().flat_map(|reason| {
        ["sstp", "mobility"].map(|protocol| vec![protocol, "auth", reason.as_str()])
    });
    proxy
        .chain(tls)
        .chain(http)
        .chain(ppp)
        .chain(auth)
        .collect()
}

/// SSTP knows every method, the page and the API of Mobility a password.
fn log_ins() -> Vec<Vec<&'static str>> {
    let methods = AuthMethod::ALL.iter().map(|method| ("sstp", *method));
    let methods = methods.chain([("mobility", AuthMethod::Pap)]);
    let refusals = RefuseReason::ALL.iter().map(|reason| reason.as_str());
    let outcomes: Vec<_> = ["accept"].into_iter().chain(refusals).collect();
    methods
        .flat_map(|(protocol, method)| {
            let row = move |outcome: &&'static str| vec![protocol, method.as_str(), *outcome];
            outcomes.iter().map(row).collect::<Vec<_>>()
        })
        .collect()
}

fn radius_results() -> Vec<&'static str> {
    RadiusResult::ALL
        .iter()
        .map(|result| result.as_str())
        .collect()
}

fn dynauth_discards() -> Vec<&'static str> {
    let mut words: Vec<_> = dynamic_authorization::Discard::ALL
        .iter()
        .map(|why| why.as_str())
        .collect();
    words.push("unlisted");
    words
}

fn radius_discards() -> Vec<&'static str> {
    Discard::ALL.iter().map(|why| why.as_str()).collect()
}
