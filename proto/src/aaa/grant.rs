//! What a client gets.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::{Identity, Proof};
use crate::crypto::SecretBytes;

/// The keys that the inner authentication left with both sides, from the authenticator's view (RFC 2548 §2.4).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InnerKeys {
    /// MS-MPPE-Recv-Key: 16 or 32 octets.
    pub recv: SecretBytes,
    /// MS-MPPE-Send-Key: 16 or 32 octets.
    pub send: SecretBytes,
}

/// The client's place in the network; nothing is optional that a client must have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NetworkConfig {
    /// The client's inner address.
    pub address: Ipv4Addr,
    /// The gateway's inner address, the other end of the link.
    pub gateway: Ipv4Addr,
    /// At most two DNS servers.
    pub dns: Vec<Ipv4Addr>,
    /// At most two WINS servers.
    pub wins: Vec<Ipv4Addr>,
    /// The largest inner packet.
    pub mtu: u16,
}

/// How long a session may last.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Limits {
    /// From the start, whatever happens.
    pub session_timeout: Option<Duration>,
    /// Without user data.
    pub idle_timeout: Option<Duration>,
}

/// What a client gets when it is admitted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// The canonical user name.
    pub user: Identity,
    /// What to tell the client as proof.
    pub proof: Proof,
    /// The keys of the inner authentication; `None` with PAP and CHAP-MD5.
    pub keys: Option<InnerKeys>,
    /// Its place in the network.
    pub network: NetworkConfig,
    /// Its limits.
    pub limits: Limits,
}
