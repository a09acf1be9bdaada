//! What an answer says about the backend that gave it. Breakers, balancing and retries all ask here, so that what one caller
//! asks for is never held against a backend that others need.
//!
//! Backends of ours say it themselves, by [`Scope::HEADER`]. Without that word the status decides, as with Envoy's detection of
//! gateway failures: a backend that answers 500 or `INTERNAL` is there, and has met a defect in what it was asked.

use http::{HeaderMap, HeaderName, StatusCode};
pub(crate) use shop_balance::Outcome;
use shop_fault::Scope;

/// Read here and taken off every answer: it is between services and gateway.
pub(crate) const FAULT_SCOPE: HeaderName = HeaderName::from_static(Scope::HEADER);

const DEADLINE_EXCEEDED: u8 = 4;
const UNAVAILABLE: u8 = 14;

/// Of an answer over HTTP.
pub(crate) fn of_http(status: StatusCode, headers: &HeaderMap) -> Outcome {
    if !status.is_server_error() {
        return Outcome::Well;
    }
    scope(headers).unwrap_or(match status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => Outcome::Ill,
        _ => Outcome::Well,
    })
}

/// Of a gRPC call, by its head or its trailers. Without a status it broke off. `is_timed`: the caller set a deadline.
pub(crate) fn of_grpc(status: Option<u8>, headers: &HeaderMap, is_timed: bool) -> Outcome {
    match status {
        None => Outcome::Ill,
        Some(0) => Outcome::Well,
        Some(1) => Outcome::Silent,
        Some(status) => scope(headers).unwrap_or(match status {
            // The caller's, or the backend's own limit: only the backend knows.
            DEADLINE_EXCEEDED if is_timed => Outcome::Silent,
            UNAVAILABLE | DEADLINE_EXCEEDED => Outcome::Ill,
            _ => Outcome::Well,
        }),
    }
}

/// The backend's own word.
fn scope(headers: &HeaderMap) -> Option<Outcome> {
    match Scope::parse(headers.get(FAULT_SCOPE)?.as_bytes())? {
        Scope::Request => Some(Outcome::Well),
        Scope::Service => Some(Outcome::Ill),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn said(scope: Option<&'static str>) -> HeaderMap {
        scope.map(|scope| (FAULT_SCOPE, HeaderValue::from_static(scope))).into_iter().collect()
    }

    fn http(status: u16, scope: Option<&'static str>) -> Outcome {
        of_http(StatusCode::from_u16(status).expect("a status"), &said(scope))
    }

    #[test]
    fn a_backend_is_ill_when_it_says_so_or_does_not_answer_for_itself() {
        for (status, silent, request, service) in [
            (200, Outcome::Well, Outcome::Well, Outcome::Well),
            (404, Outcome::Well, Outcome::Well, Outcome::Well),
            (429, Outcome::Well, Outcome::Well, Outcome::Well),
            (500, Outcome::Well, Outcome::Well, Outcome::Ill),
            (501, Outcome::Well, Outcome::Well, Outcome::Ill),
            (502, Outcome::Ill, Outcome::Well, Outcome::Ill),
            (503, Outcome::Ill, Outcome::Well, Outcome::Ill),
            (504, Outcome::Ill, Outcome::Well, Outcome::Ill),
            (505, Outcome::Well, Outcome::Well, Outcome::Ill),
            (507, Outcome::Well, Outcome::Well, Outcome::Ill),
            (508, Outcome::Well, Outcome::Well, Outcome::Ill),
            (511, Outcome::Well, Outcome::Well, Outcome::Ill),
            (599, Outcome::Well, Outcome::Well, Outcome::Ill),
        ] {
            assert_eq!(http(status, None), silent, "{status}");
            assert_eq!(http(status, Some("request")), request, "{status} of a request");
            assert_eq!(http(status, Some("service")), service, "{status} of the service");
            assert_eq!(http(status, Some("nonsense")), silent, "{status} with another word");
        }
    }

    #[test]
    fn a_grpc_backend_likewise() {
        let of = |status, scope, is_timed| of_grpc(Some(status), &said(scope), is_timed);
        for status in 2..=16 {
            let expected = if matches!(status, 4 | 14) { Outcome::Ill } else { Outcome::Well };
            assert_eq!(of(status, None, false), expected, "{}", shop_fault::grpc_word(status.into()));
            assert_eq!(of(status, Some("request"), false), Outcome::Well, "{}", shop_fault::grpc_word(status.into()));
            assert_eq!(of(status, Some("service"), true), Outcome::Ill, "{}", shop_fault::grpc_word(status.into()));
        }
        assert_eq!(of(4, None, true), Outcome::Silent, "a caller in a hurry");
        assert_eq!(of(0, Some("service"), false), Outcome::Well, "it is well");
        assert_eq!(of(1, Some("service"), false), Outcome::Silent, "the caller left");
        assert_eq!(of_grpc(None, &HeaderMap::new(), false), Outcome::Ill);
    }

    /// The tables of the documentation are the ones here.
    #[test]
    fn the_documentation_says_the_same() {
        let text = include_str!("../../../docs/gateway.md");
        let (_, section) = text.split_once("\n## What an answer says of its backend\n").expect("the section");
        let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
        let cells =
            |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        let rows: Vec<_> = section.lines().filter(|line| line.starts_with("| ")).map(cells).collect();
        let words = |verdict: &str| match verdict {
            "well" => Outcome::Well,
            "ill" => Outcome::Ill,
            "nothing" => Outcome::Silent,
            other => panic!("{other}"),
        };
        let numbers = |cell: &str| -> Vec<u16> {
            cell.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
        };
        let (mut listed_http, mut listed_grpc) = (Vec::new(), Vec::new());
        for row in &rows {
            for status in numbers(&row[0]).into_iter().filter(|_| row[0].starts_with("HTTP")) {
                assert_eq!(http(status, None), words(&row[1]), "{status}");
                listed_http.push(status);
            }
            for status in numbers(&row[0]).into_iter().filter(|_| row[0].starts_with("gRPC")) {
                let status = u8::try_from(status).expect("a code");
                let is_timed = row[0].contains("with a deadline");
                assert_eq!(of_grpc(Some(status), &HeaderMap::new(), is_timed), words(&row[1]), "{status}");
                listed_grpc.push(status);
            }
        }
        assert_eq!(listed_http, [502, 503, 504, 500, 501, 505, 507, 508, 511]);
        listed_grpc.sort_unstable();
        listed_grpc.dedup();
        assert_eq!(listed_grpc, (0..=16).collect::<Vec<_>>());
        let codes: Vec<_> = rows.iter().filter(|row| row[0].starts_with('`') && row.len() == 2).collect();
        let named: Vec<_> = codes.iter().map(|row| row[0].trim_matches('`')).collect();
        assert_eq!(named, Scope::CODES_OF_THE_SERVICE);
    }
}
