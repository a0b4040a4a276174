use super::*;

use std::net::SocketAddr;
use std::time::Duration;

use causeway_proto::aaa::TunnelKind;

use crate::session::lifetime;
use crate::session::pool::{AddressPool, PoolConfig};

fn pool() -> Arc<AddressPool> {
    let net = "10.99.0.0/24".parse().unwrap();
    let gateway = PoolConfig::first_usable(net);
    let config = PoolConfig::new("users", &[net], &[], gateway, Duration::ZERO).unwrap();
    Arc::new(AddressPool::new(config))
}

fn user(name: &str) -> Identity {
    Identity::new(name.as_bytes()).unwrap()
}

fn session(number: u32, name: &str) -> Session {
    Session {
        id: SessionId::new(number),
        user: user(name),
        protocol: TunnelKind::Sstp,
        remote: "203.0.113.4:51022".parse().unwrap(),
        correlation: None,
        activity: Arc::new(Activity::default()),
    }
}

fn admitted(pool: &Arc<AddressPool>, name: &str, limits: Limits) -> Admitted {
    Admitted {
        user: user(name),
        lease: pool.lease(&user(name), None, None).unwrap(),
        limits,
    }
}

fn table(sessions: usize, per_user: usize, pending: usize) -> (Arc<SessionTable>, Changes) {
    SessionTable::new(TableLimits {
        sessions,
        per_user,
        pending,
    })
}

#[test]
fn a_session_is_found_by_id_user_and_address_until_its_guard_is_dropped() {
    let (pool, (table, _changes)) = (pool(), table(10, 2, 10));
    let (mut guard, _commands) = table.register(session(7, "alice")).unwrap();
    assert_eq!(table.count(State::Authenticating), 1);
    assert_eq!(guard.view().unwrap().address, None);

    guard
        .admit(admitted(&pool, "CORP\\Alice", Limits::default()))
        .unwrap();
    guard.set_up();
    guard.update(|facts| facts.server = Some("nps1".into()));
    let address = guard.address().unwrap();
    let view = table.find(guard.id()).unwrap();
    assert_eq!((view.state, view.address), (State::Up, Some(address)));
    assert_eq!(view.facts.server.as_deref(), Some("nps1"));
    assert_eq!(table.find_address(address).unwrap().id, guard.id());
    assert_eq!(table.find_user(&user("corp\\alice")).len(), 1);
    assert_eq!(table.find_user(&user("alice")).len(), 0);

    drop(guard);
    assert!(table.snapshot().is_empty());
    assert!(table.find_address(address).is_none());
    assert_eq!(table.count(State::Up), 0);
    assert_eq!(pool.usage().used, 0);
}

#[test]
fn strangers_who_name_a_user_take_no_place_from_the_user() {
    let (pool, (table, _changes)) = (pool(), table(10, 1, 10));
    let strangers: Vec<_> = (0..5)
        .map(|i| table.register(session(i, "alice")).unwrap())
        .collect();
    let (mut guard, _commands) = table.register(session(9, "alice")).unwrap();
    assert_eq!(
        guard.admit(admitted(&pool, "alice", Limits::default())),
        Ok(())
    );
    let (mut second, _commands) = table.register(session(10, "ALICE")).unwrap();
    assert_eq!(
        second.admit(admitted(&pool, "ALICE", Limits::default())),
        Err(TableError::TooManyForUser)
    );
    assert_eq!(pool.usage().used, 1);
    drop(guard);
    assert_eq!(
        second.admit(admitted(&pool, "ALICE", Limits::default())),
        Ok(())
    );
    drop(strangers);
}

#[test]
fn the_limits_of_sessions_and_of_pending_log_ins_hold() {
    let (pool, (table, _changes)) = (pool(), table(2, 9, 2));
    let (mut a, _ca) = table.register(session(1, "a")).unwrap();
    let (mut b, _cb) = table.register(session(2, "b")).unwrap();
    assert_eq!(
        table.register(session(3, "c")).err(),
        Some(TableError::Full)
    );
    a.admit(admitted(&pool, "a", Limits::default())).unwrap();
    assert_eq!(
        table.register(session(1, "c")).err(),
        Some(TableError::IdTaken)
    );
    let (mut c, _cc) = table.register(session(3, "c")).unwrap();
    b.admit(admitted(&pool, "b", Limits::default())).unwrap();
    assert!(!table.has_room());
    assert_eq!(
        c.admit(admitted(&pool, "c", Limits::default())),
        Err(TableError::Full)
    );
    table.set_limits(TableLimits {
        sessions: 3,
        per_user: 9,
        pending: 2,
    });
    assert_eq!(c.admit(admitted(&pool, "c", Limits::default())), Ok(()));
}

#[test]
fn an_order_reaches_its_session_alone() {
    let (_pool, (table, _changes)) = (pool(), table(10, 2, 10));
    let (a, mut to_a) = table.register(session(1, "a")).unwrap();
    let (_b, mut to_b) = table.register(session(2, "b")).unwrap();
    let end = SessionCommand::Terminate(TerminateCause::Admin);
    assert!(table.command(a.id(), end.clone()));
    assert!(!table.command(SessionId::new(3), end.clone()));
    assert_eq!(to_a.try_next(), Some(end.clone()));
    assert_eq!(to_b.try_next(), None);
    assert_eq!(table.command_all(&end), 2);
    assert_eq!(to_b.try_next(), Some(end));
}

#[tokio::test]
async fn a_session_is_told_when_its_time_is_up() {
    let (pool, (table, changes)) = (pool(), table(10, 2, 10));
    let task = tokio::spawn(lifetime::run(Arc::clone(&table), changes, || 0));
    let (mut guard, mut commands) = table.register(session(1, "a")).unwrap();
    let limits = Limits {
        session_timeout: Some(Duration::from_millis(20)),
        idle_timeout: None,
    };
    guard.admit(admitted(&pool, "a", limits)).unwrap();
    guard.set_up();
    let order = commands.next().await;
    assert_eq!(
        order,
        Some(SessionCommand::Terminate(TerminateCause::SessionTimeout))
    );
    drop(guard);
    assert_eq!(commands.next().await, None);
    drop(table);
    task.await.unwrap();
}

#[tokio::test]
async fn an_unreachable_session_goes_on_and_comes_back() {
    let (pool, (table, changes)) = (pool(), table(10, 1, 10));
    let task = tokio::spawn(lifetime::run(Arc::clone(&table), changes, || 0));
    let device = Session {
        protocol: TunnelKind::Mobility,
        ..session(1, "a")
    };
    let counts = || State::ALL.map(|state| table.count(state));
    let (mut guard, mut commands) = table.register(device).unwrap();
    // Nothing is kept of who has not come in.
    guard.set_unreachable();
    assert_eq!(counts(), [1, 0, 0]);
    let limits = Limits {
        session_timeout: Some(Duration::from_millis(20)),
        idle_timeout: None,
    };
    guard.admit(admitted(&pool, "a", limits)).unwrap();
    guard.set_up();
    guard.set_unreachable();
    guard.set_unreachable();
    assert_eq!((counts(), table.live()), ([0, 0, 1], 1));
    assert_eq!(guard.view().unwrap().state, State::Unreachable);
    assert_eq!(guard.view().unwrap().address, guard.address());
    // It still counts as the one session of its user, and its limits can be changed.
    let (mut second, _orders) = table.register(session(2, "a")).unwrap();
    assert_eq!(
        second.admit(admitted(&pool, "a", limits)),
        Err(TableError::TooManyForUser)
    );
    assert!(table.change_limits(guard.id(), LimitChange::default()));
    guard.set_up();
    assert_eq!((counts(), table.live()), ([1, 1, 0], 1));
    // The time runs from the first time that it was up; its end is that of the log-in.
    guard.set_unreachable();
    let order = commands.next().await;
    let expired = TerminateCause::AuthenticationExpired;
    assert_eq!(order, Some(SessionCommand::Terminate(expired)));
    drop((guard, second));
    assert_eq!((counts(), table.live()), ([0, 0, 0], 0));
    drop(table);
    task.await.unwrap();
}

#[test]
fn a_client_that_is_somewhere_else_is_shown_there() {
    let (table, _changes) = table(10, 1, 10);
    let (guard, _commands) = table.register(session(1, "a")).unwrap();
    let place = |text: &str| text.parse::<SocketAddr>().unwrap();
    guard.set_remote(place("192.0.2.1:7"));
    let view = guard.view().unwrap();
    assert_eq!(view.remote, place("192.0.2.1:7"));
    assert_eq!((view.facts.roams, view.facts.roamed), (0, None));
    guard.roamed(place("192.0.2.2:8"));
    guard.roamed(place("[2001:db8::1]:9"));
    let view = guard.view().unwrap();
    assert_eq!(view.remote, place("[2001:db8::1]:9"));
    assert_eq!(view.facts.roams, 2);
    assert!(view.facts.roamed.is_some_and(|at| at >= view.since));
}
