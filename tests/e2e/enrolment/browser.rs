//! The page in headless Chromium, on a phone's size: the key made in the browser, the phone, the code, the QR code.
//!
//! `CAUSEWAY_PICTURES=FOLDER` keeps pictures of each state, for somebody to look at.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use harness::browser::Browser;
use harness::radius_server::{Fault, Script};

use crate::house::House;

fn is_there(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output();
    let there = found.is_ok_and(|found| found.status.success());
    if !there {
        println!("skipped: `{program}` is not installed");
    }
    there
}

fn picture(browser: &mut Browser, name: &str) {
    if let Some(folder) = std::env::var_os("CAUSEWAY_PICTURES") {
        browser.picture(&PathBuf::from(folder).join(format!("{name}.png")), false);
    }
}

/// Opens the page and logs in with a key made there.
fn log_in(browser: &mut Browser, house: &House, password: &str) {
    browser.open(&format!("https://{}/enrol/", house.address));
    browser.wait_for("!document.getElementById('key-choice').hidden");
    assert!(!browser.shows("public-key"), "nobody has to paste a key");
    browser.fill("user", "alice");
    browser.fill("password", password);
    browser.fill("device", "phone");
    picture(browser, "form");
    browser.submit("login-form");
}

/// Waits for the end and looks at what the device gets: the code, the file and the text say the same, and the gateway
/// knows the public half of the key.
fn take_the_profile(browser: &mut Browser, house: &House) {
    browser.wait_for("!document.getElementById('accepted').hidden");
    picture(browser, "accepted");
    let text = browser.text("profile");
    assert_eq!(browser.qr_code().trim_end(), text.trim_end());
    assert_eq!(browser.download("download", "causeway.conf"), text);
    let [device] = &house.devices.list()[..] else {
        panic!("one device");
    };
    let private = text
        .lines()
        .find_map(|line| line.strip_prefix("PrivateKey = "))
        .unwrap();
    let private: causeway_proto::wireguard::PrivateKey = private.parse().unwrap();
    assert_eq!(private.public(), device.key());
    assert!(
        text.contains(&format!("Address = {}/32", device.address())),
        "{text}"
    );
    assert_eq!(device.name(), "phone");
    // Nothing runs over a phone's edge.
    let wide =
        browser.eval("document.documentElement.scrollWidth > document.documentElement.clientWidth");
    assert_eq!(wide, false);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, zbar-tools"]
async fn a_phone_is_waited_for_and_the_key_is_made_in_the_browser() {
    if !is_there("chromium") || !is_there("zbarimg") {
        return;
    }
    let house = House::new(Script {
        delay: Duration::from_secs(3),
        ..Script::default()
    })
    .await;
    tokio::task::block_in_place(|| {
        let mut browser = Browser::start();
        log_in(&mut browser, &house, "wonderland");
        browser.wait_for("!document.getElementById('waiting').hidden");
        picture(&mut browser, "waiting");
        // The progress line moves.
        browser.wait_for("Number(document.getElementById('elapsed').textContent) >= 2");
        take_the_profile(&mut browser, &house);
    });
    assert_eq!(house.server.counts().requests, 1, "the phone rang once");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, zbar-tools"]
async fn a_code_is_asked_for_and_typed() {
    if !is_there("chromium") || !is_there("zbarimg") {
        return;
    }
    let house = House::new(Script {
        fault: Fault::Code("123456".into()),
        ..Script::default()
    })
    .await;
    tokio::task::block_in_place(|| {
        let mut browser = Browser::start();
        log_in(&mut browser, &house, "wonderland");
        browser.wait_for("!document.getElementById('challenge').hidden");
        assert_eq!(browser.text("challenge-text"), "Enter your code");
        browser.fill("code", "123456");
        picture(&mut browser, "challenge");
        browser.submit("code-form");
        take_the_profile(&mut browser, &house);
    });
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, zbar-tools"]
async fn a_wrong_password_brings_the_form_back_and_the_next_log_in_works() {
    if !is_there("chromium") || !is_there("zbarimg") {
        return;
    }
    let house = House::new(Script::default()).await;
    tokio::task::block_in_place(|| {
        let mut browser = Browser::start();
        log_in(&mut browser, &house, "looking-glass");
        browser.wait_for("!document.getElementById('error').hidden");
        picture(&mut browser, "refused");
        assert!(browser.shows("login-form"));
        assert_ne!(browser.text("error"), "");
        assert_eq!(
            browser.eval("document.getElementById('password').value"),
            ""
        );
        assert!(house.devices.list().is_empty());
        browser.fill("password", "wonderland");
        browser.submit("login-form");
        take_the_profile(&mut browser, &house);
    });
}
