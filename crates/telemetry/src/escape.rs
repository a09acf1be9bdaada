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
        // Nearly all text is plain; to look at all of it at once is several times faster than to stop at the first.
        if !text.bytes().fold(false, |special, byte| special | is_special(byte)) {
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

/// Whether a byte cannot stand in a JSON string as it is.
const fn is_special(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..0x20)
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
