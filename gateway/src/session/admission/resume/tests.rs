use super::*;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use causeway_proto::aaa::{
    AuthMethod, Authorization, FramedAddress, Identity, Limits, Proof, TunnelKind,
};
use causeway_proto::ip::filter::Filter;
use causeway_proto::terminate::TerminateCause;
use causeway_proto::wireguard::PublicKey;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::auth::{Authenticator, UserFile};
use crate::session::admission::Settings;
use crate::session::peers::{Enrolment, Keeper, Peers};
use crate::session::pool::{PoolConfig, Pools};
use crate::session::{SessionTable, State, TableLimits};

const REMOTE: &str = "198.51.100.7:50123";
const LOCAL: &str = "203.0.113.4:5008";

fn place(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

struct Rig {
    door: Admission,
    pools: Pools,
    peers: Arc<Peers>,
    _keeper: Keeper,
    _folder: TempDir,
}

fn settings() -> Settings {
    let staff = Filter::new("staff", &[], &["10.0.0.0/8".parse().unwrap()]);
    Settings {
        dns: vec![Ipv4Addr::new(10, 0, 0, 10)],
        wins: Vec::new(),
        mtu: 1400,
        limits: Limits {
            session_timeout: Some(Duration::from_secs(60)),
            idle_timeout: None,
        },
        framed_ip: true,
        filters: BTreeMap::from([("staff".to_owned(), Arc::new(staff))]),
        max_session_timeout: Duration::from_secs(1_000_000),
        password_change: false,
    }
}

fn rig() -> Rig {
    let (table, _) = SessionTable::new(TableLimits {
        sessions: 9,
        per_user: 2,
        pending: 9,
    });
    let networks = ["10.99.0.0/24".parse().unwrap()];
    let gateway = PoolConfig::first_usable(networks[0]);
    let pool = PoolConfig::new("users", &networks, &[], gateway, Duration::ZERO).unwrap();
    let pools = Pools::new(pool, Vec::new());
    let users = Arc::new(Authenticator::users(UserFile::dev()));
    let folder = TempDir::new().unwrap();
    let of_peers = peers::Settings {
        devices_per_user: 5,
        devices: 100,
        pool: None,
        framed_ip: true,
        reauth: Some(Duration::from_secs(3600)),
        persist: Duration::from_secs(600),
        own: None,
    };
    let file = folder.path().join("peers.toml");
    let (peers, keeper) = Peers::open(&file, pools.clone(), of_peers).unwrap();
    Rig {
        door: Admission::new(users, table, pools.clone(), settings()),
        pools,
        peers,
        _keeper: keeper,
        _folder: folder,
    }
}

fn accept(user: &str) -> Authorization {
    Authorization {
        user: Identity::new(user.as_bytes()).unwrap(),
        proof: Proof::Message(String::new()),
        keys: None,
        address: FramedAddress::Pool,
        pool: None,
        routes: Vec::new(),
        session_timeout: None,
        idle_timeout: Some(Duration::from_secs(300)),
        interim: None,
        mtu: Some(1380),
        class: Vec::new(),
        filter: Some("staff".into()),
        dns: Vec::new(),
        wins: Vec::new(),
        server: "nps1".into(),
        message: None,
    }
}

impl Rig {
    fn enrol(&self, n: u8, authorization: Authorization) -> Arc<Peer> {
        let enrolment = Enrolment {
            name: format!("device{n}"),
            key: PublicKey::from_bytes([n; 32]),
            preshared_key: None,
            authorization,
            method: Some(AuthMethod::Pap),
            origin: Origin::Login,
            lifetime: None,
        };
        self.peers.enrol(enrolment).unwrap()
    }

    fn resume(&self, peer: &Peer, after: u64) -> Result<Seat, RefuseReason> {
        let now = peer.created() + Duration::from_secs(after);
        let (line, _) = mpsc::unbounded_channel();
        self.door
            .resume_at(now, peer, (place(REMOTE), place(LOCAL)), &line)
            .map_err(|refusal| refusal.reason)
    }

    fn used(&self) -> u64 {
        self.pools.default_pool().usage().used
    }
}

#[test]
fn an_enrolled_device_has_a_session_without_a_log_in() {
    let rig = rig();
    let peer = rig.enrol(3, accept("alice"));
    let seat = rig.resume(&peer, 600).unwrap();
    let network = seat.network.as_ref().unwrap();
    assert_eq!(network.address, peer.address());
    assert_eq!((network.mtu, network.dns.len()), (1380, 1));
    assert_eq!(seat.filter.as_ref().unwrap().name(), "staff");
    assert_eq!(seat.guard.address(), Some(peer.address()));
    seat.guard.set_up();
    let view = rig.door.table().find_address(peer.address()).unwrap();
    assert_eq!(
        (view.state, view.protocol),
        (State::Up, TunnelKind::Mobility)
    );
    assert_eq!(view.user.display(), "alice");
    assert_eq!(view.remote, place(REMOTE));
    assert_eq!(view.facts.device.as_deref(), Some("device3"));
    assert_eq!(view.facts.server.as_deref(), Some("nps1"));
    assert_eq!(view.facts.method, Some(AuthMethod::Pap));
    let accounting = view.facts.accounting.unwrap();
    assert!(accounting.starts_with(&view.id.to_string()), "{accounting}");
    // One address, held once, and still the device's behind the session.
    assert_eq!(rig.used(), 1);
    assert_eq!(rig.resume(&peer, 601).err(), Some(RefuseReason::NoAddress));
    drop(seat);
    assert_eq!(rig.used(), 0);
    let again = rig.resume(&peer, 602).unwrap();
    assert_eq!(again.guard.address(), Some(peer.address()));
}

#[tokio::test]
async fn a_session_lasts_for_what_is_left_of_the_log_in() {
    let rig = rig();
    let peer = rig.enrol(3, accept("alice"));
    let almost = peer.created() + Duration::from_millis(3_599_980);
    let (table, changes) = SessionTable::new(TableLimits {
        sessions: 9,
        per_user: 2,
        pending: 9,
    });
    tokio::spawn(crate::session::lifetime::run(
        Arc::clone(&table),
        changes,
        || 0,
    ));
    let users = Arc::new(Authenticator::users(UserFile::dev()));
    let door = Admission::new(users, table, rig.pools.clone(), settings());
    let (line, mut orders) = mpsc::unbounded_channel();
    let mut seat = door
        .resume_at(almost, &peer, (place(REMOTE), place(LOCAL)), &line)
        .unwrap();
    seat.guard.set_up();
    let order = orders.recv().await.unwrap();
    assert_eq!((order.session, order.device), (seat.guard.id(), peer.id()));
    let expired = TerminateCause::AuthenticationExpired;
    assert_eq!(
        order.command,
        crate::session::SessionCommand::Terminate(expired)
    );
    assert_eq!(seat.commands.next().await, None);
}

#[test]
fn a_device_whose_log_in_has_expired_is_refused() {
    let rig = rig();
    let peer = rig.enrol(3, accept("alice"));
    assert!(rig.resume(&peer, 3599).is_ok());
    assert_eq!(rig.resume(&peer, 3600).err(), Some(RefuseReason::Rejected));
    let again = rig.enrol(3, accept("alice"));
    assert!(rig.resume(&again, 3599).is_ok());
}

#[test]
fn a_device_that_was_revoked_is_refused_even_if_it_is_still_in_hand() {
    let rig = rig();
    let peer = rig.enrol(3, accept("alice"));
    rig.peers.revoke("device3", TerminateCause::Admin).unwrap();
    assert_eq!(rig.resume(&peer, 1).err(), Some(RefuseReason::NoAddress));
    assert_eq!(rig.used(), 0);
}

#[test]
fn limits_and_a_drain_hold_for_devices_too() {
    let rig = rig();
    let peers: Vec<_> = (3..=5).map(|n| rig.enrol(n, accept("alice"))).collect();
    let seats: Vec<_> = peers.iter().map(|peer| rig.resume(peer, 1)).collect();
    assert!(seats[0].is_ok() && seats[1].is_ok());
    assert_eq!(seats[2].as_ref().err(), Some(&RefuseReason::Busy));
    assert_eq!(rig.used(), 2);
    drop(seats);
    rig.door.set_draining(true);
    assert_eq!(rig.resume(&peers[0], 1).err(), Some(RefuseReason::Draining));
}

#[test]
fn what_was_allowed_must_still_make_sense() {
    let rig = rig();
    let peer = rig.enrol(3, accept("alice"));
    rig.door.set_settings(Settings {
        filters: BTreeMap::new(),
        ..settings()
    });
    let refused = rig.resume(&peer, 1).err();
    assert_eq!(refused, Some(RefuseReason::BadAuthorization));
    assert_eq!((rig.used(), rig.door.table().snapshot().len()), (0, 0));
}
