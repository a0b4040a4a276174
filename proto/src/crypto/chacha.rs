//! ChaCha20-Poly1305 (RFC 8439), and with a nonce of 24 octets (XChaCha20-Poly1305).

use chacha20poly1305::aead::array::Array;
use chacha20poly1305::{AeadInOut, KeyInit, Tag, XChaCha20Poly1305};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// The tag is wrong, or the octets are too few to have one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not authentic")]
pub struct Forged;

/// A key that is used with a counter as nonce: 32 octets, wiped when dropped, never shown.
///
/// The schedule is made anew for each packet: that is a copy of 32 octets, and it keeps half a kilobyte a key out of
/// every session.
#[derive(Clone)]
pub struct ChaChaKey(Zeroizing<[u8; 32]>);

impl ChaChaKey {
    /// The octets of a tag.
    pub const TAG: usize = 16;

    /// Takes the key over.
    #[must_use]
    pub fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self(key)
    }

    /// Encrypts `body` in place and returns its tag; fails only for a body of more than 256 GiB.
    ///
    /// The nonce is four zero octets and `counter` in little-endian order; a counter must not be used twice.
    pub fn seal(&self, counter: u64, aad: &[u8], body: &mut [u8]) -> Result<[u8; 16], Forged> {
        let tag = self
            .ready()?
            .seal_in_place_separate_tag(nonce(counter), Aad::from(aad), body)
            .map_err(|_| Forged)?;
        tag.as_ref().try_into().map_err(|_| Forged)
    }

    /// Opens `sealed`, which ends with the tag, in place and returns what was sealed.
    pub fn open<'a>(
        &self,
        counter: u64,
        aad: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], Forged> {
        self.ready()?
            .open_in_place(nonce(counter), Aad::from(aad), sealed)
            .map_err(|_| Forged)
    }

    fn ready(&self) -> Result<LessSafeKey, Forged> {
        UnboundKey::new(&CHACHA20_POLY1305, self.0.as_slice())
            .map(LessSafeKey::new)
            .map_err(|_| Forged)
    }
}

impl core::fmt::Debug for ChaChaKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ChaChaKey(..)")
    }
}

/// Seals `body` in place under a nonce of 24 random octets and returns its tag.
pub fn xchacha_seal(
    key: &[u8; 32],
    nonce: &[u8; 24],
    aad: &[u8],
    body: &mut [u8],
) -> Result<[u8; 16], Forged> {
    XChaCha20Poly1305::new(&Array(*key))
        .encrypt_inout_detached(&Array(*nonce), aad, body.into())
        .map(Into::into)
        .map_err(|_| Forged)
}

/// Opens `body` in place.
pub fn xchacha_open(
    key: &[u8; 32],
    nonce: &[u8; 24],
    aad: &[u8],
    body: &mut [u8],
    tag: &[u8; 16],
) -> Result<(), Forged> {
    XChaCha20Poly1305::new(&Array(*key))
        .decrypt_inout_detached(&Array(*nonce), aad, body.into(), &Tag::from(*tag))
        .map_err(|_| Forged)
}

fn nonce(counter: u64) -> Nonce {
    let [octets @ .., _, _, _, _] = (u128::from(counter) << 32).to_le_bytes();
    Nonce::assume_unique_for_key(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let key = ChaChaKey::new(Zeroizing::new([7; 32]));
        let mut bytes = b"hello".to_vec();
        let tag = key.seal(9, b"aad", &mut bytes).unwrap();
        assert_ne!(bytes, b"hello");
        bytes.extend(tag);
        assert_eq!(key.open(8, b"aad", &mut bytes.clone()), Err(Forged));
        assert_eq!(key.open(9, b"aaa", &mut bytes.clone()), Err(Forged));
        assert_eq!(key.open(9, b"aad", &mut bytes.clone()[..15]), Err(Forged));
        assert_eq!(key.open(9, b"aad", &mut bytes).unwrap(), b"hello");
    }

    #[test]
    fn xchacha_matches_the_draft() {
        // draft-irtf-cfrg-xchacha-03, A.3.1.
        let key = core::array::from_fn(|at| 0x80 + u8::try_from(at).unwrap());
        let nonce = core::array::from_fn(|at| 0x40 + u8::try_from(at).unwrap());
        let aad = [
            0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7,
        ];
        let text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip \
            for the future, sunscreen would be it.";
        let mut body = text.to_vec();
        let tag = xchacha_seal(&key, &nonce, &aad, &mut body).unwrap();
        assert_eq!(body[..4], [0xbd, 0x6d, 0x17, 0x9d]);
        assert_eq!(
            tag,
            [
                0xc0, 0x87, 0x59, 0x24, 0xc1, 0xc7, 0x98, 0x79, 0x47, 0xde, 0xaf, 0xd8, 0x78, 0x0a,
                0xcf, 0x49
            ]
        );
        let mut wrong = body.clone();
        assert!(xchacha_open(&key, &nonce, b"", &mut wrong, &tag).is_err());
        xchacha_open(&key, &nonce, &aad, &mut body, &tag).unwrap();
        assert_eq!(body, text);
    }
}
