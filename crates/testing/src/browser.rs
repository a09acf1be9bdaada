//! A real browser for tests: headless Chromium, told what to do over `WebDriver` (W3C), each test with a profile
//! of its own.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Api, Program, backend, program::Child};

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_mins(1);

/// How long it may take to close, before it is killed.
const CLOSE: Duration = Duration::from_secs(10);

/// Without the processes that keep memory of crashes, which are of no group and none's children.
const CRASHES: &str = "--disable-crash-reporter";

/// A browser with one window. It is closed with this value.
pub struct Browser {
    port: u16,
    api: Api,
    session: String,
    driver: Child,
    /// Where they keep their files. After the driver, which ends first.
    _folder: TempDir,
}

impl Browser {
    /// A browser of this test alone; none, said loudly, when there is none on this machine.
    ///
    /// # Panics
    ///
    /// When it is there and does not start, or when it is not there and has to be.
    pub async fn start() -> Option<Self> {
        let program = backend::chromedriver()?;
        let folder = tempfile::Builder::new().prefix("shop-browser-").tempdir().expect("makes a folder");
        let mut driver = Program::new(program)
            .arg("--port=0")
            .env("TMPDIR", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let output = driver.take_stdout().expect("its output");
        // The thread reads on, so that the driver never waits for room to write.
        let (found, port) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut found = Some(found);
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let port = line.strip_suffix('.').and_then(|line| line.split_once("on port ")?.1.parse::<u16>().ok());
                if let (Some(port), Some(found)) = (port, found.take_if(|_| port.is_some())) {
                    found.send(port).ok();
                }
            }
        });
        let port = tokio::time::timeout(START, port).await.expect("chromedriver starts in time").expect("its port");
        let api = Api::new(format!("127.0.0.1:{port}"));
        let mut browser = Self { port, api, session: String::new(), driver, _folder: folder };
        // Tests may run as root and in containers with little shared memory; they open nothing but their own pages.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-proxy-server",
            CRASHES,
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let session = browser.call(Method::POST, "/session", &wanted).await;
        browser.session = format!("/session/{}", session["sessionId"].as_str().expect("a session"));
        Some(browser)
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        let request = self.api.request(method.clone(), &format!("{}{path}", self.session));
        let request = if method == Method::POST { request.json(body) } else { request };
        let reply = self.api.send(request).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        reply.json()["value"].clone()
    }

    /// A window of this size in CSS pixels, as a phone has it or a desktop.
    pub async fn resize(&self, width: u32, height: u32, phone: bool) {
        let scale = if phone { 2 } else { 1 };
        let size = json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone});
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Whether the user likes it dark.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    async fn devtools(&self, command: &str, parameters: Value) {
        self.call(Method::POST, "/goog/cdp/execute", &json!({"cmd": command, "params": parameters})).await;
    }

    /// Goes to `url` and waits until it is loaded.
    pub async fn open(&self, url: &str) {
        self.call(Method::POST, "/url", &json!({"url": url})).await;
    }

    /// What the body of a function in the page returns.
    pub async fn run(&self, script: &str) -> Value {
        self.call(Method::POST, "/execute/sync", &json!({"script": script, "args": []})).await
    }

    /// The text a person sees in the first element that fits the selector; empty when there is none or it is not shown.
    pub async fn text(&self, selector: &str) -> String {
        let find = format!("const found = document.querySelector({})", Value::from(selector));
        let text = self.run(&format!("{find}; return found?.checkVisibility() ? found.innerText : ''")).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    async fn find(&self, selector: &str) -> String {
        let wanted = json!({"using": "css selector", "value": selector});
        let found = self.call(Method::POST, "/element", &wanted).await;
        let id = found.as_object().and_then(|found| found.values().next()?.as_str()).expect("an element");
        format!("/element/{id}")
    }

    /// Clicks where a person would, which fails when something else is in the way.
    pub async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        self.call(Method::POST, &format!("{element}/click"), &json!({})).await;
    }

    /// Types into a field.
    pub async fn write(&self, selector: &str, text: &str) {
        let element = self.find(selector).await;
        self.call(Method::POST, &format!("{element}/value"), &json!({"text": text})).await;
    }

    /// Puts text in a field in place of what is there, at once, as from the clipboard.
    pub async fn paste(&self, selector: &str, text: &str) {
        // Control and A, in WebDriver's codes.
        self.write(selector, "\u{e009}a").await;
        self.devtools("Input.insertText", json!({"text": text})).await;
    }

    /// What the console has said since it was asked last: errors of scripts, of the network, and of the page's policy.
    pub async fn console(&self) -> Vec<String> {
        let entries = self.call(Method::POST, "/se/log", &json!({"type": "browser"})).await;
        let line = |entry: &Value| entry["message"].as_str().unwrap_or_default().to_owned();
        entries.as_array().map(|entries| entries.iter().map(line).collect()).unwrap_or_default()
    }

    /// Keeps what the window shows where `SHOP_TEST_SCREENSHOTS` says, for whoever wants to look at it: PNG in base64.
    pub async fn keep(&self, name: &str) {
        let Some(folder) = crate::variable("SHOP_TEST_SCREENSHOTS") else { return };
        let shown = self.call(Method::GET, "/screenshot", &Value::Null).await;
        let file = std::path::Path::new(&folder).join(format!("{name}.png.base64"));
        std::fs::write(file, shown.as_str().unwrap_or_default()).expect("writes");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A driver that ends does not close its browser; so it is asked to, and what does not heed that is killed with it.
        if !self.session.is_empty() {
            let session = format!("http://127.0.0.1:{}{}", self.port, self.session);
            backend::detached(async move {
                reqwest::Client::new().delete(session).timeout(CLOSE).send().await?;
                Ok(())
            });
        }
        self.driver.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventually;

    /// Processes that were told of this folder, or whose group is this.
    fn of(folder: &str, group: u32) -> Vec<String> {
        let read = |entry: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let command = std::fs::read(entry.path().join("cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            let fields: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
            let ours = fields[2] == group.to_string() || command.contains(folder);
            (ours && fields[0] != "Z").then_some(command)
        };
        std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(read).collect()
    }

    #[tokio::test]
    async fn nothing_of_a_browser_stays() {
        // Asked to close, and when it cannot be asked.
        for stuck in [false, true] {
            let Some(browser) = Browser::start().await else { return };
            browser.open("about:blank").await;
            let group = browser.driver.id();
            let told = std::fs::read_to_string(format!("/proc/{group}/environ")).expect("it runs");
            let folder = told.split('\0').find_map(|told| told.strip_prefix("TMPDIR=")).expect("a folder").to_owned();
            let there = of(&folder, group);
            assert!(there.len() > 3, "a driver, a browser, and its processes: {there:?}");
            if stuck {
                browser.driver.signal("KILL");
            }
            drop(browser);
            eventually!({
                let left = of(&folder, group);
                if left.is_empty() { Ok(()) } else { Err(left) }
            });
            assert!(!std::path::Path::new(&folder).exists(), "its files are gone");
        }
    }
}
