//! A plain HTTP/1.1 client that costs little: one request at a time on each connection, every answer compared.

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::gate::Gate;
use crate::scenario::{HEADERS, Opens, Scenario};
use crate::tls;

/// With TLS on the right.
type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// How a connection is opened.
#[derive(Clone)]
struct Opener {
    port: u16,
    tls: Option<tls::Client>,
}

impl Opener {
    async fn open(&self) -> anyhow::Result<Stream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await;
        let stream = stream.with_context(|| format!("connect to {}", self.port))?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Either::Left(stream),
            Some(tls) => Either::Right(Box::new(tls.shake_hands(stream).await?)),
        })
    }
}

/// A connection, the request it sends, and the body it must get.
pub(crate) struct Connection {
    stream: Stream,
    /// Opens it for each request anew.
    opener: Option<Opener>,
    request: Bytes,
    expected: Bytes,
    buffer: Vec<u8>,
}

/// Opens the connections of `scenario`, over TLS if there is a client for that.
pub(crate) async fn open(scenario: &Scenario, port: u16, tls: Option<tls::Client>) -> anyhow::Result<Vec<Connection>> {
    let request = request(scenario);
    let expected = scenario.expected();
    let opener = Opener { port, tls };
    let connect = || async {
        let stream = opener.open().await?;
        let buffer = vec![0; expected.len() + 8 * 1024];
        let opener = (scenario.opens != Opens::Once).then(|| opener.clone());
        anyhow::Ok(Connection { stream, opener, request: request.clone(), expected: expected.clone(), buffer })
    };
    let mut connections = Vec::new();
    for _ in 0..scenario.connections {
        connections.push(connect().await?);
    }
    Ok(connections)
}

fn request(scenario: &Scenario) -> Bytes {
    let mut lines = vec![format!("{} {} HTTP/1.1", scenario.method(), scenario.path), "host: shop.example".to_owned()];
    lines.extend(HEADERS.iter().map(|(name, value)| format!("{name}: {value}")));
    lines.extend(scenario.authorization.map(|value| format!("authorization: {value}")));
    if scenario.sends > 0 {
        lines.push("content-type: application/json".to_owned());
        lines.push(format!("content-length: {}", scenario.sends));
    }
    let mut request = (lines.join("\r\n") + "\r\n\r\n").into_bytes();
    request.extend_from_slice(&scenario.sent());
    request.into()
}

/// Sends on all connections as `gate` allows; the nanoseconds of each request by connection.
pub(crate) async fn run(connections: &mut [Connection], gate: &Gate) -> anyhow::Result<Vec<Vec<u64>>> {
    try_join_all(connections.iter_mut().map(|connection| gate.drive(async || connection.call().await))).await
}

impl Connection {
    async fn call(&mut self) -> anyhow::Result<()> {
        if let Some(opener) = &self.opener {
            self.stream = opener.open().await?;
        }
        self.stream.write_all(&self.request).await?;
        // TLS may keep some of it.
        self.stream.flush().await?;
        let mut filled = 0;
        let head = loop {
            filled += self.read(filled).await?;
            if let Some(head) = self.head(filled)? {
                break head;
            }
        };
        while filled < head + self.expected.len() {
            filled += self.read(filled).await?;
        }
        ensure!(self.buffer[head..filled] == self.expected, "the body is not the one asked for");
        Ok(())
    }

    async fn read(&mut self, filled: usize) -> anyhow::Result<usize> {
        let read = self.stream.read(&mut self.buffer[filled..]).await?;
        ensure!(read > 0, "the proxy closed a connection in use");
        Ok(read)
    }

    /// The length of the answer's head, once it is there; it must be 200 with the right length.
    fn head(&self, filled: usize) -> anyhow::Result<Option<usize>> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = response.parse(&self.buffer[..filled])? else { return Ok(None) };
        let lines = || String::from_utf8_lossy(&self.buffer[..filled.min(2048)]).into_owned();
        ensure!(response.code == Some(200), "not 200: {}", lines());
        let announced = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
        let Some(announced) = announced else { bail!("no Content-Length: {}", lines()) };
        let announced: usize = std::str::from_utf8(announced.value)?.parse()?;
        ensure!(announced == self.expected.len(), "{announced} bytes announced");
        Ok(Some(length))
    }
}
