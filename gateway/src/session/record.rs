//! What is known of a session.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use causeway_proto::aaa::{AuthMethod, Identity, Limits, TunnelKind};
use causeway_proto::activity::{Activity, Usage};

use crate::ids::SessionId;

use super::pool::Lease;

/// Where a session stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum State {
    /// The log-in is not decided, or the tunnel is not ready.
    Authenticating,
    /// Packets flow.
    Up,
    /// Nothing is heard of the client, whose session goes on.
    Unreachable,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Authenticating, Self::Up, Self::Unreachable];

    /// Returns the word for the command line and the metric label `state`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authenticating => "authenticating",
            Self::Up => "up",
            Self::Unreachable => "unreachable",
        }
    }

    /// Returns whether the session has begun.
    #[must_use]
    pub const fn is_live(self) -> bool {
        match self {
            Self::Authenticating => false,
            Self::Up | Self::Unreachable => true,
        }
    }
}

/// A session at the beginning of its log-in.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// The user as the client says.
    pub user: Identity,
    /// The tunnel.
    pub protocol: TunnelKind,
    /// The client's outer address.
    pub remote: SocketAddr,
    /// `SSTPCORRELATIONID`.
    pub correlation: Option<String>,
    /// Where the packet path counts.
    pub activity: Arc<Activity>,
}

/// Other limits for a session that is up; what is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LimitChange {
    /// So long from now on; more than a clock can hold is for ever.
    pub session_timeout: Option<Duration>,
    /// So long without user data; zero is for ever.
    pub idle_timeout: Option<Duration>,
}

/// What admission has settled.
#[derive(Debug)]
pub struct Admitted {
    /// The canonical user name.
    pub user: Identity,
    /// The address, which goes back when the guard is dropped.
    pub lease: Lease,
    /// How long the session may last.
    pub limits: Limits,
}

/// What is learnt of a session on its way; all of it for people.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// `Acct-Session-Id`.
    pub accounting: Option<String>,
    /// How the user logged in.
    pub method: Option<AuthMethod>,
    /// The server that decided, or `users`.
    pub server: Option<String>,
    /// What the last request to it came to, in the words of `causeway_radius_results_total`.
    pub result: Option<&'static str>,
    /// How long the decision took.
    pub auth_elapsed: Option<Duration>,
    /// How many SSTP packets go into a TLS record: `one` or `many`.
    pub packing: Option<&'static str>,
    /// TLS version and cipher suite.
    pub tls: Option<String>,
    /// The hash of the crypto binding: `sha256` or `sha1`.
    pub hash_protocol: Option<&'static str>,
    /// The name of the filter in force.
    pub filter: Option<String>,
    /// The networks behind the client.
    pub networks: Vec<String>,
    /// The name of the enrolled device.
    pub device: Option<String>,
    /// How often the client's outer address has changed.
    pub roams: u64,
    /// When it changed last.
    pub roamed: Option<SystemTime>,
}

/// A session as the command line shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionView {
    /// Its name.
    pub id: SessionId,
    /// The user.
    pub user: Identity,
    /// The tunnel.
    pub protocol: TunnelKind,
    /// Where it stands.
    pub state: State,
    /// The inner address, once it is admitted.
    pub address: Option<Ipv4Addr>,
    /// The pool that the address is of.
    pub pool: Option<String>,
    /// The client's outer address.
    pub remote: SocketAddr,
    /// `SSTPCORRELATIONID`.
    pub correlation: Option<String>,
    /// When the log-in began.
    pub since: SystemTime,
    /// How long ago that was.
    pub age: Duration,
    /// What has flowed.
    pub usage: Usage,
    /// What has been learnt.
    pub facts: Facts,
}
