//! Who decides about log-ins and who is told of sessions, with the secrets that this takes.

use causeway_proto::wireguard::PrivateKey;

use crate::auth::UserFile;
use crate::config::{Config, Users};
use crate::{accounting, dynauth, radius};

use super::error::StartupError;

/// Everything secret that the configuration names, but for the certificate's key: read while the process still has its
/// rights, so that the files may be for root's eyes alone.
#[derive(Debug)]
pub struct Authority {
    pub(super) radius: Option<radius::Config>,
    pub(super) accounting: Option<accounting::Config>,
    pub(super) dynauth: Option<dynauth::Config>,
    /// Whom the gateway lets in itself, when no RADIUS server decides.
    pub(super) users: Option<UserFile>,
    /// The key of the Mobility tunnel, when that is on.
    pub(super) mobility: Option<PrivateKey>,
}

impl Authority {
    /// Reads the secrets and the user file.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or used, or when nobody would decide about log-ins.
    pub fn read(config: &Config) -> Result<Self, StartupError> {
        let radius = config.radius_client()?;
        let users = match (&radius, &config.users) {
            (Some(_), _) => None,
            (None, Users::Shown) => Some(UserFile::dev()),
            (None, Users::File(path)) => Some(UserFile::load(path)?),
            (None, Users::None) => return Err(StartupError::NobodyDecides),
        };
        Ok(Self {
            radius,
            accounting: config.accounting()?,
            dynauth: config.dynauth()?,
            users,
            mobility: match &config.mobility {
                Some(mobility) => Some(mobility.key.read_or_make()?),
                None => None,
            },
        })
    }
}
