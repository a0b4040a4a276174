//! What RADIUS servers are told of sessions: Start, Interim and Stop, each kept on disk until one has heard it.
//!
//! ```text
//!  session::table ─ open, close ─▶ Driver ─ entries ─▶ disk thread ─▶ radius.accounting.queue
//!                                    │ ▲ ◀─ written ─┘
//!                         datagrams  ▼ │  answers
//!                                    servers
//! ```
//!
//! [`Accounting`] is the handle: it never waits. [`Driver`] is the task that owns `proto`'s sender, the live sessions and
//! the sockets; only the disk thread touches the file. A session's Stop is made when the packet path has let go of its
//! counters, so they are final. After a crash the sessions that were up get their Stop, with what had been written of
//! them, from the next start.
//!
//! Start reading at [`Driver::run`].

mod disk;
mod driver;
mod journal;
mod series;
mod sessions;
mod sockets;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use causeway_proto::aaa::{Applicant, AuthMethod, Authorization};
use causeway_proto::activity::Activity;
use causeway_proto::crypto::SecretBytes;
use causeway_proto::radius::access::Nas;
use causeway_proto::radius::accounting::{Authentic, Holder, session_attributes};
use causeway_proto::terminate::TerminateCause;
use tokio::sync::{mpsc, oneshot};

use crate::radius::Tls;

pub use driver::Driver;

/// So many sessions may have begun without the driver having looked; more go without accounting, and are counted.
const BACKLOG: usize = 65_536;
/// No server wants to hear of a session more often (RFC 2869 §5.16).
const SHORTEST_INTERIM: Duration = Duration::from_secs(60);

/// What accounting needs to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// The servers, the preferred one first.
    pub servers: Vec<Server>,
    /// What the gateway says of itself, as in Access-Request.
    pub nas: Nas,
    /// How often a session that goes on is reported unless its log-in said otherwise; zero is never.
    pub interim: Duration,
    /// Whether Class goes into records.
    pub class: bool,
    /// The file.
    pub queue: PathBuf,
    /// How many records are kept.
    pub queue_max: usize,
    /// How long an answer may take before the record is sent again (RFC 5080 §2.2.1 begins with 2 s).
    pub flight: Duration,
}

/// One server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server {
    /// Its name in logs and metrics.
    pub name: String,
    /// Where it takes accounting.
    pub endpoint: SocketAddr,
    /// The shared secret.
    pub secret: SecretBytes,
    /// The address to send from.
    pub source: Option<IpAddr>,
    /// Over TLS (RFC 6614); `None` is UDP.
    pub tls: Option<Tls>,
}

/// The handle; cheap to clone, and one that is off does nothing.
#[derive(Clone, Debug, Default)]
pub struct Accounting(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    orders: mpsc::UnboundedSender<Order>,
    /// Orders that the driver has not looked at.
    waiting: Arc<AtomicUsize>,
    tickets: AtomicU64,
    nas: Nas,
    interim: Duration,
    class: bool,
}

/// What is told to the driver.
#[derive(Debug)]
enum Order {
    Open(Box<Opening>),
    Close {
        ticket: u64,
        cause: TerminateCause,
        at: SystemTime,
        elapsed: Duration,
    },
    Finish(oneshot::Sender<()>),
}

#[derive(Debug)]
struct Opening {
    ticket: u64,
    account: Account,
    activity: Arc<Activity>,
    at: SystemTime,
    began: Instant,
}

/// What all records of a session have in common.
#[derive(Clone, Debug)]
pub struct Account {
    session: Arc<str>,
    base: Arc<[u8]>,
    interim: Option<Duration>,
}

/// A session whose Start has been ordered; its Stop is ordered with [`Accounting::close`].
#[derive(Debug)]
#[must_use]
pub struct Opened {
    ticket: u64,
    began: Instant,
}

impl Accounting {
    /// Returns the handle that does nothing.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Makes the handle and the task, which is to be run. The file is read here, and what it holds is sent again.
    ///
    /// # Errors
    ///
    /// When the operating system gives no random seed or no thread. A file that cannot be read is none of that: then
    /// the records are kept in memory.
    pub fn start(config: Config) -> std::io::Result<(Self, Driver)> {
        let (orders, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let shared = Shared {
            orders,
            waiting: Arc::clone(&waiting),
            tickets: AtomicU64::new(0),
            nas: config.nas.clone(),
            interim: config.interim,
            class: config.class,
        };
        let driver = Driver::new(config, receiver, waiting)?;
        Ok((Self(Some(Arc::new(shared))), driver))
    }

    /// Makes the account of a session that was let in; `applicant.session` is its Acct-Session-Id.
    #[must_use]
    pub fn account(
        &self,
        applicant: &Applicant,
        authorization: &Authorization,
        (method, authentic): (Option<AuthMethod>, Authentic),
        address: Ipv4Addr,
    ) -> Option<Account> {
        let shared = self.0.as_ref()?;
        let holder = Holder {
            user: authorization.user.as_bytes(),
            classes: if shared.class {
                &authorization.class
            } else {
                &[]
            },
            address,
            method,
            authentic,
        };
        let interim = authorization.interim.unwrap_or(shared.interim);
        Some(Account {
            session: applicant.session.as_str().into(),
            base: session_attributes(&shared.nas, applicant, &holder)?.into(),
            interim: (!interim.is_zero()).then(|| interim.max(SHORTEST_INTERIM)),
        })
    }

    /// Orders the Start of a session that is up now.
    #[must_use]
    pub fn open(&self, account: &Account, activity: &Arc<Activity>) -> Option<Opened> {
        let shared = self.0.as_ref()?;
        if shared.waiting.load(Ordering::Relaxed) >= BACKLOG {
            series::dropped("start", 1);
            return None;
        }
        let opened = Opened {
            ticket: shared.tickets.fetch_add(1, Ordering::Relaxed),
            began: Instant::now(),
        };
        shared.send(Order::Open(Box::new(Opening {
            ticket: opened.ticket,
            account: account.clone(),
            activity: Arc::clone(activity),
            at: SystemTime::now(),
            began: opened.began,
        })));
        Some(opened)
    }

    /// Orders the Stop of a session that has just ended.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "closing a session twice must not compile"
    )]
    pub fn close(&self, opened: Opened, cause: TerminateCause) {
        if let Some(shared) = &self.0 {
            shared.send(Order::Close {
                ticket: opened.ticket,
                cause,
                at: SystemTime::now(),
                elapsed: opened.began.elapsed(),
            });
        }
    }

    /// Says that the gateway stops: Accounting-Off behind the Stops; returns when all was heard, or after a few seconds,
    /// with the rest on disk.
    pub async fn finish(&self) {
        if let Some(shared) = &self.0 {
            let (done, finished) = oneshot::channel();
            shared.send(Order::Finish(done));
            // An error means that the driver has gone already.
            finished.await.unwrap_or_default();
        }
    }
}

impl Shared {
    fn send(&self, order: Order) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // The driver outlives every session, but for a process that is going down.
        self.orders.send(order).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use causeway_proto::aaa::{FramedAddress, Identity, Proof, TunnelKind};
    use causeway_proto::radius::{AttributeType, Attributes};

    fn accounting(interim: u64, class: bool) -> (Accounting, mpsc::UnboundedReceiver<Order>) {
        let (orders, receiver) = mpsc::unbounded_channel();
        let shared = Shared {
            orders,
            waiting: Arc::default(),
            tickets: AtomicU64::new(0),
            nas: Nas::default(),
            interim: Duration::from_secs(interim),
            class,
        };
        (Accounting(Some(Arc::new(shared))), receiver)
    }

    #[expect(
        clippy::unwrap_in_result,
        reason = "none is what an account that is off gives"
    )]
    fn account(accounting: &Accounting, interim: Option<u64>) -> Option<Account> {
        let applicant = Applicant {
            nas_port: 7,
            mtu: 1400,
            ..Applicant::new(
                TunnelKind::Sstp,
                "198.51.100.7:50123".parse().unwrap(),
                "203.0.113.4:443".parse().unwrap(),
                "0a2b3c4d-67439f12".into(),
            )
        };
        let authorization = Authorization {
            user: Identity::new(b"alice").unwrap(),
            proof: Proof::Message(String::new()),
            keys: None,
            address: FramedAddress::Pool,
            pool: None,
            routes: Vec::new(),
            session_timeout: None,
            idle_timeout: None,
            interim: interim.map(Duration::from_secs),
            mtu: None,
            class: vec![b"one".to_vec(), b"two".to_vec()],
            filter: None,
            dns: Vec::new(),
            wins: Vec::new(),
            server: "nps1".into(),
            message: None,
        };
        accounting.account(
            &applicant,
            &authorization,
            (Some(AuthMethod::Pap), Authentic::Radius),
            [10, 99, 0, 2].into(),
        )
    }

    #[test]
    fn the_log_in_says_how_often_and_never_more_than_once_a_minute() {
        let seconds = |configured, said| {
            let (accounting, _orders) = accounting(configured, true);
            let interim = account(&accounting, said).unwrap().interim;
            interim.map(|interim| interim.as_secs())
        };
        assert_eq!(seconds(600, None), Some(600));
        assert_eq!(seconds(600, Some(300)), Some(300));
        assert_eq!(seconds(600, Some(5)), Some(60));
        assert_eq!(seconds(0, None), None);
        assert_eq!(seconds(0, Some(90)), Some(90));
        assert_eq!(seconds(600, Some(0)), None);
    }

    #[test]
    fn class_is_echoed_unless_it_is_not_wanted() {
        for (wanted, expected) in [(true, 2), (false, 0)] {
            let (accounting, _orders) = accounting(600, wanted);
            let base = account(&accounting, None).unwrap().base;
            let classes = Attributes::new(&base)
                .filter(|attribute| attribute.unwrap().kind == AttributeType::CLASS);
            assert_eq!(classes.count(), expected);
        }
        assert!(account(&Accounting::off(), None).is_none());
    }

    #[test]
    fn a_driver_that_does_not_look_keeps_nobody_waiting_and_gets_no_more_than_it_can_hold() {
        let (accounting, mut orders) = accounting(600, true);
        let account = account(&accounting, None).unwrap();
        let activity = Arc::default();
        let opened: Vec<_> = (0..BACKLOG + 10)
            .filter_map(|_| accounting.open(&account, &activity))
            .collect();
        assert_eq!(opened.len(), BACKLOG);
        // Each that began can still end.
        for opened in opened {
            accounting.close(opened, TerminateCause::Admin);
        }
        let mut closed = 0;
        while let Ok(order) = orders.try_recv() {
            closed += usize::from(matches!(order, Order::Close { .. }));
        }
        assert_eq!(closed, BACKLOG);
    }
}
