//! Request heads of real clients, and heads that nobody honest sends.

use proptest::prelude::*;

use super::*;

const WINDOWS: &str = "SSTP_DUPLEX_POST /sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/ HTTP/1.1\r\n\
    SSTPCORRELATIONID: {5A433238-8781-11E3-B2E4-4E6D617021F8}\r\n\
    Content-Length: 18446744073709551615\r\n\
    Host: vpn.example.com\r\n\r\n";
const SSTPC: &str = "SSTP_DUPLEX_POST /sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/ HTTP/1.1\r\n\
    Host: vpn.example.com\r\n\
    Content-Length: 18446744073709551615\r\n\
    SSTPCORRELATIONID: {72A760BC-4A77-2E2D-1EC35D4B}\r\n\r\n";
const ANDROID: &str = "SSTP_DUPLEX_POST /sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/ HTTP/1.1\r\n\
    Content-Length: 18446744073709551615\r\n\
    Host: vpn.example.com\r\n\r\n";

fn parse(text: &str) -> Result<Option<(RequestHead, usize)>, HttpError> {
    parse_request(text.as_bytes())
}

#[test]
fn reads_the_clients_that_there_are_and_tells_them_apart() {
    let rows = [
        (WINDOWS, ClientShape::Windows),
        (SSTPC, ClientShape::Sstpc),
        (ANDROID, ClientShape::Other),
    ];
    for (text, shape) in rows {
        let (head, len) = parse(text).unwrap().unwrap();
        assert_eq!(len, text.len());
        assert_eq!(head.method, Method::DuplexPost);
        assert_eq!(head.target, Target::Sra);
        assert_eq!(head.version, Version::Http11);
        assert_eq!(head.host.as_deref(), Some("vpn.example.com"));
        assert_eq!(client_shape(&head), shape);
    }
    let (head, _) = parse(SSTPC).unwrap().unwrap();
    assert_eq!(
        head.correlation.as_deref(),
        Some("{72A760BC-4A77-2E2D-1EC35D4B}")
    );
}

#[test]
fn a_correlation_id_is_windows_only_when_it_is_a_guid_in_braces() {
    let rows = [
        (
            "{5a433238-8781-11e3-b2e4-4e6d617021f8}",
            ClientShape::Windows,
        ),
        ("5A433238-8781-11E3-B2E4-4E6D617021F8", ClientShape::Sstpc),
        ("{5A433238-8781-11E3-B2E4-4E6D617021FG}", ClientShape::Sstpc),
        ("{5A433238-8781-11E3-B2E44E6D617021F8}", ClientShape::Sstpc),
        ("{}", ClientShape::Sstpc),
        ("", ClientShape::Sstpc),
    ];
    for (id, shape) in rows {
        let text = format!("SSTP_DUPLEX_POST / HTTP/1.1\r\nsstpcorrelationid: {id}\r\n\r\n");
        let (head, _) = parse(&text).unwrap().unwrap();
        assert_eq!(client_shape(&head), shape, "{id}");
    }
}

#[test]
fn every_prefix_wants_more() {
    for text in [WINDOWS, SSTPC, ANDROID] {
        for len in 0..text.len() {
            assert_eq!(parse(&text[..len]), Ok(None));
        }
    }
}

#[test]
fn octets_behind_the_head_are_left_alone() {
    let mut bytes = WINDOWS.as_bytes().to_vec();
    bytes.extend([0x10, 1, 0, 14, 0, 1, 0, 1, 0, 1, 0, 6, 0, 1, 0x0d, 0x0a]);
    let (_, len) = parse_request(&bytes).unwrap().unwrap();
    assert_eq!(len, WINDOWS.len());
    bytes.resize(MAX_HEAD * 2, 0xff);
    let (_, len) = parse_request(&bytes).unwrap().unwrap();
    assert_eq!(len, WINDOWS.len());
}

#[test]
fn is_lenient_where_clients_differ() {
    let path = "/SRA_%7bba195980-cd49-458b-9e23-c84ee0adcd75%7D?tenantid=1";
    let texts = [
        format!("\r\n\r\n  sstp_duplex_post  {path}  http/1.1\r\nhost:x\r\n\r\n"),
        format!("SSTP_DUPLEX_POST {path} HTTP/1.1\nHOST: \t x \t\n\n"),
        format!("SSTP_DUPLEX_POST {path} HTTP/1.1\r\nHost: x\r\n\n"),
    ];
    for text in texts {
        let (head, len) = parse(&text).unwrap().unwrap();
        assert_eq!(len, text.len());
        assert_eq!(head.method, Method::DuplexPost);
        assert_eq!(head.target, Target::Sra);
        assert_eq!(head.host.as_deref(), Some("x"));
    }
}

#[test]
fn other_methods_and_versions_are_told_apart() {
    let rows = [
        ("GET / HTTP/1.1", Ok((Method::Get, Version::Http11))),
        ("HEAD / HTTP/1.0", Ok((Method::Head, Version::Http10))),
        ("POST / HTTP/1.1", Ok((Method::Other, Version::Http11))),
        (
            "CONNECT a:443 HTTP/1.1",
            Ok((Method::Other, Version::Http11)),
        ),
        ("PRI * HTTP/2.0", Err(HttpError::Version)),
        ("GET / HTTP/1.2", Err(HttpError::Version)),
        ("GET / HTTP/11", Err(HttpError::Version)),
        ("GET / HTTP/", Err(HttpError::Version)),
        ("GET / FTP/1.1", Err(HttpError::Malformed)),
        ("GET /", Err(HttpError::Malformed)),
        ("GET", Err(HttpError::Malformed)),
        ("GET / x HTTP/1.1", Err(HttpError::Malformed)),
        ("G(T / HTTP/1.1", Err(HttpError::Malformed)),
        ("GET /\u{7f} HTTP/1.1", Err(HttpError::Malformed)),
        ("GET /\t HTTP/1.1", Err(HttpError::Malformed)),
    ];
    for (line, wanted) in rows {
        let found = parse(&format!("{line}\r\n\r\n"))
            .map(|head| head.unwrap().0)
            .map(|head| (head.method, head.version));
        assert_eq!(found, wanted, "{line}");
    }
}

#[test]
fn what_two_parsers_might_read_in_two_ways_is_refused() {
    let fields = [
        "Transfer-Encoding: chunked",
        "transfer-encoding:",
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: -1",
        "Content-Length: 0x10",
        "Content-Length:",
        "Content-Length : 1",
        "Host: a\r\n b",
        "Host: a\r\n\tb: c",
        ": empty",
        "no colon",
        "Ho st: a",
        "Host: a\0b",
        "Host: a\rb",
        "Host: a\r\r",
        "Host: a\x1b[2J",
        "H\u{e9}: a",
    ];
    for field in fields {
        let text = format!("SSTP_DUPLEX_POST {SRA_PATH} HTTP/1.1\r\n{field}\r\n\r\n");
        assert_eq!(parse(&text), Err(HttpError::Malformed), "{field:?}");
    }
}

#[test]
fn what_is_no_http_is_refused_at_its_first_octet() {
    for bytes in [&b"\x16\x03\x01"[..], b"\0", b"\r\n\xff", b"/", b"{"] {
        assert_eq!(parse_request(bytes), Err(HttpError::Malformed));
    }
}

#[test]
fn a_head_ends_within_8_kib_or_not_at_all() {
    let endless = [
        vec![b'a'; MAX_HEAD],
        vec![b'\n'; MAX_HEAD],
        b"GET / HTTP/1.1\r\n"
            .iter()
            .copied()
            .chain([b'x'; MAX_HEAD])
            .collect(),
    ];
    for bytes in endless {
        assert_eq!(parse_request(&bytes[..MAX_HEAD - 1]), Ok(None));
        assert_eq!(parse_request(&bytes), Err(HttpError::TooLarge));
    }
    let head = "GET / HTTP/1.1\r\nA: ";
    let fitting = format!("{head}{}\r\n\r\n", "x".repeat(MAX_HEAD - head.len() - 4));
    assert!(parse(&fitting).unwrap().is_some());
    let too_long = format!("{head}{}\r\n\r\n", "x".repeat(MAX_HEAD - head.len() - 3));
    assert_eq!(parse(&too_long), Err(HttpError::TooLarge));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
    assert_eq!(parse(&many), Err(HttpError::TooLarge));
}

#[test]
fn what_is_kept_is_short_and_printable() {
    let text = format!(
        "GET / HTTP/1.1\r\nSSTPCORRELATIONID: {}\r\nHost: a\u{202e}b\"c d\r\n\r\n",
        "x".repeat(5000)
    );
    let (head, _) = parse(&text).unwrap().unwrap();
    assert_eq!(head.correlation.unwrap().len(), 64);
    assert_eq!(head.host.as_deref(), Some("ab\"cd"));
}

#[test]
fn the_200_is_what_clients_demand() {
    let response = ok_response("Tue, 24 Nov 2026 21:00:00 GMT", "Microsoft-HTTPAPI/2.0");
    assert_eq!(
        String::from_utf8(response.clone()).unwrap(),
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\nServer: Microsoft-HTTPAPI/2.0\r\n\
         Date: Tue, 24 Nov 2026 21:00:00 GMT\r\n\r\n"
    );
    assert_eq!(parse_response(&response), Ok(Some((200, response.len()))));
    for len in 0..response.len() {
        assert_eq!(parse_response(&response[..len]), Ok(None));
    }
}

#[test]
fn no_response_has_more_than_four_headers_or_a_body() {
    for status in StatusCode::ALL {
        let response = status_response(status, "now", "a\r\nSet-Cookie: b");
        let text = String::from_utf8(response.clone()).unwrap();
        assert_eq!(text.matches("\r\n").count(), 6, "{text}");
        assert!(text.ends_with("\r\n\r\n"));
        assert!(text.contains("\r\nContent-Length: 0\r\n"));
        assert_eq!(
            parse_response(&response),
            Ok(Some((status.code(), response.len())))
        );
    }
}

#[test]
fn a_client_refuses_a_200_that_ends() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(parse_response(bytes), Err(HttpError::Malformed));
    let bytes = b"HTTP/1.0 200 OK\r\n\r\n";
    assert_eq!(parse_response(bytes), Err(HttpError::Version));
    let bytes = b"HTTP/1.1 20x OK\r\n\r\n";
    assert_eq!(parse_response(bytes), Err(HttpError::Malformed));
}

#[test]
fn our_own_request_is_read_as_what_it_is() {
    for shape in ClientShape::ALL {
        let id = match shape {
            ClientShape::Windows | ClientShape::Other => "{5A433238-8781-11E3-B2E4-4E6D617021F8}",
            ClientShape::Sstpc => "{72A760BC-4A77-2E2D-1EC35D4B}",
        };
        let bytes = request("vpn.example.com\r\nX: y", id, shape);
        let (head, len) = parse_request(&bytes).unwrap().unwrap();
        assert_eq!(len, bytes.len());
        assert_eq!(head.method, Method::DuplexPost);
        assert_eq!(head.target, Target::Sra);
        assert_eq!(client_shape(&head), shape);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(Some((head, len))) = parse_request(&bytes) {
            prop_assert!(len <= bytes.len());
            prop_assert!(head.correlation.is_none_or(|id| id.len() <= 64));
        }
        if let Ok(Some((status, len))) = parse_response(&bytes) {
            prop_assert!(status >= 100 && len <= bytes.len());
        }
    }

    #[test]
    fn any_changed_request_is_read_or_refused(at in 0..WINDOWS.len(), octet: u8, cut in 0..WINDOWS.len()) {
        let mut bytes = WINDOWS.as_bytes().to_vec();
        bytes[at] = octet;
        if let Ok(Some((_, len))) = parse_request(&bytes) {
            prop_assert!(len <= bytes.len());
        }
        bytes.remove(cut);
        if let Ok(Some((_, len))) = parse_request(&bytes) {
            prop_assert!(len <= bytes.len());
        }
    }
}
