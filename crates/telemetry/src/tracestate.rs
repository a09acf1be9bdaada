//! `tracestate` (W3C Trace Context): what other tracing systems carry beside a trace. We say nothing there, and hand it on.

use std::sync::Arc;

use crate::TraceParent;

/// The most that is handed on, in characters: the recommendation asks everybody for as many, and none for more.
const LONGEST: usize = 512;

/// The most entries, by the recommendation.
const ENTRIES: usize = 32;

/// The longest key and the longest value, by the recommendation.
const LONGEST_PART: usize = 256;

/// A `tracestate` header as it came. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceState(Arc<str>);

impl TraceState {
    /// What is to be handed on of the `tracestate` lines that came beside this `traceparent`: all of them, as one line. None
    /// when the trace is a new one, because the `traceparent` is missing or malformed, and when a line is malformed or all are
    /// too long. Without a line this costs nothing.
    pub fn beside<'a>(traceparent: Option<&str>, lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut lines = lines.into_iter();
        let mut text = std::str::from_utf8(lines.next()?).ok()?.trim_ascii().to_owned();
        traceparent?.parse::<TraceParent>().ok()?;
        for line in lines {
            text.push(',');
            text.push_str(std::str::from_utf8(line).ok()?.trim_ascii());
            if text.len() > LONGEST {
                return None;
            }
        }
        is_valid(&text).then(|| Self(text.into()))
    }

    /// The header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A list of entries, of which some may be empty, but not all.
fn is_valid(text: &str) -> bool {
    if text.len() > LONGEST {
        return false;
    }
    let entries = || text.split(',').map(str::trim_ascii).filter(|entry| !entry.is_empty());
    (1..=ENTRIES).contains(&entries().count()) && entries().all(is_entry)
}

fn is_entry(entry: &str) -> bool {
    let Some((key, value)) = entry.split_once('=') else { return false };
    let is_begin = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_key = key.bytes().all(|byte| is_begin(byte) || b"_-*/@".contains(&byte));
    let is_value = value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=');
    let fits = |part: &str| (1..=LONGEST_PART).contains(&part.len());
    is_key && is_value && key.bytes().next().is_some_and(is_begin) && fits(key) && fits(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PARENT: Option<&str> = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");

    fn of(parent: Option<&str>, lines: &[&str]) -> Option<String> {
        let state = TraceState::beside(parent, lines.iter().map(|line| line.as_bytes()));
        state.map(|state| state.as_str().to_owned())
    }

    #[test]
    fn what_others_say_is_handed_on_as_it_came() {
        for state in
            ["congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61", "a=1,\tb=2 , c=3", "a=1,,b=2,", "0ab@x-y_/*=!~ ."]
        {
            assert_eq!(of(PARENT, &[state]).as_deref(), Some(state));
        }
        assert_eq!(of(PARENT, &["a=1", " b=2,c=3 ", ""]).as_deref(), Some("a=1,b=2,c=3,"), "lines are one list");
        let longest = format!("a={},b={}", "x".repeat(256), "y".repeat(512 - 261));
        assert_eq!((longest.len(), of(PARENT, &[&longest])), (512, Some(longest.clone())));
        let most = vec!["k=v"; 32].join(",");
        assert_eq!(of(PARENT, &[&most]), Some(most));
    }

    #[test]
    fn what_is_malformed_or_too_long_goes_no_further() {
        let long = format!("a={},b={}", "x".repeat(256), "y".repeat(512 - 260));
        let (key, value) = (format!("{}=1", "k".repeat(257)), format!("k={}", "v".repeat(257)));
        let many = vec!["k=v"; 33].join(",");
        for state in [
            "", " ", ",", "a", "=1", "a=", "A=1", "-a=1", "a b=1", "a=1=2", "a=é", "a=\u{7f}", "a=1,b", &long, &key,
            &value, &many,
        ] {
            assert_eq!(of(PARENT, &[state]), None, "{state:?}");
        }
        assert_eq!(of(PARENT, &[&"a=1,".repeat(64), &"b=1,".repeat(65)]), None, "too long in sum");
        assert_eq!(TraceState::beside(PARENT, [&b"a=\xff"[..]]), None);
    }

    #[test]
    fn a_new_trace_has_none() {
        assert_eq!(of(None, &["a=1"]), None);
        assert_eq!(of(Some("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"), &["a=1"]), None);
        assert_eq!(of(PARENT, &[]), None);
    }

    proptest! {
        #[test]
        fn whatever_is_handed_on_is_accepted_by_the_next(lines in prop::collection::vec("[a-z0-9=, \t@é]{0,300}", 0..4)) {
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            if let Some(state) = of(PARENT, &lines) {
                prop_assert!(state.len() <= LONGEST);
                prop_assert_eq!(of(PARENT, &[&state]), Some(state));
            }
        }
    }
}
