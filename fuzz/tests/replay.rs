//! Replays every committed input on stable, so that `cargo test` guards what fuzzing found.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, panic};

/// No input may take longer; a debug build on a busy machine gets ten times what a fuzzer allows.
const LIMIT: Duration = Duration::from_millis(500);

#[test]
fn every_corpus_runs_clean() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut failed = Vec::new();
    for (name, run) in fuzz::TARGETS {
        let mut inputs = 0;
        let folder = corpus.join(name);
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let start = Instant::now();
            if panic::catch_unwind(|| run(&bytes)).is_err() {
                failed.push(format!("{}: panicked", path.display()));
            } else if start.elapsed() > LIMIT {
                failed.push(format!(
                    "{}: {} ms",
                    path.display(),
                    start.elapsed().as_millis()
                ));
            }
            inputs += 1;
        }
        assert!(inputs > 2, "{name} has {inputs} inputs");
        println!("{name}: {inputs} inputs");
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

#[test]
fn every_corpus_has_a_target_and_every_target_a_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(root.join("corpus")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            fuzz::TARGETS.iter().any(|(target, _)| *target == name),
            "corpus/{name}"
        );
    }
    for (name, _) in fuzz::TARGETS {
        assert!(
            root.join(format!("fuzz_targets/{name}.rs")).exists(),
            "fuzz_targets/{name}.rs"
        );
    }
}

#[test]
fn every_prefix_of_an_input_runs_clean() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, run) in fuzz::TARGETS {
        for entry in fs::read_dir(corpus.join(name)).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            // Every prefix of a short one, a handful of a long one.
            let step = (bytes.len() / 50).max(1);
            for len in (0..bytes.len()).step_by(step) {
                run(&bytes[..len]);
            }
        }
    }
}
