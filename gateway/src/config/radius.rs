//! `[radius]`, `[radius.*]`, `[[radius.servers]]`: who decides about users.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use causeway_proto::aaa::Identity;
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::os::credentials::SecretRef;
use crate::radius::{REPEAT, RETRANSMIT};

use super::report::Report;
use super::value::{Net, Net4, Text, Time};

mod servers;

pub use servers::{Server, ServerTls, StatusServer, Transport};
use servers::{ServerFile, check_servers, secret};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the file")]
pub(super) struct File {
    mode: Mode,
    timeout: Text<Time>,
    mfa: bool,
    retransmit: Vec<Text<Time>>,
    repeat: Text<Time>,
    password_change: bool,
    probe_after: Text<Time>,
    dead_time: Text<Time>,
    message_authenticator: MessageAuthenticator,
    framed_ip: bool,
    framed_routes: Vec<Text<Net4>>,
    class_in_accounting: bool,
    attributes_to_log: Vec<String>,
    duplicate_logins: DuplicateLogins,
    probe: ProbeFile,
    pap_code_split: bool,
    servers: Vec<ServerFile>,
    accounting: AccountingFile,
    dynamic_authorization: Option<DynamicFile>,
}

/// Which server is asked.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The first that lives.
    Failover,
    /// Each in its turn.
    RoundRobin,
}

/// What a reply must have (CVE-2024-3596).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MessageAuthenticator {
    /// A Message-Authenticator.
    Require,
    /// A right one, if any.
    IfPresent,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
struct DuplicateLogins {
    policy: DuplicatePolicy,
    window: Text<Time>,
}

/// What happens to a second log-in of a user whose prompt is open.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DuplicatePolicy {
    /// It waits.
    Wait,
    /// It is refused.
    Refuse,
    /// It goes on.
    Allow,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
struct ProbeFile {
    user: String,
    interval: Text<Time>,
    expect: Expect,
}

/// What a server says about the probe user.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// No, because it does not know that user.
    Reject,
    /// Yes.
    Accept,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
struct AccountingFile {
    enabled: bool,
    interim: Text<Time>,
    queue: PathBuf,
    queue_max: usize,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct DynamicFile {
    listen: SocketAddr,
    clients: Vec<Text<Net>>,
    secret_file: String,
}

impl Default for File {
    fn default() -> Self {
        Self {
            mode: Mode::Failover,
            timeout: Time::seconds(60),
            mfa: true,
            retransmit: RETRANSMIT.map(Time::seconds).into(),
            repeat: Time::of(REPEAT),
            password_change: false,
            probe_after: Time::seconds(10),
            dead_time: Time::seconds(60),
            message_authenticator: MessageAuthenticator::Require,
            framed_ip: true,
            framed_routes: Vec::new(),
            class_in_accounting: true,
            attributes_to_log: ["Class", "Filter-Id", "Reply-Message"]
                .map(str::to_owned)
                .into(),
            duplicate_logins: DuplicateLogins::default(),
            probe: ProbeFile::default(),
            pap_code_split: false,
            servers: Vec::new(),
            accounting: AccountingFile::default(),
            dynamic_authorization: None,
        }
    }
}

impl Default for DuplicateLogins {
    fn default() -> Self {
        Self {
            policy: DuplicatePolicy::Wait,
            window: Time::seconds(60),
        }
    }
}

impl Default for ProbeFile {
    fn default() -> Self {
        Self {
            user: "causeway-probe".into(),
            interval: Time::seconds(30),
            expect: Expect::Reject,
        }
    }
}

impl Default for AccountingFile {
    fn default() -> Self {
        Self {
            enabled: true,
            interim: Time::seconds(600),
            queue: "/var/lib/causeway/acct.queue".into(),
            queue_max: 100_000,
        }
    }
}

/// Who decides about users.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the file")]
pub struct Radius {
    /// The servers, in the order of the file; empty means that the user file is asked.
    pub servers: Vec<Server>,
    /// Which of them is asked.
    pub mode: Mode,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Whether a person may be asked while the gateway waits.
    pub mfa: bool,
    /// After which times a request is sent again, byte for byte.
    pub retransmit: Vec<Duration>,
    /// How often it is, until it is answered, by a server that answers Status-Server; `None` is never.
    pub repeat: Option<Duration>,
    /// Whether a password that has expired may be changed while logging in (MS-CHAPv2).
    pub password_change: bool,
    /// After which silence the server is suspected.
    pub probe_after: Duration,
    /// How long a dead server is left alone.
    pub dead_time: Duration,
    /// What a reply must have.
    pub message_authenticator: MessageAuthenticator,
    /// Whether Framed-IP-Address wins over the pool.
    pub framed_ip: bool,
    /// In which networks Framed-Route may name one behind a client; none means that it is left alone.
    pub framed_routes: Vec<Ipv4Net>,
    /// Whether Class goes into accounting.
    pub class_in_accounting: bool,
    /// Attributes of the reply that the log shows.
    pub attributes_to_log: Vec<String>,
    /// What happens to a second log-in of a user whose prompt is open.
    pub duplicate_logins: (DuplicatePolicy, Duration),
    /// About whom a silent server is asked; `None` is nobody.
    pub probe: Option<Probe>,
    /// Whether `password,code` is taken apart when a server asks for a code by PAP.
    pub pap_code_split: bool,
    /// Accounting; `None` is off.
    pub accounting: Option<Accounting>,
    /// Disconnect-Request and CoA-Request; `None` is off.
    pub dynamic_authorization: Option<DynamicAuthorization>,
}

/// A log-in that nobody makes, to learn whether a server lives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Probe {
    /// Somebody who does not exist.
    pub user: Identity,
    /// How long a server may go unheard.
    pub interval: Duration,
    /// What it is to say.
    pub expect: Expect,
}

/// RADIUS accounting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Accounting {
    /// How often unless RADIUS says otherwise.
    pub interim: Duration,
    /// Where records wait.
    pub queue: PathBuf,
    /// How many of them.
    pub queue_max: usize,
}

/// Disconnect-Request and CoA-Request (RFC 5176).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DynamicAuthorization {
    /// Where they are taken.
    pub listen: SocketAddr,
    /// From whom.
    pub clients: Vec<IpNet>,
    /// Where the shared secret is.
    pub secret: SecretRef,
}

pub(super) fn check(file: File, report: &mut Report) -> Radius {
    let File {
        mode,
        timeout,
        mfa,
        retransmit,
        repeat,
        password_change,
        probe_after,
        dead_time,
        message_authenticator,
        framed_ip,
        framed_routes,
        class_in_accounting,
        attributes_to_log,
        duplicate_logins: DuplicateLogins { policy, window },
        probe,
        pap_code_split,
        servers,
        accounting,
        dynamic_authorization,
    } = file;
    let timeout = timeout.duration();
    check_timeout(timeout, mfa, report);
    let mut retransmit: Vec<_> = retransmit.iter().map(Text::duration).collect();
    let fits = |after: &Duration| !after.is_zero() && *after < timeout;
    if !retransmit.iter().all(fits) && report.layers.is_set("radius.retransmit") {
        report
            .error(
                "E0203",
                "radius.retransmit",
                "a retransmission outside of the wait",
            )
            .label("each longer than 0 s and shorter than `radius.timeout`");
    }
    retransmit.retain(fits);
    if message_authenticator == MessageAuthenticator::IfPresent {
        report
            .warning(
                "E0404",
                "radius.message_authenticator",
                "replies can be forged",
            )
            .label("a reply without Message-Authenticator is believed (CVE-2024-3596)")
            .help("update the server (FreeRADIUS 3.2.5, NPS with KB5040268) and use \"require\"");
    }
    let servers = check_servers(servers, report);
    let accounting = check_accounting(accounting, report);
    Radius {
        servers,
        mode,
        timeout,
        mfa,
        retransmit,
        repeat: check_repeat(repeat.duration(), report),
        password_change,
        probe_after: probe_after.duration(),
        dead_time: dead_time.duration(),
        message_authenticator,
        framed_ip,
        framed_routes: framed_routes.iter().map(|text| text.0.0.trunc()).collect(),
        class_in_accounting,
        attributes_to_log,
        duplicate_logins: (policy, window.duration()),
        probe: check_probe(&probe, report),
        pap_code_split,
        accounting,
        dynamic_authorization: dynamic_authorization.and_then(|file| check_dynamic(file, report)),
    }
}

/// Returns how often a request goes out until it is answered; zero is never.
fn check_repeat(repeat: Duration, report: &mut Report) -> Option<Duration> {
    if repeat.is_zero() {
        return None;
    }
    if !(Duration::from_millis(100)..=Duration::from_secs(5)).contains(&repeat) {
        report
            .error(
                "E0203",
                "radius.repeat",
                "an answer that got lost would stay lost",
            )
            .label("100 ms to 5 s, for which FreeRADIUS repeats an answer; \"0s\" is never");
    }
    Some(repeat)
}

/// Returns the probe user; an empty name turns it off.
fn check_probe(file: &ProbeFile, report: &mut Report) -> Option<Probe> {
    let ProbeFile {
        user,
        interval,
        expect,
    } = file;
    if user.is_empty() {
        return None;
    }
    let interval = interval.duration();
    if !(Duration::from_secs(5)..=Duration::from_secs(3600)).contains(&interval) {
        report
            .error("E0203", "radius.probe.interval", "nobody asks like this")
            .label("5 s to 1 h");
    }
    let identity = Identity::new(user.as_bytes()).filter(|_| !user.chars().any(char::is_control));
    if identity.is_none() {
        report
            .error("E0203", "radius.probe.user", "not a user name")
            .label("at most 253 octets, none of them a control character");
    }
    Some(Probe {
        user: identity?,
        interval,
        expect: *expect,
    })
}

fn check_timeout(timeout: Duration, mfa: bool, report: &mut Report) {
    let seconds = timeout.as_secs();
    if mfa && timeout < Duration::from_secs(30) {
        report
            .error(
                "E0204",
                "radius.timeout",
                "RADIUS timeout is too short for MFA",
            )
            .label("NPS with the Entra MFA extension needs 60 s (30 s at the very least)")
            .note(format!(
                "after {seconds} s Windows would dial again and the user would get a second push"
            ))
            .help("set `timeout = \"60s\"`, or `mfa = false` if no second factor is used");
    } else if mfa && timeout < Duration::from_secs(60) {
        report
            .warning("E0204", "radius.timeout", "RADIUS timeout is short for MFA")
            .label("a slow user needs 60 s")
            .help("set `timeout = \"60s\"`, or `mfa = false` if no second factor is used");
    } else if !(Duration::from_secs(1)..=Duration::from_secs(300)).contains(&timeout) {
        report
            .error("E0203", "radius.timeout", "no client waits like this")
            .label("1 s to 5 min");
    }
}

/// RFC 2869 §5.16: an interval below a minute is none that a server wants.
const SHORTEST_INTERIM: Duration = Duration::from_secs(60);

fn check_accounting(file: AccountingFile, report: &mut Report) -> Option<Accounting> {
    let AccountingFile {
        enabled,
        interim,
        queue,
        queue_max,
    } = file;
    let interim = interim.duration();
    if !interim.is_zero() && interim < SHORTEST_INTERIM {
        report
            .error(
                "E0203",
                "radius.accounting.interim",
                "sessions would be reported too often",
            )
            .label("at least 60 s (RFC 2869 §5.16), or \"0s\" for never");
    }
    if queue_max < 100 {
        report
            .error(
                "E0203",
                "radius.accounting.queue_max",
                "too few records to outlast a server's restart",
            )
            .label("at least 100; a session is two and one for each `interim`");
    }
    enabled.then_some(Accounting {
        interim,
        queue,
        queue_max,
    })
}

fn check_dynamic(file: DynamicFile, report: &mut Report) -> Option<DynamicAuthorization> {
    let DynamicFile {
        listen,
        clients,
        secret_file,
    } = file;
    if clients.is_empty() {
        report
            .error(
                "E0203",
                "radius.dynamic_authorization.clients",
                "nobody could end or change a session",
            )
            .label("the addresses from which RADIUS servers may ask")
            .help("without such a server, leave the table out");
    }
    let path = "radius.dynamic_authorization.secret_file";
    Some(DynamicAuthorization {
        listen,
        clients: clients.into_iter().map(|text| text.0.0).collect(),
        secret: secret(&secret_file, path, report)?,
    })
}
