//! The embedded user file as an authenticator: PAP and MS-CHAPv2, for small offices, labs and tests.
//!
//! A wrong password and an unknown user cannot be told apart, neither by the answer nor by the time it takes.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use causeway_proto::aaa::{
    AuthMethod, Authorization, Credentials, FramedAddress, Identity, InnerKeys, MsChapV2Response,
    Proof, RefuseReason, Rejection, Verdict,
};
use causeway_proto::mschapv2::{
    NtHash, authenticator_response, nt_password_hash, server_keys, user_without_domain,
    verify_nt_response,
};
use causeway_proto::radius::RadiusResult;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::auth::Outcome;
use crate::auth::user_file::{self, Entry, Table, UserFileError};

/// The name that stands where a RADIUS server's would.
const SERVER: &str = "users";

/// The users of the file.
#[derive(Clone, Debug)]
pub struct UserFile {
    users: HashMap<Identity, User>,
    /// What an unknown user's password is compared with.
    nobody: NtHash,
}

#[derive(Clone, Debug)]
struct User {
    hash: NtHash,
    pool: Option<String>,
    address: Option<Ipv4Addr>,
    filter: Option<String>,
}

/// What [`UserFile::add`] did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// The user is new.
    Added,
    /// The user was there and has a new password.
    Replaced,
}

impl UserFile {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// Also when others than its owner may read it.
    pub fn load(path: &Path) -> Result<Self, UserFileError> {
        let text = user_file::read(path)?;
        Self::from_table(&Table::parse(path, &text)?)
    }

    /// Returns the users of `serve --dev`: alice with wonderland, bob with builder.
    #[must_use]
    pub fn dev() -> Self {
        let users = [("alice", "wonderland"), ("bob", "builder")]
            .into_iter()
            .filter_map(|(name, password)| {
                let user = User {
                    hash: nt_password_hash(password),
                    pool: None,
                    address: None,
                    filter: None,
                };
                Some((Identity::new(name.as_bytes())?, user))
            })
            .collect();
        Self {
            users,
            nobody: nobody(),
        }
    }

    /// Adds a user to the file, which is made if it is not there, or sets the password of one that is.
    ///
    /// # Errors
    ///
    /// When the file as it is or as it would be cannot be used; then it is left as it is.
    pub fn add(path: &Path, name: &str, password: &str) -> Result<Change, UserFileError> {
        if password.is_empty() {
            return Err(UserFileError::NoPassword {
                name: name.to_owned(),
            });
        }
        let hash = nt_password_hash(password);
        let text = match user_file::read(path) {
            Ok(text) => text,
            Err(UserFileError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Zeroizing::default()
            }
            Err(error) => return Err(error),
        };
        let mut table = Table::parse(path, &text)?;
        if let Some(entry) = table.user.iter_mut().find(|entry| entry.name == name) {
            entry.set_hash(&hash);
            Self::from_table(&table)?;
            user_file::write(path, &table.text(path)?)?;
            return Ok(Change::Replaced);
        }
        // What the file says besides, its comments too, stays as it is.
        let one = Table {
            user: vec![Entry::new(name, &hash)],
        };
        let mut text = text;
        if !text.is_empty() {
            let gap = if text.ends_with('\n') { "\n" } else { "\n\n" };
            text.push_str(gap);
        }
        text.push_str(&one.text(path)?);
        Self::from_table(&Table::parse(path, &text)?)?;
        user_file::write(path, &text)?;
        Ok(Change::Added)
    }

    /// Returns whether the file can decide by this method.
    #[must_use]
    pub const fn supports(method: AuthMethod) -> bool {
        match method {
            AuthMethod::Pap | AuthMethod::MsChapV2 => true,
            AuthMethod::ChapMd5 | AuthMethod::Eap => false,
        }
    }

    /// Returns whether the file has a user of that name.
    #[must_use]
    pub fn knows(&self, user: &Identity) -> bool {
        self.find(user).is_some()
    }

    /// Returns how many users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Returns the names of pools and filters that users have, for the check that they exist.
    pub fn references(&self) -> impl Iterator<Item = (&Identity, Option<&str>, Option<&str>)> {
        self.users
            .iter()
            .map(|(name, user)| (name, user.pool.as_deref(), user.filter.as_deref()))
    }

    pub(super) fn authenticate(&self, credentials: &Credentials) -> Outcome {
        let started = Instant::now();
        let found = self.find(credentials.user());
        let hash = found.map_or(&self.nobody, |(_, user)| &user.hash);
        let proven = match credentials {
            Credentials::Pap { password, .. } => pap(password.expose(), hash),
            Credentials::MsChapV2 { user, response } => ms_chap(user, response, hash),
            Credentials::ChapMd5 { .. }
            | Credentials::MsChapV2Change { .. }
            | Credentials::Eap { .. } => {
                return rejected(
                    started.elapsed(),
                    Rejection::default(),
                    "the user file can check PAP and MS-CHAPv2 only",
                );
            }
        };
        match (proven, found) {
            (Some((proof, keys)), Some((name, user))) => Outcome {
                verdict: Some(Verdict::Accept(Box::new(user.authorization(
                    name.clone(),
                    proof,
                    keys,
                )))),
                refusal: None,
                result: RadiusResult::Accept,
                server: Some(SERVER.into()),
                elapsed: started.elapsed(),
                explanation: None,
            },
            _ => rejected(
                started.elapsed(),
                rejection(credentials.method()),
                "wrong user name or password",
            ),
        }
    }

    /// Finds a user by the name as the client sent it, or by what follows its domain.
    fn find(&self, name: &Identity) -> Option<(&Identity, &User)> {
        self.users.get_key_value(name).or_else(|| {
            let bare = Identity::new(user_without_domain(name.as_bytes()))?;
            self.users.get_key_value(&bare)
        })
    }

    fn from_table(table: &Table) -> Result<Self, UserFileError> {
        let mut users = HashMap::new();
        for entry in &table.user {
            let user = User {
                hash: entry.hash()?,
                pool: entry.pool.clone(),
                address: entry.address,
                filter: entry.filter.clone(),
            };
            if users.insert(entry.identity()?, user).is_some() {
                return Err(UserFileError::Duplicate {
                    name: entry.name.clone(),
                });
            }
        }
        Ok(Self {
            users,
            nobody: nobody(),
        })
    }
}

impl User {
    fn authorization(
        &self,
        name: Identity,
        proof: Proof,
        keys: Option<InnerKeys>,
    ) -> Authorization {
        Authorization {
            user: name,
            proof,
            keys,
            address: self
                .address
                .map_or(FramedAddress::Pool, FramedAddress::Fixed),
            pool: self.pool.clone(),
            routes: Vec::new(),
            session_timeout: None,
            idle_timeout: None,
            interim: None,
            mtu: None,
            class: Vec::new(),
            filter: self.filter.clone(),
            dns: Vec::new(),
            wins: Vec::new(),
            server: SERVER.into(),
            message: None,
        }
    }
}

/// What a client has when its proof holds.
type Proven = (Proof, Option<InnerKeys>);

fn pap(password: &[u8], hash: &NtHash) -> Option<Proven> {
    let text = core::str::from_utf8(password);
    let same = nt_password_hash(text.unwrap_or_default()) == *hash;
    (same && text.is_ok()).then(|| (Proof::Message(String::new()), None))
}

fn ms_chap(user: &Identity, response: &MsChapV2Response, hash: &NtHash) -> Option<Proven> {
    let user = user_without_domain(user.as_bytes());
    let MsChapV2Response {
        challenge,
        peer_challenge,
        nt_response,
        ..
    } = response;
    verify_nt_response(nt_response, challenge, peer_challenge, user, hash).then(|| {
        let proof = authenticator_response(hash, nt_response, peer_challenge, challenge, user);
        (Proof::MsChapV2(proof), Some(server_keys(hash, nt_response)))
    })
}

/// Returns a hash that no password has been found for: random octets.
fn nobody() -> NtHash {
    let mut hash = [0; 16];
    // Without randomness it is a hash like any other; an unknown user is refused whatever it is.
    SystemRandom::new().fill(&mut hash).unwrap_or_default();
    NtHash::new(hash)
}

/// Returns what a client hears, whatever was wrong.
fn rejection(method: AuthMethod) -> Rejection {
    match method {
        AuthMethod::MsChapV2 => {
            let mut challenge = [0; 16];
            // A client that may not try again (R=0) has no use for it; the form wants one.
            SystemRandom::new().fill(&mut challenge).unwrap_or_default();
            let challenge = u128::from_be_bytes(challenge);
            Rejection {
                ms_chap_error: Some(format!(
                    "E=691 R=0 C={challenge:032X} V=3 M=Authentication failed"
                )),
                ..Rejection::default()
            }
        }
        AuthMethod::Pap | AuthMethod::ChapMd5 | AuthMethod::Eap => Rejection {
            message: Some("Authentication failed".into()),
            ..Rejection::default()
        },
    }
}

fn rejected(elapsed: Duration, rejection: Rejection, why: &str) -> Outcome {
    Outcome {
        verdict: Some(Verdict::Reject(rejection)),
        refusal: Some(RefuseReason::Rejected),
        result: RadiusResult::RejectFast,
        server: Some(SERVER.into()),
        elapsed,
        explanation: Some(why.into()),
    }
}

#[cfg(test)]
mod tests;
