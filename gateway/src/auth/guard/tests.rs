use std::net::Ipv4Addr;

use super::*;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

fn guard(policy: DuplicatePolicy, window: u64) -> Guard {
    Guard::new(DuplicateLogins {
        policy,
        window: Duration::from_millis(window),
    })
}

fn name(user: &str) -> Identity {
    Identity::new(user.as_bytes()).unwrap()
}

/// Dials in as a person would, who is asked by phone.
async fn dial<'a>(guard: &'a Guard, user: &Identity, session: &str) -> Result<Place<'a>, Occupied> {
    guard.enter(user, session, HERE, Asks::User, soon()).await
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

#[tokio::test]
async fn a_second_login_waits_for_the_end_of_the_first() {
    let guard = guard(DuplicatePolicy::Wait, 60_000);
    let first = dial(&guard, &name("alice"), "1").await.unwrap();
    dial(&guard, &name("bob"), "2").await.unwrap().close();
    // Servers do not look at case, so neither does the guard.
    let alice = name("ALICE");
    let mut second = Box::pin(guard.enter(&alice, "3", HERE, Asks::User, soon()));
    assert!(futures_pending(second.as_mut()).await);
    first.close();
    second.await.unwrap().close();
    assert_eq!(guard.len(), 0);
}

#[tokio::test]
async fn only_one_of_many_enters_at_a_time() {
    let guard = Arc::new(guard(DuplicatePolicy::Wait, 60_000));
    let inside = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..20 {
        let (guard, inside) = (guard.clone(), inside.clone());
        tasks.spawn(async move {
            let alice = name("alice");
            let place = guard
                .enter(&alice, &n.to_string(), HERE, Asks::User, soon())
                .await
                .unwrap();
            assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
            tokio::task::yield_now().await;
            inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            place.close();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(guard.len(), 0);
}

#[tokio::test]
async fn a_client_that_left_leaves_its_prompt_open_until_the_window_ends() {
    let guard = guard(DuplicatePolicy::Refuse, 60_000);
    drop(dial(&guard, &name("alice"), "1").await.unwrap());
    let refused = dial(&guard, &name("alice"), "2").await;
    assert_eq!(refused.err(), Some(Occupied));
    // A late answer ends it, if it is to that log-in.
    guard.answered_late(&name("alice"), "7", Instant::now());
    assert!(dial(&guard, &name("alice"), "2").await.is_err());
    guard.answered_late(&name("Alice"), "1", Instant::now());
    let second = dial(&guard, &name("alice"), "2").await.unwrap();
    // It has a prompt of its own; a late answer to the first changes nothing.
    guard.answered_late(&name("alice"), "1", Instant::now());
    assert!(dial(&guard, &name("alice"), "3").await.is_err());
    second.close();

    let guard = self::guard(DuplicatePolicy::Wait, 40);
    drop(dial(&guard, &name("alice"), "1").await.unwrap());
    dial(&guard, &name("alice"), "2").await.unwrap().close();
}

#[tokio::test]
async fn an_answer_just_as_the_client_leaves_leaves_nothing_open() {
    let guard = guard(DuplicatePolicy::Refuse, 60_000);
    let alice = name("alice");
    let before = Instant::now();
    let first = dial(&guard, &alice, "1").await.unwrap();
    guard.answered_late(&alice, "1", Instant::now());
    drop(first);
    let second = dial(&guard, &alice, "2").await.unwrap();
    // The answers to another session, and to an earlier prompt of this one, say nothing of this prompt.
    guard.answered_late(&alice, "1", Instant::now());
    guard.answered_late(&alice, "2", before);
    drop(second);
    assert!(dial(&guard, &alice, "3").await.is_err());
    guard.answered_late(&alice, "2", Instant::now());
    assert_eq!(guard.len(), 0);
}

#[tokio::test]
async fn those_who_wait_enter_as_they_came_but_no_source_twice_while_another_waits() {
    let guard = Arc::new(guard(DuplicatePolicy::Wait, 60_000));
    let first = dial(&guard, &name("alice"), "0").await.unwrap();
    let (entered, mut turns) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = tokio::task::JoinSet::new();
    let mut join = |session: &'static str, source| {
        let (guard, entered) = (guard.clone(), entered.clone());
        tasks.spawn(async move {
            let alice = name("alice");
            let place = guard
                .enter(&alice, session, source, Asks::User, soon())
                .await
                .unwrap();
            entered.send(session).unwrap();
            tokio::task::yield_now().await;
            place.close();
        })
    };
    let mut handles = Vec::new();
    for (session, source) in [
        ("here 1", HERE),
        ("here 2", HERE),
        ("left", THERE),
        ("here 3", HERE),
        ("there 1", THERE),
        ("there 2", THERE),
    ] {
        handles.push((session, join(session, source)));
        // On one thread it has joined the queue when this returns.
        tokio::task::yield_now().await;
    }
    handles
        .iter()
        .find(|(s, _)| *s == "left")
        .unwrap()
        .1
        .abort();
    tokio::task::yield_now().await;
    first.close();
    while tasks.join_next().await.is_some() {}
    let mut order = Vec::new();
    while let Ok(session) = turns.try_recv() {
        order.push(session);
    }
    assert_eq!(order, ["there 1", "here 1", "there 2", "here 2", "here 3"]);
    assert_eq!(guard.len(), 0);
}

#[tokio::test]
async fn nobody_passes_those_who_wait() {
    let guard = guard(DuplicatePolicy::Wait, 60_000);
    let alice = name("alice");
    let first = dial(&guard, &alice, "1").await.unwrap();
    let mut waits = Box::pin(guard.enter(&alice, "2", THERE, Asks::User, soon()));
    assert!(futures_pending(waits.as_mut()).await);
    first.close();
    // The place is free, but somebody has waited for it.
    let mut passes = Box::pin(guard.enter(&alice, "3", THERE, Asks::User, soon()));
    assert!(futures_pending(passes.as_mut()).await);
    let second = waits.await.unwrap();
    assert!(futures_pending(passes.as_mut()).await);
    second.close();
    passes.await.unwrap().close();
    assert_eq!(guard.len(), 0);
}

#[tokio::test]
async fn whoever_waits_too_long_is_refused() {
    let guard = guard(DuplicatePolicy::Wait, 60_000);
    let _first = dial(&guard, &name("alice"), "1").await.unwrap();
    let deadline = Instant::now() + Duration::from_millis(30);
    let refused = guard
        .enter(&name("alice"), "2", HERE, Asks::User, deadline)
        .await;
    assert_eq!(refused.err(), Some(Occupied));
}

#[test]
fn a_person_has_thirty_seconds_or_half_of_the_time() {
    let (guard, now) = (guard(DuplicatePolicy::Wait, 60_000), Instant::now());
    for (whole, latest) in [(58, 29), (120, 90), (60, 30), (20, 10), (0, 0)] {
        let [whole, latest] = [whole, latest].map(Duration::from_secs);
        assert_eq!(guard.latest(now, now + whole), now + latest);
    }
    let deadline = now + Duration::from_secs(58);
    let guard = self::guard(DuplicatePolicy::Refuse, 60_000);
    assert_eq!(guard.latest(now, deadline), deadline);
}

#[tokio::test]
async fn who_has_waited_does_not_enter_too_late() {
    let guard = guard(DuplicatePolicy::Wait, 1000);
    let alice = name("alice");
    let first = guard.enter(&alice, "1", HERE, Asks::User, soon());
    drop(first.await.unwrap());
    let now = Instant::now();
    let latest = guard.latest(now, now + Duration::from_secs(1));
    let mut second = Box::pin(guard.enter(&alice, "2", HERE, Asks::User, latest));
    let once = std::future::poll_fn(|cx| std::task::Poll::Ready(second.as_mut().poll(cx)));
    assert!(once.await.is_pending());
    // It runs again only when the place is free, and it is too late.
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(second.await.err(), Some(Occupied));
    // It left nothing behind.
    let third = guard.enter(&alice, "3", HERE, Asks::User, soon());
    third.await.unwrap().close();
    assert_eq!(guard.len(), 0);
}

#[tokio::test]
async fn rounds_of_one_conversation_pass_and_allow_holds_nobody() {
    let guard = guard(DuplicatePolicy::Refuse, 60_000);
    let first = dial(&guard, &name("alice"), "1").await.unwrap();
    first.close();
    drop(dial(&guard, &name("alice"), "1").await.unwrap());
    dial(&guard, &name("alice"), "1").await.unwrap().close();

    let guard = self::guard(DuplicatePolicy::Allow, 60_000);
    let _first = dial(&guard, &name("alice"), "1").await.unwrap();
    dial(&guard, &name("alice"), "2").await.unwrap().close();
    assert_eq!(guard.len(), 0);
}

#[tokio::test]
async fn the_table_is_bounded() {
    let guard = guard(DuplicatePolicy::Refuse, 60_000);
    for n in 0..=MAX_USERS {
        let user = name(&n.to_string());
        drop(dial(&guard, &user, "1").await.unwrap());
    }
    assert_eq!(guard.len(), MAX_USERS);
}

async fn futures_pending<F: Future + Unpin>(future: F) -> bool {
    tokio::time::timeout(Duration::from_millis(20), future)
        .await
        .is_err()
}

#[tokio::test]
async fn a_name_alone_holds_no_place() {
    let guard = guard(DuplicatePolicy::Refuse, 60_000);
    let alice = name("alice");
    let enter = |session, asks| guard.enter(&alice, session, HERE, asks, soon());
    drop(enter("1", Asks::Nobody).await.unwrap());
    drop(enter("2", Asks::Perhaps).await.unwrap());
    assert_eq!(enter("3", Asks::User).await.err(), Some(Occupied));
}

#[tokio::test]
async fn a_source_that_leaves_its_rounds_unanswered_does_not_hold_the_place_again() {
    let guard = guard(DuplicatePolicy::Refuse, 60_000);
    let alice = name("alice");
    let enter = |session, source, asks| guard.enter(&alice, session, source, asks, soon());
    let window_ends = || guard.lock().open.clear();
    for session in ["1", "2"] {
        drop(enter(session, HERE, Asks::Perhaps).await.unwrap());
        window_ends();
    }
    for asks in [Asks::Perhaps, Asks::Nobody] {
        assert_eq!(enter("3", HERE, asks).await.err(), Some(Occupied));
    }
    // Everybody else enters, and so does a password from there.
    enter("4", THERE, Asks::Perhaps).await.unwrap().close();
    enter("5", HERE, Asks::User).await.unwrap().close();
    // What is answered late does not count, nor does a server that answers nobody.
    for session in ["a", "b", "c"] {
        enter(session, THERE, Asks::Perhaps).await.unwrap().leave();
        assert!(enter("d", HERE, Asks::User).await.is_err());
        window_ends();
    }
    for session in ["6", "7", "8"] {
        drop(enter(session, THERE, Asks::Perhaps).await.unwrap());
        guard.answered_late(&alice, session, Instant::now());
    }
    enter("9", THERE, Asks::Perhaps).await.unwrap().close();
}

#[test]
fn each_hold_in_vain_keeps_a_source_away_for_longer_and_is_forgotten() {
    let (mut tables, start) = (Tables::default(), Instant::now());
    let window = Duration::from_secs(60);
    let mut at = start;
    for windows in [1, 2, 4, 8, 16, 16] {
        tables.hold(b"alice".to_vec(), 7, at, window);
        let end = at + window * windows;
        let before = end.checked_sub(Duration::from_secs(1)).unwrap();
        assert_eq!(tables.is_braked(b"alice", 7, before), windows > 1);
        assert!(!tables.is_braked(b"alice", 7, end));
        at = end;
    }
    at += MEMORY;
    tables.hold(b"alice".to_vec(), 7, at, window);
    assert!(!tables.is_braked(b"alice", 7, at));
}
