//! The client's half of one MS-CHAPv2 exchange.

use super::{
    NtHash, nt_password_hash, nt_response, server_keys, user_without_domain,
    verify_authenticator_response,
};
use crate::aaa::InnerKeys;

/// The client's answer to one challenge, kept until the server has proved itself (RFC 2759 §4, §5).
#[derive(Debug)]
pub struct Answer {
    hash: NtHash,
    authenticator: [u8; 16],
    peer: [u8; 16],
    response: [u8; 24],
    user: Vec<u8>,
}

impl Answer {
    /// Answers `authenticator`, the server's challenge, with `peer`, our own; `user` may have a `DOMAIN\`.
    #[must_use]
    pub fn new(password: &str, user: &[u8], authenticator: [u8; 16], peer: [u8; 16]) -> Self {
        let hash = nt_password_hash(password);
        let user = user_without_domain(user).to_vec();
        Self {
            response: nt_response(&authenticator, &peer, &user, &hash),
            hash,
            authenticator,
            peer,
            user,
        }
    }

    /// Returns the challenge that this answers.
    #[must_use]
    pub const fn authenticator(&self) -> &[u8; 16] {
        &self.authenticator
    }

    /// Returns the value of the Response packet: peer challenge, eight reserved octets, NT-Response, flags.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        [&self.peer[..], &[0; 8], &self.response, &[0]].concat()
    }

    /// Returns whether the server's success message, `S=…`, proves that it knows the password.
    #[must_use]
    pub fn is_proved_by(&self, message: &[u8]) -> bool {
        let challenges = (&self.peer, &self.authenticator);
        verify_authenticator_response(message, &self.hash, &self.response, challenges, &self.user)
    }

    /// Returns the keys, as the server sees them.
    #[must_use]
    pub fn keys(&self) -> InnerKeys {
        server_keys(&self.hash, &self.response)
    }
}
