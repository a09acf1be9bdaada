//! Text in a log line: escaped as it is written, so that nothing is put together elsewhere first.

use std::fmt::{self, Write as _};

/// A JSON string.
pub(crate) fn quoted(out: &mut String, text: &str) -> fmt::Result {
    out.push('"');
    Quoting(out).write_str(text)?;
    out.push('"');
    Ok(())
}

/// Writes the inside of a JSON string.
pub(crate) struct Quoting<'s>(pub(crate) &'s mut String);

impl fmt::Write for Quoting<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let out = &mut *self.0;
        // Nearly all text is plain.
        if is_plain(text.as_bytes()) {
            out.push_str(text);
            return Ok(());
        }
        let mut plain = 0;
        for (index, byte) in text.bytes().enumerate() {
            let escape = match byte {
                b'"' => "\\\"",
                b'\\' => "\\\\",
                b'\n' => "\\n",
                b'\r' => "\\r",
                b'\t' => "\\t",
                0..0x20 => "",
                _ => continue,
            };
            out.push_str(&text[plain..index]);
            plain = index + 1;
            if escape.is_empty() {
                write!(out, "\\u{byte:04x}")?;
            } else {
                out.push_str(escape);
            }
        }
        out.push_str(&text[plain..]);
        Ok(())
    }
}

/// Whether `text` can stand in a JSON string as it is. Eight bytes at a time: most texts are too short for a processor's
/// vectors, and looking at each byte was a tenth of the work of a line.
fn is_plain(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks();
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    let special = words.iter().chain([&last]).fold(0, |special, word| special | specials(u64::from_ne_bytes(*word)));
    special == 0
}

/// The highest bit of a byte of the answer is set if the same byte of `word` is a quote, a backslash or a control
/// character; other bits mean nothing, and bytes above one that is special may be wrong.
const fn specials(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    const fn below(word: u64, limit: u8) -> u64 {
        word.wrapping_sub(ONES * limit as u64) & !word
    }
    let quotes = below(word ^ (ONES * b'"' as u64), 1);
    let backslashes = below(word ^ (ONES * b'\\' as u64), 1);
    (below(word, 0x20) | quotes | backslashes) & HIGH
}

/// Text for a terminal: what would start a new line or steer the terminal is spelt out.
pub(crate) struct Plain<'t>(pub(crate) &'t str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .try_for_each(|c| if c.is_control() { write!(f, "{}", c.escape_default()) } else { f.write_char(c) })
    }
}

/// Writes [`Plain`] text.
pub(crate) struct Plainly<'s>(pub(crate) &'s mut String);

impl fmt::Write for Plainly<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write!(self.0, "{}", Plain(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plain_is_told_from_what_is_not_at_every_place() {
        for byte in 0..=u8::MAX {
            let is_special = matches!(byte, b'"' | b'\\' | 0..0x20);
            for size in 1..20 {
                for place in 0..size {
                    for filler in [b'a', 0x20, 0x80, 0xff] {
                        let mut text = vec![filler; size];
                        text[place] = byte;
                        assert_eq!(is_plain(&text), !is_special, "{byte} at {place} of {text:?}");
                    }
                }
            }
        }
        assert!(is_plain(b""));
    }
}
