//! PPP as SSTP carries it (RFC 1661): both halves, the server that authenticates and the client that logs in.
//!
//! Start with [`Link`]; it goes through the phases of RFC 1661 §3.2 and owns everything else. [`automaton`] is the table
//! of RFC 1661 §4.1 and is best read with the RFC beside it.
//!
//! | done | left out, and why |
//! |---|---|
//! | LCP with MRU, Magic-Number, Authentication-Protocol, Echo, Protocol-Reject | PFC, ACFC: Android cannot take them |
//! | PAP, CHAP with MD5, MS-CHAPv2, EAP passed through | MS-CHAPv1, password change |
//! | IPCP with address, DNS, WINS | Van Jacobson compression, Multilink, callback |
//! | Identification is read | and never sent by the server: Android takes it as fatal |
//! | CCP, ECP, IPV6CP are rejected once | MPPE: TLS encrypts already |

mod auth;
pub mod automaton;
mod chap;
mod config;
pub mod control;
mod control_protocol;
mod event;
mod exchange_eap;
pub mod frame;
mod identification;
mod ipcp;
mod lcp;
mod link;
mod liveness;
mod negotiation;
mod outbox;
mod pap;
mod profile;
mod refused;

pub use config::{ClientConfig, Config, Role, RoleConfig, ServerConfig, Supplicant};
pub use event::{Down, DownReason, Event};
pub use identification::Identification;
pub use link::Link;
pub use profile::Profile;

#[cfg(test)]
mod tests;
