//! A real browser for tests: headless Chromium, told what to do over `WebDriver` (W3C), each test with a profile
//! of its own.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{Api, backend};

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_mins(1);

/// A browser with one window. It is closed with this value.
pub struct Browser {
    driver: Child,
    api: Api,
    session: String,
}

impl Browser {
    /// A browser of this test alone; none, said loudly, when there is none on this machine.
    ///
    /// # Panics
    ///
    /// When it is there and does not start, or when it is not there and has to be.
    pub async fn start() -> Option<Self> {
        let program = backend::chromedriver()?;
        let mut driver = Command::new(program)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let output = driver.stdout.take().expect("its output");
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
        let mut browser = Self { driver, api: Api::new(format!("127.0.0.1:{port}")), session: String::new() };
        // Tests may run as root and in containers with little shared memory; they open nothing but their own pages.
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-proxy-server"];
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

    /// What the console has said since it was asked last: errors of scripts, of the network, and of the page's policy.
    pub async fn console(&self) -> Vec<String> {
        let entries = self.call(Method::POST, "/se/log", &json!({"type": "browser"})).await;
        let line = |entry: &Value| entry["message"].as_str().unwrap_or_default().to_owned();
        entries.as_array().map(|entries| entries.iter().map(line).collect()).unwrap_or_default()
    }

    /// What the window shows, as PNG in base64.
    pub async fn screenshot(&self) -> String {
        self.call(Method::GET, "/screenshot", &Value::Null).await.as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver closes its browser when it is asked to end, not when it is killed.
        let ended = Command::new("kill").args(["-TERM", &self.driver.id().to_string()]).status();
        if !ended.is_ok_and(|status| status.success()) {
            self.driver.kill().ok();
        }
        self.driver.wait().ok();
    }
}
