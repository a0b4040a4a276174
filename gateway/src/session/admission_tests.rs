use super::*;

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use causeway_proto::aaa::{Proof, TunnelKind};
use causeway_proto::crypto::SecretBytes;

use crate::auth::UserFile;
use crate::session::{PoolConfig, TableLimits};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

fn settings(filters: &[&str]) -> Settings {
    let make = |name: &&str| {
        let allow = ["10.0.0.0/8".parse().unwrap()];
        ((*name).to_owned(), Arc::new(Filter::new(name, &[], &allow)))
    };
    Settings {
        dns: Vec::new(),
        wins: Vec::new(),
        mtu: 1400,
        limits: Limits::default(),
        framed_ip: true,
        filters: filters.iter().map(make).collect(),
        max_session_timeout: Duration::from_secs(3600),
        password_change: false,
    }
}

fn door_of(users: UserFile, settings: Settings) -> Arc<Admission> {
    let (table, _) = SessionTable::new(TableLimits {
        sessions: 99,
        per_user: 9,
        pending: 99,
    });
    let pool = |name: &str, network: &str| {
        let networks = [network.parse().unwrap()];
        PoolConfig::new(name, &networks, &[], GATEWAY, Duration::ZERO).unwrap()
    };
    let pools = Pools::new(
        pool("users", "10.99.0.0/24"),
        vec![pool("fixed", "10.50.0.0/24").framed_only()],
    );
    let users = Arc::new(Authenticator::users(users));
    Arc::new(Admission::new(users, table, pools, settings))
}

fn door(settings: Settings) -> Arc<Admission> {
    door_of(UserFile::dev(), settings)
}

fn applicant() -> Applicant {
    Applicant {
        nas_port: 1,
        mtu: 1400,
        ..Applicant::new(
            TunnelKind::Sstp,
            "192.0.2.1:5000".parse().unwrap(),
            "192.0.2.2:443".parse().unwrap(),
            "1".into(),
        )
    }
}

fn identity(name: &str) -> Identity {
    Identity::new(name.as_bytes()).unwrap()
}

fn seat(door: &Admission, name: &str) -> Seat {
    let id = door.new_session_id();
    door.enter(id, &applicant(), &identity(name)).unwrap()
}

/// What a server says about alice, but for her name nothing.
fn accept(name: &str) -> Authorization {
    Authorization {
        user: identity(name),
        proof: Proof::Message(String::new()),
        keys: None,
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
        message: None,
    }
}

fn fixed(name: &str, address: [u8; 4]) -> Authorization {
    Authorization {
        address: FramedAddress::Fixed(Ipv4Addr::from(address)),
        ..accept(name)
    }
}

fn filtered(name: &str) -> Authorization {
    Authorization {
        filter: Some(name.to_owned()),
        ..accept("alice")
    }
}

fn routed(routes: &[&str]) -> Authorization {
    Authorization {
        routes: routes.iter().map(|text| text.parse().unwrap()).collect(),
        ..accept("alice")
    }
}

#[tokio::test]
async fn networks_behind_a_client_are_its_own_until_it_leaves() {
    let remote = "198.51.100.7".parse().unwrap();
    let door = Arc::try_unwrap(door(settings(&[]))).unwrap();
    let allowed = vec!["192.168.0.0/16".parse().unwrap()];
    let pools = vec!["10.99.0.0/24".parse().unwrap()];
    let door = door.with_routes(RouteBook::new(allowed, pools, Vec::new(), None));
    let wanted = routed(&["192.168.7.0/24 0.0.0.0 1", "192.168.8.0/24"]);
    let mut first = seat(&door, "alice");
    door.admit(&mut first, &wanted).unwrap();
    door.route(&mut first, &wanted, remote).await.unwrap();
    let named: Vec<_> = first.networks.iter().map(ToString::to_string).collect();
    assert_eq!(named, ["192.168.7.0/24", "192.168.8.0/24"]);
    assert_eq!(first.guard.view().unwrap().facts.networks, named);

    for (routes, reason) in [
        (&["192.168.7.128/25"][..], RefuseReason::NoAddress),
        (&["10.99.0.0/25"], RefuseReason::BadAuthorization),
        (&["0.0.0.0/0"], RefuseReason::BadAuthorization),
        (&["172.16.0.0/24"], RefuseReason::BadAuthorization),
        (
            &["192.168.9.0/24 192.168.9.1"],
            RefuseReason::BadAuthorization,
        ),
    ] {
        let mut second = seat(&door, "bob");
        let wanted = routed(routes);
        door.admit(&mut second, &wanted).unwrap();
        let refused = door.route(&mut second, &wanted, remote).await;
        assert_eq!(refused.unwrap_err().reason, reason, "{routes:?}");
        assert!(second.networks.is_empty());
    }
    drop(first);
    let mut second = seat(&door, "bob");
    door.admit(&mut second, &wanted).unwrap();
    door.route(&mut second, &wanted, remote).await.unwrap();
}

#[tokio::test]
async fn without_a_network_for_them_framed_routes_are_left_alone() {
    let remote = "198.51.100.7".parse().unwrap();
    let door = door(settings(&[]));
    let mut seat = seat(&door, "alice");
    let wanted = routed(&["0.0.0.0/0"]);
    door.admit(&mut seat, &wanted).unwrap();
    door.route(&mut seat, &wanted, remote).await.unwrap();
    assert!(seat.networks.is_empty());
}

#[test]
fn a_session_gets_the_filter_that_is_named() {
    let door = door(settings(&["staff", "guests"]));
    let mut seat = seat(&door, "alice");
    door.admit(&mut seat, &filtered("guests")).unwrap();
    assert_eq!(seat.filter.as_ref().unwrap().name(), "guests");
    let facts = seat.guard.view().unwrap().facts;
    assert_eq!(facts.filter.as_deref(), Some("guests"));
}

#[test]
fn a_session_of_whom_no_filter_is_named_has_none() {
    let door = door(settings(&["staff"]));
    let mut seat = seat(&door, "alice");
    door.admit(&mut seat, &accept("alice")).unwrap();
    assert_eq!(seat.filter, None);
    assert_eq!(seat.guard.view().unwrap().facts.filter, None);
}

#[test]
fn an_unknown_filter_lets_nobody_in_and_costs_no_address() {
    let door = door(settings(&["staff"]));
    let mut seat = seat(&door, "alice");
    for name in ["Staff", "", "staff ", "guests"] {
        let refusal = door.admit(&mut seat, &filtered(name)).unwrap_err();
        assert_eq!(refusal.reason, RefuseReason::BadAuthorization);
    }
    assert_eq!((seat.filter.is_none(), seat.network), (true, None));
    assert!(door.pools.usage().iter().all(|(_, usage)| usage.used == 0));
}

#[test]
fn new_settings_are_for_those_who_come_then() {
    let door = door(settings(&["staff"]));
    let mut before = seat(&door, "alice");
    door.admit(&mut before, &filtered("staff")).unwrap();
    let mut new = settings(&[]);
    let stricter = Arc::new(Filter::new("staff", &[], &[]));
    new.filters.insert("staff".into(), Arc::clone(&stricter));
    door.set_settings(new);
    let mut after = seat(&door, "alice");
    door.admit(&mut after, &filtered("staff")).unwrap();
    assert_ne!(before.filter.as_ref(), Some(&stricter));
    assert_eq!(after.filter.as_ref(), Some(&stricter));
    assert_eq!(door.filter("staff").as_ref(), Some(&stricter));
    assert_eq!(door.filter("guests"), None);
}

#[tokio::test]
async fn the_user_file_names_filters_and_addresses_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    let mut file = std::fs::OpenOptions::new();
    let mut file = file
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .unwrap();
    file.write_all(b"").unwrap();
    for name in ["ann", "bob"] {
        UserFile::add(&path, name, "secret").unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text
        .replace(
            "name = \"ann\"",
            "name = \"ann\"\nfilter = \"staff\"\naddress = \"10.50.0.9\"",
        )
        .replace("name = \"bob\"", "name = \"bob\"\nfilter = \"gone\"");
    std::fs::write(&path, text).unwrap();
    let door = door_of(UserFile::load(&path).unwrap(), settings(&["staff"]));
    let login = |name: &'static str| {
        let (door, seat) = (Arc::clone(&door), seat(&door, name));
        let credentials = Credentials::Pap {
            user: identity(name),
            password: SecretBytes::new(b"secret".to_vec()),
        };
        door.step(
            seat,
            applicant(),
            credentials,
            Instant::now() + Duration::from_secs(60),
        )
    };
    let (seat, decision) = login("ann").await;
    assert!(matches!(decision, Decision::Admit(_)), "{decision:?}");
    assert_eq!(seat.filter.as_ref().unwrap().name(), "staff");
    assert_eq!(
        seat.network.as_ref().unwrap().address,
        Ipv4Addr::new(10, 50, 0, 9)
    );
    let (_, decision) = login("bob").await;
    let Decision::Refuse(refusal) = decision else {
        panic!("{decision:?}")
    };
    assert_eq!(refusal.reason, RefuseReason::BadAuthorization);
}

#[test]
fn a_framed_address_comes_from_whichever_pool_has_it() {
    let door = door(settings(&[]));
    for address in [[10, 50, 0, 7], [10, 99, 0, 7]] {
        let mut first = seat(&door, "alice");
        let grant = door.admit(&mut first, &fixed("alice", address)).unwrap();
        assert_eq!(grant.network.address, Ipv4Addr::from(address));
        assert_eq!(grant.network.gateway, GATEWAY);
        // Whoever comes second is refused; the first keeps it.
        let mut second = seat(&door, "bob");
        let refusal = door.admit(&mut second, &fixed("bob", address)).unwrap_err();
        assert_eq!(refusal.reason, RefuseReason::NoAddress);
        assert_eq!(first.guard.address(), Some(Ipv4Addr::from(address)));
        drop(first);
        assert!(door.admit(&mut second, &fixed("bob", address)).is_ok());
    }
}

#[test]
fn absurd_framed_addresses_let_nobody_in() {
    let door = door(settings(&[]));
    let mut seat = seat(&door, "alice");
    for address in [
        [0, 0, 0, 0],
        [0, 0, 0, 7],
        [255, 255, 255, 253],
        [127, 0, 0, 1],
        [169, 254, 1, 1],
        [224, 0, 0, 1],
        GATEWAY.octets(),
        [10, 99, 0, 0],
        [10, 99, 0, 255],
        [10, 50, 0, 0],
        [10, 50, 0, 255],
        // In no pool, so without a route.
        [10, 51, 0, 1],
        [198, 51, 100, 1],
    ] {
        let refusal = door.admit(&mut seat, &fixed("alice", address)).unwrap_err();
        assert_eq!(
            refusal.reason,
            RefuseReason::BadAuthorization,
            "{address:?}"
        );
    }
}

#[test]
fn framed_addresses_are_passed_over_when_they_are_off() {
    let door = door(Settings {
        framed_ip: false,
        ..settings(&[])
    });
    let mut seat = seat(&door, "alice");
    let grant = door
        .admit(&mut seat, &fixed("alice", [10, 50, 0, 7]))
        .unwrap();
    assert_eq!(grant.network.address, Ipv4Addr::new(10, 99, 0, 2));
}

#[test]
fn a_framed_pool_without_a_framed_address_lets_nobody_in() {
    let door = door(settings(&[]));
    let mut seat = seat(&door, "alice");
    for pool in ["fixed", "none"] {
        let authorization = Authorization {
            pool: Some(pool.into()),
            ..accept("alice")
        };
        let refusal = door.admit(&mut seat, &authorization).unwrap_err();
        assert_eq!(refusal.reason, RefuseReason::BadAuthorization);
    }
}
