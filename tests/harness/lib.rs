//! What the tests share: clients, servers, namespaces.

pub mod accounting_server;
pub mod authority;
pub mod browser;
pub mod lab;
pub mod radius_capture;
pub mod radius_server;
