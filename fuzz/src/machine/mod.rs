//! Machines: the input is a program of calls, and what must hold is looked at after each.

mod authority;
pub mod chap;
pub mod coalesce;
pub mod ppp_link;
pub mod radius_client;
pub mod sstp_session;
pub mod wireguard;
