//! What came of a call says about the backend that had it. Breakers, balancing, passive health and retries all ask [`judge`], so
//! that what one caller does or asks for is never held against a backend that others need.
//!
//! Backends of ours say it themselves, by [`Scope::HEADER`]. Without that word the status decides, as with Envoy's detection of
//! gateway failures: a backend that answers 500 or `INTERNAL` is there, and has met a defect in what it was asked.

use http::{HeaderName, StatusCode};
pub(crate) use shop_balance::Outcome;
use shop_fault::Scope;
use shop_http1::fields::Fields;

use crate::message::reason::Reason;

/// Read here and taken off every answer: it is between services and gateway.
pub(crate) const FAULT_SCOPE: HeaderName = HeaderName::from_static(Scope::HEADER);

const CANCELLED: u8 = 1;
const DEADLINE_EXCEEDED: u8 = 4;
const UNAVAILABLE: u8 = 14;

/// What came of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sign<'a> {
    /// The head of an answer over HTTP.
    Http(StatusCode, &'a dyn Fields),
    /// The status of a gRPC call, in the head or in the trailers; none when there was none at the end.
    Grpc(Option<u8>, &'a dyn Fields),
    /// The gateway gave it up.
    Failure(Reason),
}

/// Whether the backend had its chance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chance {
    /// The request's body, if it has one, was there whole: until then the backend waits, too.
    pub(crate) is_whole: bool,
    /// The time that was over was the gateway's to give, and the client used up little of it.
    pub(crate) is_time_ours: bool,
}

/// What `sign` says of the backend. Nobody else decides that.
pub(crate) fn judge(sign: Sign<'_>, chance: Chance) -> Outcome {
    let outcome = match sign {
        Sign::Http(status, headers) => of_http(status, headers),
        Sign::Grpc(status, headers) => of_grpc(status, headers, chance),
        // Nothing of the request was needed for that.
        Sign::Failure(Reason::ConnectFailed | Reason::UpstreamTlsFailed) => return Outcome::Ill,
        Sign::Failure(reason) => of_failure(reason, chance),
    };
    if outcome.is_ill() && !chance.is_whole { Outcome::Silent } else { outcome }
}

fn of_http(status: StatusCode, headers: &dyn Fields) -> Outcome {
    if !status.is_server_error() {
        return Outcome::Well;
    }
    scope(headers).unwrap_or(match status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => Outcome::Ill,
        _ => Outcome::Well,
    })
}

fn of_grpc(status: Option<u8>, headers: &dyn Fields, chance: Chance) -> Outcome {
    match status {
        None => Outcome::Ill,
        Some(0) => Outcome::Well,
        Some(CANCELLED) => Outcome::Silent,
        Some(status) => scope(headers).unwrap_or(match status {
            // The caller's, or the backend's own limit: only the backend knows.
            DEADLINE_EXCEEDED if !chance.is_time_ours => Outcome::Silent,
            UNAVAILABLE | DEADLINE_EXCEEDED => Outcome::Ill,
            _ => Outcome::Well,
        }),
    }
}

fn of_failure(reason: Reason, chance: Chance) -> Outcome {
    match reason {
        Reason::UpstreamReset | Reason::UpstreamInvalid => Outcome::Ill,
        Reason::UpstreamTimeout if chance.is_time_ours => Outcome::Ill,
        // The client's doing, or this machine's.
        _ => Outcome::Silent,
    }
}

/// The backend's own word.
fn scope(headers: &dyn Fields) -> Option<Outcome> {
    match Scope::parse(headers.value(&FAULT_SCOPE)?)? {
        Scope::Request => Some(Outcome::Well),
        Scope::Service => Some(Outcome::Ill),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn said(scope: Option<&'static str>) -> HeaderMap {
        scope.map(|scope| (FAULT_SCOPE, HeaderValue::from_static(scope))).into_iter().collect()
    }

    const FAIR: Chance = Chance { is_whole: true, is_time_ours: true };

    fn http(status: u16, scope: Option<&'static str>, chance: Chance) -> Outcome {
        judge(Sign::Http(StatusCode::from_u16(status).expect("a status"), &said(scope)), chance)
    }

    fn grpc(status: u8, scope: Option<&'static str>, chance: Chance) -> Outcome {
        judge(Sign::Grpc(Some(status), &said(scope)), chance)
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
            assert_eq!(http(status, None, FAIR), silent, "{status}");
            assert_eq!(http(status, Some("request"), FAIR), request, "{status} of a request");
            assert_eq!(http(status, Some("service"), FAIR), service, "{status} of the service");
            assert_eq!(http(status, Some("nonsense"), FAIR), silent, "{status} with another word");
        }
    }

    #[test]
    fn a_grpc_backend_likewise() {
        let timed = Chance { is_time_ours: false, ..FAIR };
        for status in 2..=16 {
            let expected = if matches!(status, 4 | 14) { Outcome::Ill } else { Outcome::Well };
            let word = shop_fault::grpc_word(status.into());
            assert_eq!(grpc(status, None, FAIR), expected, "{word}");
            assert_eq!(grpc(status, Some("request"), FAIR), Outcome::Well, "{word}");
            assert_eq!(grpc(status, Some("service"), timed), Outcome::Ill, "{word}");
        }
        assert_eq!(grpc(4, None, timed), Outcome::Silent, "a caller in a hurry");
        assert_eq!(grpc(0, Some("service"), FAIR), Outcome::Well, "it is well");
        assert_eq!(grpc(1, Some("service"), FAIR), Outcome::Silent, "the caller left");
        assert_eq!(judge(Sign::Grpc(None, &HeaderMap::new()), FAIR), Outcome::Ill);
    }

    #[test]
    fn nothing_but_a_refused_connection_speaks_against_a_backend_that_waits_for_its_request() {
        let waits = Chance { is_whole: false, ..FAIR };
        let headers = said(Some("service"));
        let statuses = (200..600).map(|status| Sign::Http(StatusCode::from_u16(status).expect("a status"), &headers));
        let codes = (0..=16).map(Some).chain([None]).map(|status| Sign::Grpc(status, &headers));
        let failures = Reason::ALL.into_iter().map(Sign::Failure);
        let ill: Vec<_> = statuses.chain(codes).chain(failures).filter(|sign| judge(*sign, waits).is_ill()).collect();
        assert!(
            matches!(ill[..], [Sign::Failure(Reason::ConnectFailed), Sign::Failure(Reason::UpstreamTlsFailed)]),
            "{ill:?}"
        );
    }

    /// The cells of the table rows below a heading, each row with so many.
    fn rows<const COUNT: usize>(heading: &str) -> Vec<[String; COUNT]> {
        let text = include_str!("../../../docs/gateway.md");
        let (_, section) = text.split_once(&format!("\n## {heading}\n")).expect("the section");
        let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
        let cells =
            |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        section.lines().filter(|line| line.starts_with("| ")).filter_map(|line| cells(line).try_into().ok()).collect()
    }

    /// The tables of the documentation are the ones here.
    #[test]
    fn the_documentation_says_the_same() {
        let words = |verdict: &str| match verdict {
            "well" => Outcome::Well,
            "ill" => Outcome::Ill,
            "nothing" => Outcome::Silent,
            other => panic!("{other}"),
        };
        let numbers = |cell: &str| -> Vec<u16> {
            cell.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
        };
        let section = "What an answer says of its backend";
        let (mut listed_http, mut listed_grpc, mut listed_words) = (Vec::new(), Vec::new(), Vec::new());
        for [what, whole, before] in &rows(section)[1..] {
            let is_time_ours = !what.contains("time of the client's");
            for (is_whole, expected) in [(true, whole), (false, before)] {
                let (chance, expected) = (Chance { is_whole, is_time_ours }, words(expected));
                for status in numbers(what).into_iter().filter(|_| what.starts_with("HTTP")) {
                    assert_eq!(http(status, None, chance), expected, "{what}: {status}");
                    listed_http.push(status);
                }
                for status in numbers(what).into_iter().filter(|_| what.starts_with("gRPC")) {
                    let status = u8::try_from(status).expect("a code");
                    assert_eq!(grpc(status, None, chance), expected, "{what}: {status}");
                    listed_grpc.push(status);
                }
                let named = |reason: &Reason| what.starts_with('`') && what.contains(&format!("`{}`", reason.word()));
                for reason in Reason::ALL.into_iter().filter(named) {
                    assert_eq!(judge(Sign::Failure(reason), chance), expected, "{what}");
                    listed_words.push(reason.word());
                }
            }
        }
        listed_http.sort_unstable();
        listed_http.dedup();
        assert_eq!(listed_http, [500, 501, 502, 503, 504, 505, 507, 508, 511]);
        listed_grpc.sort_unstable();
        listed_grpc.dedup();
        assert_eq!(listed_grpc, (0..=16).collect::<Vec<_>>());
        // Who is not listed says nothing.
        for reason in Reason::ALL.into_iter().filter(|reason| !listed_words.contains(&reason.word())) {
            assert_eq!(judge(Sign::Failure(reason), FAIR), Outcome::Silent, "{}", reason.word());
        }
        let codes = rows::<2>(section).into_iter().filter(|[code, _]| code.starts_with('`'));
        let named: Vec<_> = codes.map(|[code, _]| code.trim_matches('`').to_owned()).collect();
        assert_eq!(named, Scope::CODES_OF_THE_SERVICE);
    }
}
