//! `[mobility]`: the tunnel that roams, in WireGuard's protocol.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use causeway_proto::wireguard::PrivateKey;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::os::credentials::{self, CredentialError, SecretRef};

use super::report::Report;
use super::sstp::Purpose;
use super::value::{Text, Time};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the key of the file")]
pub(super) struct File {
    /// When it is not said, a private key says yes.
    enabled: Option<bool>,
    listen: Vec<SocketAddr>,
    private_key: Option<String>,
    external: Vec<String>,
    pool: Option<String>,
    persist: Text<Time>,
    keepalive: Text<Time>,
    enrol: EnrolBy,
    reauth: Text<Time>,
    peers_file: Option<PathBuf>,
}

/// How a device is enrolled, besides by an administrator.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnrolBy {
    /// Not at all.
    Off,
    /// With a token that an administrator has made; not in this version.
    Token,
    /// By its user's log-in over HTTPS.
    Radius,
}

/// Where the register of devices is unless the file says otherwise.
const PEERS_FILE: &str = "/var/lib/causeway/peers.toml";
/// What the gateway's private key is called beside the register, when no other place is named.
const KEY_FILE: &str = "mobility.key";
/// The port.
const PORT: u16 = 5008;

impl Default for File {
    fn default() -> Self {
        Self {
            enabled: None,
            listen: vec![
                SocketAddr::from(([0, 0, 0, 0], PORT)),
                SocketAddr::from(([0_u16; 8], PORT)),
            ],
            private_key: None,
            external: Vec::new(),
            pool: None,
            persist: Time::seconds(86_400),
            keepalive: Time::seconds(25),
            enrol: EnrolBy::Radius,
            reauth: Time::seconds(12 * 3600),
            peers_file: None,
        }
    }
}

/// The tunnel that roams.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mobility {
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// The gateway's private key.
    pub key: Key,
    /// Where clients reach it, as host and port; the first one goes into profiles. None is the gateway's own name and the
    /// first port that is listened on.
    pub external: Vec<String>,
    /// The pool for devices of which nothing else is said; `None` is that for users.
    pub pool: Option<String>,
    /// How long the session of a device that is not heard of is kept, and the address of one whose log-in has expired.
    pub persist: Duration,
    /// How often a device speaks up so that the path stays open; `None` is never.
    pub keepalive: Option<Duration>,
    /// How devices are enrolled.
    pub enrol: EnrolBy,
    /// How long a log-in lasts; `None` is for ever.
    pub reauth: Option<Duration>,
    /// Where enrolled devices are written; `None` is nowhere (`serve --dev`).
    pub peers_file: Option<PathBuf>,
}

/// Where the private key comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Key {
    source: Option<SecretRef>,
    making: Making,
}

/// Whether a key is made when there is none.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Making {
    Never,
    /// Whenever there is none (`serve --dev`).
    Always,
    /// At the first start, which is the one that finds no register here: devices that are enrolled know another key.
    First {
        register: PathBuf,
    },
}

impl Key {
    /// A key of which the file says nothing: made at the first start beside the register, or for one run without one.
    fn beside(register: Option<&Path>) -> Self {
        match register {
            Some(register) => Self {
                source: Some(SecretRef::File(register.with_file_name(KEY_FILE))),
                making: Making::First {
                    register: register.to_owned(),
                },
            },
            None => Self {
                source: None,
                making: Making::Always,
            },
        }
    }

    /// Returns the key that is there, and makes none in a file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is no key.
    pub fn read(&self) -> Result<PrivateKey, CredentialError> {
        let Some(source) = &self.source else {
            return make();
        };
        let text = source.read()?;
        let key = str::from_utf8(text.expose()).ok();
        key.and_then(|key| key.parse().ok())
            .ok_or_else(|| CredentialError::Unusable {
                path: source.to_string().into(),
                reason:
                    "no private key: 32 octets in base64, as `causeway keys mobility` writes it"
                        .to_owned(),
            })
    }

    /// Returns the key for the gateway itself, which makes it at its first start.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is no key, or cannot be made.
    pub fn read_or_make(&self) -> Result<PrivateKey, CredentialError> {
        let Some(path) = self.absent()? else {
            return self.read();
        };
        let key = make()?;
        let text = Zeroizing::new(format!("{}\n", key.expose_base64().as_str()));
        credentials::write_private(path, text.as_bytes()).map_err(|source| {
            CredentialError::Unreadable {
                path: path.to_owned(),
                source,
            }
        })?;
        Ok(key)
    }

    /// Where it is to be, for people; empty when it is made for this run.
    #[must_use]
    pub fn place(&self) -> String {
        self.source
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    /// Returns what is known before the start: a key that would be made cannot be wrong.
    pub(super) fn check(&self) -> Result<(), CredentialError> {
        match self.absent()? {
            Some(_) => Ok(()),
            None => self.read().map(drop),
        }
    }

    /// Returns the file that is not there and that the gateway would make.
    fn absent(&self) -> Result<Option<&Path>, CredentialError> {
        let Some(SecretRef::File(path)) = &self.source else {
            return Ok(None);
        };
        // What cannot be looked at is not absent; reading it says why.
        let is_absent = |path: &Path| matches!(path.try_exists(), Ok(false));
        if self.making == Making::Never || !is_absent(path) {
            return Ok(None);
        }
        match &self.making {
            Making::First { register } if !is_absent(register) => Err(CredentialError::Unusable {
                path: path.clone(),
                reason: format!(
                    "is not there, and another key would shut out the devices in {}; put it back, or name where it is",
                    register.display()
                ),
            }),
            Making::First { .. } | Making::Always | Making::Never => Ok(Some(path)),
        }
    }
}

fn make() -> Result<PrivateKey, CredentialError> {
    credentials::random().map(|octets| PrivateKey::from_bytes(*octets))
}

/// Returns `None` when the tunnel is off.
pub(super) fn check(file: File, purpose: Purpose, report: &mut Report) -> Option<Mobility> {
    let File {
        enabled,
        listen,
        private_key,
        external,
        pool,
        persist,
        keepalive,
        enrol,
        reauth,
        peers_file,
    } = file;
    let trial = purpose == Purpose::Trial;
    let peers_file = peers_file.or_else(|| (!trial).then(|| PEERS_FILE.into()));
    let key = check_key(private_key, trial, report);
    if !enabled.unwrap_or_else(|| key.is_some()) {
        return None;
    }
    if enrol == EnrolBy::Token {
        report
            .error(
                "E0707",
                "mobility.enrol",
                "tokens for enrolment are not in this version",
            )
            .label("\"radius\" or \"off\"")
            .help("`causeway peer add NAME` enrols a device without a log-in, for `--expires` if it says so");
    }
    check_listen(&listen, report);
    for (i, text) in external.iter().enumerate() {
        if !is_endpoint(text) {
            report
                .error(
                    "E0704",
                    &format!("mobility.external[{i}]"),
                    "clients cannot reach that",
                )
                .label("a host name or address, and a port")
                .help("as \"vpn.example.com:5008\" or \"[2001:db8::1]:5008\"");
        }
    }
    // PersistentKeepalive has 16 bits.
    if keepalive.duration() > Duration::from_secs(65_535) {
        report
            .error("E0203", "mobility.keepalive", "a keepalive so rare is none")
            .label("at most \"65535s\"; \"0s\" is none");
    }
    Some(Mobility {
        listen,
        key: key.unwrap_or_else(|| Key::beside(peers_file.as_deref().filter(|_| !trial))),
        external,
        pool,
        persist: persist.duration(),
        keepalive: keepalive.limit(),
        enrol,
        reauth: reauth.limit(),
        peers_file,
    })
}

/// Returns `None` when no key is named, or none that could be.
fn check_key(text: Option<String>, trial: bool, report: &mut Report) -> Option<Key> {
    let text = text?;
    // Somebody who writes the key itself there should know that it is out.
    if text.parse::<PrivateKey>().is_ok() {
        report
            .error(
                "E0701",
                "mobility.private_key",
                "a secret in the configuration",
            )
            .label("this is a key, not where one is")
            .help(
                "make a new one, since this may have been read: `causeway keys mobility --out \
                 /etc/causeway/mobility.key`; then `private_key = \"/etc/causeway/mobility.key\"`",
            );
        return None;
    }
    let Some(source) = SecretRef::parse(&text) else {
        report
            .error("E0701", "mobility.private_key", "this names no key")
            .label("a path, \"credential:NAME\" or \"env:NAME\"");
        return None;
    };
    Some(Key {
        source: Some(source),
        making: if trial { Making::Always } else { Making::Never },
    })
}

fn check_listen(listen: &[SocketAddr], report: &mut Report) {
    if listen.is_empty() {
        report
            .error(
                "E0703",
                "mobility.listen",
                "the Mobility tunnel listens nowhere",
            )
            .label("at least one address")
            .help("`listen = [\"0.0.0.0:5008\", \"[::]:5008\"]`, or `enabled = false`");
    }
    for (i, address) in listen.iter().enumerate() {
        if listen.iter().take(i).any(|earlier| earlier == address) {
            report
                .error(
                    "E0703",
                    &format!("mobility.listen[{i}]"),
                    "the address stands twice",
                )
                .label(format!("{address} is listed before"));
        }
    }
}

/// Returns whether it is a host and a port.
fn is_endpoint(text: &str) -> bool {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return address.port() != 0 && !address.ip().is_unspecified();
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
    };
    port.parse::<u16>().is_ok_and(|port| port != 0)
        && host.len() <= 253
        && host
            .strip_suffix('.')
            .unwrap_or(host)
            .split('.')
            .all(is_label)
}
