use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;

use clap::Parser;

use crate::cli::output::Style;
use crate::control::protocol::{ComponentStatus, Pool, SessionCounts};

use super::*;

/// Answers each request in turn, and returns the requests.
pub(in crate::cli) fn gateway(
    socket: &Path,
    answers: Vec<Response>,
) -> std::thread::JoinHandle<Vec<Request>> {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        answers
            .into_iter()
            .map(|answer| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut length = [0; 4];
                stream.read_exact(&mut length).unwrap();
                let mut request = vec![0; u32::from_be_bytes(length).try_into().unwrap()];
                stream.read_exact(&mut request).unwrap();
                let answer = serde_json::to_vec(&answer).unwrap();
                stream
                    .write_all(&u32::try_from(answer.len()).unwrap().to_be_bytes())
                    .unwrap();
                stream.write_all(&answer).unwrap();
                serde_json::from_slice(&request).unwrap()
            })
            .collect()
    })
}

struct Ran {
    exit: Exit,
    out: String,
    err: String,
    requests: Vec<Request>,
}

fn run_with(line: &str, answers: Vec<Response>, keyboard: Option<&str>) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let gateway = gateway(&socket, answers);
    let arguments = line.split(' ').map(str::to_owned);
    let socket = ["--socket".to_owned(), socket.display().to_string()];
    let cli = Cli::try_parse_from(arguments.chain(socket)).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut keyboard = keyboard.map(|text| BufReader::new(text.as_bytes()));
    let answers = keyboard
        .as_mut()
        .map(|keyboard| keyboard as &mut dyn BufRead);
    let exit = run(
        &cli,
        &mut Output::new(&mut out, &mut err, answers, Style::Plain),
    );
    Ran {
        exit,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
        requests: gateway.join().unwrap(),
    }
}

fn session() -> Session {
    Session {
        id: "008f31c2".to_owned(),
        user: "al\nice".to_owned(),
        protocol: "sstp".to_owned(),
        state: "up".to_owned(),
        address: Some("10.99.0.2".to_owned()),
        remote: "203.0.113.4:51022".to_owned(),
        rx_bytes: 50_331_648,
        accounting_id: Some("8f31c2aa-67439f12".to_owned()),
        method: Some("mschapv2".to_owned()),
        server: Some("nps1".to_owned()),
        result: Some("accept".to_owned()),
        auth_ms: Some(11_240),
        ..Session::default()
    }
}

#[test]
fn status_says_what_is_wrong() {
    let component = |component: &str, status: &str, reason: &str| ComponentStatus {
        component: component.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        for_seconds: 180,
        ..ComponentStatus::default()
    };
    let status = Status {
        name: "gw-weu-1".to_owned(),
        version: "0.1.0".to_owned(),
        verdict: "unhealthy".to_owned(),
        probe: 503,
        failing: Some("tun".to_owned()),
        uptime_seconds: 60,
        components: vec![
            component("sstp", "ok", ""),
            component("tun", "down", "the device is gone"),
            component("pool", "ok", ""),
        ],
        sessions: SessionCounts {
            up: 3,
            unreachable: 2,
            authenticating: 1,
            limit: 1000,
        },
        pools: vec![Pool {
            name: "users".to_owned(),
            used: 4,
            free: 6,
            reserved: 0,
        }],
        ..Status::default()
    };
    let ran = run_with(
        "causeway status",
        vec![Response::Status(Box::new(status))],
        None,
    );
    assert_eq!(ran.exit, Exit::Done);
    assert_eq!(
        ran.out,
        "gw-weu-1   unhealthy (tun)   probe 503   up 1 min   0.1.0\n  \
           sstp  ok    3 of 1000 up, 2 unreachable, 1 logging in\n  \
           tun   down  the device is gone (for 3 min)\n  \
           pool  ok    users 4 of 10 used\n"
    );
}

#[test]
fn sessions_are_a_table_or_one_object() {
    let answer = || {
        vec![Response::Sessions {
            sessions: vec![session()],
        }]
    };
    let ran = run_with("causeway sessions --user alice", answer(), None);
    let request = Request::Sessions {
        protocol: None,
        user: Some("alice".to_owned()),
    };
    assert_eq!(ran.requests, [request]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ran.out);
    assert!(
        lines[1].starts_with("008f31c2  al\u{fffd}ice  sstp      up     10.99.0.2"),
        "{}",
        lines[1]
    );
    assert!(
        lines[1].ends_with("48 MiB  0 B  mschapv2, nps1, 11.2 s"),
        "{}",
        lines[1]
    );
    let ran = run_with("causeway sessions --json", answer(), None);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["sessions"][0]["user"], "al\nice");
    assert_eq!(ran.out.lines().count(), 1);
}

#[test]
fn a_session_shows_what_radius_calls_it() {
    let answer = Response::Session {
        session: Box::new(session()),
    };
    let ran = run_with("causeway session 008f31c2", vec![answer], None);
    let line = ran
        .out
        .lines()
        .find(|line| line.contains("accounting id"))
        .unwrap_or_else(|| panic!("{}", ran.out));
    assert!(line.ends_with("8f31c2aa-67439f12"), "{line}");
    let result = |line: &str| line.starts_with("result") && line.ends_with("accept");
    assert!(ran.out.lines().any(result), "{}", ran.out);
}

#[test]
fn disconnect_counts_and_asks_first() {
    let count = |sessions, dry_run| Response::Disconnected { sessions, dry_run };
    let no = run_with(
        "causeway disconnect --all",
        vec![count(3, true)],
        Some("n\n"),
    );
    assert_eq!(no.exit, Exit::Failure);
    assert_eq!(no.err, "This ends 3 sessions. Go on? [y/N] ");
    let yes = run_with(
        "causeway disconnect --all",
        vec![count(3, true), count(3, false)],
        Some("y\n"),
    );
    assert_eq!(
        (yes.exit, yes.out.as_str()),
        (Exit::Done, "3 sessions told to end\n")
    );
    let sure = run_with(
        "causeway disconnect --id 1a --yes",
        vec![count(1, false)],
        Some(""),
    );
    let target = Target::Id("1a".to_owned());
    assert_eq!(
        sure.requests,
        [Request::Disconnect {
            target,
            reason: None,
            dry_run: false
        }]
    );
    let nobody = run_with(
        "causeway disconnect --user bob -y",
        vec![count(0, false)],
        None,
    );
    assert_eq!(nobody.exit, Exit::NothingMatched);
}

#[test]
fn exit_codes_tell_what_happened() {
    for (answer, exit, said) in [
        (
            Response::Forbidden {
                message: "join the group".to_owned(),
            },
            5,
            "join the group",
        ),
        (Response::Busy, 4, "try again"),
    ] {
        let ran = run_with("causeway status", vec![answer], None);
        assert_eq!(ran.exit.code(), exit);
        assert!(ran.err.contains(said), "{}", ran.err);
    }
    let missing = vec![Response::NotFound {
        what: "no session 1".to_owned(),
    }];
    let missing = run_with("causeway session 1", missing, None);
    assert_eq!(
        (missing.exit.code(), missing.err.as_str()),
        (7, "causeway: no session 1\n")
    );
    let failed = Response::Failed {
        code: Some("E0301".to_owned()),
        message: "bad pair".to_owned(),
    };
    let failed = run_with("causeway reload", vec![failed], None);
    assert_eq!(
        (failed.exit.code(), failed.err.as_str()),
        (1, "causeway: bad pair  [E0301]\n")
    );
    let cli = Cli::try_parse_from(["causeway", "status", "--socket", "/nonexistent/s"]).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = run(
        &cli,
        &mut Output::new(&mut out, &mut err, None, Style::Plain),
    );
    assert_eq!(exit.code(), 4);
    assert!(String::from_utf8(err).unwrap().contains("/nonexistent/s"));
}

#[test]
fn drain_says_what_it_will_cost() {
    let drain = |state: &str| {
        Response::Drain(protocol::Drain {
            state: state.to_owned(),
            sessions: 312,
            mfa_prompts: 312,
            notice_seconds: 80,
            over_seconds: 240,
        })
    };
    let ran = run_with(
        "causeway drain",
        vec![drain("serving"), drain("notice")],
        Some("yes\n"),
    );
    assert_eq!(
        ran.err,
        "312 sessions, about 312 MFA prompts over 4 min after 1 min 20 s of notice. Go on? [y/N] "
    );
    assert_eq!(ran.exit, Exit::Done);
    let cancelled = run_with("causeway drain --cancel", vec![drain("serving")], None);
    assert_eq!(cancelled.requests, [Request::DrainCancel]);
}

#[test]
fn what_destroys_is_not_done_unasked() {
    for line in [
        "causeway disconnect --all",
        "causeway disconnect --user bob",
        "causeway drain --over 5m",
    ] {
        let ran = run_with(line, Vec::new(), None);
        assert_eq!(ran.exit.code(), 2);
        assert!(ran.err.contains("--yes"), "{}", ran.err);
        assert!(ran.requests.is_empty());
        let json = run_with(&format!("{line} --json"), Vec::new(), None);
        assert_eq!(json.exit.code(), 2);
        assert!(json.out.contains("--yes"), "{}", json.out);
    }
}

#[test]
fn a_watched_status_is_shown_until_its_reader_goes() {
    /// Takes some lines and goes.
    struct Head(usize, Vec<u8>);
    impl Write for Head {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            if self.0 == 0 {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            self.0 -= usize::from(octets.ends_with(b"\n"));
            self.1.extend_from_slice(octets);
            Ok(octets.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let status = || Response::Status(Box::default());
    let gateway = gateway(&socket, vec![status(), status(), status()]);
    let socket = socket.display().to_string();
    let cli = Cli::try_parse_from([
        "causeway", "status", "--watch", "--json", "--socket", &socket,
    ]);
    let common = cli.unwrap().common;
    let (mut out, mut err) = (Head(2, Vec::new()), Vec::new());
    let mut pauses = 0;
    let exit = watch(
        &common,
        &mut Output::new(&mut out, &mut err, None, Style::Plain),
        || pauses += 1,
    );
    assert_eq!((exit, pauses), (Exit::Done, 2));
    assert_eq!(gateway.join().unwrap().len(), 3);
    let lines = String::from_utf8(out.1).unwrap();
    assert_eq!(lines.lines().count(), 2);
}

#[test]
fn a_device_that_roams_is_shown_with_its_last_change() {
    let device = Session {
        protocol: "mobility".to_owned(),
        state: "unreachable".to_owned(),
        device: Some("laptop".to_owned()),
        roams: 3,
        roamed: Some("2026-07-01T12:04:11Z".to_owned()),
        ..session()
    };
    let answer = Response::Session {
        session: Box::new(device.clone()),
    };
    let ran = run_with("causeway session 008f31c2", vec![answer], None);
    for (name, value) in [
        ("state", "unreachable"),
        ("from", "203.0.113.4:51022"),
        ("roamed", "3, last 2026-07-01T12:04:11Z"),
        ("device", "laptop"),
    ] {
        let shown = |line: &str| line.starts_with(name) && line.ends_with(value);
        assert!(ran.out.lines().any(shown), "{name}: {}", ran.out);
    }
    let sessions = vec![device];
    let ran = run_with(
        "causeway sessions -v",
        vec![Response::Sessions { sessions }],
        None,
    );
    let line = ran.out.lines().nth(1).unwrap();
    assert!(
        line.contains("laptop  3, last 2026-07-01T12:04:11Z"),
        "{line}"
    );
}
