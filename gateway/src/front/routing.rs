//! From a request head to what is done about it; nothing is read twice.

use causeway_proto::sstp::http::{
    HttpError, Method, RequestHead, StatusCode, Target, Version, status_response,
};

/// What a request head leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Route {
    /// The client wants SSTP.
    Sstp,
    /// Somebody asks for the health.
    Probe,
    /// Anything else is answered and closed.
    Answer(StatusCode),
}

/// Decides about a request head.
pub(super) const fn route(head: &RequestHead) -> Route {
    match (head.version, head.target, head.method) {
        (_, Target::Sra, Method::Get | Method::Head) => Route::Probe,
        (Version::Http10, Target::Sra, Method::DuplexPost) => {
            Route::Answer(StatusCode::VersionNotSupported)
        }
        (Version::Http11, Target::Sra, Method::DuplexPost) => Route::Sstp,
        (_, _, Method::Other) => Route::Answer(StatusCode::MethodNotAllowed),
        (_, Target::Other, Method::Get | Method::Head | Method::DuplexPost) => {
            Route::Answer(StatusCode::NotFound)
        }
    }
}

/// Returns what a head that cannot be read is told.
pub(super) fn refusal(error: HttpError) -> StatusCode {
    StatusCode::from(error)
}

/// Returns a whole answer, after which the connection closes.
pub(super) fn answer(status: StatusCode, date: &str, server: &str) -> Vec<u8> {
    let mut response = status_response(status, date, server);
    if !response
        .windows(17)
        .any(|window| window == b"Connection: close")
    {
        close(&mut response);
    }
    response
}

/// Returns the whole answer 200 without a body.
pub(super) fn ok_answer(date: &str, server: &str) -> Vec<u8> {
    let mut response = status_response(StatusCode::NotFound, date, server);
    let line = b"HTTP/1.1 404 Not Found";
    response.splice(..line.len(), *b"HTTP/1.1 200 OK");
    response
}

/// Puts `Connection: close` ahead of the blank line.
fn close(response: &mut Vec<u8>) {
    response.truncate(response.len().saturating_sub(2));
    response.extend(b"Connection: close\r\n\r\n");
}
