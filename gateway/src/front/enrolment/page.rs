//! The page: one HTML file with every part of it; what is shown depends on how far the log-in is.
//!
//! It is complete without the script. The script (`page.js`) makes the key, waits without reloading, and draws the QR
//! code; the private key never leaves the browser.

use std::fmt::Write as _;
use std::time::Duration;

use super::profile::Profile;

const HTML: &str = include_str!("page.html");
pub(super) const SCRIPT: &str = include_str!("page.js");
pub(super) const STYLE: &str = include_str!("page.css");

/// What the page shows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown<'a> {
    /// The form, with what went wrong.
    Form {
        error: Option<&'a str>,
        user: &'a str,
        device: &'a str,
        public_key: &'a str,
    },
    /// That the phone is waited for.
    Waiting { elapsed: Duration },
    /// The question for a code.
    Challenge { text: Option<&'a str> },
    /// What the device needs.
    Accepted { profile: &'a Profile },
}

impl Shown<'_> {
    /// The empty form.
    pub(super) const EMPTY: Self = Self::Form {
        error: None,
        user: "",
        device: "",
        public_key: "",
    };

    /// The form under an error.
    pub(super) const fn error(error: &str) -> Shown<'_> {
        Shown::Form {
            error: Some(error),
            user: "",
            device: "",
            public_key: "",
        }
    }
}

/// Draws the page.
pub(super) fn render(shown: Shown<'_>, csrf: &str) -> String {
    let mut values = vec![("csrf", escaped(csrf))];
    let part = match shown {
        Shown::Form {
            error,
            user,
            device,
            public_key,
        } => {
            values.push(("error", escaped(error.unwrap_or_default())));
            if error.is_some() {
                values.push(("show-error", String::new()));
            }
            values.push(("user", escaped(user)));
            values.push(("device", escaped(device)));
            values.push(("public-key", escaped(public_key)));
            "show-form"
        }
        Shown::Waiting { elapsed } => {
            values.push(("elapsed", elapsed.as_secs().to_string()));
            let refresh = r#"<meta http-equiv="refresh" content="2; url=/enrol/login">"#;
            values.push(("refresh", refresh.to_owned()));
            "show-waiting"
        }
        Shown::Challenge { text } => {
            values.push(("challenge", escaped(text.unwrap_or("Enter your code"))));
            "show-challenge"
        }
        Shown::Accepted { profile } => {
            values.push(("address", profile.address.to_string()));
            if let Some(expires) = &profile.expires {
                let time = expires.replace('T', " ").replace('Z', " UTC");
                values.push(("expires", escaped(&format!("Log in again before {time}."))));
            }
            values.push(("profile", escaped(&profile.profile)));
            values.push(("profile-url", percent_encoded(&profile.profile)));
            "show-accepted"
        }
    };
    values.push((part, String::new()));
    fill(HTML, &values)
}

/// Puts values in the places of `{{name}}`; a `show-` without one becomes the attribute `hidden`. What a value says is
/// never read again.
fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut out = String::with_capacity(template.len() + 1024);
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((name, after)) = behind.split_once("}}") else {
            break;
        };
        match values.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => out.push_str(value),
            None if name.starts_with("show-") => out.push_str("hidden"),
            None => {}
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Returns text that is only text, in an element and in an attribute between double quotes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Returns text as part of a URL.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 3);
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(octet));
        } else if write!(out, "%{octet:02X}").is_err() {
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_type_stays_text() {
        let page = render(
            Shown::Form {
                error: Some("<script>alert(1)</script>"),
                user: "\"><img src=x onerror=alert(1)>{{csrf}}",
                device: "'",
                public_key: "&",
            },
            "token",
        );
        assert!(!page.contains("<script>alert") && !page.contains("<img"));
        assert!(page.contains("&quot;&gt;&lt;img src=x onerror=alert(1)&gt;{{csrf}}"));
        assert!(page.contains("&lt;script&gt;"));
    }

    #[test]
    fn one_part_is_shown_and_no_place_stays_empty() {
        for (shown, id) in [
            (Shown::EMPTY, "form"),
            (
                Shown::Waiting {
                    elapsed: Duration::from_secs(31),
                },
                "waiting",
            ),
            (Shown::Challenge { text: None }, "challenge"),
        ] {
            let page = render(shown, "token");
            assert!(!page.contains("{{"), "{id}");
            for part in ["form", "waiting", "challenge", "accepted"] {
                let hidden = page.contains(&format!("<section id=\"{part}\" hidden>"));
                assert_eq!(hidden, part != id, "{part} on the page for {id}");
            }
            assert_eq!(page.contains("http-equiv=\"refresh\""), id == "waiting");
        }
        assert!(
            render(
                Shown::Waiting {
                    elapsed: Duration::from_secs(31)
                },
                ""
            )
            .contains(">31<")
        );
    }

    #[test]
    fn the_page_needs_nothing_that_its_policy_forbids() {
        for forbidden in [
            "onclick",
            "onload",
            "onsubmit",
            "javascript:",
            "style=",
            "<style",
            "http://",
            "https://",
        ] {
            assert!(!HTML.contains(forbidden), "{forbidden}");
        }
        for tag in HTML.split("<script").skip(1) {
            assert!(tag.starts_with(" src=\"/enrol/page.js\" defer></script>"));
        }
        for forbidden in [
            "eval(",
            "innerHTML",
            "localStorage",
            "sessionStorage",
            "document.cookie",
        ] {
            assert!(!SCRIPT.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn every_field_has_a_label() {
        for input in HTML.split("<input").skip(1) {
            let input = input.split('>').next().unwrap();
            if input.contains("type=\"hidden\"") {
                continue;
            }
            let id = input
                .split("id=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap();
            assert!(HTML.contains(&format!("for=\"{id}\"")), "{id}");
        }
    }
}
