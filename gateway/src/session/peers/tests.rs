use super::*;

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::AtomicU64;
use std::time::UNIX_EPOCH;

use causeway_proto::aaa::{FramedAddress, InnerKeys, Proof};
use tempfile::TempDir;

use crate::session::pool::{PoolConfig, PoolUsage};
use crate::task;

mod file;

/// 2026-07-01T00:00:00Z.
const START: u64 = 1_782_864_000;

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + s(START + seconds)
}

fn identity(name: &str) -> Identity {
    Identity::new(name.as_bytes()).unwrap()
}

fn key(n: u32) -> PublicKey {
    let mut bytes = [9; 32];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    PublicKey::from_bytes(bytes)
}

fn pools(network: &str) -> Pools {
    let pool = |name: &str, network: &str| {
        let networks = [network.parse().unwrap()];
        let gateway = Ipv4Addr::new(10, 0, 0, 1);
        PoolConfig::new(name, &networks, &[], gateway, Duration::ZERO).unwrap()
    };
    Pools::new(
        pool("users", network),
        vec![pool("devices", "10.99.0.0/24")],
    )
}

fn settings() -> Settings {
    Settings {
        devices_per_user: 3,
        devices: 10_000,
        pool: None,
        framed_ip: true,
        reauth: Some(s(3600)),
        persist: s(600),
        own: Some(key(0)),
    }
}

fn accept(user: &str) -> Authorization {
    Authorization {
        user: identity(user),
        proof: Proof::MsChapV2("S=0123".into()),
        keys: Some(InnerKeys {
            recv: b"recv".as_slice().into(),
            send: b"send".as_slice().into(),
        }),
        address: FramedAddress::Pool,
        pool: None,
        routes: Vec::new(),
        session_timeout: None,
        idle_timeout: None,
        interim: None,
        mtu: None,
        class: Vec::new(),
        filter: None,
        dns: Vec::new(),
        wins: Vec::new(),
        server: "nps1".into(),
        message: Some("hello".into()),
    }
}

fn fixed(user: &str, address: &str) -> Authorization {
    Authorization {
        address: FramedAddress::Fixed(address.parse().unwrap()),
        ..accept(user)
    }
}

fn login(n: u32, authorization: Authorization) -> Enrolment {
    Enrolment {
        name: format!("device{n}"),
        key: key(n),
        preshared_key: None,
        authorization,
        method: Some(AuthMethod::MsChapV2),
        origin: Origin::Login,
        lifetime: None,
    }
}

fn by_administrator(n: u32, user: &str) -> Enrolment {
    Enrolment {
        origin: Origin::Administrator,
        method: None,
        ..login(n, accept(user))
    }
}

/// A register in a folder of its own, at a time of its own.
struct Rig {
    folder: TempDir,
    pools: Pools,
    clock: Arc<AtomicU64>,
    peers: Arc<Peers>,
    keeper: Option<Keeper>,
}

impl Rig {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        let folder = TempDir::new().unwrap();
        let pools = pools("10.0.0.0/16");
        let clock = Arc::new(AtomicU64::new(0));
        let (peers, keeper) = open(&folder, &pools, settings, &clock).unwrap();
        Self {
            folder,
            pools,
            clock,
            peers,
            keeper: Some(keeper),
        }
    }

    /// Kills the gateway and starts it again.
    fn again(&mut self) {
        self.pools = pools("10.0.0.0/16");
        let opened = open(&self.folder, &self.pools, settings(), &self.clock).unwrap();
        self.peers = opened.0;
        self.keeper = Some(opened.1);
    }

    fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
    }

    fn enrol(&self, enrolment: Enrolment) -> Result<Arc<Peer>, EnrolError> {
        self.peers.enrol(enrolment)
    }

    fn usage(&self) -> PoolUsage {
        self.pools.default_pool().usage()
    }
}

fn open(
    folder: &TempDir,
    pools: &Pools,
    settings: Settings,
    clock: &Arc<AtomicU64>,
) -> Result<(Arc<Peers>, Keeper), PeersError> {
    let clock = Arc::clone(clock);
    Peers::with_clock(
        &folder.path().join("peers.toml"),
        pools.clone(),
        settings,
        move || time(clock.load(Ordering::Relaxed)),
    )
}

fn taken(changes: &mut mpsc::UnboundedReceiver<Change>) -> Vec<String> {
    std::iter::from_fn(|| changes.try_recv().ok())
        .map(|change| match change {
            Change::Added(peer) => format!("added {}", peer.id().0),
            Change::Renewed(peer) => format!("renewed {}", peer.id().0),
            Change::Removed { id, cause } => format!("removed {} {cause}", id.0),
        })
        .collect()
}

#[test]
fn a_new_key_is_a_device_with_an_address_of_its_own() {
    let rig = Rig::new();
    let mut changes = rig.peers.subscribe();
    let one = rig.enrol(login(1, accept("alice"))).unwrap();
    let two = rig.enrol(login(2, accept("alice"))).unwrap();
    assert_ne!((one.id(), one.address()), (two.id(), two.address()));
    assert_eq!(one.pool(), Some("users"));
    assert_eq!(rig.usage().reserved, 2);
    let lease = rig
        .pools
        .lease(&identity("bob"), None, None, Some(one.address()));
    assert_eq!(lease.err(), Some(LeaseError::Taken(one.address())));
    assert_eq!(rig.peers.by_key(&key(1)).unwrap().id(), one.id());
    assert_eq!(rig.peers.by_id(two.id()).unwrap().key(), key(2));
    assert_eq!(taken(&mut changes), ["added 0", "added 1"]);
    // What a log-in leaves, but nothing that proves it.
    assert_eq!(one.authorization().keys, None);
    assert_eq!(one.authorization().proof, Proof::Message(String::new()));
    assert_eq!(one.authorization().server, "nps1");
}

#[test]
fn the_same_key_of_the_same_user_is_renewed_at_its_address() {
    let rig = Rig::new();
    let one = rig.enrol(login(1, accept("alice"))).unwrap();
    assert_eq!(one.expires(), Some(time(3600)));
    rig.peers
        .note_seen(one.id(), Some("192.0.2.1:7".parse().unwrap()), [7; 12]);
    let mut changes = rig.peers.subscribe();
    rig.pass(3600);
    assert!(!one.is_open(rig.peers.now()));
    let staff = Authorization {
        filter: Some("staff".into()),
        ..accept("Alice")
    };
    let again = rig.enrol(login(1, staff)).unwrap();
    assert_eq!((again.id(), again.address()), (one.id(), one.address()));
    assert_eq!(again.expires(), Some(time(7200)));
    assert_eq!(again.created(), time(0));
    assert_eq!(again.authorization().filter.as_deref(), Some("staff"));
    assert_eq!(again.endpoint(), Some("192.0.2.1:7".parse().unwrap()));
    assert_eq!(again.timestamp(), [7; 12]);
    assert_eq!(taken(&mut changes), ["renewed 0"]);
    assert_eq!(rig.peers.len(), 1);
}

#[test]
fn a_key_belongs_to_one_user() {
    let rig = Rig::new();
    rig.enrol(login(1, accept("alice"))).unwrap();
    let stolen = rig.enrol(login(1, accept("mallory")));
    assert_eq!(stolen.err(), Some(EnrolError::KeyOfAnother));
    assert_eq!(rig.peers.by_key(&key(1)).unwrap().user().display(), "alice");
    // Once the device is gone, the key is nobody's.
    rig.peers.revoke("device1", TerminateCause::Admin).unwrap();
    assert!(rig.enrol(login(1, accept("mallory"))).is_ok());
}

#[test]
fn keys_with_which_nobody_can_speak_are_refused() {
    let rig = Rig::new();
    let mut one = login(1, accept("alice"));
    one.key = PublicKey::from_bytes([0; 32]);
    assert_eq!(rig.enrol(one).err(), Some(EnrolError::BadKey));
    let own = rig.enrol(login(0, accept("alice")));
    assert_eq!(own.err(), Some(EnrolError::BadKey));
}

#[test]
fn ten_thousand_keys_of_one_user_are_no_more_than_the_limit() {
    let rig = Rig::new();
    for n in 1..=10_000 {
        let name = if n % 2 == 0 { "alice" } else { "ALICE" };
        let enrolled = rig.enrol(login(n, accept(name)));
        match n {
            ..=3 => assert!(enrolled.is_ok()),
            _ => assert_eq!(enrolled.err(), Some(EnrolError::TooManyDevices(3))),
        }
    }
    assert_eq!((rig.peers.len(), rig.usage().reserved), (3, 3));
    assert!(rig.enrol(login(20_000, accept("bob"))).is_ok());
}

#[test]
fn a_device_whose_log_in_has_expired_makes_room_for_a_new_one() {
    let rig = Rig::new();
    for n in 1..=3 {
        rig.enrol(login(n, accept("alice"))).unwrap();
        rig.pass(10);
    }
    rig.pass(3580);
    let mut changes = rig.peers.subscribe();
    assert!(rig.enrol(login(4, accept("alice"))).is_ok());
    assert_eq!(taken(&mut changes), ["removed 0 replaced", "added 3"]);
    assert_eq!(rig.peers.len(), 3);
}

#[test]
fn there_are_no_more_devices_than_may_be() {
    let rig = Rig::with(Settings {
        devices: 2,
        ..settings()
    });
    rig.enrol(login(1, accept("alice"))).unwrap();
    rig.enrol(login(2, accept("bob"))).unwrap();
    let third = rig.enrol(login(3, accept("carol")));
    assert_eq!(third.err(), Some(EnrolError::Full));
}

#[test]
fn a_log_in_lasts_for_reauth_unless_session_timeout_is_shorter() {
    let of = |timeout: Option<u64>, reauth: Option<u64>| {
        let rig = Rig::with(Settings {
            reauth: reauth.map(s),
            ..settings()
        });
        let authorization = Authorization {
            session_timeout: timeout.map(s),
            ..accept("alice")
        };
        rig.enrol(login(1, authorization))
            .map(|peer| peer.time_left(time(0)))
    };
    assert_eq!(of(None, Some(3600)), Ok(Some(s(3600))));
    assert_eq!(of(Some(60), Some(3600)), Ok(Some(s(60))));
    assert_eq!(of(Some(9000), Some(3600)), Ok(Some(s(3600))));
    assert_eq!(of(Some(9000), None), Ok(Some(s(9000))));
    assert_eq!(of(None, None), Ok(None));
    assert_eq!(of(Some(0), None), Err(EnrolError::NoTime));
}

#[test]
fn what_the_authenticator_says_of_the_address_counts() {
    let rig = Rig::new();
    let one = rig.enrol(login(1, fixed("alice", "10.0.7.7"))).unwrap();
    assert_eq!(one.address(), Ipv4Addr::new(10, 0, 7, 7));
    let of_pool = Authorization {
        pool: Some("devices".into()),
        ..accept("alice")
    };
    let two = rig.enrol(login(2, of_pool)).unwrap();
    assert_eq!(two.pool(), Some("devices"));
    // One address, one device.
    let third = rig.enrol(login(3, fixed("alice", "10.0.7.7")));
    let taken_by_one = LeaseError::Taken(one.address());
    assert_eq!(third.err(), Some(EnrolError::NoAddress(taken_by_one)));
    assert_eq!(rig.peers.len(), 2);
    // It is the user's own, so another tunnel may have it while the device is away.
    let elsewhere = rig
        .pools
        .lease(&identity("alice"), None, None, Some(one.address()));
    assert!(elsewhere.is_ok());

    rig.peers.set_settings(Settings {
        framed_ip: false,
        pool: Some("devices".into()),
        ..settings()
    });
    let four = rig.enrol(login(4, fixed("bob", "10.0.9.9"))).unwrap();
    assert_eq!(four.pool(), Some("devices"));
}

#[test]
fn a_device_moves_when_the_authenticator_names_another_address() {
    let rig = Rig::new();
    let one = rig.enrol(login(1, accept("alice"))).unwrap();
    let session = one.lease().unwrap();
    let mut changes = rig.peers.subscribe();
    let moved = rig.enrol(login(1, fixed("alice", "10.0.7.7"))).unwrap();
    assert_eq!(moved.id(), one.id());
    assert_eq!(moved.address(), Ipv4Addr::new(10, 0, 7, 7));
    assert_eq!(taken(&mut changes), ["removed 0 replaced", "added 0"]);
    let former = one.address();
    assert_eq!(rig.usage().used, 1);
    assert!(one.lease().is_err());
    drop(session);
    assert_eq!((rig.usage().used, rig.usage().reserved), (0, 1));
    assert!(
        rig.pools
            .lease(&identity("bob"), None, None, Some(former))
            .is_ok()
    );
}

#[test]
fn names_tell_the_devices_of_a_user_apart() {
    let rig = Rig::new();
    let called = |n, user: &str, name: &str| {
        rig.enrol(Enrolment {
            name: name.into(),
            ..login(n, accept(user))
        })
        .map(|peer| peer.name().to_owned())
    };
    assert_eq!(called(1, "alice", " laptop "), Ok("laptop".into()));
    assert_eq!(called(2, "alice", "laptop"), Ok("laptop-2".into()));
    assert_eq!(called(3, "bob", "laptop"), Ok("laptop".into()));
    let long = "\u{e9}".repeat(32);
    assert_eq!(called(4, "bob", &long), Ok(long.clone()));
    let second = called(5, "bob", &long).unwrap();
    assert!(second.ends_with("\u{e9}-2") && second.len() <= MAX_NAME);
    for bad in ["", " ", "a/b", "a\nb", "a\u{202e}b", &"x".repeat(65)] {
        assert_eq!(called(9, "carol", bad), Err(EnrolError::BadName), "{bad:?}");
    }
    let mut again = by_administrator(6, "bob");
    again.name = "laptop".into();
    assert_eq!(rig.enrol(again).err(), Some(EnrolError::NameTaken));
    let id = |what: &str| rig.peers.find(what).map(|peer| peer.id().0);
    assert_eq!(id("alice/laptop"), Ok(0));
    assert_eq!(id("Bob/laptop"), Ok(2));
    assert_eq!(id("laptop-2"), Ok(1));
    assert_eq!(id("1"), Ok(1));
    assert_eq!(id(&key(3).to_string()), Ok(2));
    let several = FindError::Ambiguous(vec![PeerId(0), PeerId(2)]);
    assert_eq!(
        several.to_string(),
        "devices of several users are called that: 0, 2"
    );
    assert_eq!(id("laptop"), Err(several));
    assert_eq!(id("tablet"), Err(FindError::Unknown));
    assert_eq!(id(&key(99).to_string()), Err(FindError::Unknown));
}

#[test]
fn a_device_of_an_administrator_never_expires_and_no_log_in_changes_it() {
    let rig = Rig::new();
    let mut enrolment = by_administrator(1, "alice");
    enrolment.authorization.session_timeout = Some(s(5));
    let one = rig.enrol(enrolment).unwrap();
    assert_eq!((one.expires(), one.origin()), (None, Origin::Administrator));
    let again = rig.enrol(login(1, accept("alice"))).unwrap();
    assert_eq!(
        (again.expires(), again.origin()),
        (None, Origin::Administrator)
    );
    rig.peers.expire(one.id());
    rig.pass(1_000_000);
    assert_eq!(rig.peers.sweep(), 0);
    let mut short = by_administrator(2, "alice");
    short.lifetime = Some(s(60));
    let two = rig.enrol(short).unwrap();
    assert_eq!(two.time_left(rig.peers.now()), Some(s(60)));
}

#[test]
fn a_log_in_that_was_ended_has_to_be_made_again() {
    let rig = Rig::new();
    let one = rig.enrol(login(1, accept("alice"))).unwrap();
    rig.pass(10);
    rig.peers.expire(one.id());
    let ended = rig.peers.by_id(one.id()).unwrap();
    assert!(!ended.is_open(rig.peers.now()));
    assert_eq!(ended.address(), one.address());
    let again = rig.enrol(login(1, accept("alice"))).unwrap();
    assert!(again.is_open(rig.peers.now()));
}

#[test]
fn an_expired_device_keeps_its_address_for_persist_and_no_longer() {
    let rig = Rig::new();
    let mut changes = rig.peers.subscribe();
    rig.enrol(login(1, accept("alice"))).unwrap();
    rig.pass(3600 + 599);
    assert_eq!((rig.peers.sweep(), rig.usage().reserved), (0, 1));
    rig.pass(1);
    assert_eq!((rig.peers.sweep(), rig.usage().reserved), (1, 0));
    assert_eq!(rig.peers.by_key(&key(1)).map(|peer| peer.id()), None);
    assert_eq!(
        taken(&mut changes),
        ["added 0", "removed 0 authentication_expired"]
    );
    // A number is not given twice.
    let next = rig.enrol(login(1, accept("alice"))).unwrap();
    assert_eq!(next.id(), PeerId(1));
}

#[test]
fn a_removed_user_has_no_device_left() {
    let rig = Rig::new();
    rig.enrol(login(1, accept("alice"))).unwrap();
    rig.enrol(login(2, accept("alice"))).unwrap();
    rig.enrol(login(3, accept("bob"))).unwrap();
    let mut changes = rig.peers.subscribe();
    let alice = identity("ALICE");
    assert_eq!(rig.peers.revoke_user(&alice, TerminateCause::Blocked), 2);
    assert_eq!(
        taken(&mut changes),
        ["removed 0 blocked", "removed 1 blocked"]
    );
    assert!(rig.peers.by_key(&key(1)).is_none());
    assert!(rig.peers.by_key(&key(3)).is_some());
    assert_eq!(rig.usage().reserved, 1);
}
