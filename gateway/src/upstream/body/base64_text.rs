//! A body that comes as base64: browsers that read answers as text send what they ask for as text too (gRPC-Web).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use super::Broken;
use crate::message::reason::Reason;

/// Four characters are three bytes. One text behind the other, each with padding at its end, is one body.
pub(crate) struct Base64Text<B> {
    incoming: B,
    /// Fewer than four characters.
    begun: BytesMut,
}

impl<B: Body<Data = Bytes, Error = Broken> + Unpin> Base64Text<B> {
    /// What the text in `incoming` says.
    pub(super) fn new(incoming: B) -> Self {
        Self { incoming, begun: BytesMut::new() }
    }

    /// What is whole of `piece`.
    fn decode(&mut self, piece: &[u8]) -> Result<Bytes, Broken> {
        self.begun.extend_from_slice(piece);
        let whole = self.begun.len() / 4 * 4;
        let text = self.begun.split_to(whole);
        let mut bytes = Vec::with_capacity(whole / 4 * 3);
        let mut rest = &text[..];
        while !rest.is_empty() {
            // The padding ends a text.
            let end = rest.iter().position(|byte| *byte == b'=').map_or(rest.len(), |place| place / 4 * 4 + 4);
            let (one, others) = rest.split_at(end.min(rest.len()));
            STANDARD.decode_vec(one, &mut bytes).map_err(|_| Broken(Reason::BadRequest))?;
            rest = others;
        }
        Ok(bytes.into())
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                None if !self.begun.is_empty() => return Poll::Ready(Some(Err(Broken(Reason::BadRequest)))),
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(piece) => match self.decode(&piece) {
                    Ok(bytes) if bytes.is_empty() => {}
                    decoded => return Poll::Ready(Some(decoded.map(Frame::data))),
                },
                Err(_) if !self.begun.is_empty() => return Poll::Ready(Some(Err(Broken(Reason::BadRequest)))),
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.begun.is_empty() && self.incoming.is_end_stream()
    }

    /// Nobody knows how many texts there are.
    pub(super) fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;

    use super::*;

    fn text() -> Base64Text<impl Body<Data = Bytes, Error = Broken> + Unpin> {
        use http_body_util::BodyExt as _;
        Base64Text::new(Empty::new().map_err(|never| match never {}))
    }

    #[test]
    fn texts_are_decoded_wherever_they_are_cut() {
        let text = b"YWJjZA==ZWY=Z2hp";
        for cut in 0..text.len() {
            let mut body = self::text();
            let mut bytes = Vec::new();
            for piece in [&text[..cut], &text[cut..]] {
                bytes.extend_from_slice(&body.decode(piece).expect("is base64"));
            }
            assert_eq!(bytes, b"abcdefghi", "{cut}");
            assert!(body.begun.is_empty());
        }
        for wrong in ["YW=j", "Y===", "====", "YW\nj", "YWJj!WJj", "YW-_"] {
            assert!(self::text().decode(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
