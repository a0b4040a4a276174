//! `[admin]`: where administrators come in.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::report::Report;
use super::value::{Net, OrOff, Text};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    socket: PathBuf,
    group: String,
    listen: Text<OrOff<SocketAddr>>,
    allow: Vec<Text<Net>>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            socket: "/run/causeway/admin.sock".into(),
            group: "causeway-admin".to_owned(),
            listen: Text(OrOff(Some(SocketAddr::from(([127, 0, 0, 1], 9095))))),
            allow: vec![
                Text(Net(IpNet::from(std::net::IpAddr::from([127, 0, 0, 1])))),
                Text(Net(IpNet::from(std::net::IpAddr::from(
                    std::net::Ipv6Addr::LOCALHOST,
                )))),
            ],
        }
    }
}

/// Where administrators come in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Admin {
    /// The socket of `causeway status` and its siblings.
    pub socket: PathBuf,
    /// Whose members may ask it, beside root and the gateway's own user; nobody else when there is no such group.
    pub group: String,
    /// The listener of `/metrics`, `/healthz` and `/readyz`; `None` is off.
    pub listen: Option<SocketAddr>,
    /// Who may ask it.
    pub allow: Vec<IpNet>,
}

pub(super) fn check(file: File, report: &mut Report) -> Admin {
    let File {
        socket,
        group,
        listen,
        allow,
    } = file;
    // sockaddr_un has 108 octets with the zero behind.
    if socket.as_os_str().len() > 107 || !socket.is_absolute() {
        report
            .error("E0203", "admin.socket", "not a path for a socket")
            .label("absolute, at most 107 octets");
    }
    let allow: Vec<_> = allow.into_iter().map(|text| text.0.0).collect();
    if listen.0.0.is_some() && allow.is_empty() {
        report
            .warning("E0210", "admin.allow", "nobody may ask the admin listener")
            .label("every request is refused")
            .help("list the scrapers, or set `listen = \"off\"`");
    }
    Admin {
        socket,
        group,
        listen: listen.0.0,
        allow,
    }
}
