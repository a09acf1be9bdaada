//! How the path of a request becomes that of the service.

use http::HeaderValue;

use crate::settings::PathPattern;
use crate::settings::route::Segment;

/// How the path of a request becomes that of the service.
pub(crate) struct Rewrite {
    own: PathPattern,
    made: PathPattern,
    /// Where neither has parameters: the letters that are cut off, and what stands there instead.
    plain: Option<(usize, String)>,
    /// What is cut off in front, if the rest stays as it is.
    prefix: Option<HeaderValue>,
}

impl Rewrite {
    /// Paths that fit `own` become `made`.
    pub(super) fn new(own: &PathPattern, made: &PathPattern) -> Self {
        let ((outer, is_plain), (inner, is_made_plain)) = (own.literal(), made.literal());
        let is_plain = is_plain && is_made_plain && own.has_more() == made.has_more();
        let prefix = outer.strip_suffix(&inner).filter(|prefix| is_plain && !prefix.is_empty());
        Self {
            prefix: prefix.and_then(|prefix| HeaderValue::from_str(prefix).ok()),
            plain: is_plain.then(|| (outer.len(), inner)),
            own: own.clone(),
            made: made.clone(),
        }
    }

    /// Writes what becomes of `path`, which fits.
    pub(super) fn write(&self, path: &str, out: &mut String) {
        let start = out.len();
        if let Some((cut, inner)) = &self.plain {
            out.push_str(inner);
            out.push_str(path.get(*cut..).unwrap_or_default());
        } else {
            write_made(&self.own, &self.made, path, out);
        }
        if out.len() == start {
            out.push('/');
        }
    }

    /// What is cut off in front of the path, if the rest stays as it is.
    pub(super) const fn prefix(&self) -> Option<&HeaderValue> {
        self.prefix.as_ref()
    }
}

/// Writes `made` with what `path`, which fits `own`, has in place of its parameters and its star.
pub(crate) fn write_made(own: &PathPattern, made: &PathPattern, path: &str, out: &mut String) {
    let (found, rest) = own.captures(path);
    for segment in made.segments() {
        out.push('/');
        match segment {
            Segment::Literal(text) => out.push_str(text),
            Segment::Any(name) => {
                let value = found.iter().find_map(|(known, value)| (known == name).then_some(*value));
                out.push_str(value.unwrap_or_default());
            }
        }
    }
    if made.has_more() {
        out.push_str(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_the_services() {
        for (own, made, path, expected, prefix) in [
            ("/api/products/*", "/products/*", "/api/products", "/products", Some("/api")),
            ("/api/products/*", "/products/*", "/api/products/7/", "/products/7/", Some("/api")),
            ("/search/*", "/*", "/search", "/", Some("/search")),
            ("/search/*", "/*", "/search/a", "/a", Some("/search")),
            ("/search/*", "/v2/*", "/search/a", "/v2/a", None),
            ("/*", "/v2/*", "/", "/v2/", None),
            ("/*", "/v2/*", "/a", "/v2/a", None),
            ("/old", "/new", "/old", "/new", None),
            ("/a/old", "/old", "/a/old", "/old", Some("/a")),
            ("/old/*", "/new", "/old/a/b", "/new", None),
            ("/users/{id}/orders", "/orders/{id}", "/users/7/orders", "/orders/7", None),
            ("/{a}/{b}/*", "/{b}/x/{a}/*", "/1/2/3/4", "/2/x/1/3/4", None),
        ] {
            let rewrite = Rewrite::new(&own.parse().expect("a path"), &made.parse().expect("a path"));
            let mut out = String::new();
            rewrite.write(path, &mut out);
            assert_eq!(out, expected, "{own} {made} {path}");
            assert_eq!(rewrite.prefix().and_then(|prefix| prefix.to_str().ok()), prefix, "{own} {made}");
        }
    }
}
