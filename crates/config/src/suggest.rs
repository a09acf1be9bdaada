//! "Did you mean …?"

/// The candidate nearest to `name`, if any is near enough to be what was meant.
pub(crate) fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // A third of the letters may be wrong, but two always: `prot` for `port` is two in four.
    within((name.chars().count() / 3).max(2), name, candidates)
}

/// The candidate that `name` is, but for a slip of the finger: narrower than [`nearest`], for names that may be other people's.
pub(crate) fn slip<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    within((name.chars().count() / 4).max(1), name, candidates)
}

fn within<'c>(tolerance: usize, name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= tolerance && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The known key meant by the unknown key `section.name`: a sibling spelt alike, else the same name or a name spelt
/// alike in another section.
pub(crate) fn key(section: &str, name: &str, siblings: &[&str], known: &[String]) -> Option<String> {
    if let Some(sibling) = nearest(name, siblings.iter().copied()) {
        return Some(if section.is_empty() { sibling.to_owned() } else { format!("{section}.{sibling}") });
    }
    let ending = format!(".{name}");
    let full = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
    known
        .iter()
        .find(|key| key.ends_with(&ending))
        .or_else(|| {
            let near = nearest(&full, known.iter().map(String::as_str))?;
            known.iter().find(|key| *key == near)
        })
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_finds_the_one_that_was_meant() {
        let known: Vec<String> = ["database.pool.max", "http.port", "log.level"].map(str::to_owned).into();
        assert_eq!(key("http", "prot", &["port", "host"], &known).as_deref(), Some("http.port"));
        assert_eq!(key("", "htp", &["http", "log"], &known).as_deref(), Some("http"));
        assert_eq!(key("database", "max", &["pool"], &known).as_deref(), Some("database.pool.max"));
        assert_eq!(key("http", "completely_else", &["port"], &known), None);
    }

    #[test]
    fn a_short_name_is_not_near_to_everything() {
        assert_eq!(nearest("ab", ["x", "yz"]), None);
        assert_eq!(nearest("", ["port"]), None);
    }
}
