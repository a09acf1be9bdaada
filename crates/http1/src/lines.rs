//! The header lines of one message, as they go out: read once, edited where they lie, and written by copying.

pub(crate) mod edit;

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use httparse::Header;

use crate::Invalid;
use crate::fields::{Fields, Names, place};

/// Room that is used again: so much of it is kept by each thread, none of it larger than this. Two are in use for each request
/// that waits for a backend.
const MOST_SPARE: usize = 256;
const LARGEST_SPARE: usize = 8 * 1024;

/// What is likely to be added to lines that were read, in bytes and in lines: room for it is made beforehand.
const MORE_BYTES: usize = 768;
const MORE_LINES: usize = 20;

thread_local! {
    static SPARE: RefCell<Vec<Room>> = const { RefCell::new(Vec::new()) };
}

/// Header lines in the order in which they came, with names in lower case.
///
/// They lie in one piece of memory in the form in which they are sent, `name: value` and CRLF, beside a table that says where each
/// begins. To remove one is to forget its place; a new one is written behind the others. So what nobody touches is copied twice,
/// in and out, and looked at no more.
#[derive(Default)]
pub struct Lines {
    room: Room,
    /// A bit for each name that may be there, see [`place`]: most names that are asked for are not.
    marks: u64,
}

/// What the lines are kept in.
#[derive(Default)]
struct Room {
    bytes: Vec<u8>,
    table: Vec<Line>,
}

/// Where a line is.
#[derive(Debug, Clone, Copy)]
struct Line {
    begin: u32,
    value: u32,
    /// Behind its CRLF.
    end: u32,
    /// HTTP/2 says it to nobody's memory (RFC 7541, section 7.1.3).
    is_sensitive: bool,
    /// The [`place`] of its name.
    place: u8,
}

const SEPARATOR: &[u8] = b": ";
const CRLF: &[u8] = b"\r\n";

impl Line {
    #[inline]
    fn name<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.begin as usize..self.value as usize - SEPARATOR.len()]
    }

    #[inline]
    fn value<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.value as usize..self.end as usize - CRLF.len()]
    }

    /// Whether it is called `name`.
    #[inline]
    fn is(&self, name: &[u8], bytes: &[u8]) -> bool {
        (self.value - self.begin) as usize == name.len() + SEPARATOR.len() && self.name(bytes) == name
    }
}

impl Lines {
    /// None yet.
    pub fn new() -> Self {
        Self { room: SPARE.with_borrow_mut(Vec::pop).unwrap_or_default(), marks: 0 }
    }

    /// Those that were found in a head.
    pub(crate) fn read(parsed: &[Header<'_>]) -> Result<Self, Invalid> {
        let mut lines = Self::new();
        let size = |line: &Header<'_>| line.name.len() + SEPARATOR.len() + line.value.len() + CRLF.len();
        lines.room.bytes.reserve(parsed.iter().map(size).sum::<usize>() + MORE_BYTES);
        lines.room.table.reserve(parsed.len() + MORE_LINES);
        for line in parsed {
            lines.append(line.name.as_bytes(), line.value, false, <[u8]>::make_ascii_lowercase)?;
        }
        Ok(lines)
    }

    /// Adds one whose name, in lower case, and value are known to be valid.
    fn push(&mut self, name: &[u8], value: &[u8], is_sensitive: bool) -> Result<(), Invalid> {
        self.append(name, value, is_sensitive, |_| {})
    }

    /// The same; `settle` brings the name, as it was written, into lower case.
    #[inline]
    fn append(
        &mut self,
        name: &[u8],
        value: &[u8],
        is_sensitive: bool,
        settle: impl FnOnce(&mut [u8]),
    ) -> Result<(), Invalid> {
        let Room { bytes, table } = &mut self.room;
        let begin = bytes.len();
        let of_value = begin + name.len() + SEPARATOR.len();
        let end = of_value + value.len() + CRLF.len();
        // No head comes near; who adds without end is stopped here.
        let at = |place: usize| u32::try_from(place).map_err(|_| Invalid("the header lines are too large"));
        let (start, of_value, end) = (at(begin)?, at(of_value)?, at(end)?);
        // Room for all of it at once, and then nothing but copying.
        bytes.reserve(name.len() + SEPARATOR.len() + value.len() + CRLF.len());
        bytes.extend_from_slice(name);
        settle(&mut bytes[begin..]);
        let place = place(&bytes[begin..]);
        self.marks |= 1 << place;
        for part in [SEPARATOR, value, CRLF] {
            bytes.extend_from_slice(part);
        }
        table.push(Line { begin: start, value: of_value, end, is_sensitive, place });
        Ok(())
    }

    /// Gives back what is not needed of the memory, of lines that are kept for long.
    pub fn shrink(&mut self) {
        self.room.bytes.shrink_to_fit();
        self.room.table.shrink_to_fit();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.room.table.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.room.table.is_empty()
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let Room { bytes, table } = &self.room;
        table.iter().map(move |line| (line.name(bytes), line.value(bytes)))
    }

    /// Writes them, without the empty line that ends a head.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Room { bytes, table } = &self.room;
        let mut rest = table.iter().peekable();
        while let Some(line) = rest.next() {
            let mut end = line.end;
            while let Some(next) = rest.next_if(|next| next.begin == end) {
                end = next.end;
            }
            out.extend_from_slice(&bytes[line.begin as usize..end as usize]);
        }
    }

    /// The same in a map.
    pub fn to_map(&self) -> HeaderMap {
        let bytes = Bytes::copy_from_slice(&self.room.bytes);
        let mut map = HeaderMap::with_capacity(self.len());
        for line in &self.room.table {
            let value = bytes.slice(line.value as usize..line.end as usize - CRLF.len());
            let name = HeaderName::from_bytes(line.name(&bytes));
            // Each is valid, or it would not be here.
            if let (Ok(name), Ok(mut value)) = (name, HeaderValue::from_maybe_shared(value)) {
                value.set_sensitive(line.is_sensitive);
                map.append(name, value);
            }
        }
        map
    }

    #[inline]
    fn may_have(&self, name: &[u8]) -> bool {
        (self.marks >> place(name)) & 1 != 0
    }
}

impl Fields for Lines {
    #[inline]
    fn value(&self, name: &HeaderName) -> Option<&[u8]> {
        let name = name.as_str().as_bytes();
        if !self.may_have(name) {
            return None;
        }
        let Room { bytes, table } = &self.room;
        table.iter().find(|line| line.is(name, bytes)).map(|line| line.value(bytes))
    }

    #[inline]
    fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let name = name.as_str().as_bytes();
        let Room { bytes, table } = &self.room;
        let table = if self.may_have(name) { &table[..] } else { &[] };
        table.iter().filter(move |line| line.is(name, bytes)).map(move |line| line.value(bytes))
    }

    fn has_none(&self, of: &Names) -> bool {
        self.marks & of.marks == 0 || !of.iter().any(|name| self.has(name))
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes);
        f.debug_list().entries(self.iter().map(|(name, value)| (text(name), text(value)))).finish()
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let Room { mut bytes, mut table } = std::mem::take(&mut self.room);
        if !(1..=LARGEST_SPARE).contains(&bytes.capacity()) {
            return;
        }
        bytes.clear();
        table.clear();
        // The thread may be at its end.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < MOST_SPARE {
                spare.push(Room { bytes, table });
            }
        });
    }
}
