//! What the tests share: clients, servers, namespaces.
