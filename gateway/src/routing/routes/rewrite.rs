//! How the path of a request becomes that of the service.

use http::HeaderValue;

use crate::settings::PathPattern;
use crate::settings::route::Segment;

/// How the path of a request becomes that of the service.
pub(crate) struct Rewrite {
    how: How,
    /// What is cut off in front, if the rest stays as it is.
    prefix: Option<HeaderValue>,
}

/// There are many, and nearly all of them are plain.
enum How {
    /// Neither path has parameters: so many letters are cut off, and this stands there instead.
    Plain(usize, Box<str>),
    /// The route's own path, and what is made of it.
    Made(Box<(PathPattern, PathPattern)>),
}

impl Rewrite {
    /// Paths that fit `own` become `made`.
    pub(super) fn new(own: &PathPattern, made: &PathPattern) -> Self {
        let ((outer, is_plain), (inner, is_made_plain)) = (own.literal(), made.literal());
        let is_plain = is_plain && is_made_plain && own.has_more() == made.has_more();
        let prefix = outer.strip_suffix(&inner).filter(|prefix| is_plain && !prefix.is_empty());
        let prefix = prefix.and_then(|prefix| HeaderValue::from_str(prefix).ok());
        let how = if is_plain {
            How::Plain(outer.len(), inner.into())
        } else {
            How::Made(Box::new((own.clone(), made.clone())))
        };
        Self { how, prefix }
    }

    /// Writes what becomes of `path`, which fits.
    pub(super) fn write(&self, path: &str, out: &mut String) {
        let start = out.len();
        match &self.how {
            How::Plain(cut, inner) => {
                out.push_str(inner);
                out.push_str(path.get(*cut..).unwrap_or_default());
            }
            How::Made(of) => write_made(&of.0, &of.1, path, out),
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
                let value = found.iter().find_map(|(known, value)| (**known == **name).then_some(*value));
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
