//! URLs as machines write them.

use url::{Host, Url};

/// Whether `text`, which was read as `url`, is written as RFC 3986 has it: in ASCII, after `//` a name of DNS or an
/// address. (Browsers, and the parser that reads as they do, guess at much more.)
pub fn is_uri(text: &str, url: &Url) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let named = match url.host() {
        Some(Host::Domain(name)) => name.strip_suffix('.').unwrap_or(name).split('.').all(label),
        host => host.is_some(),
    };
    let escaped = |after: &str| after.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    named
        && text.bytes().all(plain)
        && text.split('%').skip(1).all(escaped)
        && text.get(url.scheme().len()..).is_some_and(|rest| rest.starts_with("://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_browsers_read_is_no_uri() {
        for (text, is) in [
            ("https://shop.example/a.png?x=1#y", true),
            ("https://shop.example./%C3%A9", true),
            ("http://[::1]:8080", true),
            ("https:shop.example", false),
            ("https:\\\\shop.example", false),
            ("https://sh\u{f6}p.example", false),
            ("https://a..b", false),
            ("https://a_b.example", false),
            ("https://-a.example", false),
            ("https://shop.example/\u{e9}", false),
            ("https://shop.example/%", false),
            ("https://shop.example/%2", false),
            ("https://shop.example/a b", false),
        ] {
            assert_eq!(Url::parse(text).is_ok_and(|url| is_uri(text, &url)), is, "{text}");
        }
    }
}
