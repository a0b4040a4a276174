//! EAP (RFC 3748): the packet, the authenticator that passes it through (RFC 3579), and a small peer.
//!
//! - [`Packet`]: code, identifier, length, type
//! - [`PassThrough`]: the server's half; the methods are the business of the RADIUS server
//! - [`Peer`]: the client's half, which knows EAP-MSCHAPv2 and nothing else
//!
//! Requests are not retransmitted here: the lower layer is reliable (RFC 3748 §4.3), and each repetition may be one
//! prompt more on somebody's phone. The owner may send the Identity request again.

mod packet;
mod pass_through;
mod peer;

pub use packet::{Code, Packet, Type};
pub use pass_through::{Heard, PassThrough, Reply};
pub use peer::{Peer, PeerStep};
