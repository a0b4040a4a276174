//! A network namespace of one's own: what happens there changes nothing on the machine.

use std::fs;
use std::io;
use std::net::Ipv4Addr;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use thiserror::Error;

use super::netlink;

/// Where the right to make namespaces comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Root {
    /// The process is root.
    Real,
    /// It is a plain user, and root in a user namespace of its own.
    Apart,
}

/// Why a plain user gets no namespace of his own.
#[derive(Debug, Error)]
pub enum ApartError {
    /// The kernel makes none.
    #[error(
        "this user may have no user namespace (user.max_user_namespaces, or kernel.unprivileged_userns_clone)"
    )]
    Refused(#[source] io::Error),
    /// It was made, and gives nothing.
    #[error("a user namespace was made, and {step} in it is refused")]
    Useless {
        /// What was tried.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Makes a plain user root in a user namespace of the process's own, in which files belong to whom they did before.
///
/// For the time before the first thread: the kernel lets no other process do it. What the process has open stays open,
/// and it stays in its network until [`enter_own`].
///
/// # Errors
///
/// When the machine does not let this user.
pub fn be_root_apart() -> Result<Root, ApartError> {
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        return Ok(Root::Real);
    }
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| ApartError::Refused(error.into()))?;
    for (step, file, text) in [
        ("setgroups", "/proc/self/setgroups", "deny".to_owned()),
        (
            "the group's map",
            "/proc/self/gid_map",
            format!("{group} {group} 1"),
        ),
        (
            "the user's map",
            "/proc/self/uid_map",
            format!("{user} {user} 1"),
        ),
    ] {
        fs::write(file, text).map_err(|source| ApartError::Useless { step, source })?;
    }
    Ok(Root::Apart)
}

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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use nix::unistd::Uid;

    use crate::os::testing::as_nobody;

    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);

    #[test]
    #[ignore = "needs root to become a plain user, and user namespaces"]
    fn a_plain_user_gets_a_network_of_his_own() {
        assert!(as_nobody(|| {
            let before = fs::read_link("/proc/self/ns/net").unwrap();
            assert_eq!(be_root_apart().unwrap(), Root::Apart);
            assert_eq!(Uid::effective().as_raw(), 65_534);
            let there = std::thread::spawn(|| {
                enter_own(ADDRESS).unwrap();
                TcpListener::bind((ADDRESS, 0)).unwrap();
                fs::read_link("/proc/thread-self/ns/net").unwrap()
            });
            assert_ne!(there.join().unwrap(), before);
            assert!(TcpListener::bind((ADDRESS, 0)).is_err());
            fs::read_link("/proc/self/ns/net").unwrap() == before
        }));
    }

    #[test]
    #[ignore = "needs root to become a plain user"]
    fn a_process_of_several_threads_is_told_that_it_cannot() {
        assert!(as_nobody(|| {
            let (stop, stopped) = std::sync::mpsc::channel::<()>();
            let other = std::thread::spawn(move || stopped.recv());
            let refused = matches!(be_root_apart(), Err(ApartError::Refused(_)));
            drop(stop);
            other.join().unwrap().is_err() && refused
        }));
    }

    #[test]
    fn root_stays_what_it_is() {
        if Uid::effective().is_root() {
            assert_eq!(be_root_apart().unwrap(), Root::Real);
        }
    }
}
