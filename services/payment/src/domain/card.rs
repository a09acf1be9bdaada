//! Finds payment card numbers in free text, so that none is ever taken in.

/// Card numbers have 13 to 19 digits (ISO/IEC 7812).
const LENGTHS: std::ops::RangeInclusive<usize> = 13..=19;

/// Whether `text` holds what looks like a card number: 13–19 digits, in one run or in groups parted by a blank or a
/// dash, that start with 2–6 (the digits of the card schemes; times in milliseconds start with 1) and pass the Luhn
/// check. A text that is a UUID as a whole is not looked into.
pub(crate) fn holds_card_number(text: &str) -> bool {
    if uuid::Uuid::try_parse(text).is_ok() {
        return false;
    }
    let groups = digit_groups(text);
    (0..groups.len()).any(|first| {
        let mut digits = String::new();
        let mut last_end = None;
        for (start, group) in &groups[first..] {
            let joined = last_end.is_none_or(|end| end + 1 == *start && is_separator(text.as_bytes()[end]));
            if !joined || digits.len() > *LENGTHS.end() {
                break;
            }
            digits.push_str(group);
            last_end = Some(start + group.len());
            if is_card_number(&digits) {
                return true;
            }
        }
        false
    })
}

/// The runs of ASCII digits in `text` with the byte each starts at.
fn digit_groups(text: &str) -> Vec<(usize, &str)> {
    let mut groups = Vec::new();
    let mut rest = 0;
    while let Some(offset) = text[rest..].find(|c: char| c.is_ascii_digit()) {
        let start = rest + offset;
        let length = text[start..].bytes().take_while(u8::is_ascii_digit).count();
        groups.push((start, &text[start..start + length]));
        rest = start + length;
    }
    groups
}

const fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'-')
}

fn is_card_number(digits: &str) -> bool {
    LENGTHS.contains(&digits.len()) && matches!(digits.as_bytes().first(), Some(b'2'..=b'6')) && luhn(digits)
}

/// The check digit of ISO/IEC 7812-1, annex B.
fn luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .map(|byte| u32::from(byte - b'0'))
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => digit,
            (_, double) if double > 9 => double - 9,
            (_, double) => double,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_numbers_are_found_however_they_are_written() {
        for text in [
            "4242424242424242",
            "4242 4242 4242 4242",
            "4242-4242-4242-4242",
            "pan=5555555555554444;",
            "378282246310005",
            "x4111111111111111y",
            "4111111111111111 12/29",
            "12 4111 1111 1111 1111",
            "ünï 6011111111111117 cödé",
        ] {
            assert!(holds_card_number(text), "{text}");
        }
    }

    #[test]
    fn other_numbers_are_left_alone() {
        for text in [
            "",
            "tok_approve",
            "4242424242424241",
            "1763808000123",
            "+49 30 123456",
            "0190f8a0-5a3e-7c11-9d5b-3f6a2c1e4d70",
            "42424242-4242-4242-4242-424242424242",
            "42424242424242424242424242",
            "order 12345",
        ] {
            assert!(!holds_card_number(text), "{text}");
        }
    }
}
