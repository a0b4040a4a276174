//! `[sstp]`: the front door on TCP 443.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use causeway_proto::aaa::AuthMethod;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::os::credentials::SecretRef;

use super::report::Report;
use super::value::{Net, Text, Time};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    listen: Vec<SocketAddr>,
    certificate: Option<PathBuf>,
    key: Option<String>,
    min_tls: MinTls,
    auth: Vec<AuthWord>,
    auth_timeout: Text<Time>,
    crypto_binding: Vec<BindingHash>,
    hello_interval: Text<Time>,
    record_packing: RecordPacking,
    health_status: u16,
    proxy_protocol: bool,
    trusted_proxies: Vec<Text<Net>>,
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum MinTls {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum AuthWord {
    Eap,
    MsChapV2,
    Chap,
    Pap,
}

/// A hash of the crypto binding.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BindingHash {
    /// SHA-256.
    Sha256,
    /// SHA-1.
    Sha1,
}

/// How many SSTP packets go into a TLS record.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordPacking {
    /// One until the client is known to read whole records.
    Auto,
    /// One.
    One,
    /// As many as fit.
    Many,
}

impl Default for File {
    fn default() -> Self {
        Self {
            listen: vec![
                SocketAddr::from(([0, 0, 0, 0], 443)),
                SocketAddr::from(([0_u16; 8], 443)),
            ],
            certificate: None,
            key: None,
            min_tls: MinTls::V1_2,
            auth: vec![AuthWord::Eap, AuthWord::MsChapV2],
            auth_timeout: Time::seconds(58),
            crypto_binding: vec![BindingHash::Sha256, BindingHash::Sha1],
            hello_interval: Time::seconds(60),
            record_packing: RecordPacking::Auto,
            health_status: 401,
            proxy_protocol: false,
            trusted_proxies: Vec::new(),
        }
    }
}

/// The front door.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sstp {
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// What it shows; `None` is a self-made certificate (`serve --dev`).
    pub certificate: Option<Certificate>,
    /// The oldest version of TLS.
    pub min_tls: MinTls,
    /// What is offered in LCP, in this order.
    pub auth: Vec<AuthMethod>,
    /// How long a log-in may take.
    pub auth_timeout: Duration,
    /// The hashes of the crypto binding that are offered.
    pub crypto_binding: Vec<BindingHash>,
    /// How long a client may be silent before it is asked for an echo.
    pub hello_interval: Duration,
    /// How many SSTP packets go into a TLS record.
    pub record_packing: RecordPacking,
    /// The status by which a probe learns that all is well.
    pub health_status: u16,
    /// Whether connections begin with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Whose PROXY protocol header is believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// A certificate and its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// The chain, the server's own first (PEM).
    pub chain: PathBuf,
    /// The private key (PEM).
    pub key: SecretRef,
}

/// Whether the settings are for production or for trying out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    Production,
    Trial,
}

pub(super) fn check(file: File, purpose: Purpose, report: &mut Report) -> Sstp {
    let File {
        listen,
        certificate,
        key,
        min_tls,
        auth,
        auth_timeout,
        crypto_binding,
        hello_interval,
        record_packing,
        health_status,
        proxy_protocol,
        trusted_proxies,
    } = file;
    check_lists(&listen, &auth, &crypto_binding, report);
    check_times(auth_timeout.duration(), hello_interval.duration(), report);
    if !matches!(health_status, 200 | 401) {
        report
            .error(
                "E0203",
                "sstp.health_status",
                "a probe cannot tell this from a failure",
            )
            .label("401 (as RRAS answers) or 200");
    }
    if proxy_protocol && trusted_proxies.is_empty() {
        report
            .error("E0502", "sstp.proxy_protocol", "no proxy is trusted")
            .label("every connection would be refused")
            .note("whoever may write a PROXY header chooses the client address that is logged and limited")
            .help("list the balancers in `trusted_proxies = [\"10.0.2.0/24\"]`");
    } else if !proxy_protocol && !trusted_proxies.is_empty() {
        report
            .warning(
                "E0502",
                "sstp.trusted_proxies",
                "trusted proxies without PROXY protocol",
            )
            .label("without effect")
            .help("set `proxy_protocol = true`");
    }
    let certificate = check_certificate(certificate, key, purpose, report);
    let mut methods: Vec<AuthMethod> = Vec::new();
    for method in auth.into_iter().map(AuthWord::method) {
        if !methods.contains(&method) {
            methods.push(method);
        }
    }
    Sstp {
        listen,
        certificate,
        min_tls,
        auth: methods,
        auth_timeout: auth_timeout.duration(),
        crypto_binding,
        hello_interval: hello_interval.duration(),
        record_packing,
        health_status,
        proxy_protocol,
        trusted_proxies: trusted_proxies.into_iter().map(|text| text.0.0).collect(),
    }
}

impl AuthWord {
    const fn method(self) -> AuthMethod {
        match self {
            Self::Eap => AuthMethod::Eap,
            Self::MsChapV2 => AuthMethod::MsChapV2,
            Self::Chap => AuthMethod::ChapMd5,
            Self::Pap => AuthMethod::Pap,
        }
    }
}

fn check_lists(
    listen: &[SocketAddr],
    auth: &[AuthWord],
    crypto_binding: &[BindingHash],
    report: &mut Report,
) {
    let lists = [
        (
            "sstp.listen",
            listen.is_empty(),
            "the front door is nowhere",
        ),
        ("sstp.auth", auth.is_empty(), "no client can log in"),
        (
            "sstp.crypto_binding",
            crypto_binding.is_empty(),
            "no client can connect",
        ),
    ];
    for (path, _, title) in lists.into_iter().filter(|(_, is_empty, _)| *is_empty) {
        report.error("E0203", path, title).label("at least one");
    }
    for (i, address) in listen.iter().enumerate() {
        if listen.iter().skip(i + 1).any(|other| other == address) {
            report
                .error("E0206", "sstp.listen", "an address is listed twice")
                .label(format!("{address} twice"));
        }
    }
    if auth.contains(&AuthWord::Chap) {
        report
            .warning(
                "E0503",
                "sstp.auth",
                "CHAP with MD5 leaves no keys for the crypto binding",
            )
            .label("a man in the middle can pass the log-in on")
            .help("use \"mschapv2\" or \"eap\"");
    }
}

fn check_times(auth_timeout: Duration, hello_interval: Duration, report: &mut Report) {
    if auth_timeout >= Duration::from_secs(60) {
        report
            .error("E0501", "sstp.auth_timeout", "the client gives up first")
            .label("Windows waits 60 s for the tunnel")
            .note("the user would see error 631 or 718 in the place of the real reason")
            .help("set `auth_timeout = \"58s\"`");
    } else if auth_timeout < Duration::from_secs(5) {
        report
            .error("E0501", "sstp.auth_timeout", "nobody logs in that fast")
            .label("at least 5 s");
    }
    if !(Duration::from_secs(5)..=Duration::from_secs(600)).contains(&hello_interval) {
        report
            .error(
                "E0203",
                "sstp.hello_interval",
                "dead clients would be found at once or never",
            )
            .label("5 s to 10 min");
    }
}

fn check_certificate(
    certificate: Option<PathBuf>,
    key: Option<String>,
    purpose: Purpose,
    report: &mut Report,
) -> Option<Certificate> {
    let (chain, key) = match (certificate, key, purpose) {
        (Some(chain), Some(key), _) => (chain, key),
        (None, None, Purpose::Trial) => return None,
        (certificate, _, _) => {
            let missing = if certificate.is_some() {
                "key"
            } else {
                "certificate"
            };
            report
                .error("E0301", "sstp", "the TLS certificate or its key is missing")
                .label(format!("`{missing}` belongs here"))
                .help(
                    "set `certificate = \"/etc/causeway/tls/fullchain.pem\"` and \
                     `key = \"/etc/causeway/tls/key.pem\"`",
                );
            return None;
        }
    };
    let Some(key) = SecretRef::parse(&key) else {
        report
            .error(
                "E0203",
                "sstp.key",
                "neither a file nor the name of a secret",
            )
            .label("a path, \"credential:NAME\" or \"env:NAME\"");
        return None;
    };
    Some(Certificate { chain, key })
}
