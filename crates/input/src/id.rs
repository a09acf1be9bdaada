//! Ids have one spelling each, or caches, limits and logs would take two spellings for two things.

use shop_fault::FieldError;
use uuid::Uuid;

/// What names one thing in a path, a query or a body.
pub trait Id: Sized {
    /// What its text must be, for people: goes on from "must be".
    const FORM: &'static str;

    /// The id that `text` spells; none when it is no id, or another spelling of one.
    fn read(text: &str) -> Option<Self>;
}

/// The id in `field`, or what is wrong with it.
pub fn read<T: Id>(field: &str, text: &str) -> Result<T, FieldError> {
    T::read(text).ok_or_else(|| FieldError::new(field, "invalid", format!("must be {}", T::FORM)))
}

/// Numbers that a store counted up from 1.
impl Id for i64 {
    const FORM: &'static str = "a whole number from 1, in digits, without a sign or leading zeros";

    fn read(text: &str) -> Option<Self> {
        let plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
        if plain { text.parse().ok() } else { None }
    }
}

/// The hyphenated form alone. Its letters may be of either case, as RFC 9562 (section 4) asks of who reads them.
impl Id for Uuid {
    const FORM: &'static str = "a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057";

    fn read(text: &str) -> Option<Self> {
        const HYPHENATED: usize = 36;
        if text.len() == HYPHENATED { Self::try_parse(text).ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_spelling() {
        assert_eq!(i64::read("1"), Some(1));
        assert_eq!(i64::read("9223372036854775807"), Some(i64::MAX));
        for text in
            ["", "0", "+1", "-1", "01", "1.0", "1e0", " 1", "1 ", "1_000", "0x1", "٣", "１", "9223372036854775808"]
        {
            assert_eq!(i64::read(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_uuid_is_hyphenated() {
        let id = Uuid::from_u128(0x0189_0a5d_ac96_774b_bcce_b302_099a_8057);
        assert_eq!(Uuid::read(&id.to_string()), Some(id));
        assert_eq!(Uuid::read(&id.to_string().to_uppercase()), Some(id), "either case is read");
        for text in
            [id.simple().to_string(), id.braced().to_string(), id.urn().to_string(), format!(" {id}"), "é".repeat(18)]
        {
            assert_eq!(Uuid::read(&text), None, "{text:?}");
        }
    }
}
