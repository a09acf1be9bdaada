//! Compression of answers (RFC 9110, section 8.4.1): when an answer is compressed, how its head says so, and the encoders.

use std::io::{self, Write as _};
use std::sync::Arc;

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use shop_http1::fields::{self, Fields, has_word};
use shop_http1::{Edit, request_head, response_head};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zstd::stream::raw::CParameter;
use zstd::stream::write::Encoder as ZstdEncoder;

use crate::settings::Compress;

/// Answers compressed at one time. An encoder holds up to 2.2 MiB (gzip 0.4, zstd 1.7) for as long as its client takes, so that
/// clients who take nothing could fill the memory; the next ones get answers as they are.
pub(super) const MOST_ENCODERS: usize = 128;

/// Smaller answers fit in one packet either way.
const LEAST: u64 = 1024;

/// How hard each tries, as one worker does it beside all its other requests: the levels above take twice the time for a few
/// hundredths less.
const GZIP_LEVEL: u32 = 5;
const BROTLI_QUALITY: u32 = 4;
const ZSTD_LEVEL: i32 = 3;
/// So far back, as a power of two, brotli and zstd look for what was said before: more is more memory for each answer.
const BROTLI_WINDOW: u32 = 18;
const ZSTD_WINDOW: u32 = 17;

/// Digests of what is sent (RFC 9530, and older ones): they would be of something else.
static DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Zstd,
    Brotli,
    Gzip,
}

impl Coding {
    /// From the one that takes the least time for what it saves.
    const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    fn is_called(self, name: &str) -> bool {
        name.eq_ignore_ascii_case(self.name()) || self == Self::Gzip && name.eq_ignore_ascii_case("x-gzip")
    }
}

/// What a client takes, as it said itself: rules for headers may change what the service hears of that.
pub(super) struct Wish {
    coding: Option<Coding>,
    is_head: bool,
    /// Where encoders have their room.
    room: Arc<Semaphore>,
}

impl Wish {
    /// That of `request`.
    pub(super) fn of(request: &request_head::Parts, room: &Arc<Semaphore>) -> Self {
        let is_left = has_directive(&request.headers, "no-transform");
        let coding = if is_left { None } else { accepted(&request.headers) };
        Self { coding, is_head: request.method == Method::HEAD, room: Arc::clone(room) }
    }

    /// Turns the head of an answer with a body of `size` bytes, if that is known, into that of a compressed one, if it is to be
    /// one; with what compresses the body, unless there is none. `sent` are the headers of the request.
    pub(super) fn grant(
        self,
        head: &mut response_head::Parts,
        sent: &impl Fields,
        settings: &Compress,
        size: Option<u64>,
    ) -> Option<Encoder> {
        let headers = &mut head.headers;
        if head.status == StatusCode::NOT_MODIFIED {
            confirm(headers, sent);
            return None;
        }
        let size = if self.is_head { fields::length(headers) } else { size };
        if !is_worth_it(head.status, headers, settings, size) {
            return None;
        }
        vary(headers);
        let coding = self.coding?;
        let encoder = if self.is_head { None } else { Some(Encoder::new(coding, self.room)?) };
        headers.set(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        headers.remove_all(&header::CONTENT_LENGTH);
        headers.remove_all(&header::ACCEPT_RANGES);
        weaken(headers);
        encoder
    }
}

/// Whether an answer may be compressed, and gains by it; for whoever asks.
fn is_worth_it(status: StatusCode, headers: &impl Fields, settings: &Compress, size: Option<u64>) -> bool {
    let is_bare = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT);
    if is_bare || size.is_some_and(|size| size < LEAST) {
        return false;
    }
    let has_fit = headers.text(&header::CONTENT_TYPE).is_some_and(|kind| settings.types.fit(kind));
    let is_fixed = [&header::CONTENT_ENCODING, &header::CONTENT_RANGE].into_iter().chain(&DIGESTS);
    if !has_fit || is_fixed.into_iter().any(|name| headers.has(name)) || has_directive(headers, "no-transform") {
        return false;
    }
    settings.secrets || !headers.has(&header::SET_COOKIE) && !has_directive(headers, "private")
}

/// Whether `Cache-Control` has the directive `word` (RFC 9111, section 5.2), with a value or without.
fn has_directive(headers: &impl Fields, word: &str) -> bool {
    let control = header::CACHE_CONTROL;
    headers.values(&control).flat_map(|line| line.split(|byte| *byte == b',')).any(|directive| {
        let name = directive.split(|byte| *byte == b'=').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(word.as_bytes())
    })
}

/// Says that the answer is another one to who takes other codings.
fn vary(headers: &mut impl Edit) {
    let says_so = |line| has_word(line, header::ACCEPT_ENCODING.as_str()) || has_word(line, "*");
    if !headers.values(&header::VARY).any(says_so) {
        headers.add(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// Makes a strong validator a weak one (RFC 9110, section 8.8.1): what it stands for has other bytes now.
fn weaken(headers: &mut impl Edit) {
    headers.change(|name, value| {
        let is_strong = name == header::ETAG.as_str().as_bytes() && !value.starts_with(b"W/");
        is_strong.then(|| HeaderValue::from_bytes(&[b"W/", value].concat()).ok())?
    });
}

/// Gives an answer that confirms what the client has the validator that came with it: weak, if it was compressed.
fn confirm(headers: &mut impl Edit, sent: &impl Fields) {
    let Some(tag) = headers.value(&header::ETAG).filter(|tag| tag.starts_with(b"\"")) else { return };
    let weak = [b"W/", tag].concat();
    let is_had = |line: &[u8]| line.windows(weak.len()).any(|part| part == weak);
    if sent.values(&header::IF_NONE_MATCH).any(is_had) {
        weaken(headers);
        vary(headers);
    }
}

/// The coding that whoever sent `headers` likes best (RFC 9110, section 12.5.3).
fn accepted(headers: &impl Fields) -> Option<Coding> {
    let mut named = [None; Coding::ALL.len()];
    let (mut any, mut identity) = (None, None);
    let accept = header::ACCEPT_ENCODING;
    for word in headers.values(&accept).filter_map(fields::text).flat_map(|line| line.split(',')) {
        let (name, weight) = match word.split_once(';') {
            None => (word.trim(), Some(1000)),
            Some((name, parameter)) => (name.trim(), weight(parameter)),
        };
        // What makes no sense is not a wish.
        let Some(weight) = weight else { continue };
        match Coding::ALL.into_iter().position(|coding| coding.is_called(name)) {
            Some(place) => named[place] = Some(weight),
            None if name == "*" => any = Some(weight),
            None if name.eq_ignore_ascii_case("identity") => identity = Some(weight),
            None => {}
        }
    }
    let mut best = (identity.unwrap_or(0), None);
    for (coding, weight) in Coding::ALL.into_iter().zip(named) {
        let weight = weight.or(any).unwrap_or(0);
        let is_better = if best.1.is_none() { weight > 0 && weight >= best.0 } else { weight > best.0 };
        if is_better {
            best = (weight, Some(coding));
        }
    }
    best.1
}

/// The thousandths that a `q=0.5` says.
fn weight(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    let (whole, rest) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    let is_weight = name.trim().eq_ignore_ascii_case("q") && rest.len() <= 3;
    if !is_weight || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let rest = format!("{rest:0<3}").parse::<u16>().ok()?;
    match (whole, rest) {
        ("0", rest) => Some(rest),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

/// Compresses one body, piece by piece.
pub(crate) struct Encoder {
    writer: Writer,
    _room: OwnedSemaphorePermit,
}

enum Writer {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(ZstdEncoder<'static, Vec<u8>>),
    /// All is written.
    Ended,
}

impl Encoder {
    /// Encodes as `coding`, if there is room.
    fn new(coding: Coding, room: Arc<Semaphore>) -> Option<Self> {
        let room = room.try_acquire_owned().ok()?;
        let writer = match coding {
            Coding::Gzip => Writer::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL))),
            Coding::Brotli => {
                Writer::Brotli(Box::new(CompressorWriter::new(Vec::new(), 4096, BROTLI_QUALITY, BROTLI_WINDOW)))
            }
            Coding::Zstd => {
                // Without memory the answer goes out as it is.
                let mut encoder = ZstdEncoder::new(Vec::new(), ZSTD_LEVEL).ok()?;
                encoder.set_parameter(CParameter::WindowLog(ZSTD_WINDOW)).ok()?;
                Writer::Zstd(encoder)
            }
        };
        Some(Self { writer, _room: room })
    }

    /// What there is after `piece`: nothing, as long as it waits for more.
    pub(super) fn feed(&mut self, piece: &[u8]) -> io::Result<Bytes> {
        match &mut self.writer {
            Writer::Gzip(writer) => writer.write_all(piece)?,
            Writer::Brotli(writer) => writer.write_all(piece)?,
            Writer::Zstd(writer) => writer.write_all(piece)?,
            Writer::Ended => {}
        }
        Ok(self.taken())
    }

    /// What waited for more.
    pub(super) fn flush(&mut self) -> io::Result<Bytes> {
        match &mut self.writer {
            Writer::Gzip(writer) => writer.flush()?,
            Writer::Brotli(writer) => writer.flush()?,
            Writer::Zstd(writer) => writer.flush()?,
            Writer::Ended => {}
        }
        Ok(self.taken())
    }

    /// The end.
    pub(super) fn finish(&mut self) -> io::Result<Bytes> {
        let rest = match std::mem::replace(&mut self.writer, Writer::Ended) {
            Writer::Gzip(writer) => writer.finish()?,
            Writer::Brotli(mut writer) => {
                // The end itself does not say when it fails.
                writer.flush()?;
                writer.into_inner()
            }
            Writer::Zstd(writer) => writer.finish()?,
            Writer::Ended => Vec::new(),
        };
        Ok(rest.into())
    }

    fn taken(&mut self) -> Bytes {
        let written = match &mut self.writer {
            Writer::Gzip(writer) => writer.get_mut(),
            Writer::Brotli(writer) => writer.get_mut(),
            Writer::Zstd(writer) => writer.get_mut(),
            Writer::Ended => return Bytes::new(),
        };
        std::mem::take(written).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    #[test]
    fn the_best_liked_coding_is_chosen() {
        for (accept, expected) in [
            (&[][..], None),
            (&[""], None),
            (&["gzip"], Some(Coding::Gzip)),
            (&["x-gzip"], Some(Coding::Gzip)),
            (&["GZIP, deflate, Br, zstd"], Some(Coding::Zstd)),
            (&["gzip, deflate", "br"], Some(Coding::Brotli)),
            (&["gzip;q=0.9, br;q=0.8"], Some(Coding::Gzip)),
            (&["gzip ; Q=0.001"], Some(Coding::Gzip)),
            (&["gzip;q=0"], None),
            (&["gzip;q=0.000, br"], Some(Coding::Brotli)),
            (&["*"], Some(Coding::Zstd)),
            (&["*;q=0.5, zstd;q=0"], Some(Coding::Brotli)),
            (&["*;q=0, gzip"], Some(Coding::Gzip)),
            (&["identity, gzip;q=0.5"], None),
            (&["identity;q=0.5, gzip;q=0.5"], Some(Coding::Gzip)),
            (&["identity;q=0"], None),
            (&["gzip;q=1.001"], None),
            (&["gzip;q=0.1234"], None),
            (&["gzip;q=-1"], None),
            (&["gzip;level=9"], None),
            (&["deflate, compress"], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in accept {
                headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(line));
            }
            assert_eq!(accepted(&headers), expected, "{accept:?}");
        }
    }

    #[test]
    fn the_window_is_the_one_that_is_set() {
        let mut encoder = ZstdEncoder::new(Vec::new(), ZSTD_LEVEL).expect("an encoder");
        encoder.set_parameter(CParameter::WindowLog(ZSTD_WINDOW)).expect("a window");
        let noise: Vec<u8> = (0_u32..1 << 20).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        encoder.write_all(&noise).expect("writes");
        let frame = encoder.finish().expect("an end");
        // The window in the frame's head (RFC 8878, section 3.1.1.1.2) is what a reader has to hold.
        assert_eq!(frame[5] >> 3, u8::try_from(ZSTD_WINDOW - 10).expect("small"));
    }

    #[test]
    fn who_finds_no_room_gets_no_encoder() {
        let room = Arc::new(Semaphore::new(1));
        let first = Encoder::new(Coding::Gzip, Arc::clone(&room));
        assert!(first.is_some());
        assert!(Encoder::new(Coding::Zstd, Arc::clone(&room)).is_none());
        drop(first);
        assert!(Encoder::new(Coding::Brotli, room).is_some());
    }
}
