//! RADIUS servers as an authenticator.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use causeway_proto::aaa::{
    Applicant, AuthMethod, Challenge, Credentials, Identity, RefuseReason, Rejection, Verdict,
};
use causeway_proto::crypto::SecretBytes;
use causeway_proto::radius::access::{Answer, Lacking, ReplyError};
use causeway_proto::radius::{Code, Completion, RadiusResult, Refused};

use crate::auth::explain::explain;
use crate::auth::{AuthHealth, Outcome, shows_questions};
use crate::radius::{Login, Reply, RequestError, Transport};

/// An accept within this time was given without asking a person.
pub(super) const QUICK: Duration = Duration::from_secs(1);
/// How often that is worth a line.
const QUICK_REMINDER: Duration = Duration::from_secs(3600);
/// "Never", as seconds since the start.
const NEVER: u64 = u64::MAX;

/// RADIUS servers as an authenticator.
#[derive(Debug)]
pub struct RadiusAuthenticator {
    transport: Transport,
    mfa: bool,
    /// Whether `password,code` is taken apart.
    pap_code_split: bool,
    started: Instant,
    /// When an accept without a second factor was last remarked on, in seconds since the start.
    reminded: AtomicU64,
}

impl RadiusAuthenticator {
    /// Asks through `transport`; `mfa` as in the transport's settings.
    #[must_use]
    pub fn new(transport: Transport, mfa: bool) -> Self {
        Self {
            transport,
            mfa,
            pap_code_split: false,
            started: Instant::now(),
            reminded: AtomicU64::new(NEVER),
        }
    }

    /// Takes `password,code` apart when a client without a text box logs in by PAP.
    #[must_use]
    pub const fn with_pap_code_split(mut self, split: bool) -> Self {
        self.pap_code_split = split;
        self
    }

    /// Calls `hook` for each answer that comes when nobody waits any more, with what it said if that could be read.
    pub(super) fn on_late(&self, hook: impl Fn(&Login, Option<Code>) + Send + Sync + 'static) {
        self.transport.on_late(hook);
    }

    pub(super) async fn authenticate(
        &self,
        applicant: &Applicant,
        credentials: Credentials,
        answered: Option<Challenge>,
        deadline: Instant,
    ) -> Outcome {
        let shown = shows_questions(applicant.tunnel) || credentials.method() == AuthMethod::Eap;
        let method = credentials.method();
        let asked = Instant::now();
        if let Some(challenge) = answered {
            let reply = self
                .transport
                .answer(applicant, credentials, challenge, deadline)
                .await;
            return match reply {
                Ok(reply) => self.outcome(reply, method, shown),
                Err(error) => not_asked(error, asked.elapsed()),
            };
        }
        let (credentials, code) = match credentials {
            Credentials::Pap { user, password } if self.pap_code_split && !shown => {
                split(user, &password)
            }
            whole @ (Credentials::Pap { .. }
            | Credentials::ChapMd5 { .. }
            | Credentials::MsChapV2 { .. }
            | Credentials::MsChapV2Change { .. }
            | Credentials::Eap { .. }) => (whole, None),
        };
        let mut reply = self
            .transport
            .request(applicant, credentials, deadline)
            .await;
        if let Some(code) = code
            && let Ok(first) = &reply
            && let Some(Answer::Verdict(Verdict::Challenge(challenge))) = &first.completion.answer
        {
            let challenge = challenge.clone();
            reply = self
                .transport
                .answer(applicant, code, challenge, deadline)
                .await;
        }
        match reply {
            Ok(reply) => self.outcome(reply, method, shown),
            Err(error) => not_asked(error, asked.elapsed()),
        }
    }

    pub(super) fn health(&self) -> AuthHealth {
        let servers = self.transport.health();
        let (up, down): (Vec<_>, Vec<_>) = servers.into_iter().partition(|server| server.alive);
        match (up.is_empty(), down.iter().map(|server| server.since).max()) {
            (true, Some(since)) => AuthHealth::Down { since },
            (false, Some(_)) => AuthHealth::Degraded {
                down: down.into_iter().map(|server| server.name).collect(),
            },
            (_, None) => AuthHealth::Up,
        }
    }

    /// Returns what a reply says of a client; `shown` is whether it can show a person a question.
    fn outcome(&self, reply: Reply, method: AuthMethod, shown: bool) -> Outcome {
        let completion = reply.completion;
        let asks_a_person = completion.result == RadiusResult::Challenge && shown;
        let mut explanation = if asks_a_person {
            None
        } else {
            explain(&completion, method)
        };
        if completion.result == RadiusResult::Accept && self.is_reminder_due(completion.elapsed) {
            explanation = Some(
                "no second factor was asked for: is this user enrolled, and does this server have \
                 the MFA extension? (said once an hour)"
                    .into(),
            );
        }
        let refusal = refusal(&completion, shown);
        let verdict = match completion.answer {
            Some(Answer::Verdict(Verdict::Challenge(challenge))) if refusal.is_some() => {
                Some(Verdict::Reject(Rejection {
                    message: challenge.message,
                    ..Rejection::default()
                }))
            }
            Some(Answer::Verdict(verdict)) => Some(verdict),
            Some(Answer::Lacking(_)) => Some(Verdict::Reject(Rejection::default())),
            None if completion.error.is_some() => Some(Verdict::Reject(Rejection::default())),
            None => None,
        };
        Outcome {
            verdict,
            refusal,
            result: completion.result,
            server: reply.server,
            elapsed: completion.elapsed,
            explanation,
        }
    }

    /// Returns whether an accept came suspiciously fast and nobody has said so within the hour.
    fn is_reminder_due(&self, elapsed: Duration) -> bool {
        if !self.mfa || elapsed >= QUICK {
            return false;
        }
        let now = self.started.elapsed().as_secs();
        let last = self.reminded.load(Ordering::Relaxed);
        let due = last == NEVER || now.saturating_sub(last) >= QUICK_REMINDER.as_secs();
        due && self
            .reminded
            .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

/// Takes `password,code` apart; without a code of 4 to 10 digits at the end the password stays whole.
fn split(user: Identity, password: &SecretBytes) -> (Credentials, Option<Credentials>) {
    let octets = password.expose();
    let comma = octets.iter().rposition(|octet| *octet == b',');
    let parts = comma.and_then(|comma| octets.split_at_checked(comma));
    let is_code =
        |code: &[u8]| (4..=10).contains(&code.len()) && code.iter().all(u8::is_ascii_digit);
    let pap = |user, password: &[u8]| Credentials::Pap {
        user,
        password: password.into(),
    };
    match parts {
        Some((password, [_, code @ ..])) if !password.is_empty() && is_code(code) => {
            (pap(user.clone(), password), Some(pap(user, code)))
        }
        _ => (pap(user, octets), None),
    }
}

/// Returns why the client is to be refused, if it is.
fn refusal(completion: &Completion, shown: bool) -> Option<RefuseReason> {
    match (&completion.answer, &completion.error) {
        (Some(Answer::Verdict(Verdict::Accept(_))), _) => None,
        (Some(Answer::Verdict(Verdict::Reject(_))), _) => Some(RefuseReason::Rejected),
        (Some(Answer::Verdict(Verdict::Challenge(_))), _) => {
            (!shown).then_some(RefuseReason::ChallengeNotSupported)
        }
        (Some(Answer::Lacking(lacking)), _) => Some(match lacking {
            Lacking::Success | Lacking::RecvKey | Lacking::SendKey => RefuseReason::MissingKeys,
            Lacking::Method | Lacking::Service(_) => RefuseReason::BadAuthorization,
        }),
        (None, Some(ReplyError::Hidden { .. })) => Some(RefuseReason::MissingKeys),
        (None, Some(ReplyError::Attribute(_) | ReplyError::Code(_))) => {
            Some(RefuseReason::BadAuthorization)
        }
        (None, None) => Some(RefuseReason::NoAnswer),
    }
}

/// Returns the outcome when nobody was asked.
fn not_asked(error: RequestError, elapsed: Duration) -> Outcome {
    let (verdict, refusal, result) = match error {
        // The client's own values do not fit: it is as wrong as any wrong password.
        RequestError::Refused(Refused::Request(_)) => (
            Some(Verdict::Reject(Rejection::default())),
            RefuseReason::Rejected,
            RadiusResult::RejectFast,
        ),
        RequestError::Refused(Refused::Full) => (None, RefuseReason::Busy, RadiusResult::NotAsked),
        RequestError::Refused(Refused::NoServer) | RequestError::Stopped => {
            (None, RefuseReason::NoAnswer, RadiusResult::NotAsked)
        }
    };
    Outcome {
        verdict,
        refusal: Some(refusal),
        result,
        server: None,
        elapsed,
        explanation: Some(format!("nobody was asked: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_behind_the_last_comma_are_a_code() {
        let rows = [
            ("pass,word,123456", "pass,word", Some("123456")),
            ("wonderland,1234", "wonderland", Some("1234")),
            ("wonderland", "wonderland", None),
            ("wonder,land", "wonder,land", None),
            ("wonderland,123", "wonderland,123", None),
            (",123456", ",123456", None),
            ("x,12345678901", "x,12345678901", None),
        ];
        let user = Identity::new(b"alice").unwrap();
        let pap = |password: &str| Credentials::Pap {
            user: user.clone(),
            password: password.as_bytes().into(),
        };
        for (whole, password, code) in rows {
            let parts = split(user.clone(), &whole.as_bytes().into());
            assert_eq!(parts, (pap(password), code.map(pap)));
        }
    }
}
