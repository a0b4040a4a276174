//! What is legal in each table and foolish, or wrong, in all of them together; and the files that are named.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use causeway_proto::aaa::AuthMethod;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::auth::UserFile;
use crate::os::credentials::{self, CredentialError, SecretRef};
use crate::session::PoolConfig;

use super::report::Report;
use super::{Certificate, Config, Users};

/// Keys that are read, and have no effect yet.
const NOT_IN_THIS_VERSION: [&str; 5] = [
    "azure",
    "drain.azure_scheduled_events",
    "ikev2",
    "metrics.per_user_series",
    "radius.attributes_to_log",
];

/// Checks what one table cannot know of another.
pub(super) fn together(mut config: Config, report: &mut Report) -> Config {
    let no_radius = config.radius.servers.is_empty();
    if no_radius && config.users == Users::None {
        report
            .error("E0403", "radius", "nobody can log in")
            .label("there is neither a RADIUS server nor a user file")
            .help(
                "add `[[radius.servers]]` with name, address and secret_file, or `[users]` with \
                 `file = \"/etc/causeway/users.toml\"`",
            );
    }
    if no_radius {
        let offered = config.sstp.auth.len();
        let fits = |method: &AuthMethod| matches!(method, AuthMethod::MsChapV2 | AuthMethod::Pap);
        config.sstp.auth.retain(fits);
        if config.sstp.auth.is_empty() {
            report
                .error(
                    "E0504",
                    "sstp.auth",
                    "the user file cannot check these methods",
                )
                .label("it knows \"mschapv2\" and \"pap\"");
        } else if config.sstp.auth.len() < offered && report.layers.is_set("sstp.auth") {
            report
                .warning(
                    "E0504",
                    "sstp.auth",
                    "the user file cannot check all of these methods",
                )
                .label("it knows \"mschapv2\" and \"pap\"; the others are not offered");
        }
    }
    if let Some(admin) = config.admin.listen
        && config.sstp.listen.contains(&admin)
    {
        report
            .error("E0206", "admin.listen", "the front door listens there")
            .label(format!("{admin} is in `sstp.listen`"));
    }
    if let Some(name) = config.mobility.as_ref().and_then(|it| it.pool.as_ref()) {
        check_pool(name, &config, report);
    }
    if config.drain.notice > config.drain.on_sigterm {
        report
            .warning(
                "E0211",
                "drain.notice",
                "the notice is longer than the whole drain",
            )
            .label("sessions would end before new clients stay away")
            .help("set `drain.on_sigterm` to more than `drain.notice`");
    }
    if config
        .pools
        .all()
        .any(|pool| pool.contains_any(&config.network.dns))
    {
        report
            .warning(
                "E0209",
                "network.dns",
                "a DNS server is an address of a pool",
            )
            .label("a client could get this address");
    }
    config
}

/// Checks the pool for devices.
fn check_pool(name: &str, config: &Config, report: &mut Report) {
    let path = "mobility.pool";
    match config.pools.all().find(|pool| pool.name() == name) {
        None => {
            let names: Vec<_> = config.pools.all().map(PoolConfig::name).collect();
            report
                .error("E0702", path, "the pool for devices is not configured")
                .label(format!("the pools are: {}", names.join(", ")))
                .help(format!("add `[pools.{name}]`, or name another pool"));
        }
        Some(pool) if pool.is_framed_only() => {
            report
                .error("E0702", path, "no device would get an address")
                .label("gives out only addresses that RADIUS names (`framed_only`)")
                .help("name another pool");
        }
        Some(_) => {}
    }
}

/// Notes what is set and has no effect.
pub(super) fn not_in_this_version(report: &mut Report) {
    let mut paths: Vec<_> = NOT_IN_THIS_VERSION.map(str::to_owned).into();
    let pools = report
        .layers
        .merged()
        .get("pools")
        .and_then(toml::Value::as_table);
    let names: Vec<_> = pools.into_iter().flat_map(|pools| pools.keys()).collect();
    paths.extend(names.into_iter().map(|name| format!("pools.{name}.ipv6")));
    for path in paths {
        if report.layers.is_set(&path) {
            report
                .note("E0213", &path, &format!("`{path}` is not in this version"))
                .label("read, checked for type, and without effect");
        }
    }
}

/// Reads the files that the configuration names, as the start will.
pub(super) fn files(config: &Config, report: &mut Report) {
    if let Some(user) = &config.gateway.user {
        credentials::will_be(user);
    }
    if let Some(certificate) = &config.sstp.certificate {
        check_certificate(certificate, &config.gateway.hostname, report);
    }
    if config.radius.servers.is_empty()
        && let Users::File(path) = &config.users
    {
        match credentials::read_private(path) {
            Ok(_) => check_users(path, config, report),
            Err(error) => secret_error("E0405", "users.file", &error, report),
        }
    }
    for (i, server) in config.radius.servers.iter().enumerate() {
        if let Some(tls) = &server.tls
            && let Err(error) = tls.client()
        {
            let path = format!("radius.servers[{i}].tls");
            secret_error("E0401", &path, &error, report);
        }
        let path = format!("radius.servers[{i}].secret_file");
        if matches!(server.secret, SecretRef::Known(_)) {
            continue;
        }
        match server.secret.read() {
            Ok(secret) if secret.len() < 16 => {
                report
                    .warning("E0402", &path, "the RADIUS secret is short")
                    .label(format!(
                        "{} octets; 16 or more resist guessing",
                        secret.len()
                    ))
                    .help("make a new one: `openssl rand -base64 24`");
            }
            Ok(_) => {}
            Err(error) => secret_error("E0401", &path, &error, report),
        }
    }
    if let Some(mobility) = &config.mobility
        && let Err(error) = mobility.key.check()
    {
        secret_error("E0701", "mobility.private_key", &error, report);
    }
    if let Some(dynamic) = &config.radius.dynamic_authorization
        && let Err(error) = dynamic.secret.read()
    {
        let path = "radius.dynamic_authorization.secret_file";
        secret_error("E0401", path, &error, report);
    }
}

/// Looks for pools and filters that users have and the configuration has not: their log-ins would be refused.
fn check_users(path: &Path, config: &Config, report: &mut Report) {
    let users = match UserFile::load(path) {
        Ok(users) => users,
        Err(error) => {
            report
                .error("E0405", "users.file", "the user file cannot be used")
                .label(error.to_string());
            return;
        }
    };
    let mut missing: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for (user, pool, filter) in users.references() {
        let pool = pool.filter(|name| !config.pools.has(name));
        let filter = filter.filter(|name| !config.filters.contains_key(*name));
        let names = pool.map(|name| ("pools", name)).into_iter();
        for key in names.chain(filter.map(|name| ("filters", name))) {
            missing.entry(key).or_default().push(user.display());
        }
    }
    for ((table, name), mut users) in missing {
        users.sort();
        let what = table.trim_end_matches('s');
        let title = format!("users have a {what} that is not configured");
        report
            .warning("E0406", "users.file", &title)
            .label(format!("{what} {name:?} of {}", users.join(", ")))
            .note("their log-ins are refused")
            .help(format!(
                "add `[{table}.{name}]`, or correct `{what}` in the user file"
            ));
    }
}

fn secret_error(code: &'static str, key: &str, error: &CredentialError, report: &mut Report) {
    let finding = report
        .error(code, key, "a secret cannot be used")
        .label(error.to_string());
    match error {
        CredentialError::Unreadable { path, source } if code == "E0701" => {
            finding.note(source.to_string()).help(format!(
                "`causeway keys mobility --out {}` makes a key",
                path.display()
            ))
        }
        CredentialError::Unreadable { source, .. } => finding.note(source.to_string()),
        CredentialError::TooOpen { path, .. } => {
            finding.help(format!("chmod 0600 {}", path.display()))
        }
        CredentialError::ForeignOwner { path, .. } => finding.help(format!(
            "chown it to the gateway's user: {}",
            path.display()
        )),
        CredentialError::NoCredential(name) => finding.help(format!(
            "add `LoadCredential={name}:/path` to the unit's `[Service]`"
        )),
        CredentialError::NoRandomness
        | CredentialError::NoPlainFile { .. }
        | CredentialError::Unusable { .. }
        | CredentialError::Empty(_)
        | CredentialError::NoVariable(_) => finding,
    };
}

fn check_certificate(certificate: &Certificate, hostname: &str, report: &mut Report) {
    match certificate.key.read() {
        Ok(_) => {}
        Err(error) => secret_error("E0303", "sstp.key", &error, report),
    }
    let chain = &certificate.chain;
    let der = match first_certificate(chain) {
        Ok(der) => der,
        Err(reason) => {
            report
                .error(
                    "E0302",
                    "sstp.certificate",
                    "the certificate cannot be read",
                )
                .label(reason);
            return;
        }
    };
    let Ok((_, parsed)) = X509Certificate::from_der(&der) else {
        report
            .error(
                "E0302",
                "sstp.certificate",
                "the certificate cannot be read",
            )
            .label("not an X.509 certificate");
        return;
    };
    let names = dns_names(&parsed);
    if !hostname.is_empty() && !names.iter().any(|name| covers(name, hostname)) {
        let shown = if names.is_empty() {
            "no host at all".to_owned()
        } else {
            names.join(", ")
        };
        report
            .error(
                "E0312",
                "gateway.hostname",
                "certificate does not cover the host name clients use",
            )
            .label(format!("not among the names of {}", chain.display()))
            .note(format!("the certificate is for: {shown}"));
    }
    match parsed.validity().time_to_expiration() {
        None => {
            report
                .error(
                    "E0304",
                    "sstp.certificate",
                    "the certificate is not valid now",
                )
                .label(format!(
                    "from {} to {}",
                    parsed.validity().not_before,
                    parsed.validity().not_after
                ))
                .help("renew it; the gateway takes the new file without a restart");
        }
        Some(left) if left.unsigned_abs() < Duration::from_secs(14 * 86_400) => {
            let days = left.unsigned_abs().as_secs() / 86_400;
            report
                .warning("E0304", "sstp.certificate", "the certificate expires soon")
                .label(format!("in {days} days"))
                .help("renew it; the gateway takes the new file without a restart");
        }
        Some(_) => {}
    }
}

fn first_certificate(path: &Path) -> Result<CertificateDer<'static>, String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    CertificateDer::pem_slice_iter(&text)
        .next()
        .ok_or("there is no certificate in it")?
        .map_err(|error| error.to_string())
}

fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    names
        .into_iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| {
            if let GeneralName::DNSName(name) = name {
                Some((*name).to_owned())
            } else {
                None
            }
        })
        .collect()
}

/// A `*` stands for one whole label, the first (RFC 6125 §6.4.3).
fn covers(name: &str, hostname: &str) -> bool {
    if name.eq_ignore_ascii_case(hostname) {
        return true;
    }
    let (Some(parent), Some((_, rest))) = (name.strip_prefix("*."), hostname.split_once('.'))
    else {
        return false;
    };
    parent.eq_ignore_ascii_case(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_one_label() {
        assert!(covers("VPN.example.com", "vpn.example.com"));
        assert!(covers("*.example.com", "vpn.example.com"));
        assert!(!covers("*.example.com", "a.vpn.example.com"));
        assert!(!covers("*.example.com", "example.com"));
        assert!(!covers("*.com", "vpn.example.com"));
    }
}
