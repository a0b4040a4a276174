//! Machines: the input is a program of calls, and what must hold is looked at after each.

pub mod coalesce;
pub mod radius_client;
