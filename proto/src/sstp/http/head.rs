//! What request and response heads have in common: lines, and where they end (RFC 9112 §2).

use thiserror::Error;

/// The largest head, blank lines ahead of it included.
pub const MAX_HEAD: usize = 8192;
/// The most header fields; no client sends ten.
const MAX_FIELDS: usize = 64;

/// Why a head is refused.
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum HttpError {
    /// The head does not end within [`MAX_HEAD`] octets, or has too many fields.
    #[error("request head too large")]
    TooLarge,
    /// It is no HTTP, or HTTP that two parsers might read in two ways.
    #[error("malformed request head")]
    Malformed,
    /// It is HTTP, but neither 1.0 nor 1.1.
    #[error("HTTP version not supported")]
    Version,
}

/// A head divided into its first line and its fields; borrows from the caller's buffer.
pub(super) struct Head<'a> {
    /// The request or status line.
    pub(super) start: &'a str,
    /// The lines of the fields.
    fields: &'a str,
    /// The octets of the head, what was skipped ahead of it and the blank line included.
    pub(super) len: usize,
}

impl<'a> Head<'a> {
    /// Finds the head at the front of `bytes`; `None` when more octets are needed.
    pub(super) fn find(bytes: &'a [u8]) -> Result<Option<Self>, HttpError> {
        let window = bytes.get(..MAX_HEAD).unwrap_or(bytes);
        let skipped = window
            .iter()
            .take_while(|octet| matches!(octet, b'\r' | b'\n' | b' ' | b'\t'))
            .count();
        let window = window.get(skipped..).unwrap_or_default();
        if window
            .first()
            .is_some_and(|octet| !octet.is_ascii_alphabetic())
        {
            return Err(HttpError::Malformed);
        }
        let Some(len) = head_len(window) else {
            return if bytes.len() >= MAX_HEAD {
                Err(HttpError::TooLarge)
            } else {
                Ok(None)
            };
        };
        let text = window
            .get(..len)
            .and_then(|head| core::str::from_utf8(head).ok())
            .ok_or(HttpError::Malformed)?;
        let (start, fields) = text.split_once('\n').ok_or(HttpError::Malformed)?;
        let head = Self {
            start: without_cr(start),
            fields,
            len: skipped.saturating_add(len),
        };
        head.check().map(|()| Some(head))
    }

    /// Walks name and value of each field.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.fields
            .split('\n')
            .map(without_cr)
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name, value.trim_matches([' ', '\t'])))
    }

    /// Returns the values of the field `name`.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.fields()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    fn check(&self) -> Result<(), HttpError> {
        if self.start.bytes().any(|octet| octet.is_ascii_control()) {
            return Err(HttpError::Malformed);
        }
        let lines = self.fields.split('\n').map(without_cr);
        for (at, line) in lines.take_while(|line| !line.is_empty()).enumerate() {
            if at >= MAX_FIELDS {
                return Err(HttpError::TooLarge);
            }
            // A folded line has no name ahead of its colon, or a space in it.
            let (name, value) = line.split_once(':').ok_or(HttpError::Malformed)?;
            let value_is_plain = value
                .bytes()
                .all(|octet| octet == b'\t' || !octet.is_ascii_control());
            if name.is_empty() || !name.bytes().all(is_token) || !value_is_plain {
                return Err(HttpError::Malformed);
            }
        }
        Ok(())
    }
}

/// Returns the octets up to and including the blank line, which may be a bare line feed.
fn head_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0_usize;
    for line in bytes.split_inclusive(|octet| *octet == b'\n') {
        at = at.saturating_add(line.len());
        if matches!(line, b"\n" | b"\r\n") {
            return Some(at);
        }
    }
    None
}

fn without_cr(line: &str) -> &str {
    line.strip_suffix('\r').unwrap_or(line)
}

/// Returns whether `octet` may stand in a field name or a method (RFC 9110 §5.6.2).
pub(super) const fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || matches!(
            octet,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}
