//! The words of the control socket; `--json` prints the same objects, so keys stay as they are.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::observe::health::{self, Component, Verdict};

mod devices;
mod session;

pub use devices::{Device, NewDevice, Profile};
pub use session::Session;

/// The version of the keys below.
pub const SCHEMA: u32 = 1;

/// What an administrator asks.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How the gateway is.
    Status,
    /// The sessions that match.
    Sessions {
        /// Only of this tunnel.
        #[serde(default)]
        protocol: Option<String>,
        /// Only of this user.
        #[serde(default)]
        user: Option<String>,
    },
    /// One session.
    Session {
        /// Its id, or the beginning of it.
        id: String,
    },
    /// Ends sessions.
    Disconnect {
        /// Which.
        target: Target,
        /// For the log.
        #[serde(default)]
        reason: Option<String>,
        /// Only counts them.
        #[serde(default)]
        dry_run: bool,
    },
    /// Reads configuration and certificates again.
    Reload,
    /// Drains.
    Drain {
        /// How long the probe fails before sessions are touched; the configured time when absent.
        #[serde(default)]
        notice_seconds: Option<u64>,
        /// How long the disconnecting takes; the configured time when absent.
        #[serde(default)]
        over_seconds: Option<u64>,
        /// Only says what would happen.
        #[serde(default)]
        dry_run: bool,
    },
    /// Takes clients again.
    DrainCancel,
    /// The enrolled devices.
    Devices {
        /// Only of this user.
        #[serde(default)]
        user: Option<String>,
    },
    /// One device.
    Device {
        /// Its number, key or name, or `USER/NAME`.
        what: String,
    },
    /// Enrols a device.
    DeviceAdd(Box<NewDevice>),
    /// Removes a device, and ends its session.
    DeviceRevoke {
        /// As for [`Self::Device`].
        what: String,
        /// Only says which.
        #[serde(default)]
        dry_run: bool,
    },
    /// What a device needs to open its tunnel.
    DeviceProfile {
        /// As for [`Self::Device`].
        what: String,
    },
}

/// Which sessions are meant.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The one with this id.
    Id(String),
    /// Those of this user.
    User(String),
    /// The one with this inner address.
    Ip(std::net::IpAddr),
    /// All.
    All,
}

/// What the gateway answers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Sessions`].
    Sessions {
        /// They, oldest first.
        sessions: Vec<Session>,
    },
    /// To [`Request::Session`].
    Session {
        /// It.
        session: Box<Session>,
    },
    /// To [`Request::Disconnect`].
    Disconnected {
        /// How many sessions were told to end, or would be.
        sessions: usize,
        /// Nothing has been done.
        dry_run: bool,
    },
    /// To [`Request::Reload`].
    Reloaded(Reloaded),
    /// To [`Request::Drain`] and [`Request::DrainCancel`].
    Drain(Drain),
    /// To [`Request::Devices`].
    Devices {
        /// They, oldest first.
        devices: Vec<Device>,
    },
    /// To [`Request::Device`].
    Device {
        /// It.
        device: Box<Device>,
    },
    /// To [`Request::DeviceAdd`] and [`Request::DeviceProfile`].
    Enrolled {
        /// The device.
        device: Box<Device>,
        /// What it needs.
        profile: Box<Profile>,
    },
    /// To [`Request::DeviceRevoke`].
    Revoked {
        /// As it was.
        device: Box<Device>,
        /// Nothing has been done.
        dry_run: bool,
    },
    /// Nothing matches.
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// This user may not ask.
    Forbidden {
        /// Who was recognised, and what to do.
        message: String,
    },
    /// As many administrators are being answered as can be.
    Busy,
    /// The gateway could not do it.
    Failed {
        /// The number for `causeway explain`.
        code: Option<String>,
        /// What is wrong, and what to do.
        message: String,
    },
}

impl Response {
    /// Returns whether it tells of a change that a restart must not undo.
    #[must_use]
    pub const fn is_to_last(&self) -> bool {
        matches!(
            self,
            Self::Enrolled { .. } | Self::Revoked { dry_run: false, .. }
        )
    }
}

/// How the gateway is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// The gateway's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `healthy` or `unhealthy`.
    pub verdict: String,
    /// The status that the probe is answered with.
    pub probe: u16,
    /// The component that makes the probe fail.
    pub failing: Option<String>,
    /// Since when the gateway runs (RFC 3339).
    pub started: String,
    /// For how long, in seconds.
    pub uptime_seconds: u64,
    /// Each component.
    pub components: Vec<ComponentStatus>,
    /// Sessions in numbers.
    pub sessions: SessionCounts,
    /// Each pool.
    pub pools: Vec<Pool>,
    /// Each RADIUS server; empty with the embedded user file.
    pub radius: Vec<RadiusServer>,
    /// The served certificate.
    pub certificate: Option<CertificateStatus>,
    /// The drain that runs.
    pub drain: Option<Drain>,
}

/// The state of a component.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ComponentStatus {
    /// `sstp`, `tun`, `radius`, `pool`, `certificate` or `drain`.
    pub component: String,
    /// `ok`, `warn` or `down`.
    pub status: String,
    /// Why it is not well; empty otherwise.
    pub reason: String,
    /// A few words of numbers for the table; empty when there are none.
    #[serde(default)]
    pub detail: String,
    /// For how long it has been so, in seconds.
    pub for_seconds: u64,
}

/// Sessions in numbers.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SessionCounts {
    /// With packets.
    pub up: usize,
    /// Whose clients are not heard of.
    #[serde(default)]
    pub unreachable: usize,
    /// Not decided yet.
    pub authenticating: usize,
    /// The configured maximum.
    pub limit: usize,
}

/// A pool in numbers.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Addresses in use.
    pub used: usize,
    /// Addresses that the next client may get.
    pub free: usize,
    /// Addresses kept for somebody.
    pub reserved: usize,
}

/// A RADIUS server.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct RadiusServer {
    /// Its name.
    pub name: String,
    /// Whether it is considered alive.
    pub up: bool,
    /// Requests that wait.
    pub pending: usize,
}

/// The served certificate.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CertificateStatus {
    /// The names that it is for.
    pub names: Vec<String>,
    /// The end of its life (RFC 3339).
    pub not_after: String,
    /// Whole days until then.
    pub days_left: u64,
}

/// What a reload did.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Reloaded {
    /// Keys that are in force now.
    pub applied: Vec<String>,
    /// Keys that are in force for new sessions.
    pub new_sessions: Vec<String>,
    /// Keys that need a restart.
    pub needs_restart: Vec<String>,
}

/// A drain.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Drain {
    /// `serving`, `notice`, `disconnecting`, `drained`.
    pub state: String,
    /// Sessions that are still up.
    pub sessions: usize,
    /// Second factors that reconnecting users will be asked for elsewhere.
    pub mfa_prompts: usize,
    /// How long the probe fails before sessions are touched.
    pub notice_seconds: u64,
    /// How long the disconnecting takes.
    pub over_seconds: u64,
}

impl Status {
    /// Writes down what the health says; `healthy` is the status of a healthy gateway's probe.
    pub fn judge(&mut self, health: &health::Health, healthy: u16) {
        (self.verdict, self.probe, self.failing) = match health.verdict() {
            Verdict::Healthy => ("healthy".to_owned(), healthy, None),
            Verdict::Unhealthy(component) => (
                "unhealthy".to_owned(),
                503,
                Some(component.as_str().to_owned()),
            ),
        };
        self.components = health
            .snapshot()
            .into_iter()
            .filter(|(component, status, _)| match component {
                Component::Drain => matches!(status, health::Status::Down(_)),
                // Never set when it is not configured.
                Component::Mobility => status.reason() != "starting",
                Component::Sstp
                | Component::Tun
                | Component::Radius
                | Component::Pool
                | Component::Certificate => true,
            })
            .map(|(component, status, since)| ComponentStatus {
                component: component.as_str().to_owned(),
                status: status.as_str().to_owned(),
                reason: status.reason().to_owned(),
                detail: String::new(),
                for_seconds: since.elapsed().as_secs(),
            })
            .collect();
    }
}

/// Writes a moment as RFC 3339 in UTC.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(
        |_| String::new(),
        |time| time.round(jiff::Unit::Second).unwrap_or(time).to_string(),
    )
}

/// Returns a response as the one object that `--json` prints: `schema` and the response's keys.
#[must_use]
pub fn to_json(response: &Response) -> serde_json::Value {
    let mut value = serde_json::to_value(response).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.insert("schema".to_owned(), SCHEMA.into());
    }
    value
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_keys_stay_as_they_are() {
        let request = Request::Disconnect {
            target: Target::User("alice".to_owned()),
            reason: None,
            dry_run: false,
        };
        let json = serde_json::to_string(&request).unwrap();
        assert_eq!(
            json,
            r#"{"request":"disconnect","target":{"user":"alice"},"reason":null,"dry_run":false}"#
        );
        assert_eq!(serde_json::from_str::<Request>(&json).unwrap(), request);
        assert_eq!(
            serde_json::from_str::<Request>(r#"{"request":"disconnect","target":"all"}"#).unwrap(),
            Request::Disconnect {
                target: Target::All,
                reason: None,
                dry_run: false
            }
        );
        assert!(serde_json::from_str::<Request>(r#"{"request":"drain","over":1}"#).is_err());
        let response = Response::Sessions {
            sessions: vec![Session::default()],
        };
        let json = to_json(&response);
        assert_eq!(json["schema"], 1);
        assert_eq!(json["response"], "sessions");
        assert_eq!(json["sessions"][0]["rx_bytes"], 0);
    }

    #[test]
    fn every_response_survives_the_wire() {
        for response in [
            Response::Status(Box::default()),
            Response::Session {
                session: Box::default(),
            },
            Response::Disconnected {
                sessions: 2,
                dry_run: true,
            },
            Response::Reloaded(Reloaded::default()),
            Response::Drain(Drain::default()),
            Response::NotFound {
                what: "no session of bob".to_owned(),
            },
            Response::Forbidden {
                message: "x".to_owned(),
            },
            Response::Busy,
            Response::Failed {
                code: Some("E0301".to_owned()),
                message: "x".to_owned(),
            },
        ] {
            let json = serde_json::to_string(&response).unwrap();
            assert_eq!(serde_json::from_str::<Response>(&json).unwrap(), response);
        }
    }

    #[test]
    fn moments_are_written_without_fractions() {
        assert_eq!(
            rfc3339(UNIX_EPOCH + Duration::from_millis(1_200)),
            "1970-01-01T00:00:01Z"
        );
    }
}
