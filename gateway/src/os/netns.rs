//! A network namespace of one's own: what happens there changes nothing on the machine.

use std::io;
use std::net::Ipv4Addr;

use nix::sched::{CloneFlags, unshare};

use super::netlink;

/// Moves this thread into a new network namespace whose loopback is up and also has `address`, a host to be reached
/// there. The process's other threads stay where they are; a device that this thread makes stays here.
///
/// # Errors
///
/// When the kernel does not let this process have one, which takes `CAP_SYS_ADMIN`.
pub fn enter_own(address: Ipv4Addr) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime
        .block_on(netlink::raise_loopback(address))
        .map_err(io::Error::other)
}
