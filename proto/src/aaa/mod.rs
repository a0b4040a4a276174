//! The words that all tunnels and all authenticators speak.
//!
//! A tunnel's machine emits [`Credentials`]; the authenticator answers with a [`Verdict`]; the gateway makes a
//! [`Decision`] of it, which brings the machine its [`Grant`]. No tunnel speaks RADIUS and RADIUS speaks no tunnel.

mod applicant;
mod authorization;
mod credentials;
mod decision;
mod grant;
mod route;
mod verdict;

pub use applicant::{Applicant, TunnelKind};
pub use authorization::{Authorization, FramedAddress};
pub use credentials::{AuthMethod, Credentials, Identity, MsChapV2Response};
pub use decision::{Decision, Refusal, RefuseReason};
pub use grant::{Grant, InnerKeys, Limits, NetworkConfig};
pub use route::{FramedRoute, RouteError};
pub use verdict::{Challenge, Proof, Rejection, Verdict};
