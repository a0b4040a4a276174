//! The few messages of nfnetlink that the table needs (`nf_tables.h` and `nfnetlink.h` of Linux).
//!
//! ```text
//! nlmsghdr: length u32 | type u16 | flags u16 | sequence u32 | port u32      host order
//! nfgenmsg: family u8 | version u8 | resource u16                            resource: big endian
//! nlattr:   length u16 | type u16 | value, padded to 4                       numbers in values: big endian
//! ```

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const CREATE: u16 = 0x400;
const EXCLUSIVE: u16 = 0x200;
const APPEND: u16 = 0x800;

const NESTED: u16 = 0x8000;
const FAMILY_UNSPECIFIED: u8 = 0;
const FAMILY_INET: u8 = 1;
const FAMILY_IPV4: u8 = 2;
const TABLE_OWNER: u32 = 0x2;
/// The register that carries a value from one expression to the next.
const REGISTER: u32 = 1;
const REGISTER_VERDICT: u32 = 0;
const ACCEPT: u32 = 1;

/// A chain at a hook.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Chain {
    /// Packets that pass through this host.
    Forward,
    /// Packets that leave it.
    Postrouting,
}

impl Chain {
    const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Postrouting => "postrouting",
        }
    }

    /// Type, hook number and priority.
    const fn hook(self) -> (&'static str, u32, u32) {
        match self {
            Self::Forward => ("filter", 2, 0),
            Self::Postrouting => ("nat", 4, 100),
        }
    }
}

/// A part of a rule; a rule does its last part for the packets that all others let through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Expression<'a> {
    InputIs(&'a str),
    OutputIs(&'a str),
    OutputIsNot(&'a str),
    SourceIn(Ipv4Net),
    Masquerade,
    Verdict(Verdict),
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    Accept,
}

/// Messages that the kernel does all or none of.
#[derive(Debug)]
pub(super) struct Batch {
    table: &'static str,
    bytes: Vec<u8>,
    sequence: u32,
    /// Those that will be acknowledged.
    messages: usize,
}

impl Batch {
    /// Begins with a new table of our own.
    pub(super) fn new(table: &'static str) -> Self {
        let mut batch = Self {
            table,
            bytes: Vec::with_capacity(2048),
            sequence: 0,
            messages: 0,
        };
        batch.marker(BATCH_BEGIN);
        batch.message(NEW_TABLE, EXCLUSIVE, |body| {
            body.string(1, table);
            body.u32(2, TABLE_OWNER);
        });
        batch
    }

    /// Adds a chain that accepts by default.
    pub(super) fn chain(&mut self, chain: Chain) {
        let table = self.table;
        let (kind, hook, priority) = chain.hook();
        self.message(NEW_CHAIN, EXCLUSIVE, |body| {
            body.string(1, table);
            body.string(3, chain.name());
            body.nested(4, |body| {
                body.u32(1, hook);
                body.u32(2, priority);
            });
            body.u32(5, ACCEPT);
            body.string(7, kind);
        });
    }

    /// Adds a rule at the end of a chain.
    pub(super) fn rule(&mut self, chain: Chain, expressions: &[Expression<'_>]) {
        let table = self.table;
        self.message(NEW_RULE, APPEND, |body| {
            body.string(1, table);
            body.string(2, chain.name());
            body.nested(4, |list| {
                for expression in expressions {
                    expression.encode(list);
                }
            });
        });
    }

    /// Closes the batch.
    pub(super) fn end(&mut self) {
        self.marker(BATCH_END);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns how many acknowledgements will come.
    pub(super) const fn messages(&self) -> usize {
        self.messages
    }

    fn marker(&mut self, kind: u16) {
        let header = [FAMILY_UNSPECIFIED, 0];
        self.frame(kind, REQUEST, header, SUBSYSTEM, |_| {});
    }

    fn message(&mut self, kind: u16, how: u16, body: impl FnOnce(&mut Attributes<'_>)) {
        self.messages += 1;
        let flags = REQUEST | ACK | CREATE | how;
        self.frame(kind, flags, [FAMILY_INET, 0], 0, body);
    }

    fn frame(
        &mut self,
        kind: u16,
        flags: u16,
        family_version: [u8; 2],
        resource: u16,
        body: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend(family_version);
        self.bytes.extend(resource.to_be_bytes());
        body(&mut Attributes(&mut self.bytes));
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        patch(&mut self.bytes, start, &length.to_ne_bytes());
        self.sequence += 1;
    }
}

/// The attributes of a message, or of one of its attributes.
struct Attributes<'a>(&'a mut Vec<u8>);

impl Attributes<'_> {
    fn nested(&mut self, kind: u16, body: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.open(kind | NESTED);
        body(&mut Attributes(self.0));
        self.close(start);
    }

    fn raw(&mut self, kind: u16, value: &[u8]) {
        let start = self.open(kind);
        self.0.extend(value);
        self.close(start);
    }

    fn string(&mut self, kind: u16, value: &str) {
        let start = self.open(kind);
        self.0.extend(value.as_bytes());
        self.0.push(0);
        self.close(start);
    }

    fn u32(&mut self, kind: u16, value: u32) {
        self.raw(kind, &value.to_be_bytes());
    }

    /// A literal that an expression compares or masks with.
    fn value(&mut self, kind: u16, value: &[u8]) {
        self.nested(kind, |data| data.raw(1, value));
    }

    fn expression(&mut self, name: &str, body: impl FnOnce(&mut Attributes<'_>)) {
        self.nested(1, |element| {
            element.string(1, name);
            element.nested(2, body);
        });
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        start
    }

    /// The length excludes the padding behind the value.
    fn close(&mut self, start: usize) {
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        patch(self.0, start, &length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

impl Expression<'_> {
    fn encode(self, list: &mut Attributes<'_>) {
        const META_IIFNAME: u32 = 6;
        const META_OIFNAME: u32 = 7;
        const EQUAL: u32 = 0;
        const NOT_EQUAL: u32 = 1;

        match self {
            Self::InputIs(name) => {
                meta(list, META_IIFNAME);
                compare(list, EQUAL, &interface(name));
            }
            Self::OutputIs(name) => {
                meta(list, META_OIFNAME);
                compare(list, EQUAL, &interface(name));
            }
            Self::OutputIsNot(name) => {
                meta(list, META_OIFNAME);
                compare(list, NOT_EQUAL, &interface(name));
            }
            Self::SourceIn(network) => source(list, network),
            Self::Masquerade => list.expression("masq", |_| {}),
            Self::Verdict(Verdict::Accept) => list.expression("immediate", |body| {
                body.u32(1, REGISTER_VERDICT);
                body.nested(2, |data| data.nested(2, |verdict| verdict.u32(1, ACCEPT)));
            }),
        }
    }
}

/// Loads a fact about the packet into the register.
fn meta(list: &mut Attributes<'_>, key: u32) {
    list.expression("meta", |body| {
        body.u32(1, REGISTER);
        body.u32(2, key);
    });
}

fn compare(list: &mut Attributes<'_>, operator: u32, value: &[u8]) {
    list.expression("cmp", |body| {
        body.u32(1, REGISTER);
        body.u32(2, operator);
        body.value(3, value);
    });
}

/// Lets IPv4 packets from a network through.
fn source(list: &mut Attributes<'_>, network: Ipv4Net) {
    const META_NFPROTO: u32 = 15;
    const NETWORK_HEADER: u32 = 1;
    const SOURCE_OFFSET: u32 = 12;
    const LENGTH: u32 = 4;

    meta(list, META_NFPROTO);
    compare(list, 0, &[FAMILY_IPV4]);
    list.expression("payload", |body| {
        body.u32(1, REGISTER);
        body.u32(2, NETWORK_HEADER);
        body.u32(3, SOURCE_OFFSET);
        body.u32(4, LENGTH);
    });
    if network.prefix_len() < 32 {
        list.expression("bitwise", |body| {
            body.u32(1, REGISTER);
            body.u32(2, REGISTER);
            body.u32(3, LENGTH);
            body.value(4, &network.netmask().octets());
            body.value(5, &Ipv4Addr::UNSPECIFIED.octets());
        });
    }
    compare(list, 0, &network.network().octets());
}

/// An interface name as the kernel compares it: 16 octets, zeros behind.
fn interface(name: &str) -> [u8; libc::IFNAMSIZ] {
    let mut field = [0; libc::IFNAMSIZ];
    for (to, from) in field.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from;
    }
    field
}

fn patch(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(value) {
        *to = *from;
    }
}

/// Returns the error numbers in the kernel's answer; 0 is an acknowledgement.
pub(super) fn reply(mut datagram: &[u8]) -> Vec<i32> {
    const ERROR: u16 = 2;
    let mut numbers = Vec::new();
    while datagram.len() >= 16 {
        let field = |at: usize| datagram.get(at..).and_then(<[u8]>::first_chunk::<4>);
        let length = field(0).map_or(0, |octets| u32::from_ne_bytes(*octets));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let is_error = field(4).is_some_and(|octets| octets.starts_with(&ERROR.to_ne_bytes()));
        if let (true, Some(number)) = (is_error, field(16)) {
            numbers.push(i32::from_ne_bytes(*number).saturating_neg());
        }
        let Some(rest) = datagram.get(length.saturating_add(3).max(16) & !3..) else {
            break;
        };
        datagram = rest;
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_exclude_the_padding_and_frames_are_aligned() {
        let mut batch = Batch::new("causeway");
        batch.chain(Chain::Forward);
        batch.rule(Chain::Forward, &[Expression::InputIs("tun0")]);
        batch.end();
        assert_eq!(batch.messages(), 3);
        let mut rest = batch.bytes();
        let mut kinds = Vec::new();
        while let Some(header) = rest.first_chunk::<16>() {
            let length = u32::from_ne_bytes(*header.first_chunk().unwrap()) as usize;
            assert_eq!(length % 4, 0);
            kinds.push(u16::from_ne_bytes([header[4], header[5]]));
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
        assert_eq!(
            kinds,
            [BATCH_BEGIN, NEW_TABLE, NEW_CHAIN, NEW_RULE, BATCH_END]
        );
    }

    #[test]
    fn an_answer_of_any_shape_is_read() {
        let mut datagram = Vec::new();
        for number in [0_i32, -libc::EEXIST] {
            datagram.extend(36_u32.to_ne_bytes());
            datagram.extend(2_u16.to_ne_bytes());
            datagram.extend([0; 10]);
            datagram.extend(number.to_ne_bytes());
            datagram.extend([0; 16]);
        }
        assert_eq!(reply(&datagram), [0, libc::EEXIST]);
        for end in 0..datagram.len() {
            assert!(reply(&datagram[..end]).len() <= 2);
        }
        assert!(reply(&[0; 16]).is_empty());
    }
}
