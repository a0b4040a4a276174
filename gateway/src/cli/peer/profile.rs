//! The file for `wg-quick` and the WireGuard apps.

use causeway_proto::wireguard::PrivateKey;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use zeroize::Zeroizing;

use crate::cli::table::safe;
use crate::control::protocol::{Device, Profile};
use crate::session::wg_quick::WgQuick;

/// Writes the file; with the private key if there is one.
pub(super) fn wg_quick(
    device: &Device,
    profile: &Profile,
    key: Option<&PrivateKey>,
) -> Zeroizing<String> {
    WgQuick {
        title: &format!("{} of {}", safe(&device.name), safe(&device.user)),
        expires: device.expires.as_deref(),
        private_key: key,
        address: &profile.address,
        dns: &profile.dns,
        dns_suffix: &profile.dns_suffix,
        mtu: profile.mtu,
        public_key: &profile.server_public_key,
        preshared_key: profile.preshared_key.as_deref(),
        endpoint: &profile.endpoint,
        allowed_ips: &profile.allowed_ips,
        keepalive: profile.keepalive,
    }
    .text()
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
