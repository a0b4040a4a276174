//! What the authenticator allowed.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::{FramedRoute, Identity, InnerKeys, Proof};

/// The address that the authenticator wants the client to have (RFC 2865 §5.8).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum FramedAddress {
    /// Nothing was said, or 255.255.255.254: any address of the pool.
    #[default]
    Pool,
    /// 255.255.255.255: the client may choose; treated as [`FramedAddress::Pool`].
    ClientChooses,
    /// This address.
    Fixed(Ipv4Addr),
}

/// What an Access-Accept or an entry of the user file allows; nothing in here has been granted yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authorization {
    /// The canonical user name (`User-Name` of the reply, else what the client sent).
    pub user: Identity,
    /// What to tell the client.
    pub proof: Proof,
    /// The keys of the inner authentication; `None` with PAP and CHAP-MD5.
    pub keys: Option<InnerKeys>,
    /// The address.
    pub address: FramedAddress,
    /// The name of the pool (`Framed-Pool`).
    pub pool: Option<String>,
    /// Every `Framed-Route`, in order.
    pub routes: Vec<FramedRoute>,
    /// `Session-Timeout`.
    pub session_timeout: Option<Duration>,
    /// `Idle-Timeout`.
    pub idle_timeout: Option<Duration>,
    /// `Acct-Interim-Interval`.
    pub interim: Option<Duration>,
    /// `Framed-MTU`.
    pub mtu: Option<u16>,
    /// Every `Class`, in order, to be echoed in accounting.
    pub class: Vec<Vec<u8>>,
    /// `Filter-Id`.
    pub filter: Option<String>,
    /// MS-Primary- and MS-Secondary-DNS-Server; empty means the gateway's own.
    pub dns: Vec<Ipv4Addr>,
    /// MS-Primary- and MS-Secondary-NBNS-Server; empty means the gateway's own.
    pub wins: Vec<Ipv4Addr>,
    /// The name of the server that decided, or `users`.
    pub server: String,
    /// `Reply-Message`, for the log.
    pub message: Option<String>,
}
