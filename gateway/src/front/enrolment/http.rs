//! HTTP on a connection that turned out to want the log-in: what comes in within bounds, and what goes out.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName,
    HeaderValue, LOCATION, REFERRER_POLICY, SERVER, SET_COOKIE, TRANSFER_ENCODING,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::logins::{Ends, Logins};

/// hyper's smallest buffer, and as much as the front door takes.
const MAX_HEAD: usize = 8192;
const MAX_FIELDS: usize = 64;
/// Twice what the longest name, password and key take when every octet of them is percent-encoded.
const MAX_BODY: usize = 4096;
/// The time for a request's head, and between two requests.
const HEAD: Duration = Duration::from_secs(9);
/// The time for a request's body.
const BODY: Duration = Duration::from_secs(5);
/// A connection is asked to close after half of this, and is closed after all of it.
const LIFE: Duration = Duration::from_secs(80);
/// So many requests may come through one connection.
const REQUESTS: usize = 64;

/// Nothing from elsewhere, nothing inline, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The log-in of Mobility.
#[derive(Debug)]
pub struct Enrolment {
    pub(super) logins: Arc<Logins>,
    server: String,
}

/// What is said to a request.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    kind: &'static str,
    body: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BodyError {
    TooLarge,
    TooSlow,
    Broken,
}

impl Enrolment {
    /// Makes the log-in; `server` is the header of that name, empty for none.
    #[must_use]
    pub fn new(logins: Arc<Logins>, server: String) -> Self {
        Self { logins, server }
    }

    /// Returns whether a request is for the log-in, by the octets of its head.
    pub(in crate::front) fn is_meant(head: &[u8]) -> bool {
        let mut words = head
            .split(|octet| matches!(octet, b' ' | b'\r' | b'\n'))
            .filter(|word| !word.is_empty());
        let target = words.nth(1).unwrap_or_default();
        let path = target.split(|octet| *octet == b'?').next();
        path.and_then(|path| path.strip_prefix(b"/enrol"))
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }

    /// Serves a connection of which `read` has been read; returns it when it only remains to be closed, `None` when it is
    /// broken. `count` hears the status of each answer.
    pub(in crate::front) async fn serve(
        &self,
        stream: TlsStream<TcpStream>,
        read: Vec<u8>,
        ends: Ends,
        count: impl Fn(u16),
    ) -> Option<TlsStream<TcpStream>> {
        let (reader, writer) = tokio::io::split(stream);
        let io = tokio::io::join(Cursor::new(read).chain(reader), writer);
        let (seen, count) = (&AtomicUsize::new(1), &count);
        let service = service_fn(|request: Request<Incoming>| {
            Box::pin(async move {
                let reply = self.take(request, ends).await;
                count(reply.status.as_u16());
                let last = seen.fetch_add(1, Ordering::Relaxed) >= REQUESTS;
                Ok::<_, Infallible>(self.response(reply, last))
            })
        });
        let mut connection = Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_FIELDS)
            .serve_connection(TokioIo::new(io), service);
        let half = LIFE / 2;
        let mut ended = timeout(half, poll_fn(|cx| connection.poll_without_shutdown(cx))).await;
        if ended.is_err() {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            ended = timeout(half, poll_fn(|cx| connection.poll_without_shutdown(cx))).await;
        }
        match ended {
            Ok(Ok(())) => {}
            // A client that went away, was too slow or sent rubbish.
            Ok(Err(error)) => debug!(%error, "a connection of the enrolment broke"),
            Err(_) => return None,
        }
        let (reader, writer) = connection.into_parts().io.into_inner().into_inner();
        let (_, reader) = reader.into_inner();
        Some(reader.unsplit(writer))
    }

    /// Reads a request whole and answers it.
    async fn take(&self, request: Request<Incoming>, ends: Ends) -> Reply {
        let (parts, body) = request.into_parts();
        if parts.headers.contains_key(TRANSFER_ENCODING) {
            return Reply::text(StatusCode::BAD_REQUEST, "bad request\n").closing();
        }
        let posts = parts.method == hyper::Method::POST;
        let body = if posts {
            read_body(body).await
        } else {
            Ok(Bytes::new())
        };
        let reply = self.answer(&parts, body, ends).await;
        // Each log-in costs its client a connection, which waits its turn like every other one.
        if posts || reply.status.is_client_error() {
            reply.closing()
        } else {
            reply
        }
    }

    fn response(&self, reply: Reply, last: bool) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(reply.body));
        *response.status_mut() = reply.status;
        let headers = response.headers_mut();
        let fixed = [
            (CONTENT_TYPE, reply.kind),
            (CACHE_CONTROL, "no-store"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            // Without it a form would be sent with `Origin: null`.
            (REFERRER_POLICY, "same-origin"),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                "same-origin",
            ),
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                "same-origin",
            ),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Ok(server) = HeaderValue::from_str(&self.server)
            && !server.is_empty()
        {
            headers.insert(SERVER, server);
        }
        for (name, value) in reply.headers {
            headers.append(name, value);
        }
        if last {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl Reply {
    pub(super) fn new(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            kind,
            body: body.into(),
            headers: Vec::new(),
        }
    }

    pub(super) fn text(status: StatusCode, text: &'static str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", text)
    }

    pub(super) fn html(status: StatusCode, page: String) -> Self {
        Self::new(status, "text/html; charset=utf-8", page)
    }

    /// Sends a browser to another path, to be fetched with GET.
    pub(super) fn see(path: &'static str) -> Self {
        let mut reply = Self::text(StatusCode::SEE_OTHER, "");
        reply
            .headers
            .push((LOCATION, HeaderValue::from_static(path)));
        reply
    }

    /// Refuses a method and names those that are allowed.
    pub(super) fn not_allowed(allowed: &'static str) -> Self {
        let mut reply = Self::text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
        reply
            .headers
            .push((ALLOW, HeaderValue::from_static(allowed)));
        reply
    }

    /// Sets a cookie that no script and no other site sees, and that the browser forgets when it ends.
    pub(super) fn with_cookie(mut self, name: &str, value: &str) -> Self {
        let cookie = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Strict");
        if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
            cookie.set_sensitive(true);
            self.headers.push((SET_COOKIE, cookie));
        }
        self
    }

    fn closing(mut self) -> Self {
        self.headers
            .push((CONNECTION, HeaderValue::from_static("close")));
        self
    }
}

/// Reads a body that is neither long nor slow.
async fn read_body(body: Incoming) -> Result<Bytes, BodyError> {
    match timeout(BODY, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_)) => Err(BodyError::Broken),
        Err(_) => Err(BodyError::TooSlow),
    }
}

/// Returns the value of a header field that stands once.
pub(super) fn field<'a>(parts: &'a Parts, name: &HeaderName) -> Option<&'a str> {
    let mut values = parts.headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_the_log_in_are_meant() {
        for meant in [
            "/enrol",
            "/enrol/",
            "/enrol?x",
            "/enrol/api/v1/login/abc?wait=1",
        ] {
            let head = format!("GET {meant} HTTP/1.1\r\n\r\n");
            assert!(Enrolment::is_meant(head.as_bytes()), "{meant}");
        }
        for other in [
            "/",
            "/enrolment",
            "/Enrol/",
            "/x/enrol/",
            "https://host/enrol/",
            "/%65nrol/",
        ] {
            let head = format!("GET {other} HTTP/1.1\r\nX: /enrol/\r\n\r\n");
            assert!(!Enrolment::is_meant(head.as_bytes()), "{other}");
        }
        assert!(Enrolment::is_meant(
            b"\r\nPOST  /enrol/login HTTP/1.1\r\n\r\n"
        ));
    }
}
