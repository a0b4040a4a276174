//! The responses of the gateway.

use super::head::{Head, HttpError};
use super::request::ENDLESS;

/// A status other than 200.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum StatusCode {
    /// 400: the head cannot be read.
    BadRequest,
    /// 401: the probe of the health path succeeded; RRAS answers the same.
    Unauthorized,
    /// 404: another path.
    NotFound,
    /// 405: another method.
    MethodNotAllowed,
    /// 408: the head took too long.
    RequestTimeout,
    /// 431: the head is too large.
    HeaderFieldsTooLarge,
    /// 503: no log-in can be taken.
    ServiceUnavailable,
    /// 505: neither HTTP/1.0 nor 1.1.
    VersionNotSupported,
}

impl StatusCode {
    /// Every status.
    pub const ALL: [Self; 8] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::HeaderFieldsTooLarge,
        Self::ServiceUnavailable,
        Self::VersionNotSupported,
    ];

    /// Returns the number.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::HeaderFieldsTooLarge => 431,
            Self::ServiceUnavailable => 503,
            Self::VersionNotSupported => 505,
        }
    }

    /// Returns the reason phrase (RFC 9110 §15).
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::BadRequest => "Bad Request",
            Self::Unauthorized => "Unauthorized",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::RequestTimeout => "Request Timeout",
            Self::HeaderFieldsTooLarge => "Request Header Fields Too Large",
            Self::ServiceUnavailable => "Service Unavailable",
            Self::VersionNotSupported => "HTTP Version Not Supported",
        }
    }

    /// Returns the header that the status needs (RFC 9110 §15.5.2, §15.5.6), else the one that ends the connection.
    const fn field(self) -> &'static str {
        match self {
            // No browser has a dialogue for this scheme.
            Self::Unauthorized => "WWW-Authenticate: SSTP realm=\"vpn\"",
            Self::MethodNotAllowed => "Allow: GET, HEAD, SSTP_DUPLEX_POST",
            Self::BadRequest
            | Self::NotFound
            | Self::RequestTimeout
            | Self::HeaderFieldsTooLarge
            | Self::ServiceUnavailable
            | Self::VersionNotSupported => "Connection: close",
        }
    }
}

impl From<HttpError> for StatusCode {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::TooLarge => Self::HeaderFieldsTooLarge,
            HttpError::Malformed => Self::BadRequest,
            HttpError::Version => Self::VersionNotSupported,
        }
    }
}

/// Returns the response head behind which SSTP begins.
///
/// `date` is an IMF-fixdate; an empty `server` leaves that header out.
#[must_use]
pub fn ok_response(date: &str, server: &str) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 200 OK\r\nContent-Length: {ENDLESS}\r\n");
    finish(&mut out, date, server, None)
}

/// Returns a whole response without a body; the same for `GET` and `HEAD`.
///
/// `date` is an IMF-fixdate; an empty `server` leaves that header out.
#[must_use]
pub fn status_response(status: StatusCode, date: &str, server: &str) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 {} {}\r\nContent-Length: 0\r\n",
        status.code(),
        status.reason()
    );
    finish(&mut out, date, server, Some(status.field()))
}

fn finish(out: &mut String, date: &str, server: &str, field: Option<&str>) -> Vec<u8> {
    let mut push = |line: &str| {
        out.extend(line.chars().filter(|c| !c.is_control()));
        out.push_str("\r\n");
    };
    if !server.is_empty() {
        push(&format!("Server: {server}"));
    }
    push(&format!("Date: {date}"));
    if let Some(field) = field {
        push(field);
    }
    push("");
    out.clone().into_bytes()
}

/// Reads the response head at the front of `bytes`: the status, and the number of octets that the head took.
///
/// `None` means that more octets are needed. Of the 200 that opens SSTP, a `Content-Length`, if there is one, must be
/// 2^64-1, as real clients demand.
pub fn parse_response(bytes: &[u8]) -> Result<Option<(u16, usize)>, HttpError> {
    let Some(head) = Head::find(bytes)? else {
        return Ok(None);
    };
    let rest = head
        .start
        .strip_prefix("HTTP/1.1 ")
        .ok_or(HttpError::Version)?;
    let (code, _) = rest.split_once(' ').unwrap_or((rest, ""));
    let status: u16 = code
        .parse()
        .ok()
        .filter(|status| (100..=999).contains(status))
        .ok_or(HttpError::Malformed)?;
    let endless = head.values("Content-Length").all(|value| value == ENDLESS);
    if status == 200 && !endless {
        return Err(HttpError::Malformed);
    }
    Ok(Some((status, head.len)))
}
