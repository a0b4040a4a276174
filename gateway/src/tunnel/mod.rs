//! The drivers: each owns the sockets of one tunnel protocol and runs its machines.
//!
//! All of them turn the same loop: drain what the machine has to say (octets to send, events), wait for one of
//! octets, a decision, a command or the machine's deadline, tell the machine exactly that, and drain again.

pub mod sstp;
pub mod wireguard;
