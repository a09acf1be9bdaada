//! A small HTTP/1.1 client: one keep-alive connection a task, a shared countdown of requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// A connection to one server.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    /// Connects to `host:port`.
    pub(crate) async fn open(host: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(host).await.with_context(|| format!("cannot connect to {host}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host: host.to_owned() })
    }

    /// One call; an empty body is none.
    pub(crate) async fn call(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, Bytes)> {
        let mut request = http::Request::builder().method(method).uri(path);
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        self.send(request, body).await
    }

    /// A POST with a JSON body and a header of the caller's; the answer with its headers.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        body: &str,
        header: Option<(&str, &str)>,
    ) -> anyhow::Result<http::Response<Bytes>> {
        let request = http::Request::builder().method("POST").uri(path).header("content-type", "application/json");
        let request = header.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        self.exchange(request, body).await
    }

    /// A GET with a header of the caller's.
    pub(crate) async fn get(&mut self, path: &str, header: Option<(&str, &str)>) -> anyhow::Result<(u16, Bytes)> {
        let request = http::Request::builder().uri(path);
        let request = header.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        self.send(request, "").await
    }

    async fn send(&mut self, request: http::request::Builder, body: &str) -> anyhow::Result<(u16, Bytes)> {
        let response = self.exchange(request, body).await?;
        Ok((response.status().as_u16(), response.into_body()))
    }

    async fn exchange(&mut self, request: http::request::Builder, body: &str) -> anyhow::Result<http::Response<Bytes>> {
        let request = request.header("host", &self.host).body(Full::new(Bytes::from(body.to_owned())))?;
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        Ok(http::Response::from_parts(head, body.collect().await?.to_bytes()))
    }

    /// One call that must be answered with 2xx and JSON.
    pub(crate) async fn json(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<Value> {
        let (status, bytes) = self.call(method, path, body).await?;
        ensure!((200..300).contains(&status), "{method} {path}: {status} {}", String::from_utf8_lossy(&bytes));
        Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }
}

/// What a load came to.
pub(crate) struct Load {
    /// How long all of it took.
    pub(crate) elapsed: Duration,
    /// Each operation's time, sorted.
    pub(crate) times: Vec<Duration>,
}

impl Load {
    /// Operations a second.
    pub(crate) fn rate(&self) -> f64 {
        self.times.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The time that `share` of the operations stayed under.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let last = self.times.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        self.times.get(index).copied().unwrap_or_default()
    }
}

/// Runs `operation` `count` times over `connections` connections to each host of `hosts`.
pub(crate) async fn load<F>(hosts: &[&str], connections: usize, count: usize, operation: F) -> anyhow::Result<Load>
where
    F: AsyncFn(&mut [Connection], usize) -> anyhow::Result<()> + Clone,
{
    let mut workers = Vec::new();
    for _ in 0..connections {
        let mut opened = Vec::new();
        for host in hosts {
            opened.push(Connection::open(host).await?);
        }
        workers.push(opened);
    }
    spread(workers, count, async |opened: &mut Vec<Connection>, index| operation(opened, index).await).await
}

/// Runs `operation` `count` times over `workers`, each with one at a time.
pub(crate) async fn spread<W, F>(workers: Vec<W>, count: usize, operation: F) -> anyhow::Result<Load>
where
    F: AsyncFn(&mut W, usize) -> anyhow::Result<()> + Clone,
{
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let tasks = workers.into_iter().map(|mut worker| {
        let (next, operation) = (next.clone(), operation.clone());
        async move {
            let mut times = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return anyhow::Ok(times);
                }
                let began = Instant::now();
                operation(&mut worker, index).await?;
                times.push(began.elapsed());
            }
        }
    });
    let mut times: Vec<_> = futures_util::future::try_join_all(tasks).await?.into_iter().flatten().collect();
    let elapsed = started.elapsed();
    times.sort_unstable();
    Ok(Load { elapsed, times })
}
