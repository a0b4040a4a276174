//! The tools that every codec uses: a reader that cannot run past its bytes, a writer that cannot run past its
//! buffer, and registry numbers that keep unknown values.
//!
//! A codec file reads top to bottom: the wire diagram, the type, [`Decode`], [`Encode`], tests.

mod error;
mod open_enum;
mod reader;
mod writer;

pub use error::{BufferFull, DecodeError};
pub(crate) use open_enum::open_enum;
pub use reader::Reader;
pub use writer::{Length, Writer};

/// A value that can be read from the wire.
pub trait Decode<'a>: Sized {
    /// Reads one value and leaves the reader behind it.
    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError>;

    /// Reads one value that must fill `bytes` to the end.
    fn decode_exact(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let value = Self::decode(&mut r)?;
        r.finish()?;
        Ok(value)
    }
}

/// A value that can be written to the wire.
pub trait Encode {
    /// Writes the value.
    fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull>;

    /// Appends the value to `out`; `limit` is the largest number of octets that it may take.
    fn append_to(&self, out: &mut Vec<u8>, limit: usize) -> Result<(), BufferFull> {
        let start = out.len();
        out.resize(start.saturating_add(limit), 0);
        let written = {
            let spare = out.get_mut(start..).unwrap_or_default();
            let mut w = Writer::new(spare);
            self.encode(&mut w).map(|()| w.written())
        };
        out.truncate(start.saturating_add(*written.as_ref().unwrap_or(&0)));
        written.map(|_| ())
    }
}
