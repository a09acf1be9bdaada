//! Changing header fields, where they lie or in a map.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::{Line, Lines, Room};
use crate::fields::Fields;

/// Header fields that can be changed.
pub trait Edit: Fields {
    /// Puts one value in place of all that there are.
    fn set(&mut self, name: HeaderName, value: HeaderValue);

    /// Adds a value behind those that there are.
    fn add(&mut self, name: HeaderName, value: HeaderValue);

    /// Removes all values of a field.
    fn remove_all(&mut self, name: &HeaderName);

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

    fn add(&mut self, name: HeaderName, value: HeaderValue) {
        self.append(name, value);
    }

    fn remove_all(&mut self, name: &HeaderName) {
        self.remove(name);
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
        self.remove_all(&name);
        self.add(name, value);
    }

    fn add(&mut self, name: HeaderName, value: HeaderValue) {
        // Refused is only what has no end, and then a line is missing.
        let _ = self.push(name.as_str().as_bytes(), value.as_bytes(), value.is_sensitive());
    }

    fn remove_all(&mut self, name: &HeaderName) {
        let name = name.as_str().as_bytes();
        if self.may_have(name) {
            let Room { bytes, table } = &mut self.room;
            table.retain(|line| !line.is(name, bytes));
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
        let moved = |line: &Line| Line {
            begin: line.begin + begin,
            value: line.value + begin,
            end: line.end + begin,
            is_sensitive: line.is_sensitive,
        };
        self.room.table.extend(table.iter().map(moved));
        self.marks |= marks;
    }
}
