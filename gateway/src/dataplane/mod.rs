//! The packet path: plain threads on raw descriptors, no lock, no allocation and no log line for a packet.

pub mod coalesce;
#[cfg(test)]
mod fixtures;
pub mod segment;
