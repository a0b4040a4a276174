//! The queue on disk: a file that only grows, until it is written anew.
//!
//! ```text
//! "CWACCT1\n"  { length u32 · first 4 octets of SHA-256(payload) · payload }*
//! payload: 1 record  · seq u64 · status u8 · cause u32 · moment · session · attributes
//!          2 done    · seq u64
//!          3 counted · moment · session
//!          4 open    · moment · session · attributes
//! moment:  at u64 · elapsed u64 · octets and packets, up and down, u64 each        session: length u8 · octets
//! ```
//!
//! A record is on disk (`fdatasync`) before it is sent. That one was heard, and counters between records, are written
//! and not waited for: what a power cut takes of them costs a record that is sent twice, or some octets. A crash of the
//! process alone takes nothing that was written. A tail that is torn ends the reading; the file is then written anew.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use causeway_proto::activity::Usage;
use causeway_proto::crypto::digest::sha256;
use causeway_proto::radius::accounting::{Record, Status};
use causeway_proto::wire::{DecodeError, Reader};

const MAGIC: &[u8; 8] = b"CWACCT1\n";
/// More than any entry has: attributes of a packet and some numbers.
const MAX_ENTRY: usize = 8192;

/// When, how long and how much.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Moment {
    pub(super) at: u64,
    pub(super) elapsed: u64,
    pub(super) usage: Usage,
}

/// One entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Entry {
    /// A record that is to be sent.
    Record(u64, Record),
    /// A record that need not be sent any more.
    Done(u64),
    /// What a session had counted by then.
    Counted(Arc<str>, Moment),
    /// A session that is up, whose Start is no longer in the file.
    Open(Arc<str>, Moment, Arc<[u8]>),
}

/// A session that began and has not ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Open {
    pub(super) last: Moment,
    pub(super) base: Arc<[u8]>,
}

/// What a file says.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Contents {
    /// The records that are to be sent.
    pub(super) records: BTreeMap<u64, Record>,
    /// The sessions that were up.
    pub(super) open: BTreeMap<Arc<str>, Open>,
    /// How many octets at the end could not be read.
    pub(super) torn: usize,
}

impl Contents {
    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Record(seq, record) => {
                let moment = Moment {
                    at: record.at,
                    elapsed: record.elapsed,
                    usage: record.usage,
                };
                match record.status {
                    Status::Start => {
                        let base = Arc::clone(&record.base);
                        self.open
                            .entry(Arc::clone(&record.session))
                            .or_insert(Open { last: moment, base });
                    }
                    Status::Interim => self.count(&record.session, moment),
                    Status::Stop { .. } => {
                        self.open.remove(&record.session);
                    }
                    Status::On | Status::Off => {}
                }
                self.records.insert(seq, record);
            }
            Entry::Done(seq) => {
                self.records.remove(&seq);
            }
            Entry::Counted(session, moment) => self.count(&session, moment),
            Entry::Open(session, last, base) => {
                self.open.insert(session, Open { last, base });
            }
        }
    }

    /// Counters only grow, so the entry with the longer session time is the newer one.
    fn count(&mut self, session: &Arc<str>, moment: Moment) {
        if let Some(open) = self.open.get_mut(session)
            && moment.elapsed >= open.last.elapsed
        {
            open.last = moment;
        }
    }
}

/// Reads the file; one that is not there is empty.
pub(super) fn read(path: &Path) -> io::Result<Contents> {
    let mut octets = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut octets)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contents::default()),
        Err(error) => return Err(error),
    };
    let mut contents = Contents::default();
    let mut r = Reader::new(&octets);
    if !octets.is_empty() && r.array("magic") != Ok(*MAGIC) {
        contents.torn = octets.len();
        return Ok(contents);
    }
    while !r.is_empty() {
        let left = r.remaining();
        if let Ok(entry) = next(&mut r) {
            contents.apply(entry);
        } else {
            contents.torn = left;
            break;
        }
    }
    Ok(contents)
}

fn next(r: &mut Reader<'_>) -> Result<Entry, DecodeError> {
    let len = usize::try_from(r.u32("length")?).unwrap_or(usize::MAX);
    if len > MAX_ENTRY {
        return Err(DecodeError::Length { field: "length" });
    }
    let sum: [u8; 4] = r.array("checksum")?;
    let payload = r.bytes(len, "payload")?;
    if !sha256(payload).starts_with(&sum) {
        return Err(DecodeError::Value { field: "checksum" });
    }
    decode(payload)
}

/// Reads the payload of an entry.
fn decode(payload: &[u8]) -> Result<Entry, DecodeError> {
    let mut r = Reader::new(payload);
    match r.u8("kind")? {
        1 => {
            let seq = r.u64("seq")?;
            let (status, cause) = (r.u8("status")?, r.u32("cause")?);
            let moment = moment(&mut r)?;
            let record = Record {
                status: match status {
                    1 => Status::Start,
                    2 => Status::Stop { cause },
                    3 => Status::Interim,
                    7 => Status::On,
                    8 => Status::Off,
                    _ => return Err(DecodeError::Value { field: "status" }),
                },
                session: session(&mut r)?,
                at: moment.at,
                elapsed: moment.elapsed,
                usage: moment.usage,
                base: r.rest().into(),
            };
            Ok(Entry::Record(seq, record))
        }
        2 => Ok(Entry::Done(r.u64("seq")?)),
        3 => {
            let moment = moment(&mut r)?;
            Ok(Entry::Counted(session(&mut r)?, moment))
        }
        4 => {
            let moment = moment(&mut r)?;
            Ok(Entry::Open(session(&mut r)?, moment, r.rest().into()))
        }
        _ => Err(DecodeError::Value { field: "kind" }),
    }
}

fn moment(r: &mut Reader<'_>) -> Result<Moment, DecodeError> {
    Ok(Moment {
        at: r.u64("at")?,
        elapsed: r.u64("elapsed")?,
        usage: Usage {
            up_octets: r.u64("octets")?,
            up_packets: r.u64("packets")?,
            down_octets: r.u64("octets")?,
            down_packets: r.u64("packets")?,
        },
    })
}

fn session(r: &mut Reader<'_>) -> Result<Arc<str>, DecodeError> {
    let len = r.u8("session")?;
    let octets = r.bytes(usize::from(len), "session")?;
    std::str::from_utf8(octets)
        .map(Arc::from)
        .map_err(|_| DecodeError::Value { field: "session" })
}

/// Appends an entry to `out`; one that is too long is left out, and no such one is made.
fn encode(entry: &Entry, out: &mut Vec<u8>) {
    let mut payload = Vec::with_capacity(128);
    match entry {
        Entry::Record(seq, record) => {
            payload.push(1);
            payload.extend(seq.to_be_bytes());
            payload.push(u8::try_from(record.status.number()).unwrap_or(0));
            let cause = match record.status {
                Status::Stop { cause } => cause,
                Status::Start | Status::Interim | Status::On | Status::Off => 0,
            };
            payload.extend(cause.to_be_bytes());
            let moment = Moment {
                at: record.at,
                elapsed: record.elapsed,
                usage: record.usage,
            };
            put(&mut payload, moment, &record.session);
            payload.extend_from_slice(&record.base);
        }
        Entry::Done(seq) => {
            payload.push(2);
            payload.extend(seq.to_be_bytes());
        }
        Entry::Counted(session, moment) => {
            payload.push(3);
            put(&mut payload, *moment, session);
        }
        Entry::Open(session, moment, base) => {
            payload.push(4);
            put(&mut payload, *moment, session);
            payload.extend_from_slice(base);
        }
    }
    let Some(len) = u32::try_from(payload.len())
        .ok()
        .filter(|_| payload.len() <= MAX_ENTRY)
    else {
        return;
    };
    out.extend(len.to_be_bytes());
    out.extend(sha256(&payload).iter().take(4));
    out.extend(payload);
}

fn put(out: &mut Vec<u8>, moment: Moment, session: &str) {
    let usage = moment.usage;
    for number in [
        moment.at,
        moment.elapsed,
        usage.up_octets,
        usage.up_packets,
        usage.down_octets,
        usage.down_packets,
    ] {
        out.extend(number.to_be_bytes());
    }
    let session = session.as_bytes();
    let session = session.get(..255).unwrap_or(session);
    out.push(u8::try_from(session.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(session);
}

/// The file, open for more.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: Option<File>,
}

impl Journal {
    /// Names the file; nothing can be added before [`Self::rewrite`].
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// Adds entries at the end.
    pub(super) fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let mut octets = Vec::new();
        for entry in entries {
            encode(entry, &mut octets);
        }
        file.write_all(&octets)?;
        if entries
            .iter()
            .any(|entry| matches!(entry, Entry::Record(..)))
        {
            file.sync_data()?;
        }
        Ok(())
    }

    /// Writes a new file with these entries in place of the old one; whatever happens, one of them is there whole.
    pub(super) fn rewrite(&mut self, entries: &[Entry]) -> io::Result<()> {
        self.file = None;
        let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(folder)?;
        let fresh = self.path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        let mut octets = MAGIC.to_vec();
        for entry in entries {
            encode(entry, &mut octets);
        }
        file.write_all(&octets)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        File::open(folder)?.sync_all()?;
        self.file = Some(file);
        Ok(())
    }
}

/// Keeps a copy of a file that could not be read to its end, for whoever wants to look.
pub(super) fn keep_damaged(path: &Path) -> io::Result<PathBuf> {
    let copy = path.with_extension("damaged");
    fs::copy(path, &copy)?;
    Ok(copy)
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
