//! The rooms' own settings, made from the checked configuration.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use causeway_proto::ppp;
use causeway_proto::radius::Code;
use causeway_proto::radius::access::Nas;
use causeway_proto::sstp::HashProtocol;
use causeway_proto::wireguard::PublicKey;

use crate::accounting;
use crate::auth::{self, DuplicateLogins};
use crate::dataplane;
use crate::dynauth;
use crate::observe::health;
use crate::os::credentials::CredentialError;
use crate::os::netlink::Addressing;
use crate::os::nftables::RuleSet;
use crate::os::privileges::Needs;
use crate::radius as room;
use crate::session::{PoolConfig, peers};

use super::{
    BindingHash, Config, DuplicatePolicy, Expect, ManageNftables, MessageAuthenticator, Mobility,
    Mode, Required, Server, ServerTls, Sstp, StatusServer,
};

/// So many devices may be enrolled: what the indices of the protocol can tell apart, and a file that is written in seconds.
const MAX_DEVICES: usize = 100_000;

/// How much longer than the authenticator the call waits for the client's last message.
const AFTER_AUTH: Duration = Duration::from_secs(15);

impl Config {
    /// Returns the settings of the data plane.
    #[must_use]
    pub fn dataplane(&self) -> dataplane::Config {
        dataplane::Config {
            shards: self.gateway.workers,
            mtu: self.network.tun.mtu,
            mss_clamp: self.network.mss_clamp,
            isolate_clients: self.network.isolate_clients,
            gateway: self.pools.gateway,
            pools: self.pools.all().flat_map(PoolConfig::ranges).collect(),
            routed: self.radius.framed_routes.clone(),
            blocked: self.network.blocked.clone(),
        }
    }

    /// Returns what the TUN gets; `None` when somebody else sees to it.
    #[must_use]
    pub fn addressing(&self) -> Option<Addressing> {
        self.network.manage_addresses.then(|| Addressing {
            interface: self.network.tun.name.clone(),
            mtu: self.network.tun.mtu,
            address: self.pools.gateway,
            routes: self
                .pools
                .all()
                .flat_map(|pool| pool.networks().iter().copied())
                .collect(),
        })
    }

    /// Returns the nftables rules; `None` when somebody else sees to them.
    #[must_use]
    pub fn rule_set(&self) -> Option<RuleSet> {
        let pools = || self.pools.all().flat_map(PoolConfig::networks);
        let masquerade = match self.network.manage_nftables {
            ManageNftables::Off => return None,
            ManageNftables::Forward => Vec::new(),
            ManageNftables::Masquerade => pools().copied().collect(),
        };
        Some(RuleSet {
            tun: self.network.tun.name.clone(),
            uplink: self.network.uplink.clone(),
            masquerade,
        })
    }

    /// Returns what the start needs of the kernel.
    #[must_use]
    pub fn needs(&self) -> Needs {
        Needs {
            net_admin: true,
            tun: true,
            listeners: self
                .sstp
                .listen
                .iter()
                .copied()
                .chain(self.admin.listen)
                .collect(),
        }
    }

    /// Returns the settings of the RADIUS client, the secrets read; `None` when the user file is asked.
    ///
    /// # Errors
    ///
    /// When a secret cannot be read any more, which it could when the configuration was checked.
    pub fn radius_client(&self) -> Result<Option<room::Config>, CredentialError> {
        let radius = &self.radius;
        if radius.servers.is_empty() {
            return Ok(None);
        }
        let servers: Result<Vec<_>, _> = radius.servers.iter().map(Server::client).collect();
        Ok(Some(room::Config {
            servers: servers?,
            mode: match radius.mode {
                Mode::Failover => room::Mode::Failover,
                Mode::RoundRobin => room::Mode::RoundRobin,
            },
            timeout: radius.timeout,
            mfa: radius.mfa,
            retransmit: radius.retransmit.clone(),
            repeat: radius.repeat,
            probe_after: radius.probe_after,
            dead_time: radius.dead_time,
            probe: radius.probe.as_ref().map(|probe| room::Probe {
                user: probe.user.clone(),
                interval: probe.interval,
                expect: match probe.expect {
                    Expect::Reject => Code::ACCESS_REJECT,
                    Expect::Accept => Code::ACCESS_ACCEPT,
                },
            }),
            message_authenticator: match radius.message_authenticator {
                MessageAuthenticator::Require => room::Demand::Require,
                MessageAuthenticator::IfPresent => room::Demand::IfPresent,
            },
            nas_identifier: self.gateway.name.clone(),
            nas_ip: None,
            nas_ipv6: None,
        }))
    }

    /// Returns what holds a second log-in of a user back; `None` where nobody is prompted.
    #[must_use]
    pub fn duplicate_logins(&self) -> Option<DuplicateLogins> {
        let (policy, window) = self.radius.duplicate_logins;
        self.radius.mfa.then_some(DuplicateLogins {
            policy: match policy {
                DuplicatePolicy::Wait => auth::DuplicatePolicy::Wait,
                DuplicatePolicy::Refuse => auth::DuplicatePolicy::Refuse,
                DuplicatePolicy::Allow => auth::DuplicatePolicy::Allow,
            },
            window,
        })
    }

    /// Returns the settings of accounting, the secrets read; `None` when it is off or no RADIUS server is asked.
    ///
    /// # Errors
    ///
    /// When a secret cannot be read any more.
    pub fn accounting(&self) -> Result<Option<accounting::Config>, CredentialError> {
        let (Some(settings), Some(client)) = (&self.radius.accounting, self.radius_client()?)
        else {
            return Ok(None);
        };
        let server = |(configured, client): (&Server, &room::Server)| accounting::Server {
            name: client.name.clone(),
            endpoint: SocketAddr::new(
                client.address,
                // Over TLS one port takes everything (RFC 6614 §2.1).
                match client.tls {
                    Some(_) => client.auth_port,
                    None => configured.acct_port,
                },
            ),
            secret: client.secret.clone(),
            source: client.source,
            tls: client.tls.clone(),
        };
        let servers = self.radius.servers.iter().zip(&client.servers);
        let servers = servers.map(server).collect();
        Ok(Some(accounting::Config {
            servers,
            nas: client.nas(),
            interim: settings.interim,
            class: self.radius.class_in_accounting,
            queue: settings.queue.clone(),
            queue_max: settings.queue_max,
            flight: Duration::from_secs(2),
        }))
    }

    /// Returns the settings of the listener for dynamic authorization, the secret read; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When a secret cannot be read any more.
    pub fn dynauth(&self) -> Result<Option<dynauth::Config>, CredentialError> {
        let Some(settings) = &self.radius.dynamic_authorization else {
            return Ok(None);
        };
        let client = self.radius_client()?;
        Ok(Some(dynauth::Config {
            clients: settings.clients.clone(),
            secret: settings.secret.read()?,
            nas: client.map_or_else(
                || Nas {
                    identifier: self.gateway.name.clone(),
                    ..Nas::default()
                },
                |client| client.nas(),
            ),
        }))
    }

    /// Returns the settings of the register of devices; `own` is the gateway's key.
    #[must_use]
    pub fn peers(&self, mobility: &Mobility, own: PublicKey) -> peers::Settings {
        peers::Settings {
            devices_per_user: self.limits.devices_per_user,
            devices: MAX_DEVICES,
            pool: mobility.pool.clone(),
            framed_ip: self.radius.framed_ip,
            reauth: mobility.reauth,
            persist: mobility.persist,
            own: Some(own),
        }
    }

    /// Returns where clients reach the Mobility tunnel, as profiles say it.
    #[must_use]
    pub fn mobility_endpoint(&self, mobility: &Mobility) -> String {
        let own = || {
            let port = mobility.listen.first().map_or(0, SocketAddr::port);
            format!("{}:{port}", self.gateway.hostname)
        };
        mobility.external.first().cloned().unwrap_or_else(own)
    }

    /// Returns when a probe fails.
    #[must_use]
    pub fn health_rules(&self) -> health::Config {
        let component = |required: &Required| match required {
            Required::Sstp => Some(health::Component::Sstp),
            Required::Tun => Some(health::Component::Tun),
            Required::Radius => Some(health::Component::Radius),
            Required::Pool => Some(health::Component::Pool),
            Required::Certificate => Some(health::Component::Certificate),
            Required::Mobility => Some(health::Component::Mobility),
            Required::Ike => None,
        };
        health::Config {
            require: self.health.require.iter().filter_map(component).collect(),
            radius_grace: self.health.radius_grace,
            flap_hold: self.health.flap_hold,
        }
    }

    /// Returns the settings of PPP in an SSTP call.
    #[must_use]
    pub fn ppp(&self) -> ppp::Config {
        ppp::Config::server(ppp::ServerConfig {
            auth: self.sstp.auth.clone(),
            name: self.gateway.name.clone(),
            auth_wait: self.sstp.auth_timeout,
            password_change: self.radius.password_change,
        })
    }

    /// Returns the time that a log-in through SSTP has: the smaller of RADIUS's and the tunnel's.
    #[must_use]
    pub fn login_deadline(&self) -> Duration {
        if self.radius.servers.is_empty() {
            self.sstp.auth_timeout
        } else {
            self.sstp.auth_timeout.min(self.radius.timeout)
        }
    }
}

impl Sstp {
    /// Returns the hashes that are offered for the crypto binding.
    #[must_use]
    pub fn hashes(&self) -> Vec<HashProtocol> {
        let hash = |word: &BindingHash| match word {
            BindingHash::Sha256 => HashProtocol::Sha256,
            BindingHash::Sha1 => HashProtocol::Sha1,
        };
        self.crypto_binding.iter().map(hash).collect()
    }

    /// Returns how long the call waits for Call Connected behind its Ack: at least the 60 s of [MS-SSTP] §3.3.2.
    #[must_use]
    pub fn call_connected_timeout(&self) -> Duration {
        (self.auth_timeout + AFTER_AUTH).max(Duration::from_secs(60))
    }
}

impl Server {
    fn client(&self) -> Result<room::Server, CredentialError> {
        Ok(room::Server {
            name: self.name.clone(),
            address: self.address,
            auth_port: self.auth_port,
            secret: self.secret.read()?,
            tls: self.tls.as_ref().map(ServerTls::client).transpose()?,
            source: self.source,
            status: match self.status_server {
                StatusServer::Auto => room::StatusServer::Auto,
                StatusServer::On => room::StatusServer::On,
                StatusServer::Off => room::StatusServer::Off,
            },
        })
    }
}

impl ServerTls {
    /// Reads the files and makes the TLS settings of them.
    pub(super) fn client(&self) -> Result<room::Tls, CredentialError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|source| CredentialError::Unreadable {
                path: path.to_owned(),
                source,
            })
        };
        let ca = read(&self.ca)?;
        let identity = match &self.identity {
            Some((certificate, key)) => Some((read(certificate)?, key.read()?)),
            None => None,
        };
        let identity = identity
            .as_ref()
            .map(|(certificate, key)| (certificate.as_slice(), key.expose()));
        room::Tls::from_pem(&ca, identity, &self.server_name).map_err(|error| {
            CredentialError::Unusable {
                path: self.ca.clone(),
                reason: error.to_string(),
            }
        })
    }
}
