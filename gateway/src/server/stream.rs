//! What a client speaks, by its first bytes.

use std::future::poll_fn;
use std::io;

use bytes::Bytes;
use shop_http1::read_buffer;

use super::socket::Socket;

/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is clear whether this is HTTP/2. Nothing when the client closed without a word.
pub(super) async fn sniff(stream: &mut Socket) -> io::Result<Option<(Bytes, bool)>> {
    let mut seen = Bytes::new();
    loop {
        let more = poll_fn(|cx| read_buffer::poll_read(stream, None, cx)).await?;
        if more.is_empty() {
            return Ok((!seen.is_empty()).then_some((seen, false)));
        }
        seen = if seen.is_empty() { more } else { [seen, more].concat().into() };
        let known = seen.len().min(PREFACE.len());
        if seen[..known] != PREFACE[..known] {
            return Ok(Some((seen, false)));
        }
        if known == PREFACE.len() {
            return Ok(Some((seen, true)));
        }
    }
}
