//! Wire formats: decode, encode, decode again, compare.

pub mod accounting;
pub mod dynauth;
pub mod eap;
pub mod filter;
pub mod http;
pub mod ip;
pub mod ppp;
pub mod radius;
pub mod sstp;
pub mod vnet;
pub mod wireguard;
