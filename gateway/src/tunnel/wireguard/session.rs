//! The sessions of enrolled devices.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use causeway_proto::aaa::Identity;
use causeway_proto::activity::Activity;
use causeway_proto::ip::filter::Filter;
use causeway_proto::terminate::TerminateCause;
use causeway_proto::wireguard::{PeerId, Role};
use tracing::{Span, debug, info, info_span};

use super::{Driver, FIRST_HANDSHAKE};
use crate::dataplane::{DatagramAttachment, DatagramSession, Endpoint};
use crate::ids::SessionId;
use crate::session::SessionGuard;
use crate::session::admission::Seat;
use crate::session::peers::Peer;

/// A session: its seat, and its place in the packet path.
pub(super) struct Live {
    pub(super) attachment: DatagramAttachment,
    guard: SessionGuard,
    activity: Arc<Activity>,
    user: Identity,
    device: Box<str>,
    address: Ipv4Addr,
    endpoint: Option<Endpoint>,
    /// Whether it was up at least once.
    greeted: bool,
    since: Instant,
    /// What holds its packets back.
    filter: Option<Arc<Filter>>,
    /// When the log-in ends that the session's time is taken from.
    log_in_ends: Option<SystemTime>,
}

impl Live {
    /// Makes the span of what is logged about the session; there is little, and a span that is kept takes room.
    fn span(&self) -> Span {
        info_span!("session", session = %self.id(), tunnel = "mobility", peer = &*self.device)
    }

    pub(super) const fn id(&self) -> SessionId {
        self.guard.id()
    }

    /// Returns where the device is.
    pub(super) const fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint
    }

    /// Returns the address of where the device is.
    pub(super) fn remote(&self) -> Option<SocketAddr> {
        self.endpoint.map(|endpoint| endpoint.path.remote)
    }

    /// Puts another filter in force and notes its name.
    pub(super) fn set_filter(&mut self, filter: Option<Arc<Filter>>) {
        self.filter.clone_from(&filter);
        let name = filter.as_ref().map(|filter| filter.name().to_owned());
        self.span().in_scope(|| {
            info!(
                event = "filter",
                filter = name.as_deref(),
                "the session has another filter"
            );
        });
        self.attachment.set_filter(filter);
        self.guard.update(|facts| facts.filter = name);
    }

    /// A handshake is complete; returns whether it was the first.
    pub(super) fn reached(&mut self, role: Role) -> bool {
        self.guard.set_up();
        let remote = self.remote();
        self.span().in_scope(|| {
            if self.greeted {
                debug!(event = "rekey", ?role, client.address = remote.map(tracing::field::display), "new keys");
            } else {
                info!(event = "session_up", user.name = %self.user.display(), inner.ip = %self.address,
                    client.address = remote.map(tracing::field::display), "session up");
            }
        });
        !std::mem::replace(&mut self.greeted, true)
    }

    /// No key is alive any more.
    pub(super) fn unreachable(&mut self) {
        self.attachment.remove_sending();
        self.guard.set_unreachable();
        self.span().in_scope(|| {
            debug!(
                event = "unreachable",
                "the device is not heard of; its session is kept"
            );
        });
    }
}

impl Driver {
    /// Opens the session of a device that has shown its key; returns whether it is admitted.
    pub(super) fn open(&mut self, id: PeerId, way: Option<Endpoint>) -> bool {
        let Some(peer) = self.peers.by_id(id) else {
            return false;
        };
        if self.sessions.contains_key(&id) {
            return true;
        }
        if !peer.is_open(self.peers.now()) {
            debug!(peer = peer.name(), user.name = %peer.user().display(), "the device's log-in has expired");
            return false;
        }
        let Some((way, local)) = way.and_then(|way| Some((way, self.sockets.local(&way)?))) else {
            return false;
        };
        let seat = match self
            .admission
            .resume(&peer, way.path.remote, local, &self.orders.0)
        {
            Ok(seat) => seat,
            Err(refusal) => {
                info!(event = "session_refused", peer = peer.name(), user.name = %peer.user().display(),
                    reason = refusal.reason.as_str(), "an enrolled device was not let in");
                return false;
            }
        };
        match self.attach(&peer, seat, Some(way)) {
            Some(live) => {
                self.sessions.insert(id, Box::new(live));
                self.patience.arm(id, Instant::now() + FIRST_HANDSHAKE);
                self.note_place(id, None, way);
                self.peers.note_arrived(id, way.path.remote);
                true
            }
            None => false,
        }
    }

    fn attach(&mut self, peer: &Peer, mut seat: Seat, way: Option<Endpoint>) -> Option<Live> {
        let network = seat.network.take()?;
        let id = seat.guard.id();
        let attached = self.data_plane.attach_datagram(DatagramSession {
            id,
            address: network.address,
            mtu: network.mtu,
            filter: seat.filter.clone(),
            peer: peer.id(),
            shard: self.shard(peer.id()),
            activity: Arc::clone(&seat.activity),
            peer_activity: self.interface.activity(peer.id())?,
            notices: self.notices.0.clone(),
        });
        let attachment = match attached {
            Ok(attachment) => attachment,
            Err(error) => {
                tracing::error!(%error, "the data plane took no session");
                seat.guard.set_cause(TerminateCause::ServerStop);
                return None;
            }
        };
        if let Some(way) = way {
            attachment.set_endpoint(way);
        }
        let endpoint = way;
        Some(Live {
            attachment,
            guard: seat.guard,
            activity: seat.activity,
            user: seat.user,
            device: peer.name().into(),
            address: network.address,
            endpoint,
            greeted: false,
            since: Instant::now(),
            filter: seat.filter,
            log_in_ends: peer.expires(),
        })
    }

    /// Calls a device that was there when the gateway stopped: opens its session and begins a handshake.
    pub(super) fn call(&mut self, now: Instant, id: PeerId) {
        let way = self
            .peers
            .by_id(id)
            .and_then(|peer| peer.endpoint())
            .and_then(|remote| self.way(&[], remote));
        if way.is_some() && !self.sessions.contains_key(&id) && self.open(id, way) {
            self.interface.handle_decision(now, id, true);
            self.interface.handle_need(now, id);
        }
    }

    /// Notes where the device is: a handshake came from there.
    pub(super) fn moved(&mut self, id: PeerId, way: Option<Endpoint>, role: Role) {
        let (Some(live), Some(way)) = (self.sessions.get_mut(&id), way) else {
            return;
        };
        // What the device began, its data has confirmed: the packet path knows where that came from, and by now perhaps more.
        if role == Role::Initiator {
            live.attachment.set_endpoint(way);
        }
        if live.endpoint == Some(way) {
            return;
        }
        let before = live.endpoint.replace(way);
        live.guard.set_remote(way.path.remote);
        self.note_place(id, before, way);
    }

    fn note_place(&mut self, id: PeerId, before: Option<Endpoint>, now: Endpoint) {
        self.forget_place(id, before);
        self.places.insert(now.path.remote, id);
    }

    fn forget_place(&mut self, id: PeerId, before: Option<Endpoint>) {
        let Some(before) = before else { return };
        // By now it may be the place of another device.
        if self.places.get(&before.path.remote) == Some(&id) {
            self.places.remove(&before.path.remote);
        }
    }

    /// The device is somewhere else.
    pub(super) fn roamed(&mut self, id: PeerId, to: Endpoint) {
        let Some(live) = self.sessions.get_mut(&id) else {
            return;
        };
        // What is told is at most one place a second: by now it may be another one.
        let to = live.attachment.endpoint().unwrap_or(to);
        let before = live.endpoint.replace(to);
        live.guard.roamed(to.path.remote);
        metrics::counter!("causeway_session_roams_total", "protocol" => "mobility").increment(1);
        live.span().in_scope(|| {
            debug!(event = "roamed", from = before.map(|before| tracing::field::display(before.path.remote)), to = %to.path.remote, "the device is somewhere else");
        });
        self.peers.note_seen(id, Some(to.path.remote), [0; 12]);
        self.note_place(id, before, to);
    }

    /// A device has been enrolled again: its session goes on as the new log-in says.
    pub(super) fn renewed(&mut self, peer: &Peer) {
        let Some(live) = self.sessions.get_mut(&peer.id()) else {
            return;
        };
        live.log_in_ends = peer.expires();
        let id = live.id();
        let (limits, filter) = match self.admission.renew(peer, self.peers.now()) {
            Ok(renewed) => renewed,
            Err(refusal) => {
                info!(event = "session_refused", peer = peer.name(), user.name = %peer.user().display(),
                    reason = refusal.reason.as_str(), "the new log-in of a device allows no session; the old one ends");
                return self.end(peer.id(), TerminateCause::Replaced);
            }
        };
        self.admission.table().change_limits(id, limits);
        if live.filter != filter {
            live.set_filter(filter);
        }
    }

    /// Returns whether the user of a device has logged in again, and the session does not know.
    pub(super) fn is_renewed(&self, id: PeerId) -> bool {
        let (Some(live), Some(peer)) = (self.sessions.get(&id), self.peers.by_id(id)) else {
            return false;
        };
        live.log_in_ends != peer.expires() && peer.is_open(self.peers.now())
    }

    /// Lets a session that is up last as long as the log-in: that may have been renewed since the session was opened, and
    /// its time ran while the first handshake was on its way.
    pub(super) fn last_as_long_as_the_log_in(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.by_id(id) {
            self.renewed(&peer);
        }
    }

    /// Ends a session, if there is one, and makes the machine forget its keys.
    pub(super) fn end(&mut self, id: PeerId, cause: TerminateCause) {
        self.patience.stop(id);
        let Some(mut live) = self.sessions.remove(&id) else {
            return;
        };
        let now = Instant::now();
        self.forget_place(id, live.endpoint);
        // After a stop, and one that was announced, it is called.
        if !matches!(cause, TerminateCause::ServerStop | TerminateCause::Drain) {
            self.peers.note_left(id);
        }
        self.interface.remove_peer(now, id);
        if let Some(peer) = self.peers.by_id(id) {
            self.know(now, &peer);
        }
        live.guard.set_cause(cause);
        let usage = live.activity.usage();
        live.span().in_scope(|| {
            info!(event = "session_end", user.name = %live.user.display(), inner.ip = %live.address, end_cause = cause.as_str(),
                code = cause.number(), rx_bytes = usage.up_octets, tx_bytes = usage.down_octets,
                duration_s = live.since.elapsed().as_secs(), "session ended");
        });
        drop(live);
    }
}
