//! `If-Match` and `If-None-Match` as they are sent: `*`, or a list of entity tags (RFC 9110, sections 8.8.3 and 13.1).

use crate::Versions;

/// What such a header names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags<'a> {
    /// `*`: whatever is there.
    Any,
    /// These, quotes included.
    List(Vec<Tag<'a>>),
}

/// One entity tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag<'a> {
    weak: bool,
    opaque: &'a [u8],
}

/// The header is neither `*` nor a list of entity tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be * or entity tags in quotes with commas between, such as \"v3\", \"v4\"")]
pub struct Malformed;

impl<'a> Tags<'a> {
    /// Reads the lines of one header; none when there is no line.
    pub fn read(lines: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Self>, Malformed> {
        let (mut star, mut list, mut sent) = (false, Vec::new(), false);
        for line in lines {
            sent = true;
            let mut rest = line.trim_ascii_start();
            while let Some((&first, tail)) = rest.split_first() {
                rest = match first {
                    // Empty elements are none (RFC 9110, section 5.6.1.2).
                    b',' => tail,
                    b'*' if !star => {
                        star = true;
                        end_of_element(tail)?
                    }
                    _ => {
                        let (tag, tail) = tag(rest)?;
                        list.push(tag);
                        end_of_element(tail)?
                    }
                }
                .trim_ascii_start();
            }
        }
        match (sent, star, list.is_empty()) {
            (false, ..) => Ok(None),
            (true, true, true) => Ok(Some(Self::Any)),
            (true, true, false) => Err(Malformed),
            (true, false, _) => Ok(Some(Self::List(list))),
        }
    }

    /// Whether `If-Match` names what has the entity tag `current`, if it has one: tags compare strongly, so a weak one
    /// matches nothing.
    pub fn match_strongly(&self, current: Option<&[u8]>) -> bool {
        self.any(current, |tag, current| !tag.weak && tag.opaque == current)
    }

    /// Whether `If-None-Match` names it: weak or not makes no difference.
    pub fn match_weakly(&self, current: Option<&[u8]>) -> bool {
        let opaque = current.map(|current| current.strip_prefix(b"W/").unwrap_or(current));
        self.any(opaque, |tag, current| tag.opaque == current)
    }

    fn any(&self, current: Option<&[u8]>, same: impl Fn(&Tag<'_>, &[u8]) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => current.is_some_and(|current| tags.iter().any(|tag| same(tag, current))),
        }
    }

    /// The versions in tags of the form `"v3"`, the strong ones only if `strongly`; others match nothing of ours.
    pub fn versions(&self, strongly: bool) -> Versions {
        match self {
            Self::Any => Versions::Any,
            Self::List(tags) => {
                Versions::Of(tags.iter().filter(|tag| !(strongly && tag.weak)).filter_map(version).collect())
            }
        }
    }
}

/// The version of a tag that is spelled as ours are.
fn version(tag: &Tag<'_>) -> Option<i64> {
    let digits = tag.opaque.strip_prefix(b"\"v")?.strip_suffix(b"\"")?;
    let version: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    i64::try_from(version).ok().filter(|_| version.to_string().as_bytes() == digits)
}

/// The tag at the start of `text`, and what follows it.
fn tag(text: &[u8]) -> Result<(Tag<'_>, &[u8]), Malformed> {
    let (weak, quoted) = text.strip_prefix(b"W/").map_or((false, text), |quoted| (true, quoted));
    let inside = quoted.strip_prefix(b"\"").ok_or(Malformed)?;
    let end = inside.iter().position(|byte| *byte == b'"').ok_or(Malformed)?;
    // etagc of RFC 9110: no space, no control character.
    if inside[..end].iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        return Err(Malformed);
    }
    let (opaque, tail) = quoted.split_at(end + 2);
    Ok((Tag { weak, opaque }, tail))
}

/// What follows an element: nothing, or a comma.
fn end_of_element(text: &[u8]) -> Result<&[u8], Malformed> {
    let text = text.trim_ascii_start();
    match text.split_first() {
        None => Ok(text),
        Some((b',', tail)) => Ok(tail),
        Some(_) => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(lines: &[&'a str]) -> Result<Option<Tags<'a>>, Malformed> {
        Tags::read(lines.iter().map(|line| line.as_bytes()))
    }

    fn versions(lines: &[&str], strongly: bool) -> Vec<i64> {
        match read(lines).expect("is well-formed").expect("was sent").versions(strongly) {
            Versions::Of(versions) => versions,
            Versions::Any => panic!("any"),
        }
    }

    #[test]
    fn a_list_is_read_over_lines_and_empty_elements() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["*"]), Ok(Some(Tags::Any)));
        assert_eq!(read(&[" * , "]), Ok(Some(Tags::Any)));
        assert_eq!(versions(&["\"v1\",W/\"v2\" ,, \"v3\"", "\"v4\""], true), [1, 3, 4]);
        assert_eq!(versions(&["\"v1\", W/\"v2\""], false), [1, 2]);
        assert_eq!(versions(&["", " , "], true), [] as [i64; 0]);
    }

    #[test]
    fn a_tag_that_is_not_spelled_as_ours_names_no_version() {
        for tag in
            ["\"\"", "\"v\"", "\"v+1\"", "\"v01\"", "\"v-1\"", "\"x\"", "\"a,b\"", "\"v99999999999999999999\"", "\"é\""]
        {
            assert_eq!(versions(&[tag], false), [] as [i64; 0], "{tag}");
        }
    }

    #[test]
    fn what_is_no_list_of_tags_is_malformed() {
        for line in [
            "v7",
            "\"v7",
            "v7\"",
            "w/\"v7\"",
            "W/v7",
            "\"a b\"",
            "\"v1\" \"v2\"",
            "*, \"v1\"",
            "\"v1\", *",
            "**",
            "*, *",
            "\"a\\\"b\"",
        ] {
            assert_eq!(read(&[line]), Err(Malformed), "{line}");
        }
        assert_eq!(read(&["*", "\"v1\""]), Err(Malformed), "over two lines");
    }

    #[test]
    fn comparison_is_strong_for_if_match_and_weak_for_if_none_match() {
        let tags = read(&["W/\"a\", \"b\""]).expect("is well-formed").expect("was sent");
        for (current, strongly, weakly) in
            [("\"a\"", false, true), ("\"b\"", true, true), ("W/\"b\"", false, true), ("\"c\"", false, false)]
        {
            let current = Some(current.as_bytes());
            assert_eq!((tags.match_strongly(current), tags.match_weakly(current)), (strongly, weakly), "{current:?}");
        }
        assert!(!tags.match_strongly(None) && !tags.match_weakly(None), "what has no tag is not named");
        assert!(Tags::Any.match_strongly(None) && Tags::Any.match_weakly(None), "a star names whatever is there");
    }
}
