//! A query string, read strictly: its pairs, whose bytes must be text, or a typed struct of them.

mod typed;

use std::borrow::Cow;

use percent_encoding::percent_decode;

pub use typed::parse;

/// A parameter whose name or value is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not UTF-8")]
pub struct NotUtf8 {
    /// Its name, with a mark in place of what cannot be read.
    pub parameter: String,
}

/// Names and values in their order, as forms write them (`+` is a space). Other readers put a mark in place of what is
/// no text and then look for that; here it is an error.
pub fn pairs(query: &str) -> impl Iterator<Item = Result<(Cow<'_, str>, Cow<'_, str>), NotUtf8>> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (text(name), text(value)) {
            (Ok(name), Ok(value)) => Ok((name, value)),
            (Ok(name), Err(_)) => Err(NotUtf8 { parameter: name.into_owned() }),
            (Err(bytes), _) => Err(NotUtf8 { parameter: String::from_utf8_lossy(&bytes).into_owned() }),
        }
    })
}

/// The text, or its bytes when they are none.
fn text(raw: &str) -> Result<Cow<'_, str>, Vec<u8>> {
    if !raw.contains('+') {
        return match Cow::from(percent_decode(raw.as_bytes())) {
            Cow::Borrowed(_) => Ok(Cow::Borrowed(raw)),
            Cow::Owned(bytes) => {
                String::from_utf8(bytes).map(Cow::Owned).map_err(std::string::FromUtf8Error::into_bytes)
            }
        };
    }
    let spaced = raw.replace('+', " ");
    let bytes = percent_decode(spaced.as_bytes()).collect();
    String::from_utf8(bytes).map(Cow::Owned).map_err(std::string::FromUtf8Error::into_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_as_forms_write_them() {
        let read: Vec<_> = pairs("a=1&&b=x+y%2B%21&c&=d&e=f=g&h=%zz%")
            .map(|pair| pair.map(|(name, value)| format!("{name}→{value}")).expect("is text"))
            .collect();
        assert_eq!(read, ["a→1", "b→x y+!", "c→", "→d", "e→f=g", "h→%zz%"]);
    }

    #[test]
    fn what_is_no_text_is_refused_by_name() {
        for (query, parameter) in [("a=1&q=%ff", "q"), ("q=caf%E9+x", "q"), ("%fe=1", "\u{fffd}"), ("q=%ED%A0%80", "q")]
        {
            let refused = pairs(query).find_map(Result::err);
            assert_eq!(refused, Some(NotUtf8 { parameter: parameter.to_owned() }), "{query}");
        }
    }
}
