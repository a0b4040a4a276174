//! What can be wrong with bytes.

use thiserror::Error;

/// The bytes are not the format; each variant names the field as the standard does.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum DecodeError {
    /// The input ends inside the field.
    #[error("truncated in {field}")]
    Truncated {
        /// The field's name in the standard.
        field: &'static str,
    },
    /// Octets are left over behind the last field.
    #[error("{octets} octets left over")]
    Trailing {
        /// How many.
        octets: usize,
    },
    /// A length field contradicts what it measures.
    #[error("bad length in {field}")]
    Length {
        /// The field's name in the standard.
        field: &'static str,
    },
    /// A value that the standard does not allow there.
    #[error("bad value in {field}")]
    Value {
        /// The field's name in the standard.
        field: &'static str,
    },
}

/// The buffer given to a [`super::Writer`] is too small.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("buffer full")]
pub struct BufferFull;
