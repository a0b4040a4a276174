//! Server and client against each other.

mod authority;
mod ends;
mod faults;
mod fuzz;
mod logins;
mod pair;
