//! From what is configured to what the doors work with.

use std::net::SocketAddr;
use std::time::Duration;

use causeway_proto::aaa::{AuthMethod, Limits};
use causeway_proto::ppp::{self, RoleConfig};
use causeway_proto::sstp;

use super::error::StartupError;
use crate::config::{self, Config, RecordPacking};
use crate::front::tls::{Certificate, CertificateError, Certificates, Files, SelfMade};
use crate::front::{self, HealthyStatus};
use crate::os::credentials::SecretRef;
use crate::session::{MAX_SESSION_TIMEOUT, admission};
use crate::tunnel::sstp::{self as driver, Packing};

pub(super) fn admission(config: &Config) -> admission::Settings {
    admission::Settings {
        dns: config.network.dns.clone(),
        wins: Vec::new(),
        mtu: config.network.tun.mtu,
        limits: Limits {
            session_timeout: config.limits.session_timeout,
            idle_timeout: config.limits.idle_timeout,
        },
        framed_ip: config.radius.framed_ip,
        filters: config.filters.clone(),
        max_session_timeout: MAX_SESSION_TIMEOUT,
        password_change: config.radius.password_change,
    }
}

/// The SSTP driver; `supports` says which methods the authenticator can decide.
pub(super) fn sstp(config: &Config, supports: impl Fn(AuthMethod) -> bool) -> driver::Config {
    let mut ppp: ppp::Config = config.ppp();
    if let RoleConfig::Server(server) = &mut ppp.role {
        server.auth.retain(|method| supports(*method));
    }
    driver::Config {
        machine: sstp::Config {
            ppp,
            hashes: config.sstp.hashes(),
            hello_interval: config.sstp.hello_interval,
            connect_request_timeout: Duration::from_secs(20),
            call_connected_timeout: config.sstp.call_connected_timeout(),
        },
        auth_timeout: config.login_deadline(),
        packing: match config.sstp.record_packing {
            RecordPacking::Auto => Packing::Auto,
            RecordPacking::One => Packing::One,
            RecordPacking::Many => Packing::Many,
        },
    }
}

pub(super) fn front(config: &Config) -> front::Config {
    front::Config {
        healthy: if config.sstp.health_status == 200 {
            HealthyStatus::Ok
        } else {
            HealthyStatus::Unauthorized
        },
        trusted_proxies: if config.sstp.proxy_protocol {
            config.sstp.trusted_proxies.clone()
        } else {
            Vec::new()
        },
        new_per_second: config.limits.new_per_second,
        ..front::Config::default()
    }
}

/// The certificates of the front door, loaded or made.
pub(super) fn certificates(
    config: &Config,
    listen: &[SocketAddr],
) -> Result<Certificates, StartupError> {
    let min_tls = match config.sstp.min_tls {
        config::MinTls::V1_2 => front::tls::MinTls::Tls12,
        config::MinTls::V1_3 => front::tls::MinTls::Tls13,
    };
    let Some(certificate) = &config.sstp.certificate else {
        let mut names = vec![config.gateway.hostname.clone()];
        names.extend(listen.iter().map(|address| address.ip().to_string()));
        names.dedup();
        let made = SelfMade::new(&names)?;
        let certificate =
            Certificate::from_pem(made.certificate.as_bytes(), made.key.as_bytes(), min_tls)?;
        return Ok(Certificates::fixed(certificate));
    };
    match &certificate.key {
        SecretRef::File(key) => {
            let files = Files {
                certificate: certificate.chain.clone(),
                key: key.clone(),
            };
            Ok(Certificates::open(files, min_tls)?)
        }
        SecretRef::Credential(name) => {
            let folder = std::env::var_os("CREDENTIALS_DIRECTORY").unwrap_or_default();
            let key = std::path::Path::new(&folder).join(name);
            Ok(Certificates::open(
                Files {
                    certificate: certificate.chain.clone(),
                    key,
                },
                min_tls,
            )?)
        }
        SecretRef::Env(_) | SecretRef::Known(_) => {
            let chain =
                std::fs::read(&certificate.chain).map_err(|source| CertificateError::Read {
                    path: certificate.chain.clone(),
                    source,
                })?;
            let key = certificate.key.read()?;
            Ok(Certificates::fixed(Certificate::from_pem(
                &chain,
                key.expose(),
                min_tls,
            )?))
        }
    }
}
