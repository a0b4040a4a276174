//! `causeway doctor radius`.

use std::net::SocketAddr;
use std::time::Duration;

use causeway_proto::aaa::{AuthMethod, Authorization, FramedAddress, Identity, Verdict};
use causeway_proto::crypto::SecretBytes;
use causeway_proto::radius::access::Answer;
use causeway_proto::radius::{Completion, RadiusResult};

use crate::auth::explain;
use crate::cli::{Exit, Output};
use crate::config::Config;
use crate::radius::{self as room, Exam, Observation};

use super::finding::{Finding, Level};
use super::question::{Answered, Question};
use super::{DoctorRadius, Report, identity, load, seconds};

/// An accept within this time was given without asking a person.
const QUICK: Duration = Duration::from_secs(1);
/// Nobody's phone rings for a user that does not exist.
const WITHOUT_A_PERSON: Duration = Duration::from_secs(12);
/// How often whoever waits is told so.
const PROGRESS: u64 = 10;

/// How a server is asked.
struct Case<'c> {
    config: &'c Config,
    user: Identity,
    /// `None` when the user is one that does not exist.
    password: Option<SecretBytes>,
    method: AuthMethod,
    mfa: bool,
    timeout: Duration,
}

pub(super) fn run(asked: &DoctorRadius, json: bool, out: &mut Output<'_>) -> Result<Exit, Exit> {
    let config = load(&asked.who.config, out)?;
    let client = match config.radius_client() {
        Ok(Some(client)) => client,
        Ok(None) => {
            out.error("no [[radius.servers]] in the configuration: the user file decides, and there is nothing to question");
            return Err(Exit::Configuration);
        }
        Err(error) => {
            out.error(&error.to_string());
            return Err(Exit::Configuration);
        }
    };
    let (user, password) = match &asked.user {
        Some(user) => (identity(user, out)?, Some(asked.who.password(user, out)?)),
        None => (identity("causeway-doctor-nobody", out)?, None),
    };
    let case = Case {
        user,
        method: asked.who.method(&config),
        mfa: asked.mfa,
        timeout: asked.who.timeout.unwrap_or_else(|| {
            if password.is_some() {
                client.timeout
            } else {
                client.timeout.min(WITHOUT_A_PERSON)
            }
        }),
        password,
        config: &config,
    };
    let mut report = Report::new(out, json);
    let mut matched = false;
    for server in &client.servers {
        if asked
            .server
            .as_ref()
            .is_some_and(|wanted| *wanted != server.name)
        {
            continue;
        }
        matched = true;
        let alone = room::Config {
            servers: vec![server.clone()],
            ..client.clone()
        };
        let address = SocketAddr::new(server.address, server.auth_port);
        report.subject(&format!("{} ({address})", server.name));
        case.examine(&alone, &mut report);
    }
    if matched {
        return Ok(report.finish());
    }
    drop(report);
    let wanted = asked.server.as_deref().unwrap_or_default();
    out.error(&format!(
        "no server is named {wanted:?} in [[radius.servers]]"
    ));
    Err(Exit::NothingMatched)
}

impl Case<'_> {
    fn examine(&self, alone: &room::Config, report: &mut Report<'_, '_>) {
        let mut exam = match Exam::new(alone) {
            Ok(exam) => exam,
            Err(error) => {
                let remedy = if alone.servers.iter().any(|server| server.tls.is_some()) {
                    "is TCP open to it, is its certificate of the authority in `tls.ca` and for `tls.server_name`, and does it believe ours?"
                } else {
                    "give the server a route, or set `source` to an address that this machine has (`ip route get`, `ip address`)"
                };
                report.fail("route", error.to_string(), remedy);
                return;
            }
        };
        match exam.source() {
            Ok(source) => report.ok(
                "route",
                format!(
                    "asked from {}: the address that the server must know as its RADIUS client",
                    source.ip()
                ),
            ),
            Err(error) => report.fail("route", error.to_string(), "look at `ip route get`"),
        }
        if let Some(version) = exam.protection() {
            report.ok(
                "tls",
                format!("{version}; the server's certificate is believed"),
            );
        }
        let question = Question {
            user: self.user.clone(),
            password: self
                .password
                .clone()
                .unwrap_or_else(|| SecretBytes::from(&b"no such user, no such password"[..])),
            method: self.method,
            timeout: self.timeout,
        };
        let mut told = 0;
        let ringing = self.password.is_some();
        let answered = question.put(&mut exam, &mut |elapsed| {
            let tens = elapsed.as_secs() / PROGRESS;
            if tens > told {
                told = tens;
                let hint = if ringing {
                    "; a phone may be ringing"
                } else {
                    ""
                };
                report.progress(&format!(
                    "no answer yet after {} s{hint}",
                    elapsed.as_secs()
                ));
            }
        });
        match answered {
            Ok(answered) => self.judge(&answered, report),
            Err(error) => report.fail(
                "request",
                error.to_string(),
                "shorten the user name or the password",
            ),
        }
    }

    fn judge(&self, answered: &Answered, report: &mut Report<'_, '_>) {
        let seen = &answered.observation;
        let Some((completion, answer)) = self.reply(answered, report) else {
            return;
        };
        report.ok(
            "secret",
            "the reply's authenticator is right: both sides have the same secret",
        );
        match &seen.reply {
            Some((_, names)) if names.contains_key("Message-Authenticator") => {
                report.ok("authenticator", "the reply has a Message-Authenticator, and it is right");
            }
            Some(_) | None => report.warn(
                "authenticator",
                "the reply has no Message-Authenticator: a reply could be forged (CVE-2024-3596)",
                "update the server (KB5040268; FreeRADIUS 3.2.5), then set radius.message_authenticator = \"require\"",
            ),
        }
        if let Some((_, names)) = &seen.reply {
            let names: Vec<String> = names
                .iter()
                .map(|(name, count)| match count {
                    1 => name.clone(),
                    count => format!("{name} ×{count}"),
                })
                .collect();
            report.ok("attributes", names.join(", "));
        }
        match answer {
            Answer::Verdict(Verdict::Accept(authorization)) => {
                self.accepted(answered, authorization, report);
            }
            Answer::Verdict(Verdict::Reject(_)) if self.password.is_none() => {
                report.ok(
                    "verdict",
                    "a user that does not exist is rejected, as it should be",
                );
            }
            Answer::Verdict(Verdict::Reject(_)) | Answer::Lacking(_) => {
                failure(report, "verdict", completion, self.method);
                if self.method == AuthMethod::Eap {
                    report.warn("method", "the built-in client has EAP-MSCHAPv2 alone", "if the policy asks for another EAP method, log in with a real client: the gateway passes every method through");
                }
            }
            Answer::Verdict(Verdict::Challenge(_)) => self.challenged(completion, report),
        }
    }

    /// Looks at whether there is a reply, and one that can be believed.
    fn reply<'a>(
        &self,
        answered: &'a Answered,
        report: &mut Report<'_, '_>,
    ) -> Option<(&'a Completion, &'a Answer)> {
        let seen = &answered.observation;
        if let Some((at, why)) = seen.discarded.first() {
            let told = Completion {
                result: why.as_result(),
                answer: None,
                error: None,
                server: None,
                elapsed: *at,
            };
            failure(report, "authenticator", &told, self.method);
        }
        let completion = seen.completion.as_ref()?;
        let Some(answer) = &completion.answer else {
            if seen.discarded.is_empty() {
                failure(report, "reply", completion, self.method);
            }
            return None;
        };
        let again = match seen.sent {
            0 | 1 => String::new(),
            sent => format!(", asked {sent} times: a datagram was lost, or the server is slow"),
        };
        let rounds = match answered.rounds {
            1 => String::new(),
            rounds => format!(" in {rounds} rounds"),
        };
        report.ok(
            "reply",
            format!(
                "{} after {}{rounds}{again}",
                code(seen),
                seconds(answered.elapsed)
            ),
        );
        Some((completion, answer))
    }

    fn accepted(
        &self,
        answered: &Answered,
        authorization: &Authorization,
        report: &mut Report<'_, '_>,
    ) {
        if self.password.is_none() {
            report.fail(
                "verdict",
                "the server lets in a user that does not exist",
                "look for a policy or a default entry that accepts everybody",
            );
            return;
        }
        if answered.proved == Some(false) {
            report.fail(
                "verdict",
                "accepted, but the server cannot prove that it knows the password",
                "a proxy answers in the server's place, or the answer belongs to another request",
            );
            return;
        }
        report.ok("verdict", accepted_as(authorization));
        if let Some(pool) = &authorization.pool
            && !self.config.pools.all().any(|known| known.name() == pool)
        {
            report.fail(
                "pool",
                format!("Framed-Pool names {pool:?}, which is not configured: log-ins are refused"),
                format!("add [pools.{pool}], or change the policy"),
            );
        }
        if let Some(filter) = &authorization.filter
            && !self.config.filters.contains_key(filter)
        {
            report.fail(
                "filter",
                format!("Filter-Id names {filter:?}, which is not configured: log-ins are refused"),
                format!("add [filters.{filter}], or change the policy"),
            );
        }
        let (time, limit) = (answered.elapsed, self.timeout);
        if self.mfa && time < QUICK {
            report.warn(
                "time",
                format!("accepted after {}: no second factor was asked for", seconds(time)),
                "enrol the user; look at REQUIRE_USER_MATCH and at IP_WHITELIST (it compares NAS-IP-Address) of the NPS extension",
            );
        } else if time > limit.mul_f32(0.8) {
            report.warn(
                "time",
                format!("{} of {}: slower answers are lost", seconds(time), seconds(limit)),
                "raise radius.timeout; the log-in itself ends at sstp.auth_timeout, 58 s for Windows' sake",
            );
        } else {
            report.ok("time", format!("{} of {}", seconds(time), seconds(limit)));
        }
    }

    fn challenged(&self, completion: &Completion, report: &mut Report<'_, '_>) {
        if self.method == AuthMethod::Eap {
            report.warn("verdict", "the server wants an EAP method that the built-in client does not have (it has EAP-MSCHAPv2)", "log in with a real client; the gateway passes every method through");
        } else {
            failure(report, "verdict", completion, self.method);
        }
    }
}

fn code(seen: &Observation) -> &'static str {
    use causeway_proto::radius::Code;
    match seen.reply.as_ref().map(|(code, _)| *code) {
        Some(Code::ACCESS_ACCEPT) => "Access-Accept",
        Some(Code::ACCESS_REJECT) => "Access-Reject",
        Some(Code::ACCESS_CHALLENGE) => "Access-Challenge",
        Some(_) | None => "a reply",
    }
}

/// What the session would get.
fn accepted_as(authorization: &Authorization) -> String {
    let mut parts = vec![format!("accepted as {}", authorization.user.display())];
    if let FramedAddress::Fixed(address) = authorization.address {
        parts.push(format!("address {address}"));
    }
    if let Some(pool) = &authorization.pool {
        parts.push(format!("pool {pool}"));
    }
    if let Some(filter) = &authorization.filter {
        parts.push(format!("filter {filter}"));
    }
    if let Some(time) = authorization.session_timeout {
        parts.push(format!("ends after {}", humantime::format_duration(time)));
    }
    if let Some(time) = authorization.idle_timeout {
        parts.push(format!("idle for {}", humantime::format_duration(time)));
    }
    if authorization.keys.is_some() {
        parts.push("keys for the crypto binding".to_owned());
    }
    parts.join(", ")
}

/// Says what a result means, and what shows it on the NPS.
fn failure(
    report: &mut Report<'_, '_>,
    topic: &'static str,
    completion: &Completion,
    method: AuthMethod,
) {
    let remedy = explain(completion, method);
    report.add(Finding {
        level: Level::Fail,
        topic,
        text: format!(
            "{} after {}",
            completion.result.as_str(),
            seconds(completion.elapsed)
        ),
        remedy,
        commands: on_the_nps(completion.result),
    });
}

/// The PowerShell that shows the cause on the NPS; each reads, none changes anything.
fn on_the_nps(result: RadiusResult) -> Vec<String> {
    let clients =
        "Get-NpsRadiusClient | Format-Table Name, Address, Enabled, AuthAttributeRequired";
    let service = "Get-Service IAS";
    let listening = "Get-NetUDPEndpoint -LocalPort 1812";
    let security = |ids: &str| {
        format!(
            "Get-WinEvent -FilterHashtable @{{LogName='Security'; Id={ids}; StartTime=(Get-Date).AddMinutes(-5)}} | Format-List TimeCreated, Id, Message"
        )
    };
    let system = "Get-WinEvent -FilterHashtable @{LogName='System'; ProviderName='NPS'; StartTime=(Get-Date).AddMinutes(-5)} | Where-Object Id -in 13,17,4418 | Format-List TimeCreated, Id, Message";
    let extension = "Get-WinEvent -LogName 'Microsoft-AzureMfa-AuthZ/AuthZAdminCh' -MaxEvents 20 | Format-List TimeCreated, Id, Message";
    let lines: Vec<String> = match result {
        RadiusResult::ServerSilent => vec![service.into(), clients.into(), system.into()],
        RadiusResult::Unreachable => vec![service.into(), listening.into()],
        RadiusResult::BadAuthenticator | RadiusResult::MessageAuthenticatorInvalid => {
            vec![clients.into(), system.into()]
        }
        RadiusResult::MessageAuthenticatorMissing => {
            vec![
                "Get-HotFix | Sort-Object InstalledOn | Select-Object -Last 5".into(),
                clients.into(),
            ]
        }
        RadiusResult::SilentDiscard => vec![security("6274"), extension.into()],
        RadiusResult::RejectFast => vec![security("6273")],
        RadiusResult::RejectAfterMfaWait | RadiusResult::Challenge => {
            vec![security("6273"), extension.into()]
        }
        RadiusResult::Malformed
        | RadiusResult::Accept
        | RadiusResult::AbandonedByClient
        | RadiusResult::NotAsked => Vec::new(),
    };
    lines
}
