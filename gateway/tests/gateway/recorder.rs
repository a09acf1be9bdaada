//! A backend that takes nothing but requests in one exact form, and keeps what it took.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::Upstream;

/// One request as it came over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<String>,
}

impl Seen {
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// What a [`Recorder`] took: requests, or what was wrong with the bytes.
type Record = Arc<Mutex<Vec<Result<Seen, String>>>>;

/// The backend, and what it took.
pub(crate) struct Recorder {
    pub(crate) upstream: Upstream,
    record: Record,
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let record = Record::default();
        let keeper = Arc::clone(&record);
        let upstream = Upstream::raw(move |stream| serve(stream, Arc::clone(&keeper))).await;
        Self { upstream, record }
    }

    /// What came since the last time, which must all be in one form.
    pub(crate) fn take(&self) -> Vec<Seen> {
        let taken = std::mem::take(&mut *self.record.lock());
        taken.into_iter().map(|seen| seen.unwrap_or_else(|wrong| panic!("the backend was sent {wrong}"))).collect()
    }
}

async fn serve(mut stream: TcpStream, record: Record) {
    let mut bytes = Vec::new();
    loop {
        let mut wanted = true;
        match parse(&bytes) {
            Ok(Some((seen, length))) => {
                bytes.drain(..length);
                record.lock().push(Ok(seen));
                if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
                    return;
                }
                wanted = bytes.is_empty();
            }
            Ok(None) => {}
            Err(wrong) => {
                record.lock().push(Err(format!("{wrong}: {:?}", String::from_utf8_lossy(&bytes))));
                return;
            }
        }
        if wanted && stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

/// The line that begins at `from`, without its CRLF, and where the next one begins.
fn line(bytes: &[u8], from: usize) -> Result<Option<(&str, usize)>, String> {
    let Some(length) = bytes[from..].windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let line = std::str::from_utf8(&bytes[from..from + length]).map_err(|error| error.to_string())?;
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return Err(format!("a control character in {line:?}"));
    }
    Ok(Some((line, from + length + 2)))
}

/// The request that `bytes` begin with, and its length.
fn parse(bytes: &[u8]) -> Result<Option<(Seen, usize)>, String> {
    let Some((first, mut at)) = line(bytes, 0)? else { return Ok(None) };
    let parts: Vec<_> = first.split(' ').collect();
    if !matches!(parts[..], [method, target, "HTTP/1.1"] if !method.is_empty() && target.starts_with('/')) {
        return Err(format!("the request line {first:?}"));
    }
    let mut headers = Vec::new();
    loop {
        let Some((line, next)) = line(bytes, at)? else { return Ok(None) };
        at = next;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ").ok_or_else(|| format!("the header {line:?}"))?;
        let is_token =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_!#$%&'*+.^`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(format!("the header {line:?}"));
        }
        headers.push((name.to_owned(), value.to_owned()));
    }
    let mut seen = Seen { line: first.to_owned(), headers, body: Vec::new(), trailers: Vec::new() };
    if seen.values("host").len() != 1 {
        return Err("not one host".to_owned());
    }
    match (&seen.values("content-length")[..], &seen.values("transfer-encoding")[..]) {
        ([], []) => Ok(Some((seen, at))),
        ([length], []) => {
            let length: usize = length.parse().map_err(|_| format!("the length {length:?}"))?;
            let Some(body) = bytes.get(at..at + length) else { return Ok(None) };
            seen.body = body.to_vec();
            Ok(Some((seen, at + length)))
        }
        ([], ["chunked"]) => loop {
            let Some((size, next)) = line(bytes, at)? else { return Ok(None) };
            let size = usize::from_str_radix(size, 16).map_err(|_| format!("the chunk size {size:?}"))?;
            at = next;
            if size == 0 {
                // Trailers, up to the empty line.
                loop {
                    let Some((line, next)) = line(bytes, at)? else { return Ok(None) };
                    at = next;
                    if line.is_empty() {
                        return Ok(Some((seen, at)));
                    }
                    seen.trailers.push(line.to_owned());
                }
            }
            let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
            if !chunk.ends_with(b"\r\n") {
                return Err("a chunk without an end".to_owned());
            }
            seen.body.extend_from_slice(&chunk[..size]);
            at += size + 2;
        },
        framing => Err(format!("the framing {framing:?}")),
    }
}
