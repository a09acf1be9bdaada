//! Texts as readers see them alike: what search and order compare, the same in every store.
//!
//! `Côtes`, `CÔTES` and `cotes` fold to one text, whether their accents are letters of their own (NFC), marks behind them
//! (NFD) or wide forms (NFKC): compatibility decomposition and full case folding (Unicode standard, sections 3.11 and
//! 3.13), without the marks that readers leave out.

use shop_text::is_hidden;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Counts the changes of what is in this file: rows folded by another count are folded again. The indexes on it are
/// written for this number.
pub(crate) const FOLDING: i64 = 1;

/// Most bytes of each half of a [`place`]: with a category before it, it fits an index of PostgreSQL (2704 bytes).
const MOST_BYTES: usize = 1000;

/// Between the halves of a [`place`]: before every character that a name can have.
pub(crate) const BETWEEN: char = '\u{1}';

/// `text` without what readers leave out: case, accents, ligatures, widths, characters that do not show.
pub(crate) fn folded(text: &str) -> String {
    let mut letters = String::with_capacity(text.len());
    for c in text.nfkd().filter(|c| !is_left_out(*c)).flat_map(cased) {
        match plain(c) {
            "" => letters.push(c),
            others => letters.push_str(others),
        }
    }
    composed(&letters)
}

/// The words of `text`, folded, one space between two. A mark belongs to the word of the letter before it.
pub(crate) fn words(text: &str) -> String {
    let folded = folded(text);
    let words = folded.split(|c: char| !c.is_alphanumeric() && !is_combining_mark(c)).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// Where `name` stands among others: by its folded letters, and among equal ones by its accents. Compared byte by byte, which
/// is code point by code point.
pub(crate) fn place(name: &str) -> String {
    let letters = folded(name);
    let accented: String = name.nfc().flat_map(cased).nfc().collect();
    let accents = if accented == letters { "" } else { first_bytes(&accented) };
    let between = Some(BETWEEN).filter(|_| !accents.is_empty());
    first_bytes(&letters).chars().chain(between).chain(accents.chars()).collect()
}

/// `text` with each accent in its letter (NFC): texts that are the same to readers are the same to a store.
pub(crate) fn composed(text: &str) -> String {
    text.nfc().collect()
}

/// Marks that are no part of a letter's own: accents of Latin, Greek and Cyrillic, vowel points of Hebrew and Arabic. Those of
/// other scripts are vowels, or make another letter (か and が), and stay.
fn is_left_out(c: char) -> bool {
    is_hidden(c)
        || matches!(c,
            '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}'
            | '\u{fe20}'..='\u{fe2f}' | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}' | '\u{5c2}' | '\u{5c4}' | '\u{5c5}'
            | '\u{5c7}' | '\u{640}' | '\u{64b}'..='\u{652}' | '\u{670}')
}

/// Small letters by way of capital ones, which makes one of those that differ only when small (σ and ς, i and ı, ß and ss).
fn cased(c: char) -> impl Iterator<Item = char> {
    c.to_uppercase().flat_map(char::to_lowercase)
}

/// Letters that Unicode does not take apart and readers do; empty for all others.
fn plain(c: char) -> &'static str {
    match c {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'þ' => "th",
        'ø' => "o",
        'ł' => "l",
        'đ' | 'ð' => "d",
        'ħ' => "h",
        'ŧ' => "t",
        'ŋ' => "n",
        'ĸ' => "k",
        _ => "",
    }
}

/// The characters of `text` that fit into [`MOST_BYTES`].
fn first_bytes(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_readers_take_for_the_same_folds_to_the_same() {
        for (texts, fold) in [
            (&["Côtes", "Co\u{302}tes", "COTES", "cotes", "Ｃｏｔｅｓ"][..], "cotes"),
            (&["Mañana", "Man\u{303}ana", "MANANA"], "manana"),
            (&["naïve", "nai\u{308}ve"], "naive"),
            (&["Åse", "A\u{30a}se", "\u{212b}se"], "ase"),
            (&["Łódź", "Ło\u{301}dz\u{301}", "Lodz", "ŁÓDŹ"], "lodz"),
            (&["Weiß", "Weiss", "WEISS", "WEIẞ"], "weiss"),
            (&["Ωμέγα", "Ωμε\u{301}γα", "ΩΜΕΓΑ", "ωμεγα"], "ωμεγα"),
            (&["ΟΔΟΣ", "οδός", "οδοσ"], "οδοσ"),
            (&["İstanbul", "istanbul", "ISTANBUL", "ıstanbul"], "istanbul"),
            (&["ﬁlm", "film", "FILM"], "film"),
            (&["Ёлка", "Е\u{308}лка", "елка"], "елка"),
            (&["smørrebrød", "SMORREBROD"], "smorrebrod"),
            (&["Æbler", "aebler"], "aebler"),
            (&["cœur", "COEUR"], "coeur"),
            (&["Þórður", "thordur"], "thordur"),
            (&["Đorđe", "DORDE"], "dorde"),
            (&["Ħamrun", "hamrun"], "hamrun"),
            (&["Ŧeŋkĸe", "tenkke"], "tenkke"),
            (&["co\u{ad}op\u{200b}", "coop"], "coop"),
            (&["がぎぐ", "か\u{3099}き\u{3099}く\u{3099}"], "がぎぐ"),
            (&["ガ", "ｶﾞ"], "ガ"),
            (&["한국", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"], "한국"),
            (&["شَمْس", "شمس"], "شمس"),
        ] {
            for text in texts {
                assert_eq!(folded(text), fold, "{text}");
                assert_eq!(folded(fold), fold, "folding again changes nothing");
            }
        }
        assert_ne!(folded("か"), folded("が"), "another letter, not an accent");
        assert_ne!(folded("की"), folded("क"), "a vowel, not an accent");
    }

    #[test]
    fn words_are_cut_between_letters_only() {
        for (text, words_of) in [
            ("Walnut desk, oiled", "walnut desk oiled"),
            ("Co\u{302}tes-du-Rhône", "cotes du rhone"),
            ("हिन्दी किताब", "हिन्दी किताब"),
            ("men's 2XL", "men s 2xl"),
            ("\"';--", ""),
            ("\u{301}", ""),
        ] {
            assert_eq!(words(text), words_of, "{text}");
        }
    }

    #[test]
    fn names_stand_with_their_base_letters_and_accents_come_after() {
        let sorted = ["abc", "Äbc", "ábd", "cote", "coté", "côte", "cotes", "Zebra", "Żubr"];
        let mut names = sorted;
        names.reverse();
        names.sort_by_key(|name| place(name));
        assert_eq!(names, sorted);
        assert_eq!(place("Apple"), place("apple"));
        assert_eq!(place("e\u{301}"), place("é"));
    }

    #[test]
    fn a_place_fits_an_index() {
        for c in ["ﷺ", "ß", "🪑", "x"] {
            assert!(place(&c.repeat(200)).len() <= 2 * MOST_BYTES + 1, "{c}");
        }
    }
}
