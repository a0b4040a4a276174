use super::*;

use crate::auth::UserFile;
use crate::session::TableLimits;
use crate::task;

const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

struct Rig {
    devices: Devices,
    table: Arc<SessionTable>,
    _tasks: Tasks,
    _stop: task::StopHandle,
}

fn authenticator() -> Authenticator {
    Authenticator::users(UserFile::dev())
}

fn config(set: &[(&str, String)]) -> Config {
    let options = crate::config::Options {
        base: crate::config::Base::Dev,
        environment: Vec::new(),
        set: set
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect(),
    };
    crate::config::load(&options).unwrap().config
}

fn tunnel(config: &Config) -> &Mobility {
    config.mobility.as_ref().unwrap()
}

fn open(set: &[(&str, String)]) -> Result<Rig, StartupError> {
    let config = config(set);
    let (table, _) = SessionTable::new(TableLimits {
        sessions: 9,
        per_user: 9,
        pending: 9,
    });
    let pools = Pools::new(config.pools.default.clone(), config.pools.others.clone());
    let mut tasks = Tasks::new();
    let (handle, stop) = task::stop();
    let own = PublicKey::from_bytes([7; 32]);
    let devices = Devices::open(
        &config,
        (tunnel(&config), own),
        &pools,
        &authenticator(),
        (&mut tasks, stop),
    )?;
    Ok(Rig {
        devices,
        table,
        _tasks: tasks,
        _stop: handle,
    })
}

fn laptop() -> NewDevice {
    NewDevice {
        name: "laptop".into(),
        user: Some("alice".into()),
        public_key: KEY.into(),
        ..NewDevice::default()
    }
}

impl Rig {
    fn add(&self, new: &NewDevice) -> Result<(Device, Profile), String> {
        let answer = self.devices.add(new, &self.table);
        if let Response::Failed { message, .. } = answer {
            return Err(message);
        }
        let Response::Enrolled { device, profile } = answer else {
            panic!("neither enrolled nor refused")
        };
        Ok((*device, *profile))
    }
}

#[tokio::test]
async fn an_administrator_enrols_looks_and_revokes() {
    let routes = "[\"10.0.0.0/8\"]".to_owned();
    let dns = "[\"10.0.0.10\", \"10.0.0.11\"]".to_owned();
    let external = "[\"vpn.example.com:7\"]".to_owned();
    let rig = open(&[
        ("network.routes", routes),
        ("network.dns", dns),
        ("mobility.external", external),
    ])
    .unwrap();
    let new = NewDevice {
        preshared_key: Some(KEY.into()),
        address: Some("10.99.0.77".parse().unwrap()),
        lifetime_seconds: Some(3600),
        ..laptop()
    };
    let (device, profile) = rig.add(&new).unwrap();
    assert_eq!(
        (device.name.as_str(), device.user.as_str()),
        ("laptop", "alice")
    );
    assert_eq!(
        (device.state.as_str(), device.preshared_key),
        ("away", true)
    );
    assert!(device.expires.is_some());
    assert_eq!(profile.address, "10.99.0.77/32");
    assert_eq!(profile.endpoint, "vpn.example.com:7");
    assert_eq!(profile.allowed_ips, ["10.0.0.0/8"]);
    assert_eq!((profile.dns.len(), profile.mtu), (2, 1400));
    assert_eq!(profile.preshared_key.as_deref(), Some(KEY));
    assert_ne!(profile.server_public_key, KEY);
    let Response::Devices { devices } = rig.devices.list(Some("ALICE"), &rig.table) else {
        panic!("no list")
    };
    assert_eq!(devices.as_slice(), std::slice::from_ref(&device));
    let none = rig.devices.list(Some("bob"), &rig.table);
    assert_eq!(
        none,
        Response::Devices {
            devices: Vec::new()
        }
    );
    for what in ["laptop", "alice/laptop", "0", KEY] {
        let shown = rig.devices.show(what, &rig.table);
        let wanted = Box::new(device.clone());
        assert_eq!(shown, Response::Device { device: wanted });
    }
    let again = rig.devices.profile("laptop", &rig.table);
    assert!(matches!(again, Response::Enrolled { .. }));
    let asked = rig.devices.revoke("laptop", true, &rig.table);
    assert!(!asked.is_to_last());
    assert_eq!(rig.devices.peers.len(), 1);
    let done = rig.devices.revoke("laptop", false, &rig.table);
    assert!(done.is_to_last());
    assert!(rig.devices.peers.is_empty());
    let gone = rig.devices.show("laptop", &rig.table);
    assert!(matches!(gone, Response::NotFound { .. }));
}

#[tokio::test]
async fn what_cannot_be_enrolled_is_told() {
    let rig = open(&[]).unwrap();
    rig.add(&laptop()).unwrap();
    let refused = |new: NewDevice| rig.add(&new).unwrap_err();
    let another = || {
        let key = PublicKey::from_bytes([9; 32]);
        NewDevice {
            public_key: key.to_string(),
            ..laptop()
        }
    };
    let mut new = another();
    new.public_key = "AAAA".into();
    assert!(refused(new).starts_with("--public-key: "));
    let mut new = another();
    new.preshared_key = Some("AAAA".into());
    assert!(refused(new).starts_with("--psk: "));
    assert_eq!(refused(another()), "the user has a device of that name");
    let mut new = laptop();
    new.user = None;
    assert_eq!(refused(new), "the key belongs to another user's device");
    let mut new = another();
    new.name = "phone".into();
    new.address = Some("192.0.2.1".parse().unwrap());
    assert_eq!(
        refused(new),
        "there is no address for the device: 192.0.2.1 is in no pool"
    );
}

#[tokio::test]
async fn an_answer_waits_until_the_disk_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("peers.toml");
    let set = [("mobility.peers_file", file.display().to_string())];
    let rig = open(&set).unwrap();
    let response = rig.devices.add(&laptop(), &rig.table);
    assert_eq!(rig.devices.settled(response.clone()).await, response);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(KEY));
    drop(rig);
    // Bob of the other file is not in this one.
    let strange = text
        .replace("user = \"alice\"", "user = \"mallory\"")
        .replace("origin = \"administrator\"", "origin = \"login\"");
    std::fs::write(&file, &strange).unwrap();
    assert!(open(&set).unwrap().devices.peers.is_empty());
    std::fs::write(&file, &text).unwrap();
    assert_eq!(open(&set).unwrap().devices.peers.len(), 1);
    std::fs::write(&file, "nonsense").unwrap();
    let Err(error) = open(&set) else {
        panic!("opened")
    };
    assert!(error.to_string().contains("E0706"), "{error}");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir_all(file.join("x")).unwrap();
    assert!(open(&set).is_err());
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nowhere/peers.toml");
    let rig = open(&[("mobility.peers_file", file.display().to_string())]).unwrap();
    let response = rig.devices.add(&laptop(), &rig.table);
    let Response::Failed { code, message } = rig.devices.settled(response).await else {
        panic!("settled")
    };
    assert_eq!(code.as_deref(), Some("E0705"));
    assert!(message.contains("peers.toml"), "{message}");
    assert_eq!(rig.devices.peers.len(), 1);
}
