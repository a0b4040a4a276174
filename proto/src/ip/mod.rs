//! The inner packet: what the gateway must know of IPv4, TCP, UDP and ICMP to carry packets, and no more.
//!
//! Views are bounded: [`IpPacket::decode`] is the one door, and behind it every length has been checked. Fragments are
//! carried as they are and never reassembled; a packet that is too large and may be cut is cut ([`fragment`]); a source
//! route is not carried at all. Sessions have IPv4 addresses only, so IPv6 is not read here.

pub mod checksum;
pub mod filter;
pub mod fragment;
pub mod icmp;
pub mod mss;
mod packet;

pub use packet::{IpPacket, PacketError, Protocol};
