//! The packet path: plain threads on raw descriptors, no lock, no allocation and no log line for a packet.

pub mod coalesce;
pub mod counters;
#[cfg(test)]
mod fixtures;
mod mailbox;
pub mod queue;
pub mod segment;
pub mod slots;
