//! Headless Chromium, driven over its own protocol on two pipes: a page of a phone's size.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What a page may take to come to something.
const PATIENCE: Duration = Duration::from_secs(60);
/// A phone, in CSS pixels.
const SIZE: (u32, u32) = (390, 844);

/// A browser with one page; closed when dropped.
pub struct Browser {
    child: Child,
    orders: File,
    answers: BufReader<File>,
    session: Option<String>,
    next: u64,
    folder: tempfile::TempDir,
}

impl Browser {
    /// Starts the browser with an empty page.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipe = |name: &str| {
            let path = folder.path().join(name);
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
            path
        };
        let (orders, answers) = (pipe("orders"), pipe("answers"));
        // The browser reads descriptor 3 and writes descriptor 4.
        let text = "exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
            --ignore-certificate-errors --remote-debugging-pipe --user-data-dir=\"$3\" about:blank 3<\"$1\" 4>\"$2\"";
        let mut command = Command::new("sh");
        command.args(["-c", text, "sh"]).args([&orders, &answers]);
        command
            .arg(folder.path().join("profile"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let orders = File::options().write(true).open(orders).unwrap();
        let answers = BufReader::new(File::open(answers).unwrap());
        let mut browser = Self {
            child,
            orders,
            answers,
            session: None,
            next: 0,
            folder,
        };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", &attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        let (width, height) = SIZE;
        browser.call(
            "Emulation.setDeviceMetricsOverride",
            &json!({"width": width, "height": height, "deviceScaleFactor": 2, "mobile": true}),
        );
        browser
    }

    /// Opens a page and waits until it is there.
    pub fn open(&mut self, url: &str) {
        let gone = self.call("Page.navigate", &json!({ "url": url }));
        assert!(gone["errorText"].is_null(), "{gone}");
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// Writes a text into a field, as somebody who types it.
    pub fn fill(&mut self, id: &str, text: &str) {
        self.eval(&format!(
            "(() => {{ const field = document.getElementById({}); field.focus(); field.value = ''; }})()",
            json!(id)
        ));
        self.call("Input.insertText", &json!({ "text": text }));
        let value = self.eval(&format!("document.getElementById({}).value", json!(id)));
        assert_eq!(value, text, "{id}");
    }

    /// Presses the button of a form.
    pub fn submit(&mut self, form: &str) {
        self.eval(&format!(
            "document.getElementById({}).querySelector('button').click()",
            json!(form)
        ));
    }

    /// Returns whether a part of the page is shown.
    pub fn shows(&mut self, id: &str) -> bool {
        self.eval(&format!(
            "document.getElementById({}).offsetParent !== null",
            json!(id)
        )) == true
    }

    /// Returns the text of a part of the page.
    pub fn text(&mut self, id: &str) -> String {
        let text = self.eval(&format!(
            "document.getElementById({}).textContent",
            json!(id)
        ));
        text.as_str().unwrap().to_owned()
    }

    /// Waits until an expression is true.
    pub fn wait_for(&mut self, expression: &str) {
        let limit = Instant::now() + PATIENCE;
        while self.eval(expression) != true {
            assert!(Instant::now() < limit, "never: {expression}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Evaluates an expression in the page, and waits for a promise.
    pub fn eval(&mut self, expression: &str) -> Value {
        let order = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut done = self.call("Runtime.evaluate", &order);
        assert!(done["exceptionDetails"].is_null(), "{expression}: {done}");
        done["result"]["value"].take()
    }

    /// Takes a picture of what a phone shows, or of the whole page, as PNG.
    pub fn picture(&mut self, file: &Path, whole: bool) {
        let order = json!({"format": "png", "captureBeyondViewport": whole});
        let picture = self.call("Page.captureScreenshot", &order);
        let octets = decode(picture["data"].as_str().unwrap());
        std::fs::write(file, octets).unwrap();
    }

    /// Reads the QR code that is shown.
    #[must_use]
    pub fn qr_code(&mut self) -> String {
        let file = self.folder.path().join("code.png");
        self.eval("document.getElementById('qr').scrollIntoView({block: 'center'})");
        self.picture(&file, false);
        let mut command = Command::new("zbarimg");
        command.args(["--quiet", "--raw"]).arg(&file);
        let read = command.output().unwrap();
        assert!(read.status.success(), "no QR code on the page: {read:?}");
        String::from_utf8(read.stdout).unwrap()
    }

    /// Follows a link that saves a file, and returns what was saved.
    pub fn download(&mut self, id: &str, name: &str) -> String {
        let folder = self.folder.path().join("saved");
        let order = json!({"behavior": "allow", "downloadPath": folder});
        self.call("Browser.setDownloadBehavior", &order);
        self.eval(&format!("document.getElementById({}).click()", json!(id)));
        let limit = Instant::now() + PATIENCE;
        let file = folder.join(name);
        loop {
            // It has its name when all of it is there.
            if let Ok(text) = std::fs::read_to_string(&file) {
                return text;
            }
            assert!(Instant::now() < limit, "{name} was not saved");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.next += 1;
        let mut order = json!({"id": self.next, "method": method, "params": params});
        if let Some(session) = &self.session {
            order["sessionId"] = json!(session);
        }
        let mut octets = order.to_string().into_bytes();
        octets.push(0);
        self.orders.write_all(&octets).unwrap();
        loop {
            let mut octets = Vec::new();
            self.answers.read_until(0, &mut octets).unwrap();
            octets.pop();
            let mut answer: Value = serde_json::from_slice(&octets)
                .unwrap_or_else(|error| panic!("{method}: the browser has ended: {error}"));
            if answer["id"] == self.next {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Decodes base64 with its padding.
fn decode(text: &str) -> Vec<u8> {
    let digit = |octet: u8| match octet {
        b'A'..=b'Z' => octet - b'A',
        b'a'..=b'z' => octet - b'a' + 26,
        b'0'..=b'9' => octet - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let spare = text
        .bytes()
        .rev()
        .take_while(|octet| *octet == b'=')
        .count();
    let mut octets: Vec<u8> = text
        .as_bytes()
        .chunks(4)
        .flat_map(|four| {
            let bits = four.iter().fold(0_u32, |bits, octet| {
                bits << 6 | u32::from(digit(*octet)) & 63
            });
            bits.to_be_bytes().into_iter().skip(1)
        })
        .collect();
    octets.truncate(octets.len() - spare);
    octets
}
