//! A log-in that opens no session: it says who somebody is, and something else is made of that.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use causeway_proto::aaa::{
    Applicant, Authorization, Challenge, Credentials, Refusal, RefuseReason, Verdict,
};
use tracing::{debug, info};

use super::{Admission, End, Seat, count, filter, first_two, limits, mtu};

/// What a client says in one step of a log-in.
#[derive(Debug)]
pub struct Said {
    /// Its name, and its password or code.
    pub credentials: Credentials,
    /// The question that this answers, unless it is the first step.
    pub answered: Option<Challenge>,
}

/// What came of one step.
#[derive(Debug)]
#[must_use]
pub enum Vouched<T> {
    /// The user is who it says, and this was made of it.
    Accepted(T, Terms),
    /// Answer this first.
    Challenge(Challenge),
    /// Stay out.
    Refused(Refusal),
}

/// What sessions of a user have, as far as it is known before there is one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Terms {
    /// At most two DNS servers.
    pub dns: Vec<Ipv4Addr>,
    /// The largest inner packet.
    pub mtu: u16,
}

impl Admission {
    /// Takes one step of a log-in that opens no session; `then` makes something of an accept, or says why not. The seat
    /// comes back with the answer and still counts as a log-in that is pending.
    pub async fn vouch<T>(
        self: Arc<Self>,
        seat: Seat,
        applicant: &Applicant,
        said: Said,
        deadline: Instant,
        then: impl FnOnce(&Authorization) -> Result<T, RefuseReason>,
    ) -> (Seat, Vouched<T>) {
        let method = said.credentials.method();
        let user = said.credentials.user().clone();
        let asked = match said.answered {
            Some(challenge) => {
                self.authenticator
                    .answer(applicant, said.credentials, challenge, deadline)
                    .await
            }
            None => {
                self.authenticator
                    .authenticate(applicant, said.credentials, deadline)
                    .await
            }
        };
        let result = asked.result.as_str();
        seat.guard.update(|facts| {
            facts.method = Some(method);
            facts.server.clone_from(&asked.server);
            facts.result = Some(result);
            facts.auth_elapsed = Some(facts.auth_elapsed.unwrap_or_default() + asked.elapsed);
        });
        let (server, duration) = (asked.server.as_deref(), asked.elapsed.as_millis());
        let duration = u64::try_from(duration).unwrap_or(u64::MAX);
        let rejection = asked.rejection();
        let vouched = match asked.verdict {
            Some(Verdict::Accept(authorization)) => {
                let made = self.terms(&authorization).and_then(|terms| {
                    let made = then(&authorization).map_err(Refusal::new)?;
                    Ok((made, terms))
                });
                match made {
                    Ok((made, terms)) => Vouched::Accepted(made, terms),
                    Err(refusal) => Vouched::Refused(refusal),
                }
            }
            Some(Verdict::Challenge(challenge)) => Vouched::Challenge(challenge),
            Some(Verdict::Reject(_)) => Vouched::Refused(Refusal {
                reason: asked.refusal.unwrap_or(RefuseReason::Rejected),
                rejection,
            }),
            None => Vouched::Refused(Refusal::new(
                asked.refusal.unwrap_or(RefuseReason::NoAnswer),
            )),
        };
        let end = match &vouched {
            Vouched::Accepted(..) => End::Accepted,
            Vouched::Challenge(_) => End::Open,
            Vouched::Refused(refusal) => End::Refused(refusal.reason),
        };
        count(
            applicant.tunnel.as_str(),
            method.as_str(),
            end,
            asked.elapsed,
        );
        match &vouched {
            Vouched::Accepted(..) => {
                info!(event = "auth_result", protocol = applicant.tunnel.as_str(), user.name = %user.display(), method = method.as_str(),
                    radius.server = server, radius.result = result, radius.duration_ms = duration, "log-in accepted");
            }
            Vouched::Challenge(_) => {
                debug!(event = "auth_result", protocol = applicant.tunnel.as_str(), user.name = %user.display(), method = method.as_str(),
                    radius.result = result, "log-in goes on");
            }
            Vouched::Refused(refusal) => {
                info!(event = "auth_result", protocol = applicant.tunnel.as_str(), user.name = %user.display(), method = method.as_str(),
                    radius.server = server, radius.result = result, radius.duration_ms = duration, reason = refusal.reason.as_str(),
                    radius.message = refusal.rejection.message.as_deref(), note = asked.explanation.as_deref(), "log-in refused");
            }
        }
        (seat, vouched)
    }

    /// Says what sessions of this user have, unless none could ever be opened.
    fn terms(&self, authorization: &Authorization) -> Result<Terms, Refusal> {
        let settings = self.settings.load();
        filter(&settings, authorization)?;
        limits(&settings, authorization)?;
        Ok(Terms {
            dns: first_two(&authorization.dns, &settings.dns),
            mtu: mtu(&settings, authorization)?,
        })
    }
}
