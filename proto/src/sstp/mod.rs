//! SSTP: PPP in a TLS stream behind one HTTP request ([MS-SSTP]).
//!
//! - [`http`]: the request and the response ahead of the stream
//! - [`packet`], [`attribute`], [`message`]: the codec
//! - [`binding`]: crypto binding

pub mod attribute;
pub mod binding;
pub mod http;
pub mod message;
pub mod packet;

pub use attribute::HashProtocol;
pub use binding::CertificateHashes;
pub use packet::{Broken, data_header};
