//! An accounting server on loopback that keeps everything it is told and loses answers as it is told.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use causeway_proto::crypto::Rng;
use causeway_proto::radius::accounting::{Report, decode_request};
use causeway_proto::radius::authenticator::sign_reply;
use causeway_proto::radius::{Code, MAX_LEN, Packet};
use causeway_proto::wire::Decode as _;

/// The secret of [`AccountingServer`], which is that of the other servers here.
pub const SECRET: &[u8] = b"a shared secret";

/// The server; it stops when it is dropped, and then its host refuses datagrams.
#[derive(Debug)]
pub struct AccountingServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    reports: Mutex<Vec<Report>>,
    refused: Mutex<usize>,
    /// How many of 256 answers get lost.
    loses: AtomicU8,
    stop: AtomicBool,
}

impl AccountingServer {
    /// Starts it; so many of 256 answers get lost, and the dice begin with `seed`.
    ///
    /// # Errors
    ///
    /// When there is no socket.
    pub fn start(loses: u8, seed: u8) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let address = socket.local_addr()?;
        let shared = Arc::new(Shared::default());
        shared.loses.store(loses, Ordering::Relaxed);
        let served = Arc::clone(&shared);
        let thread = thread::spawn(move || serve(&socket, &served, seed));
        Ok(Self {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that it was told, in order, repetitions too.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        lock(&self.shared.reports).clone()
    }

    /// How many datagrams were none of a gateway that knows the secret.
    #[must_use]
    pub fn refused(&self) -> usize {
        *lock(&self.shared.refused)
    }

    /// Loses so many of 256 answers from now on.
    pub fn lose(&self, share: u8) {
        self.shared.loses.store(share, Ordering::Relaxed);
    }
}

impl Drop for AccountingServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_default();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(socket: &UdpSocket, shared: &Shared, seed: u8) {
    let mut dice = Rng::from_seed(&[seed; 32]);
    let mut buffer = vec![0; MAX_LEN + 1];
    while !shared.stop.load(Ordering::Relaxed) {
        let Ok((len, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let bytes = &buffer[..len];
        let Ok(report) = decode_request(bytes, SECRET) else {
            *lock(&shared.refused) += 1;
            continue;
        };
        lock(&shared.reports).push(report);
        let lost = shared.loses.load(Ordering::Relaxed);
        if lost == u8::MAX || dice.u8() < lost {
            continue;
        }
        let packet = Packet::decode_exact(bytes).expect("it was decoded before");
        let answer = sign_reply(
            Code::ACCOUNTING_RESPONSE,
            packet.identifier,
            &[],
            &packet.authenticator,
            SECRET,
        );
        // The gateway may have been killed.
        drop(socket.send_to(&answer.expect("it is short"), from));
    }
}
