//! The file for `wg-quick` and the WireGuard apps.

use causeway_proto::wireguard::PrivateKey;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use zeroize::Zeroizing;

use crate::cli::table::safe;
use crate::control::protocol::{Device, Profile};

/// Stands where the private key belongs, which only the device knows.
const PRIVATE_KEY: &str = "PASTE-YOUR-PRIVATE-KEY-HERE";

/// Writes the file; with the private key if there is one.
pub(super) fn wg_quick(
    device: &Device,
    profile: &Profile,
    key: Option<&PrivateKey>,
) -> Zeroizing<String> {
    // Room for all of it, so that no reallocation leaves a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(4096));
    let mut line = |key: &str, value: &str| {
        text.push_str(key);
        text.push_str(value);
        text.push('\n');
    };
    line(
        "# ",
        &format!("{} of {}", safe(&device.name), safe(&device.user)),
    );
    if let Some(expires) = &device.expires {
        line("# to be enrolled again by ", &safe(expires));
    }
    line("[Interface]", "");
    match key {
        Some(key) => line("PrivateKey = ", &key.expose_base64()),
        None => line("PrivateKey = ", PRIVATE_KEY),
    }
    line("Address = ", &profile.address);
    let names: Vec<_> = profile
        .dns
        .iter()
        .chain(&profile.dns_suffix)
        .map(String::as_str)
        .collect();
    if !profile.dns.is_empty() {
        line("DNS = ", &names.join(", "));
    }
    line("MTU = ", &profile.mtu.to_string());
    line("", "");
    line("[Peer]", "");
    line("PublicKey = ", &profile.server_public_key);
    if let Some(key) = &profile.preshared_key {
        line("PresharedKey = ", key);
    }
    line("AllowedIPs = ", &profile.allowed_ips.join(", "));
    line("Endpoint = ", &profile.endpoint);
    if profile.keepalive > 0 {
        line("PersistentKeepalive = ", &profile.keepalive.to_string());
    }
    text
}

/// Draws a text as a QR code for a terminal: dark on light whatever its colours are, two rows a line.
pub(super) fn qr(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let drawn = code
        .render::<Dense1x2>()
        // A terminal is dark as a rule, so its ink is the light.
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .quiet_zone(true)
        .build();
    Some(format!("{drawn}\n"))
}
