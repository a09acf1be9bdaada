//! A token endpoint in front of a real provider: it passes questions on, or does not, or asks for something else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use shop_testing::certificates::{self, Authority, Folder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Whom the provider knows.
pub(crate) const CLIENT: &str = "shop-kafka";
pub(crate) const SECRET: &str = "what+kafka/is: told";

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It passes on what it is asked.
    Honest,
    /// It hangs up.
    Away,
    /// It takes no answer and gives none.
    Silent,
    /// It asks as somebody whom the provider does not know.
    Mistaken,
    /// It asks for tokens for others than Kafka.
    Astray,
}

/// The endpoint, which speaks TLS; gone when dropped.
pub(crate) struct Endpoint {
    state: Arc<State>,
    addr: SocketAddr,
    folder: Folder,
    _serving: JoinSet<()>,
}

struct State {
    issuer: String,
    mood: Mutex<Mood>,
    given: AtomicUsize,
}

impl Endpoint {
    pub(crate) async fn start(issuer: &str, mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let inner = listener.local_addr().expect("bound");
        let state = Arc::new(State { issuer: issuer.to_owned(), mood: Mutex::new(mood), given: AtomicUsize::new(0) });
        let shared = state.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, shared.clone()));
            }
        });
        let authority = Authority::new();
        let folder = Folder::new();
        folder.put("ca.pem", authority.pem());
        let addr = certificates::in_front_of(inner, &authority.good(&["127.0.0.1"]), None).await;
        Self { state, addr, folder, _serving: serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}/token", self.addr)
    }

    /// From whom its certificate is.
    pub(crate) fn ca_file(&self) -> std::path::PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.state.mood.lock() = mood;
    }

    /// How many tokens it gave.
    pub(crate) fn given(&self) -> usize {
        self.state.given.load(Ordering::SeqCst)
    }
}

/// A token of the provider's itself, for `audience`.
pub(crate) async fn token(issuer: &str, audience: &str) -> String {
    let form = [("grant_type", "client_credentials"), ("audience", audience)];
    // As it goes over the wire: each part encoded as in a form.
    let response = reqwest::Client::new()
        .post(format!("{issuer}/token"))
        .basic_auth(CLIENT, Some("what%2Bkafka%2Fis%3A+told"))
        .form(&form)
        .send();
    let body: serde_json::Value = response.await.expect("an answer").json().await.expect("JSON");
    body["access_token"].as_str().unwrap_or_else(|| panic!("no token: {body}")).to_owned()
}

/// One question, passed on.
async fn serve(mut stream: TcpStream, state: Arc<State>) {
    let mood = *state.mood.lock();
    if mood == Mood::Away {
        return;
    }
    let Some((authorization, mut body)) = question(&mut stream).await else { return };
    if mood == Mood::Silent {
        // Until whoever asked gives up.
        let _ = stream.read(&mut [0]).await;
        return;
    }
    let authorization =
        if mood == Mood::Mistaken { "Basic c2hvcC1rYWZrYTpndWVzcw==".to_owned() } else { authorization };
    if mood == Mood::Astray {
        body = body.replace("audience=kafka", "audience=somebody");
    }
    let request = reqwest::Client::new()
        .post(format!("{}/token", state.issuer))
        .header("authorization", authorization)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body);
    let Ok(response) = request.send().await else { return };
    let (status, body) = (response.status(), response.text().await.expect("a body"));
    if status.is_success() {
        state.given.fetch_add(1, Ordering::SeqCst);
    }
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// Who asks, and what for.
async fn question(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let header = |name: &str| {
                head.lines()
                    .filter_map(|line| line.split_once(": "))
                    .find(|(found, _)| found.eq_ignore_ascii_case(name))
            };
            let length: usize = header("content-length")?.1.parse().ok()?;
            if body.len() >= length {
                return Some((header("authorization")?.1.to_owned(), body.to_owned()));
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(count) if count > 0 => read.extend_from_slice(&chunk[..count]),
            _ => return None,
        }
    }
}
