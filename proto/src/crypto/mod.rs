//! The files that import cryptography crates; everything else uses these.

pub mod blake2s;
pub mod chacha;
pub mod digest;
pub mod legacy;
mod rng;
mod secret;
pub mod x25519;

pub use rng::Rng;
pub use secret::SecretBytes;
