//! HTTP/2 frame by frame, for what no library would send. The benchmark of proxies reads this file, too.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame as it is on the wire.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block of literals that are neither compressed nor remembered; of texts shorter than 127 bytes.
pub(crate) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// One end of a connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    pub(crate) read: BytesMut,
}

impl Peer {
    /// As a client with settings of its own, as they are on the wire.
    pub(crate) async fn client(stream: TcpStream, settings: &[u8]) -> Self {
        let mut peer = Self { stream, read: BytesMut::new() };
        peer.send([PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await;
        peer
    }

    /// Reads on; fails at the end.
    pub(crate) async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Whether it could be sent.
    pub(crate) async fn send(&mut self, bytes: Vec<u8>) -> bool {
        self.stream.write_all(&bytes).await.is_ok()
    }

    /// The next frame: kind, flags, stream, payload.
    pub(crate) async fn frame(&mut self) -> Option<(u8, u8, u32, Bytes)> {
        loop {
            if let [a, b, c, ..] = self.read[..] {
                let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                if self.read.len() >= 9 + length {
                    let head = self.read.split_to(9);
                    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                    return Some((head[3], head[4], stream, self.read.split_to(length).freeze()));
                }
            }
            self.more().await.ok()?;
        }
    }
}
