//! The file on disk: who may read it, and how it is replaced so that there is always a whole one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::PeersError;

/// The largest file that is read: some half a million devices.
const MAX_SIZE: u64 = 256 << 20;
/// The permissions that the file may have: there are pre-shared keys in it.
const MODE: u32 = 0o600;

/// Reads the file, if nobody else can; `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<String>>, PeersError> {
    let failed = |source| PeersError::Read {
        path: path.to_owned(),
        source,
    };
    let mut options = OpenOptions::new();
    // Without O_NONBLOCK a FIFO in the place of the file would hold the start up for ever.
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // What was opened is asked, not what has that name by now.
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() || metadata.len() > MAX_SIZE {
        return Err(PeersError::NoFile {
            path: path.to_owned(),
        });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(PeersError::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    let size = usize::try_from(metadata.len()).unwrap_or_default();
    let mut text = Zeroizing::new(String::with_capacity(size + 1));
    file.take(MAX_SIZE)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(Some(text))
}

/// Puts a new file in the place of the old one; after a crash there is the one or the other.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let temporary = temporary(path);
    let written = write_new(path, &temporary, text);
    if written.is_err() {
        // The error that counts is the first one.
        drop(fs::remove_file(&temporary));
    }
    written
}

fn write_new(path: &Path, temporary: &Path, text: &str) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // One that a crash left behind; anything else in its place is somebody's.
    if fs::symlink_metadata(temporary).is_ok_and(|found| found.is_file()) {
        fs::remove_file(temporary)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(temporary, path)?;
    File::open(folder)?.sync_all()
}

/// Returns the name of the new file until it is whole: always the same, so that crashes do not fill the disk.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}
