//! Everything the kernel is asked; the only room where `unsafe` may stand, each block with its reason.

pub mod clock;
pub mod poll;
pub mod tun;
pub mod vnet;
pub mod wide;
