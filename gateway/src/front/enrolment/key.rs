//! A device's public key as people pass it around.

use std::fmt;

/// A public key of Curve25519 in base64, as `wg` prints it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PublicKey(pub [u8; 32]);

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl PublicKey {
    /// Reads the 44 characters that `wg` prints; nothing else is a key.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_suffix('=').filter(|digits| digits.len() == 43)?;
        let (mut bits, mut held, mut at) = (0_u32, 0_u32, 0_usize);
        let mut key = [0; 32];
        for digit in digits.bytes() {
            let value = DIGITS.iter().position(|known| *known == digit)?;
            bits = bits << 6 | u32::try_from(value).ok()?;
            held += 6;
            if held >= 8 {
                held -= 8;
                *key.get_mut(at)? = u8::try_from(bits >> held & 0xff).ok()?;
                at += 1;
                bits &= (1 << held) - 1;
            }
        }
        (bits == 0).then_some(Self(key))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |value: u32| {
            let place = usize::try_from(value & 63).unwrap_or_default();
            char::from(DIGITS.get(place).copied().unwrap_or(b'A'))
        };
        for chunk in self.0.chunks(3) {
            let octet = |at| u32::from(chunk.get(at).copied().unwrap_or_default());
            let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
            write!(
                f,
                "{}{}{}",
                digit(bits >> 18),
                digit(bits >> 12),
                digit(bits >> 6)
            )?;
            match chunk.len() {
                3 => write!(f, "{}", digit(bits))?,
                _ => f.write_str("=")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_and_nothing_else_is_one() {
        let text = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
        let key = PublicKey::parse(text).unwrap();
        assert_eq!(key.to_string(), text);
        let all: [u8; 32] = std::array::from_fn(|n| u8::try_from(n * 7).unwrap());
        assert_eq!(
            PublicKey::parse(&PublicKey(all).to_string()),
            Some(PublicKey(all))
        );
        for wrong in [
            "",
            "=",
            "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg",
            "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dh=",
            "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8D-=",
            " xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8D=",
            "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dgg=",
        ] {
            assert_eq!(PublicKey::parse(wrong), None, "{wrong}");
        }
    }
}
