use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use causeway_proto::aaa::Limits;
use causeway_proto::wireguard::PublicKey;

use crate::auth::{Authenticator, UserFile};
use crate::session::{PoolConfig, Pools, SessionTable, TableLimits};
use crate::session::{admission, peers};
use crate::task;

use super::*;

fn logins(held: usize) -> (Arc<Logins>, Jobs) {
    let folder = tempfile::tempdir().unwrap();
    let (table, _) = SessionTable::new(TableLimits {
        sessions: 999,
        per_user: 9,
        pending: 999,
    });
    let networks = ["10.99.0.0/24".parse().unwrap()];
    let gateway = Ipv4Addr::new(10, 99, 0, 1);
    let pool = PoolConfig::new("users", &networks, &[], gateway, Duration::ZERO).unwrap();
    let settings = admission::Settings {
        dns: Vec::new(),
        wins: Vec::new(),
        mtu: 1400,
        limits: Limits::default(),
        framed_ip: true,
        filters: BTreeMap::new(),
        max_session_timeout: Duration::from_secs(3600),
        password_change: false,
    };
    let users = Arc::new(Authenticator::users(UserFile::dev()));
    let pools = Pools::new(pool, Vec::new());
    let limits = peers::Settings {
        devices_per_user: 5,
        devices: 10,
        pool: None,
        framed_ip: true,
        reauth: None,
        persist: Duration::ZERO,
        own: None,
    };
    // Nobody writes, so nobody waits for that.
    let file = folder.path().join("peers.toml");
    let (peers, keeper) = Peers::open(&file, pools.clone(), limits).unwrap();
    drop(keeper);
    let admission = Arc::new(Admission::new(users, table, pools, settings));
    let settings = Settings {
        deadline: Duration::from_secs(20),
        held,
        gateway: Gateway {
            public_key: PublicKey::from_bytes([9; 32]),
            endpoint: "vpn.example.com:5008".into(),
            routes: Vec::new(),
            dns_suffix: Vec::new(),
            keepalive: Duration::ZERO,
        },
    };
    Logins::new(settings, admission, peers)
}

fn from(last: u8) -> Ends {
    Ends {
        remote: SocketAddr::from(([192, 0, 2, last], 5000)),
        local: SocketAddr::from(([203, 0, 113, 4], 443)),
        tls: "1.3",
    }
}

fn wish(password: &str) -> Wish {
    Wish {
        user: Identity::new(b"alice").unwrap(),
        password: password.as_bytes().into(),
        device: Device::new("phone", PublicKey::from_bytes([7; 32])).unwrap(),
    }
}

/// Waits for the end of a log-in.
async fn ended(logins: &Logins, id: &LoginId) {
    let mut state = {
        let book = logins.book();
        book.entries.get(id).unwrap().state.subscribe()
    };
    state.wait_for(State::is_final).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_nobody_fetches_is_forgotten() {
    let (logins, jobs) = logins(99);
    let (_handle, stop) = task::stop();
    tokio::spawn(Arc::clone(&logins).run(jobs, stop));
    let id = logins.begin(from(1), wish("wonderland")).unwrap();
    ended(&logins, &id).await;
    logins.sweep(Instant::now() + Duration::from_secs(119));
    assert_eq!(logins.len(), 1);
    logins.sweep(Instant::now() + Duration::from_secs(120));
    assert!(logins.is_empty() && logins.book().by_source.is_empty());
    assert_eq!(logins.look(&id), None);
}

#[tokio::test]
async fn a_log_in_whose_task_is_gone_is_forgotten_too() {
    let (logins, _jobs) = logins(99);
    let id = logins.begin(from(1), wish("wonderland")).unwrap();
    logins.sweep(Instant::now() + Duration::from_secs(600));
    assert_eq!(logins.look(&id).unwrap().state, State::Pending);
    logins.sweep(Instant::now() + Duration::from_secs(3600));
    assert!(logins.is_empty());
}

#[tokio::test]
async fn no_source_holds_everything() {
    let (logins, _jobs) = logins(70);
    for _ in 0..64 {
        logins.begin(from(1), wish("wonderland")).unwrap();
    }
    assert_eq!(logins.begin(from(1), wish("x")), Err(Reason::Busy));
    for _ in 0..6 {
        logins.begin(from(2), wish("x")).unwrap();
    }
    assert_eq!(logins.begin(from(3), wish("x")), Err(Reason::Busy));
    assert_eq!(logins.len(), 70);
}

#[tokio::test]
async fn refusals_that_nobody_fetched_make_room_and_accepts_do_not() {
    let (logins, jobs) = logins(2);
    let (_handle, stop) = task::stop();
    tokio::spawn(Arc::clone(&logins).run(jobs, stop));
    let good = logins.begin(from(1), wish("wonderland")).unwrap();
    let bad = logins.begin(from(2), wish("wrong")).unwrap();
    ended(&logins, &good).await;
    ended(&logins, &bad).await;
    let next = logins.begin(from(3), wish("wonderland")).unwrap();
    assert_eq!(logins.look(&bad), None);
    ended(&logins, &next).await;
    assert_eq!(logins.begin(from(4), wish("x")), Err(Reason::Busy));
    assert!(matches!(
        logins.look(&good).unwrap().state,
        State::Accepted(_)
    ));
    assert_eq!(logins.look(&good), None);
}

#[tokio::test]
async fn a_stopped_gateway_begins_nothing() {
    let (logins, jobs) = logins(2);
    drop(jobs);
    assert_eq!(logins.begin(from(1), wish("x")), Err(Reason::Draining));
    assert!(logins.is_empty());
}

#[test]
fn what_a_server_says_is_one_line_of_text() {
    assert_eq!(
        shown("Enter\r\n your\u{0} code\u{1b}[2J"),
        "Enter  your  code [2J"
    );
    assert_eq!(shown(&"x".repeat(999)).len(), MAX_TEXT);
    assert_eq!(shown("\r\n"), "");
}

#[test]
fn an_id_is_all_that_has_to_be_shown_so_it_is_not() {
    let id = LoginId::of(&[0xab; 32]);
    assert_eq!(LoginId::parse(id.as_str()), Some(id.clone()));
    assert_eq!(format!("{id:?}"), "LoginId(..)");
    for wrong in ["", "ab", &id.as_str().to_uppercase(), &"g".repeat(64)] {
        assert_eq!(LoginId::parse(wrong), None);
    }
}
