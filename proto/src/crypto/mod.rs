//! The files that import cryptography crates; everything else uses these.

pub mod digest;
pub mod legacy;
mod rng;
mod secret;

pub use rng::Rng;
pub use secret::SecretBytes;
