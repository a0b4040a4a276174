//! Gateways that are killed in the middle of it, for good: children of the test that get SIGKILL.

use super::*;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

const SERVER: &str = "CAUSEWAY_TEST_ACCOUNTING_SERVER";
const QUEUE: &str = "CAUSEWAY_TEST_ACCOUNTING_QUEUE";
const ROUND: &str = "CAUSEWAY_TEST_ACCOUNTING_ROUND";
const COUNT: &str = "CAUSEWAY_TEST_ACCOUNTING_SESSIONS";
/// Sessions of each gateway.
const SESSIONS: u32 = 1_000;

/// What a child does: short sessions, each said on standard output when it begins and when it has ended.
#[test]
#[ignore = "it is the other half of the test below, which starts it"]
fn child() {
    let Ok(server) = std::env::var(SERVER) else {
        return;
    };
    let queue = std::env::var(QUEUE).unwrap();
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let sessions: u32 = std::env::var(COUNT).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let gateway = Gateway::start(config(&[server.parse().unwrap()], queue.as_ref()));
        let mut up = Vec::new();
        let mut out = std::io::stdout();
        for number in 0..sessions {
            let (guard, activity, session) = gateway.up(number, round);
            let octets = u64::from(number) << 20 | round << 4 | 1;
            writeln!(out, "BEGAN {session} {octets}").unwrap();
            activity.add_up(1, octets, 1);
            activity.add_down(2, octets << 8, 1);
            up.push((guard, activity, session));
            // Some twenty are up at any time.
            if up.len() > 20 {
                let (guard, activity, session) = up.remove(0);
                drop((guard, activity));
                writeln!(out, "ENDED {session}").unwrap();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(up);
        gateway.accounting.finish().await;
        writeln!(out, "DONE").unwrap();
    });
}

/// Starts a child with so many sessions and kills it when so many have ended; returns what each session of it said it
/// counted.
pub(super) fn run(
    server: SocketAddr,
    queue: &Path,
    round: u64,
    (sessions, kill_after): (u32, u32),
) -> HashMap<String, u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::child", "--ignored", "--nocapture"])
        .env(SERVER, server.to_string())
        .env(QUEUE, queue)
        .env(ROUND, round.to_string())
        .env(COUNT, sessions.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut counted = HashMap::new();
    let mut ended = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap_or_default();
        let mut words = line.split_whitespace();
        match words.next() {
            Some("BEGAN") => {
                let session = words.next().unwrap().to_owned();
                counted.insert(session, words.next().unwrap().parse().unwrap());
            }
            Some("ENDED") => {
                ended += 1;
                if ended == kill_after {
                    child.kill().unwrap();
                }
            }
            _ => {}
        }
    }
    let status = child.wait().unwrap();
    assert_eq!(status.success(), kill_after > sessions, "round {round}");
    counted
}

/// Runs a gateway without sessions until it has sent what it finds, or for as long as it takes its leave.
pub(super) fn send_the_rest(server: SocketAddr, queue: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let gateway = Gateway::start(config(&[server], queue));
        gateway.accounting.finish().await;
    });
}

fn named(reports: &[Report], wanted: fn(&Report) -> bool) -> HashSet<String> {
    let session = |r: &Report| String::from_utf8(r.session.clone()).unwrap();
    reports.iter().filter(|r| wanted(r)).map(session).collect()
}

fn is_start(report: &Report) -> bool {
    report.status == Status::Start
}

#[test]
fn every_start_has_its_stop_whatever_is_lost_and_whoever_is_killed() {
    let server = AccountingServer::start(51, 7).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("acct.queue");
    let mut counted = HashMap::new();
    counted.extend(run(server.address(), &queue, 1, (SESSIONS, 400)));
    counted.extend(run(server.address(), &queue, 2, (SESSIONS, 700)));
    let last = run(server.address(), &queue, 3, (SESSIONS, SESSIONS + 1));
    let whole: Vec<String> = last.keys().cloned().collect();
    assert_eq!(whole.len(), SESSIONS as usize);
    counted.extend(last);
    // Whatever was left when the last one stopped comes with others that have nothing of their own.
    server.lose(0);
    let mut boots = 3;
    for _ in 0..10 {
        send_the_rest(server.address(), &queue);
        boots += 1;
        let reports = server.reports();
        if named(&reports, is_start) == named(&reports, is_stop) {
            break;
        }
    }

    let reports = server.reports();
    let (started, stopped) = (named(&reports, is_start), named(&reports, is_stop));
    assert_eq!(started, stopped);
    assert!(whole.iter().all(|session| started.contains(session)));
    assert!(started.iter().all(|session| counted.contains_key(session)));
    assert!(started.len() > whole.len());

    let mut cut_off = 0;
    let mut stops: HashMap<&[u8], &Report> = HashMap::new();
    for report in reports.iter().filter(|report| is_stop(report)) {
        // Told twice, it is told the same, but for how late it is.
        let mut same = report.clone();
        if let Some(first) = stops.get(report.session.as_slice()) {
            same.delay = first.delay;
            assert_eq!(&same, *first);
            continue;
        }
        stops.insert(&report.session, report);
        let octets = counted[std::str::from_utf8(&report.session).unwrap()];
        if report.status == (Status::Stop { cause: 9 }) {
            cut_off += 1;
            assert!(report.usage.up_octets <= octets);
        } else {
            assert_eq!(report.usage.up_octets, octets);
            assert_eq!(report.usage.down_octets, octets << 8);
        }
    }
    // The two that were killed had some twenty sessions up each, and what had not settled.
    assert!(cut_off > 0 && cut_off < started.len() / 4, "{cut_off}");
    let starts = reports.iter().filter(|r| r.status == Status::On);
    let ons: HashSet<_> = starts.map(|report| report.session.clone()).collect();
    assert_eq!(ons.len(), boots);
    assert_eq!(server.refused(), 0);
}
