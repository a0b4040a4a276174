//! Who is enrolled: three ways to one device, kept in step.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::SystemTime;

use causeway_proto::aaa::{FramedAddress, Identity};
use causeway_proto::terminate::TerminateCause;
use causeway_proto::wireguard::{PeerId, PublicKey};
use tokio::sync::mpsc;
use tracing::warn;

use crate::session::pool::{LeaseError, Pin, Pools};

use super::allowed::Allowed;
use super::form::Contents;
use super::peer::{Origin, Peer, Seen, folded};
use super::{Change, EnrolError, Enrolment, FindError, MAX_NAME, Settings};

/// The books of the register.
#[derive(Debug, Default)]
pub(super) struct Books {
    peers: HashMap<PeerId, Arc<Peer>>,
    by_key: HashMap<PublicKey, PeerId>,
    /// By the lower-case name.
    by_user: HashMap<Vec<u8>, Vec<PeerId>>,
    /// The lowest id that no device has had.
    next: u32,
    /// Counts changes that must not be lost.
    version: u64,
    subscribers: Vec<mpsc::UnboundedSender<Change>>,
}

impl Books {
    /// Makes the books of a file, or says in which of its lines what is wrong.
    pub(super) fn of(contents: Contents, pools: &Pools) -> Result<Self, (usize, String)> {
        let mut books = Self {
            next: contents.next,
            ..Self::default()
        };
        let mut homeless = 0_usize;
        for (line, mut peer) in contents.peers {
            if books.peers.contains_key(&peer.id) {
                return Err((line, format!("id {} stands twice", peer.id.0)));
            }
            if books.by_key.contains_key(&peer.key) {
                return Err((line, format!("the key {} stands twice", peer.key)));
            }
            match pools.pin(peer.user(), &peer.name, None, Some(peer.address)) {
                Ok(pin) => peer.pin = Some(Arc::new(pin)),
                Err(LeaseError::Taken(address)) => {
                    return Err((line, format!("the address {address} stands twice")));
                }
                // The pools are others than they were; the device keeps everything but its address.
                Err(_) => homeless += 1,
            }
            books.insert(Arc::new(peer));
        }
        if homeless > 0 {
            warn!(
                devices = homeless,
                "enrolled devices have addresses that are in no pool any more; they are refused until they are enrolled again"
            );
        }
        Ok(books)
    }

    pub(super) fn enrol(
        &mut self,
        now: SystemTime,
        enrolment: Enrolment,
        settings: &Settings,
        pools: &Pools,
    ) -> Result<Arc<Peer>, EnrolError> {
        let expires = expiry(now, &enrolment, settings)?;
        let old = self.by_key(&enrolment.key);
        if let Some(old) = &old {
            if folded(old.user()) != folded(&enrolment.authorization.user) {
                return Err(EnrolError::KeyOfAnother);
            }
            if old.origin == Origin::Administrator && enrolment.origin == Origin::Login {
                return Ok(Arc::clone(old));
            }
            return self.renew(old, enrolment, expires, settings, pools);
        }
        let name = self.name(&enrolment)?;
        self.make_room(now, &enrolment, settings)?;
        let pin = pin(&enrolment, &name, settings, pools)?;
        let peer = Arc::new(Peer {
            id: PeerId(self.next),
            name: name.into(),
            key: enrolment.key,
            preshared_key: enrolment.preshared_key,
            allowed: Allowed::of(&enrolment.authorization),
            method: enrolment.method,
            origin: enrolment.origin,
            address: pin.address(),
            pin: Some(Arc::new(pin)),
            created: now,
            expires,
            seen: Arc::new(Seen::default()),
        });
        self.next = self.next.saturating_add(1);
        self.insert(Arc::clone(&peer));
        self.tell(&Change::Added(Arc::clone(&peer)));
        Ok(peer)
    }

    /// The same device of the same user: at the same address, unless the authenticator names another one.
    fn renew(
        &mut self,
        old: &Arc<Peer>,
        enrolment: Enrolment,
        expires: Option<SystemTime>,
        settings: &Settings,
        pools: &Pools,
    ) -> Result<Arc<Peer>, EnrolError> {
        let elsewhere = named(&enrolment, settings).is_some_and(|wanted| wanted != old.address);
        let pin = match &old.pin {
            Some(pin) if !elsewhere => Arc::clone(pin),
            Some(_) | None => Arc::new(pin(&enrolment, &old.name, settings, pools)?),
        };
        if let Some(former) = old.pin.as_ref().filter(|former| !Arc::ptr_eq(former, &pin)) {
            former.release();
        }
        let same_secret =
            enrolment.preshared_key.is_none() || enrolment.preshared_key == old.preshared_key;
        let peer = Arc::new(Peer {
            address: pin.address(),
            pin: Some(pin),
            preshared_key: enrolment
                .preshared_key
                .or_else(|| old.preshared_key.clone()),
            allowed: Allowed::of(&enrolment.authorization),
            method: enrolment.method,
            origin: enrolment.origin,
            ..old.until(expires)
        });
        self.peers.insert(peer.id, Arc::clone(&peer));
        if same_secret && peer.address == old.address {
            self.tell(&Change::Renewed(Arc::clone(&peer)));
        } else {
            // Its session is one of the old address, or of the old secret.
            self.tell(&Change::Removed {
                id: peer.id,
                cause: TerminateCause::Replaced,
            });
            self.tell(&Change::Added(Arc::clone(&peer)));
        }
        Ok(peer)
    }

    /// Returns a name that no other device of the user has.
    fn name(&self, enrolment: &Enrolment) -> Result<String, EnrolError> {
        let of_user = self.of_user(&enrolment.authorization.user);
        let taken = |name: &str| {
            let devices = of_user.iter().filter_map(|id| self.peers.get(id));
            devices.into_iter().any(|peer| *peer.name == *name)
        };
        if !taken(&enrolment.name) {
            return Ok(enrolment.name.clone());
        }
        if enrolment.origin == Origin::Administrator {
            return Err(EnrolError::NameTaken);
        }
        let mut stem = String::new();
        for c in enrolment.name.chars() {
            // Room for a number.
            if stem.len() + c.len_utf8() > MAX_NAME - 8 {
                break;
            }
            stem.push(c);
        }
        let stem = stem.trim_end();
        let mut numbers = 2_u32..;
        let free = numbers.find_map(|number| {
            let name = format!("{stem}-{number}");
            (!taken(&name)).then_some(name)
        });
        free.ok_or(EnrolError::NameTaken)
    }

    /// Removes the user's device that expired first if that makes room.
    fn make_room(
        &mut self,
        now: SystemTime,
        enrolment: &Enrolment,
        settings: &Settings,
    ) -> Result<(), EnrolError> {
        let ids = self.of_user(&enrolment.authorization.user);
        let crowded = ids.len() >= settings.devices_per_user;
        if !crowded && self.peers.len() < settings.devices {
            return Ok(());
        }
        let expired = ids
            .iter()
            .filter_map(|id| self.peers.get(id))
            .filter(|peer| !peer.is_open(now))
            .min_by_key(|peer| peer.expires)
            .map(|peer| peer.id);
        match expired {
            Some(id) if settings.devices_per_user > 0 => {
                self.remove(id, TerminateCause::Replaced);
                Ok(())
            }
            Some(_) | None if crowded => Err(EnrolError::TooManyDevices(ids.len())),
            Some(_) | None => Err(EnrolError::Full),
        }
    }

    pub(super) fn remove(&mut self, id: PeerId, cause: TerminateCause) {
        let Some(peer) = self.peers.remove(&id) else {
            return;
        };
        // Others may still have this device in hand.
        if let Some(pin) = &peer.pin {
            pin.release();
        }
        self.by_key.remove(&peer.key);
        let user = folded(peer.user());
        if let Some(ids) = self.by_user.get_mut(&user) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_user.remove(&user);
            }
        }
        self.tell(&Change::Removed { id, cause });
    }

    pub(super) fn remove_if(&mut self, gone: impl Fn(&Peer) -> bool) -> usize {
        let ids: Vec<_> = self
            .peers
            .values()
            .filter(|peer| gone(peer))
            .map(|peer| peer.id)
            .collect();
        for id in &ids {
            self.remove(*id, TerminateCause::AuthenticationExpired);
        }
        ids.len()
    }

    /// Ends a log-in; false when there was none.
    pub(super) fn expire(&mut self, now: SystemTime, id: PeerId) -> bool {
        let Some(peer) = self.peers.get(&id) else {
            return false;
        };
        if peer.origin == Origin::Administrator || !peer.is_open(now) {
            return false;
        }
        let ended = Arc::new(peer.until(Some(now)));
        self.peers.insert(id, ended);
        self.version += 1;
        true
    }

    pub(super) fn find(&self, what: &str) -> Result<Arc<Peer>, FindError> {
        if let Ok(key) = what.parse::<PublicKey>() {
            return self.by_key(&key).ok_or(FindError::Unknown);
        }
        let number = what.parse().ok().and_then(|id| self.by_id(PeerId(id)));
        let called = |peer: &Arc<Peer>| match what.rsplit_once('/') {
            Some((user, name)) => {
                *peer.name == *name && peer.user().display().eq_ignore_ascii_case(user)
            }
            None => *peer.name == *what,
        };
        let mut found: Vec<_> = self
            .peers
            .values()
            .filter(|peer| called(peer))
            .map(Arc::clone)
            .chain(number)
            .collect();
        found.sort_by_key(|peer| peer.id);
        found.dedup_by_key(|peer| peer.id);
        match found.as_slice() {
            [] => Err(FindError::Unknown),
            [peer] => Ok(Arc::clone(peer)),
            several => Err(FindError::Ambiguous(
                several.iter().map(|peer| peer.id).collect(),
            )),
        }
    }

    pub(super) fn by_key(&self, key: &PublicKey) -> Option<Arc<Peer>> {
        self.by_key.get(key).and_then(|id| self.by_id(*id))
    }

    pub(super) fn by_id(&self, id: PeerId) -> Option<Arc<Peer>> {
        self.peers.get(&id).map(Arc::clone)
    }

    pub(super) fn of_user(&self, user: &Identity) -> Vec<PeerId> {
        self.by_user.get(&folded(user)).cloned().unwrap_or_default()
    }

    pub(super) fn list(&self) -> Vec<Arc<Peer>> {
        let mut all: Vec<_> = self.peers.values().map(Arc::clone).collect();
        all.sort_unstable_by_key(|peer| peer.id);
        all
    }

    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    pub(super) const fn next(&self) -> u32 {
        self.next
    }

    pub(super) fn subscribe(&mut self) -> mpsc::UnboundedReceiver<Change> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.subscribers.push(sender);
        receiver
    }

    fn insert(&mut self, peer: Arc<Peer>) {
        self.by_key.insert(peer.key, peer.id);
        self.by_user
            .entry(folded(peer.user()))
            .or_default()
            .push(peer.id);
        self.peers.insert(peer.id, peer);
    }

    fn tell(&mut self, change: &Change) {
        self.version += 1;
        self.subscribers
            .retain(|subscriber| subscriber.send(change.clone()).is_ok());
    }
}

/// Returns until when a device that is enrolled now may have sessions.
fn expiry(
    now: SystemTime,
    enrolment: &Enrolment,
    settings: &Settings,
) -> Result<Option<SystemTime>, EnrolError> {
    let of_login = match enrolment.origin {
        Origin::Login => [settings.reauth, enrolment.authorization.session_timeout],
        Origin::Administrator => [None, None],
    };
    let lifetime = of_login
        .into_iter()
        .chain([enrolment.lifetime])
        .flatten()
        .min();
    match lifetime {
        Some(lifetime) if lifetime.is_zero() => Err(EnrolError::NoTime),
        // What is beyond the end of time never comes.
        Some(lifetime) => Ok(now.checked_add(lifetime)),
        None => Ok(None),
    }
}

/// Returns the address that the authenticator, or the administrator, names.
fn named(enrolment: &Enrolment, settings: &Settings) -> Option<Ipv4Addr> {
    let honoured = settings.framed_ip || enrolment.origin == Origin::Administrator;
    match enrolment.authorization.address {
        FramedAddress::Fixed(address) if honoured => Some(address),
        FramedAddress::Fixed(_) | FramedAddress::Pool | FramedAddress::ClientChooses => None,
    }
}

fn pin(
    enrolment: &Enrolment,
    name: &str,
    settings: &Settings,
    pools: &Pools,
) -> Result<Pin, LeaseError> {
    let authorization = &enrolment.authorization;
    let pool = authorization.pool.as_ref().or(settings.pool.as_ref());
    let wanted = named(enrolment, settings);
    pools.pin(&authorization.user, name, pool.map(String::as_str), wanted)
}
