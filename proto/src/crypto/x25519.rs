//! Diffie-Hellman on Curve25519 (RFC 7748).

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// Returns the public key of a private key.
#[must_use]
pub fn x25519_public(private: &[u8; 32]) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(*private)).to_bytes()
}

/// Returns the shared secret, or nothing when the other side's point is of low order, so that the result would not
/// depend on `private` (RFC 7748 §6.1).
#[must_use]
pub fn x25519(private: &[u8; 32], public: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    let shared = StaticSecret::from(*private).diffie_hellman(&PublicKey::from(*public));
    shared
        .was_contributory()
        .then(|| Zeroizing::new(shared.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(hex: &str) -> [u8; 32] {
        core::array::from_fn(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap())
    }

    #[test]
    fn multiplies_as_in_rfc_7748() {
        // Section 5.2, first vector.
        let scalar = key("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
        let point = key("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
        let product = key("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
        assert_eq!(*x25519(&scalar, &point).unwrap(), product);
    }

    #[test]
    fn both_sides_agree() {
        let (one, other) = ([1; 32], [2; 32]);
        assert_eq!(
            x25519(&one, &x25519_public(&other)).unwrap(),
            x25519(&other, &x25519_public(&one)).unwrap()
        );
    }

    #[test]
    fn refuses_points_of_low_order() {
        let mut one = [0; 32];
        one[0] = 1;
        // The point of order 8 that everybody lists.
        let eight = key("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800");
        for point in [[0; 32], one, eight] {
            assert_eq!(x25519(&[7; 32], &point), None);
        }
    }
}
