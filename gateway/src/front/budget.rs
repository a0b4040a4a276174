//! How many connections may wait before they have logged in, and which of them goes when there are too many.
//!
//! There is a cap for all and a cap for each source (an IPv4 address, an IPv6 /64). A newcomer always gets in: at a cap
//! the oldest connection *in the earliest stage* goes, of the same source when it is the source's cap. So a good
//! client, which leaves a stage within milliseconds, is never the one that goes. Log-ins that are being authenticated are
//! neither counted nor thrown out here: admission bounds them.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::Gauge;
use tokio::sync::Notify;

/// The caps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// For all sources together.
    pub total: usize,
    /// For one source; generous, because a customer's office is one address.
    pub per_source: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total: 4096,
            per_source: 256,
        }
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Stage {
    /// Its PROXY header is awaited.
    Proxy,
    /// Its TLS handshake runs, or it has said nothing yet.
    Tls,
    /// It has spoken and waits for us: more came than `limits.new_per_second` allows. Who says nothing goes before it.
    Waiting,
    /// Its HTTP request is awaited, or answered.
    Http,
    /// It speaks SSTP and has not sent credentials yet.
    Negotiation,
    /// Its credentials are with the authenticator.
    Authentication,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 6] = [
        Self::Proxy,
        Self::Tls,
        Self::Waiting,
        Self::Http,
        Self::Negotiation,
        Self::Authentication,
    ];

    /// Returns the word for labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Negotiation => "negotiation",
            Self::Authentication => "authentication",
        }
    }

    const fn is_counted(self) -> bool {
        match self {
            Self::Waiting | Self::Proxy | Self::Tls | Self::Http | Self::Negotiation => true,
            Self::Authentication => false,
        }
    }
}

/// The places of the front door; clones share them.
#[derive(Clone, Debug)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: Limits,
    places: Mutex<Places>,
    gauges: [Gauge; 6],
}

#[derive(Debug, Default)]
struct Places {
    next: u64,
    entries: HashMap<u64, Entry>,
    /// All that may be thrown out: the first one goes first.
    order: BTreeSet<(Stage, u64)>,
    by_source: HashMap<Source, BTreeSet<(Stage, u64)>>,
}

#[derive(Debug)]
struct Entry {
    stage: Stage,
    source: Option<Source>,
    eviction: Eviction,
}

/// Whom a connection is put down to: an IPv4 address or an IPv6 /64.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Source(IpAddr);

impl Source {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(IpAddr::V4(address)),
            IpAddr::V6(address) => {
                let prefix = Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX));
                Self(IpAddr::V6(prefix))
            }
        }
    }
}

/// The news that a place was given to somebody else.
#[derive(Clone, Debug, Default)]
pub struct Eviction {
    notify: Arc<Notify>,
}

impl Eviction {
    /// Returns when the connection must go; cancel-safe. One holder at a time is told.
    pub async fn evicted(&self) {
        self.notify.notified().await;
    }
}

/// A connection's place; dropping it gives the place back.
#[derive(Debug)]
#[must_use]
pub struct Ticket {
    id: u64,
    eviction: Eviction,
    shared: Arc<Shared>,
}

impl Budget {
    /// Makes the places.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let gauges = Stage::ALL
            .map(|stage| metrics::gauge!("causeway_front_connections", "stage" => stage.as_str()));
        Self {
            shared: Arc::new(Shared {
                limits,
                places: Mutex::default(),
                gauges,
            }),
        }
    }

    /// Gives a connection a place in a stage; a source of `None` is not put down to anybody yet.
    pub fn admit(&self, source: Option<IpAddr>, stage: Stage) -> Ticket {
        let source = source.map(Source::of);
        let mut places = self.shared.lock();
        self.shared.make_room(&mut places, source);
        let id = places.next;
        places.next += 1;
        let eviction = Eviction::default();
        places.insert(
            id,
            Entry {
                stage,
                source,
                eviction: eviction.clone(),
            },
        );
        drop(places);
        self.shared.gauge(stage).increment(1.0);
        Ticket {
            id,
            eviction,
            shared: Arc::clone(&self.shared),
        }
    }

    /// Throws out the oldest connection in the earliest stage, to get a descriptor back.
    pub fn evict_one(&self) {
        let mut places = self.shared.lock();
        if let Some(&(_, id)) = places.order.first() {
            self.shared.evict(&mut places, id);
        }
    }

    /// Returns how many connections are counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.lock().order.len()
    }

    /// Returns whether no connection is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_room(&self, places: &mut Places, source: Option<Source>) {
        if let Some(victim) = source
            .and_then(|source| places.by_source.get(&source))
            .filter(|of_source| of_source.len() >= self.limits.per_source)
            .and_then(|of_source| of_source.first())
        {
            let id = victim.1;
            self.evict(places, id);
        }
        if places.order.len() >= self.limits.total
            && let Some(&(_, id)) = places.order.first()
        {
            self.evict(places, id);
        }
    }

    fn evict(&self, places: &mut Places, id: u64) {
        if let Some(entry) = places.remove(id) {
            self.gauge(entry.stage).decrement(1.0);
            entry.eviction.notify.notify_one();
        }
    }

    fn gauge(&self, stage: Stage) -> &Gauge {
        let [waiting, proxy, tls, http, negotiation, authentication] = &self.gauges;
        match stage {
            Stage::Waiting => waiting,
            Stage::Proxy => proxy,
            Stage::Tls => tls,
            Stage::Http => http,
            Stage::Negotiation => negotiation,
            Stage::Authentication => authentication,
        }
    }
}

impl Places {
    fn insert(&mut self, id: u64, entry: Entry) {
        if entry.stage.is_counted() {
            self.order.insert((entry.stage, id));
            if let Some(source) = entry.source {
                self.by_source
                    .entry(source)
                    .or_default()
                    .insert((entry.stage, id));
            }
        }
        self.entries.insert(id, entry);
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.order.remove(&(entry.stage, id));
        if let Some(source) = entry.source
            && let Some(of_source) = self.by_source.get_mut(&source)
        {
            of_source.remove(&(entry.stage, id));
            if of_source.is_empty() {
                self.by_source.remove(&source);
            }
        }
        Some(entry)
    }
}

impl Ticket {
    /// Writes down that the connection has reached a stage.
    pub fn advance(&self, stage: Stage) {
        let mut places = self.shared.lock();
        let Some(mut entry) = places.remove(self.id) else {
            return;
        };
        let before = entry.stage;
        entry.stage = stage;
        places.insert(self.id, entry);
        drop(places);
        self.shared.gauge(before).decrement(1.0);
        self.shared.gauge(stage).increment(1.0);
    }

    /// Puts the connection down to a source, once the load balancer has said which it is.
    pub fn attribute(&self, source: IpAddr) {
        let source = Source::of(source);
        let mut places = self.shared.lock();
        let Some(mut entry) = places.remove(self.id) else {
            return;
        };
        self.shared.make_room(&mut places, Some(source));
        entry.source = Some(source);
        places.insert(self.id, entry);
    }

    /// Returns how to learn that the place was given to somebody else: the holder then closes the connection.
    #[must_use]
    pub fn eviction(&self) -> Eviction {
        self.eviction.clone()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let removed = self.shared.lock().remove(self.id);
        if let Some(entry) = removed {
            self.shared.gauge(entry.stage).decrement(1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_evicted(ticket: &Ticket) -> bool {
        let eviction = ticket.eviction();
        let mut evicted = pin!(eviction.evicted());
        evicted
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            == Poll::Ready(())
    }

    fn source(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn the_oldest_in_the_earliest_stage_goes() {
        let budget = Budget::new(Limits {
            total: 3,
            per_source: 3,
        });
        let further = budget.admit(Some(source(1)), Stage::Tls);
        further.advance(Stage::Http);
        let oldest = budget.admit(Some(source(2)), Stage::Tls);
        let newer = budget.admit(Some(source(3)), Stage::Tls);
        let newcomer = budget.admit(Some(source(4)), Stage::Tls);
        assert!(is_evicted(&oldest));
        assert!(!is_evicted(&further) && !is_evicted(&newer) && !is_evicted(&newcomer));
        assert_eq!(budget.len(), 3);
        drop((further, oldest, newer, newcomer));
        assert!(budget.is_empty());
        assert!(budget.shared.lock().by_source.is_empty());
    }

    #[test]
    fn who_says_nothing_goes_before_who_waits_for_us() {
        let budget = Budget::new(Limits {
            total: 2,
            per_source: 2,
        });
        let waiting = budget.admit(Some(source(1)), Stage::Tls);
        waiting.advance(Stage::Waiting);
        let silent = budget.admit(Some(source(2)), Stage::Tls);
        let newcomer = budget.admit(Some(source(3)), Stage::Tls);
        assert!(is_evicted(&silent));
        assert!(!is_evicted(&waiting) && !is_evicted(&newcomer));
    }

    #[test]
    fn a_source_at_its_cap_throws_out_its_own() {
        let budget = Budget::new(Limits {
            total: 100,
            per_source: 2,
        });
        let other = budget.admit(Some(source(1)), Stage::Tls);
        let first = budget.admit(Some(source(2)), Stage::Tls);
        let second = budget.admit(Some(source(2)), Stage::Tls);
        let third = budget.admit(Some(source(2)), Stage::Tls);
        assert!(is_evicted(&first));
        assert!(!is_evicted(&other) && !is_evicted(&second) && !is_evicted(&third));
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let budget = Budget::new(Limits {
            total: 100,
            per_source: 1,
        });
        let first = budget.admit(Some("2001:db8:1:2::1".parse().unwrap()), Stage::Tls);
        let neighbour = budget.admit(Some("2001:db8:1:3::1".parse().unwrap()), Stage::Tls);
        let second = budget.admit(Some("2001:db8:1:2:ffff::1".parse().unwrap()), Stage::Tls);
        assert!(is_evicted(&first));
        assert!(!is_evicted(&neighbour) && !is_evicted(&second));
    }

    #[test]
    fn a_log_in_that_is_being_authenticated_stays() {
        let budget = Budget::new(Limits {
            total: 1,
            per_source: 1,
        });
        let waiting = budget.admit(Some(source(1)), Stage::Tls);
        waiting.advance(Stage::Authentication);
        let newcomer = budget.admit(Some(source(1)), Stage::Tls);
        assert!(!is_evicted(&waiting) && !is_evicted(&newcomer));
        assert_eq!(budget.len(), 1);
    }

    #[test]
    fn a_load_balancer_is_not_a_source() {
        let budget = Budget::new(Limits {
            total: 100,
            per_source: 1,
        });
        let first = budget.admit(None, Stage::Proxy);
        let second = budget.admit(None, Stage::Proxy);
        assert!(!is_evicted(&first));
        first.attribute(IpAddr::from([192, 0, 2, 1]));
        second.attribute(IpAddr::from([192, 0, 2, 1]));
        assert!(is_evicted(&first));
        assert!(!is_evicted(&second));
    }

    #[test]
    fn a_short_supply_of_descriptors_costs_the_oldest() {
        let budget = Budget::new(Limits::default());
        budget.evict_one();
        let first = budget.admit(Some(source(1)), Stage::Tls);
        budget.evict_one();
        assert!(is_evicted(&first));
        assert!(budget.is_empty());
    }
}
