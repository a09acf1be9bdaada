//! What a message says beside its first line, in the form in which it came.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::fields::{self, Fields, Names};
use crate::{Edit, Lines};

/// Header fields, over HTTP/1.1 or HTTP/2: what came as a map may go out as one, and would gain nothing as lines.
#[derive(Debug)]
pub enum Headers {
    /// As HTTP/1.1 has them.
    Lines(Lines),
    /// As HTTP/2 has them.
    Map(HeaderMap),
}

impl Headers {
    /// How many lines there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Lines(lines) => lines.len(),
            Self::Map(map) => map.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the lines, without the empty one that ends a head.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Lines(lines) => lines.write(out),
            Self::Map(map) => fields::write(map, out),
        }
    }

    /// The same in a map.
    pub fn to_map(&self) -> HeaderMap {
        match self {
            Self::Lines(lines) => lines.to_map(),
            Self::Map(map) => map.clone(),
        }
    }

    /// The same in a map.
    pub fn into_map(self) -> HeaderMap {
        match self {
            Self::Lines(lines) => lines.to_map(),
            Self::Map(map) => map,
        }
    }
}

/// Values of lines or of a map.
enum Values<L, M> {
    Lines(L),
    Map(M),
}

impl<'a, L, M> Iterator for Values<L, M>
where
    L: Iterator<Item = &'a [u8]>,
    M: Iterator<Item = &'a [u8]>,
{
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        match self {
            Self::Lines(lines) => lines.next(),
            Self::Map(map) => map.next(),
        }
    }
}

impl Fields for Headers {
    fn value(&self, name: &HeaderName) -> Option<&[u8]> {
        match self {
            Self::Lines(lines) => lines.value(name),
            Self::Map(map) => map.value(name),
        }
    }

    fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        match self {
            Self::Lines(lines) => Values::Lines(lines.values(name)),
            Self::Map(map) => Values::Map(Fields::values(map, name)),
        }
    }

    fn has_none(&self, of: &Names) -> bool {
        match self {
            Self::Lines(lines) => lines.has_none(of),
            Self::Map(map) => map.has_none(of),
        }
    }
}

impl Edit for Headers {
    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        match self {
            Self::Lines(lines) => lines.set(name, value),
            Self::Map(map) => map.set(name, value),
        }
    }

    fn copy(&mut self, name: &HeaderName, value: &HeaderValue) {
        match self {
            Self::Lines(lines) => lines.copy(name, value),
            Self::Map(map) => map.copy(name, value),
        }
    }

    fn put(&mut self, name: &HeaderName, value: &[u8]) {
        match self {
            Self::Lines(lines) => lines.put(name, value),
            Self::Map(map) => map.put(name, value),
        }
    }

    fn add(&mut self, name: HeaderName, value: HeaderValue) {
        match self {
            Self::Lines(lines) => lines.add(name, value),
            Self::Map(map) => map.add(name, value),
        }
    }

    fn remove_all(&mut self, name: &HeaderName) {
        match self {
            Self::Lines(lines) => lines.remove_all(name),
            Self::Map(map) => map.remove_all(name),
        }
    }

    fn remove_each(&mut self, of: &Names) {
        match self {
            Self::Lines(lines) => lines.remove_each(of),
            Self::Map(map) => map.remove_each(of),
        }
    }

    fn remove_if(&mut self, is_one: impl FnMut(&[u8]) -> bool) {
        match self {
            Self::Lines(lines) => lines.remove_if(is_one),
            Self::Map(map) => map.remove_if(is_one),
        }
    }

    fn change(&mut self, change: impl FnMut(&[u8], &[u8]) -> Option<HeaderValue>) {
        match self {
            Self::Lines(lines) => lines.change(change),
            Self::Map(map) => map.change(change),
        }
    }

    fn add_all(&mut self, more: &Lines) {
        match self {
            Self::Lines(lines) => lines.add_all(more),
            Self::Map(map) => map.add_all(more),
        }
    }
}

impl From<HeaderMap> for Headers {
    fn from(map: HeaderMap) -> Self {
        Self::Map(map)
    }
}
