//! What a body is made of, as its headers say.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use shop_fault::{Fault, Kind};

/// 415 when the body that comes with `headers` is not JSON without a content encoding.
pub fn check_json(headers: &HeaderMap) -> Result<(), Fault> {
    let refuse = |code, detail: String| Err(Fault::new(Kind::UnsupportedMedia, code, detail));
    if let Some(coding) = headers.get(CONTENT_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return refuse("unsupported_content_encoding", "send the body without a content encoding".to_owned());
    }
    let sent = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if is_json(sent) {
        return Ok(());
    }
    let detail = if sent.is_empty() { "no content type was sent" } else { "this content type is not read here" };
    refuse("unsupported_media_type", format!("{detail}; send application/json"))
}

fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';');
    let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    // RFC 8259: JSON between systems is UTF-8; a caller who says otherwise would be misread.
    let is_utf8 = parts.all(|parameter| match parameter.trim().to_ascii_lowercase().split_once('=') {
        Some(("charset", charset)) => matches!(charset.trim_matches('"'), "utf-8" | "utf8" | "us-ascii"),
        _ => true,
    });
    is_json && is_utf8
}
