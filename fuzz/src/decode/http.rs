//! The request head ahead of SSTP, and the response head that the client half reads.

use causeway_proto::sstp::http::{MAX_HEAD, client_shape, parse_request, parse_response};

/// Reads any bytes as a head, whole and byte by byte: the verdict must be the same.
pub fn http(bytes: &[u8]) {
    let whole = parse_request(bytes);
    if let Ok(Some((head, len))) = &whole {
        assert!(*len <= bytes.len() && *len <= MAX_HEAD);
        for text in [&head.correlation, &head.host].into_iter().flatten() {
            assert!(
                text.len() <= 64 && text.bytes().all(|b| (0x20..0x7f).contains(&b)),
                "{text:?}"
            );
        }
        // The head alone says the same, and no shorter piece of it is a head already.
        assert_eq!(parse_request(&bytes[..*len]), whole);
        for cut in (len.saturating_sub(8)..*len).chain([1, len / 2]) {
            assert!(!matches!(
                parse_request(&bytes[..cut.min(len - 1)]),
                Ok(Some(_))
            ));
        }
        let _ = client_shape(head);
    }
    if bytes.len() > MAX_HEAD {
        assert!(
            !matches!(whole, Ok(None)),
            "waits for more of a head that is too long"
        );
    }
    if let Ok(Some((status, len))) = parse_response(bytes) {
        assert!((100..=999).contains(&status) && len <= bytes.len());
    }
}
