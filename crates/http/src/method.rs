//! Methods as metrics and spans name them: clients can make up any, and must not make up names there.

use http::Method;

/// Methods with a name of their own; the last one stands for all others.
pub const NAMES: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "OTHER"];

/// Its place among [`NAMES`].
#[inline]
pub fn index(method: &Method) -> usize {
    NAMES.iter().position(|known| *known == method.as_str()).unwrap_or(NAMES.len() - 1)
}

/// Its name in a span: made-up ones are `_OTHER`, as OpenTelemetry has it.
#[inline]
pub fn known(method: &Method) -> &'static str {
    match index(method) {
        other if other == NAMES.len() - 1 => "_OTHER",
        known => NAMES[known],
    }
}

/// The method in the name of a span, which has no place for made-up ones.
#[inline]
pub fn verb(method: &Method) -> &'static str {
    match known(method) {
        "_OTHER" => "HTTP",
        known => known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_up_method_has_no_name() {
        for (sent, label, span) in [
            ("GET", "GET", "GET"),
            ("OPTIONS", "OPTIONS", "OPTIONS"),
            ("BREW", "OTHER", "_OTHER"),
            ("OTHER", "OTHER", "_OTHER"),
        ] {
            let method = Method::from_bytes(sent.as_bytes()).expect("a token");
            assert_eq!((NAMES[index(&method)], known(&method)), (label, span));
        }
    }
}
