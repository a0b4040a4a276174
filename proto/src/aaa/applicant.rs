//! Who stands at the door.

use std::net::SocketAddr;

/// The tunnel protocol of a session.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TunnelKind {
    /// SSTP over TLS.
    Sstp,
    /// IKEv2 with ESP in UDP.
    Ikev2,
    /// The Mobility-style UDP tunnel.
    Mobility,
}

impl TunnelKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Sstp, Self::Ikev2, Self::Mobility];

    /// Returns the word for log fields and the metric label `protocol`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sstp => "sstp",
            Self::Ikev2 => "ikev2",
            Self::Mobility => "mobility",
        }
    }
}

/// What is known of a client before it has logged in; becomes attributes of the Access-Request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Applicant {
    /// The tunnel that the client came through.
    pub tunnel: TunnelKind,
    /// The client's outer address and port (behind a trusted proxy: as the proxy said).
    pub remote: SocketAddr,
    /// The gateway's outer address and port that the client reached.
    pub local: SocketAddr,
    /// The session id, which is also `Acct-Session-Id`.
    pub session: String,
    /// A number for `NAS-Port`; 0 unless there is one.
    pub nas_port: u32,
    /// `SSTPCORRELATIONID` as the client wrote it, at most 64 printable octets.
    pub correlation: Option<String>,
    /// The version from LCP Identification, as `MSRASV5.20` (MS-RNAS §2.2.1.1).
    pub ras_client_version: Option<String>,
    /// The name from LCP Identification, as `MSRAS-0-COMPUTER` (MS-RNAS §2.2.1.2).
    pub ras_client_name: Option<String>,
    /// Text for `Connect-Info`, as `SSTP TLS1.3 TLS13_AES_256_GCM_SHA384`.
    pub connect_info: Option<String>,
    /// The largest frame that the client takes, for `Framed-MTU` with EAP; 1,500 unless it is known.
    pub mtu: u16,
}

impl Applicant {
    /// Makes a client of which nothing else is known.
    #[must_use]
    pub const fn new(
        tunnel: TunnelKind,
        remote: SocketAddr,
        local: SocketAddr,
        session: String,
    ) -> Self {
        Self {
            tunnel,
            remote,
            local,
            session,
            nas_port: 0,
            correlation: None,
            ras_client_version: None,
            ras_client_name: None,
            connect_info: None,
            mtu: 1_500,
        }
    }
}
