use std::time::UNIX_EPOCH;

use crate::observe::labels::TlsFailure;

use super::*;

fn names() -> Names {
    Names {
        pools: vec!["users".to_owned()],
        servers: vec!["nps1".to_owned(), "nps2".to_owned()],
        queues: 2,
        auth_buckets: Vec::new(),
    }
}

/// The names in `# TYPE` lines, sorted.
fn types(text: &str) -> Vec<(&str, &str)> {
    let mut types: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    types.sort_unstable();
    types
}

#[test]
fn the_first_scrape_has_every_metric_of_the_table() {
    let (recorder, metrics) = for_test(&names());
    metrics::with_local_recorder(&recorder, || {
        ready();
        certificate_expiry(
            "vpn.example.com",
            UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        );
    });
    let text = metrics.render();
    let mut table: Vec<(&str, &str)> = TABLE
        .iter()
        .map(|metric| (metric.name, metric.kind.as_str()))
        .collect();
    table.sort_unstable();
    assert_eq!(types(&text), table);
    assert_eq!(text.matches("# HELP ").count(), TABLE.len());
    let build = "causeway_build_info{version=\"0.1.0\",commit=\"";
    let line = text.lines().find(|line| line.starts_with(build));
    let (commit, rustc) = line
        .and_then(|line| line.strip_prefix(build))
        .and_then(|rest| rest.strip_suffix("\"} 1"))
        .and_then(|rest| rest.split_once("\",rustc=\""))
        .unwrap();
    assert!(commit == "unknown" || commit.len() >= 7, "{commit}");
    assert!(rustc.starts_with("1."), "{rustc}");
    assert_eq!(text.matches("causeway_build_info{").count(), 1);
    assert!(text.contains("causeway_session_ends_total{protocol=\"sstp\",cause=\"drain\"} 0\n"));
    assert!(text.contains("causeway_tun_packets_total{queue=\"1\",direction=\"tx\"} 0\n"));
    assert!(
        text.contains("{server=\"nps2\",kind=\"auth\",result=\"silent_discard\",le=\"120\"} 0\n")
    );
    assert!(text.contains(
        "causeway_certificate_expiry_timestamp_seconds{use=\"sstp\",name=\"vpn.example.com\"} 1800000000\n"
    ));
}

#[test]
fn a_room_that_counts_makes_no_new_series() {
    let (recorder, metrics) = for_test(&names());
    let before = metrics.render().lines().count();
    metrics::with_local_recorder(&recorder, || {
        for failure in TlsFailure::WORDS {
            metrics::counter!("causeway_tls_handshakes_total", "version" => "none", "result" => *failure)
                .increment(1);
        }
        drain(1, 12);
        reloaded(true);
    });
    assert_eq!(metrics.render().lines().count(), before);
}

/// The rules that `promtool check metrics` knows.
#[test]
fn the_names_follow_the_rules_of_prometheus() {
    for metric in TABLE {
        assert!(metric.name.starts_with("causeway_"), "{}", metric.name);
        assert!(
            metric
                .name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b == b'_'),
            "{}",
            metric.name
        );
        assert_eq!(
            metric.kind == Kind::Counter,
            metric.name.ends_with("_total"),
            "{}",
            metric.name
        );
        let name = metric.name.trim_end_matches("_total");
        if let Some(unit) = metric.unit {
            let unit = if unit == Unit::Bytes {
                "_bytes"
            } else {
                "_seconds"
            };
            assert!(name.ends_with(unit), "{}", metric.name);
        }
        for kind in [
            "counter",
            "gauge",
            "histogram",
            "_sum",
            "_count",
            "_bucket",
            "_milli",
            "minutes",
        ] {
            assert!(!name.contains(kind), "{}", metric.name);
        }
        assert!(metric.help.ends_with('.'), "{}", metric.name);
        assert!(!metric.label_names().contains(&"le"), "{}", metric.name);
    }
}

#[test]
fn the_documentation_shows_the_table() {
    let file =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    assert!(
        file.contains(&markdown()),
        "docs/metrics.md is not what observe::metrics::markdown() writes:\n{}",
        markdown()
    );
}

#[tokio::test]
async fn hooks_run_until_the_stop() {
    let (_recorder, metrics) = for_test(&names());
    let (handle, stop) = crate::task::stop();
    let (called, mut calls) = tokio::sync::mpsc::unbounded_channel();
    let hook: Publish = Box::new(move || called.send(()).unwrap());
    let task = tokio::spawn(publish_every(
        Duration::from_millis(1),
        metrics,
        vec![hook],
        stop,
    ));
    for _ in 0..3 {
        calls.recv().await.unwrap();
    }
    handle.stop();
    task.await.unwrap();
}

/// Walks the Rust files below a folder.
fn sources(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_metric_that_a_room_names_is_in_the_table() {
    let mut files = Vec::new();
    sources(
        std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
        &mut files,
    );
    let mut named = 0;
    for file in files
        .iter()
        .filter(|file| !file.ends_with("metrics/table.rs"))
    {
        let text = std::fs::read_to_string(file).unwrap();
        for (at, _) in text.match_indices("\"causeway_") {
            let name: &str = text[at + 1..].split('"').next().unwrap();
            if name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && name != "causeway_" {
                assert!(
                    TABLE.iter().any(|metric| metric.name == name),
                    "{name} in {}",
                    file.display()
                );
                named += 1;
            }
        }
    }
    assert!(named > 20, "{named}");
}

#[test]
fn every_alert_asks_for_a_metric_that_exists() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/deploy/prometheus/causeway.rules.yml"
    );
    let rules = std::fs::read_to_string(path).unwrap();
    let word = |c: char| c.is_ascii_lowercase() || c == '_';
    let names: Vec<&str> = rules
        .match_indices("causeway_")
        .map(|(at, _)| rules[at..].split(|c| !word(c)).next().unwrap())
        .collect();
    assert!(names.len() > 15);
    for name in names {
        let name = name.trim_end_matches("_bucket");
        assert!(TABLE.iter().any(|metric| metric.name == name), "{name}");
    }
}

/// Asks Prometheus's own checker where it is installed.
#[test]
fn promtool_has_nothing_to_remark() {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let (recorder, metrics) = for_test(&names());
    metrics::with_local_recorder(&recorder, || {
        ready();
        certificate_expiry(
            "vpn.example.com",
            UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        );
    });
    let checker = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut checker) = checker else {
        eprintln!("skipped: promtool is not installed");
        return;
    };
    checker
        .stdin
        .take()
        .unwrap()
        .write_all(metrics.render().as_bytes())
        .unwrap();
    let output = checker.wait_with_output().unwrap();
    let remarks = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success() && remarks.is_empty(),
        "{}",
        String::from_utf8_lossy(&remarks)
    );
}
