//! Sessions from the log-in to the end: who is there, with which address, and for how long.
//!
//! [`pool`] hands out inner addresses, [`peers`] knows the devices that need no log-in for a while, [`table`] knows every session, [`lifetime`] ends those whose time is up, and
//! [`command`] carries the order to end to the driver. A driver holds a [`SessionGuard`]; dropping it is the only way
//! in which a session ends, so nothing that a session held can be forgotten.
//!
//! Start reading at [`table`].

pub mod admission;
pub mod command;
pub mod lifetime;
pub mod peers;
pub mod pool;
mod record;
pub mod routes;
mod series;
pub mod table;
pub mod wg_quick;

/// A Session-Timeout beyond this is as good as none: 30 days.
pub const MAX_SESSION_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);

pub use command::{Addressed, Commands, Line, SessionCommand};
pub use pool::{
    AddressPool, Lease, LeaseError, Pin, PoolConfig, PoolConfigError, PoolUsage, Pools,
};
pub use record::{Admitted, Facts, LimitChange, Session, SessionView, State};
pub use table::{Changes, SessionGuard, SessionTable, TableError, TableLimits};
