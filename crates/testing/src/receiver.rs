//! A receiver of webhooks that answers as it is told and keeps what it got.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// One webhook as it came.
#[derive(Clone, Debug)]
pub struct Got {
    headers: Vec<(String, String)>,
    body: String,
}

/// A receiver on this machine; gone when dropped.
#[derive(Debug)]
pub struct Receiver {
    /// Where it listens.
    pub addr: SocketAddr,
    state: Arc<Mutex<State>>,
    _serving: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    got: Vec<Got>,
    answers: VecDeque<u16>,
}

impl Receiver {
    /// Answers with these statuses in turn, then 204 to everything.
    pub async fn start(answers: &[u16]) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), answers).await
    }

    /// The same at this address.
    pub async fn start_at(addr: SocketAddr, answers: &[u16]) -> Self {
        let listener = TcpListener::bind(addr).await.expect("binds");
        let addr = listener.local_addr().expect("bound");
        let state = Arc::new(Mutex::new(State { answers: answers.iter().copied().collect(), ..State::default() }));
        let shared = Arc::clone(&state);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { addr, state, _serving: serving }
    }

    /// Its URL, without TLS.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hooks?key=abc", self.addr)
    }

    /// What came so far.
    #[must_use]
    pub fn got(&self) -> Vec<Got> {
        self.state.lock().expect("no panic").got.clone()
    }
}

impl Got {
    /// A header by its name in lower case, empty when it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The body.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// Whether one of its signatures (Standard Webhooks, version 1) was made with `secret`.
    #[must_use]
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let signed = format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.body);
        self.header("webhook-signature").split(' ').any(|signature| {
            let signature = STANDARD.decode(signature.strip_prefix("v1,").expect("version 1")).expect("base64");
            hmac::verify(&key, signed.as_bytes(), &signature).is_ok()
        })
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut bytes = Vec::new();
    while let Some(got) = read(&mut stream, &mut bytes).await {
        let status = {
            let mut state = state.lock().expect("no panic");
            state.got.push(got);
            state.answers.pop_front().unwrap_or(204)
        };
        let length = if status == 204 { "" } else { "content-length: 0\r\n" };
        let answer = format!("HTTP/1.1 {status} Whatever\r\n{length}\r\n");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The next request; none at the end of the connection.
async fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Got> {
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).expect("text");
            let headers: Vec<(String, String)> = head
                .lines()
                .skip(1)
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect();
            let length = headers.iter().find(|(name, _)| name == "content-length").expect("a length");
            let length: usize = length.1.parse().expect("a number");
            let whole = end + 4 + length;
            if bytes.len() >= whole {
                let body = String::from_utf8(bytes[end + 4..whole].to_vec()).expect("text");
                bytes.drain(..whole);
                return Some(Got { headers, body });
            }
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}
