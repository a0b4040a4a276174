//! Why the gateway does not start, and with which exit code that ends.

use std::io;

use thiserror::Error;

use crate::auth::UserFileError;
use crate::cli::Exit;
use crate::front::tls::CertificateError;
use crate::observe::metrics::MetricsError;
use crate::os::credentials::CredentialError;
use crate::os::forwarding::ForwardingError;
use crate::os::netlink::NetlinkError;
use crate::os::nftables::NftablesError;
use crate::os::privileges::PrivilegeError;
use crate::os::tcp::ListenError;
use crate::os::tun::TunError;
use crate::session::peers::PeersError;

/// Why the gateway does not start.
#[derive(Debug, Error)]
pub enum StartupError {
    /// The certificate cannot be served.
    #[error("the certificate cannot be served")]
    Certificate(#[from] CertificateError),
    /// A secret cannot be read.
    #[error("a secret cannot be read")]
    Credential(#[from] CredentialError),
    /// The user file cannot be used.
    #[error("the user file cannot be used")]
    Users(#[from] UserFileError),
    /// The register of devices cannot be read.
    #[error("enrolled devices cannot be read (`causeway explain {}`)", .0.code())]
    Peers(#[from] PeersError),
    /// There is neither a RADIUS server nor a user file.
    #[error("nobody decides about log-ins: configure [[radius.servers]] or users.file")]
    NobodyDecides,
    /// None of the methods in `sstp.auth` works with the user file.
    #[error("sstp.auth names no method that the user file can decide: add \"mschapv2\" or \"pap\"")]
    NoMethod,
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness")]
    Random,
    /// The threads of the packet path cannot be started.
    #[error("the packet path does not start")]
    DataPlane(#[source] io::Error),
    /// A socket cannot be handed to the runtime, or bound.
    #[error("a socket cannot be used")]
    Socket(#[source] io::Error),
    /// The runtime does not start.
    #[error("the runtime does not start")]
    Runtime(#[source] io::Error),
    /// A listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The device.
    #[error(transparent)]
    Tun(#[from] TunError),
    /// Addresses and routes.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// Rules.
    #[error(transparent)]
    Nftables(#[from] NftablesError),
    /// Forwarding.
    #[error(transparent)]
    Forwarding(#[from] ForwardingError),
    /// Privileges.
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    /// The recorder of the metrics.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The listener of `radius.dynamic_authorization`.
    #[error("radius.dynamic_authorization.listen = \"{address}\" cannot be listened on")]
    DynamicAuthorization {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The control socket.
    #[error("the control socket {path} cannot be made")]
    Control {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl StartupError {
    /// Returns how the program ends.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Certificate(_)
            | Self::Credential(_)
            | Self::Users(_)
            | Self::Peers(_)
            | Self::NobodyDecides
            | Self::NoMethod => Exit::Configuration,
            Self::Tun(_)
            | Self::Netlink(_)
            | Self::Nftables(_)
            | Self::Forwarding(_)
            | Self::Privilege(_) => Exit::Missing,
            Self::Random
            | Self::DataPlane(_)
            | Self::Socket(_)
            | Self::Runtime(_)
            | Self::Listen(_)
            | Self::Metrics(_)
            | Self::DynamicAuthorization { .. }
            | Self::Control { .. } => Exit::Failure,
        }
    }
}

/// Returns an error and all that caused it, as one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
