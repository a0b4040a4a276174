//! BLAKE2s (RFC 7693), keyed by itself and as HMAC.

use blake2::digest::consts::U16;
use blake2::digest::{Digest, FixedOutput, KeyInit, Mac, Update};
use blake2::{Blake2s256, Blake2sMac};
use hmac::SimpleHmac;
use zeroize::Zeroizing;

/// Returns BLAKE2s-256 of the parts one behind the other.
#[must_use]
pub fn blake2s(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Blake2s256::new();
    for part in parts {
        Digest::update(&mut hash, part);
    }
    hash.finalize().into()
}

/// Returns keyed BLAKE2s with 16 octets of output, of the parts one behind the other; `key` has 1 to 32 octets.
#[must_use]
#[expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "the key's length is bounded by its type"
)]
pub fn blake2s_mac<const N: usize>(key: &[u8; N], parts: &[&[u8]]) -> [u8; 16] {
    const {
        assert!(N > 0 && N <= 32, "BLAKE2s takes keys of up to 32 octets");
    }
    let mut mac =
        Blake2sMac::<U16>::new_from_slice(key).expect("BLAKE2s takes keys of up to 32 octets");
    for part in parts {
        Update::update(&mut mac, part);
    }
    mac.finalize_fixed().into()
}

/// Returns HMAC-BLAKE2s-256 (RFC 2104) of the parts one behind the other.
#[must_use]
#[expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "HMAC takes keys of any length, so this cannot happen"
)]
pub fn hmac_blake2s(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut mac =
        SimpleHmac::<Blake2s256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        Mac::update(&mut mac, part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        let digits = bytes.iter().flat_map(|octet| [octet >> 4, octet & 15]);
        digits
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect()
    }

    #[test]
    fn hashes_as_rfc_7693_appendix_b() {
        assert_eq!(
            hex(&blake2s(&[b"a", b"bc"])),
            "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"
        );
    }

    /// The expected values come from Python's hashlib and hmac.
    #[test]
    fn keyed_and_hmac_agree_with_another_implementation() {
        let key: [u8; 32] = core::array::from_fn(|at| u8::try_from(at).unwrap());
        let short: [u8; 16] = core::array::from_fn(|at| u8::try_from(at).unwrap());
        assert_eq!(
            hex(&blake2s_mac(&short, &[b"mess", b"age"])),
            "37d0934cac1b83cf742574ea32dd9481"
        );
        assert_eq!(
            hex(&blake2s_mac(&key, &[b"message"])),
            "2b75eb9c63ca8524ff53d01905b406eb"
        );
        assert_eq!(
            hex(&*hmac_blake2s(&key, &[b"mess", b"age"])),
            "db1ebbda189c6ec2d7755c2592537050e44264aa57a3d4f825f451ebcdff4cd3"
        );
    }
}
