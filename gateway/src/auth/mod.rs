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

use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_proto::aaa::{
    Applicant, AuthMethod, Credentials, Identity, RefuseReason, Rejection, Verdict,
};
use causeway_proto::radius::RadiusResult;
use tokio::time::sleep_until;

use brakes::{Brakes, Ending};
pub use explain::{explain, meaning};
pub use guard::{DuplicateLogins, DuplicatePolicy};
use guard::{Guard, Occupied};
pub use radius::RadiusAuthenticator;
pub use user_file::UserFileError;
pub use users::{Change, UserFile};

/// Whoever decides about log-ins, and what holds them back.
#[derive(Debug)]
pub struct Authenticator {
    decider: Decider,
    brakes: Brakes,
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
        if let Some(guard) = &guard {
            let guard = Arc::downgrade(guard);
            radius.on_late(move |login, _| {
                if let Some(guard) = guard.upgrade() {
                    guard.answered_late(&login.user, &login.session, login.asked);
                }
            });
        }
        Self {
            decider: Decider::Radius(radius),
            brakes: Brakes::new(),
            guard,
        }
    }

    /// Asks the user file.
    #[must_use]
    pub fn users(users: UserFile) -> Self {
        Self {
            decider: Decider::Users(users),
            brakes: Brakes::new(),
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
        let started = Instant::now();
        let user = credentials.user().clone();
        let source = applicant.remote.ip();
        let latest = match &self.guard {
            Some(guard) => guard.latest(started, deadline),
            None => deadline,
        };
        let attempt = if goes_on(&credentials) {
            self.brakes.resume(&user, source)
        } else {
            match self.brakes.take(started, &user, source, latest) {
                Ok((attempt, turn)) => {
                    if turn > started {
                        sleep_until(turn.into()).await;
                    }
                    attempt
                }
                Err(held) => return Outcome::not_asked(started.elapsed(), held.explanation()),
            }
        };
        let place = match &self.guard {
            Some(guard) => match guard.enter(&user, &applicant.session, latest).await {
                Ok(place) => Some(place),
                Err(Occupied) => {
                    return Outcome::not_asked(started.elapsed(), OCCUPIED);
                }
            },
            None => None,
        };
        let outcome = match &self.decider {
            Decider::Radius(radius) => radius.authenticate(applicant, credentials, deadline).await,
            Decider::Users(users) => users.authenticate(&credentials),
        };
        attempt.end(Instant::now(), outcome.ending());
        if let Some(place) = place.filter(|_| outcome.closes_prompt()) {
            place.close();
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

/// Returns whether these credentials answer a question.
const fn goes_on(credentials: &Credentials) -> bool {
    matches!(credentials, Credentials::Eap { state: Some(_), .. })
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

    /// Returns what this says of the user.
    const fn ending(&self) -> Ending {
        match (&self.verdict, self.result) {
            (Some(Verdict::Accept(_)), _) => Ending::Accepted,
            (Some(Verdict::Reject(_)), RadiusResult::RejectFast) => Ending::Rejected,
            (Some(Verdict::Reject(_)), RadiusResult::RejectAfterMfaWait) => Ending::Denied,
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
