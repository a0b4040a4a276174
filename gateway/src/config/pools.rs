//! `[pools.*]`: the addresses of clients.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::session::{PoolConfig, PoolConfigError};

use super::report::Report;
use super::value::{Net4, Text, Time};

/// The pool for users of whom nothing else is said, if there is one of this name.
const DEFAULT: &str = "users";

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    ipv4: Vec<Text<Net4>>,
    exclude: Vec<Text<Net4>>,
    ipv6: Vec<Text<Ipv6Net>>,
    sticky: Text<Time>,
    framed_only: bool,
}

impl Default for File {
    fn default() -> Self {
        Self {
            ipv4: Vec::new(),
            exclude: Vec::new(),
            ipv6: Vec::new(),
            sticky: Time::seconds(30 * 86_400),
            framed_only: false,
        }
    }
}

/// The pools when none is configured.
pub(super) fn built_in() -> BTreeMap<String, File> {
    let network = Ipv4Net::new_assert(Ipv4Addr::new(10, 99, 0, 0), 22);
    let users = File {
        ipv4: vec![Text(Net4(network))],
        ..File::default()
    };
    BTreeMap::from([(DEFAULT.to_owned(), users)])
}

/// The addresses of clients.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pools {
    /// The pool for users of whom nothing else is said: `users`, or the first by name that is for everybody.
    pub default: PoolConfig,
    /// The others.
    pub others: Vec<PoolConfig>,
    /// The gateway's own inner address: the first one of the first network of the default pool.
    pub gateway: Ipv4Addr,
}

impl Pools {
    /// Goes through all pools, the default first.
    pub fn all(&self) -> impl Iterator<Item = &PoolConfig> {
        std::iter::once(&self.default).chain(&self.others)
    }

    /// Returns whether there is a pool of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.all().any(|pool| pool.name() == name)
    }
}

/// Returns `None` when there is no usable pool, which has been reported then.
pub(super) fn check(files: BTreeMap<String, File>, report: &mut Report) -> Option<Pools> {
    let open = |name: &str| files.get(name).is_some_and(|file| !file.framed_only);
    let default = if open(DEFAULT) {
        Some(DEFAULT.to_owned())
    } else {
        files.keys().find(|name| open(name)).cloned()
    };
    let Some(default) = default else {
        report
            .error("E0207", "pools", "there is no address pool")
            .label("for users without an address of their own")
            .help("add `[pools.users]` with `ipv4 = [\"10.99.0.0/22\"]`, without `framed_only`");
        return None;
    };
    let first = files.get(&default).and_then(|file| file.ipv4.first());
    let gateway = first.map_or(Ipv4Addr::UNSPECIFIED, |net| {
        PoolConfig::first_usable(net.0.0)
    });
    let mut default_pool = None;
    let mut others = Vec::new();
    for (name, file) in files {
        match pool(&name, file, gateway, report) {
            Some(pool) if name == default => default_pool = Some(pool),
            Some(pool) => others.push(pool),
            None => {}
        }
    }
    let pools = Pools {
        default: default_pool?,
        others,
        gateway,
    };
    overlaps(&pools, report);
    Some(pools)
}

fn pool(name: &str, file: File, gateway: Ipv4Addr, report: &mut Report) -> Option<PoolConfig> {
    let File {
        ipv4,
        exclude,
        ipv6: _,
        sticky,
        framed_only,
    } = file;
    let nets = |texts: Vec<Text<Net4>>| texts.into_iter().map(|text| text.0.0).collect::<Vec<_>>();
    let (ipv4, exclude) = (nets(ipv4), nets(exclude));
    let path = format!("pools.{name}.ipv4");
    let error = match PoolConfig::new(name, &ipv4, &exclude, gateway, sticky.duration()) {
        Ok(pool) if framed_only => return Some(pool.framed_only()),
        Ok(pool) => return Some(pool),
        Err(error) => error,
    };
    let title = error.to_string();
    match error {
        PoolConfigError::NoNetwork { .. } => report
            .error("E0207", &path, &title)
            .help("add `ipv4 = [\"10.99.0.0/22\"]`, a network that is used nowhere else"),
        PoolConfigError::Overlap { .. } | PoolConfigError::NotForClients { .. } => report
            .error("E0207", &path, &title)
            .label("clients cannot have these")
            .help("choose a private network (RFC 1918) that is used nowhere else"),
        PoolConfigError::Empty { .. } => report
            .error("E0207", &path, &title)
            .label("network, broadcast and gateway address are never given out")
            .help("make the network larger or `exclude` smaller"),
    };
    None
}

fn overlaps(pools: &Pools, report: &mut Report) {
    let all: Vec<_> = pools.all().collect();
    for (i, one) in all.iter().enumerate() {
        for other in all.iter().skip(i + 1) {
            let shared = one.networks().iter().any(|a| {
                let mut networks = other.networks().iter();
                networks.any(|b| a.contains(b) || b.contains(a))
            });
            if shared {
                let title = format!("pools {} and {} overlap", one.name(), other.name());
                report
                    .error("E0207", &format!("pools.{}.ipv4", other.name()), &title)
                    .label(format!("has addresses of pool {}", one.name()))
                    .note("two clients would get the same address");
            }
        }
    }
}
