//! Changing header fields, where they lie or in a map.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::{Line, Lines, Room};
use crate::fields::{Fields, Names};

/// Header fields that can be changed.
pub trait Edit: Fields {
    /// Puts one value in place of all that there are.
    fn set(&mut self, name: HeaderName, value: HeaderValue);

    /// Puts a value that others keep in place of all that there are.
    fn copy(&mut self, name: &HeaderName, value: &HeaderValue);

    /// Puts a value that was just made, and hardly comes twice, in place of all that there are; none when it is not valid.
    fn put(&mut self, name: &HeaderName, value: &[u8]);

    /// Adds a value behind those that there are.
    fn add(&mut self, name: HeaderName, value: HeaderValue);

    /// Removes all values of a field.
    fn remove_all(&mut self, name: &HeaderName);

    /// Removes all values of each of these fields.
    fn remove_each(&mut self, of: &Names);

    /// Removes the fields whose name, in lower case, is one that is looked for.
    fn remove_if(&mut self, is_one: impl FnMut(&[u8]) -> bool);

    /// Puts other values in place of some, by name and value.
    fn change(&mut self, change: impl FnMut(&[u8], &[u8]) -> Option<HeaderValue>);

    /// Adds lines that were made before.
    fn add_all(&mut self, lines: &Lines);
}

impl Edit for HeaderMap {
    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.insert(name, value);
    }

    fn copy(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.insert(name.clone(), value.clone());
    }

    fn put(&mut self, name: &HeaderName, value: &[u8]) {
        match HeaderValue::from_bytes(value) {
            Ok(mut value) => {
                // Nothing for the tables of HPACK (RFC 7541, section 6.2.3), which are searched and filled in vain by it.
                value.set_sensitive(true);
                self.insert(name.clone(), value);
            }
            Err(_) => self.remove_all(name),
        }
    }

    fn add(&mut self, name: HeaderName, value: HeaderValue) {
        self.append(name, value);
    }

    fn remove_all(&mut self, name: &HeaderName) {
        self.remove(name);
    }

    fn remove_each(&mut self, of: &Names) {
        of.iter().for_each(|name| self.remove_all(name));
    }

    fn remove_if(&mut self, mut is_one: impl FnMut(&[u8]) -> bool) {
        while let Some(name) = self.keys().find(|name| is_one(name.as_str().as_bytes())).cloned() {
            self.remove(name);
        }
    }

    fn change(&mut self, mut change: impl FnMut(&[u8], &[u8]) -> Option<HeaderValue>) {
        for (name, value) in self.iter_mut() {
            if let Some(new) = change(name.as_str().as_bytes(), value.as_bytes()) {
                *value = new;
            }
        }
    }

    fn add_all(&mut self, lines: &Lines) {
        for (name, value) in &lines.to_map() {
            self.append(name, value.clone());
        }
    }
}

impl Edit for Lines {
    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.copy(&name, &value);
    }

    fn copy(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.remove_all(name);
        // Refused is only what has no end, here and below, and then a line is missing.
        let _ = self.push(name.as_str().as_bytes(), value.as_bytes(), value.is_sensitive());
    }

    fn put(&mut self, name: &HeaderName, value: &[u8]) {
        self.remove_all(name);
        if value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..)) {
            let _ = self.push(name.as_str().as_bytes(), value, true);
        }
    }

    fn add(&mut self, name: HeaderName, value: HeaderValue) {
        let _ = self.push(name.as_str().as_bytes(), value.as_bytes(), value.is_sensitive());
    }

    fn remove_all(&mut self, name: &HeaderName) {
        let name = name.as_str().as_bytes();
        if self.may_have(name) {
            let Room { bytes, table } = &mut self.room;
            table.retain(|line| !line.is(name, bytes));
        }
    }

    fn remove_each(&mut self, of: &Names) {
        if self.marks & of.marks != 0 {
            let Room { bytes, table } = &mut self.room;
            let is_one = |line: &Line| of.iter().any(|name| line.is(name.as_str().as_bytes(), bytes));
            table.retain(|line| (of.marks >> line.place) & 1 == 0 || !is_one(line));
        }
    }

    fn remove_if(&mut self, mut is_one: impl FnMut(&[u8]) -> bool) {
        let Room { bytes, table } = &mut self.room;
        table.retain(|line| !is_one(line.name(bytes)));
    }

    fn change(&mut self, mut change: impl FnMut(&[u8], &[u8]) -> Option<HeaderValue>) {
        for place in 0..self.room.table.len() {
            let Room { bytes, table } = &self.room;
            let line = table[place];
            let Some(value) = change(line.name(bytes), line.value(bytes)) else { continue };
            let name = line.name(bytes).to_vec();
            // Written behind the others, it takes the place of the old one.
            if self.push(&name, value.as_bytes(), value.is_sensitive()).is_ok()
                && let Some(new) = self.room.table.pop()
            {
                self.room.table[place] = new;
            }
        }
    }

    fn add_all(&mut self, lines: &Lines) {
        let Lines { room: Room { bytes, table }, marks } = lines;
        let Ok(begin) = u32::try_from(self.room.bytes.len()) else { return };
        self.room.bytes.extend_from_slice(bytes);
        let moved =
            |line: &Line| Line { begin: line.begin + begin, value: line.value + begin, end: line.end + begin, ..*line };
        self.room.table.extend(table.iter().map(moved));
        self.marks |= marks;
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    #[test]
    fn a_value_that_would_end_its_line_is_not_put() {
        for (value, is_valid) in [("a\tb \u{e9}", true), ("a\r\nb: c", false), ("a\0", false), ("\u{7f}", false)] {
            let (mut lines, mut map) = (Lines::new(), HeaderMap::new());
            for headers in [&mut lines as &mut dyn Put, &mut map] {
                headers.put_twice(value.as_bytes());
            }
            assert_eq!((lines.len(), map.len()), (usize::from(is_valid), usize::from(is_valid)), "{value:?}");
            assert!(!is_valid || map[header::SERVER].is_sensitive(), "it does not come again");
        }
    }

    /// [`Edit`] has methods of many types.
    trait Put {
        fn put_twice(&mut self, value: &[u8]);
    }

    impl<E: Edit> Put for E {
        fn put_twice(&mut self, value: &[u8]) {
            self.put(&header::SERVER, b"before");
            self.put(&header::SERVER, value);
        }
    }
}
