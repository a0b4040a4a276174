//! The page without its script, as a browser uses it.

use std::time::Duration;

use harness::radius_server::{Fault, Script};

use crate::house::{House, Response, key};

const FORM: &str = "__Host-causeway-form";
const LOGIN: &str = "__Host-causeway-login";

/// A browser that has opened the page.
struct Browser<'a> {
    house: &'a House,
    token: String,
    cookies: String,
}

impl<'a> Browser<'a> {
    async fn open(house: &'a House) -> Self {
        let page = house.get("/enrol/", "").await;
        assert_eq!(page.status, 200);
        let token = page.cookie(FORM).unwrap().to_owned();
        assert!(
            page.body
                .contains(&format!("name=\"csrf\" value=\"{token}\""))
        );
        Self {
            house,
            cookies: format!("Cookie: {FORM}={token}\r\n"),
            token,
        }
    }

    async fn send(&self, path: &str, more: &str, fields: &str) -> Response {
        let headers = format!(
            "Content-Type: application/x-www-form-urlencoded\r\nOrigin: https://localhost\r\n\
             Sec-Fetch-Site: same-origin\r\n{}{more}",
            self.cookies
        );
        let body = format!("csrf={}&{fields}", self.token);
        self.house.post(path, &headers, &body).await
    }

    async fn log_in(&mut self, user: &str, password: &str) -> Response {
        let key = key(7)
            .replace('+', "%2B")
            .replace('/', "%2F")
            .replace('=', "%3D");
        let fields = format!("user={user}&password={password}&device=my+phone&public_key={key}");
        let sent = self.send("/enrol/login", "", &fields).await;
        if let Some(id) = sent.cookie(LOGIN) {
            self.cookies = format!("Cookie: {FORM}={}; {LOGIN}={id}\r\n", self.token);
        }
        sent
    }

    async fn reload(&self) -> Response {
        self.house.get("/enrol/login", &self.cookies).await
    }

    /// Reloads as the page says, until it says so no more.
    async fn wait(&self) -> Response {
        loop {
            let page = self.reload().await;
            if !page.body.contains("http-equiv=\"refresh\"") {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn shows(page: &Response, part: &str) -> bool {
    page.body.contains(&format!("<section id=\"{part}\" >"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_waits_for_the_phone_without_a_script() {
    let house = House::new(Script {
        delay: Duration::from_millis(800),
        ..Script::default()
    })
    .await;
    let mut browser = Browser::open(&house).await;
    let sent = browser.log_in("alice", "wonderland").await;
    assert_eq!(
        (sent.status, sent.fields("location")),
        (303, vec!["/enrol/login"])
    );
    let waiting = browser.reload().await;
    assert!(shows(&waiting, "waiting") && waiting.body.contains("content=\"2; url=/enrol/login\""));
    let accepted = browser.wait().await;
    assert!(shows(&accepted, "accepted"), "{accepted:?}");
    assert!(
        accepted
            .body
            .contains("\n[Interface]\nPrivateKey = PASTE-YOUR-PRIVATE-KEY-HERE\n")
    );
    assert!(
        accepted
            .body
            .contains("href=\"data:application/octet-stream,%23%20my%20phone%20of%20alice%0A")
    );
    assert_eq!(house.server.counts().requests, 1);
    // The answer is given once.
    let replayed = browser.reload().await;
    assert!(replayed.status == 404 && shows(&replayed, "form"));
    assert!(!replayed.body.contains("PrivateKey = "));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_asks_for_the_code() {
    let house = House::new(Script {
        fault: Fault::Code("123456".into()),
        ..Script::default()
    })
    .await;
    let mut browser = Browser::open(&house).await;
    browser.log_in("alice", "wonderland").await;
    let asked = browser.wait().await;
    assert!(shows(&asked, "challenge") && asked.body.contains("Enter your code"));
    let sent = browser.send("/enrol/answer", "", "code=+123456+").await;
    assert_eq!(
        (sent.status, sent.fields("location")),
        (303, vec!["/enrol/login"])
    );
    assert!(shows(&browser.wait().await, "accepted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_brings_the_form_back_without_the_password() {
    let house = House::new(Script::default()).await;
    let mut browser = Browser::open(&house).await;
    browser.log_in("alice", "not-the-password").await;
    let refused = browser.wait().await;
    assert!(shows(&refused, "form") && refused.body.contains("was not accepted"));
    let wrong = browser
        .send(
            "/enrol/login",
            "",
            "user=%3Cb%3E&password=hunter2&public_key=x",
        )
        .await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("value=\"&lt;b&gt;\"") && wrong.body.contains("This is none."));
    assert!(!wrong.body.contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_of_other_sites_are_refused() {
    let house = House::new(Script::default()).await;
    let browser = Browser::open(&house).await;
    let good = &browser.cookies;
    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    let body = |token: &str| {
        let key = key(7).replace('=', "%3D");
        format!("csrf={token}&user=alice&password=wonderland&public_key={key}")
    };
    let token = &browser.token;
    let other = "0".repeat(64);
    let own = "Origin: https://localhost\r\n";
    let rows = [
        // No cookie: another site's form, with SameSite.
        (own.to_owned(), body(token)),
        (format!("{own}{good}"), body("")),
        (format!("{own}{good}"), body(&other)),
        // A cookie that somebody set beside ours.
        (
            format!("{own}Cookie: {FORM}={other}; {FORM}={token}\r\n"),
            body(&other),
        ),
        (
            format!("Origin: https://evil.example\r\n{good}"),
            body(token),
        ),
        (format!("Origin: null\r\n{good}"), body(token)),
        (format!("Origin: http://localhost\r\n{good}"), body(token)),
        (format!("{own}{own}{good}"), body(token)),
        (
            format!("{own}{good}Sec-Fetch-Site: cross-site\r\n"),
            body(token),
        ),
    ];
    for (headers, body) in rows {
        let refused = house
            .post("/enrol/login", &format!("{kind}{headers}"), &body)
            .await;
        assert_eq!(refused.status, 403, "{headers}");
        assert_eq!(refused.cookie(LOGIN), None);
    }
    let json = format!(
        "{{\"user\":\"alice\",\"password\":\"wonderland\",\"public_key\":\"{}\"}}",
        key(7)
    );
    for (kind, more, status) in [
        ("application/json", "Origin: https://evil.example\r\n", 403),
        ("application/json", "Sec-Fetch-Site: same-site\r\n", 403),
        ("text/plain", "", 415),
        ("application/x-www-form-urlencoded", "", 415),
    ] {
        let headers = format!("Content-Type: {kind}\r\n{more}");
        let refused = house.post("/enrol/api/v1/login", &headers, &json).await;
        assert_eq!(refused.status, status, "{headers}");
    }
    assert_eq!(house.server.counts().requests, 0);
    assert!(house.logins.is_empty());
}
