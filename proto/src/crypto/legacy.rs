//! MD4, MD5, DES, RC4: each function names the one RFC that forces it.
//!
//! None of them is safe; the protocols that want them leave no choice, and nothing else may call them.

use des::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use hmac::{Hmac, Mac};
use md4::Md4;
use md5::{Digest, Md5};
use rc4::StreamCipher;

/// Returns MD4 of `data` (`NtPasswordHash`, RFC 2759 §8.3).
#[must_use]
pub fn md4(data: &[u8]) -> [u8; 16] {
    Md4::digest(data).into()
}

/// Returns MD5 of the parts one behind the other (RFC 2865 §3, §5.2; RFC 1994 §4.1).
#[must_use]
pub fn md5_of(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// Returns HMAC-MD5 of the parts one behind the other (Message-Authenticator, RFC 3579 §3.2).
#[must_use]
#[expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "HMAC takes keys of any length, so this cannot happen"
)]
pub fn hmac_md5(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut mac =
        <Hmac<Md5> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Encrypts one block with DES under a key of 56 bits (`DesEncrypt`, RFC 2759 §8.6).
#[must_use]
pub fn des_encrypt(key: [u8; 7], clear: [u8; 8]) -> [u8; 8] {
    let mut block = clear.into();
    des::Des::new(&with_parity(key).into()).encrypt_block(&mut block);
    block.into()
}

/// Decrypts one block (the inverse of [`des_encrypt`]).
#[must_use]
pub fn des_decrypt(key: [u8; 7], hidden: [u8; 8]) -> [u8; 8] {
    let mut block = hidden.into();
    des::Des::new(&with_parity(key).into()).decrypt_block(&mut block);
    block.into()
}

/// Applies the key stream of RC4 (RFC 2759 §8.10); twice gives back what was there.
pub fn rc4(key: &[u8; 16], data: &mut [u8]) {
    // Every length from 1 to 256 is a key's.
    if let Ok(mut stream) = rc4::Rc4::new_from_slice(key) {
        stream.apply_keystream(data);
    }
}

/// Spreads 56 bits over eight octets; DES never looks at the parity bits.
fn with_parity(key: [u8; 7]) -> [u8; 8] {
    let bits = key
        .iter()
        .fold(0u64, |bits, octet| bits << 8 | u64::from(*octet));
    // Seven bits from each place, one further left, so that the parity bit stays clear.
    core::array::from_fn(|at| {
        let right = 7usize.saturating_sub(at).saturating_mul(7);
        let [.., low] = (bits >> right).to_be_bytes();
        low << 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        use core::fmt::Write;
        bytes.iter().fold(String::new(), |mut out, b| {
            write!(out, "{b:02x}").unwrap();
            out
        })
    }

    #[test]
    fn md4_matches_rfc_1320() {
        assert_eq!(hex(&md4(b"")), "31d6cfe0d16ae931b73c59d7e0c089c0");
        assert_eq!(
            hex(&md4(b"message digest")),
            "d9130a8164549fe818874806e1c7014b"
        );
    }

    #[test]
    fn md5_matches_rfc_1321() {
        assert_eq!(
            hex(&md5_of(&[b"mess", b"", b"age digest"])),
            "f96b697d7cb7938d525a2f31aaf161d0"
        );
    }

    #[test]
    fn hmac_md5_matches_rfc_2202() {
        assert_eq!(
            hex(&hmac_md5(&[0x0b; 16], &[b"Hi ", b"There"])),
            "9294727a3638bb1c13f48ef8158bfc9d"
        );
        let data: &[u8] = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(
            hex(&hmac_md5(&[0xaa; 80], &[data])),
            "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd"
        );
    }

    #[test]
    fn des_matches_rfc_2759_key_expansion() {
        // RFC 2759 §9.3: the raw key and what it becomes; the parity bits of ours stay zero.
        let raw = [0xfc, 0x15, 0x6a, 0xf7, 0xed, 0xcd, 0x6c];
        let expanded = [0xfd, 0x0b, 0x5b, 0x5e, 0x7f, 0x6e, 0x34, 0xd9];
        for (ours, theirs) in with_parity(raw).iter().zip(expanded) {
            assert_eq!(*ours, theirs & 0xfe);
        }
    }
}
