//! The id of a request: the client's when it is usable, else a new one.

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use shop_clock::{Clock, SystemClock};
use shop_http::request_id;
use shop_http1::fields::Fields;
use shop_telemetry::TraceText;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// The client's id if it is 1 to 128 visible ASCII characters and sent once, else a new `UUIDv7`; and `trace` beside it, since
/// copies of both travel together: they share one allocation.
pub(crate) fn beside(trace: &TraceText, headers: &impl Fields) -> (HeaderValue, HeaderValue) {
    let name = request_id::HEADER;
    let sent = request_id::sent(headers.values(&name));
    let length = sent.map_or(Hyphenated::LENGTH, <[u8]>::len);
    let trace = trace.as_str();
    let mut text = BytesMut::with_capacity(trace.len() + length);
    text.extend_from_slice(trace.as_bytes());
    let trace = value(text.split().freeze());
    // The client's is copied, or a call that goes on for long would hold the memory that its head was read into.
    if let Some(sent) = sent {
        text.extend_from_slice(sent);
    } else {
        let mut id = Uuid::encode_buffer();
        text.extend_from_slice(SystemClock.new_id().hyphenated().encode_lower(&mut id).as_bytes());
    }
    let id = value(text.freeze());
    (id, trace)
}

fn value(text: Bytes) -> HeaderValue {
    let mut value = HeaderValue::from_maybe_shared(text).unwrap_or_else(|_| HeaderValue::from_static("-"));
    once(&mut value);
    value
}

/// Keeps a value that does not come again out of the tables of HPACK (RFC 7541, section 6.2.3), which are searched and filled in
/// vain by it.
pub(crate) fn once(value: &mut HeaderValue) {
    value.set_sensitive(true);
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn a_usable_id_is_kept_and_any_other_replaced() {
        let kept = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(request_id::HEADER, HeaderValue::from_str(value).expect("value"));
            }
            let trace = shop_telemetry::TraceParent::random().text();
            let (id, traceparent) = beside(&trace, &headers);
            assert_eq!(traceparent, trace.as_str());
            let is_kept = values.len() == 1 && id == values[0];
            assert!(is_kept || id.to_str().is_ok_and(|id| Uuid::parse_str(id).is_ok()), "{id:?}");
            is_kept
        };
        assert!(kept(&["a"]) && kept(&["A-1_~!"]) && kept(&[&"x".repeat(128)]));
        assert!(!kept(&[]) && !kept(&[""]) && !kept(&["a b"]) && !kept(&[&"x".repeat(129)]) && !kept(&["a", "a"]));
    }

    #[test]
    fn an_id_that_is_kept_holds_nothing_of_the_head_it_came_in() {
        let block = Bytes::from(b"an-id, and all that came with it".to_vec());
        let mut headers = HeaderMap::new();
        headers.insert(request_id::HEADER, HeaderValue::from_maybe_shared(block.slice(..5)).expect("a value"));
        let (id, _trace) = beside(&shop_telemetry::TraceParent::random().text(), &headers);
        drop(headers);
        assert_eq!(id, "an-id");
        assert!(block.try_into_mut().is_ok(), "nobody else has it");
    }
}
