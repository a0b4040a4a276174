//! What browsers send: forms and cookies.

/// The most fields that a form may have.
const MAX_FIELDS: usize = 16;

/// Reads `application/x-www-form-urlencoded`; `None` when it is none, or a field comes twice.
pub(super) fn parse(body: &[u8]) -> Option<Vec<(String, String)>> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for pair in body
        .split(|octet| *octet == b'&')
        .filter(|pair| !pair.is_empty())
    {
        let mut halves = pair.splitn(2, |octet| *octet == b'=');
        let name = decode(halves.next()?)?;
        let value = decode(halves.next().unwrap_or_default())?;
        if fields.len() >= MAX_FIELDS || fields.iter().any(|(known, _)| *known == name) {
            return None;
        }
        fields.push((name, value));
    }
    Some(fields)
}

/// Takes a field out.
pub(super) fn take(fields: &mut Vec<(String, String)>, name: &str) -> Option<String> {
    let at = fields.iter().position(|(known, _)| known == name)?;
    Some(fields.swap_remove(at).1)
}

fn decode(text: &[u8]) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'+' => b' ',
            b'%' => hex(*rest.next()?)? << 4 | hex(*rest.next()?)?,
            other => *other,
        });
    }
    String::from_utf8(octets).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// Returns the value of a cookie; none when it comes twice, because then somebody else has set one of them.
pub(super) fn cookie<'a>(headers: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    let mut values = headers
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(known, _)| *known == name)
        .map(|(_, value)| value);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_encoded_is_read_back(value in "\\PC{0,40}") {
            let encoded: Vec<_> = value.bytes().map(|octet| format!("%{octet:02x}")).collect();
            let encoded = encoded.concat();
            let fields = parse(format!("a=1&value={encoded}").as_bytes()).unwrap();
            prop_assert_eq!(&fields[1].1, &value);
        }

        #[test]
        fn whatever_comes_is_read_or_refused(body: Vec<u8>) {
            if let Some(fields) = parse(&body) {
                prop_assert!(fields.len() <= MAX_FIELDS);
            }
        }
    }

    #[test]
    fn a_form_is_read_and_nonsense_is_not() {
        let mut fields =
            parse(b"user=alice%40example.com&password=a+b%2B%c3%a9%26&empty=&flag").unwrap();
        assert_eq!(
            take(&mut fields, "user").as_deref(),
            Some("alice@example.com")
        );
        assert_eq!(
            take(&mut fields, "password").as_deref(),
            Some("a b+\u{e9}&")
        );
        assert_eq!(take(&mut fields, "empty").as_deref(), Some(""));
        assert_eq!(take(&mut fields, "flag").as_deref(), Some(""));
        assert_eq!(take(&mut fields, "user"), None);
        for wrong in ["a=%", "a=%2", "a=%zz", "a=%ff", "a=1&a=2", "a=%+1"] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(parse(b"&a=&&").unwrap().len(), 1);
        let many: Vec<_> = (0..17).map(|n| format!("f{n}=1")).collect();
        assert_eq!(parse(many.join("&").as_bytes()), None);
    }

    #[test]
    fn a_cookie_that_comes_twice_is_none() {
        let read = |headers: &[&'static str]| cookie(headers.iter().copied(), "id");
        assert_eq!(read(&["a=b; id=7;c=d"]), Some("7"));
        assert_eq!(read(&["xid=7", "id=8"]), Some("8"));
        assert_eq!(read(&["id=7; id=8"]), None);
        assert_eq!(read(&["id=7", "id=7"]), None);
        assert_eq!(read(&["nothing"]), None);
    }
}
