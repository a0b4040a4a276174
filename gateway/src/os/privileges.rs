//! What the process may: checked at the start, given up once everything privileged has been opened.
//!
//! Under systemd the unit gives `CAP_NET_ADMIN` and `CAP_NET_BIND_SERVICE` to a plain user, and there is nothing to drop
//! to. Started as root, [`drop_to`] leaves a plain user with `CAP_NET_ADMIN` alone, which is for routes, rules and
//! `ip_forward` that change, or are undone, while the gateway runs.
//!
//! Capabilities belong to threads: [`drop_to`] is for the time before the first thread.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use caps::{CapSet, Capability};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{self, Uid, User};
use thiserror::Error;

/// What the gateway is about to do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Needs {
    /// Make a TUN, addresses, routes, rules.
    pub net_admin: bool,
    /// Open `/dev/net/tun`.
    pub tun: bool,
    /// Listen on these.
    pub listeners: Vec<SocketAddr>,
}

/// What is missing (exit code 5).
#[derive(Debug, Error)]
pub enum PrivilegeError {
    /// No `CAP_NET_ADMIN`.
    #[error(
        "CAP_NET_ADMIN is missing, which the TUN and its routes need: start as root, with the systemd unit, or after \
         `setcap cap_net_admin,cap_net_bind_service+ep` on the program"
    )]
    NetAdmin,
    /// No `CAP_NET_BIND_SERVICE`.
    #[error(
        "CAP_NET_BIND_SERVICE is missing, which {0} needs: start as root or with the systemd unit, or choose a port \
         from {1} up"
    )]
    NetBindService(SocketAddr, u16),
    /// No TUN.
    #[error(
        "/dev/net/tun cannot be opened: load the module `tun`, or pass the device into the container \
         (`--device /dev/net/tun`)"
    )]
    Tun(#[source] io::Error),
    /// No such user.
    #[error("there is no user {0:?} to run as: create it, or set gateway.user to another one")]
    NoUser(String),
    /// A step failed.
    #[error("giving up privileges: {step}")]
    Drop {
        /// Which.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Root could be had again.
    #[error("privileges were given up but can be had again")]
    NotDropped,
}

impl PrivilegeError {
    /// Returns the number under which `causeway explain` knows the error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NetAdmin => "E0101",
            Self::NetBindService(..) => "E0102",
            Self::Tun(_) => "E0103",
            Self::NoUser(_) => "E0104",
            Self::Drop { .. } | Self::NotDropped => "E0106",
        }
    }
}

/// What [`drop_to`] did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dropped {
    /// The process runs as that user now, with `CAP_NET_ADMIN` alone.
    ToUser,
    /// The process was not root: nothing to drop.
    NotRoot,
}

/// Checks that nothing is missing, before anything has been changed.
///
/// # Errors
///
/// With the first thing that is missing and how to grant it.
pub fn check(needs: &Needs) -> Result<(), PrivilegeError> {
    if needs.tun {
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .map_err(PrivilegeError::Tun)?;
    }
    if needs.net_admin && !has(Capability::CAP_NET_ADMIN) {
        return Err(PrivilegeError::NetAdmin);
    }
    let first_free = first_unprivileged_port();
    let low = needs
        .listeners
        .iter()
        .find(|address| address.port() != 0 && address.port() < first_free);
    match low {
        Some(&address) if !has(Capability::CAP_NET_BIND_SERVICE) => {
            Err(PrivilegeError::NetBindService(address, first_free))
        }
        Some(_) | None => Ok(()),
    }
}

/// Becomes `user` for good, keeping `CAP_NET_ADMIN` alone, and verifies that root cannot be had again.
///
/// Does nothing unless the process is root. Must run before the first thread.
///
/// # Errors
///
/// When there is no such user, a step is refused, or the verification fails; the process must not go on then.
pub fn drop_to(user: &str) -> Result<Dropped, PrivilegeError> {
    if !Uid::effective().is_root() {
        return Ok(Dropped::NotRoot);
    }
    let wanted = User::from_name(user)
        .ok()
        .flatten()
        .filter(|user| !user.uid.is_root())
        .ok_or_else(|| PrivilegeError::NoUser(user.to_owned()))?;
    let name = std::ffi::CString::new(user).map_err(|_| PrivilegeError::NoUser(user.to_owned()))?;
    let kept = HashSet::from([Capability::CAP_NET_ADMIN]);

    // The bounding set first: it needs CAP_SETPCAP, which is gone afterwards.
    for capability in caps::read(None, CapSet::Bounding).map_err(refused("bounding set"))? {
        if !kept.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability).map_err(refused("bounding set"))?;
        }
    }
    prctl::set_keepcaps(true).map_err(errno("PR_SET_KEEPCAPS"))?;
    unistd::initgroups(&name, wanted.gid).map_err(errno("supplementary groups"))?;
    unistd::setgid(wanted.gid).map_err(errno("group"))?;
    unistd::setuid(wanted.uid).map_err(errno("user"))?;
    prctl::set_keepcaps(false).map_err(errno("PR_SET_KEEPCAPS"))?;
    caps::clear(None, CapSet::Inheritable).map_err(refused("inheritable set"))?;
    caps::set(None, CapSet::Effective, &kept).map_err(refused("effective set"))?;
    caps::set(None, CapSet::Permitted, &kept).map_err(refused("permitted set"))?;
    prctl::set_no_new_privs().map_err(errno("PR_SET_NO_NEW_PRIVS"))?;
    verify(&kept)?;
    Ok(Dropped::ToUser)
}

/// Returns those of the files that this process may not read, as the user that it is now.
pub fn forbidden<'f>(files: impl IntoIterator<Item = &'f Path>) -> Vec<&'f Path> {
    let is_forbidden = |file: &Path| {
        fs::File::open(file).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    files
        .into_iter()
        .filter(|file| is_forbidden(file))
        .collect()
}

/// Keeps secrets out of core dumps and out of reach of debuggers.
///
/// # Errors
///
/// When the kernel refuses, which it has no reason to.
pub fn harden() -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    prctl::set_dumpable(false)?;
    Ok(())
}

fn verify(kept: &HashSet<Capability>) -> Result<(), PrivilegeError> {
    let is_root = Uid::effective().is_root() || Uid::current().is_root();
    let regained = unistd::setuid(Uid::from_raw(0)).is_ok();
    let permitted = caps::read(None, CapSet::Permitted).map_err(refused("verification"))?;
    if is_root || regained || permitted != *kept {
        return Err(PrivilegeError::NotDropped);
    }
    Ok(())
}

fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

fn first_unprivileged_port() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1024)
}

fn refused(step: &'static str) -> impl Fn(caps::errors::CapsError) -> PrivilegeError {
    move |error| PrivilegeError::Drop {
        step,
        source: io::Error::other(error.to_string()),
    }
}

fn errno(step: &'static str) -> impl Fn(nix::errno::Errno) -> PrivilegeError {
    move |error| PrivilegeError::Drop {
        step,
        source: error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    const CHILD: &str = "CAUSEWAY_TEST_PRIVILEGES_CHILD";

    #[test]
    #[ignore = "needs root: a child gives its privileges up"]
    fn root_becomes_a_plain_user_with_one_capability() {
        if std::env::var_os(CHILD).is_some() {
            harden().unwrap();
            let folder = tempfile::tempdir().unwrap();
            let (key, chain, gone) = (
                folder.path().join("key"),
                folder.path().join("chain"),
                folder.path().join("gone"),
            );
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
            fs::write(&key, "x").unwrap();
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
            fs::write(&chain, "x").unwrap();
            let files = [key.as_path(), &chain, &gone];
            assert!(forbidden(files).is_empty());
            assert_eq!(drop_to("nobody").unwrap(), Dropped::ToUser);
            assert_eq!(forbidden(files), [key.as_path()]);
            let low = Needs {
                net_admin: true,
                tun: false,
                listeners: vec!["127.0.0.1:443".parse().unwrap()],
            };
            let message = check(&low).unwrap_err().to_string();
            assert!(message.starts_with("CAP_NET_BIND_SERVICE is missing, which 127.0.0.1:443"));
            assert_eq!(drop_to("nobody").unwrap(), Dropped::NotRoot);
            assert!(fs::read("/etc/shadow").is_err());
            let status = fs::read_to_string("/proc/thread-self/status").unwrap();
            for line in [
                "CapPrm:\t0000000000001000",
                "CapEff:\t0000000000001000",
                "CapBnd:\t0000000000001000",
                "CapAmb:\t0000000000000000",
                "NoNewPrivs:\t1",
            ] {
                assert!(status.contains(line), "{line}\n{status}");
            }
            return;
        }
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--test-threads=1"])
            .arg("os::privileges::tests::root_becomes_a_plain_user_with_one_capability")
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }

    #[test]
    fn an_unknown_user_is_named() {
        if Uid::effective().is_root() {
            let error = drop_to("no-such-user-here").unwrap_err();
            assert!(error.to_string().contains("no-such-user-here"));
            assert!(matches!(drop_to("root"), Err(PrivilegeError::NoUser(_))));
        } else {
            assert_eq!(drop_to("no-such-user-here").unwrap(), Dropped::NotRoot);
        }
    }

    #[test]
    fn nothing_needed_is_nothing_missing() {
        check(&Needs::default()).unwrap();
    }
}
