use super::*;
use crate::radius::vendor::VendorSpecific;
use crate::radius::{AttributeType, Packet};

#[test]
fn a_stop_is_these_octets() {
    // Made and hashed by hand (Python's hashlib).
    let mut record = record("ab", Status::Stop { cause: 4 });
    record.base = arc(&[44, 4, b'a', b'b']);
    let (bytes, authenticator) = encode_request(&record, WALL + 5, 0x2a, SECRET).unwrap();
    let attributes = [
        40, 6, 0, 0, 0, 2, 55, 6, 0x67, 0x43, 0x9f, 0x12, 41, 6, 0, 0, 0, 5, 46, 6, 0, 0, 0, 60,
        42, 6, 0, 0, 0, 7, 52, 6, 0, 0, 0, 1, 43, 6, 0, 0, 0, 9, 53, 6, 0, 0, 0, 2, 47, 6, 0, 0, 0,
        3, 48, 6, 0xff, 0xff, 0xff, 0xff, 49, 6, 0, 0, 0, 4, 44, 4, b'a', b'b',
    ];
    let expected = [
        0xe6, 0x4d, 0x07, 0xd1, 0x10, 0x77, 0xdd, 0xef, 0x4f, 0xb0, 0x7c, 0xf4, 0xa7, 0x9e, 0x25,
        0x98,
    ];
    assert_eq!(bytes[..4], [4, 0x2a, 0, 90]);
    assert_eq!(authenticator, expected);
    assert_eq!(bytes[4..20], expected);
    assert_eq!(bytes[20..], attributes);
    for end in 0..bytes.len() {
        assert!(decode_request(&bytes[..end], SECRET).is_err(), "{end}");
    }
}

#[test]
fn what_was_sent_is_what_is_read() {
    let classes = vec![b"one".to_vec(), vec![0xff; 253], b"one".to_vec()];
    let base = session_attributes(&nas(), &applicant("0a2b"), &holder(&classes)).unwrap();
    for status in [Status::Start, Status::Interim, Status::Stop { cause: 9 }] {
        let mut record = record("0a2b", status);
        record.base = arc(&base);
        let (bytes, _) = encode_request(&record, WALL + 7, 1, SECRET).unwrap();
        let report = decode_request(&bytes, SECRET).unwrap();
        assert_eq!(report.status, status);
        assert_eq!(report.session, b"0a2b");
        assert_eq!(report.user.as_deref(), Some(&b"CORP\\alice"[..]));
        assert_eq!(report.classes, classes);
        assert_eq!(report.address, Some([10, 99, 0, 7].into()));
        assert_eq!(report.at, Some(0x6743_9f12));
        assert_eq!(report.delay, 7);
        let counted = status != Status::Start;
        assert_eq!(report.elapsed, if counted { 60 } else { 0 });
        let octets = (report.usage.up_octets, report.usage.down_octets);
        let expected = if counted {
            (0x1_0000_0007, 0x2_0000_0009)
        } else {
            (0, 0)
        };
        assert_eq!(octets, expected);
        assert_eq!(
            decode_request(&bytes, b"another"),
            Err(Malformed::Authenticator)
        );
    }
}

#[test]
fn a_session_is_described_as_in_its_access_request() {
    let base = session_attributes(&nas(), &applicant("0a2b"), &holder(&[])).unwrap();
    let packet = Packet::new(crate::radius::Code::ACCOUNTING_REQUEST, 0, [0; 16], &base).unwrap();
    let value = |kind| {
        packet
            .attributes()
            .map(Result::unwrap)
            .find(|attribute| attribute.kind == kind)
            .map(|attribute| attribute.value.to_vec())
    };
    let number = |n: u32| Some(n.to_be_bytes().to_vec());
    let text = |t: &str| Some(t.as_bytes().to_vec());
    assert_eq!(
        value(AttributeType::NAS_IP_ADDRESS),
        Some(vec![10, 0, 1, 4])
    );
    assert_eq!(value(AttributeType::NAS_IDENTIFIER), text("gw1"));
    assert_eq!(value(AttributeType::NAS_PORT), number(7));
    assert_eq!(value(AttributeType::NAS_PORT_TYPE), number(5));
    assert_eq!(value(AttributeType::SERVICE_TYPE), number(2));
    assert_eq!(value(AttributeType::TUNNEL_TYPE), number(79617));
    assert_eq!(
        value(AttributeType::CALLING_STATION_ID),
        text("198.51.100.7")
    );
    assert_eq!(value(AttributeType::CALLED_STATION_ID), text("203.0.113.4"));
    assert_eq!(value(AttributeType::ACCT_AUTHENTIC), number(1));
    let microsoft: Vec<_> = packet
        .attributes()
        .map(Result::unwrap)
        .filter(|attribute| attribute.kind == AttributeType::VENDOR_SPECIFIC)
        .flat_map(|attribute| {
            let inner = VendorSpecific::decode(attribute.value).unwrap();
            inner
                .microsoft()
                .map(|a| a.map(|a| (a.kind.0, a.value.to_vec())).unwrap())
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(microsoft.contains(&(23, vec![0, 0, 0, 4])));
    assert!(microsoft.iter().any(|(kind, _)| *kind == 56));
}

#[test]
fn a_class_that_does_not_fit_goes_whole_and_the_packet_stays_in_bounds() {
    let classes = vec![vec![7; 253]; 20];
    let base = session_attributes(&nas(), &applicant("0a2b"), &holder(&classes)).unwrap();
    let mut record = record("0a2b", Status::Stop { cause: 1 });
    record.base = arc(&base);
    let (bytes, _) = encode_request(&record, WALL, 1, SECRET).unwrap();
    assert!(bytes.len() <= 4096);
    let report = decode_request(&bytes, SECRET).unwrap();
    assert!((10..20).contains(&report.classes.len()));
    assert!(report.classes.iter().all(|class| class.len() == 253));
    record.base = arc(&[0; 4090]);
    assert!(encode_request(&record, WALL, 1, SECRET).is_none());
}

#[test]
fn the_gateway_says_that_it_starts() {
    let mut record = record("boot-1", Status::On);
    record.base = gateway_attributes(&nas(), "boot-1").unwrap().into();
    let (bytes, _) = encode_request(&record, WALL - 9, 1, SECRET).unwrap();
    let report = decode_request(&bytes, SECRET).unwrap();
    assert_eq!((report.status, report.delay), (Status::On, 0));
    assert_eq!(report.user, None);
}
