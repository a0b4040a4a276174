//! RADIUS servers as an authenticator.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use causeway_proto::aaa::{Applicant, AuthMethod, Credentials, RefuseReason, Rejection, Verdict};
use causeway_proto::radius::access::{Answer, Lacking, ReplyError};
use causeway_proto::radius::{Completion, RadiusResult, Refused};

use crate::auth::explain::explain;
use crate::auth::{AuthHealth, Outcome};
use crate::radius::{Reply, RequestError, Transport};

/// An accept within this time was given without asking a person.
const QUICK: Duration = Duration::from_secs(1);
/// How often that is worth a line.
const QUICK_REMINDER: Duration = Duration::from_secs(3600);
/// "Never", as seconds since the start.
const NEVER: u64 = u64::MAX;

/// RADIUS servers as an authenticator.
#[derive(Debug)]
pub struct RadiusAuthenticator {
    transport: Transport,
    mfa: bool,
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
            started: Instant::now(),
            reminded: AtomicU64::new(NEVER),
        }
    }

    pub(super) async fn authenticate(
        &self,
        applicant: &Applicant,
        credentials: Credentials,
        deadline: Instant,
    ) -> Outcome {
        let method = credentials.method();
        let asked = Instant::now();
        match self
            .transport
            .request(applicant, credentials, deadline)
            .await
        {
            Ok(reply) => self.outcome(reply, method),
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

    fn outcome(&self, reply: Reply, method: AuthMethod) -> Outcome {
        let completion = reply.completion;
        let mut explanation = explain(&completion, method);
        if completion.result == RadiusResult::Accept && self.is_reminder_due(completion.elapsed) {
            explanation = Some(
                "no second factor was asked for: is this user enrolled, and does this server have \
                 the MFA extension? (said once an hour)"
                    .into(),
            );
        }
        let refusal = refusal(&completion, method);
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

/// Returns why the client is to be refused, if it is.
fn refusal(completion: &Completion, method: AuthMethod) -> Option<RefuseReason> {
    match (&completion.answer, &completion.error) {
        (Some(Answer::Verdict(Verdict::Accept(_))), _) => None,
        (Some(Answer::Verdict(Verdict::Reject(_))), _) => Some(RefuseReason::Rejected),
        (Some(Answer::Verdict(Verdict::Challenge(_))), _) => {
            (method != AuthMethod::Eap).then_some(RefuseReason::ChallengeNotSupported)
        }
        (Some(Answer::Lacking(lacking)), _) => Some(match lacking {
            Lacking::Success | Lacking::RecvKey | Lacking::SendKey => RefuseReason::MissingKeys,
            Lacking::Service(_) => RefuseReason::BadAuthorization,
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
        RequestError::Refused(Refused::Full) => {
            (None, RefuseReason::Busy, RadiusResult::Unreachable)
        }
        RequestError::Refused(Refused::NoServer) | RequestError::Stopped => {
            (None, RefuseReason::NoAnswer, RadiusResult::Unreachable)
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
