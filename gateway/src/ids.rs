//! Names that every floor may use.

use std::fmt;

/// The name of a session: eight hexadecimal digits in the log and the command line, with which `Acct-Session-Id` begins.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionId(u32);

impl SessionId {
    /// Makes the id from a random number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Returns the number, for `NAS-Port`.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Returns the `Acct-Session-Id` of a session that began then, in seconds of Unix time.
    ///
    /// Two sessions of all those that a server remembers must not share one, and the id alone is drawn from too few
    /// numbers: among 50,000 sessions two would have the same one time in four.
    #[must_use]
    pub fn accounting_id(self, began: u64) -> String {
        format!("{self}-{began:08x}")
    }

    /// Reads what [`fmt::Display`] wrote; `None` when it is no session id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_id = text.len() == 8 && text.bytes().all(|octet| octet.is_ascii_hexdigit());
        is_id
            .then(|| u32::from_str_radix(text, 16).ok().map(Self))
            .flatten()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text() {
        let id = SessionId::new(0x0a2b_3c4d);
        assert_eq!(id.to_string(), "0a2b3c4d");
        assert_eq!(SessionId::parse("0a2b3c4d"), Some(id));
        assert_eq!(id.accounting_id(0x6743_9f12), "0a2b3c4d-67439f12");
        assert_eq!(SessionId::parse("2b3c4d"), None);
        assert_eq!(SessionId::parse("+a2b3c4d"), None);
    }
}
