//! The body of a request, over HTTP/1.1 and HTTP/2 alike.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::Broken;
use super::base64_text::Base64Text;
use super::channel::Receiver;
use crate::message::headers;
use crate::message::outcome::FAULT_SCOPE;
use crate::message::reason::Reason;

/// The body of a request.
pub(crate) enum Incoming {
    None,
    Http1(Receiver),
    Http2(hyper::body::Incoming),
    /// Either, as what its text says.
    Text(Box<Base64Text<Self>>),
}

impl Incoming {
    /// What it says in base64.
    pub(crate) fn decoded(self) -> Self {
        Self::Text(Box::new(Base64Text::new(self)))
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut *self {
            Self::None => Poll::Ready(None),
            Self::Http1(body) => body.poll_frame(cx),
            Self::Text(body) => body.poll_frame(cx),
            Self::Http2(body) => {
                let mut frame = ready!(Pin::new(body).poll_frame(cx));
                if let Some(trailers) = frame.as_mut().and_then(|frame| frame.as_mut().ok()?.trailers_mut()) {
                    headers::trim_trailers(trailers);
                    trailers.remove(FAULT_SCOPE);
                }
                Poll::Ready(frame.map(|frame| frame.map_err(|error| Broken(reason_of(&error)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::None => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Text(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::None => SizeHint::with_exact(0),
            Self::Http1(body) => body.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Http2(body) => body.size_hint(),
            Self::Text(body) => body.size_hint(),
        }
    }
}

/// A body that ends too early means the client left; one that cannot be decoded is a bad request.
fn reason_of(error: &hyper::Error) -> Reason {
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    match io.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Reason::BadRequest,
        _ => Reason::ClientClosed,
    }
}
