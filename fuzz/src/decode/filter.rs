//! A filter of whatever an operator could have written, and whatever packet comes along.

use causeway_proto::ip::IpPacket;
use causeway_proto::ip::filter::{Filter, Rule};

/// Reads lines of rules, a `-` before those that deny, up to the first zero octet; what follows is a packet.
pub fn filter(bytes: &[u8]) {
    let at = bytes.iter().position(|octet| *octet == 0);
    let (text, octets) = bytes.split_at(at.unwrap_or(bytes.len()));
    let octets = octets.get(1..).unwrap_or_default();
    let (mut deny, mut allow) = (Vec::new(), Vec::new());
    for line in String::from_utf8_lossy(text).lines() {
        let (rules, line) = match line.strip_prefix('-') {
            Some(line) => (&mut deny, line),
            None => (&mut allow, line),
        };
        if let Ok(rule) = line.parse::<Rule>() {
            assert_eq!(rule.to_string().parse(), Ok(rule), "{rule}");
            rules.push(rule);
        }
    }
    let filter = Filter::new("fuzz", &deny, &allow);
    let Ok(packet) = IpPacket::decode(octets) else {
        return;
    };
    let (up, down) = (filter.allows(&packet), filter.allows_back(&packet));
    let stricter = Filter::new("stricter", &allow, &allow);
    assert!(!stricter.allows(&packet), "denied and passed");
    if allow.is_empty() {
        assert!(!up && !down, "passed although nothing is allowed");
    }
    let any: Rule = "any".parse().expect("the rule for everything");
    let open = Filter::new("open", &deny, &[any]);
    assert!(!up || open.allows(&packet), "more was allowed, less passes");
    assert!(
        !down || open.allows_back(&packet),
        "more was allowed, less passes"
    );
    if packet.is_later_fragment() {
        // What a later fragment carries must not matter.
        let mut changed = octets.to_vec();
        let header = packet.header_len();
        for octet in &mut changed[header..] {
            *octet ^= 0xff;
        }
        let changed = IpPacket::decode(&changed).expect("the same lengths");
        assert_eq!(filter.allows(&changed), up);
        assert_eq!(filter.allows_back(&changed), down);
    }
}
