//! The Causeway gateway as a library, so that tests and benches can hold one in their process.
//!
//! Rooms stand on floors and import from lower floors only (`ARCHITECTURE.md`): `ids`, `task`, `os` and `observe` are
//! leaves; `dataplane` and `radius` use them; then `auth` and `accounting`, `session`, the doors (`front`, `control`, `dynauth`, `tunnel`),
//! `config`, and on top `cli`, `startup` and `shutdown`.

pub mod accounting;
pub mod auth;
pub mod cli;
pub mod client;
pub mod config;
pub mod control;
pub mod dataplane;
pub mod dynauth;
pub mod front;
pub mod ids;
pub mod observe;
pub mod os;
pub mod radius;
pub mod session;
pub mod startup;
pub mod task;
pub mod trust;
pub mod tunnel;
