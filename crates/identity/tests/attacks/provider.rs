//! An issuer on this machine that does what it is told, and counts who asks.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::forge::{Pair, set};
use crate::world::PATIENCE;

/// How it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manner {
    Good,
    /// Hangs up.
    Away,
    /// Answers when it is told to be otherwise.
    Holds,
    /// With this status, type and body.
    Says(&'static str, &'static str, String),
    /// With a set that never ends.
    Huge,
    /// Under this name in its discovery document.
    CallsItself(String),
}

/// The issuer. Clones are the same.
#[derive(Clone)]
pub(crate) struct Provider {
    addr: SocketAddr,
    told: Arc<Told>,
}

struct Told {
    set: Mutex<String>,
    manner: watch::Sender<Manner>,
    /// The paths that were asked for.
    asked: watch::Sender<Vec<String>>,
}

impl Provider {
    pub(crate) async fn start(pairs: &[&Pair]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let told = Told {
            set: Mutex::new(set(pairs)),
            manner: watch::Sender::new(Manner::Good),
            asked: watch::Sender::default(),
        };
        let provider = Self { addr: listener.local_addr().expect("an address"), told: Arc::new(told) };
        let serving = provider.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let provider = serving.clone();
                tokio::spawn(async move { provider.serve(stream).await });
            }
        });
        provider
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) fn publish(&self, pairs: &[&Pair]) {
        self.publish_text(set(pairs));
    }

    pub(crate) fn publish_text(&self, set: String) {
        *self.told.set.lock() = set;
    }

    pub(crate) fn turns(&self, manner: Manner) {
        self.told.manner.send_replace(manner);
    }

    /// How often its keys were asked for.
    pub(crate) fn count(&self) -> usize {
        self.told.asked.borrow().iter().filter(|path| *path == "/jwks").count()
    }

    /// All that it was asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.told.asked.borrow().clone()
    }

    /// Waits until it was asked for its keys so often.
    pub(crate) async fn was_asked(&self, count: usize) {
        let mut asked = self.told.asked.subscribe();
        let enough = asked.wait_for(|paths| paths.iter().filter(|path| *path == "/jwks").count() >= count);
        timeout(PATIENCE, enough).await.expect("asked in time").expect("it is there");
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read_buf(&mut head).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        // What it has when it is asked, as one does that answers slowly.
        let set = self.told.set.lock().clone();
        self.told.asked.send_modify(|paths| paths.push(path.clone()));
        let mut manner = self.told.manner.subscribe();
        let Ok(manner) = manner.wait_for(|manner| *manner != Manner::Holds).await.map(|manner| manner.clone()) else {
            return;
        };
        let name = if let Manner::CallsItself(name) = &manner { name.clone() } else { self.url("") };
        let (status, kind, body) = match manner {
            Manner::Away | Manner::Holds => return,
            Manner::Says(status, kind, body) => (status, kind, body),
            Manner::Huge => ("200 OK", "", format!("{{\"keys\":[{}]}}", "{},".repeat(600_000))),
            Manner::Good | Manner::CallsItself(_) if path == "/jwks" => ("200 OK", "", set),
            Manner::Good | Manner::CallsItself(_) => {
                ("200 OK", "", json!({ "issuer": name, "jwks_uri": self.url("/jwks") }).to_string())
            }
        };
        let more = if kind.is_empty() { "content-type: application/json" } else { kind };
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status}\r\n{more}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        // Who asks may not want to hear it to the end.
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}
