//! Values hidden under the shared secret: User-Password (RFC 2865 §5.2), MPPE keys (RFC 2548 §2.4.2).
//!
//! Both are the same chain, `c(i) = p(i) xor MD5(secret + c(i-1))`; they differ in what stands for `c(0)` and in how
//! the length travels.

use thiserror::Error;
use zeroize::Zeroizing;

use crate::crypto::SecretBytes;
use crate::crypto::legacy::md5_of;

/// The longest password that fits (RFC 2865 §5.2).
pub const MAX_PASSWORD: usize = 128;

/// Why a hidden key cannot be used.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum HiddenError {
    /// The value is no salt and whole blocks of 16.
    #[error("hidden value of {octets} octets")]
    Size {
        /// How many.
        octets: usize,
    },
    /// The clear text says that it is longer than what came: it was hidden under another secret.
    #[error("hidden under another secret")]
    Secret,
    /// The clear text is whole but no key of 16 or 32 octets.
    #[error("key of {octets} octets")]
    Key {
        /// How many.
        octets: usize,
    },
}

/// Hides a password for User-Password; `None` when it is longer than [`MAX_PASSWORD`].
#[must_use]
pub fn hide_password(
    password: &[u8],
    secret: &[u8],
    request_authenticator: &[u8; 16],
) -> Option<Vec<u8>> {
    if password.len() > MAX_PASSWORD {
        return None;
    }
    let mut clear = Zeroizing::new(password.to_vec());
    clear.resize(password.len().next_multiple_of(16).max(16), 0);
    Some(hide(&clear, secret, &[request_authenticator]))
}

/// Reads a User-Password, the padding cut off; `None` when its size is wrong. For the server's side in tests.
#[must_use]
pub fn reveal_password(
    value: &[u8],
    secret: &[u8],
    request_authenticator: &[u8; 16],
) -> Option<SecretBytes> {
    if value.is_empty() || value.len() > MAX_PASSWORD || !value.len().is_multiple_of(16) {
        return None;
    }
    let clear = reveal(value, secret, &[request_authenticator]);
    let len = clear.iter().rposition(|octet| *octet != 0);
    let len = len.map_or(0, |last| last.saturating_add(1));
    Some(clear.get(..len).unwrap_or_default().into())
}

/// Hides a key for MS-MPPE-Send-Key or -Recv-Key: salt, then the chain over length, key, padding.
///
/// For the server's side in tests. Keys longer than 255 octets are cut.
#[must_use]
pub fn hide_key(
    key: &[u8],
    salt: [u8; 2],
    secret: &[u8],
    request_authenticator: &[u8; 16],
) -> Vec<u8> {
    let len = u8::try_from(key.len()).unwrap_or(u8::MAX);
    let mut clear = Zeroizing::new(vec![len]);
    clear.extend(key.iter().take(usize::from(len)));
    let padded = clear.len().next_multiple_of(16);
    clear.resize(padded, 0);
    let mut out = salt.to_vec();
    out.extend(hide(&clear, secret, &[request_authenticator, &salt]));
    out
}

/// Reads MS-MPPE-Send-Key or -Recv-Key: a key of 16 or 32 octets.
///
/// # Errors
///
/// The length inside is as hostile as any from the wire, even in a reply that is authentic: a proxy may have hidden the
/// value again under a wrong secret.
pub fn reveal_key(
    value: &[u8],
    secret: &[u8],
    request_authenticator: &[u8; 16],
) -> Result<SecretBytes, HiddenError> {
    let size = HiddenError::Size {
        octets: value.len(),
    };
    let (salt, hidden) = value.split_at_checked(2).ok_or(size)?;
    if hidden.is_empty() || !hidden.len().is_multiple_of(16) {
        return Err(size);
    }
    let clear = reveal(hidden, secret, &[request_authenticator, salt]);
    let (len, rest) = clear.split_first().ok_or(size)?;
    let octets = usize::from(*len);
    let key = rest.get(..octets).ok_or(HiddenError::Secret)?;
    if octets == 16 || octets == 32 {
        Ok(key.into())
    } else {
        Err(HiddenError::Key { octets })
    }
}

/// Hides whole blocks.
fn hide(clear: &[u8], secret: &[u8], first: &[&[u8]]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(clear.len());
    for block in clear.chunks(16) {
        let start = out.len().saturating_sub(16);
        let mask = mask(secret, first, out.get(start..).unwrap_or_default());
        out.extend(block.iter().zip(mask).map(|(octet, mask)| octet ^ mask));
    }
    out
}

/// Reveals whole blocks.
fn reveal(hidden: &[u8], secret: &[u8], first: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(hidden.len()));
    let mut previous: &[u8] = &[];
    for block in hidden.chunks(16) {
        let mask = mask(secret, first, previous);
        out.extend(block.iter().zip(mask).map(|(octet, mask)| octet ^ mask));
        previous = block;
    }
    out
}

/// Returns the mask of one block: over the previous one, or over `first` when there is none.
fn mask(secret: &[u8], first: &[&[u8]], previous: &[u8]) -> [u8; 16] {
    if previous.is_empty() {
        let mut parts = vec![secret];
        parts.extend_from_slice(first);
        md5_of(&parts)
    } else {
        md5_of(&[secret, previous])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AUTHENTICATOR: [u8; 16] = [
        0x0f, 0x40, 0x3f, 0x94, 0x73, 0x97, 0x80, 0x57, 0xbd, 0x83, 0xd5, 0xcb, 0x98, 0xf4, 0x22,
        0x7a,
    ];

    #[test]
    fn the_password_of_rfc_2865_is_hidden_as_printed() {
        // RFC 2865 §7.1: nemo's password "arctangent" under "xyzzy5461".
        let hidden = hide_password(b"arctangent", b"xyzzy5461", &AUTHENTICATOR).unwrap();
        assert_eq!(
            hidden,
            [
                0x0d, 0xbe, 0x70, 0x8d, 0x93, 0xd4, 0x13, 0xce, 0x31, 0x96, 0xe4, 0x3f, 0x78, 0x2a,
                0x0a, 0xee
            ]
        );
    }

    #[test]
    fn a_password_has_up_to_128_octets() {
        let hide = |len| hide_password(&vec![b'p'; len], b"s", &AUTHENTICATOR);
        assert_eq!(hide(0).unwrap().len(), 16);
        assert_eq!(hide(16).unwrap().len(), 16);
        assert_eq!(hide(17).unwrap().len(), 32);
        assert_eq!(hide(128).unwrap().len(), 128);
        assert!(hide(129).is_none());
    }

    #[test]
    fn a_key_under_another_secret_or_of_another_size_is_refused() {
        let salt = [0x80, 1];
        for len in [16, 32] {
            let key = vec![0x5a; len];
            let hidden = hide_key(&key, salt, b"right", &AUTHENTICATOR);
            assert_eq!(hidden.len(), if len == 16 { 34 } else { 50 });
            let revealed = reveal_key(&hidden, b"right", &AUTHENTICATOR).unwrap();
            assert_eq!(revealed.expose(), key);
        }
        for len in [0, 8, 15, 17, 31, 33] {
            let hidden = hide_key(&vec![1; len], salt, b"right", &AUTHENTICATOR);
            assert_eq!(
                reveal_key(&hidden, b"right", &AUTHENTICATOR),
                Err(HiddenError::Key { octets: len })
            );
        }
        for len in [0, 1, 2, 17, 33, 49, 51] {
            assert_eq!(
                reveal_key(&vec![0; len], b"right", &AUTHENTICATOR),
                Err(HiddenError::Size { octets: len })
            );
        }
        // Whatever comes out under a wrong secret, it is no key of ours.
        let hidden = hide_key(&[1; 16], salt, b"right", &AUTHENTICATOR);
        assert!(reveal_key(&hidden, b"wrong", &AUTHENTICATOR).is_err());
    }

    proptest! {
        #[test]
        fn what_was_hidden_is_revealed(
            password in prop::collection::vec(1u8.., 0..=128),
            secret: Vec<u8>,
            authenticator: [u8; 16],
        ) {
            let hidden = hide_password(&password, &secret, &authenticator).unwrap();
            let clear = reveal_password(&hidden, &secret, &authenticator).unwrap();
            prop_assert_eq!(clear.expose(), password);
        }

        #[test]
        fn any_hidden_key_is_revealed_without_panic(value: Vec<u8>, secret: Vec<u8>) {
            if let Ok(key) = reveal_key(&value, &secret, &AUTHENTICATOR) {
                prop_assert!(key.len() == 16 || key.len() == 32);
            }
        }
    }
}
