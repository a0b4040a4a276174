//! Keys of peers, as `wg` prints them: 44 characters of base64.

use core::fmt;
use core::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::crypto::Rng;
use crate::crypto::x25519::{x25519, x25519_public};

/// The text is not 32 octets in base64.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a key is 32 octets in base64, which is 44 characters")]
pub struct KeyError;

/// A peer's identity: a point on Curve25519.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Takes the octets as they are.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the octets.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns whether the point is of low order: no handshake with such a key can succeed, because its shared secrets
    /// would be known to everybody. Costs one multiplication.
    #[must_use]
    pub fn is_low_order(&self) -> bool {
        // Every private key is a multiple of the cofactor, so any one tells.
        x25519(&[0x55; 32], &self.0).is_none()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(|bytes| Self(*bytes))
    }
}

/// Our half of a [`PublicKey`]: wiped when dropped, never shown.
#[derive(Clone)]
pub struct PrivateKey(Zeroizing<[u8; 32]>);

impl PrivateKey {
    /// Takes 32 random octets and clamps them (RFC 7748 §5).
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let mut key = Zeroizing::new(bytes);
        if let [first, .., last] = key.as_mut_slice() {
            *first &= 0b1111_1000;
            *last = (*last & 0b0111_1111) | 0b0100_0000;
        }
        Self(key)
    }

    /// Makes a new key.
    #[must_use]
    pub fn generate(rng: &mut Rng) -> Self {
        Self::from_bytes(rng.array())
    }

    /// Returns the public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(x25519_public(&self.0))
    }

    /// Returns base64, for a file that only its owner reads; the name is long so that every use can be found.
    #[must_use]
    pub fn expose_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.0.as_slice()))
    }

    /// Returns the secret that is shared with the owner of `other`; nothing for a point of low order.
    pub(super) fn agree(&self, other: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        x25519(&self.0, other)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

impl FromStr for PrivateKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(|bytes| Self::from_bytes(*bytes))
    }
}

/// A secret that both peers have besides their keys; all zero octets when there is none.
#[derive(Clone)]
pub struct PresharedKey(Zeroizing<[u8; 32]>);

impl PresharedKey {
    /// Takes the octets as they are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Makes a new key.
    #[must_use]
    pub fn generate(rng: &mut Rng) -> Self {
        Self::from_bytes(rng.array())
    }

    /// Returns base64, for a file that only its owner reads; the name is long so that every use can be found.
    #[must_use]
    pub fn expose_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.0.as_slice()))
    }

    /// Lends the octets.
    pub(super) fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Default for PresharedKey {
    /// No pre-shared key.
    fn default() -> Self {
        Self::from_bytes([0; 32])
    }
}

impl PartialEq for PresharedKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for PresharedKey {}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(..)")
    }
}

impl FromStr for PresharedKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(Self)
    }
}

/// Decodes a key; the padding must be there and the spare bits zero.
fn decode(text: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| KeyError)?);
    let key = bytes.as_slice().try_into().map_err(|_| KeyError)?;
    Ok(Zeroizing::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_keys_as_wg_does() {
        // From the wg(8) manual page.
        let text = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
        let key: PublicKey = text.parse().unwrap();
        assert_eq!(key.to_string(), text);
        let private: PrivateKey = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
            .parse()
            .unwrap();
        assert_eq!(
            *private.expose_base64(),
            "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
        );
        assert_eq!(
            private.public().to_string(),
            "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="
        );
    }

    #[test]
    fn refuses_what_is_not_a_key() {
        for text in [
            "",
            "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg",
            "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dh=",
            "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Q==",
        ] {
            assert_eq!(text.parse::<PublicKey>(), Err(KeyError), "{text}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!(
            "{:?} {:?}",
            PrivateKey::from_bytes([1; 32]),
            PresharedKey::from_bytes([2; 32])
        );
        assert_eq!(shown, "PrivateKey(..) PresharedKey(..)");
    }

    #[test]
    fn knows_points_of_low_order() {
        assert!(PublicKey::from_bytes([0; 32]).is_low_order());
        assert!(!PrivateKey::from_bytes([3; 32]).public().is_low_order());
    }
}
