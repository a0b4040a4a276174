//! Real programs of the RADIUS world against ours: `eapol_test` as a supplicant, `radclient`, FreeRADIUS.
//!
//! `cargo test -p tests --test interop_radius -- --include-ignored`, as root.

use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use causeway::client::{ClientError, Login, Options, Trust, Tunnel};
use causeway_proto::aaa::{
    Applicant, AuthMethod, Credentials, Identity, MsChapV2Response, TunnelKind, Verdict,
};
use causeway_proto::crypto::legacy::md5_of;
use causeway_proto::mschapv2::Answer;
use causeway_proto::ppp::RoleConfig;
use causeway_proto::radius::Packet;
use causeway_proto::radius::access::{self, Nas, Signing, decode_reply, encode_request};
use causeway_proto::radius::authenticator::verify_reply;
use causeway_proto::wire::Decode;
use harness::lab::{
    BEHIND, FreeRadius, GATEWAY, Gateway, Lab, Settings, Tap, eapol_test, eventually, lacks,
    rootless,
};
use harness::radius_capture::{check, print};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

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

/// Lets `radclient` send one packet through the tap; most must be answered.
fn radclient(lab: &Lab, tap: &Tap, command: &str, attributes: &str) -> String {
    tap.label("radclient");
    let input = lab.path("radclient.txt");
    std::fs::write(&input, attributes).unwrap();
    let mut program = lab.command("radclient");
    program.args(["-x", "-r", "1", "-t", "3"]);
    program
        .arg(tap.address().to_string())
        .args([command, "testing123"]);
    let output = program
        .stdin(std::fs::File::open(&input).unwrap())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// `CAUSEWAY_RECORD=1` writes what it has seen to `tests/vectors/radius.txt`.
#[test]
#[ignore = "needs root, eapol_test, FreeRADIUS"]
fn what_eapol_test_and_radclient_send_is_read_by_ours() {
    need!(
        rootless(),
        lacks("freeradius"),
        lacks("eapol_test"),
        lacks("radclient")
    );
    let lab = Lab::new();
    let radius = FreeRadius::start(&lab);
    let wall = now();
    let seen = Tap::with(&lab, |tap| {
        let networks = [
            peap(&radius, "wonderland"),
            " eap=MSCHAPV2\n identity=\"alice\"\n password=\"wonderland\"".to_owned(),
        ];
        for network in networks {
            tap.label("eapol_test");
            let config = lab.path("capture.conf");
            let network = format!("network={{\n key_mgmt=WPA-EAP\n{network}\n}}\n");
            std::fs::write(&config, network).unwrap();
            let peer = eapol_test(&lab, &config, tap.address(), "testing123");
            assert!(
                eventually(20, || peer.log().contains("\nSUCCESS")),
                "{}",
                peer.log()
            );
        }
        let answered = [
            (
                "auth",
                "User-Name = alice, User-Password = wonderland, Message-Authenticator = 0x00",
                "Access-Accept",
            ),
            (
                "auth",
                "User-Name = alice, CHAP-Password = wonderland",
                "Access-Accept",
            ),
            (
                "auth",
                "User-Name = alice, MS-CHAP-Password = wonderland",
                "Access-Accept",
            ),
            (
                "auth",
                "User-Name = alice, User-Password = wonderland, Framed-MTU = 1300, NAS-IPv6-Address = 2001:db8::1",
                "Access-Accept",
            ),
            ("status", "Message-Authenticator = 0x00", "Access-Accept"),
            (
                "acct",
                "Acct-Status-Type = Start, Acct-Session-Id = capture, User-Name = alice",
                "Accounting-Response",
            ),
            (
                "acct",
                "Acct-Status-Type = Stop, Acct-Session-Id = capture, User-Name = alice, Acct-Input-Octets = 7",
                "Accounting-Response",
            ),
        ];
        for (command, attributes, expected) in answered {
            let said = radclient(&lab, tap, command, attributes);
            assert!(said.contains(expected), "{attributes}: {said}");
        }
        for command in ["disconnect", "coa"] {
            let attributes = format!(
                "User-Name = alice, Session-Timeout = 60, Event-Timestamp = {wall}, Message-Authenticator = 0x00"
            );
            let attributes = match command {
                "coa" => attributes,
                _ => attributes.replace("Session-Timeout = 60, ", ""),
            };
            let _ = radclient(&lab, tap, command, &attributes);
        }
    });
    let codes = check(&seen, b"testing123", wall);
    assert!(codes[&11] >= 9, "{codes:?}");
    assert!(
        codes[&2] >= 7 && codes[&5] == 2 && codes[&40] == 1 && codes[&43] == 1,
        "{codes:?}"
    );
    if std::env::var_os("CAUSEWAY_RECORD").is_some() {
        let text = format!(
            "# eapol_test 2.10 and radclient 3.2.1 with FreeRADIUS 3.2.1; the secret is testing123; at {wall}\n{}",
            print(&seen)
        );
        std::fs::write(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/radius.txt"),
            text,
        )
        .unwrap();
    }
}

#[test]
#[ignore = "needs root, FreeRADIUS"]
fn freeradius_accepts_what_ours_writes() {
    need!(rootless(), lacks("freeradius"));
    let lab = Lab::new();
    let _radius = FreeRadius::start(&lab);
    let user = Identity::new(b"alice").unwrap();
    let challenge = [3; 16];
    let answer = Answer::new("wonderland", user.as_bytes(), challenge, [4; 16]);
    let value = answer.value();
    let offered = [
        Credentials::Pap {
            user: user.clone(),
            password: b"wonderland".as_slice().into(),
        },
        Credentials::ChapMd5 {
            user: user.clone(),
            identifier: 9,
            challenge: challenge.to_vec(),
            response: md5_of(&[&[9], b"wonderland", &challenge]),
        },
        Credentials::MsChapV2 {
            user: user.clone(),
            response: MsChapV2Response {
                identifier: 9,
                challenge,
                peer_challenge: value[..16].try_into().unwrap(),
                nt_response: value[24..48].try_into().unwrap(),
                flags: 0,
            },
        },
        Credentials::Eap {
            user,
            message: b"\x02\x05\x00\x0a\x01alice".to_vec(),
            state: None,
        },
    ];
    for (credentials, identifier) in offered.iter().zip(10..) {
        let signing = Signing {
            identifier,
            authenticator: md5_of(&[&[identifier], &now().to_be_bytes()]),
            secret: b"testing123",
        };
        let nas = Nas {
            identifier: "lab".into(),
            ..Nas::default()
        };
        let request = encode_request(&nas, &applicant(), credentials, signing).unwrap();
        let reply = lab.inside(|| {
            let socket = UdpSocket::bind((GATEWAY, 0)).unwrap();
            socket.connect((GATEWAY, FreeRadius::PORT)).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            socket.send(&request).unwrap();
            let mut buffer = vec![0; 4096];
            let len = socket.recv(&mut buffer).unwrap();
            buffer.truncate(len);
            buffer
        });
        let packet = Packet::decode_exact(&reply).unwrap();
        verify_reply(&packet, &signing.authenticator, signing.secret).unwrap();
        let said = decode_reply(&packet, credentials, signing, "freeradius").unwrap();
        match (credentials, said) {
            (Credentials::Eap { .. }, access::Answer::Verdict(Verdict::Challenge(_))) => {}
            (_, access::Answer::Verdict(Verdict::Accept(_))) => {}
            (_, other) => panic!("{identifier}: {other:?}"),
        }
    }
}

fn applicant() -> Applicant {
    Applicant {
        tunnel: TunnelKind::Sstp,
        remote: "198.51.100.7:50123".parse().unwrap(),
        local: "203.0.113.4:443".parse().unwrap(),
        session: "0a2b3c4d".into(),
        nas_port: 7,
        correlation: None,
        ras_client_version: None,
        ras_client_name: None,
        connect_info: None,
        mtu: 1300,
    }
}

/// Lets `openssl` read `input`, with its old algorithms.
fn openssl(words: &[&str], input: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut child = std::process::Command::new("openssl")
        .args(words)
        .args(["-provider", "legacy", "-provider", "default"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap().stdout
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn unhex(digits: &str) -> Vec<u8> {
    let octet = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len() / 2).map(|at| octet(2 * at)).collect()
}

/// The built-in client's settings for a log-in with MS-CHAPv2; the password is the name and `pw`.
fn options(lab: &Lab, user: &str) -> Options {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(lab.path("pki/ca.pem")).unwrap();
    roots.add(authority).unwrap();
    let login = Login {
        user: Identity::new(user.as_bytes()).unwrap(),
        password: format!("{user}pw").as_bytes().into(),
        method: AuthMethod::MsChapV2,
    };
    let trust = Trust::Roots(roots.into());
    let server = format!("{GATEWAY}:443").parse().unwrap();
    let mut options = Options::windows(server, trust, login);
    options.host = "vpn.test".into();
    options
}

async fn connect(lab: &Lab, user: &str) -> Result<Tunnel, ClientError> {
    Tunnel::connect(&options(lab, user)).await
}

#[test]
#[ignore = "needs root, FreeRADIUS"]
fn a_network_behind_a_client_is_routed_for_as_long_as_the_session() {
    need!(rootless(), lacks("freeradius"));
    let lab = Lab::new();
    let _radius = FreeRadius::start(&lab);
    let settings = Settings {
        auth: &["mschapv2"],
        radius_port: Some(FreeRadius::PORT),
        radius: "framed_routes = [\"192.168.0.0/16\"]",
        ..Settings::default()
    };
    let gateway = Gateway::start(&lab, &settings);
    lab.ip_behind(&["route", "add", "192.168.7.0/24", "via", "10.98.0.254"]);
    let routed = || lab.ip(&["route"]).contains("192.168.7.0/24 dev causeway0");
    let host = "192.168.7.9".parse().unwrap();
    let behind = BEHIND.parse().unwrap();
    let before = lab.kernel_state();
    lab.inside(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut tunnel = connect(&lab, "routed").await.unwrap();
            assert!(routed(), "{}", lab.ip(&["route"]));
            assert!(lab.ip(&["route"]).contains("metric 9"));
            tunnel.ping(behind, 100).await.unwrap();
            tunnel.ping_from(host, behind, 1200).await.unwrap();
            // Nobody else's address, and no second session with the same network.
            let stranger = "192.168.8.9".parse().unwrap();
            assert!(tunnel.ping_from(stranger, behind, 100).await.is_err());
            assert!(connect(&lab, "routed").await.is_err());
            assert!(connect(&lab, "everything").await.is_err());
            tunnel.ping_from(host, behind, 100).await.unwrap();
            let sessions = gateway.json(&["sessions"]);
            assert_eq!(sessions["sessions"][0]["networks"][0], "192.168.7.0/24");
            tunnel.close().await.unwrap();
        });
    });
    assert!(eventually(10, || !routed()), "{}", lab.ip(&["route"]));
    assert_eq!(lab.kernel_state(), before);
    let log = gateway.log();
    assert!(log.contains("which another session has"), "{log}");
    assert!(
        log.contains("0.0.0.0/0 is not in `radius.framed_routes`"),
        "{log}"
    );
}

#[test]
#[ignore = "needs root, FreeRADIUS"]
fn freeradius_takes_a_new_password_for_one_that_has_expired() {
    need!(rootless(), lacks("freeradius"), lacks("openssl"));
    let lab = Lab::new();
    let radius = FreeRadius::start(&lab);
    let settings = Settings {
        auth: &["mschapv2"],
        radius_port: Some(FreeRadius::PORT),
        radius: "password_change = true",
        ..Settings::default()
    };
    let gateway = Gateway::start(&lab, &settings);
    let log_in = |new: Option<&str>| {
        lab.inside(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut options = options(&lab, "expired");
                if let RoleConfig::Client(client) = &mut options.ppp.role {
                    client.new_password = new.map(|new| new.as_bytes().into());
                }
                let mut tunnel = Tunnel::connect(&options).await?;
                tunnel.ping(BEHIND.parse().unwrap(), 100).await.unwrap();
                tunnel.close().await
            })
        })
    };
    let refused = log_in(None);
    assert!(refused.is_err());
    let changed = log_in(Some("spring-26"));
    let said = radius.log();
    assert!(said.contains("Password change payload valid"), "{said}");
    // OpenSSL reads what it was sent.
    let octets = |name: &str| -> Vec<Vec<u8>> {
        let values = said
            .lines()
            .filter_map(|line| line.split_once(&format!("{name} = 0x")));
        values.map(|(_, digits)| unhex(digits.trim())).collect()
    };
    let pieces = octets("MS-CHAP-NT-Enc-PW");
    let block: Vec<u8> = pieces
        .iter()
        .flat_map(|piece| piece[4..].to_vec())
        .collect();
    assert_eq!((pieces.len(), block.len()), (3, 516));
    let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let old = openssl(&["dgst", "-md4", "-binary"], &wide("expiredpw"));
    let clear = openssl(&["enc", "-d", "-rc4", "-K", &hex(&old)], &block);
    assert_eq!(clear[512..], [18, 0, 0, 0]);
    assert_eq!(clear[512 - 18..512], wide("spring-26"));
    changed.unwrap_or_else(|error| panic!("{error}: {}\n{said}", gateway.log()));
    assert!(said.contains("expired has spring-26"), "{said}");
    let log = gateway.log();
    assert!(log.contains("the user may choose another"), "{log}");
    assert!(!log.contains("spring"), "{log}");
}
