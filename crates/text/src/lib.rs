//! Texts that people read: bounded, visible, and in the order in which they are written.

use shop_fault::FieldError;

/// Whether a text may have more than one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// It may not.
    One,
    /// It may have line breaks and tabs.
    Many,
}

/// What a text has to be like.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    /// Fewest characters, 0 or 1.
    pub least: usize,
    /// Most characters.
    pub most: usize,
    /// Line breaks.
    pub lines: Lines,
}

/// What is wrong with a text; [`code`](TextError::code) names it to programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// There is none.
    #[error("must not be empty")]
    Required,
    /// It is too long.
    #[error("must have at most {most} characters, has {has}")]
    TooLong {
        /// How many it may have.
        most: usize,
        /// How many it has.
        has: usize,
    },
    /// A character that does something instead of showing something.
    #[error("must not contain the control character U+{:04X}", u32::from(*.0))]
    Control(char),
    /// A character that turns the direction of what follows, so that a text reads other than it is.
    #[error("must not contain the bidirectional control U+{:04X}", u32::from(*.0))]
    Bidi(char),
    /// A code point that is no character, by Unicode's own word, for ever.
    #[error("must not contain U+{:04X}, which is no character", u32::from(*.0))]
    Noncharacter(char),
    /// It has nothing but spaces and characters that do not show.
    #[error("must have a character that can be seen")]
    Invisible,
}

impl Text {
    /// One line of `least` to `most` characters.
    pub const fn line(least: usize, most: usize) -> Self {
        Self { least, most, lines: Lines::One }
    }

    /// Lines of `least` to `most` characters together.
    pub const fn lines(least: usize, most: usize) -> Self {
        Self { least, most, lines: Lines::Many }
    }

    /// The text without the space around it, if it keeps to the rule; the space counts for the length, as whoever reads a
    /// schema would count.
    ///
    /// Characters that Unicode has not assigned yet are taken: every year brings new ones.
    pub fn check(self, given: &str) -> Result<&str, TextError> {
        let text = given.trim();
        if self.least > 0 && text.is_empty() {
            return Err(TextError::Required);
        }
        let has = given.chars().count();
        if has > self.most {
            return Err(TextError::TooLong { most: self.most, has });
        }
        let breaks = |c: char| self.lines == Lines::Many && matches!(c, '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}');
        for c in text.chars() {
            if is_control(c) && !breaks(c) {
                return Err(TextError::Control(c));
            }
            if is_bidi(c) {
                return Err(TextError::Bidi(c));
            }
            if is_noncharacter(c) {
                return Err(TextError::Noncharacter(c));
            }
        }
        if !text.is_empty() && text.chars().all(|c| c.is_whitespace() || is_hidden(c)) {
            return Err(TextError::Invisible);
        }
        Ok(text)
    }
}

impl TextError {
    /// The kind of error, `snake_case` and stable, the same for every text of every service.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::TooLong { .. } => "too_long",
            Self::Control(_) => "control_character",
            Self::Bidi(_) => "bidi_control",
            Self::Noncharacter(_) => "noncharacter",
            Self::Invisible => "invisible",
        }
    }

    /// The error on the field of that name.
    pub fn on(self, field: impl Into<String>) -> FieldError {
        FieldError::new(field, self.code(), self.to_string())
    }
}

/// Whether `c` keeps a line a line and its direction: no control, nothing that turns or breaks it.
pub fn is_line_safe(c: char) -> bool {
    !is_control(c) && !is_bidi(c) && !is_noncharacter(c)
}

/// Controls (general category Cc), separators of lines and paragraphs, and the format characters that Unicode deprecates
/// or keeps for annotations (Unicode standard, sections 23.3 and 23.8).
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{206a}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' | '\u{e0001}')
}

/// Embeddings, overrides and isolates (UAX #9). The plain marks U+200E, U+200F and U+061C are not among them: Hebrew and
/// Arabic texts need those, and they turn no letter of another script.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn is_noncharacter(c: char) -> bool {
    matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe
}

/// Whether `c` shows nothing by itself: Unicode's `Default_Ignorable_Code_Point`, the blank of Braille and the null note.
pub fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: Text = Text::line(1, 20);

    #[test]
    fn texts_of_every_script_are_taken_and_trimmed() {
        for text in [
            "Walnut desk",
            "Żółw",
            "がぎぐ",
            "e\u{301}te\u{301}",
            "שלום\u{200f}!",
            "می\u{200c}خواهم",
            "👩\u{200d}🍳",
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "❤\u{fe0f}",
            "\u{10ffd}",
            "a\u{a0}b",
        ] {
            assert_eq!(NAME.check(&format!(" {text}\u{3000}")), Ok(text), "{text}");
        }
        assert_eq!(Text::line(0, 5).check("  "), Ok(""));
        assert_eq!(Text::lines(0, 5).check("a\r\n\tb"), Ok("a\r\n\tb"));
    }

    #[test]
    fn each_fault_has_its_code() {
        for (text, code) in [
            ("", "required"),
            (" \u{3000}", "required"),
            ("123456789012345678901", "too_long"),
            ("a\u{0}b", "control_character"),
            ("a\u{7f}", "control_character"),
            ("a\u{85}b", "control_character"),
            ("two\nlines", "control_character"),
            ("two\u{2028}lines", "control_character"),
            ("a\u{fff9}b", "control_character"),
            ("evil\u{202e}fdp.exe", "bidi_control"),
            ("a\u{2066}b", "bidi_control"),
            ("a\u{ffff}", "noncharacter"),
            ("a\u{fdd0}", "noncharacter"),
            ("a\u{10fffe}", "noncharacter"),
            ("\u{200b}", "invisible"),
            ("\u{200b} \u{feff}\u{ad}", "invisible"),
            ("\u{2800}\u{3164}", "invisible"),
            ("\u{fe0f}\u{200d}", "invisible"),
            ("\u{e0041}", "invisible"),
        ] {
            assert_eq!(NAME.check(text).map_err(TextError::code), Err(code), "{text:?}");
        }
        assert_eq!(Text::lines(0, 9).check("\u{200b}").map_err(TextError::code), Err("invisible"));
        assert_eq!(Text::lines(0, 9).check("bell\u{7}").map_err(TextError::code), Err("control_character"));
    }

    #[test]
    fn a_fault_names_its_character() {
        let error = NAME.check("a\u{202e}b").expect_err("is refused").on("name");
        assert_eq!(
            (error.field.as_str(), error.message.as_str()),
            ("name", "must not contain the bidirectional control U+202E")
        );
    }
}
