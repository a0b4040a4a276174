//! MS-CHAPv2: what both sides compute (RFC 2759 §8), and the keys that follow (RFC 3079 §3).
//!
//! - [`nt_response`], [`authenticator_response`]: the two proofs
//! - [`server_keys`]: the keys, as the server sees them
//! - [`PasswordChange`]: a new password in place of one that has expired
//!
//! The packets that carry these are PPP's, EAP's and RADIUS's. The LAN Manager half is left out.

mod answer;
mod change;
mod keys;
mod response;

pub use answer::Answer;
pub use change::PasswordChange;
pub use keys::server_keys;
pub use response::{
    NtHash, authenticator_response, challenge_hash, nt_password_hash, nt_response,
    user_without_domain, verify_authenticator_response, verify_nt_response,
};

#[cfg(test)]
mod tests;
