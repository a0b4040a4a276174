//! What a client offered.

use crate::crypto::SecretBytes;
use crate::mschapv2::PasswordChange;

/// A user name as the client sent it: 1 to 253 octets (RFC 2865 §5.1), never rewritten.
///
/// The octets need not be UTF-8; [`Identity::display`] is safe to log.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Identity(Vec<u8>);

impl Identity {
    /// The largest value of a RADIUS attribute.
    pub const MAX: usize = 253;

    /// Takes a name; `None` when it is empty or longer than [`Identity::MAX`].
    #[must_use]
    pub fn new(octets: &[u8]) -> Option<Self> {
        (1..=Self::MAX)
            .contains(&octets.len())
            .then(|| Self(octets.to_vec()))
    }

    /// Returns the octets as they came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the name for people: control characters and what is no UTF-8 are escaped.
    #[must_use]
    pub fn display(&self) -> String {
        let mut out = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if is_plain(c) {
                    out.push(c);
                } else {
                    out.extend(c.escape_unicode());
                }
            }
            for octet in chunk.invalid() {
                out.push_str("\\x");
                out.push(hex_digit(octet >> 4));
                out.push(hex_digit(octet & 15));
            }
        }
        out
    }
}

/// Returns the lower-case digit for the low four bits.
fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble & 15), 16).unwrap_or('?')
}

/// Returns whether a character may stand in a log as it is: no control, no bidirectional override, no separator.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

impl core::fmt::Debug for Identity {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}", self.display())
    }
}

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AuthMethod {
    /// PAP (RFC 1334 §2).
    Pap,
    /// CHAP with MD5 (RFC 1994).
    ChapMd5,
    /// MS-CHAPv2 (RFC 2759).
    MsChapV2,
    /// EAP, passed through (RFC 3748, 3579).
    Eap,
}

impl AuthMethod {
    /// Every method.
    pub const ALL: [Self; 4] = [Self::Pap, Self::ChapMd5, Self::MsChapV2, Self::Eap];

    /// Returns the word for the configuration, log fields and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pap => "pap",
            Self::ChapMd5 => "chap",
            Self::MsChapV2 => "mschapv2",
            Self::Eap => "eap",
        }
    }
}

/// The value of an MS-CHAPv2 Response (RFC 2759 §4) with its identifier.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MsChapV2Response {
    /// The CHAP identifier.
    pub identifier: u8,
    /// The authenticator's challenge that it answers.
    pub challenge: [u8; 16],
    /// The peer's own challenge.
    pub peer_challenge: [u8; 16],
    /// The NT-Response.
    pub nt_response: [u8; 24],
    /// The flags octet, zero by the standard.
    pub flags: u8,
}

/// What a client offered as proof.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Credentials {
    /// A password in clear.
    Pap {
        /// The user name.
        user: Identity,
        /// The password.
        password: SecretBytes,
    },
    /// An MD5 response.
    ChapMd5 {
        /// The user name.
        user: Identity,
        /// The CHAP identifier.
        identifier: u8,
        /// The challenge that it answers.
        challenge: Vec<u8>,
        /// `MD5(identifier, password, challenge)`.
        response: [u8; 16],
    },
    /// An MS-CHAPv2 response.
    MsChapV2 {
        /// The user name, with its domain if the client sent one.
        user: Identity,
        /// The response.
        response: MsChapV2Response,
    },
    /// A new password in place of one that has expired.
    MsChapV2Change {
        /// The user name, with its domain if the client sent one.
        user: Identity,
        /// The change.
        change: PasswordChange,
    },
    /// One EAP Response for the server behind the gateway.
    Eap {
        /// The identity from EAP-Response/Identity.
        user: Identity,
        /// The EAP packet.
        message: Vec<u8>,
        /// What the server asked to get back, if this is not the first round.
        state: Option<super::Challenge>,
    },
}

impl Credentials {
    /// Returns the name that the client gave.
    #[must_use]
    pub const fn user(&self) -> &Identity {
        match self {
            Self::Pap { user, .. }
            | Self::ChapMd5 { user, .. }
            | Self::MsChapV2 { user, .. }
            | Self::MsChapV2Change { user, .. }
            | Self::Eap { user, .. } => user,
        }
    }

    /// Returns the method.
    #[must_use]
    pub const fn method(&self) -> AuthMethod {
        match self {
            Self::Pap { .. } => AuthMethod::Pap,
            Self::ChapMd5 { .. } => AuthMethod::ChapMd5,
            Self::MsChapV2 { .. } | Self::MsChapV2Change { .. } => AuthMethod::MsChapV2,
            Self::Eap { .. } => AuthMethod::Eap,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_a_log_line() {
        let name = Identity::new(b"eve\n\x1b[2J\xff\"").unwrap();
        assert_eq!(name.display(), "eve\\u{a}\\u{1b}[2J\\xff\"");
        let name = Identity::new("a\u{202e}b\u{e9}".as_bytes()).unwrap();
        assert_eq!(name.display(), "a\\u{202e}b\u{e9}");
    }

    #[test]
    fn a_name_has_1_to_253_octets() {
        assert!(Identity::new(b"").is_none());
        assert!(Identity::new(&[b'a'; 253]).is_some());
        assert!(Identity::new(&[b'a'; 254]).is_none());
    }
}
