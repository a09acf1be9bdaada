//! Files of text as people and editors leave them.

use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

/// What some editors put in front of UTF-8 to say that it is.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// The text in a file, without the byte order mark that some editors put in front: it is no part of a secret or a document.
/// A file that is no UTF-8 is an error that says so.
pub fn read_text(path: impl AsRef<Path>) -> Result<String> {
    text_from(std::fs::File::open(path)?)
}

/// The same from anything that can be read.
pub fn text_from(mut reader: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Error::new(ErrorKind::InvalidData, "it is UTF-16; save it as UTF-8"));
    }
    let text = without_mark(&bytes);
    match std::str::from_utf8(text) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Error::new(ErrorKind::InvalidData, "it is not UTF-8; save it as UTF-8")),
    }
}

/// Bytes without the byte order mark in front of them.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_in_front_is_no_part_of_the_text() {
        for (bytes, expected) in [
            (b"hunter2".as_slice(), "hunter2"),
            (b"\xef\xbb\xbfhunter2", "hunter2"),
            (b"a\xef\xbb\xbfb", "a\u{feff}b"),
            (b"\xef\xbb\xbf", ""),
            (b"", ""),
        ] {
            assert_eq!(text_from(bytes).expect("text"), expected);
        }
    }

    #[test]
    fn what_is_not_utf_8_says_so() {
        for (bytes, why) in [
            (b"\xff\xfeh\0".as_slice(), "it is UTF-16; save it as UTF-8"),
            (b"\xfe\xff\0h", "it is UTF-16; save it as UTF-8"),
            (b"h\xfcnter", "it is not UTF-8; save it as UTF-8"),
        ] {
            assert_eq!(text_from(bytes).expect_err("no text").to_string(), why);
        }
    }
}
