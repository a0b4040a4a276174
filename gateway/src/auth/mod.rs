//! Who may come in: the one question, and the two that can answer it.
//!
//! An [`Authenticator`] keeps no conversation. What a server wants back travels inside the challenge, and the client's
//! machine holds it.

mod explain;
mod radius;
mod user_file;
mod users;

use std::time::{Duration, Instant};

use causeway_proto::aaa::{Applicant, AuthMethod, Credentials, RefuseReason, Rejection, Verdict};
use causeway_proto::radius::RadiusResult;

pub use explain::explain;
pub use radius::RadiusAuthenticator;
pub use user_file::UserFileError;
pub use users::{Change, UserFile};

/// Whoever decides about log-ins.
#[derive(Debug)]
pub enum Authenticator {
    /// RADIUS servers.
    Radius(RadiusAuthenticator),
    /// The embedded user file.
    Users(UserFile),
}

impl Authenticator {
    /// Asks about one log-in, or one round of it; answers at `deadline` at the latest.
    ///
    /// Dropping the future is how a client leaves.
    pub async fn authenticate(
        &self,
        applicant: &Applicant,
        credentials: Credentials,
        deadline: Instant,
    ) -> Outcome {
        match self {
            Self::Radius(radius) => radius.authenticate(applicant, credentials, deadline).await,
            Self::Users(users) => users.authenticate(&credentials),
        }
    }

    /// Returns whether it can decide by this method; what it cannot is not to be offered to clients.
    #[must_use]
    pub const fn supports(&self, method: AuthMethod) -> bool {
        match self {
            Self::Radius(_) => true,
            Self::Users(_) => UserFile::supports(method),
        }
    }

    /// Returns whether log-ins can be decided at all.
    #[must_use]
    pub fn health(&self) -> AuthHealth {
        match self {
            Self::Radius(radius) => radius.health(),
            Self::Users(_) => AuthHealth::Up,
        }
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
