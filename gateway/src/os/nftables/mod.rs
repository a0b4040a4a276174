//! The rules that let tunnel traffic pass, in a table that the kernel removes with this process.
//!
//! The table `inet causeway` carries `NFT_TABLE_F_OWNER` (Linux 5.12): it belongs to the netlink socket that made it, so
//! it goes when [`Nftables`] is dropped and when the process dies in any way. Only its owner can change it.
//!
//! An `accept` in this table ends nothing but this table: a `drop` in another one (a firewall of the host's own) still
//! drops. That is netfilter's rule, and on purpose: we do not open what the administrator has closed.

mod message;

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use ipnet::Ipv4Net;
use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use thiserror::Error;

use message::{Batch, Chain, Expression, Verdict, reply};

/// The name of the table.
const TABLE: &str = "causeway";

/// What the rules are for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleSet {
    /// The name of the TUN.
    pub tun: String,
    /// The interface towards the network behind the gateway; `None` is any.
    pub uplink: Option<String>,
    /// Sources that leave by any interface but the TUN get the gateway's address; empty means none.
    pub masquerade: Vec<Ipv4Net>,
}

/// Why the rules could not be made.
#[derive(Debug, Error)]
pub enum NftablesError {
    /// `CAP_NET_ADMIN` is missing.
    #[error("this process may not change nftables: CAP_NET_ADMIN is missing")]
    NotPermitted,
    /// Somebody else has a table of that name.
    #[error("there is a table `inet causeway` already, of another process or made by hand")]
    TableExists,
    /// The kernel has no nftables, or none with table owners or masquerading.
    #[error("this kernel lacks nftables with table owners and masquerading")]
    Unsupported,
    /// The socket or the kernel failed.
    #[error("nftables")]
    Refused(#[source] io::Error),
}

impl NftablesError {
    /// Returns the number under which `causeway explain` knows the error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "E0804"
    }
}

/// The rules are there for as long as this lives.
#[derive(Debug)]
#[must_use]
pub struct Nftables {
    /// The owner of the table, in the kernel's eyes.
    _socket: OwnedFd,
}

impl Nftables {
    /// Makes the table with its rules: all of it or nothing.
    ///
    /// # Errors
    ///
    /// When the table exists, or the kernel or the lack of `CAP_NET_ADMIN` forbids.
    pub fn install(rules: &RuleSet) -> Result<Self, NftablesError> {
        let socket = open().map_err(|errno| {
            if errno == Errno::EPROTONOSUPPORT {
                NftablesError::Unsupported
            } else {
                NftablesError::Refused(errno.into())
            }
        })?;
        let batch = compose(rules);
        let refused = |errno: Errno| NftablesError::Refused(errno.into());
        socket::send(socket.as_raw_fd(), batch.bytes(), MsgFlags::empty()).map_err(refused)?;
        let mut buffer = vec![0; 16 * 1024];
        let mut waiting = batch.messages();
        while waiting > 0 {
            let length = socket::recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())
                .map_err(refused)?;
            for answer in reply(buffer.get(..length).unwrap_or_default()) {
                match answer {
                    0 => waiting = waiting.saturating_sub(1),
                    libc::EEXIST => return Err(NftablesError::TableExists),
                    libc::EPERM => return Err(NftablesError::NotPermitted),
                    libc::EOPNOTSUPP | libc::ENOENT => return Err(NftablesError::Unsupported),
                    other => {
                        return Err(NftablesError::Refused(io::Error::from_raw_os_error(other)));
                    }
                }
            }
        }
        Ok(Self { _socket: socket })
    }
}

fn open() -> nix::Result<OwnedFd> {
    let socket = socket::socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    // The kernel answers in the call to `send`; the limit is for what nobody has thought of.
    socket::setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(2))?;
    Ok(socket)
}

fn compose(rules: &RuleSet) -> Batch {
    use Expression::{InputIs, Masquerade, OutputIs, OutputIsNot, SourceIn, Verdict as End};

    let mut batch = Batch::new(TABLE);
    batch.chain(Chain::Forward);
    let out = rules.uplink.iter().map(|uplink| OutputIs(uplink));
    let back = rules.uplink.iter().map(|uplink| InputIs(uplink));
    let up: Vec<_> = std::iter::once(InputIs(&rules.tun)).chain(out).collect();
    let down: Vec<_> = back.chain(std::iter::once(OutputIs(&rules.tun))).collect();
    for mut rule in [up, down] {
        rule.push(End(Verdict::Accept));
        batch.rule(Chain::Forward, &rule);
    }
    if !rules.masquerade.is_empty() {
        batch.chain(Chain::Postrouting);
    }
    for &network in &rules.masquerade {
        let rule = [SourceIn(network), OutputIsNot(&rules.tun), Masquerade];
        batch.rule(Chain::Postrouting, &rule);
    }
    batch.end();
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::process::Command;

    use crate::os::testing::{in_namespace, output};

    fn rules() -> RuleSet {
        RuleSet {
            tun: "causeway0".into(),
            uplink: Some("eth0".into()),
            masquerade: vec![
                "10.99.0.0/22".parse().unwrap(),
                "10.98.0.0/16".parse().unwrap(),
                "10.97.0.7/32".parse().unwrap(),
            ],
        }
    }

    #[test]
    #[ignore = "needs root and nft: makes a network namespace and rules in it"]
    fn nft_lists_what_was_asked_for_until_it_is_dropped() {
        in_namespace(|| {
            let table = Nftables::install(&rules()).unwrap();
            let listed = output("nft", &["list", "ruleset"]);
            for line in [
                "table inet causeway { # progname",
                "flags owner",
                "type filter hook forward priority filter; policy accept;",
                "iifname \"causeway0\" oifname \"eth0\" accept",
                "iifname \"eth0\" oifname \"causeway0\" accept",
                "type nat hook postrouting priority srcnat; policy accept;",
                "ip saddr 10.99.0.0/22 oifname != \"causeway0\" masquerade",
                "ip saddr 10.98.0.0/16 oifname != \"causeway0\" masquerade",
                "ip saddr 10.97.0.7 oifname != \"causeway0\" masquerade",
            ] {
                assert!(listed.contains(line), "{line}\n{listed}");
            }
            assert!(matches!(
                Nftables::install(&rules()),
                Err(NftablesError::TableExists | NftablesError::NotPermitted)
            ));
            drop(table);
            assert_eq!(output("nft", &["list", "ruleset"]), "");
        });
    }

    #[test]
    #[ignore = "needs root and nft: makes a network namespace and rules in it"]
    fn a_killed_process_leaves_no_rule() {
        const CHILD: &str = "CAUSEWAY_TEST_NFTABLES_CHILD";
        if std::env::var_os(CHILD).is_some() {
            let _table = Nftables::install(&rules()).unwrap();
            // Dead without a destructor.
            nix::sys::signal::raise(nix::sys::signal::SIGKILL).unwrap();
        }
        in_namespace(|| {
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact"])
                .arg("os::nftables::tests::a_killed_process_leaves_no_rule")
                .env(CHILD, "1")
                .output()
                .unwrap()
                .status;
            assert_eq!(
                std::os::unix::process::ExitStatusExt::signal(&status),
                Some(libc::SIGKILL)
            );
            assert_eq!(output("nft", &["list", "ruleset"]), "");
        });
    }

    #[test]
    #[ignore = "needs root and nft: makes a network namespace and rules in it"]
    fn without_an_uplink_and_masquerading_everything_of_the_tun_passes() {
        in_namespace(|| {
            let rules = RuleSet {
                uplink: None,
                masquerade: vec![],
                ..rules()
            };
            let _table = Nftables::install(&rules).unwrap();
            let listed = output("nft", &["list", "ruleset"]);
            assert!(listed.contains("iifname \"causeway0\" accept"), "{listed}");
            assert!(listed.contains("oifname \"causeway0\" accept"), "{listed}");
            assert!(!listed.contains("postrouting"), "{listed}");
        });
    }
}
