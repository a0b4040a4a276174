//! The two proofs: the client's NT-Response, and the authenticator's answer to it (RFC 2759 §8).

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::crypto::digest::sha1_of;
use crate::crypto::legacy::{des_encrypt, md4};

/// `NtPasswordHash`: as good as the password itself, so it is wiped, never shown, and compared in constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct NtHash([u8; 16]);

impl NtHash {
    /// Takes a hash that was stored.
    #[must_use]
    pub const fn new(hash: [u8; 16]) -> Self {
        Self(hash)
    }

    /// Lends the octets; the name is long so that every use can be found.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 16] {
        &self.0
    }
}

impl PartialEq for NtHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for NtHash {}

impl core::fmt::Debug for NtHash {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("NtHash(..)")
    }
}

/// Returns `NtPasswordHash`: MD4 of the password in UTF-16, little end first (RFC 2759 §8.3).
#[must_use]
pub fn nt_password_hash(password_utf8: &str) -> NtHash {
    let wide: Zeroizing<Vec<u8>> = Zeroizing::new(
        password_utf8
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect(),
    );
    NtHash(md4(&wide))
}

/// Returns the user name without a leading `DOMAIN\`: only this part is hashed (RFC 2759 §4).
#[must_use]
pub fn user_without_domain(user: &[u8]) -> &[u8] {
    user.iter()
        .position(|octet| *octet == b'\\')
        .and_then(|at| user.get(at.saturating_add(1)..))
        .unwrap_or(user)
}

/// Returns `ChallengeHash` (RFC 2759 §8.2); `user` is taken as it is, see [`user_without_domain`].
#[must_use]
pub fn challenge_hash(peer: &[u8; 16], authenticator: &[u8; 16], user: &[u8]) -> [u8; 8] {
    let digest = sha1_of(&[peer, authenticator, user]);
    digest.first_chunk().copied().unwrap_or_default()
}

/// Returns `GenerateNTResponse` (RFC 2759 §8.1).
#[must_use]
pub fn nt_response(
    authenticator: &[u8; 16],
    peer: &[u8; 16],
    user: &[u8],
    hash: &NtHash,
) -> [u8; 24] {
    challenge_response(challenge_hash(peer, authenticator, user), hash)
}

/// Returns whether `response` proves that the client knows the password behind `hash`; in constant time.
#[must_use]
pub fn verify_nt_response(
    response: &[u8; 24],
    authenticator: &[u8; 16],
    peer: &[u8; 16],
    user: &[u8],
    hash: &NtHash,
) -> bool {
    nt_response(authenticator, peer, user, hash)
        .ct_eq(response)
        .into()
}

/// Returns `GenerateAuthenticatorResponse`: `S=` and 40 upper-case hexadecimal digits (RFC 2759 §8.7).
#[must_use]
pub fn authenticator_response(
    hash: &NtHash,
    nt_response: &[u8; 24],
    peer: &[u8; 16],
    authenticator: &[u8; 16],
    user: &[u8],
) -> String {
    let hash_hash = Zeroizing::new(md4(&hash.0));
    let digest = sha1_of(&[hash_hash.as_slice(), nt_response, MAGIC_1]);
    let challenge = challenge_hash(peer, authenticator, user);
    let digest = sha1_of(&[&digest, &challenge, MAGIC_2]);
    let mut out = String::with_capacity(42);
    out.push_str("S=");
    for octet in digest {
        for nibble in [octet >> 4, octet & 15] {
            out.extend(char::from_digit(u32::from(nibble), 16).map(|c| c.to_ascii_uppercase()));
        }
    }
    out
}

/// Returns whether `message` begins with the authenticator response that `hash` demands; in constant time.
///
/// What stands behind the 42 octets (` M=…`, with or without the space) is not looked at. Lower-case digits are taken
/// too, which deviates from RFC 2759 §5: they are no weaker.
#[must_use]
pub fn verify_authenticator_response(
    message: &[u8],
    hash: &NtHash,
    nt_response: &[u8; 24],
    challenges: (&[u8; 16], &[u8; 16]),
    user: &[u8],
) -> bool {
    let (peer, authenticator) = challenges;
    let expected = authenticator_response(hash, nt_response, peer, authenticator, user);
    let Some(shown) = message.get(..expected.len()) else {
        return false;
    };
    shown.to_ascii_uppercase().ct_eq(expected.as_bytes()).into()
}

const MAGIC_1: &[u8] = b"Magic server to client signing constant";
const MAGIC_2: &[u8] = b"Pad to make it do more than one iteration";

/// Returns `ChallengeResponse`: the challenge encrypted under three parts of the padded hash (RFC 2759 §8.5).
fn challenge_response(challenge: [u8; 8], hash: &NtHash) -> [u8; 24] {
    let mut out = [0; 24];
    for (to, part) in out.chunks_exact_mut(8).zip(hash.0.chunks(7)) {
        let mut key = Zeroizing::new([0; 7]);
        for (octet, from) in key.iter_mut().zip(part) {
            *octet = *from;
        }
        to.copy_from_slice(&des_encrypt(*key, challenge));
    }
    out
}
