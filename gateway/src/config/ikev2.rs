//! `[ikev2]`, `[ikev2.clients]`: read and checked for type; not in this version.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::value::{Text, Time};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "the switches of the file")]
pub(super) struct File {
    enabled: bool,
    auth_timeout: Text<Time>,
    listen: Vec<IpAddr>,
    certificate: Option<PathBuf>,
    key: Option<String>,
    rsa_certificate: Option<PathBuf>,
    rsa_key: Option<String>,
    auth: Vec<AuthWord>,
    ike_proposals: Vec<String>,
    child_proposals: Vec<String>,
    allow_legacy_dh_group_2: bool,
    allow_legacy_esp_sha1: bool,
    allow_legacy_rsa_sha1: bool,
    fragmentation: bool,
    fragment_size: u16,
    cookie_threshold: usize,
    dpd: Text<Time>,
    mobike: bool,
    clients: Clients,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum AuthWord {
    Certificate,
    EapRadius,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Clients {
    roots: Vec<PathBuf>,
    required_eku: Vec<String>,
    crl: Vec<String>,
    crl_policy: CrlPolicy,
    blocked_serials_file: Option<PathBuf>,
    pool: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum CrlPolicy {
    HardFail,
    SoftFail,
    Off,
}

impl Default for File {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Self {
            enabled: false,
            auth_timeout: Time::seconds(150),
            listen: vec![IpAddr::from([0, 0, 0, 0])],
            certificate: None,
            key: None,
            rsa_certificate: None,
            rsa_key: None,
            auth: vec![AuthWord::Certificate, AuthWord::EapRadius],
            ike_proposals: words(&[
                "aes256gcm16-prfsha384-ecp384",
                "aes256gcm16-prfsha256-ecp256",
                "aes256-sha256-modp2048",
            ]),
            child_proposals: words(&["aes256gcm16", "aes256-sha256"]),
            allow_legacy_dh_group_2: false,
            allow_legacy_esp_sha1: false,
            allow_legacy_rsa_sha1: false,
            fragmentation: true,
            fragment_size: 1200,
            cookie_threshold: 64,
            dpd: Time::seconds(60),
            mobike: true,
            clients: Clients::default(),
        }
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            roots: Vec::new(),
            required_eku: vec!["1.3.6.1.5.5.7.3.2".into()],
            crl: Vec::new(),
            crl_policy: CrlPolicy::SoftFail,
            blocked_serials_file: None,
            pool: None,
        }
    }
}
