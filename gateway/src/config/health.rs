//! `[health]`: when a probe fails.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::value::{Text, Time};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    require: Vec<Required>,
    radius_grace: Text<Time>,
    pool_min_free: u64,
    cert_min_days: u32,
    flap_hold: Text<Time>,
}

/// A part without which a probe fails.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Required {
    /// The front door.
    Sstp,
    /// The IKEv2 listener.
    Ike,
    /// The Mobility listener.
    Mobility,
    /// The TUN.
    Tun,
    /// The authenticator.
    Radius,
    /// Free addresses.
    Pool,
    /// A certificate that is valid.
    Certificate,
}

impl Default for File {
    fn default() -> Self {
        Self {
            require: vec![
                Required::Sstp,
                Required::Tun,
                Required::Radius,
                Required::Pool,
                Required::Certificate,
            ],
            radius_grace: Time::seconds(90),
            pool_min_free: 5,
            cert_min_days: 1,
            flap_hold: Time::seconds(30),
        }
    }
}

/// When a probe fails.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Health {
    /// The parts that must be well.
    pub require: Vec<Required>,
    /// How long RADIUS may be silent.
    pub radius_grace: Duration,
    /// How many addresses must be free.
    pub pool_min_free: u64,
    /// How many days the certificate must be valid for.
    pub cert_min_days: u32,
    /// How long a bad verdict lasts at least.
    pub flap_hold: Duration,
}

pub(super) fn check(file: File) -> Health {
    let File {
        require,
        radius_grace,
        pool_min_free,
        cert_min_days,
        flap_hold,
    } = file;
    Health {
        require,
        radius_grace: radius_grace.duration(),
        pool_min_free,
        cert_min_days,
        flap_hold: flap_hold.duration(),
    }
}
