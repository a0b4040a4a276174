//! The words about sessions.

use serde::{Deserialize, Serialize};

use crate::session::SessionView;

use super::rfc3339;

/// A session.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// The user.
    pub user: String,
    /// `sstp` or `mobility`.
    pub protocol: String,
    /// `authenticating`, `up` or `unreachable`.
    pub state: String,
    /// The inner address.
    pub address: Option<String>,
    /// The pool that the address is of.
    pub pool: Option<String>,
    /// The client's outer address and port.
    pub remote: String,
    /// `SSTPCORRELATIONID`.
    pub correlation: Option<String>,
    /// When the log-in began (RFC 3339).
    pub since: String,
    /// How long ago that was, in seconds.
    pub age_seconds: u64,
    /// Octets from the client.
    pub rx_bytes: u64,
    /// Octets to the client.
    pub tx_bytes: u64,
    /// Packets from the client.
    pub rx_packets: u64,
    /// Packets to the client.
    pub tx_packets: u64,
    /// `Acct-Session-Id`, for RADIUS.
    #[serde(default)]
    pub accounting_id: Option<String>,
    /// `pap`, `mschapv2`, `eap`.
    pub method: Option<String>,
    /// The server that decided, or `users`.
    pub server: Option<String>,
    /// What it said, in the words of `causeway_radius_results_total`; `causeway explain` knows them.
    #[serde(default)]
    pub result: Option<String>,
    /// How long the decision took, in milliseconds.
    pub auth_ms: Option<u64>,
    /// TLS version and cipher suite.
    pub tls: Option<String>,
    /// The hash of the crypto binding.
    pub hash_protocol: Option<String>,
    /// SSTP packets in a TLS record: `one` or `many`.
    pub packing: Option<String>,
    /// The name of the filter in force.
    #[serde(default)]
    pub filter: Option<String>,
    /// The networks behind the client.
    #[serde(default)]
    pub networks: Vec<String>,
    /// The name of the enrolled device.
    #[serde(default)]
    pub device: Option<String>,
    /// How often `remote` has changed.
    #[serde(default)]
    pub roams: u64,
    /// When it changed last (RFC 3339).
    #[serde(default)]
    pub roamed: Option<String>,
}

impl From<&SessionView> for Session {
    fn from(view: &SessionView) -> Self {
        Self {
            id: view.id.to_string(),
            user: view.user.display(),
            protocol: view.protocol.as_str().to_owned(),
            state: view.state.as_str().to_owned(),
            address: view.address.map(|address| address.to_string()),
            pool: view.pool.clone(),
            remote: view.remote.to_string(),
            correlation: view.correlation.clone(),
            since: rfc3339(view.since),
            age_seconds: view.age.as_secs(),
            rx_bytes: view.usage.up_octets,
            tx_bytes: view.usage.down_octets,
            rx_packets: view.usage.up_packets,
            tx_packets: view.usage.down_packets,
            accounting_id: view.facts.accounting.clone(),
            method: view.facts.method.map(|method| method.as_str().to_owned()),
            server: view.facts.server.clone(),
            result: view.facts.result.map(str::to_owned),
            auth_ms: view
                .facts
                .auth_elapsed
                .map(|elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)),
            tls: view.facts.tls.clone(),
            hash_protocol: view.facts.hash_protocol.map(str::to_owned),
            packing: view.facts.packing.map(str::to_owned),
            filter: view.facts.filter.clone(),
            networks: view.facts.networks.clone(),
            device: view.facts.device.clone(),
            roams: view.facts.roams,
            roamed: view.facts.roamed.map(rfc3339),
        }
    }
}
