//! The Mobility log-in on port 443: a page for people and a JSON API for programs, under `/enrol/`.
//!
//! ```text
//! GET  /enrol/                            the page; `page.js` and `page.css` beside it
//! POST /enrol/login                       the form → 303 /enrol/login, which shows how far it is
//! POST /enrol/answer                      the code → 303 /enrol/login
//! POST /enrol/api/v1/login                {user, password, device?, public_key} → 202 {login, state: "pending"}
//! GET  /enrol/api/v1/login/ID[?wait=S]    {state: pending | challenge | accepted | refused, …}
//! POST /enrol/api/v1/login/ID/answer      {code} → 202
//! ```
//!
//! A log-in is answered at once and made by a task of its own ([`Logins`]), so no request lasts as long as somebody
//! looks for a phone, and whoever loses the connection asks again. The id is the only thing that has to be shown for the
//! answer: it is not bound to an address, because a phone that is approved on may change its network meanwhile.
//!
//! What is bounded: head, body and time of each request, requests and time of each connection (`http`); connections by
//! the front door's budget and its pace, and each log-in costs a connection; log-ins by `limits.pending_auth`, by source,
//! and by the brakes and the push guard of the authenticator.
//!
//! Left out: OIDC, a log-in by certificate.

mod answer;
mod api;
mod device;
mod form;
mod http;
mod logins;
mod page;
mod profile;
mod reason;

pub use http::Enrolment;
pub use logins::{Jobs, Logins, Settings};
pub use profile::{Gateway, Profile};

pub(super) use logins::Ends;
