//! `[mobility]`: read and checked for type; not in this version.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::value::{Text, Time};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the key of the file")]
pub(super) struct File {
    enabled: bool,
    listen: Vec<SocketAddr>,
    private_key: Option<String>,
    external: Vec<String>,
    pool: Option<String>,
    persist: Text<Time>,
    keepalive: Text<Time>,
    enrol: Enrol,
    reauth: Text<Time>,
    peers_file: PathBuf,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Enrol {
    Off,
    Token,
    Radius,
}

impl Default for File {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: vec![
                SocketAddr::from(([0, 0, 0, 0], 5008)),
                SocketAddr::from(([0_u16; 8], 5008)),
            ],
            private_key: None,
            external: Vec::new(),
            pool: None,
            persist: Time::seconds(86_400),
            keepalive: Time::seconds(25),
            enrol: Enrol::Radius,
            reauth: Time::seconds(12 * 3600),
            peers_file: "/var/lib/causeway/peers.toml".into(),
        }
    }
}
