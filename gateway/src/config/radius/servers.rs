//! `[[radius.servers]]`: where the servers are and how they are reached.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::report::Report;
use crate::os::credentials::SecretRef;

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerFile {
    name: String,
    address: IpAddr,
    auth_port: Option<u16>,
    #[serde(default = "acct_port")]
    acct_port: u16,
    secret_file: Option<String>,
    #[serde(default = "udp")]
    transport: Transport,
    source: Option<IpAddr>,
    #[serde(default)]
    status_server: StatusServer,
    tls: Option<TlsFile>,
}

/// `[radius.servers.tls]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct TlsFile {
    ca: PathBuf,
    certificate: Option<PathBuf>,
    key: Option<String>,
    server_name: Option<String>,
}

/// Whether a server is asked with Status-Server whether it lives.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "StatusText", into = "StatusText")]
pub enum StatusServer {
    /// As long as it answers that.
    #[default]
    Auto,
    /// It answers that.
    On,
    /// It does not.
    Off,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum StatusText {
    Is(bool),
    Word(StatusWord),
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum StatusWord {
    Auto,
}

impl From<StatusText> for StatusServer {
    fn from(text: StatusText) -> Self {
        match text {
            StatusText::Word(StatusWord::Auto) => Self::Auto,
            StatusText::Is(true) => Self::On,
            StatusText::Is(false) => Self::Off,
        }
    }
}

impl From<StatusServer> for StatusText {
    fn from(status: StatusServer) -> Self {
        match status {
            StatusServer::Auto => Self::Word(StatusWord::Auto),
            StatusServer::On => Self::Is(true),
            StatusServer::Off => Self::Is(false),
        }
    }
}

const fn acct_port() -> u16 {
    1813
}

const fn udp() -> Transport {
    Transport::Udp
}

/// How requests reach a server.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// RFC 2865.
    Udp,
    /// RFC 6614.
    Tls,
}

/// A server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server {
    /// Its name in log and metrics.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// The port for authentication.
    pub auth_port: u16,
    /// The port for accounting.
    pub acct_port: u16,
    /// Where the shared secret is.
    pub secret: SecretRef,
    /// How it is reached.
    pub transport: Transport,
    /// Our address, as the server knows it.
    pub source: Option<IpAddr>,
    /// Whether it is asked with Status-Server whether it lives.
    pub status_server: StatusServer,
    /// How it is reached over TLS.
    pub tls: Option<ServerTls>,
}

/// How a server is reached over TLS (RFC 6614).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerTls {
    /// The certificates of the authorities that it may have its own from.
    pub ca: PathBuf,
    /// Our certificate, and where its key is.
    pub identity: Option<(PathBuf, SecretRef)>,
    /// The name in its certificate.
    pub server_name: String,
}

pub(super) fn check_servers(files: Vec<ServerFile>, report: &mut Report) -> Vec<Server> {
    let mut servers = Vec::new();
    let mut names = HashSet::new();
    for (i, file) in files.into_iter().enumerate() {
        let ServerFile {
            name,
            address,
            auth_port,
            acct_port,
            secret_file,
            transport,
            source,
            status_server,
            tls,
        } = file;
        let auth_port = auth_port.unwrap_or(match transport {
            Transport::Udp => 1812,
            Transport::Tls => 2083,
        });
        let path = |key: &str| format!("radius.servers[{i}].{key}");
        let is_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > 63 || !name.bytes().all(is_word) {
            report
                .error("E0203", &path("name"), "not a name for log and metrics")
                .label("1 to 63 letters, digits, `-`, `_` and `.`");
        }
        if !names.insert(name.clone()) {
            report
                .error(
                    "E0206",
                    &path("name"),
                    "two RADIUS servers have the same name",
                )
                .label("log and metrics could not tell them apart");
        }
        for (key, port) in [("auth_port", auth_port), ("acct_port", acct_port)] {
            if port == 0 {
                report
                    .error("E0203", &path(key), "not a port")
                    .label("1 to 65535");
            }
        }
        let tls = check_tls(tls, transport, (address, i), report);
        if source.is_some_and(|source| source.is_ipv4() != address.is_ipv4()) {
            report
                .error(
                    "E0203",
                    &path("source"),
                    "source and server are of different families",
                )
                .label(format!("the server is {address}"));
        }
        let shared = match (&secret_file, transport) {
            (Some(text), _) => secret(text, &path("secret_file"), report),
            // RFC 6614 §2.3 (4).
            (None, Transport::Tls) => Some(SecretRef::Known("radsec")),
            (None, Transport::Udp) => {
                report
                    .error("E0203", &path("name"), "a RADIUS server without a secret")
                    .label("set `secret_file`");
                None
            }
        };
        if let Some(secret) = shared {
            servers.push(Server {
                name,
                address,
                auth_port,
                acct_port,
                secret,
                transport,
                source,
                status_server,
                tls,
            });
        }
    }
    servers
}

fn check_tls(
    file: Option<TlsFile>,
    transport: Transport,
    (address, i): (IpAddr, usize),
    report: &mut Report,
) -> Option<ServerTls> {
    let path = |key: &str| format!("radius.servers[{i}].{key}");
    match (file, transport) {
        (None, Transport::Udp) => None,
        (Some(_), Transport::Udp) => {
            report
                .error(
                    "E0203",
                    &path("tls"),
                    "TLS for a server that is asked by UDP",
                )
                .label("set `transport = \"tls\"`");
            None
        }
        (None, Transport::Tls) => {
            report
                .error("E0203", &path("transport"), "TLS without an authority")
                .label("nobody could say whether it is the right server")
                .help("add `tls = { ca = \"/etc/causeway/radius/ca.pem\" }`");
            None
        }
        (Some(file), Transport::Tls) => {
            let identity = match (file.certificate, file.key) {
                (Some(certificate), Some(key)) => {
                    secret(&key, &path("tls.key"), report).map(|key| (certificate, key))
                }
                (None, None) => None,
                (Some(_), None) | (None, Some(_)) => {
                    report
                        .error("E0203", &path("tls"), "half an identity")
                        .label("`certificate` and `key` belong together");
                    None
                }
            };
            Some(ServerTls {
                ca: file.ca,
                identity,
                server_name: file.server_name.unwrap_or_else(|| address.to_string()),
            })
        }
    }
}

pub(super) fn secret(text: &str, path: &str, report: &mut Report) -> Option<SecretRef> {
    let secret = SecretRef::parse(text);
    if secret.is_none() {
        report
            .error("E0203", path, "neither a file nor the name of a secret")
            .label("a path, \"credential:NAME\" or \"env:NAME\"");
    }
    secret
}
