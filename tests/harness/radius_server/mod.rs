//! A RADIUS server on loopback that really checks passwords and lies as its [`Script`] says.
//!
//! As NPS does, it says nothing to a datagram that it has seen already. It keeps books, so that a test can ask how
//! many requests one log-in cost.

mod check;
mod lies;
mod script;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use causeway_proto::radius::authenticator::{MessageAuthenticator, verify_message_authenticator};
use causeway_proto::radius::{Code, MAX_LEN, Packet};
use causeway_proto::wire::Decode;

use check::Conversations;
pub use lies::{LIES, Lie, Truth, Worth};
pub use script::{Fault, Script};

/// The books.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Requests that differ from each other.
    pub requests: usize,
    /// Datagrams that were seen before.
    pub identical: usize,
    /// Datagrams that are no request of a client that knows the secret.
    pub refused: usize,
    /// Accepts sent.
    pub accepts: usize,
}

/// The server; it stops when it is dropped, and then its host refuses datagrams.
#[derive(Debug)]
pub struct RadiusServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    script: Mutex<Script>,
    books: Mutex<Books>,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct Books {
    counts: Counts,
    /// Every datagram and how often it came.
    seen: HashMap<(SocketAddr, Vec<u8>), usize>,
    /// In order, each once.
    requests: Vec<Vec<u8>>,
}

impl RadiusServer {
    /// Starts on a free port.
    pub fn start(script: Script) -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), script)
    }

    /// Starts on a given port.
    pub fn start_at(address: SocketAddr, script: Script) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        let address = socket.local_addr()?;
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            books: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let thread = thread::Builder::new().name("radius server".into()).spawn({
            let shared = shared.clone();
            move || {
                if let Err(error) = serve(&socket, &shared) {
                    panic!("RADIUS server: {error}");
                }
            }
        })?;
        Ok(Self {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// Returns where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the script for the requests that come from now on.
    pub fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut lock(&self.shared.script));
    }

    /// Returns the books.
    pub fn counts(&self) -> Counts {
        lock(&self.shared.books).counts.clone()
    }

    /// Returns every request, in order, each once.
    pub fn requests(&self) -> Vec<Vec<u8>> {
        lock(&self.shared.books).requests.clone()
    }
}

impl Drop for RadiusServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed.
            drop(thread.join());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer that waits for its time.
struct Due {
    at: Instant,
    to: SocketAddr,
    bytes: Vec<u8>,
    elsewhere: bool,
}

/// Answers until it is told to stop.
fn serve(socket: &UdpSocket, shared: &Shared) -> io::Result<()> {
    let elsewhere = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut due: Vec<Due> = Vec::new();
    let mut conversations = Conversations::default();
    let mut buffer = vec![0; MAX_LEN];
    while !shared.stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        for ready in due.extract_if(.., |due| due.at <= now) {
            let from = if ready.elsewhere { &elsewhere } else { socket };
            // The client may be gone.
            drop(from.send_to(&ready.bytes, ready.to));
        }
        let wait = due
            .iter()
            .map(|due| due.at.saturating_duration_since(now))
            .min()
            .unwrap_or(Duration::MAX)
            .clamp(Duration::from_millis(1), Duration::from_millis(20));
        socket.set_read_timeout(Some(wait))?;
        let Ok((len, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let script = lock(&shared.script).clone();
        let bytes = buffer[..len].to_vec();
        let Some(request) = admit(&script, &mut lock(&shared.books), from, bytes) else {
            continue;
        };
        let packet = Packet::decode_exact(&request).expect("it was decoded before");
        let (answer, accepted) = conversations.answer(&script, &packet);
        lock(&shared.books).counts.accepts += usize::from(accepted);
        due.extend(answer.into_iter().zip(0u32..).map(|(bytes, n)| Due {
            // In bursts that fit into a socket's buffer, and in order.
            at: Instant::now() + script.delay + n / 100 * Duration::from_millis(10),
            to: from,
            bytes,
            elsewhere: script.fault == Fault::OtherPort,
        }));
    }
    Ok(())
}

/// Keeps the books and lets through what is to be answered.
fn admit(script: &Script, books: &mut Books, from: SocketAddr, bytes: Vec<u8>) -> Option<Vec<u8>> {
    let authentic = Packet::decode_exact(&bytes).is_ok_and(|packet| {
        packet.code == Code::ACCESS_REQUEST
            && verify_message_authenticator(&packet, &packet.authenticator, &script.secret)
                == Ok(MessageAuthenticator::Verified)
    });
    if !authentic {
        books.counts.refused += 1;
        return None;
    }
    let copies = books.seen.entry((from, bytes.clone())).or_default();
    *copies += 1;
    let copies = *copies;
    if copies == 1 {
        books.counts.requests += 1;
        books.requests.push(bytes.clone());
    } else {
        books.counts.identical += 1;
    }
    let awaited = match script.fault {
        Fault::LoseFirst(lost) => lost + 1,
        _ => 1,
    };
    (copies == awaited && script.fault != Fault::Silence).then_some(bytes)
}
