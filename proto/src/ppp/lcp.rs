//! The options of LCP (RFC 1661 §6): which we ask for and what we think of the peer's.
//!
//! | option | from the peer | ours |
//! |---|---|---|
//! | MRU (1) | acknowledged from 576 octets on | always (the server) |
//! | ACCM (2) | acknowledged, means nothing here | never |
//! | Authentication-Protocol (3) | rejected by the server; the client negotiates it | always (the server) |
//! | Magic-Number (5) | acknowledged, also zero; ours is refused | always |
//! | PFC, ACFC (7, 8), Callback (13), Multilink (17, 18, 19), everything else | rejected | only a client's habit |
//!
//! The server offers its methods in order; when it has no method left that the peer takes, the link ends.

use super::config::{ClientConfig, Config, RoleConfig, ServerConfig};
use super::control::{ConfigureOption, Options, append_option};
use super::control_protocol::{ControlProtocol, Judgement, Patience};
use super::event::DownReason;
use super::frame::Protocol;
use super::profile::RawOption;
use crate::aaa::AuthMethod;
use crate::crypto::Rng;

const MRU: u8 = 1;
const ACCM: u8 = 2;
const AUTH: u8 = 3;
const MAGIC: u8 = 5;

/// The MRU of a peer that does not name one (RFC 1661 §6.1).
const DEFAULT_MRU: u16 = 1500;

/// The smallest MRU that is taken.
const MIN_MRU: u16 = 576;

/// The options of LCP on both sides.
#[derive(Debug)]
pub(crate) struct Lcp {
    /// Our MRU; `None` when it is not asked for.
    mru: Option<u16>,
    /// Our magic number; zero when it is not asked for.
    magic: u32,
    /// The MRU that the peer asked for.
    peer_mru: u16,
    authentication: Authentication,
    /// Options that only a client with habits asks for.
    habits: Vec<RawOption>,
    rng: Rng,
}

/// Who wants which authentication.
#[derive(Debug)]
enum Authentication {
    /// We demand one of these of the peer; the first is in our request.
    Demand(Vec<AuthMethod>),
    /// We take any of these; the second is what was agreed on.
    Offer(Vec<AuthMethod>, Option<AuthMethod>),
}

impl Lcp {
    /// Starts with nothing agreed.
    pub(crate) fn new(config: &Config, mut rng: Rng) -> Self {
        let magic = nonzero(&mut rng);
        let (authentication, mru, habits) = match &config.role {
            RoleConfig::Server(ServerConfig { auth, .. }) => (
                Authentication::Demand(auth.clone()),
                Some(config.mru),
                Vec::new(),
            ),
            RoleConfig::Client(ClientConfig { auth, profile, .. }) => (
                Authentication::Offer(auth.clone(), None),
                profile.sends_mru().then_some(config.mru),
                profile.lcp_options().to_vec(),
            ),
        };
        Self {
            mru,
            magic,
            peer_mru: DEFAULT_MRU,
            authentication,
            habits,
            rng,
        }
    }

    /// Returns the largest frame that the peer takes.
    pub(crate) const fn peer_mru(&self) -> u16 {
        self.peer_mru
    }

    /// Returns our magic number, zero when the peer does not want it.
    pub(crate) const fn magic(&self) -> u32 {
        self.magic
    }

    /// Returns whether the options carry our own magic number: they are ours, sent back to us.
    pub(crate) fn is_ours(&self, options: &[u8]) -> bool {
        let magic = self.magic.to_be_bytes();
        self.magic != 0
            && Options::new(options).is_ok_and(|options| {
                options
                    .iter()
                    .any(|option| option.kind == MAGIC && option.value == magic)
            })
    }

    /// Returns the method that was agreed on, once LCP is open.
    pub(crate) fn method(&self) -> Option<AuthMethod> {
        match &self.authentication {
            Authentication::Demand(methods) => methods.first().copied(),
            Authentication::Offer(_, agreed) => *agreed,
        }
    }

    /// Strikes the method that is being asked for off the list; the peer's wish goes to the front if we allow it.
    fn next_method(&mut self, wish: Option<AuthMethod>) -> Result<(), DownReason> {
        let Authentication::Demand(methods) = &mut self.authentication else {
            return Ok(());
        };
        if !methods.is_empty() {
            methods.remove(0);
        }
        if let Some(at) = wish.and_then(|wish| methods.iter().position(|method| *method == wish)) {
            methods.get_mut(..=at).unwrap_or_default().rotate_right(1);
        }
        if methods.is_empty() {
            Err(DownReason::LcpNoAuthAgreed)
        } else {
            Ok(())
        }
    }

    /// Judges the authentication that the peer demands of us.
    fn judge_auth(&mut self, option: ConfigureOption<'_>, patience: Patience) -> Opinion {
        let Authentication::Offer(accepted, agreed) = &mut self.authentication else {
            return Opinion::Reject;
        };
        let wanted = method_of(option.value).filter(|method| accepted.contains(method));
        if let Some(method) = wanted {
            *agreed = Some(method);
            return Opinion::Good;
        }
        match (accepted.first(), patience) {
            (Some(first), Patience::Left) => Opinion::Prefer(value_of(*first).to_vec()),
            (None, _) | (_, Patience::Exhausted) => Opinion::Reject,
        }
    }
}

/// What we think of one option.
enum Opinion {
    Good,
    Prefer(Vec<u8>),
    Reject,
}

impl ControlProtocol for Lcp {
    const PROTOCOL: Protocol = Protocol::LCP;
    const LOOP: DownReason = DownReason::LcpLoop;

    fn request(&self, out: &mut Vec<u8>) {
        if let Some(mru) = self.mru {
            append_option(out, MRU, &mru.to_be_bytes());
        }
        if let Authentication::Demand(methods) = &self.authentication
            && let Some(method) = methods.first()
        {
            append_option(out, AUTH, value_of(*method));
        }
        if self.magic != 0 {
            append_option(out, MAGIC, &self.magic.to_be_bytes());
        }
        for (kind, value) in &self.habits {
            append_option(out, *kind, value);
        }
    }

    fn judge(&mut self, options: Options<'_>, patience: Patience) -> Judgement {
        let mut mru = DEFAULT_MRU;
        let mut seen = Vec::new();
        let (mut naks, mut rejects) = (Vec::new(), Vec::new());
        if let Authentication::Offer(_, agreed) = &mut self.authentication {
            *agreed = None;
        }
        for option in options.iter() {
            let opinion = match (option.kind, option.value) {
                // An option that comes twice has one value too many.
                (kind, _) if seen.contains(&kind) => Opinion::Reject,
                (MRU, &[high, low]) => {
                    mru = u16::from_be_bytes([high, low]);
                    if mru >= MIN_MRU {
                        Opinion::Good
                    } else {
                        Opinion::Prefer(DEFAULT_MRU.to_be_bytes().to_vec())
                    }
                }
                (ACCM, &[_, _, _, _]) => Opinion::Good,
                (AUTH, _) => self.judge_auth(option, patience),
                (MAGIC, &[a, b, c, d]) => {
                    let magic = u32::from_be_bytes([a, b, c, d]);
                    if magic == 0 || magic != self.magic {
                        Opinion::Good
                    } else {
                        Opinion::Prefer(nonzero(&mut self.rng).to_be_bytes().to_vec())
                    }
                }
                _ => Opinion::Reject,
            };
            if !seen.contains(&option.kind) {
                seen.push(option.kind);
            }
            match (opinion, patience) {
                (Opinion::Good, _) => {}
                (Opinion::Prefer(value), Patience::Left) => {
                    append_option(&mut naks, option.kind, &value);
                }
                (Opinion::Prefer(_), Patience::Exhausted) | (Opinion::Reject, _) => {
                    append_option(&mut rejects, option.kind, option.value);
                }
            }
        }
        if !rejects.is_empty() {
            return Judgement::Reject(rejects);
        }
        if !naks.is_empty() {
            return Judgement::Nak(naks);
        }
        self.peer_mru = mru;
        Judgement::Ack
    }

    fn naked(&mut self, options: Options<'_>) -> Result<(), DownReason> {
        for option in options.iter() {
            match (option.kind, option.value) {
                (MRU, &[high, low]) => {
                    let mru = u16::from_be_bytes([high, low]);
                    if self
                        .mru
                        .is_some_and(|ours| (DEFAULT_MRU..ours).contains(&mru))
                    {
                        self.mru = Some(mru);
                    }
                }
                (AUTH, value) => self.next_method(method_of(value))?,
                (MAGIC, _) if self.magic != 0 => self.magic = nonzero(&mut self.rng),
                _ => {}
            }
        }
        Ok(())
    }

    fn rejected(&mut self, options: Options<'_>) -> Result<(), DownReason> {
        for option in options.iter() {
            match option.kind {
                MRU => self.mru = None,
                AUTH => self.next_method(None)?,
                MAGIC => self.magic = 0,
                kind => self.habits.retain(|(habit, _)| *habit != kind),
            }
        }
        Ok(())
    }
}

/// Returns the value of the Authentication-Protocol option (RFC 1661 §6.2).
const fn value_of(method: AuthMethod) -> &'static [u8] {
    match method {
        AuthMethod::Pap => &[0xc0, 0x23],
        AuthMethod::ChapMd5 => &[0xc2, 0x23, 0x05],
        AuthMethod::MsChapV2 => &[0xc2, 0x23, 0x81],
        AuthMethod::Eap => &[0xc2, 0x27],
    }
}

/// Returns the method that the value names, if we know it.
fn method_of(value: &[u8]) -> Option<AuthMethod> {
    AuthMethod::ALL
        .into_iter()
        .find(|method| value_of(*method) == value)
}

/// Returns a random magic number.
fn nonzero(rng: &mut Rng) -> u32 {
    rng.u32().max(1)
}
