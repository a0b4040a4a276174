//! The host behind the gateway: gives pseudo-random files and takes them back, saying what it got.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use nix::sched::{CloneFlags, setns};
use ring::digest::{Context, SHA256};

use super::{BEHIND, Lab};

/// A file server on port 8080 of the host behind.
pub struct Files;

impl Files {
    /// Starts it; it ends with the test.
    #[must_use]
    pub fn start(lab: &Lab) -> Self {
        let namespace = format!("/run/netns/{}", lab.behind());
        // A socket stays in the namespace in which it was made.
        let listener = thread::spawn(move || {
            setns(File::open(namespace).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            TcpListener::bind((BEHIND, 8080)).unwrap()
        })
        .join()
        .unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let _ = serve(&stream);
                });
            }
        });
        Self
    }

    /// The shell command that fetches `megabytes`, sends them back, and prints what it and the host saw.
    #[must_use]
    pub fn exchange(megabytes: u32) -> String {
        Self::exchange_over("ppp0", megabytes)
    }

    /// The same through another interface.
    #[must_use]
    pub fn exchange_over(interface: &str, megabytes: u32) -> String {
        let octets = megabytes * 1_000_000;
        format!(
            "set -e; curl -sS --interface {interface} -m 280 -o /tmp/f http://{BEHIND}:8080/{octets}; \
             echo R fetched=$(wc -c </tmp/f) fetched_sha256=$(sha256sum </tmp/f | cut -d' ' -f1); \
             echo R stored_sha256=$(curl -sS --interface {interface} -m 280 -H 'Expect:' -T /tmp/f http://{BEHIND}:8080/)"
        )
    }

    /// The digest of the file of that size.
    #[must_use]
    pub fn digest(megabytes: u32) -> String {
        let mut context = Context::new(&SHA256);
        generate(u64::from(megabytes) * 1_000_000, |chunk| {
            context.update(chunk);
            Ok(())
        })
        .unwrap();
        hex(context)
    }
}

fn serve(stream: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    if request.starts_with("PUT ") {
        let mut context = Context::new(&SHA256);
        let mut chunk = vec![0; 65_536];
        let mut body = reader.take(length);
        loop {
            match body.read(&mut chunk)? {
                0 => break,
                n => context.update(&chunk[..n]),
            }
        }
        return write!(
            writer,
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}",
            hex(context)
        );
    }
    let octets = request
        .split('/')
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse().ok())
        .unwrap_or(0);
    write!(
        writer,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {octets}\r\n\r\n"
    )?;
    generate(octets, |chunk| writer.write_all(chunk))
}

/// Makes the same octets each time (xorshift).
fn generate(octets: u64, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut left = octets;
    let mut chunk = [0; 32_768];
    while left > 0 {
        for word in chunk.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let len = left.min(chunk.len() as u64);
        each(&chunk[..usize::try_from(len).unwrap()])?;
        left -= len;
    }
    Ok(())
}

fn hex(context: Context) -> String {
    context
        .finish()
        .as_ref()
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
}
