//! The control socket: what an administrator asks of a running gateway, and what it answers.
//!
//! One request and one response for each connection, each a length and JSON behind it. [`server`] lets in root, the
//! gateway's own user and the socket's group, and passes requests on through a channel; who serves that channel is
//! decided above. [`client`] is what the command line and tests use.

pub mod client;
pub mod protocol;
pub mod server;

/// The longest message, either way: the list of some tens of thousands of sessions fits.
const MAX_RESPONSE: u32 = 64 << 20;
/// The longest request.
const MAX_REQUEST: u32 = 64 << 10;
