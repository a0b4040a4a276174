//! The configuration: one TOML table, one file here; the file's form in, checked structs out.
//!
//! [`load()`] reads every layer (built-in values, the file, `conf.d`, the environment, the command line), merges them and
//! checks the whole. It finds as much as it can in one go; a [`Report`] draws it. Each table's file has a `File` (what
//! may be written), a checked struct (what the gateway works with), and `check`, which takes the one apart completely
//! to make the other: like `TryFrom`, but it can find more than one fault.

mod admin;
mod azure;
mod check;
mod codes;
mod drain;
mod file;
mod filters;
mod gateway;
mod health;
mod ikev2;
mod layers;
mod limits;
mod load;
mod log;
mod metrics;
mod mobility;
mod network;
mod pools;
mod radius;
mod report;
mod rooms;
mod show;
mod sstp;
#[cfg(test)]
mod tests;
mod users;
mod value;

pub use admin::Admin;
pub use codes::{codes, explain};
pub use drain::{Drain, DrainDisconnect};
pub use gateway::Gateway;
pub use health::{Health, Required};
pub use limits::Limits;
pub use load::{Base, DEFAULT_FILE, Loaded, Options, load};
pub use log::{Log, LogFormat, UserNames};
pub use metrics::Metrics;
pub use mobility::{EnrolBy, Key, Mobility};
pub use network::{ManageNftables, Network};
pub use pools::Pools;
pub use radius::{
    Accounting, DuplicatePolicy, DynamicAuthorization, Expect, MessageAuthenticator, Mode, Probe,
    Radius, Server, ServerTls, StatusServer, Transport,
};
pub use report::{Colours, Finding, Report, Severity};
pub use show::Scope;
pub use sstp::{BindingHash, Certificate, MinTls, RecordPacking, Sstp};
pub use users::Users;

use std::collections::BTreeMap;
use std::sync::Arc;

use causeway_proto::ip::filter::Filter;

/// Everything that is configured, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Who this gateway is.
    pub gateway: Gateway,
    /// How much, how many, how long.
    pub limits: Limits,
    /// The addresses of clients.
    pub pools: Pools,
    /// The TUN, and what is around it.
    pub network: Network,
    /// The front door.
    pub sstp: Sstp,
    /// The tunnel that roams; `None` when it is off.
    pub mobility: Option<Mobility>,
    /// Where users are, when there is no RADIUS server.
    pub users: Users,
    /// What sessions may reach, by the names that an authenticator chooses from.
    pub filters: BTreeMap<String, Arc<Filter>>,
    /// Who decides about users.
    pub radius: Radius,
    /// When a probe fails.
    pub health: Health,
    /// How the gateway empties itself.
    pub drain: Drain,
    /// Where administrators come in.
    pub admin: Admin,
    /// What is counted how.
    pub metrics: Metrics,
    /// What is written down.
    pub log: Log,
}

impl Config {
    /// Returns the settings of `serve --dev`: shown users, a self-made certificate, ports on loopback.
    ///
    /// # Errors
    ///
    /// Never, as a test shows; the type is that of [`load()`].
    pub fn dev() -> Result<Self, Box<Report>> {
        let options = Options {
            base: Base::Dev,
            environment: Vec::new(),
            set: Vec::new(),
        };
        load(&options).map(|loaded| loaded.config)
    }
}
