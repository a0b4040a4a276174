//! The whole file, with a default for every value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::report::Report;
use super::sstp::Purpose;
use super::users::Users;
use super::{
    Config, admin, azure, check, drain, filters, gateway, health, ikev2, limits, log, metrics,
    mobility, network, pools, radius, sstp, users,
};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    schema: u32,
    gateway: gateway::File,
    limits: limits::File,
    pools: BTreeMap<String, pools::File>,
    network: network::File,
    sstp: sstp::File,
    ikev2: ikev2::File,
    mobility: mobility::File,
    users: users::File,
    filters: BTreeMap<String, filters::File>,
    radius: radius::File,
    health: health::File,
    drain: drain::File,
    admin: admin::File,
    metrics: metrics::File,
    log: log::File,
    azure: azure::File,
}

impl Default for File {
    fn default() -> Self {
        Self {
            schema: 1,
            gateway: gateway::File::default(),
            limits: limits::File::default(),
            pools: pools::built_in(),
            network: network::File::default(),
            sstp: sstp::File::default(),
            ikev2: ikev2::File::default(),
            mobility: mobility::File::default(),
            users: users::File::default(),
            filters: BTreeMap::new(),
            radius: radius::File::default(),
            health: health::File::default(),
            drain: drain::File::default(),
            admin: admin::File::default(),
            metrics: metrics::File::default(),
            log: log::File::default(),
            azure: azure::File::default(),
        }
    }
}

/// Checks the whole file; `None` when there is no configuration to speak of, which has been reported then.
pub(super) fn check(file: File, purpose: Purpose, report: &mut Report) -> Option<Config> {
    let File {
        schema,
        gateway,
        limits,
        pools,
        network,
        sstp,
        ikev2: _,
        mobility,
        users,
        filters,
        radius,
        health,
        drain,
        admin,
        metrics,
        log,
        azure: _,
    } = file;
    if schema != 1 {
        report
            .error(
                "E0212",
                "schema",
                "the file is for another version of causeway",
            )
            .label("this version reads schema 1");
    }
    let gateway = gateway::check(gateway, report);
    let limits = limits::check(limits, report);
    let pools = pools::check(pools, report);
    let mut network = network::check(network, report);
    let sstp = sstp::check(sstp, purpose, report);
    let mut users = users::check(users);
    if purpose == Purpose::Trial {
        network.best_effort = true;
        if users == Users::None {
            users = Users::Shown;
        }
    }
    let config = Config {
        gateway,
        limits,
        pools: pools?,
        network,
        sstp,
        mobility: mobility::check(mobility, purpose, report),
        users,
        filters: filters::check(filters, report),
        radius: radius::check(radius, report),
        health: health::check(health),
        drain: drain::check(drain),
        admin: admin::check(admin, report),
        metrics: metrics::check(metrics, report),
        log: log::check(log, report),
    };
    Some(check::together(config, report))
}
