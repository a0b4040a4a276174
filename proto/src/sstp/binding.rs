//! Crypto binding: the proof that the PPP log-in and the TLS connection end in the same client
//! ([MS-SSTP] §3.2.5.2, §3.3.5.2.3).
//!
//! ```text
//! CMK = HMAC-H(HLAK, "SSTP inner method derived CMK" || length of H, little-endian u16 || 01)
//! MAC = HMAC-H(CMK, the whole CALL_CONNECTED with the MAC field zeroed)
//! ```
//!
//! The MAC is taken over the octets as they came, reserved bits and all: a re-encoded packet is not what the client
//! signed.

use zeroize::Zeroizing;

use super::attribute::{CryptoBinding, HashProtocol};
use crate::aaa::InnerKeys;
use crate::crypto::SecretBytes;
use crate::crypto::digest;

/// The octets of a `CALL_CONNECTED`.
pub const CONNECTED_LEN: usize = 112;
/// The MAC field and its padding are the last octets.
const MAC_LEN: usize = 32;
/// ASCII without a terminating zero.
const SEED: &[u8; 29] = b"SSTP inner method derived CMK";

/// The hashes of the leaf certificate that was shown on one connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CertificateHashes {
    /// SHA-1 of the DER.
    pub sha1: [u8; 20],
    /// SHA-256 of the DER.
    pub sha256: [u8; 32],
}

impl CertificateHashes {
    /// Hashes a certificate in DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self {
            sha1: digest::sha1(der),
            sha256: digest::sha256(der),
        }
    }

    /// Returns the 32 octets of the Cert Hash field: SHA-1 is padded with zeros.
    #[must_use]
    pub fn field(&self, hash: HashProtocol) -> [u8; 32] {
        match hash {
            HashProtocol::Sha1 => padded(&self.sha1),
            HashProtocol::Sha256 => self.sha256,
        }
    }
}

/// The higher-layer authentication key.
#[derive(Clone)]
pub struct Hlak(Zeroizing<[u8; 32]>);

impl Hlak {
    /// Makes the key of what the inner authentication left, from the authenticator's view.
    ///
    /// A receive key of 32 octets or more (EAP-TLS, PEAP) is the key by its first 32; shorter ones (MS-CHAPv2) are
    /// followed by the send key. PAP and CHAP-MD5 leave nothing, which makes it all zeros.
    #[must_use]
    pub fn from_keys(keys: Option<&InnerKeys>) -> Self {
        match keys {
            None => Self::from_parts(&[]),
            Some(keys) if keys.recv.len() >= 32 => Self::from_parts(&[&keys.recv]),
            Some(keys) => Self::from_parts(&[&keys.recv, &keys.send]),
        }
    }

    /// Makes the key as pppd before 2.5 and the clients behind it do after EAP-TLS: it keeps 16 octets of each key.
    ///
    /// Both halves are of the same secret that [`Hlak::from_keys`] takes 32 octets of in one piece, and 32 octets remain:
    /// whoever can make this key has passed the inner authentication. `None` for keys of another length, which have one
    /// form only.
    #[must_use]
    pub fn from_halves(keys: &InnerKeys) -> Option<Self> {
        let half = |key: &SecretBytes| key.expose().get(..16).map(<[u8]>::to_vec);
        if keys.recv.len() < 32 || keys.send.len() < 32 {
            return None;
        }
        let halves = [half(&keys.recv)?, half(&keys.send)?].map(SecretBytes::new);
        let [recv, send] = &halves;
        Some(Self::from_parts(&[recv, send]))
    }

    fn from_parts(parts: &[&SecretBytes]) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        let octets = parts.iter().flat_map(|part| part.expose());
        for (to, from) in key.iter_mut().zip(octets) {
            *to = *from;
        }
        Self(key)
    }
}

impl core::fmt::Debug for Hlak {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Hlak(..)")
    }
}

/// Another key with which a wrong MAC would have been right: a hint for the log, never a reason to accept it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Guess {
    /// All zeros: the client has no keys, as if it had used PAP.
    Zeros,
    /// Send before receive: somebody took the other side's view.
    Swapped,
    /// The receive key alone.
    ReceiveOnly,
}

/// Why a binding is refused.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mismatch {
    /// The hash is none that was offered, or not exactly one.
    HashProtocol,
    /// The nonce is not the one of this call.
    Nonce,
    /// The certificate is not the one of this connection: TLS ends at somebody else.
    Certificate,
    /// The MAC is wrong: the client has other keys, or somebody relays.
    Mac(Option<Guess>),
}

/// What the server expects to be bound.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The hashes that were offered.
    pub hashes: Vec<HashProtocol>,
    /// The nonce of the Call Connect Ack.
    pub nonce: [u8; 32],
    /// The certificate of this connection.
    pub certificate: CertificateHashes,
}

impl Expected {
    /// Checks everything that needs no keys and returns the chosen hash.
    ///
    /// # Errors
    ///
    /// Says which field is wrong.
    pub fn check(&self, binding: &CryptoBinding) -> Result<HashProtocol, Mismatch> {
        let hash = HashProtocol::from_bit(binding.hash)
            .filter(|hash| self.hashes.contains(hash))
            .ok_or(Mismatch::HashProtocol)?;
        if !same(&binding.nonce, &self.nonce) {
            return Err(Mismatch::Nonce);
        }
        if !same(&binding.certificate_hash, &self.certificate.field(hash)) {
            return Err(Mismatch::Certificate);
        }
        Ok(hash)
    }
}

/// Checks the MAC of a `CALL_CONNECTED` whose hash is `hash`; `keys` are what the inner authentication left.
///
/// # Errors
///
/// A mismatch brings the guess that explains it, if there is one.
pub fn verify_mac(
    hash: HashProtocol,
    packet: &[u8; CONNECTED_LEN],
    keys: Option<&InnerKeys>,
) -> Result<(), Mismatch> {
    let (_, found) = packet.split_at(CONNECTED_LEN - MAC_LEN);
    let fits = |hlak: &Hlak| same(found, &compound_mac(hash, hlak, packet));
    let halves = keys.and_then(Hlak::from_halves);
    if fits(&Hlak::from_keys(keys)) || halves.is_some_and(|hlak| fits(&hlak)) {
        return Ok(());
    }
    let guess = keys.and_then(|keys| {
        [
            (Guess::Zeros, Hlak::from_parts(&[])),
            (Guess::Swapped, Hlak::from_parts(&[&keys.send, &keys.recv])),
            (Guess::ReceiveOnly, Hlak::from_parts(&[&keys.recv])),
        ]
        .into_iter()
        .find(|(_, hlak)| fits(hlak))
        .map(|(guess, _)| guess)
    });
    Err(Mismatch::Mac(guess))
}

/// Returns the compound MAC over a `CALL_CONNECTED`, whatever stands in its MAC field; SHA-1 is padded with zeros.
#[must_use]
pub fn compound_mac(hash: HashProtocol, hlak: &Hlak, packet: &[u8; CONNECTED_LEN]) -> [u8; 32] {
    let mut input = *packet;
    let (_, mac) = input.split_at_mut(CONNECTED_LEN - MAC_LEN);
    mac.fill(0);
    let cmk = compound_mac_key(hash, hlak);
    match hash {
        HashProtocol::Sha1 => padded(&digest::hmac_sha1(&cmk, &input)),
        HashProtocol::Sha256 => digest::hmac_sha256(&cmk, &input),
    }
}

/// Returns the compound MAC key; one block of PRF+ is enough for both hashes.
fn compound_mac_key(hash: HashProtocol, hlak: &Hlak) -> Zeroizing<Vec<u8>> {
    let mut input = SEED.to_vec();
    let len: u16 = match hash {
        HashProtocol::Sha1 => 20,
        HashProtocol::Sha256 => 32,
    };
    input.extend(len.to_le_bytes());
    input.push(1);
    Zeroizing::new(match hash {
        HashProtocol::Sha1 => digest::hmac_sha1(hlak.0.as_slice(), &input).to_vec(),
        HashProtocol::Sha256 => digest::hmac_sha256(hlak.0.as_slice(), &input).to_vec(),
    })
}

/// Compares in constant time.
fn same(a: &[u8], b: &[u8]) -> bool {
    SecretBytes::from(a) == SecretBytes::from(b)
}

/// Puts zeros behind a SHA-1 value.
fn padded(sha1: &[u8; 20]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(sha1) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests;
