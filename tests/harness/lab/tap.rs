//! Stands between a RADIUS client and FreeRADIUS, and records.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use causeway_proto::radius::MAX_LEN;

use super::{GATEWAY, Lab};
use crate::radius_capture::Datagram;

/// Codes that no server of log-ins takes.
const ONE_WAY: [u8; 2] = [40, 43];

/// What stands between.
pub struct Tap {
    socket: UdpSocket,
    stop: AtomicBool,
    seen: Mutex<Vec<Datagram>>,
    from: Mutex<String>,
}

impl Tap {
    /// Runs `work` with a tap in front of FreeRADIUS and returns what went through.
    pub fn with(lab: &Lab, work: impl FnOnce(&Self) + Send) -> Vec<Datagram> {
        let socket = lab.inside(|| UdpSocket::bind((GATEWAY, 0)).unwrap());
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let tap = Self {
            socket,
            stop: AtomicBool::new(false),
            seen: Mutex::default(),
            from: Mutex::default(),
        };
        let shared = &tap;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                lab.inside(|| shared.relay());
            });
            let _stop = Stop(shared);
            work(shared);
        });
        tap.seen.into_inner().unwrap()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Says whose datagrams come now.
    pub fn label(&self, from: &str) {
        from.clone_into(&mut self.from.lock().unwrap());
    }

    fn relay(&self) {
        let mut buffer = vec![0; MAX_LEN];
        while !self.stop.load(Ordering::Relaxed) {
            let Ok((len, client)) = self.socket.recv_from(&mut buffer) else {
                continue;
            };
            let request = buffer[..len].to_vec();
            self.note(&self.from.lock().unwrap().clone(), &request);
            if ONE_WAY.contains(&request[0]) {
                continue;
            }
            let port = if request[0] == 4 { 1813 } else { 1812 };
            let server = UdpSocket::bind((GATEWAY, 0)).unwrap();
            server.connect((GATEWAY, port)).unwrap();
            server
                .set_read_timeout(Some(Duration::from_secs(3)))
                .unwrap();
            server.send(&request).unwrap();
            let len = server.recv(&mut buffer).unwrap();
            self.note("freeradius", &buffer[..len]);
            self.socket.send_to(&buffer[..len], client).unwrap();
        }
    }

    fn note(&self, from: &str, bytes: &[u8]) {
        self.seen.lock().unwrap().push(Datagram {
            from: from.to_owned(),
            bytes: bytes.to_vec(),
        });
    }
}

/// Lets the relay end, also when the work panics.
struct Stop<'a>(&'a Tap);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}
