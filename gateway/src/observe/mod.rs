//! What the outside may see: metrics, health, the log, and the small HTTP server that shows the first two.
//!
//! Start with [`metrics`]: one table names every series. Rooms resolve their handles once, at construction, and write
//! the label values of [`labels`]; nothing here is touched per packet.

pub mod exporter;
pub mod health;
pub mod labels;

pub mod logging;
pub mod metrics;
