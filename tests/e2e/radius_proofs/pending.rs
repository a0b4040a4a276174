//! Five thousand log-ins that wait for a minute each, over real sockets: what they cost.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use causeway::radius::{Config, RadiusResult, Server, StatusServer, Transport};
use causeway_proto::radius::authenticator::{EMPTY_MESSAGE_AUTHENTICATOR, sign_reply};
use causeway_proto::radius::{AttributeList, AttributeType, Code, Packet};
use causeway_proto::wire::Decode;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::*;

const LOGINS: u32 = 5000;

/// Answers each request once, `delay` after it came; returns how many ports asked.
fn serve(delay: Duration) -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    thread::spawn({
        let requests = requests.clone();
        move || {
            socket
                .set_read_timeout(Some(Duration::from_millis(2)))
                .unwrap();
            let mut due: VecDeque<(Instant, SocketAddr, Vec<u8>)> = VecDeque::new();
            let mut seen = std::collections::HashSet::new();
            let mut buffer = [0; 4096];
            loop {
                while let Some((at, to, reply)) = due.front() {
                    if *at > Instant::now() {
                        break;
                    }
                    let _ = socket.send_to(reply, to);
                    due.pop_front();
                }
                let Ok((len, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let request = Packet::decode_exact(&buffer[..len]).unwrap();
                if !seen.insert((from, request.authenticator)) {
                    continue;
                }
                requests.fetch_add(1, Ordering::Relaxed);
                let mut list = AttributeList::new();
                list.push(
                    AttributeType::MESSAGE_AUTHENTICATOR,
                    &EMPTY_MESSAGE_AUTHENTICATOR,
                );
                let reply = sign_reply(
                    Code::ACCESS_ACCEPT,
                    request.identifier,
                    list.finish().unwrap(),
                    &request.authenticator,
                    SECRET,
                );
                due.push_back((Instant::now() + delay, from, reply.unwrap()));
            }
        }
    });
    (address, requests)
}

/// Returns what this thread has used of a processor.
fn used() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    let both = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(both.try_into().unwrap())
}

/// Returns the memory of this process in use, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let words = line.unwrap().split_whitespace().nth(1);
    words.unwrap().parse().unwrap()
}

async fn all_wait(logins: u32, delay: Duration) {
    let (address, requests) = serve(delay);
    let config = Config {
        servers: vec![Server {
            name: "nps".into(),
            address: address.ip(),
            auth_port: address.port(),
            secret: SECRET.into(),
            source: None,
            status: StatusServer::Off,
            tls: None,
        }],
        timeout: delay + Duration::from_secs(60),
        ..Config::default()
    };
    let (transport, driver) = Transport::new(config).unwrap();
    tokio::spawn(driver.run());
    let (memory, processor, started) = (resident(), used(), Instant::now());
    let mut all = tokio::task::JoinSet::new();
    for n in 0..logins {
        let transport = transport.clone();
        all.spawn(async move {
            let deadline = Instant::now() + Duration::from_secs(600);
            let reply = transport.request(&applicant(n), pap(n), deadline).await;
            reply.unwrap().completion.result
        });
        if n % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    tokio::time::sleep(delay / 2).await;
    let waiting = resident().saturating_sub(memory);
    let mut accepted = 0;
    while let Some(result) = all.join_next().await {
        accepted += u32::from(result.unwrap() == RadiusResult::Accept);
    }
    let (processor, elapsed) = (used() - processor, started.elapsed());
    println!(
        "{logins} log-ins pending for {delay:?}: {:.2} % of a processor ({processor:?} in {elapsed:?}), {} octets of memory each, server's share included",
        100.0 * processor.as_secs_f64() / elapsed.as_secs_f64(),
        waiting * 1024 / u64::from(logins),
    );
    assert_eq!(accepted, logins);
    assert_eq!(requests.load(Ordering::Relaxed), logins as usize);
}

#[tokio::test]
async fn five_hundred_wait_for_a_second() {
    all_wait(500, Duration::from_secs(1)).await;
}

#[tokio::test]
#[ignore = "takes a minute; prints what the waiting costs"]
async fn five_thousand_wait_for_a_minute() {
    all_wait(LOGINS, Duration::from_secs(60)).await;
}
