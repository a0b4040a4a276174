use super::*;

use causeway_proto::wireguard::PrivateKey;

const KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

const MOBILITY: &str = r#"
[mobility]
private_key = "/etc/causeway/mobility.key"
"#;

/// An `/etc` with a key in it.
fn with_key() -> Etc {
    let etc = etc();
    etc.write("mobility.key", &format!("{KEY}\n"), 0o600);
    etc
}

fn mobility(etc: &Etc, text: &str) -> Option<Mobility> {
    etc.load(&format!("{BASE}{SERVER}{text}"))
        .unwrap_or_else(|drawn| panic!("{drawn}"))
        .config
        .mobility
}

fn fault(etc: &Etc, text: &str) -> String {
    etc.fault(&format!("{BASE}{SERVER}{text}"))
}

#[test]
fn the_tunnel_is_on_when_there_is_a_key_and_nobody_says_otherwise() {
    let etc = with_key();
    assert_eq!(mobility(&etc, ""), None);
    assert_eq!(mobility(&etc, "[mobility]\nreauth = \"1h\""), None);
    assert_eq!(mobility(&etc, &format!("{MOBILITY}enabled = false")), None);
    let on = mobility(&etc, MOBILITY).unwrap();
    let key: PrivateKey = KEY.parse().unwrap();
    assert_eq!(on.key.read().unwrap().public(), key.public());
    assert_eq!(on.listen.len(), 2);
    assert_eq!(on.listen[0].port(), 5008);
    assert_eq!(on.persist, Duration::from_secs(86_400));
    assert_eq!(on.keepalive, Some(Duration::from_secs(25)));
    assert_eq!(on.reauth, Some(Duration::from_secs(43_200)));
    assert_eq!(on.enrol, EnrolBy::Radius);
    let file = Path::new("/var/lib/causeway/peers.toml");
    assert_eq!(on.peers_file.as_deref(), Some(file));
}

#[test]
fn each_key_has_its_place() {
    let etc = with_key();
    let text = format!(
        "{MOBILITY}listen = [\"127.0.0.1:7\"]\nexternal = [\"vpn.example.com:5008\", \"[2001:db8::1]:5008\"]\n\
         pool = \"devices\"\npersist = \"1h\"\nkeepalive = \"0s\"\nenrol = \"off\"\nreauth = \"0s\"\n\
         peers_file = \"/srv/peers.toml\"\n[pools.users]\nipv4 = [\"10.1.0.0/24\"]\n\
         [pools.devices]\nipv4 = [\"10.2.0.0/24\"]\n[limits]\ndevices_per_user = 2\n"
    );
    let config = etc
        .load(&format!("{BASE}{SERVER}{text}"))
        .unwrap_or_else(|drawn| panic!("{drawn}"))
        .config;
    let on = config.mobility.as_ref().unwrap();
    assert_eq!((on.keepalive, on.reauth), (None, None));
    assert_eq!(config.mobility_endpoint(on), "vpn.example.com:5008");
    let own = on.key.read().unwrap().public();
    let settings = config.peers(on, own);
    assert_eq!(settings.devices_per_user, 2);
    assert_eq!(settings.pool.as_deref(), Some("devices"));
    assert_eq!(settings.persist, Duration::from_secs(3600));
    assert_eq!((settings.reauth, settings.own), (None, Some(own)));
    let mut bare = on.clone();
    bare.external.clear();
    assert_eq!(config.mobility_endpoint(&bare), "vpn.example.com:7");
}

#[test]
fn a_key_that_cannot_be_used_is_told_with_what_makes_one() {
    let etc = etc();
    let missing = fault(&etc, MOBILITY);
    assert!(missing.contains("E0701"), "{missing}");
    assert!(
        missing.contains("`causeway keys mobility --out /etc/causeway/mobility.key`"),
        "{missing}"
    );
    etc.write("mobility.key", "not a key", 0o600);
    let wrong = fault(&etc, MOBILITY);
    assert!(wrong.contains("32 octets in base64"), "{wrong}");
    etc.write("mobility.key", KEY, 0o644);
    let open = fault(&etc, MOBILITY);
    assert!(open.contains("chmod 0600"), "{open}");
    let inline = fault(&etc, &format!("[mobility]\nprivate_key = \"{KEY}\""));
    assert!(inline.contains("a secret in the configuration"), "{inline}");
    let empty = fault(&etc, "[mobility]\nprivate_key = \"credential:\"");
    assert!(empty.contains("E0701"), "{empty}");
}

#[test]
fn what_makes_no_sense_is_told() {
    let etc = with_key();
    for (text, code) in [
        ("pool = \"devices\"", "E0702"),
        (
            "pool = \"fixed\"\n[pools.users]\nipv4 = [\"10.1.0.0/24\"]\n\
             [pools.fixed]\nipv4 = [\"10.2.0.0/24\"]\nframed_only = true",
            "E0702",
        ),
        ("listen = []", "E0703"),
        ("listen = [\"0.0.0.0:5008\", \"0.0.0.0:5008\"]", "E0703"),
        ("external = [\"vpn.example.com\"]", "E0704"),
        ("external = [\"vpn.example.com:0\"]", "E0704"),
        ("external = [\"0.0.0.0:5008\"]", "E0704"),
        ("external = [\"a b:5008\"]", "E0704"),
        ("keepalive = \"2d\"", "E0203"),
        ("enrol = \"always\"", "E0203"),
        ("enrol = \"token\"", "E0707"),
    ] {
        let drawn = fault(&etc, &format!("{MOBILITY}{text}"));
        assert!(drawn.contains(code), "{text}: {drawn}");
    }
}

#[test]
fn a_trial_needs_no_key_and_makes_the_one_that_is_named() {
    let config = Config::dev().unwrap();
    let on = config.mobility.unwrap();
    assert!(on.listen.iter().all(|address| address.ip().is_loopback()));
    assert_eq!(on.peers_file, None);
    let (one, two) = (on.key.read().unwrap(), on.key.read().unwrap());
    assert_ne!(one.public(), two.public());

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mobility.key");
    let options = Options {
        base: Base::Dev,
        environment: Vec::new(),
        set: vec![(
            "mobility.private_key".to_owned(),
            file.display().to_string(),
        )],
    };
    let key = load(&options).unwrap().config.mobility.unwrap().key;
    // Looking makes nothing.
    assert!(key.read().is_err());
    assert!(!file.exists());
    let made = key.read_or_make().unwrap();
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    assert_eq!(key.read_or_make().unwrap().public(), made.public());
    assert_eq!(key.read().unwrap().public(), made.public());
}

#[test]
fn the_first_start_makes_the_key_and_a_later_one_does_not() {
    let etc = etc();
    let text = "[mobility]\nenabled = true\npeers_file = \"/etc/causeway/peers.toml\"";
    let file = etc.path("mobility.key");
    let key = mobility(&etc, text).unwrap().key;
    // Neither the check of the configuration nor a look makes one.
    assert!(key.read().is_err());
    assert!(!file.exists());
    let made = key.read_or_make().unwrap();
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o7777,
        0o600
    );

    etc.write("peers.toml", "version = 1\n", 0o600);
    let again = mobility(&etc, text).unwrap().key;
    assert_eq!(again.read_or_make().unwrap().public(), made.public());
    fs::remove_file(&file).unwrap();
    let lost = fault(&etc, text);
    assert!(lost.contains("E0701"), "{lost}");
    assert!(lost.contains("another key would shut out"), "{lost}");
    assert!(key.read_or_make().is_err());
    assert!(!file.exists());
}
