//! A headless Chromium that says all that goes wrong in it. It is spoken to through a pair of pipes (`--remote-debugging-pipe`), so that no port is
//! open: JSON of the `DevTools` protocol (<https://chromedevtools.github.io/devtools-protocol/>), each message ended by a NUL.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// The names by which distributions know it.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// A browser with one page.
pub(crate) struct Chromium {
    browser: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    last: u64,
    /// What the page has told and nobody has looked at yet.
    told: VecDeque<Value>,
}

impl Chromium {
    /// Starts it; its profile is kept in the folder.
    ///
    /// # Panics
    ///
    /// If there is none: a test of a page that no browser has shown would say nothing.
    pub(crate) fn start(folder: &Path) -> Self {
        let program = program().expect("Chromium is missing: install the package chromium of your distribution");
        // The shell puts the pipes where Chromium looks for them. As root it runs without its sandbox or not at all.
        let script = r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null"#;
        let flags = [
            "--headless=new",
            "--no-sandbox",
            "--remote-debugging-pipe",
            "--no-first-run",
            "--disable-gpu",
            "--disable-background-networking",
        ];
        let mut browser = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(program)
            .args(flags)
            .arg(format!("--user-data-dir={}", folder.join("profile").display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell starts");
        let to = browser.stdin.take().expect("a pipe");
        let from = BufReader::new(browser.stdout.take().expect("a pipe"));
        let mut chromium = Self { browser, to, from, session: None, last: 0, told: VecDeque::new() };
        let target = chromium.ask("Target.createTarget", &json!({"url": "about:blank"}))["targetId"].clone();
        let attached = chromium.ask("Target.attachToTarget", &json!({"targetId": target, "flatten": true}));
        chromium.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network", "Audits"] {
            chromium.ask(&format!("{domain}.enable"), &json!({}));
        }
        chromium.ask("Performance.enable", &json!({"timeDomain": "threadTicks"}));
        chromium.ask("Browser.grantPermissions", &json!({"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}));
        chromium
    }

    /// Opens a file and waits until it is loaded.
    pub(crate) fn open(&mut self, file: &Path) {
        self.told.clear();
        let answer = self.ask("Page.navigate", &json!({"url": format!("file://{}", file.display())}));
        assert_eq!(answer["errorText"], Value::Null, "{answer}");
        while !self.told.iter().any(|told| told["method"] == "Page.loadEventFired") {
            let message = self.next();
            self.told.push_back(message);
        }
    }

    /// What an expression of JavaScript comes to in the page; a promise is waited for. It is told as JSON.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let options = json!({"expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true});
        let answer = self.ask("Runtime.evaluate", &options);
        assert_eq!(answer["exceptionDetails"], Value::Null, "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Everything that somebody who looks into the browser's console would see as a warning or an error, and each policy that was violated.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        // Reports of violations are sent a moment later; the answer comes after whatever the page has told before.
        thread::sleep(Duration::from_millis(100));
        self.value("1");
        let complaint = |told: &Value| match told["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" | "Page.javascriptDialogOpening" => Some(told["params"].to_string()),
            "Runtime.consoleAPICalled" => Some(told["params"]["args"].to_string()),
            "Log.entryAdded" => Some(told["params"]["entry"]["text"].to_string()),
            "Audits.issueAdded" => Some(told["params"]["issue"].to_string()),
            _ => None,
        };
        self.told.iter().filter_map(complaint).collect()
    }

    /// What the page asked for, itself included.
    pub(crate) fn requests(&self) -> Vec<String> {
        let sent = self.told.iter().filter(|told| told["method"] == "Network.requestWillBeSent");
        sent.filter_map(|told| Some(told["params"]["request"]["url"].as_str()?.to_owned())).collect()
    }

    /// For how many milliseconds the page has kept its thread busy since it was opened; time in which other programs had the processor does not count.
    pub(crate) fn busy(&mut self) -> f64 {
        let metrics = self.ask("Performance.getMetrics", &json!({}));
        let tasks = metrics["metrics"].as_array().into_iter().flatten().find(|metric| metric["name"] == "TaskDuration");
        tasks.and_then(|metric| metric["value"].as_f64()).expect("the browser measures it") * 1000.0
    }

    /// Dark or light, on paper or on a screen of this width.
    pub(crate) fn show(&mut self, media: &str, scheme: &str, width: u32) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.ask("Emulation.setEmulatedMedia", &json!({"media": media, "features": features}));
        let screen = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.ask("Emulation.setDeviceMetricsOverride", &screen);
    }

    /// Turns scripts off for the pages that are opened from now on, or on again.
    pub(crate) fn scripts(&mut self, on: bool) {
        self.ask("Emulation.setScriptExecutionDisabled", &json!({"value": !on}));
    }

    /// The whole page as a PNG.
    pub(crate) fn picture(&mut self) -> Vec<u8> {
        let answer = self.ask("Page.captureScreenshot", &json!({"captureBeyondViewport": true}));
        STANDARD.decode(answer["data"].as_str().expect("a picture")).expect("base64")
    }

    /// The page as it is printed.
    pub(crate) fn print(&mut self) -> Vec<u8> {
        let answer = self.ask("Page.printToPDF", &json!({"printBackground": false, "preferCSSPageSize": true}));
        STANDARD.decode(answer["data"].as_str().expect("a document")).expect("base64")
    }

    /// Sends a command and waits for its answer.
    pub(crate) fn ask(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let mut command = json!({"id": self.last, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{command}\0").as_bytes()).expect("Chromium listens");
        loop {
            let message = self.next();
            if message["id"] == self.last {
                assert_eq!(message["error"], Value::Null, "{method}: {message}");
                return message["result"].clone();
            }
            self.told.push_back(message);
        }
    }

    fn next(&mut self) -> Value {
        let mut message = Vec::new();
        self.from.read_until(0, &mut message).expect("Chromium speaks");
        assert_eq!(message.pop(), Some(0), "Chromium ended: does `chromium --headless` run here?");
        serde_json::from_slice(&message).expect("messages are JSON")
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.browser.kill();
        let _ = self.browser.wait();
    }
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|candidate| candidate.is_file())
}
