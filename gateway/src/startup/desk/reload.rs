//! What a configuration that was read again changes, and what has to wait for a restart.

use crate::config::{Config, Mobility};
use crate::control::protocol::Reloaded;

/// What is in force after a reload.
#[derive(Debug)]
pub(super) struct Change {
    /// The new settings, but for those that need a restart: they are as they were.
    pub(super) running: Config,
    pub(super) report: Reloaded,
    /// Whether SSTP's next sessions have other settings.
    pub(super) sstp: bool,
    /// Whether there may be other numbers of sessions.
    pub(super) limits: bool,
}

/// Compares what is in force with what was read.
pub(super) fn compare(old: &Config, new: &Config) -> Change {
    let mut running = new.clone();
    let needs_restart = keep(old, &mut running);
    let mut applied = Vec::new();
    let limits = old.limits != running.limits;
    for (name, differs) in [
        ("limits", limits),
        ("drain", old.drain != running.drain),
        (
            "sstp.health_status",
            old.sstp.health_status != running.sstp.health_status,
        ),
    ] {
        if differs {
            applied.push(name.to_owned());
        }
    }
    let mut sstp = old.sstp.clone();
    sstp.health_status = running.sstp.health_status;
    let sstp = sstp != running.sstp;
    let mut new_sessions = Vec::new();
    for (name, differs) in [
        ("sstp", sstp),
        ("network.dns", old.network.dns != running.network.dns),
        ("filters", old.filters != running.filters),
        (
            "radius.framed_ip",
            old.radius.framed_ip != running.radius.framed_ip,
        ),
        (
            "mobility.pool",
            mobility(old, |mobility| mobility.pool.as_ref())
                != mobility(&running, |mobility| mobility.pool.as_ref()),
        ),
        (
            "mobility.reauth",
            mobility(old, |mobility| mobility.reauth)
                != mobility(&running, |mobility| mobility.reauth),
        ),
    ] {
        if differs {
            new_sessions.push(name.to_owned());
        }
    }
    Change {
        running,
        report: Reloaded {
            applied,
            new_sessions,
            needs_restart,
        },
        sstp,
        limits,
    }
}

fn mobility<'a, T: 'a>(
    config: &'a Config,
    part: impl FnOnce(&'a Mobility) -> Option<T>,
) -> Option<T> {
    config.mobility.as_ref().and_then(part)
}

/// Puts what is fixed when the gateway starts back to what it was, and returns the names of what was to be changed.
fn keep(old: &Config, running: &mut Config) -> Vec<String> {
    let mut needs_restart = Vec::new();
    macro_rules! fixed {
        ($($name:literal: $($part:ident).+;)+) => {$(
            if old.$($part).+ != running.$($part).+ {
                running.$($part).+ = old.$($part).+.clone();
                needs_restart.push($name.to_owned());
            }
        )+};
    }
    fixed! {
        "gateway": gateway;
        "limits.new_per_second": limits.new_per_second;
        "pools": pools;
        "network.tun, mtu or tun_offload": network.tun;
        "network.tcp_mss_clamp": network.mss_clamp;
        "network.manage_addresses": network.manage_addresses;
        "network.manage_forwarding": network.manage_forwarding;
        "network.manage_nftables": network.manage_nftables;
        "network.uplink": network.uplink;
        "network.isolate_clients": network.isolate_clients;
        "network.dns_suffix": network.dns_suffix;
        "network.udp_offload": network.udp_offloads;
        "network.routes": network.routes;
        "network.blocked_destinations": network.blocked;
        "sstp.listen": sstp.listen;
        "sstp.certificate": sstp.certificate;
        "sstp.min_tls": sstp.min_tls;
        "sstp.proxy_protocol": sstp.proxy_protocol;
        "sstp.trusted_proxies": sstp.trusted_proxies;
        "users": users;
        "health": health;
        "admin": admin;
        "metrics": metrics;
        "log": log;
    }
    // One of it is in force at once.
    let framed_ip = std::mem::replace(&mut running.radius.framed_ip, old.radius.framed_ip);
    fixed! { "radius": radius; }
    running.radius.framed_ip = framed_ip;
    match (&old.mobility, &mut running.mobility) {
        (Some(old), Some(running)) => {
            let (pool, reauth) = (running.pool.take(), running.reauth.take());
            running.pool.clone_from(&old.pool);
            running.reauth = old.reauth;
            if running != old {
                running.clone_from(old);
                needs_restart.push("mobility".to_owned());
            }
            (running.pool, running.reauth) = (pool, reauth);
        }
        (None, None) => {}
        (old, running) => {
            running.clone_from(old);
            needs_restart.push("mobility".to_owned());
        }
    }
    needs_restart
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Base, Options, load};

    fn read(more: &[(&str, &str)]) -> Config {
        let options = Options {
            base: Base::Dev,
            environment: Vec::new(),
            set: more
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let loaded = load(&options);
        loaded.map(|loaded| loaded.config).unwrap()
    }

    #[test]
    fn nothing_changes_when_nothing_was_changed() {
        let change = compare(&read(&[]), &read(&[]));
        assert_eq!(change.report, Reloaded::default());
        assert!(!change.sstp && !change.limits);
    }

    #[test]
    fn what_needs_a_restart_is_said_each_time_and_stays_as_it_was() {
        let old = read(&[]);
        let new = read(&[
            ("mobility.external", "[\"vpn.example.com:5008\"]"),
            ("mobility.reauth", "\"8h\""),
            ("network.routes", "[\"10.0.0.0/8\"]"),
            ("network.dns", "[\"10.0.0.53\"]"),
            ("network.mtu", "1390"),
            ("radius.framed_ip", "false"),
            ("limits.sessions", "77"),
        ]);
        let first = compare(&old, &new);
        let report = &first.report;
        assert_eq!(
            report.needs_restart,
            [
                "network.tun, mtu or tun_offload",
                "network.routes",
                "mobility"
            ]
        );
        assert_eq!(
            report.new_sessions,
            ["network.dns", "radius.framed_ip", "mobility.reauth"]
        );
        assert_eq!(report.applied, ["limits"]);
        let running = &first.running;
        assert_eq!(running.network.tun, old.network.tun);
        let of = |config: &Config| config.mobility.clone().unwrap();
        assert_eq!(of(running).external, of(&old).external);
        assert_eq!(of(running).reauth, Some(Duration::from_secs(8 * 3600)));
        assert!(!running.radius.framed_ip);
        let again = compare(running, &new).report;
        assert_eq!(again.needs_restart, report.needs_restart);
        assert_eq!(again.new_sessions, Vec::<String>::new());
    }

    #[test]
    fn a_tunnel_is_neither_begun_nor_ended() {
        let (off, on) = (read(&[("mobility.enabled", "false")]), read(&[]));
        for (old, new) in [(&off, &on), (&on, &off)] {
            let change = compare(old, new);
            assert_eq!(change.report.needs_restart, ["mobility"]);
            assert_eq!(change.running.mobility, old.mobility);
        }
    }
}
