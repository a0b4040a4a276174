//! The file for `wg-quick` and the WireGuard apps.

use std::fmt::Display;

use causeway_proto::wireguard::PrivateKey;
use zeroize::Zeroizing;

/// Stands where the private key belongs, which only the device knows.
pub const PRIVATE_KEY: &str = "PASTE-YOUR-PRIVATE-KEY-HERE";

/// What stands in the file. What is not ours to choose, the title, loses its line breaks.
#[derive(Clone, Copy, Debug)]
pub struct WgQuick<'a> {
    /// What it is, for people.
    pub title: &'a str,
    /// Until when, for people.
    pub expires: Option<&'a str>,
    /// The device's private key, where it is known.
    pub private_key: Option<&'a PrivateKey>,
    /// The device's inner address, with its length.
    pub address: &'a str,
    /// DNS servers.
    pub dns: &'a [String],
    /// Search domains; left out when there are no servers.
    pub dns_suffix: &'a [String],
    /// The largest inner packet.
    pub mtu: u16,
    /// The gateway's public key.
    pub public_key: &'a str,
    /// A secret besides the keys.
    pub preshared_key: Option<&'a str>,
    /// Host and port.
    pub endpoint: &'a str,
    /// What goes through the tunnel.
    pub allowed_ips: &'a [String],
    /// Seconds between keepalives; zero is none.
    pub keepalive: u64,
}

impl WgQuick<'_> {
    /// Returns the text, which is wiped when it is dropped.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        // Room for all of it, so that no reallocation leaves a copy behind.
        let mut text = Zeroizing::new(String::with_capacity(4096));
        let mut line = |parts: &[&str]| {
            for part in parts {
                text.push_str(part);
            }
            text.push('\n');
        };
        let title: String = self.title.chars().filter(|c| !c.is_control()).collect();
        line(&["# ", &title]);
        if let Some(expires) = self.expires {
            line(&["# to be enrolled again by ", expires]);
        }
        line(&["[Interface]"]);
        match self.private_key {
            Some(key) => line(&["PrivateKey = ", &key.expose_base64()]),
            None => line(&["PrivateKey = ", PRIVATE_KEY]),
        }
        line(&["Address = ", self.address]);
        if !self.dns.is_empty() {
            line(&["DNS = ", &listed(self.dns.iter().chain(self.dns_suffix))]);
        }
        line(&["MTU = ", &self.mtu.to_string()]);
        line(&[""]);
        line(&["[Peer]"]);
        line(&["PublicKey = ", self.public_key]);
        if let Some(key) = self.preshared_key {
            line(&["PresharedKey = ", key]);
        }
        line(&["Endpoint = ", self.endpoint]);
        line(&["AllowedIPs = ", &listed(self.allowed_ips)]);
        if self.keepalive > 0 {
            line(&["PersistentKeepalive = ", &self.keepalive.to_string()]);
        }
        text
    }
}

fn listed(items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_known_is_said() {
        let text = |items: &[&str]| items.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (dns, suffix) = (
            text(&["10.0.0.10", "10.0.0.11"]),
            text(&["corp.example.com"]),
        );
        let routes = text(&["10.0.0.0/8", "192.0.2.0/24"]);
        let full = WgQuick {
            title: "phone of\n alice",
            expires: Some("2027-01-15T08:00:00Z"),
            private_key: None,
            address: "10.99.0.7/32",
            dns: &dns,
            dns_suffix: &suffix,
            mtu: 1400,
            public_key: "xTIB",
            preshared_key: Some("FpCy"),
            endpoint: "vpn.example.com:5008",
            allowed_ips: &routes,
            keepalive: 25,
        };
        assert_eq!(
            *full.text(),
            "# phone of alice\n# to be enrolled again by 2027-01-15T08:00:00Z\n[Interface]\n\
             PrivateKey = PASTE-YOUR-PRIVATE-KEY-HERE\nAddress = 10.99.0.7/32\n\
             DNS = 10.0.0.10, 10.0.0.11, corp.example.com\nMTU = 1400\n\n[Peer]\nPublicKey = xTIB\n\
             PresharedKey = FpCy\nEndpoint = vpn.example.com:5008\nAllowedIPs = 10.0.0.0/8, 192.0.2.0/24\n\
             PersistentKeepalive = 25\n"
        );
        let key = PrivateKey::from_bytes([7; 32]);
        let bare = WgQuick {
            expires: None,
            private_key: Some(&key),
            dns: &[],
            preshared_key: None,
            keepalive: 0,
            ..full
        };
        let said = bare.text();
        assert!(said.contains(&format!("PrivateKey = {}\n", *key.expose_base64())));
        for absent in ["DNS", "Preshared", "Keepalive", "again", "corp"] {
            assert!(!said.contains(absent), "{absent}");
        }
    }
}
