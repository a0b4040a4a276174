use std::io::Write;
use std::sync::{Arc, Mutex, mpsc};

use tracing::{info, info_span, warn};

use super::format::Form;
use super::*;

/// A stream that tests can read.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut page = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
        page.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `events` write in a form.
fn written(form: Form, names: UserNames, events: impl FnOnce()) -> String {
    let page = Page::default();
    let (writer, guard) = writer::spawn(Sink::Stream(Box::new(page.clone()))).unwrap();
    let layer = LogLayer::new(form, names, writer);
    tracing::subscriber::with_default(Registry::default().with(layer), events);
    drop(guard);
    let bytes = page.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

/// Names as weapons: a line end, colours, a NUL, the reading direction, JSON, 253 octets.
const WEAPONS: [&str; 6] = [
    "a\nts=now level=error msg=owned",
    "\u{1b}[2J\u{9b}31m",
    "nul\0x",
    "\u{202e}ecila",
    "\",\"level\":\"error\"}\\",
    concat!(
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    ),
];

fn log_weapons() {
    for name in WEAPONS {
        info!(
            event = "auth_result",
            user.name = name,
            rx_bytes = 3,
            "a log-in was refused"
        );
    }
}

#[test]
fn every_json_line_parses_and_holds_no_raw_control_octet() {
    let text = written(Form::Json, UserNames::Plain, log_weapons);
    assert_eq!(text.lines().count(), WEAPONS.len());
    for (line, name) in text.lines().zip(WEAPONS) {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(json["user.name"], name);
        assert_eq!(json["level"], "info");
        assert_eq!(json["rx_bytes"], 3);
        assert_eq!(json["message"], "a log-in was refused");
        assert!(
            !line.chars().any(|c| c.is_control() || c == '\u{202e}'),
            "{line:?}"
        );
    }
}

#[test]
fn text_and_logfmt_stay_on_their_lines() {
    for form in [Form::Text, Form::Logfmt] {
        let text = written(form, UserNames::Plain, log_weapons);
        assert_eq!(text.lines().count(), WEAPONS.len());
        assert!(
            text.lines().all(|line| !line.chars().any(char::is_control)),
            "{text:?}"
        );
        assert!(
            text.contains(r#"user.name="a\nts=now level=error msg=owned""#),
            "{text}"
        );
        assert!(text.contains("rx_bytes=3"), "{text}");
    }
}

#[test]
fn the_journal_gets_fields() {
    let text = written(Form::Journal, UserNames::Plain, || {
        warn!(
            radius.server = "nps1",
            reason = "two\nlines",
            "the server is silent"
        );
    });
    let expected = "MESSAGE=the server is silent\nPRIORITY=4\nSYSLOG_IDENTIFIER=causeway\n";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.contains("\nCAUSEWAY_RADIUS_SERVER=nps1\n"), "{text}");
    assert!(
        text.contains("\nCAUSEWAY_REASON\n\x09\0\0\0\0\0\0\0two\nlines\n"),
        "{text:?}"
    );
}

#[test]
fn a_field_without_a_value_is_left_out() {
    for form in [Form::Text, Form::Json, Form::Logfmt, Form::Journal] {
        let text = written(form, UserNames::Hash, || {
            let nobody: Option<&str> = None;
            info!(
                radius.server = nobody,
                note = "",
                user.name = "",
                radius.message = "no entry",
                "log-in refused"
            );
        });
        let lower = text.to_lowercase();
        assert!(!lower.contains("server") && !lower.contains("note") && !lower.contains("user"));
        assert!(
            text.contains("no entry") && text.contains("log-in refused"),
            "{text}"
        );
    }
}

#[test]
fn the_spans_around_an_event_are_in_its_line() {
    let text = written(Form::Logfmt, UserNames::Plain, || {
        let span = info_span!(
            "session",
            session = "008f31c2",
            correlation = tracing::field::Empty
        );
        let _entered = span.enter();
        span.record("correlation", "{1}");
        info!(event = "session_up", "a session is up");
    });
    assert!(
        text.ends_with("session=008f31c2 correlation={1} event=session_up\n"),
        "{text}"
    );
}

#[test]
fn a_hashed_name_is_the_same_each_time_and_not_the_name() {
    let text = written(Form::Json, UserNames::Hash, || {
        for name in ["alice", "alice", "bob"] {
            info!(user.name = name, "x");
        }
    });
    let names: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["user.name"].clone())
        .collect();
    assert_eq!(names[0], names[1]);
    assert_ne!(names[0], names[2]);
    assert_eq!(names[0].as_str().unwrap().len(), 16);
    assert!(!text.contains("alice"));
}

#[test]
fn a_flood_of_one_line_is_held_back() {
    let text = written(Form::Json, UserNames::Plain, || {
        for _ in 0..10_000 {
            info!("the same");
        }
    });
    // A window may end while the loop runs.
    assert!(text.lines().count() < 1000, "{}", text.lines().count());
}

/// A pipe whose reader has stopped.
struct Stuck(mpsc::Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.0.recv().map_or(bytes.len(), |()| 0))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_pipe_costs_lines_and_no_time() {
    let (recorder, metrics) =
        crate::observe::metrics::for_test(&crate::observe::metrics::Names::default());
    let (release, stuck) = mpsc::channel();
    let (writer, guard) = ::metrics::with_local_recorder(&recorder, || {
        writer::spawn(Sink::Stream(Box::new(Stuck(stuck)))).unwrap()
    });
    for _ in 0..10_000 {
        writer.write(b"x\n".to_vec());
    }
    let text = metrics.render();
    let line = text
        .lines()
        .find(|line| line.starts_with("causeway_log_events_dropped_total"))
        .unwrap();
    let dropped: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((5_800..=5_910).contains(&dropped), "{line}");
    drop(release);
    drop(guard);
}
