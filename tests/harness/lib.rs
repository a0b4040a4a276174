//! What the tests share: clients, servers, namespaces.

pub mod lab;
pub mod radius_server;
