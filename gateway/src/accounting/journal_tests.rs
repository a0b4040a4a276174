use super::*;

fn record(session: &str, status: Status, octets: u64) -> Record {
    Record {
        status,
        session: session.into(),
        at: 1_000 + octets,
        elapsed: octets,
        usage: Usage {
            up_octets: octets,
            up_packets: 1,
            down_octets: octets << 33,
            down_packets: 2,
        },
        base: [44, 4, b'a', b'b'].as_slice().into(),
    }
}

fn moment(octets: u64) -> Moment {
    let record = record("", Status::Start, octets);
    Moment {
        at: record.at,
        elapsed: record.elapsed,
        usage: record.usage,
    }
}

fn entries() -> Vec<Entry> {
    vec![
        Entry::Open("old".into(), moment(5), [1, 2].as_slice().into()),
        Entry::Record(1, record("a", Status::Start, 0)),
        Entry::Record(2, record("b", Status::Start, 0)),
        Entry::Record(3, record("a", Status::Interim, 7)),
        Entry::Counted("b".into(), moment(9)),
        Entry::Done(1),
        Entry::Record(4, record("a", Status::Stop { cause: 9 }, 11)),
        Entry::Record(5, record("boot", Status::On, 0)),
    ]
}

fn written(entries: &[Entry]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep").join("acct.queue");
    let mut journal = Journal::new(path.clone());
    assert!(journal.append(entries).is_err());
    let (first, rest) = entries.split_at(1);
    journal.rewrite(first).unwrap();
    journal.append(rest).unwrap();
    (folder, path)
}

#[test]
fn what_was_written_is_read() {
    let (_folder, path) = written(&entries());
    let contents = read(&path).unwrap();
    let seqs: Vec<_> = contents.records.keys().copied().collect();
    assert_eq!(seqs, [2, 3, 4, 5]);
    assert_eq!(
        contents.records[&4],
        record("a", Status::Stop { cause: 9 }, 11)
    );
    let open: Vec<_> = contents
        .open
        .iter()
        .map(|(session, open)| (&**session, open.last))
        .collect();
    assert_eq!(open, [("b", moment(9)), ("old", moment(5))]);
    assert_eq!(contents.torn, 0);
}

#[test]
fn a_torn_tail_costs_what_was_torn_and_nothing_else() {
    let (_folder, path) = written(&entries());
    let whole = fs::read(&path).unwrap();
    let mut known = 0;
    for end in 0..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        let contents = read(&path).unwrap();
        let now = contents.records.len() + contents.open.len();
        if contents.torn == 0 {
            known = now;
        }
        assert_eq!(now, known, "at {end}");
    }
    // An octet that changed is found out as well.
    for place in MAGIC.len()..whole.len() {
        let mut bent = whole.clone();
        bent[place] ^= 1;
        fs::write(&path, &bent).unwrap();
        assert!(read(&path).unwrap().torn > 0, "octet {place}");
    }
}

#[test]
fn counters_of_a_session_never_go_down() {
    let (_folder, path) = written(&[
        Entry::Open("a".into(), moment(9), [].as_slice().into()),
        // The Start was not heard when the file was written anew.
        Entry::Record(1, record("a", Status::Start, 0)),
        Entry::Record(2, record("a", Status::Interim, 7)),
    ]);
    assert_eq!(read(&path).unwrap().open["a"].last, moment(9));
}

#[test]
fn no_file_is_an_empty_one_and_another_file_is_not_taken_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("acct.queue");
    assert_eq!(read(&path).unwrap(), Contents::default());
    fs::write(&path, b"#!/bin/sh\nexit 1\n").unwrap();
    assert_eq!(read(&path).unwrap().torn, 17);
    assert!(read(folder.path()).is_err());
    assert!(keep_damaged(&path).unwrap().ends_with("acct.damaged"));
}

#[test]
fn only_the_owner_may_read_who_was_there() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, path) = written(&entries());
    let mode = fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
