//! Pairs of links, hostile peers, and whatever else may come along.

mod aaa;
mod any_bytes;
mod frames;
mod hostile;
mod log_in;
mod new_password;
mod pair;
mod sessions;
