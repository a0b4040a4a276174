//! The request of a client.

use super::head::{Head, HttpError, is_token};
use super::target::{SRA_PATH, Target};

/// The largest part of `SSTPCORRELATIONID` and `Host` that is kept.
const MAX_TEXT: usize = 64;
/// 2^64-1, the length of a stream that has none.
pub(super) const ENDLESS: &str = "18446744073709551615";

/// What a request wants done.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Method {
    /// `SSTP_DUPLEX_POST`.
    DuplexPost,
    /// `GET`: a health probe, or a browser.
    Get,
    /// `HEAD`: a health probe.
    Head,
    /// Any other.
    Other,
}

/// The version of HTTP.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// What matters of a request head; owns little, whatever the client sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestHead {
    /// What it wants done.
    pub method: Method,
    /// Where.
    pub target: Target,
    /// In which version.
    pub version: Version,
    /// `SSTPCORRELATIONID` as it came: the first 64 octets, printable ASCII only.
    pub correlation: Option<String>,
    /// `Host` as it came: the first 64 octets, printable ASCII only.
    pub host: Option<String>,
}

/// Reads the request head at the front of `bytes`.
///
/// `None` means that more octets are needed; otherwise the second value is the number of octets that the head took, and
/// what stands behind them belongs to SSTP. Never looks past [`super::MAX_HEAD`] octets.
///
/// # Errors
///
/// The error says which response fits; nothing of the request is worth repeating to the client.
pub fn parse_request(bytes: &[u8]) -> Result<Option<(RequestHead, usize)>, HttpError> {
    let Some(head) = Head::find(bytes)? else {
        return Ok(None);
    };
    let (method, target, version) = request_line(head.start)?;
    if head.values("Transfer-Encoding").next().is_some() {
        return Err(HttpError::Malformed);
    }
    let mut lengths = head.values("Content-Length");
    if let Some(first) = lengths.next() {
        let digits = !first.is_empty() && first.bytes().all(|octet| octet.is_ascii_digit());
        if !digits || lengths.any(|other| other != first) {
            return Err(HttpError::Malformed);
        }
    }
    let text = |name| head.values(name).next().map(printable);
    let request = RequestHead {
        method,
        target,
        version,
        correlation: text("SSTPCORRELATIONID"),
        host: text("Host"),
    };
    Ok(Some((request, head.len)))
}

fn request_line(line: &str) -> Result<(Method, Target, Version), HttpError> {
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(HttpError::Malformed);
    };
    if !method.bytes().all(is_token) {
        return Err(HttpError::Malformed);
    }
    let known = [
        ("SSTP_DUPLEX_POST", Method::DuplexPost),
        ("GET", Method::Get),
        ("HEAD", Method::Head),
    ];
    let method = known
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(method))
        .map_or(Method::Other, |(_, method)| method);
    let version = match version.get(..5) {
        Some(name) if name.eq_ignore_ascii_case("HTTP/") => match version.get(5..) {
            Some("1.1") => Version::Http11,
            Some("1.0") => Version::Http10,
            Some(_) | None => return Err(HttpError::Version),
        },
        Some(_) | None => return Err(HttpError::Malformed),
    };
    Ok((method, Target::of(target), version))
}

/// Returns what can stand in a log: printable ASCII, and not much of it.
fn printable(value: &str) -> String {
    value
        .chars()
        .filter(char::is_ascii_graphic)
        .take(MAX_TEXT)
        .collect()
}

/// The family of clients that a request looks like.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ClientShape {
    /// The correlation id is a GUID in braces: Windows, and whoever does as Windows does.
    Windows,
    /// The correlation id is no GUID in braces: sstp-client, whose id is one group short. It takes one SSTP packet out
    /// of a TLS record and leaves the others until more arrives.
    Sstpc,
    /// There is no correlation id.
    Other,
}

impl ClientShape {
    /// Every shape.
    pub const ALL: [Self; 3] = [Self::Windows, Self::Sstpc, Self::Other];

    /// Returns the word for the log and for `causeway session`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Windows => "windows",
            Self::Sstpc => "sstpc",
            Self::Other => "other",
        }
    }
}

/// Tells the family of clients by the form of `SSTPCORRELATIONID`.
#[must_use]
pub fn client_shape(head: &RequestHead) -> ClientShape {
    match &head.correlation {
        None => ClientShape::Other,
        Some(id) if is_braced_guid(id) => ClientShape::Windows,
        Some(_) => ClientShape::Sstpc,
    }
}

/// Returns whether `text` is `{8-4-4-4-12}` hexadecimal digits.
fn is_braced_guid(text: &str) -> bool {
    let Some(guid) = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
    else {
        return false;
    };
    let is_hex = |group: &str| group.bytes().all(|octet| octet.is_ascii_hexdigit());
    let lengths = guid.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && guid.split('-').all(is_hex)
}

/// Returns the request of a client that wants SSTP, in the order in which `shape` sends its headers.
#[must_use]
pub fn request(host: &str, correlation: &str, shape: ClientShape) -> Vec<u8> {
    let length = format!("Content-Length: {ENDLESS}\r\n");
    let host = format!("Host: {}\r\n", printable(host));
    let correlation = format!("SSTPCORRELATIONID: {}\r\n", printable(correlation));
    let fields = match shape {
        ClientShape::Windows => [correlation, length, host].concat(),
        ClientShape::Sstpc => [host, length, correlation].concat(),
        ClientShape::Other => [host, length].concat(),
    };
    format!("SSTP_DUPLEX_POST {SRA_PATH} HTTP/1.1\r\n{fields}\r\n").into_bytes()
}
