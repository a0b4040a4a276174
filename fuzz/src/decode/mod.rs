//! Wire formats: decode, encode, decode again, compare.

pub mod http;
pub mod ip;
pub mod radius;
pub mod sstp;
pub mod vnet;
