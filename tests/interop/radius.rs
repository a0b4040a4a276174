//! Real programs of the RADIUS world against ours: `eapol_test` as a supplicant, `radclient`, FreeRADIUS.
//!
//! `cargo test -p tests --test interop_radius -- --include-ignored`, as root.

use std::path::Path;

use harness::lab::{FreeRadius, Gateway, Lab, Settings, lacks, rootless};

/// Leaves the test, saying why, when something that it needs is not there.
macro_rules! need {
    ($($missing:expr),+) => {
        $(if let Some(reason) = $missing {
            println!("skipped: {reason}");
            return;
        })+
    };
}

fn through_eap(lab: &Lab) -> Gateway<'_> {
    let settings = Settings {
        auth: &["eap"],
        radius_port: Some(FreeRadius::PORT),
        ..Settings::default()
    };
    Gateway::start(lab, &settings)
}

fn quoted(file: &Path) -> String {
    format!("{:?}", file.to_str().unwrap())
}

/// PEAP with MS-CHAPv2 inside, in fragments of 200 octets.
fn peap(radius: &FreeRadius<'_>, password: &str) -> String {
    format!(
        " eap=PEAP\n identity=\"alice\"\n anonymous_identity=\"outer\"\n password={password:?}\n ca_cert={}\n phase1=\"peaplabel=0\"\n phase2=\"auth=MSCHAPV2\"\n fragment_size=200",
        quoted(&radius.pki("ca.pem"))
    )
}

#[test]
#[ignore = "needs root, eapol_test, FreeRADIUS"]
fn peap_passes_through_and_its_key_binds_the_call() {
    need!(rootless(), lacks("freeradius"), lacks("eapol_test"));
    let lab = Lab::new();
    let radius = FreeRadius::start(&lab);
    let mut gateway = through_eap(&lab);

    let good = lab.supplicant(&peap(&radius, "wonderland"), false);
    assert!(good.up, "{:?}\n{}", good.ended, good.said);
    assert!(
        good.said.contains("CTRL-EVENT-EAP-SUCCESS"),
        "{}",
        good.said
    );
    assert!(
        good.said.contains("EAP-MSCHAPV2: Authentication succeeded"),
        "{}",
        good.said
    );
    assert!(
        good.longest > 1000,
        "no fragment of the server's was longer than {}",
        good.longest
    );
    assert!(good.requests.len() >= 9, "{} rounds", good.requests.len());

    // The same log-in with another key: the server let the client in, and the binding is wrong.
    let spoilt = lab.supplicant(&peap(&radius, "wonderland"), true);
    assert!(
        spoilt.said.contains("CTRL-EVENT-EAP-SUCCESS"),
        "{}",
        spoilt.said
    );
    assert!(!spoilt.up, "a wrong key binds the call");

    let wrong = lab.supplicant(&peap(&radius, "nope"), false);
    assert!(!wrong.up);
    assert!(
        wrong.said.contains("CTRL-EVENT-EAP-FAILURE"),
        "{}",
        wrong.said
    );
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

#[test]
#[ignore = "needs root, eapol_test, FreeRADIUS"]
fn eap_mschapv2_and_eap_tls_pass_through_by_eapol_test() {
    need!(rootless(), lacks("freeradius"), lacks("eapol_test"));
    let lab = Lab::new();
    let radius = FreeRadius::start(&lab);
    let mut gateway = through_eap(&lab);
    let mschapv2 = " eap=MSCHAPV2\n identity=\"alice\"\n password=\"wonderland\"".to_owned();
    let tls = format!(
        " eap=TLS\n identity=\"cert-user@vpn.test\"\n ca_cert={}\n client_cert={}\n private_key={}\n fragment_size=300",
        quoted(&radius.pki("ca.pem")),
        quoted(&radius.pki("client.pem")),
        quoted(&radius.pki("client.key")),
    );
    for network in [mschapv2, tls] {
        let good = lab.supplicant(&network, false);
        assert!(good.up, "{network}: {:?}\n{}", good.ended, good.said);
        let spoilt = lab.supplicant(&network, true);
        assert!(!spoilt.up, "{network}: a wrong key binds the call");
    }
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}
