//! Where a body ends: by its length, by its last chunk, or with the connection (RFC 9112, section 6).

use bytes::{Buf as _, Bytes, BytesMut};
use http::HeaderMap;

use crate::Invalid;
use crate::fields::{self, MOST_HEADERS};

/// Most digits of a chunk's size: as many as 64 bits have.
const MOST_DIGITS: usize = 16;

/// Most bytes of chunk extensions in one body, and of trailers: neither is of use to a proxy in bulk.
const MOST_EXTENSIONS: usize = 16 * 1024;
const MOST_TRAILERS: usize = 16 * 1024;

/// The end of a chunk and of a body without trailers.
const LAST: &[u8] = b"\r\n0\r\n\r\n";

/// What is still to come of a body.
#[derive(Debug)]
pub enum Decoder {
    /// So many bytes.
    Length(u64),
    /// As many as its chunks say.
    Chunked(Box<Chunked>),
    /// Whatever comes until the connection ends.
    Close,
    /// Nothing.
    Done,
}

/// A part of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Some of its bytes.
    Data(Bytes),
    /// What follows the last chunk.
    Trailers(HeaderMap),
}

/// Where in a chunked body.
#[derive(Debug, Default)]
pub struct Chunked {
    at: At,
    /// Of a client: nothing is tolerated that another reader could delimit differently.
    is_strict: bool,
    /// Of the size being read.
    digits: usize,
    extensions: usize,
    /// Lines of trailers so far.
    lines: usize,
    trailers: BytesMut,
}

#[derive(Debug, Default, Clone, Copy)]
enum At {
    /// Before the first digit of a size.
    #[default]
    Begin,
    Size(u64),
    /// After the blanks that some servers pad sizes with.
    Padding(u64),
    Extension(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// At the begin of a trailer line, or of the empty one at the end.
    Line,
    Trailer,
    TrailerLf,
    EndLf,
}

impl Decoder {
    /// Of a body of `length` bytes.
    pub fn length(length: u64) -> Self {
        if length == 0 { Self::Done } else { Self::Length(length) }
    }

    /// Of an answer in chunks.
    pub fn chunked() -> Self {
        Self::Chunked(Box::default())
    }

    /// Of a request in chunks. A reader before or behind this one may be less tolerant than it is, or more so: then one of
    /// them sees a request where the other sees a body.
    pub fn strictly_chunked() -> Self {
        Self::Chunked(Box::new(Chunked { is_strict: true, ..Chunked::default() }))
    }

    /// Whether the body is whole.
    #[inline]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// How many bytes are still to come, if that is known.
    #[inline]
    pub fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Done => Some(0),
            Self::Chunked(_) | Self::Close => None,
        }
    }

    /// The next part of what came, taken from `bytes`; none when more is needed or the body is whole.
    pub fn next(&mut self, bytes: &mut Bytes) -> Result<Option<Piece>, Invalid> {
        match self {
            Self::Done => Ok(None),
            _ if bytes.is_empty() => Ok(None),
            Self::Close => Ok(Some(Piece::Data(std::mem::take(bytes)))),
            Self::Length(left) => {
                let data = take(bytes, left);
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Some(Piece::Data(data)))
            }
            Self::Chunked(chunked) => {
                let (piece, is_last) = chunked.next(bytes)?;
                if is_last {
                    *self = Self::Done;
                }
                Ok(piece)
            }
        }
    }

    /// The connection ended; whether that is the body's end.
    pub fn end(&mut self) -> bool {
        let is_whole = matches!(self, Self::Close | Self::Done);
        *self = Self::Done;
        is_whole
    }
}

/// As much of `bytes` as is there of `left`.
fn take(bytes: &mut Bytes, left: &mut u64) -> Bytes {
    let size = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
    *left -= u64::try_from(size).unwrap_or(*left);
    bytes.split_to(size)
}

impl Chunked {
    /// The next part, and whether it is the last.
    fn next(&mut self, bytes: &mut Bytes) -> Result<(Option<Piece>, bool), Invalid> {
        let mut read = 0;
        while let Some(&byte) = bytes.get(read) {
            if let At::Data(mut left) = self.at {
                bytes.advance(read);
                let data = take(bytes, &mut left);
                self.at = if left == 0 { At::DataCr } else { At::Data(left) };
                // The end of the body usually comes along with its last chunk.
                let is_last = left == 0 && bytes.starts_with(LAST);
                if is_last {
                    bytes.advance(LAST.len());
                }
                return Ok((Some(Piece::Data(data)), is_last));
            }
            read += 1;
            let Some(next) = self.step(byte)? else {
                bytes.advance(read);
                return Ok((self.trailers()?, true));
            };
            self.at = next;
        }
        // Cleared, they would keep the memory that they were read into from being used again.
        *bytes = Bytes::new();
        Ok((None, false))
    }

    /// Where `byte` leads; nowhere when it is the body's last.
    fn step(&mut self, byte: u8) -> Result<Option<At>, Invalid> {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        let next = match (self.at, byte) {
            (At::Begin, _) => {
                self.digits = 1;
                At::Size(digit.ok_or(Invalid("a chunk has no size"))?)
            }
            (At::Size(size) | At::Padding(size) | At::Extension(size), b'\r') => At::SizeLf(size),
            (At::Size(size) | At::Padding(size), b'\t' | b' ') if !self.is_strict => At::Padding(size),
            (At::Size(size) | At::Padding(size), b';') => At::Extension(size),
            (At::Size(size), _) => {
                let digit = digit.ok_or(Invalid("a chunk's size is not a number"))?;
                self.digits += 1;
                // Zeros in front could go on for ever.
                if self.digits > MOST_DIGITS {
                    return Err(Invalid("a chunk's size has too many digits"));
                }
                At::Size(size.checked_mul(16).ok_or(Invalid("a chunk's size is too large"))? + digit)
            }
            (At::Extension(size), byte) if byte != b'\n' && self.takes(byte) => {
                self.extensions += 1;
                if self.extensions >= MOST_EXTENSIONS {
                    return Err(Invalid("the chunk extensions are too large"));
                }
                At::Extension(size)
            }
            (At::SizeLf(0), b'\n') => At::Line,
            (At::SizeLf(size), b'\n') => At::Data(size),
            (At::Data(left), _) => At::Data(left),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Begin,
            (At::DataCr | At::DataLf, _) => return Err(Invalid("a chunk is longer than its size")),
            (At::Line | At::Trailer | At::TrailerLf | At::EndLf, _) => return self.trailer(byte),
            _ => return Err(Invalid("a chunk's size is not a line, or has a control character")),
        };
        Ok(Some(next))
    }

    /// Whether `byte` may be part of a line.
    fn takes(&self, byte: u8) -> bool {
        !self.is_strict || matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
    }

    /// The same behind the last chunk.
    fn trailer(&mut self, byte: u8) -> Result<Option<At>, Invalid> {
        let next = match (self.at, byte) {
            (At::EndLf, b'\n') => None,
            (At::TrailerLf, b'\n') => {
                self.lines += 1;
                Some(At::Line)
            }
            (At::EndLf | At::TrailerLf, _) => return Err(Invalid("a trailer has a bare CR")),
            (At::Line, b'\r') => Some(At::EndLf),
            (_, b'\r') => Some(At::TrailerLf),
            _ if !self.takes(byte) => return Err(Invalid("a trailer has a control character or a bare LF")),
            _ => Some(At::Trailer),
        };
        // The empty line matters only behind others.
        if !self.trailers.is_empty() || matches!(next, Some(At::Trailer | At::TrailerLf)) {
            self.trailers.extend_from_slice(&[byte]);
        }
        if self.trailers.len() >= MOST_TRAILERS || self.lines > MOST_HEADERS {
            return Err(Invalid("the trailers are too large"));
        }
        Ok(next)
    }

    /// The trailers, when there are any.
    fn trailers(&mut self) -> Result<Option<Piece>, Invalid> {
        if self.lines == 0 {
            return Ok(None);
        }
        let lines = std::mem::take(&mut self.trailers).freeze();
        let mut room = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let room = room.get_mut(..self.lines).ok_or(Invalid("the trailers have too many lines"))?;
        let parsed = httparse::parse_headers(&lines, room).map_err(|_| Invalid("the trailers are not valid"))?;
        let httparse::Status::Complete((_, parsed)) = parsed else { return Err(Invalid("the trailers are not whole")) };
        fields::trailers(&lines, parsed).map(|trailers| Some(Piece::Trailers(trailers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(mut decoder: Decoder, wire: &'static str) -> Result<Vec<u8>, Invalid> {
        let (mut bytes, mut data) = (Bytes::from_static(wire.as_bytes()), Vec::new());
        while let Some(piece) = decoder.next(&mut bytes)? {
            if let Piece::Data(piece) = piece {
                data.extend_from_slice(&piece);
            }
        }
        Ok(data)
    }

    #[test]
    fn what_is_borne_with_in_an_answer_is_refused_in_a_request() {
        for wire in ["4 \r\ngood\r\n0\r\n\r\n", "4\t\r\ngood\r\n0\r\n\r\n", "4;\x01\r\ngood\r\n0\r\n\r\n"] {
            assert_eq!(whole(Decoder::chunked(), wire).as_deref(), Ok(&b"good"[..]), "{wire:?}");
            assert!(whole(Decoder::strictly_chunked(), wire).is_err(), "{wire:?}");
        }
        assert_eq!(whole(Decoder::strictly_chunked(), "4\r\ngood\r\n0\r\n\r\n").as_deref(), Ok(&b"good"[..]));
    }

    #[test]
    fn what_is_left_is_known_of_a_length_alone() {
        let mut decoder = Decoder::length(5);
        assert_eq!(decoder.left(), Some(5));
        assert!(matches!(decoder.next(&mut Bytes::from_static(b"two")), Ok(Some(Piece::Data(_)))));
        assert_eq!(decoder.left(), Some(2));
        let others = [Decoder::length(0), Decoder::chunked(), Decoder::Close, Decoder::Done];
        assert_eq!(others.map(|decoder| decoder.left()), [Some(0), None, None, Some(0)]);
    }
}
