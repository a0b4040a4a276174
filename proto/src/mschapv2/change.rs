//! A new password during a log-in (RFC 2759 §7): what the peer sends when its old one has expired.

use zeroize::{Zeroize, Zeroizing};

use super::response::NtHash;
use super::{nt_password_hash, nt_response, user_without_domain};
use crate::crypto::legacy::{des_decrypt, des_encrypt, rc4};

/// The octets of the new password in its block: 256 characters of UTF-16 and their length.
const BLOCK: usize = 516;
/// The characters, without the length.
const TEXT: usize = 512;

/// The value of a Change-Password packet with its identifier. All of it is hidden under hashes of the passwords, and is
/// wiped all the same.
#[derive(Clone, Eq, PartialEq)]
pub struct PasswordChange {
    /// The identifier: that of the Failure, plus one.
    pub identifier: u8,
    /// The challenge that the Failure brought.
    pub challenge: [u8; 16],
    /// The new password under the hash of the old one.
    pub encrypted_password: Box<[u8; BLOCK]>,
    /// The hash of the old password under that of the new one.
    pub encrypted_hash: [u8; 16],
    /// The peer's own challenge.
    pub peer_challenge: [u8; 16],
    /// The NT-Response, made with the new password.
    pub nt_response: [u8; 24],
    /// The flags, zero by the standard.
    pub flags: [u8; 2],
}

impl Drop for PasswordChange {
    fn drop(&mut self) {
        self.encrypted_password.zeroize();
        self.encrypted_hash.zeroize();
    }
}

impl core::fmt::Debug for PasswordChange {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PasswordChange")
            .field("identifier", &self.identifier)
            .finish_non_exhaustive()
    }
}

impl PasswordChange {
    /// The octets of the value: of everything but the identifier and the challenge.
    pub const LEN: usize = BLOCK + 16 + 16 + 8 + 24 + 2;

    /// Makes the peer's half: `old` and `new` are passwords, `padding` is random; `user` may have a `DOMAIN\`.
    ///
    /// `None` for a new password of more than 256 UTF-16 units.
    #[must_use]
    pub fn new(
        (old, new): (&str, &str),
        user: &[u8],
        (identifier, challenge): (u8, [u8; 16]),
        peer_challenge: [u8; 16],
        padding: &[u8; TEXT],
    ) -> Option<Self> {
        let (old, hash) = (nt_password_hash(old), nt_password_hash(new));
        let wide: Zeroizing<Vec<u8>> =
            Zeroizing::new(new.encode_utf16().flat_map(u16::to_le_bytes).collect());
        let mut block = Zeroizing::new([0; BLOCK]);
        let (text, len) = block.split_first_chunk_mut::<TEXT>()?;
        *text = *padding;
        text.get_mut(TEXT.checked_sub(wide.len())?..)?
            .copy_from_slice(&wide);
        len.copy_from_slice(&u32::try_from(wide.len()).ok()?.to_le_bytes());
        rc4(old.expose(), block.as_mut_slice());
        let user = user_without_domain(user);
        Some(Self {
            identifier,
            challenge,
            encrypted_password: Box::new(*block),
            encrypted_hash: hash_under(&hash, old.expose(), des_encrypt),
            peer_challenge,
            nt_response: nt_response(&challenge, &peer_challenge, user, &hash),
            flags: [0; 2],
        })
    }

    /// Returns the value of the packet.
    #[must_use]
    pub fn value(&self) -> Zeroizing<Vec<u8>> {
        let mut value = Zeroizing::new(Vec::with_capacity(Self::LEN));
        value.extend_from_slice(self.encrypted_password.as_slice());
        value.extend_from_slice(&self.encrypted_hash);
        value.extend_from_slice(&self.peer_challenge);
        value.extend_from_slice(&[0; 8]);
        value.extend_from_slice(&self.nt_response);
        value.extend_from_slice(&self.flags);
        value
    }

    /// Takes the value of a packet; `None` when it has another length.
    #[must_use]
    pub fn read(identifier: u8, challenge: [u8; 16], value: &[u8]) -> Option<Self> {
        let (password, rest) = value.split_first_chunk::<BLOCK>()?;
        let (encrypted_hash, rest) = rest.split_first_chunk()?;
        let (peer_challenge, rest) = rest.split_first_chunk()?;
        let (_reserved, rest) = rest.split_first_chunk::<8>()?;
        let (nt_response, rest) = rest.split_first_chunk()?;
        Some(Self {
            identifier,
            challenge,
            encrypted_password: Box::new(*password),
            encrypted_hash: *encrypted_hash,
            peer_challenge: *peer_challenge,
            nt_response: *nt_response,
            flags: rest.try_into().ok()?,
        })
    }

    /// Returns the new password as who knows the hash of the old one sees it; `None` when the parts do not agree.
    #[must_use]
    pub fn reveal(&self, old: &NtHash, user: &[u8]) -> Option<Zeroizing<String>> {
        let mut block = Zeroizing::new(*self.encrypted_password);
        rc4(old.expose(), block.as_mut_slice());
        let (text, len) = block.split_first_chunk::<TEXT>()?;
        let len = usize::try_from(u32::from_le_bytes(len.try_into().ok()?)).ok()?;
        let text = text.get(TEXT.checked_sub(len)?..)?;
        let units = text.chunks_exact(2);
        let units = units.filter_map(|unit| Some(u16::from_le_bytes(unit.try_into().ok()?)));
        let new: Result<String, _> = char::decode_utf16(units).collect();
        let new = Zeroizing::new(new.ok()?);
        let hash = nt_password_hash(&new);
        let known = hash_under(&hash, &self.encrypted_hash, des_decrypt) == *old.expose();
        let user = user_without_domain(user);
        let response = nt_response(&self.challenge, &self.peer_challenge, user, &hash);
        (known && response == self.nt_response).then_some(new)
    }
}

/// Applies DES to both halves of `block` under the first two parts of a hash (RFC 2759 §8.13).
fn hash_under(
    key: &NtHash,
    block: &[u8; 16],
    des: impl Fn([u8; 7], [u8; 8]) -> [u8; 8],
) -> [u8; 16] {
    let mut out = [0; 16];
    let halves = out.chunks_exact_mut(8).zip(block.chunks_exact(8));
    for ((to, from), part) in halves.zip(key.expose().chunks_exact(7)) {
        if let (Ok(part), Ok(from)) = (part.try_into(), from.try_into()) {
            to.copy_from_slice(&des(part, from));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(new: &str) -> Option<PasswordChange> {
        let padding = core::array::from_fn(|n| u8::try_from(n % 251).unwrap());
        PasswordChange::new(
            ("old pass", new),
            b"CORP\\alice",
            (9, [3; 16]),
            [4; 16],
            &padding,
        )
    }

    #[test]
    fn the_new_password_is_seen_by_who_knows_the_old_one_alone() {
        let old = nt_password_hash("old pass");
        let longest = "\u{1f511}".repeat(128);
        for new in ["n\u{e9}w \u{1f511}", "", &longest] {
            let sent = change(new).unwrap();
            let value = sent.value();
            assert_eq!(value.len(), PasswordChange::LEN);
            let read = PasswordChange::read(9, [3; 16], &value).unwrap();
            assert_eq!(read, sent);
            assert_eq!(read.reveal(&old, b"alice").unwrap().as_str(), new);
            assert!(read.reveal(&nt_password_hash("guess"), b"alice").is_none());
            assert!(read.reveal(&old, b"bob").is_none());
        }
        assert!(change(&"x".repeat(257)).is_none());
    }

    #[test]
    fn a_value_of_another_length_is_none() {
        let value = change("new").unwrap().value();
        for len in [0, 515, 516, 548, PasswordChange::LEN - 1] {
            assert!(PasswordChange::read(9, [3; 16], &value[..len]).is_none());
        }
        let longer = [value.as_slice(), &[0]].concat();
        assert!(PasswordChange::read(9, [3; 16], &longer).is_none());
    }

    #[test]
    fn each_part_is_checked() {
        let old = nt_password_hash("old pass");
        let good = change("new").unwrap();
        let spoilt: [fn(&mut PasswordChange); 4] = [
            |change| change.encrypted_password[515] ^= 0x80,
            |change| change.encrypted_password[511] ^= 1,
            |change| change.encrypted_hash[8] ^= 1,
            |change| change.nt_response[0] ^= 1,
        ];
        for spoil in spoilt {
            let mut change = good.clone();
            spoil(&mut change);
            assert!(change.reveal(&old, b"alice").is_none());
        }
    }
}
