//! From a request to what is said to it.

use std::time::Duration;

use causeway_proto::crypto::SecretBytes;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, COOKIE, HOST, HeaderName, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use ring::rand::{SecureRandom, SystemRandom};

use super::api::{self, Fault};
use super::form;
use super::http::{BodyError, Enrolment, Reply, field};
use super::logins::{Ends, LoginId, NoAnswer, View, Wish};
use super::page::{SCRIPT, STYLE, Shown, render};
use super::reason::State;

/// The longest that a request may wait for a decision; less than what proxies and clients wait for an answer.
const WAIT: Duration = Duration::from_secs(20);
/// Other hosts of the same domain cannot set cookies with this prefix.
const CSRF: &str = "__Host-causeway-form";
const LOGIN: &str = "__Host-causeway-login";

/// Where a request goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Route<'a> {
    Bare,
    Page,
    Script,
    Style,
    Login,
    Answer,
    ApiLogin,
    ApiView(&'a str),
    ApiAnswer(&'a str),
    Nowhere,
    ApiNowhere,
}

impl<'a> Route<'a> {
    fn of(path: &'a str) -> Self {
        if let Some(rest) = path.strip_prefix("/enrol/api/") {
            return match rest.strip_prefix("v1/login") {
                Some("") => Self::ApiLogin,
                Some(rest) => match rest.strip_prefix('/').map(|rest| rest.split_once('/')) {
                    Some(None) => Self::ApiView(rest.trim_start_matches('/')),
                    Some(Some((id, "answer"))) => Self::ApiAnswer(id),
                    Some(Some(_)) | None => Self::ApiNowhere,
                },
                None => Self::ApiNowhere,
            };
        }
        match path {
            "/enrol" => Self::Bare,
            "/enrol/" => Self::Page,
            "/enrol/page.js" => Self::Script,
            "/enrol/page.css" => Self::Style,
            "/enrol/login" => Self::Login,
            "/enrol/answer" => Self::Answer,
            _ => Self::Nowhere,
        }
    }

    const fn methods(self) -> &'static str {
        match self {
            Self::Bare | Self::Page | Self::Script | Self::Style => "GET, HEAD",
            Self::Login => "GET, POST",
            Self::Answer | Self::ApiLogin | Self::ApiAnswer(_) => "POST",
            // HEAD would take the answer away.
            Self::ApiView(_) => "GET",
            Self::Nowhere | Self::ApiNowhere => "",
        }
    }
}

impl Enrolment {
    /// Answers a request.
    pub(super) async fn answer(
        &self,
        parts: &Parts,
        body: Result<Bytes, BodyError>,
        ends: Ends,
    ) -> Reply {
        let route = Route::of(parts.uri.path());
        let mut methods = route.methods().split(", ");
        if !route.methods().is_empty() && !methods.any(|method| parts.method == *method) {
            return Reply::not_allowed(route.methods());
        }
        let body = match body {
            Ok(body) => body,
            Err(error) => {
                let fault = match error {
                    BodyError::TooLarge => Fault::TooLarge,
                    BodyError::TooSlow => Fault::TooSlow,
                    BodyError::Broken => Fault::Body,
                };
                return if matches!(route, Route::Login | Route::Answer) {
                    page_fault(parts, fault)
                } else {
                    fault.json()
                };
            }
        };
        match route {
            Route::Bare => Reply::see("/enrol/"),
            Route::Page => with_form(parts, StatusCode::OK, Shown::EMPTY),
            Route::Script => Reply::new(StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT),
            Route::Style => Reply::new(StatusCode::OK, "text/css; charset=utf-8", STYLE),
            Route::Login if parts.method == Method::POST => self.form_login(parts, &body, ends),
            Route::Login => self.form_view(parts),
            Route::Answer => self.form_answer(parts, &body),
            Route::ApiLogin => self.api_login(parts, &body, ends),
            Route::ApiView(id) => self.api_view(parts, id).await,
            Route::ApiAnswer(id) => self.api_answer(parts, &body, id),
            Route::Nowhere => Reply::text(StatusCode::NOT_FOUND, "not found\n"),
            Route::ApiNowhere => Fault::NotFound.json(),
        }
    }

    fn api_login(&self, parts: &Parts, body: &[u8], ends: Ends) -> Reply {
        let wish = match api_body(parts).and_then(|()| api::wish(body)) {
            Ok(wish) => wish,
            Err(fault) => return fault.json(),
        };
        match self.logins.begin(ends, wish) {
            Ok(id) => api::view(StatusCode::ACCEPTED, &id, &BEGUN),
            Err(reason) => api::error(
                StatusCode::SERVICE_UNAVAILABLE,
                reason.code(),
                reason.text(),
            ),
        }
    }

    async fn api_view(&self, parts: &Parts, id: &str) -> Reply {
        let Some(id) = LoginId::parse(id) else {
            return Fault::UnknownLogin.json();
        };
        let asked = parts
            .uri
            .query()
            .and_then(|query| query.strip_prefix("wait="));
        if let Some(seconds) = asked.and_then(|text| text.parse().ok()) {
            self.logins
                .wait(&id, Duration::from_secs(seconds).min(WAIT))
                .await;
        }
        match self.logins.look(&id) {
            Some(view) => api::view(StatusCode::OK, &id, &view),
            None => Fault::UnknownLogin.json(),
        }
    }

    fn api_answer(&self, parts: &Parts, body: &[u8], id: &str) -> Reply {
        let code = match api_body(parts).and_then(|()| api::code(body)) {
            Ok(code) => code,
            Err(fault) => return fault.json(),
        };
        let Some(id) = LoginId::parse(id) else {
            return Fault::UnknownLogin.json();
        };
        match self.give(&id, code) {
            Ok(()) => match self.logins.elapsed(&id) {
                Some(elapsed) => {
                    let state = State::Pending;
                    api::view(StatusCode::ACCEPTED, &id, &View { state, elapsed })
                }
                None => Fault::UnknownLogin.json(),
            },
            Err(fault) => fault.json(),
        }
    }

    fn give(&self, id: &LoginId, code: SecretBytes) -> Result<(), Fault> {
        self.logins.answer(id, code).map_err(|error| match error {
            NoAnswer::Unknown => Fault::UnknownLogin,
            NoAnswer::NotAsked => Fault::NotAsked,
        })
    }

    fn form_login(&self, parts: &Parts, body: &[u8], ends: Ends) -> Reply {
        let mut fields = match own_form(parts, body) {
            Ok(fields) => fields,
            Err(fault) => return page_fault(parts, fault),
        };
        let mut value = |name| form::take(&mut fields, name).unwrap_or_default();
        let (user, password) = (value("user"), value("password"));
        let (device, key) = (value("device"), value("public_key"));
        let refused = |status, text| {
            let form = Shown::Form {
                error: Some(text),
                user: &user,
                device: &device,
                public_key: &key,
            };
            with_form(parts, status, form)
        };
        let wish: Wish = match api::checked(&user, password, &device, &key) {
            Ok(wish) => wish,
            Err(fault) => {
                let (status, text) = fault.text();
                return refused(status, text);
            }
        };
        match self.logins.begin(ends, wish) {
            Ok(id) => Reply::see("/enrol/login").with_cookie(LOGIN, id.as_str()),
            Err(reason) => refused(StatusCode::SERVICE_UNAVAILABLE, reason.text()),
        }
    }

    /// Shows how far the browser's log-in is.
    fn form_view(&self, parts: &Parts) -> Reply {
        let Some(id) = cookie(parts, LOGIN).and_then(LoginId::parse) else {
            return Reply::see("/enrol/");
        };
        let Some(view) = self.logins.look(&id) else {
            return page_fault(parts, Fault::UnknownLogin);
        };
        let csrf = cookie(parts, CSRF).unwrap_or_default();
        match &view.state {
            State::Pending => {
                let elapsed = view.elapsed;
                Reply::html(StatusCode::OK, render(Shown::Waiting { elapsed }, csrf))
            }
            State::Challenge(text) => {
                let text = text.as_deref();
                Reply::html(StatusCode::OK, render(Shown::Challenge { text }, csrf))
            }
            State::Accepted(profile) => {
                Reply::html(StatusCode::OK, render(Shown::Accepted { profile }, csrf))
            }
            State::Refused(reason) => {
                let status = if reason.is_passing() {
                    StatusCode::SERVICE_UNAVAILABLE
                } else {
                    StatusCode::OK
                };
                with_form(parts, status, Shown::error(reason.text()))
            }
        }
    }

    fn form_answer(&self, parts: &Parts, body: &[u8]) -> Reply {
        let given = own_form(parts, body).and_then(|mut fields| {
            let code = form::take(&mut fields, "code").unwrap_or_default();
            let code = api::checked_code(code.trim().to_owned())?;
            let id = cookie(parts, LOGIN).and_then(LoginId::parse);
            self.give(&id.ok_or(Fault::UnknownLogin)?, code)
        });
        match given {
            // Sent twice: the first one counts.
            Ok(()) | Err(Fault::NotAsked | Fault::Code) => Reply::see("/enrol/login"),
            Err(fault) => page_fault(parts, fault),
        }
    }
}

/// What a log-in is that has just begun.
const BEGUN: View = View {
    state: State::Pending,
    elapsed: Duration::ZERO,
};

/// Returns the page, with the token that the browser has for its forms already, so that other windows go on working, or
/// a new one.
fn with_form(parts: &Parts, status: StatusCode, shown: Shown<'_>) -> Reply {
    if let Some(token) = cookie(parts, CSRF).and_then(LoginId::parse) {
        return Reply::html(status, render(shown, token.as_str()));
    }
    let mut seed = [0; 32];
    // Without randomness the token is refused when it comes back.
    let token = match SystemRandom::new().fill(&mut seed) {
        Ok(()) => LoginId::of(&seed).as_str().to_owned(),
        Err(_) => String::new(),
    };
    Reply::html(status, render(shown, &token)).with_cookie(CSRF, &token)
}

fn page_fault(parts: &Parts, fault: Fault) -> Reply {
    let (status, text) = fault.text();
    with_form(parts, status, Shown::error(text))
}

/// Checks that a form comes from the page: by where the browser says it was, and by the token that only the page knows.
fn own_form(parts: &Parts, body: &[u8]) -> Result<Vec<(String, String)>, Fault> {
    same_origin(parts)?;
    let kind = field(parts, &CONTENT_TYPE).unwrap_or_default();
    if !is_kind(kind, "application/x-www-form-urlencoded") {
        return Err(Fault::Body);
    }
    let mut fields = form::parse(body).ok_or(Fault::Body)?;
    let token = form::take(&mut fields, "csrf").unwrap_or_default();
    let expected = cookie(parts, CSRF).and_then(LoginId::parse);
    let expected = expected.ok_or(Fault::CrossOrigin)?;
    let [token, expected] = [token.as_bytes(), expected.as_str().as_bytes()];
    if SecretBytes::from(token) == SecretBytes::from(expected) {
        Ok(fields)
    } else {
        Err(Fault::CrossOrigin)
    }
}

/// Checks that a body is JSON, which no form of another site can send, and that no other site sends it.
fn api_body(parts: &Parts) -> Result<(), Fault> {
    same_origin(parts)?;
    let kind = field(parts, &CONTENT_TYPE).unwrap_or_default();
    if is_kind(kind, "application/json") {
        Ok(())
    } else {
        Err(Fault::ContentType)
    }
}

fn is_kind(value: &str, kind: &str) -> bool {
    let (value, _) = value.split_once(';').unwrap_or((value, ""));
    value.trim().eq_ignore_ascii_case(kind)
}

/// Refuses what a browser says it sends for another site; programs say nothing.
fn same_origin(parts: &Parts) -> Result<(), Fault> {
    let host = field(parts, &HOST).ok_or(Fault::Body)?;
    let own = !parts.headers.contains_key(ORIGIN)
        || field(parts, &ORIGIN)
            .and_then(|origin| origin.strip_prefix("https://"))
            .is_some_and(|origin| without_port(origin).eq_ignore_ascii_case(without_port(host)));
    let site = HeaderName::from_static("sec-fetch-site");
    let same = !parts.headers.contains_key(&site)
        || matches!(field(parts, &site), Some("same-origin" | "none"));
    if own && same {
        Ok(())
    } else {
        Err(Fault::CrossOrigin)
    }
}

/// Takes away the port that browsers leave out.
fn without_port(host: &str) -> &str {
    host.strip_suffix(":443").unwrap_or(host)
}

fn cookie<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    let headers = parts.headers.get_all(COOKIE).iter();
    form::cookie(headers.filter_map(|value| value.to_str().ok()), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_its_place() {
        let rows = [
            ("/enrol", Route::Bare),
            ("/enrol/", Route::Page),
            ("/enrol/login", Route::Login),
            ("/enrol/login/", Route::Nowhere),
            ("/enrol/../x", Route::Nowhere),
            ("/enrol/api/v1/login", Route::ApiLogin),
            ("/enrol/api/v1/login/", Route::ApiView("")),
            ("/enrol/api/v1/login/abc", Route::ApiView("abc")),
            ("/enrol/api/v1/login/abc/answer", Route::ApiAnswer("abc")),
            ("/enrol/api/v1/login/abc/answer/x", Route::ApiNowhere),
            ("/enrol/api/v1/loginx", Route::ApiNowhere),
            ("/enrol/api/v2/login", Route::ApiNowhere),
        ];
        for (path, route) in rows {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }

    #[test]
    fn only_requests_of_the_page_and_of_programs_are_taken() {
        let rows: [(&[(&str, &str)], bool); 10] = [
            (&[("host", "vpn.example.com")], true),
            (&[], false),
            (
                &[
                    ("host", "vpn.example.com"),
                    ("origin", "https://vpn.example.com"),
                ],
                true,
            ),
            (
                &[
                    ("host", "vpn.example.com:443"),
                    ("origin", "https://vpn.example.com"),
                ],
                true,
            ),
            (
                &[
                    ("host", "vpn.example.com:8443"),
                    ("origin", "https://vpn.example.com:8443"),
                ],
                true,
            ),
            (
                &[
                    ("host", "vpn.example.com"),
                    ("origin", "https://evil.example.com"),
                ],
                false,
            ),
            (
                &[
                    ("host", "vpn.example.com"),
                    ("origin", "http://vpn.example.com"),
                ],
                false,
            ),
            (&[("host", "vpn.example.com"), ("origin", "null")], false),
            (
                &[("host", "vpn.example.com"), ("sec-fetch-site", "same-site")],
                false,
            ),
            (
                &[
                    ("host", "vpn.example.com"),
                    ("sec-fetch-site", "same-origin"),
                ],
                true,
            ),
        ];
        for (headers, taken) in rows {
            let mut request = hyper::Request::builder().uri("/enrol/login");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(same_origin(&parts).is_ok(), taken, "{headers:?}");
        }
    }
}
