//! Pairs of links, hostile peers, and whatever else may come along.

mod aaa;
mod any_bytes;
mod frames;
mod hostile;
mod log_in;
mod pair;
mod sessions;
