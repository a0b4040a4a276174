//! RADIUS: the codec, and the client that asks whether somebody may come in.
//!
//! - [`Packet`], [`Attribute`], [`Attributes`], [`AttributeList`], [`MicrosoftType`]: the codec (RFC 2865, RFC 2548)
//! - [`authenticator`]: who wrote a packet (RFC 2865 §3, RFC 3579 §3.2)
//! - [`hidden`]: passwords and keys (RFC 2865 §5.2, RFC 2548 §2.4)
//! - [`access`]: a log-in as packets, and the reply as a verdict
//! - [`accounting`]: what is told of a session, and the machine that tells it until somebody has heard
//! - [`dynamic_authorization`]: a server ends or changes a session (RFC 5176)
//! - [`Client`]: the machine: identifiers, retransmission, which server, and what may be believed
//!
//! One request is made for one log-in, because a second one is a second prompt on somebody's phone. A retransmission
//! is the same octets again, and another server is asked only when the first is known not to answer any more. A reply
//! is believed when it comes over the request's own socket, has the identifier, the response authenticator and the
//! Message-Authenticator; one that does not is thrown away, and the request still waits for the true one.
//!
//! Left out: Tunnel-Password; RADIUS over TCP without TLS; Proxy-State, because the
//! gateway is no proxy. For TLS the gateway brings the connections.

pub mod access;
pub mod accounting;
mod attribute;
pub mod authenticator;
mod client;
pub mod dynamic_authorization;
pub mod hidden;
mod packet;
mod result;
pub mod vendor;

pub use attribute::{Attribute, AttributeList, AttributeType, Attributes, MAX_VALUE};
pub use client::{
    Client, Completion, Config, Demand, Event, Health, Login, Mode, Patience, Port, Probe, Refused,
    RequestId, Server, ServerId, StatusServer, Transmit,
};
pub use packet::{Code, MAX_LEN, MIN_LEN, Packet};
pub use result::{Discard, RadiusResult};
pub use vendor::MicrosoftType;
