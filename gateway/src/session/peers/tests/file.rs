//! What is on disk.

use super::*;

fn path(rig: &Rig) -> PathBuf {
    rig.folder.path().join("peers.toml")
}

fn quick(rig: &mut Rig) -> Keeper {
    let mut keeper = rig.keeper.take().unwrap();
    keeper.pace = keeper::Pace {
        batch: Duration::from_millis(1),
        lazy: Duration::from_millis(20),
        retry: Duration::from_millis(5),
    };
    keeper
}

fn everything() -> Authorization {
    Authorization {
        session_timeout: Some(s(1800)),
        idle_timeout: Some(s(900)),
        interim: Some(s(300)),
        mtu: Some(1380),
        class: vec![vec![0, 255, 10], b"b".to_vec()],
        filter: Some("staff \"quoted\"".into()),
        dns: vec![Ipv4Addr::new(10, 0, 0, 10)],
        wins: vec![Ipv4Addr::new(10, 0, 0, 11)],
        pool: Some("devices".into()),
        ..accept("CORP\\alice")
    }
}

#[test]
fn a_register_larger_than_what_is_written_at_once_is_whole() {
    let mut rig = Rig::new();
    for n in 1..=200_u8 {
        let user = format!("router{n}");
        let mut device = by_administrator(n.into(), &user);
        device.authorization.class = vec![vec![n; 253]; 2];
        device.preshared_key = Some(PresharedKey::from_bytes([n; 32]));
        rig.enrol(device).unwrap();
    }
    assert!(rig.peers.write());
    assert!(fs::metadata(path(&rig)).unwrap().len() > 3 * 65_536);
    rig.again();
    for n in 1..=200_u8 {
        let found = rig.peers.by_key(&key(n.into())).unwrap();
        assert_eq!(found.authorization().class, vec![vec![n; 253]; 2]);
        let psk = PresharedKey::from_bytes([n; 32]);
        assert_eq!(found.preshared_key(), Some(&psk));
    }
}

#[test]
fn a_restart_finds_everything_again() {
    let mut rig = Rig::new();
    let mut one = login(1, everything());
    one.name = "Alice's \u{1f4bb}".into();
    one.preshared_key = Some(PresharedKey::from_bytes([5; 32]));
    let one = rig.enrol(one).unwrap();
    let octets = Authorization {
        user: Identity::new(b"\xff\xfe").unwrap(),
        ..accept("x")
    };
    let two = rig.enrol(login(2, octets)).unwrap();
    rig.enrol(by_administrator(3, "router")).unwrap();
    rig.peers.revoke("device3", TerminateCause::Admin).unwrap();
    let endpoint: SocketAddr = "[2001:db8::1]:5008".parse().unwrap();
    rig.peers.note_seen(one.id(), Some(endpoint), [1; 12]);
    assert!(rig.peers.write());
    rig.again();
    let found = rig.peers.by_key(&key(1)).unwrap();
    assert_eq!(found.name(), one.name());
    assert_eq!((found.id(), found.address()), (one.id(), one.address()));
    assert_eq!(found.preshared_key(), one.preshared_key());
    let said = Authorization {
        address: FramedAddress::Pool,
        ..one.authorization()
    };
    assert_eq!(found.authorization(), said);
    assert_eq!(found.method(), Some(AuthMethod::MsChapV2));
    assert_eq!((found.origin(), found.created()), (Origin::Login, time(0)));
    assert_eq!(found.expires(), Some(time(1800)));
    assert_eq!(found.endpoint(), Some(endpoint));
    assert_eq!(found.timestamp(), [1; 12]);
    let found = rig.peers.by_key(&key(2)).unwrap();
    assert_eq!((found.user(), found.endpoint()), (two.user(), None));
    assert_eq!(rig.peers.list().len(), 2);
    // Both are pinned, and nothing else is; the number of the one that is gone stays used.
    let usage = rig.pools.usage();
    assert_eq!((usage[0].1.reserved, usage[1].1.reserved), (1, 1));
    let next = rig.enrol(login(4, accept("bob"))).unwrap();
    assert_eq!(next.id(), PeerId(3));
}

#[test]
fn the_file_is_its_owners_alone_and_a_lost_write_leaves_no_trace() {
    let rig = Rig::new();
    rig.enrol(login(1, accept("alice"))).unwrap();
    fs::write(rig.folder.path().join("peers.toml.new"), "half a fi").unwrap();
    assert!(rig.peers.write());
    let mode = fs::metadata(path(&rig)).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let names: Vec<_> = fs::read_dir(rig.folder.path()).unwrap().collect();
    assert_eq!(names.len(), 1);
    let text = fs::read_to_string(path(&rig)).unwrap();
    assert!(text.starts_with("# The devices"), "{text}");
    assert!(
        !text.contains("S=0123") && !text.contains("hello"),
        "{text}"
    );
}

#[test]
fn a_file_that_is_wrong_is_told_with_its_line_and_left_alone() {
    let rig = Rig::new();
    let mut one = login(1, accept("alice"));
    one.preshared_key = Some(PresharedKey::from_bytes([5; 32]));
    rig.enrol(one).unwrap();
    rig.enrol(login(2, accept("bob"))).unwrap();
    assert!(rig.peers.write());
    let good = fs::read_to_string(path(&rig)).unwrap();
    let (first, second) = (key(1).to_string(), key(2).to_string());
    let psk = PresharedKey::from_bytes([5; 32]).expose_base64();
    let line = |of: &str| 1 + good[..good.find(of).unwrap()].matches('\n').count();
    let second_peer = 1 + good[..good.rfind("[[peer]]").unwrap()]
        .matches('\n')
        .count();
    let rows = [
        ("schema = 1", "schema = 2", 1, "schema 2 is not known"),
        (&*second, &*first, second_peer, "stands twice"),
        ("id = 1", "id = 0", second_peer, "id 0 stands twice"),
        ("10.0.0.3", "10.0.0.2", second_peer, "10.0.0.2 stands twice"),
        (
            "user = \"bob\"",
            "usr = \"bob\"",
            line("user = \"bob\""),
            "unknown field `usr`",
        ),
        ("user = \"bob\"", "", second_peer, "`user` or `user_hex`"),
        (&*second, "AAAA", second_peer, "`key`"),
        (&*psk, "AAAA", line("[[peer]]"), "`psk`"),
        (
            "2026-07-01T01",
            "2026-07-01 at",
            line("[[peer]]"),
            "`expires`",
        ),
        ("[[peer]]", "[[peer", line("[[peer]]"), ""),
        ("schema = 1", "", 1, "missing field `schema`"),
        (
            "\n[[peer]]\nid = 1",
            "\nid = 1",
            second_peer,
            "duplicate key",
        ),
    ];
    for (from, to, line, message) in rows {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        fs::write(path(&rig), &bad).unwrap();
        let pools = pools("10.0.0.0/16");
        let error = open(&rig.folder, &pools, settings(), &rig.clock).unwrap_err();
        let text = error.to_string();
        let place = format!("{}:{line}: ", path(&rig).display());
        assert!(text.starts_with(&place), "{from}: {text}, not line {line}");
        assert!(text.contains(message), "{text}");
        assert!(!text.contains(&*psk), "{text}");
        assert_eq!(fs::read_to_string(path(&rig)).unwrap(), bad);
    }
}

#[test]
fn a_file_that_others_may_read_is_refused() {
    let rig = Rig::new();
    assert!(rig.enrol(login(1, accept("alice"))).is_ok());
    assert!(rig.peers.write());
    fs::set_permissions(path(&rig), fs::Permissions::from_mode(0o640)).unwrap();
    let opened = open(&rig.folder, &pools("10.0.0.0/16"), settings(), &rig.clock);
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("has mode 0640"), "{error}");
    fs::remove_file(path(&rig)).unwrap();
    fs::create_dir(path(&rig)).unwrap();
    fs::set_permissions(path(&rig), fs::Permissions::from_mode(0o700)).unwrap();
    let opened = open(&rig.folder, &pools("10.0.0.0/16"), settings(), &rig.clock);
    assert!(matches!(opened.unwrap_err(), PeersError::NoFile { .. }));
}

#[test]
fn a_device_whose_pool_is_gone_loses_its_address_and_nothing_else() {
    let rig = Rig::new();
    rig.enrol(login(1, accept("alice"))).unwrap();
    assert!(rig.peers.write());
    let others = pools("10.7.0.0/16");
    let (peers, _keeper) = open(&rig.folder, &others, settings(), &rig.clock).unwrap();
    let found = peers.by_key(&key(1)).unwrap();
    assert_eq!((found.pool(), found.name()), (None, "device1"));
    assert!(found.lease().is_err());
    let again = peers.enrol(login(1, accept("alice"))).unwrap();
    assert_eq!((again.id(), again.pool()), (found.id(), Some("users")));
    assert!(again.lease().is_ok());
}

#[test]
fn a_wrong_clock_at_the_start_takes_nobodys_address_at_once() {
    let mut rig = Rig::new();
    rig.enrol(login(1, accept("alice"))).unwrap();
    assert!(rig.peers.write());
    rig.pass(10 * 365 * 86_400);
    rig.again();
    assert_eq!(rig.peers.sweep(), 0);
    rig.pass(600);
    assert_eq!(rig.peers.sweep(), 1);
}

#[tokio::test]
async fn the_keeper_says_when_a_change_is_on_disk() {
    let mut rig = Rig::new();
    let (handle, stop) = task::stop();
    let keeper = tokio::spawn(quick(&mut rig).run(stop));
    rig.peers.saved().await.unwrap();
    let one = rig.enrol(login(1, accept("alice"))).unwrap();
    rig.peers.saved().await.unwrap();
    let text = fs::read_to_string(path(&rig)).unwrap();
    assert!(text.contains(&key(1).to_string()));
    // What devices do is written in a while.
    rig.peers.note_seen(one.id(), None, [3; 12]);
    while !fs::read_to_string(path(&rig))
        .unwrap()
        .contains("timestamp")
    {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // And at the end in any case.
    rig.peers.revoke("device1", TerminateCause::Admin).unwrap();
    handle.stop();
    keeper.await.unwrap();
    let text = fs::read_to_string(path(&rig)).unwrap();
    assert!(!text.contains("[[peer]]"));
    rig.enrol(login(2, accept("alice"))).unwrap();
    let lost = rig.peers.saved().await;
    assert!(matches!(lost, Err(SaveError::Stopped)), "{lost:?}");
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_told_and_tried_again() {
    let mut rig = Rig::new();
    let (_handle, stop) = task::stop();
    tokio::spawn(quick(&mut rig).run(stop));
    // Nothing can be renamed over a folder that is not empty.
    fs::create_dir_all(path(&rig).join("x")).unwrap();
    rig.enrol(login(1, accept("alice"))).unwrap();
    let failed = rig.peers.saved().await;
    assert!(matches!(failed, Err(SaveError::Write { .. })), "{failed:?}");
    fs::remove_dir_all(path(&rig)).unwrap();
    while rig.peers.saved().await.is_err() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let text = fs::read_to_string(path(&rig)).unwrap();
    assert!(text.contains(&key(1).to_string()));
}

#[test]
fn a_large_register_comes_back_whole() {
    let mut rig = Rig::new();
    for n in 1..=9_999 {
        rig.enrol(login(n, accept(&format!("user{n}")))).unwrap();
    }
    assert!(rig.peers.write());
    rig.again();
    assert_eq!(rig.peers.len(), 9_999);
    assert_eq!(rig.usage().reserved, 9_999);
    for n in [1, 5_000, 9_999] {
        let peer = rig.peers.by_key(&key(n)).unwrap();
        assert_eq!(peer.user().display(), format!("user{n}"));
    }
}

#[test]
fn who_was_connected_is_known_after_a_restart_and_who_had_left_is_not() {
    let mut rig = Rig::new();
    let endpoint: SocketAddr = "192.0.2.1:7".parse().unwrap();
    let [here, left, never] = [1, 2, 3].map(|number| {
        let peer = rig.enrol(by_administrator(number, "router")).unwrap();
        peer.id()
    });
    for id in [here, left] {
        rig.peers.note_arrived(id, endpoint);
    }
    rig.peers.note_left(left);
    rig.peers.note_seen(left, Some(endpoint), [2; 12]);
    assert!(rig.peers.write());
    rig.again();
    let at = |id| rig.peers.by_id(id).unwrap().connected_at();
    assert_eq!(
        (at(here), at(left), at(never)),
        (Some(endpoint), None, None)
    );
    assert_eq!(rig.peers.by_id(left).unwrap().endpoint(), Some(endpoint));
}
