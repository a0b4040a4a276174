//! `[gateway]`: who this gateway is.

use serde::{Deserialize, Serialize};

use super::report::Report;
use super::value::{OrWord, Workers};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    name: Option<String>,
    hostname: Option<String>,
    workers: Workers,
    user: Option<String>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            name: None,
            hostname: None,
            workers: Workers(OrWord::Word),
            user: None,
        }
    }
}

/// Who this gateway is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gateway {
    /// `NAS-Identifier` and log field; the host name unless set.
    pub name: String,
    /// The name that clients connect to.
    pub hostname: String,
    /// Shards of the data plane.
    pub workers: usize,
    /// The user to become after the start as root.
    pub user: Option<String>,
}

pub(super) fn check(file: File, report: &mut Report) -> Gateway {
    let File {
        name,
        hostname,
        workers,
        user,
    } = file;
    let hostname = hostname.map(|name| name.trim_end_matches('.').to_owned());
    match hostname.as_deref() {
        None => {
            report
                .error(
                    "E0205",
                    "gateway",
                    "the host name that clients use is missing",
                )
                .label("`hostname` belongs here")
                .note("the certificate is checked against it, and client profiles carry it")
                .help("add `hostname = \"vpn.example.com\"` to `[gateway]`");
        }
        Some(name) if !is_host_name(name) => {
            report
                .error("E0203", "gateway.hostname", "not a host name")
                .label("letters, digits, `-` and `.` only");
        }
        Some(_) => {}
    }
    let name = name.unwrap_or_else(host_name);
    if name.is_empty() || name.len() > 253 || !name.bytes().all(|b| b.is_ascii_graphic()) {
        report
            .error("E0203", "gateway.name", "not a name for NAS-Identifier")
            .label("1 to 253 printable characters without spaces");
    }
    Gateway {
        name,
        hostname: hostname.unwrap_or_default(),
        workers: match workers.0 {
            OrWord::Value(count) => count,
            OrWord::Word => std::thread::available_parallelism().map_or(1, usize::from),
        },
        user,
    }
}

fn is_host_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "causeway".into())
}
