//! What a user wants to be told, and where.

use std::collections::BTreeSet;

use shop_input::Fields;
use time::OffsetDateTime;

use super::{Error, EventType, Expected, Result};

/// The longest address SMTP carries (RFC 5321, section 4.5.3.1.3, without its brackets).
pub(crate) const MAX_EMAIL: usize = 254;
/// The longest part before the `@` (RFC 5321, section 4.5.3.1.1).
const MAX_LOCAL: usize = 64;

/// Most names of types taken at once: far more than there are.
pub(crate) const MAX_EVENT_TYPES: usize = 100;
/// The same as a pattern, but for the length of the part before the `@`.
pub(crate) const EMAIL: &str = "^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}){0,2}\
    @([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\\.)+[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$";

/// What a user wants to be told by e-mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Preferences {
    /// Whose.
    pub(crate) user_id: String,
    /// Where e-mails go; none are sent without one.
    pub(crate) email: Option<String>,
    /// Whether e-mails are wanted at all.
    pub(crate) email_enabled: bool,
    /// About what.
    pub(crate) event_types: BTreeSet<EventType>,
    /// Counts the changes; 0 while the user has said nothing.
    pub(crate) version: i64,
    /// When they were last changed; none while the user has said nothing.
    pub(crate) updated_at: Option<OffsetDateTime>,
}

/// Preferences as they came in, not looked at yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct PreferencesDraft {
    pub(crate) email: Option<String>,
    pub(crate) email_enabled: Option<bool>,
    pub(crate) event_types: Option<Vec<String>>,
}

impl Preferences {
    /// Those of a user who has said nothing: everything, to the user id when that is an address.
    pub(crate) fn unsaid(user_id: &str) -> Self {
        Self {
            user_id: user_id.to_owned(),
            email: Some(user_id.to_owned()).filter(|id| is_email(id)),
            email_enabled: true,
            event_types: EventType::ALL.into(),
            version: 0,
            updated_at: None,
        }
    }

    /// Puts `draft` in place of what was, if that is in the state that is expected.
    pub(crate) fn replace(&mut self, draft: &PreferencesDraft, expected: &Expected, now: OffsetDateTime) -> Result<()> {
        let mut wrong = Fields::default();
        let email = draft.email.as_deref().map(str::trim);
        if email.is_some_and(|email| !is_email(email)) {
            wrong.refuse("email", "invalid", "must be an e-mail address such as ada@shop.example, or null");
        }
        let event_types = event_types(draft.event_types.as_deref(), &mut wrong);
        if !wrong.is_empty() {
            return Err(Error::Invalid(wrong));
        }
        // What is wrong is wrong whatever the caller expects (RFC 9110, section 13.2.1).
        if !expected.admits(self.version) {
            return Err(Error::VersionMismatch);
        }
        self.email = email.map(str::to_owned);
        self.email_enabled = draft.email_enabled.unwrap_or(true);
        self.event_types = event_types;
        self.version += 1;
        self.updated_at = Some(now);
        Ok(())
    }
}

/// The types of these names; all of them when nothing was said.
pub(super) fn event_types(names: Option<&[String]>, wrong: &mut Fields) -> BTreeSet<EventType> {
    let Some(names) = names else { return EventType::ALL.into() };
    if names.len() > MAX_EVENT_TYPES {
        let message = format!("must name at most {MAX_EVENT_TYPES}, has {}", names.len());
        wrong.refuse("event_types", "too_many", message);
        return BTreeSet::new();
    }
    let types: Option<BTreeSet<_>> = names.iter().map(|name| EventType::named(name.trim())).collect();
    types.unwrap_or_else(|| {
        wrong.refuse(
            "event_types",
            "unknown",
            format!("must be of {}", EventType::ALL.map(EventType::as_str).join(", ")),
        );
        BTreeSet::new()
    })
}

/// Whether `text` is an address that mail servers take without quoting (the dot-atom form of RFC 5321, section 4.1.2),
/// at a domain of at least two labels.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= MAX_EMAIL
        && local.len() <= MAX_LOCAL
        && local.split('.').all(|part| !part.is_empty() && part.bytes().all(atom))
        && domain.contains('.')
        && domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    #[test]
    fn addresses_are_told_from_other_texts() {
        for text in ["ada@shop.example", "a.b+c@x-y.co", "o'neil@a.b.c"] {
            assert!(is_email(text), "{text}");
        }
        let long = format!("{}@shop.example", "a".repeat(65));
        for text in [
            "",
            "ada",
            "@shop.example",
            "ada@",
            "ada@shop",
            "a b@shop.example",
            "a@b@c.example",
            "ada@-a.example",
            "ada@shop..example",
            ".a@shop.example",
            "ada@shop.example\r\nBcc: eve@x.example",
            "<ada@shop.example>",
            &long,
        ] {
            // The last `@` counts, and what is before it must be an atom.
            assert!(!is_email(text), "{text:?}");
        }
    }

    #[test]
    fn who_has_said_nothing_is_told_everything_at_an_id_that_is_an_address() {
        assert_eq!(Preferences::unsaid("ada").email, None);
        let ada = Preferences::unsaid("ada@shop.example");
        assert_eq!(
            (ada.email.as_deref(), ada.email_enabled, ada.event_types.len()),
            (Some("ada@shop.example"), true, EventType::ALL.len())
        );
    }

    #[test]
    fn a_change_counts_up_and_minds_the_version_seen() {
        let mut ada = Preferences::unsaid("ada");
        let draft = PreferencesDraft {
            email: Some(" ada@shop.example ".to_owned()),
            email_enabled: Some(false),
            event_types: Some(vec!["payment.refunded".to_owned()]),
        };
        ada.replace(&draft, &Some(0).into(), NOW).expect("is taken");
        assert_eq!((ada.version, ada.email.as_deref(), ada.email_enabled), (1, Some("ada@shop.example"), false));
        assert_eq!(ada.event_types, [EventType::Refunded].into());
        assert!(matches!(ada.replace(&draft, &Some(0).into(), NOW), Err(Error::VersionMismatch)));
    }

    #[test]
    fn a_blank_address_is_not_one_that_was_left_out() {
        let mut ada = Preferences::unsaid("ada");
        for blank in ["", " ", "\u{3000}"] {
            let draft = PreferencesDraft { email: Some(blank.to_owned()), ..PreferencesDraft::default() };
            assert!(matches!(ada.replace(&draft, &Expected::default(), NOW), Err(Error::Invalid(_))), "{blank:?}");
        }
        ada.replace(&PreferencesDraft::default(), &Expected::default(), NOW).expect("none is fine");
        assert_eq!(ada.email, None);
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        let draft = PreferencesDraft {
            email: Some("ada".to_owned()),
            email_enabled: None,
            event_types: Some(vec!["payment.lost".to_owned()]),
        };
        let mut ada = Preferences::unsaid("ada");
        let Err(Error::Invalid(fields)) = ada.replace(&draft, &Expected::default(), NOW) else { panic!("is refused") };
        assert_eq!(
            fields.errors().iter().map(|field| field.field.as_str()).collect::<Vec<_>>(),
            ["email", "event_types"]
        );
        assert_eq!(ada, Preferences::unsaid("ada"), "nothing was changed");
    }
}
