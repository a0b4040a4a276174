//! What the authenticator allowed a device's sessions, in as little room as it takes: there may be very many devices.

use std::net::Ipv4Addr;
use std::time::Duration;

use causeway_proto::aaa::{Authorization, FramedAddress, Identity, Proof};

/// The part of an [`Authorization`] that later sessions need.
#[derive(Clone, Debug)]
pub(super) struct Allowed {
    user: Identity,
    pool: Option<Box<str>>,
    filter: Option<Box<str>>,
    server: Box<str>,
    class: Box<[Box<[u8]>]>,
    dns: Box<[Ipv4Addr]>,
    wins: Box<[Ipv4Addr]>,
    /// In seconds, as the two below; so says RADIUS, too.
    session_timeout: Option<u32>,
    idle_timeout: Option<u32>,
    interim: Option<u32>,
    mtu: Option<u16>,
}

impl Allowed {
    /// Takes what later sessions need, and nothing that proves the log-in.
    pub(super) fn of(authorization: &Authorization) -> Self {
        let Authorization {
            user,
            proof: _,
            keys: _,
            // The device has its own.
            address: _,
            pool,
            // Sessions of enrolled devices have no networks behind them.
            routes: _,
            session_timeout,
            idle_timeout,
            interim,
            mtu,
            class,
            filter,
            dns,
            wins,
            server,
            message: _,
        } = authorization;
        let text = |text: &Option<String>| text.as_deref().map(Box::from);
        Self {
            user: user.clone(),
            pool: text(pool),
            filter: text(filter),
            server: server.as_str().into(),
            class: class.iter().map(|class| class.as_slice().into()).collect(),
            dns: dns.as_slice().into(),
            wins: wins.as_slice().into(),
            session_timeout: session_timeout.map(seconds),
            idle_timeout: idle_timeout.map(seconds),
            interim: interim.map(seconds),
            mtu: *mtu,
        }
    }

    pub(super) const fn user(&self) -> &Identity {
        &self.user
    }

    /// Returns it as a log-in would be answered with it, without proof and keys.
    pub(super) fn authorization(&self) -> Authorization {
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        let time = |seconds: Option<u32>| seconds.map(|s| Duration::from_secs(s.into()));
        Authorization {
            user: self.user.clone(),
            proof: Proof::Message(String::new()),
            keys: None,
            address: FramedAddress::Pool,
            pool: text(&self.pool),
            routes: Vec::new(),
            session_timeout: time(self.session_timeout),
            idle_timeout: time(self.idle_timeout),
            interim: time(self.interim),
            mtu: self.mtu,
            class: self.class.iter().map(|class| class.to_vec()).collect(),
            filter: text(&self.filter),
            dns: self.dns.to_vec(),
            wins: self.wins.to_vec(),
            server: self.server.to_string(),
            message: None,
        }
    }
}

/// Returns whole seconds; more than there is room for is as good as for ever.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
