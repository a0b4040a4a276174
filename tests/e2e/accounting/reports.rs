use super::*;

use causeway_proto::terminate::TerminateCause;

fn statuses(reports: &[Report]) -> Vec<Status> {
    reports.iter().map(|report| report.status).collect()
}

#[tokio::test]
async fn a_session_is_reported_from_its_start_to_its_end() {
    let server = AccountingServer::start(0, 0).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("acct.queue");
    let gateway = Gateway::start(config(&[server.address()], &queue));
    let (mut guard, activity, session) = gateway.up(1, 1);
    activity.add_up(3, 5_000_000_000, 1);
    activity.add_down(4, 7, 1);
    guard.set_cause(TerminateCause::IdleTimeout);
    drop(guard);
    // The packet path is done with the session a moment later, and until then counts.
    activity.add_down(1, 1000, 2);
    drop(activity);
    gateway.accounting.finish().await;

    let reports = server.reports();
    assert_eq!(
        statuses(&reports),
        [
            Status::On,
            Status::Start,
            Status::Stop { cause: 4 },
            Status::Off
        ]
    );
    let of = of(&reports, &session);
    for report in &of {
        assert_eq!(report.user.as_deref(), Some(&b"CORP\\alice"[..]));
        assert_eq!(report.classes, [b"first".to_vec(), b"second".to_vec()]);
        assert_eq!(report.address, of[0].address);
        assert!(report.address.is_some());
        assert!(report.at.is_some());
    }
    let usage = of[1].usage;
    assert_eq!((usage.up_octets, usage.up_packets), (5_000_000_000, 3));
    assert_eq!((usage.down_octets, usage.down_packets), (1007, 5));
    assert_eq!(server.refused(), 0);
}

#[tokio::test]
async fn a_log_in_that_never_came_up_is_not_reported() {
    let server = AccountingServer::start(0, 0).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(config(
        &[server.address()],
        &folder.path().join("acct.queue"),
    ));
    let session = Session {
        id: SessionId::new(1),
        user: Identity::new(b"alice").unwrap(),
        protocol: TunnelKind::Sstp,
        remote: "198.51.100.7:50123".parse().unwrap(),
        correlation: None,
        activity: Arc::default(),
    };
    drop(gateway.table.register(session).unwrap());
    gateway.accounting.finish().await;
    assert_eq!(statuses(&server.reports()), [Status::On, Status::Off]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_passed_over_and_nothing_is_lost_when_none_is() {
    let gone = AccountingServer::start(0, 0).unwrap();
    let gone_address = gone.address();
    drop(gone);
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("acct.queue");
    let gateway = Gateway::start(config(&[gone_address], &queue));
    let (guard, activity, session) = gateway.up(1, 1);
    activity.add_up(1, 42, 1);
    drop((guard, activity));
    gateway.accounting.finish().await;

    // The next one has another server to ask.
    let server = AccountingServer::start(0, 0).unwrap();
    let gateway = Gateway::start(config(&[gone_address, server.address()], &queue));
    gateway.accounting.finish().await;
    let reports = server.reports();
    let of = of(&reports, &session);
    assert_eq!(of.len(), 2);
    assert_eq!(of[0].status, Status::Start);
    assert_eq!(of[1].usage.up_octets, 42);
    // Off of the first, On and Off of the second; the first On went as well.
    let others = [Status::On, Status::Off, Status::On, Status::Off];
    let rest: Vec<_> = statuses(&reports)
        .into_iter()
        .filter(|status| status.is_of_gateway())
        .collect();
    assert_eq!(rest, others);
}

#[tokio::test]
async fn a_disk_that_takes_nothing_keeps_nobody_from_being_reported() {
    let server = AccountingServer::start(0, 0).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a file");
    std::fs::write(&file, b"x").unwrap();
    let gateway = Gateway::start(config(&[server.address()], &file.join("acct.queue")));
    let (guard, activity, session) = gateway.up(1, 1);
    drop((guard, activity));
    gateway.accounting.finish().await;
    assert_eq!(of(&server.reports(), &session).len(), 2);
    assert_eq!(std::fs::read(&file).unwrap(), b"x");
}

#[tokio::test]
async fn sessions_that_are_up_when_the_gateway_stops_get_their_stop() {
    let server = AccountingServer::start(0, 0).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("acct.queue");
    let gateway = Gateway::start(config(&[server.address()], &queue));
    let (guard, activity, session) = gateway.up(1, 1);
    activity.add_up(1, 42, 1);
    gateway.accounting.finish().await;
    drop(guard);
    let reports = server.reports();
    let of = of(&reports, &session);
    assert_eq!(of.len(), 2);
    assert_eq!(of[1].status, Status::Stop { cause: 7 });
    assert_eq!(of[1].usage.up_octets, 42);
    assert_eq!(reports.last().unwrap().status, Status::Off);
}
