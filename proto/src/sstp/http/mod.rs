//! The HTTP that stands ahead of SSTP: one request head in, one response head out ([MS-SSTP] §3.2.4.1, §3.3.5.1).
//!
//! ```text
//! SSTP_DUPLEX_POST /sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/ HTTP/1.1
//! SSTPCORRELATIONID: {xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}
//! Content-Length: 18446744073709551615
//! Host: vpn.example.com
//! ```
//!
//! - [`parse_request`]: lenient where real clients differ (order, case, braces, bare line feeds, blank lines ahead),
//!   strict where only an attacker does (folded lines, control characters, `Transfer-Encoding`, two lengths)
//! - [`client_shape`]: which family of clients wrote the request
//! - [`ok_response`], [`status_response`]: at most four headers, because the header table of sstp-client has seven
//!   entries and an off-by-one guard
//! - [`parse_response`], [`request()`]: the client half
//!
//! What follows the head is no HTTP any more: octets behind it belong to SSTP and are not looked at here.

mod head;
mod request;
mod response;
mod target;

pub use head::{HttpError, MAX_HEAD};
pub use request::{
    ClientShape, Method, RequestHead, Version, client_shape, parse_request, request,
};
pub use response::{StatusCode, ok_response, parse_response, status_response};
pub use target::{SRA_PATH, Target};

#[cfg(test)]
mod tests;
