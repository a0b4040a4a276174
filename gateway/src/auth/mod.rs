//! Who may come in: the one question, and the two that can answer it.
//!
//! An [`Authenticator`] keeps no conversation. What a server wants back travels inside the challenge, and the client's
//! machine holds it.

mod brakes;
mod explain;
mod guard;
mod radius;
mod user_file;
mod users;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_proto::aaa::{
    Applicant, AuthMethod, Challenge, Credentials, Identity, RefuseReason, Rejection, TunnelKind,
    Verdict,
};
use causeway_proto::radius::{Code, Login, RadiusResult};
use tokio::time::sleep_until;

use brakes::{Brakes, Ending};
pub use explain::{explain, meaning};
use guard::{Asks, Guard, Occupied};
pub use guard::{DuplicateLogins, DuplicatePolicy};
pub use radius::RadiusAuthenticator;
pub use user_file::UserFileError;
pub use users::{Change, UserFile};

/// Whoever decides about log-ins, and what holds them back.
#[derive(Debug)]
pub struct Authenticator {
    decider: Decider,
    brakes: Arc<Brakes>,
    /// Where a person may be prompted.
    guard: Option<Arc<Guard>>,
}

/// Whoever decides.
#[derive(Debug)]
enum Decider {
    /// RADIUS servers.
    Radius(RadiusAuthenticator),
    /// The embedded user file.
    Users(UserFile),
}

impl Authenticator {
    /// Asks RADIUS servers; `duplicates` where a person may be prompted.
    #[must_use]
    pub fn radius(radius: RadiusAuthenticator, duplicates: Option<DuplicateLogins>) -> Self {
        let guard = duplicates.map(|settings| Arc::new(Guard::new(settings)));
        let brakes = Arc::new(Brakes::new());
        if let Some(guard) = &guard {
            let (guard, brakes) = (Arc::downgrade(guard), Arc::downgrade(&brakes));
            radius.on_late(move |login, code| {
                if let (Some(guard), Some(brakes)) = (guard.upgrade(), brakes.upgrade()) {
                    guard.answered_late(&login.user, &login.session, login.asked);
                    note_late(&brakes, Instant::now(), login, code);
                }
            });
        }
        Self {
            decider: Decider::Radius(radius),
            brakes,
            guard,
        }
    }

    /// Asks the user file.
    #[must_use]
    pub fn users(users: UserFile) -> Self {
        Self {
            decider: Decider::Users(users),
            brakes: Arc::new(Brakes::new()),
            guard: None,
        }
    }

    /// Asks about one log-in, or one round of it; answers at `deadline` at the latest.
    ///
    /// Dropping the future is how a client leaves.
    pub async fn authenticate(
        &self,
        applicant: &Applicant,
        credentials: Credentials,
        deadline: Instant,
    ) -> Outcome {
        self.ask(applicant, credentials, None, deadline).await
    }

    /// Asks about the answer to a question that came without EAP; the client showed its text to a person.
    ///
    /// Dropping the future is how a client leaves.
    pub async fn answer(
        &self,
        applicant: &Applicant,
        credentials: Credentials,
        challenge: Challenge,
        deadline: Instant,
    ) -> Outcome {
        self.ask(applicant, credentials, Some(challenge), deadline)
            .await
    }

    async fn ask(
        &self,
        applicant: &Applicant,
        credentials: Credentials,
        answered: Option<Challenge>,
        deadline: Instant,
    ) -> Outcome {
        let started = Instant::now();
        let user = (!is_shared(&credentials)).then(|| credentials.user().clone());
        let source = applicant.remote.ip();
        let latest = match &self.guard {
            Some(guard) => guard.latest(started, deadline),
            None => deadline,
        };
        let goes_on = answered.is_some() || goes_on(&credentials);
        let attempt = if goes_on {
            self.brakes.resume(user.as_ref(), source)
        } else {
            match self.brakes.take(started, user.as_ref(), source, latest) {
                Ok((attempt, turn)) => {
                    if turn > started {
                        sleep_until(turn.into()).await;
                    }
                    attempt
                }
                Err(held) => return Outcome::not_asked(started.elapsed(), held.explanation()),
            }
        };
        // Whoever knows the name may have been asked a question; what the answer leads to is not known.
        let asks = if answered.is_some() {
            Asks::Perhaps
        } else {
            asks(&credentials)
        };
        let place = match self.guard.as_ref().zip(user) {
            Some((guard, user)) => {
                match guard
                    .enter(&user, &applicant.session, source, asks, latest)
                    .await
                {
                    Ok(place) => Some(place),
                    Err(Occupied) => {
                        return Outcome::not_asked(started.elapsed(), OCCUPIED);
                    }
                }
            }
            None => None,
        };
        let outcome = match &self.decider {
            Decider::Radius(radius) => {
                radius
                    .authenticate(applicant, credentials, answered, deadline)
                    .await
            }
            Decider::Users(users) => users.authenticate(&credentials),
        };
        let ending = outcome.ending(self.guard.is_some() && asks != Asks::Nobody);
        attempt.end(Instant::now(), ending, &applicant.session);
        match place {
            Some(place) if outcome.closes_prompt() => place.close(),
            // The client is not to blame.
            Some(place) if outcome.result == RadiusResult::ServerSilent => place.leave(),
            Some(_) | None => {}
        }
        outcome
    }

    /// Returns whether it can decide by this method; what it cannot is not to be offered to clients.
    #[must_use]
    pub const fn supports(&self, method: AuthMethod) -> bool {
        match self.decider {
            Decider::Radius(_) => true,
            Decider::Users(_) => UserFile::supports(method),
        }
    }

    /// Returns whether a user could log in at all; RADIUS servers alone know that of theirs.
    #[must_use]
    pub fn may_know(&self, user: &Identity) -> bool {
        match &self.decider {
            Decider::Radius(_) => true,
            Decider::Users(users) => users.knows(user),
        }
    }

    /// Returns whether log-ins can be decided at all.
    #[must_use]
    pub fn health(&self) -> AuthHealth {
        match &self.decider {
            Decider::Radius(radius) => radius.health(),
            Decider::Users(_) => AuthHealth::Up,
        }
    }
}

/// Why a second log-in was not made.
const OCCUPIED: &str = "another log-in of this user waits for its second factor, and a second \
    prompt would be one too many (radius.duplicate_logins)";

/// A reject within this time may be a server that takes its time (`reject_delay`); behind it a person was asked.
const SLOW: Duration = Duration::from_secs(5);

/// Counts a prompt that was answered when nobody waited any more.
fn note_late(brakes: &Brakes, now: Instant, login: &Login, code: Option<Code>) {
    let elapsed = now.saturating_duration_since(login.asked);
    let prompted = match code {
        Some(Code::ACCESS_ACCEPT) => elapsed >= radius::QUICK,
        Some(Code::ACCESS_REJECT) => elapsed >= SLOW,
        _ => false,
    };
    if prompted && !is_anonymous(&login.user) {
        brakes.end_late(now, login);
    }
}

/// Returns whether a client of this tunnel can show a person a question that comes without EAP: the log-in of Mobility
/// has a page for it.
const fn shows_questions(tunnel: TunnelKind) -> bool {
    match tunnel {
        TunnelKind::Mobility => true,
        TunnelKind::Sstp | TunnelKind::Ikev2 => false,
    }
}

/// Returns whether these credentials answer a question.
const fn goes_on(credentials: &Credentials) -> bool {
    matches!(
        credentials,
        Credentials::Eap { state: Some(_), .. } | Credentials::MsChapV2Change { .. }
    )
}

/// Returns whom a request with these credentials may prompt.
const fn asks(credentials: &Credentials) -> Asks {
    match credentials {
        Credentials::Eap { state: None, .. } => Asks::Nobody,
        Credentials::Eap { state: Some(_), .. } => Asks::Perhaps,
        Credentials::Pap { .. }
        | Credentials::ChapMd5 { .. }
        | Credentials::MsChapV2 { .. }
        | Credentials::MsChapV2Change { .. } => Asks::User,
    }
}

/// Returns whether this is the outer identity of many: who it really is, the tunnel inside tells the server alone
/// (RFC 7542 §2.4).
fn is_shared(credentials: &Credentials) -> bool {
    match credentials {
        Credentials::Eap { user, .. } => is_anonymous(user),
        Credentials::Pap { .. }
        | Credentials::ChapMd5 { .. }
        | Credentials::MsChapV2 { .. }
        | Credentials::MsChapV2Change { .. } => false,
    }
}

/// Returns whether a name leaves out who it is: `anonymous`, `anonymous@realm`, `@realm`.
fn is_anonymous(user: &Identity) -> bool {
    let name = user.as_bytes().split(|octet| *octet == b'@').next();
    name.is_none_or(|name| name.is_empty() || name.eq_ignore_ascii_case(b"anonymous"))
}

/// Returns where somebody is: a client of IPv6 has a whole network of addresses.
fn network(source: IpAddr) -> u128 {
    match source.to_canonical() {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}

/// Returns a name as servers compare names: without regard to case.
fn canonical(user: &Identity) -> Vec<u8> {
    match std::str::from_utf8(user.as_bytes()) {
        Ok(text) => text.to_lowercase().into_bytes(),
        Err(_) => user.as_bytes().to_ascii_lowercase(),
    }
}

/// What came of the question.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub struct Outcome {
    /// The answer; `None` when nobody answered.
    pub verdict: Option<Verdict>,
    /// Why the client is to be refused; `None` for an accept and for a challenge that it can be shown.
    pub refusal: Option<RefuseReason>,
    /// The word for metrics and logs.
    pub result: RadiusResult,
    /// Who answered, or was asked last.
    pub server: Option<String>,
    /// How long it took.
    pub elapsed: Duration,
    /// One line for the log: what this means and what to do.
    pub explanation: Option<String>,
}

impl Outcome {
    /// A log-in that the gateway itself held back.
    fn not_asked(elapsed: Duration, explanation: &str) -> Self {
        Self {
            verdict: None,
            refusal: Some(RefuseReason::Busy),
            result: RadiusResult::NotAsked,
            server: None,
            elapsed,
            explanation: Some(explanation.into()),
        }
    }

    /// Returns what this says of the user, who may have been `prompted` or never is.
    fn ending(&self, prompted: bool) -> Ending {
        match (&self.verdict, self.result) {
            (Some(Verdict::Accept(_)), _) => Ending::Accepted,
            (Some(Verdict::Reject(_)), RadiusResult::RejectAfterMfaWait)
                if prompted && self.elapsed >= SLOW =>
            {
                Ending::Denied
            }
            (
                Some(Verdict::Reject(_)),
                RadiusResult::RejectFast | RadiusResult::RejectAfterMfaWait,
            ) => Ending::Rejected,
            (None, RadiusResult::SilentDiscard) if prompted => Ending::RanOut,
            (Some(Verdict::Reject(_) | Verdict::Challenge(_)) | None, _) => Ending::Open,
        }
    }

    /// Returns whether no prompt can be open any more: there was an answer, or nobody has seen the request.
    const fn closes_prompt(&self) -> bool {
        self.verdict.is_some()
            || matches!(
                self.result,
                RadiusResult::Unreachable | RadiusResult::NotAsked
            )
    }

    /// Returns what the client may hear, when it is refused.
    #[must_use]
    pub fn rejection(&self) -> Rejection {
        match &self.verdict {
            Some(Verdict::Reject(rejection)) => rejection.clone(),
            Some(Verdict::Accept(_) | Verdict::Challenge(_)) | None => Rejection::default(),
        }
    }
}

/// Whether log-ins can be decided.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AuthHealth {
    /// Everybody who can be asked is thought to answer.
    Up,
    /// Somebody is, but not all.
    Degraded {
        /// Who is not.
        down: Vec<String>,
    },
    /// Nobody is.
    Down {
        /// Since when.
        since: Instant,
    },
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn alice() -> Identity {
        Identity::new(b"alice").unwrap()
    }

    #[test]
    fn only_a_slow_reject_of_who_may_be_prompted_is_a_denied_prompt() {
        let reject = |result, elapsed| Outcome {
            verdict: Some(Verdict::Reject(Rejection::default())),
            refusal: Some(RefuseReason::Rejected),
            result,
            server: None,
            elapsed,
            explanation: None,
        };
        let waited = reject(RadiusResult::RejectAfterMfaWait, s(5));
        assert_eq!(waited.ending(true), Ending::Denied);
        assert_eq!(waited.ending(false), Ending::Rejected);
        // `reject_delay`.
        let delayed = reject(RadiusResult::RejectAfterMfaWait, s(4));
        assert_eq!(delayed.ending(true), Ending::Rejected);
        let fast = reject(RadiusResult::RejectFast, s(0));
        assert_eq!(fast.ending(true), Ending::Rejected);
    }

    #[test]
    fn only_silence_while_others_are_answered_is_a_prompt_that_ran_out() {
        let silent = |result| Outcome {
            verdict: None,
            refusal: Some(RefuseReason::NoAnswer),
            result,
            server: None,
            elapsed: s(58),
            explanation: None,
        };
        let discarded = silent(RadiusResult::SilentDiscard);
        assert_eq!(discarded.ending(true), Ending::RanOut);
        assert_eq!(discarded.ending(false), Ending::Open);
        for result in [RadiusResult::ServerSilent, RadiusResult::Unreachable] {
            assert_eq!(silent(result).ending(true), Ending::Open);
        }
    }

    #[test]
    fn an_outer_identity_without_a_name_is_shared() {
        let rows = [
            ("anonymous", true),
            ("Anonymous@example.com", true),
            ("@example.com", true),
            ("alice@example.com", false),
            ("anonymous2@example.com", false),
            ("alice@anonymous", false),
        ];
        for (name, shared) in rows {
            let user = Identity::new(name.as_bytes()).unwrap();
            assert_eq!(is_anonymous(&user), shared, "{name}");
            let pap = Credentials::Pap {
                user,
                password: b"x".as_slice().into(),
            };
            assert!(!is_shared(&pap));
        }
    }

    #[test]
    fn late_answers_of_a_person_are_prompts() {
        let now = Instant::now();
        let rows = [
            (Some(Code::ACCESS_ACCEPT), s(20), true),
            (Some(Code::ACCESS_REJECT), s(20), true),
            (Some(Code::ACCESS_ACCEPT), s(0), false),
            (Some(Code::ACCESS_REJECT), s(4), false),
            (Some(Code::ACCESS_CHALLENGE), s(20), false),
            (None, s(20), false),
        ];
        for (code, after, counts) in rows {
            let brakes = Brakes::new();
            for n in 0..6 {
                let login = Login {
                    user: alice(),
                    session: n.to_string(),
                    correlation: None,
                    source: HERE,
                    asked: now,
                };
                note_late(&brakes, now + after, &login, code);
            }
            let now = now + s(60);
            let taken = brakes.take(now, Some(&alice()), HERE, now + s(58));
            assert_eq!(taken.is_err(), counts, "{code:?} {after:?}");
        }
    }
}
