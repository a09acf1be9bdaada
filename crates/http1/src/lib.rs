//! HTTP/1.1 on the wire (RFC 9112), strictly and for both sides of a proxy: heads are read and written, bodies delimited. It opens
//! no connection and decides nothing about what is said over one.
//!
//! What two readers could delimit differently is refused, because whoever stands before or behind a proxy may be the other
//! reader: a length beside chunks, a bare LF, a second `Content-Length`. A connection that waits holds no buffer: all those of a
//! thread read into the same memory ([`read_buffer`]). Everything is a poll function or plain, so it runs in the task of whoever
//! owns the connection.
//!
//! | to | clients | backends |
//! |---|---|---|
//! | a head's lines | [`Headers`] | [`Headers`] |
//! | read a head | [`request_head::Reader`] | [`response_head::Reader`] |
//! | read a body | [`Decoder`], which the head brings along | [`response_head::body`] |
//! | write a message | [`response::outgoing`] | [`Outgoing::request`] with [`request_head::write`] |
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use shop_http1::response::{self, RequestInfo, Skip};
//! use shop_http1::{Piece, read_buffer, request_head};
//! use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
//!
//! struct Text(Full<Bytes>);
//! # use std::{pin::Pin, task::{Context, Poll}};
//! # impl http_body::Body for Text {
//! #     type Data = Bytes;
//! #     type Error = std::convert::Infallible;
//! #     fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
//! #         Pin::new(&mut self.0).poll_frame(cx)
//! #     }
//! #     fn is_end_stream(&self) -> bool { self.0.is_end_stream() }
//! #     fn size_hint(&self) -> http_body::SizeHint { self.0.size_hint() }
//! # }
//! impl Skip for Text {
//!     fn skip(&mut self) {}
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut client, mut socket) = tokio::io::duplex(1024);
//! client.write_all(b"POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello").await?;
//!
//! // A head, which says how its body is delimited.
//! let mut reader = request_head::Reader::new(16 * 1024);
//! let mut bytes = std::future::poll_fn(|cx| read_buffer::poll_read(&mut socket, None, cx)).await?;
//! let head = reader.read(&mut bytes).map_err(|fault| fault.detail)?.ok_or("some of it is missing")?;
//! assert_eq!(head.parts.uri.path(), "/echo");
//! let mut body = head.body;
//! let Some(Piece::Data(data)) = body.next(&mut bytes).map_err(|invalid| invalid.0)? else { return Err("no body".into()) };
//! assert!(body.is_done());
//!
//! // The answer to it.
//! let info = RequestInfo { version: head.parts.version, is_head: false, takes_trailers: head.takes_trailers, keeps: head.keeps };
//! let answer = http::Response::new(Text(Full::new(data)));
//! let (mut outgoing, keeps) = response::outgoing(b"", answer.into(), info, |_| false);
//! std::future::poll_fn(|cx| outgoing.poll_send(&mut socket, cx)).await.map_err(|_| "it broke off")?;
//! assert!(!keeps, "the client asked to close");
//! drop(socket);
//! let mut text = String::new();
//! client.read_to_string(&mut text).await?;
//! assert!(text.starts_with("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n"));
//! assert!(text.ends_with("\r\n\r\nhello"));
//!
//! // What another reader could take for two requests is refused.
//! let mut smuggled = Bytes::from("POST / HTTP/1.1\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nG");
//! let fault = request_head::Reader::new(16 * 1024).read(&mut smuggled).unwrap_err();
//! assert_eq!(fault.detail, "the request has both Content-Length and Transfer-Encoding");
//! # Ok(())
//! # }
//! ```
//!
//! Tests and the targets in `fuzz` hold both directions against hyper's, byte by byte.

mod decoder;
pub mod fields;
mod headers;
mod lines;
mod outgoing;
pub mod read_buffer;
pub mod request_head;
pub mod response;
pub mod response_head;

pub use decoder::{Chunked, Decoder, Piece};
pub use headers::Headers;
pub use lines::Lines;
pub use lines::edit::Edit;
pub use outgoing::{Framing, Outgoing, PutBack, Trouble};

/// Why what came is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid(
    /// For people.
    pub &'static str,
);
