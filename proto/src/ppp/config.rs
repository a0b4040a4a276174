//! What a link is told when it is made.

use std::time::Duration;

use super::profile::Profile;
use crate::aaa::{AuthMethod, Identity};
use crate::crypto::SecretBytes;

/// Which end of the link this is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// The authenticator.
    Server,
    /// The peer that logs in.
    Client,
}

/// The settings of a link.
#[derive(Clone, Debug)]
pub struct Config {
    /// What only one of the two ends needs.
    pub role: RoleConfig,
    /// The largest frame that we say we take.
    pub mru: u16,
    /// How long to wait for the answer to the first request; the peer may not have been up yet.
    pub restart_first: Duration,
    /// How long to wait for the answer to each further one (RFC 1661 §4.6).
    pub restart: Duration,
    /// How often to send a Configure-Request (RFC 1661 §4.6).
    pub max_configure: u8,
    /// How often to send a Terminate-Request (RFC 1661 §4.6).
    pub max_terminate: u8,
    /// How many Configure-Naks to send before rejecting instead (RFC 1661 §4.6).
    pub max_failure: u8,
    /// After how long a silence to send an Echo-Request; zero for never.
    pub echo_interval: Duration,
    /// How many of them may go unanswered.
    pub echo_failures: u8,
    /// Server: how long to wait for the client's first frame before sending our own.
    pub start_delay: Duration,
}

impl Config {
    /// The usual settings of a server.
    #[must_use]
    pub const fn server(server: ServerConfig) -> Self {
        Self::with(RoleConfig::Server(server))
    }

    /// The usual settings of a client.
    #[must_use]
    pub const fn client(client: ClientConfig) -> Self {
        Self::with(RoleConfig::Client(client))
    }

    /// Returns which end this is.
    #[must_use]
    pub const fn role(&self) -> Role {
        match self.role {
            RoleConfig::Server(_) => Role::Server,
            RoleConfig::Client(_) => Role::Client,
        }
    }

    /// The usual settings of either end.
    const fn with(role: RoleConfig) -> Self {
        Self {
            role,
            mru: 4091,
            restart_first: Duration::from_secs(1),
            restart: Duration::from_secs(3),
            max_configure: 10,
            max_terminate: 2,
            max_failure: 5,
            echo_interval: Duration::from_secs(20),
            echo_failures: 4,
            start_delay: Duration::from_millis(500),
        }
    }
}

/// What only one of the two ends needs.
#[derive(Clone, Debug)]
pub enum RoleConfig {
    /// The authenticator.
    Server(ServerConfig),
    /// The peer that logs in.
    Client(ClientConfig),
}

/// The settings of the authenticator.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The methods that are allowed, in the order in which they are offered.
    pub auth: Vec<AuthMethod>,
    /// The name in CHAP challenges.
    pub name: String,
    /// How long to wait for the peer to send its credentials.
    pub auth_wait: Duration,
    /// Whether MS-CHAPv2 lets the peer change a password that has expired (RFC 2759 §7).
    pub password_change: bool,
}

/// The settings of the peer that logs in.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The user name.
    pub user: Identity,
    /// The password, in UTF-8.
    pub password: SecretBytes,
    /// The methods that are accepted; the first is asked for when the server offers another.
    pub auth: Vec<AuthMethod>,
    /// Whether to ask for DNS servers.
    pub want_dns: bool,
    /// Whether to ask for WINS servers.
    pub request_wins: bool,
    /// The largest inner packet that we want.
    pub mtu: u16,
    /// Whose habits to show.
    pub profile: Profile,
    /// Who answers the server's EAP.
    pub supplicant: Supplicant,
    /// What to change the password to when the server says that it has expired; `None` is not to.
    pub new_password: Option<SecretBytes>,
}

/// Who answers the server's EAP.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Supplicant {
    /// The small peer of [`crate::eap`], which knows EAP-MSCHAPv2.
    #[default]
    BuiltIn,
    /// The owner of the link: [`super::Event::Eap`] brings it the packets, [`super::Link::handle_supplicant`] takes what
    /// is to be done.
    External,
}
