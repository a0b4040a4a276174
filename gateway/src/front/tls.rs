//! TLS on port 443: the certificate that is shown, its hashes for the crypto binding, and its replacement while running.
//!
//! TLS 1.2 and 1.3, `http/1.1` alone as application protocol, no client certificates, no tickets and no session storage.
//! A connection keeps the [`Certificate`] with which its handshake began, so a reload between the handshake and
//! Call-Connected changes nothing for it.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use causeway_proto::sstp::CertificateHashes;
use metrics::Gauge;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, SupportedProtocolVersion};
use thiserror::Error;
use tracing::{info, warn};
use x509_parser::extensions::GeneralName;
use zeroize::Zeroizing;

use crate::observe::health::Status;
use crate::observe::metrics::certificate_expiry;
use crate::task::Stop;

/// How often the files are looked at.
const WATCH_PERIOD: Duration = Duration::from_secs(5);
/// A certificate file larger than this is a mistake.
const MAX_FILE: u64 = 1 << 20;
/// From here on an administrator should look.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 86_400);

/// The lowest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum MinTls {
    /// TLS 1.2: what Windows 10 speaks.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl MinTls {
    fn versions(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Tls12 => vec![&rustls::version::TLS13, &rustls::version::TLS12],
            Self::Tls13 => vec![&rustls::version::TLS13],
        }
    }
}

/// Where a certificate comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Files {
    /// The chain, leaf first, in PEM.
    pub certificate: PathBuf,
    /// The key of the leaf, in PEM.
    pub key: PathBuf,
}

/// Why a certificate cannot be served.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("reading {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not PEM, or has not what it should.
    #[error("no PEM certificate or key")]
    Pem(#[from] pem::Error),
    /// The chain is empty.
    #[error("the file holds no certificate")]
    Empty,
    /// The leaf is not X.509.
    #[error("the certificate is not X.509")]
    NotX509,
    /// Key and certificate do not belong together, or the key is of a kind that is not supported.
    #[error("the certificate cannot be served with this key")]
    Unusable(#[from] rustls::Error),
    /// A certificate could not be made.
    #[error("a certificate cannot be made")]
    Make(#[from] rcgen::Error),
}

/// A certificate that is served: everything that a connection keeps of it.
#[derive(Debug)]
pub struct Certificate {
    config: Arc<ServerConfig>,
    hashes: CertificateHashes,
    names: Vec<String>,
    not_after: SystemTime,
}

/// A certificate made on the spot, in PEM.
pub struct SelfMade {
    /// The certificate; a client may trust it by hand.
    pub certificate: String,
    /// Its key.
    pub key: Zeroizing<String>,
}

impl SelfMade {
    /// Makes a self-signed ECDSA certificate for these names.
    ///
    /// # Errors
    ///
    /// When a name cannot stand in a certificate.
    pub fn new(names: &[String]) -> Result<Self, CertificateError> {
        let made = rcgen::generate_simple_self_signed(names)?;
        Ok(Self {
            certificate: made.cert.pem(),
            key: Zeroizing::new(made.signing_key.serialize_pem()),
        })
    }
}

impl Certificate {
    /// Takes a chain and the key of its leaf, both in PEM.
    ///
    /// # Errors
    ///
    /// When they cannot be served together.
    pub fn from_pem(chain: &[u8], key: &[u8], min_tls: MinTls) -> Result<Self, CertificateError> {
        let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key)?;
        let leaf = chain.first().ok_or(CertificateError::Empty)?;
        let hashes = CertificateHashes::of(leaf);
        let (names, not_after) = names_and_end(leaf)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&min_tls.versions())?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self {
            config: Arc::new(config),
            hashes,
            names,
            not_after,
        })
    }

    /// Reads the files.
    ///
    /// # Errors
    ///
    /// When they cannot be read or served.
    pub fn load(files: &Files, min_tls: MinTls) -> Result<Self, CertificateError> {
        let chain = read(&files.certificate)?;
        let key = read(&files.key)?;
        Self::from_pem(&chain, &key, min_tls)
    }

    /// Returns the configuration with which its handshakes are made.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Returns its hashes, for the crypto binding.
    #[must_use]
    pub const fn hashes(&self) -> CertificateHashes {
        self.hashes
    }

    /// Returns the names that it is for: host names, wildcards, addresses.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the end of its life.
    #[must_use]
    pub const fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Returns whether a client that dials `host` accepts its name.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        self.names.iter().any(|name| {
            name.eq_ignore_ascii_case(host)
                || name.strip_prefix('*').is_some_and(|suffix| {
                    host.split_once('.').is_some_and(|(first, _)| {
                        let rest = host.get(first.len()..);
                        !first.is_empty()
                            && rest.is_some_and(|rest| rest.eq_ignore_ascii_case(suffix))
                    })
                })
        })
    }

    /// Returns what its age means for the health: down when it has less than `min_left` to live.
    #[must_use]
    pub fn status(&self, now: SystemTime, min_left: Duration) -> Status {
        let left = self.not_after.duration_since(now).unwrap_or(Duration::ZERO);
        let days = left.as_secs() / 86_400;
        if left.is_zero() {
            Status::Down("the certificate has expired".to_owned())
        } else if left < min_left {
            Status::Down(format!("the certificate expires in {days} days"))
        } else if left < WARN_BEFORE {
            Status::Warn(format!("the certificate expires in {days} days"))
        } else {
            Status::Ok
        }
    }
}

/// Reads a file of reasonable size into memory that is wiped.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let failed = |source| CertificateError::Read {
        path: path.to_owned(),
        source,
    };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE {
        return Err(failed(io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    fs::read(path).map(Zeroizing::new).map_err(failed)
}

fn names_and_end(leaf: &[u8]) -> Result<(Vec<String>, SystemTime), CertificateError> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(leaf).map_err(|_error| CertificateError::NotX509)?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    let mut names = Vec::new();
    if let Ok(Some(alternative)) = parsed.subject_alternative_name() {
        for name in &alternative.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push((*name).to_owned());
            } else if let GeneralName::IPAddress(octets) = name {
                names.extend(address(octets).map(|address| address.to_string()));
            }
        }
    }
    Ok((names, UNIX_EPOCH + Duration::from_secs(seconds)))
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(octets)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from))
        .ok()
}

/// The certificate of the listener, replaceable while connections hold the one that they were shown.
#[derive(Debug)]
pub struct Certificates {
    current: ArcSwap<Certificate>,
    min_tls: MinTls,
    files: Option<Files>,
    seen: Mutex<Option<Seen>>,
    reloaded: Gauge,
}

/// What tells one version of the files from the next.
type Seen = [(SystemTime, u64, u64); 2];

impl Certificates {
    /// Serves a certificate that has no files.
    #[must_use]
    pub fn fixed(certificate: Certificate) -> Self {
        Self::new(certificate, MinTls::default(), None)
    }

    /// Serves what the files hold.
    ///
    /// # Errors
    ///
    /// When they cannot be read or served.
    pub fn open(files: Files, min_tls: MinTls) -> Result<Self, CertificateError> {
        let seen = look(&files);
        let certificate = Certificate::load(&files, min_tls)?;
        let certificates = Self::new(certificate, min_tls, Some(files));
        *certificates
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = seen;
        Ok(certificates)
    }

    fn new(certificate: Certificate, min_tls: MinTls, files: Option<Files>) -> Self {
        let reloaded = metrics::gauge!("causeway_certificate_last_reload_successful");
        reloaded.set(1.0);
        show(&certificate);
        Self {
            current: ArcSwap::from_pointee(certificate),
            min_tls,
            files,
            seen: Mutex::new(None),
            reloaded,
        }
    }

    /// Returns the certificate that the next handshake uses.
    #[must_use]
    pub fn current(&self) -> Arc<Certificate> {
        self.current.load_full()
    }

    /// Reads the files again; when they cannot be served, the old certificate stays.
    ///
    /// # Errors
    ///
    /// Says what is wrong with them.
    pub fn reload(&self) -> Result<(), CertificateError> {
        let Some(files) = &self.files else {
            return Ok(());
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = look(files);
        match Certificate::load(files, self.min_tls) {
            Ok(certificate) => {
                show(&certificate);
                self.current.store(Arc::new(certificate));
                self.reloaded.set(1.0);
                info!(event = "reload", "the certificate files have been read");
                Ok(())
            }
            Err(error) => {
                self.reloaded.set(0.0);
                Err(error)
            }
        }
    }

    /// Looks at the files until the stop and reads them when they have changed.
    pub async fn watch(&self, mut stop: Stop) {
        loop {
            tokio::select! {
                () = stop.stopped() => return,
                () = tokio::time::sleep(WATCH_PERIOD) => self.poll(),
            }
        }
    }

    fn poll(&self) {
        let Some(files) = &self.files else { return };
        let now = look(files);
        let unchanged = *self.seen.lock().unwrap_or_else(PoisonError::into_inner) == now;
        if unchanged || now.is_none() {
            return;
        }
        if let Err(error) = self.reload() {
            warn!(event = "reload", %error, "the changed certificate cannot be served; the old one stays");
        }
    }
}

fn show(certificate: &Certificate) {
    let name = certificate.names.first().map_or("-", String::as_str);
    certificate_expiry(name, certificate.not_after);
}

fn look(files: &Files) -> Option<Seen> {
    use std::os::unix::fs::MetadataExt;

    let look = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
    };
    Some([look(&files.certificate)?, look(&files.key)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str) -> SelfMade {
        SelfMade::new(&[name.to_owned(), "192.0.2.1".to_owned()]).unwrap()
    }

    fn certificate(made: &SelfMade) -> Certificate {
        Certificate::from_pem(
            made.certificate.as_bytes(),
            made.key.as_bytes(),
            MinTls::Tls12,
        )
        .unwrap()
    }

    #[test]
    fn knows_its_names_and_its_end() {
        let plain = certificate(&made("vpn.example.com"));
        assert_eq!(plain.names(), ["vpn.example.com", "192.0.2.1"]);
        assert!(plain.covers("VPN.example.com") && plain.covers("192.0.2.1"));
        assert!(!plain.covers("example.com"));
        let wild = certificate(&made("*.example.com"));
        assert!(wild.covers("vpn.example.com"));
        assert!(
            !wild.covers("example.com")
                && !wild.covers("a.b.example.com")
                && !wild.covers(".example.com")
        );
        let day = Duration::from_secs(86_400);
        let before = |days: u32| plain.status(plain.not_after() - day * days, day);
        assert_eq!(before(15), Status::Ok);
        assert_eq!(before(13).as_str(), "warn");
        assert_eq!(
            plain.status(plain.not_after() - day / 2, day).as_str(),
            "down"
        );
        assert_eq!(before(0).as_str(), "down");
    }

    #[test]
    fn refuses_a_pair_that_does_not_match() {
        let (one, two) = (made("one"), made("two"));
        let pair = |chain: &str, key: &str| {
            Certificate::from_pem(chain.as_bytes(), key.as_bytes(), MinTls::Tls13)
        };
        assert!(matches!(
            pair(&one.certificate, &two.key),
            Err(CertificateError::Unusable(_))
        ));
        assert!(matches!(pair("", &two.key), Err(CertificateError::Empty)));
        assert!(matches!(
            pair(&one.certificate, ""),
            Err(CertificateError::Pem(_))
        ));
    }

    #[test]
    fn a_bad_pair_on_disk_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files {
            certificate: folder.path().join("chain"),
            key: folder.path().join("key"),
        };
        let (one, two) = (made("one"), made("two"));
        fs::write(&files.certificate, &one.certificate).unwrap();
        fs::write(&files.key, one.key.as_str()).unwrap();
        let certificates = Certificates::open(files.clone(), MinTls::Tls12).unwrap();
        let first = certificates.current();
        fs::write(&files.certificate, format!("{}\n", two.certificate)).unwrap();
        certificates.poll();
        assert!(certificates.reload().is_err());
        assert_eq!(certificates.current().names(), first.names());
        fs::write(&files.key, format!("{}\n", two.key.as_str())).unwrap();
        certificates.poll();
        let second = certificates.current();
        assert_eq!(second.names().first().unwrap(), "two");
        assert_ne!(second.hashes().sha256, first.hashes().sha256);
    }
}
