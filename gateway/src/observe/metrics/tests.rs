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
    assert!(text.contains("causeway_build_info{version=\"0.1.0\"} 1\n"));
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
