//! The form of the file: one `[[peer]]` a device.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use causeway_proto::aaa::{AuthMethod, Authorization, FramedAddress, Identity, Proof};
use causeway_proto::wireguard::{PeerId, PresharedKey, PublicKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::PeersError;
use super::allowed::Allowed;
use super::peer::{Origin, Peer, Seen, Sight};

/// What the file begins with.
const HEAD: &str = "# The devices that are enrolled for the Mobility tunnel. The gateway writes this file while it runs\n\
    # and would write over a change; `causeway peer` makes changes. It holds secrets: keep mode 0600.\n";
/// The form that this version reads and writes.
const SCHEMA: u32 = 1;

/// What stands before the first `[[peer]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    schema: u32,
    #[serde(default)]
    next: u32,
}

/// One `[[peer]]`.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: u32,
    name: String,
    key: String,
    #[serde(skip_serializing)]
    psk: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// A name that is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_hex: Option<String>,
    address: Option<Ipv4Addr>,
    origin: String,
    created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<String>,
    /// In seconds, as the two below.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_timeout: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_timeout: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interim: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u16>,
    /// In hexadecimal digits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    class: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dns: Vec<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    wins: Vec<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<SocketAddr>,
    /// Whether there is a session.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    connected: bool,
    /// TAI64N in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.psk);
    }
}

/// What is in a file.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// The lowest id that no device has had.
    pub(super) next: u32,
    /// The devices without their pins, each with its line.
    pub(super) peers: Vec<(usize, Peer)>,
}

/// Reads the text of the file: device by device, so that a large one takes no more memory than what it makes.
pub(super) fn read(path: &Path, text: &str) -> Result<Contents, PeersError> {
    let wrong = |line, message| PeersError::Form {
        path: path.to_owned(),
        line,
        message,
    };
    let mut contents = Contents::default();
    for (first, part) in parts(text) {
        // Not the error's own text: it quotes the line, which may hold a secret.
        let told = |part: &str, error: &toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start);
            let before = part.get(..at).unwrap_or_default();
            wrong(first + breaks(before), error.message().to_owned())
        };
        let Some(entry) = part.strip_prefix(HEADER) else {
            let head: Head = toml::from_str(part).map_err(|error| told(part, &error))?;
            if head.schema != SCHEMA {
                let message = format!(
                    "schema {} is not known to this version, which writes {SCHEMA}",
                    head.schema
                );
                return Err(wrong(first, message));
            }
            contents.next = head.next;
            continue;
        };
        let entry: Entry = toml::from_str(entry).map_err(|error| told(entry, &error))?;
        let id = entry.id;
        let peer = entry.peer().map_err(|message| wrong(first, message))?;
        contents.next = contents.next.max(id.saturating_add(1));
        contents.peers.push((first, peer));
    }
    Ok(contents)
}

/// What each device begins with.
const HEADER: &str = "[[peer]]";

/// Takes the text apart before each device, with the line, from 1, in which each part begins.
fn parts(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = Some(text);
    let mut line = 1;
    std::iter::from_fn(move || {
        let all = rest?;
        let first = line;
        let next = all.match_indices('\n').map(|(at, _)| at + 1).find(|at| {
            line += 1;
            all.get(*at..).is_some_and(|rest| rest.starts_with(HEADER))
        });
        let (part, after) = match next {
            Some(at) => (all.get(..at).unwrap_or_default(), all.get(at..)),
            None => (all, None),
        };
        rest = after;
        Some((first, part))
    })
}

fn breaks(text: &str) -> usize {
    text.bytes().filter(|octet| *octet == b'\n').count()
}

/// How much text is put together before it is written.
const ROOM: usize = 64 << 10;

/// Writes the text of the file, piece by piece: a large register takes no more memory than a small one.
///
/// # Errors
///
/// When a device cannot be put into words, or `out` takes no more.
pub(super) fn write(next: u32, peers: &[Arc<Peer>], out: &mut impl Write) -> io::Result<()> {
    // Room for all of it, so that no reallocation leaves a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    text.push_str(HEAD);
    text.push_str("schema = 1\nnext = ");
    text.push_str(&next.to_string());
    text.push('\n');
    for peer in peers {
        let entry = toml::to_string(&Entry::of(peer)).map_err(io::Error::other)?;
        // With the header and the secret.
        if text.len() + entry.len() + 128 > ROOM {
            out.write_all(text.as_bytes())?;
            text.clear();
        }
        text.push_str("\n[[peer]]\n");
        text.push_str(&entry);
        if let Some(key) = &peer.preshared_key {
            text.push_str("psk = \"");
            text.push_str(&key.expose_base64());
            text.push_str("\"\n");
        }
    }
    out.write_all(text.as_bytes())
}

impl Entry {
    fn of(peer: &Peer) -> Self {
        let said = peer.authorization();
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
        let sight = peer.seen.get();
        let name = str::from_utf8(said.user.as_bytes()).ok();
        Self {
            id: peer.id.0,
            name: peer.name.to_string(),
            key: peer.key.to_string(),
            psk: None,
            user: name.map(str::to_owned),
            user_hex: name.is_none().then(|| hex(said.user.as_bytes())),
            address: Some(peer.address),
            origin: peer.origin.as_str().to_owned(),
            created: written(peer.created),
            expires: peer.expires.map(written),
            method: peer.method.map(|method| method.as_str().to_owned()),
            server: said.server,
            pool: said.pool,
            filter: said.filter,
            session_timeout: seconds(said.session_timeout),
            idle_timeout: seconds(said.idle_timeout),
            interim: seconds(said.interim),
            mtu: said.mtu,
            class: said.class.iter().map(|class| hex(class)).collect(),
            dns: said.dns,
            wins: said.wins,
            endpoint: sight.endpoint,
            connected: sight.connected,
            timestamp: (sight.timestamp != [0; 12]).then(|| hex(&sight.timestamp)),
        }
    }

    fn peer(&self) -> Result<Peer, String> {
        let user = match (&self.user, &self.user_hex) {
            (Some(user), None) => Identity::new(user.as_bytes()),
            (None, Some(octets)) => octets_of(octets).and_then(|user| Identity::new(&user)),
            _ => None,
        };
        let user = user.ok_or("`user` or `user_hex` must be a user's name")?;
        if !super::is_name(&self.name) {
            return Err("`name` is no name for a device".to_owned());
        }
        let key: PublicKey = self
            .key
            .parse()
            .map_err(|error| format!("`key`: {error}"))?;
        let psk: Option<PresharedKey> = match &self.psk {
            Some(text) => Some(text.parse().map_err(|error| format!("`psk`: {error}"))?),
            None => None,
        };
        let method = match self.method.as_deref() {
            Some(word) => Some(method(word).ok_or("`method` is no way to log in")?),
            None => None,
        };
        let time = |key: &str, text: &str| {
            read_time(text).ok_or_else(|| format!("`{key}` is no time; write 2026-01-31T12:00:00Z"))
        };
        let expires = match &self.expires {
            Some(text) => Some(time("expires", text)?),
            None => None,
        };
        let classes: Option<Vec<_>> = self.class.iter().map(|class| octets_of(class)).collect();
        // There may be very many devices, and room to grow is no use to them.
        let classes = classes.ok_or("`class` must be hexadecimal digits")?;
        let timestamp = match &self.timestamp {
            Some(text) => octets_of(text)
                .and_then(|octets| <[u8; 12]>::try_from(octets).ok())
                .ok_or("`timestamp` must be 24 hexadecimal digits")?,
            None => [0; 12],
        };
        let address = self.address.ok_or("`address` is missing")?;
        let authorization = Authorization {
            user,
            proof: Proof::Message(String::new()),
            keys: None,
            address: FramedAddress::Pool,
            pool: self.pool.clone(),
            routes: Vec::new(),
            session_timeout: self.session_timeout.map(Duration::from_secs),
            idle_timeout: self.idle_timeout.map(Duration::from_secs),
            interim: self.interim.map(Duration::from_secs),
            mtu: self.mtu,
            class: classes.into_boxed_slice().into_vec(),
            filter: self.filter.clone(),
            dns: self.dns.clone(),
            wins: self.wins.clone(),
            server: self.server.clone(),
            message: None,
        };
        Ok(Peer {
            id: PeerId(self.id),
            name: self.name.as_str().into(),
            key,
            preshared_key: psk,
            allowed: Allowed::of(&authorization),
            method,
            origin: match self.origin.as_str() {
                "login" => Origin::Login,
                "administrator" => Origin::Administrator,
                _ => return Err("`origin` is \"login\" or \"administrator\"".to_owned()),
            },
            address,
            pin: None,
            created: time("created", &self.created)?,
            expires,
            seen: Arc::new(Seen::new(Sight {
                endpoint: self.endpoint,
                connected: self.connected,
                timestamp,
            })),
        })
    }
}

fn method(word: &str) -> Option<AuthMethod> {
    AuthMethod::ALL
        .into_iter()
        .find(|method| method.as_str() == word)
}

/// A time to the second, which is what is compared after a restart.
fn written(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(
        |_| Timestamp::MAX.to_string(),
        |time| time.round(jiff::Unit::Second).unwrap_or(time).to_string(),
    )
}

fn read_time(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok().map(SystemTime::from)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        for nibble in [octet >> 4, octet & 15] {
            text.extend(char::from_digit(u32::from(nibble), 16));
        }
        text
    })
}

fn octets_of(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16)?).ok())
        .collect();
    let digits = digits?;
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs
        .map(|pair| match pair {
            [high, low] => Some(high << 4 | low),
            _ => None,
        })
        .collect()
}
