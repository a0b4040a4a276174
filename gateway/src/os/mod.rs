//! Everything the kernel is asked; the only room where `unsafe` may stand, each block with its reason.

pub mod clock;
pub mod credentials;
pub mod forwarding;
pub mod netlink;
pub mod netns;
pub mod nftables;
pub mod peer;
pub mod poll;
pub mod privileges;
pub mod systemd;
pub mod tcp;
pub mod terminal;
#[cfg(test)]
pub(crate) mod testing;
pub mod tun;
pub mod udp;
pub mod vnet;
pub mod wide;
