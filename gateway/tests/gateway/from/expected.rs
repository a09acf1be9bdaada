//! One line of a list: a request, and what has to come of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;

use crate::support::{Client, http2};

/// `2000 x GET /a {x: 1} +5 => 200 one /b {x: 1} [server: x] ours: …`
#[derive(Debug)]
pub(super) struct Line {
    times: usize,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    length: usize,
    theirs: Outcome,
    ours: Option<Outcome>,
}

/// What stands behind the arrow.
#[derive(Debug, Default)]
struct Outcome {
    status: u16,
    /// The whole body.
    body: Option<String>,
    /// Which backend, `*` any, and the target that it saw.
    backend: Option<(String, String)>,
    /// The share of each backend.
    shares: BTreeMap<String, f64>,
    /// Headers at the backend.
    seen: Vec<(String, String)>,
    /// Headers at the client.
    got: Vec<(String, String)>,
}

/// What came of a request.
#[derive(Debug)]
pub(super) struct Reply {
    status: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

/// Takes what is between `open` and `close` out of a text, as pairs.
fn pairs(text: &mut String, open: char, close: char) -> Vec<(String, String)> {
    let Some((start, end)) = text.find(open).and_then(|start| Some((start, start + text[start..].find(close)?))) else {
        return Vec::new();
    };
    let inner = text[start + 1..end].to_owned();
    text.replace_range(start..=end, "");
    let pair = |pair: &str| {
        let (name, value) = pair.split_once(':').unwrap_or_else(|| panic!("{pair:?} is no header"));
        (name.trim().to_owned(), value.trim().to_owned())
    };
    inner.split(';').map(pair).collect()
}

impl Line {
    pub(super) fn read(text: &str) -> Self {
        let (asked, outcome) = text.split_once(" => ").unwrap_or_else(|| panic!("{text:?} has no arrow"));
        let (theirs, ours) =
            outcome.split_once("ours: ").map_or((outcome, None), |(theirs, ours)| (theirs, Some(ours)));
        let mut asked = asked.to_owned();
        let headers = pairs(&mut asked, '{', '}');
        let (times, asked) =
            asked.split_once(" x ").map_or((1, asked.as_str()), |(times, asked)| (number(times), asked));
        let mut words = asked.split_whitespace();
        let mut word = || words.next().map(str::to_owned);
        let (method, target) = (word().expect("a method"), word().expect("a target"));
        // A call has an empty message.
        let usual = if method == "GRPC" { 5 } else { 0 };
        let length = word().map_or(usual, |length| number(length.trim_start_matches('+')));
        let (theirs, ours) = (Outcome::read(theirs), ours.map(Outcome::read));
        Self { times, method, target, headers, length, theirs, ours }
    }

    /// Sends it to the proxy at `addr`, as often as it says.
    pub(super) async fn ask(&self, addr: SocketAddr) -> Vec<Reply> {
        if self.method == "GRPC" {
            return vec![self.call(addr).await];
        }
        let mut client = Client::connect(addr).await;
        let mut replies = Vec::new();
        for count in 1..=self.times {
            // Before nginx closes the connection, as it does with those that served much.
            if count % 500 == 0 {
                client = Client::connect(addr).await;
            }
            let request = self.request(&self.method, &self.target).body(Full::from(vec![b'x'; self.length]));
            let reply = client.send(request.expect("a request")).await.expect("an answer");
            replies.push(Reply { status: reply.status(), headers: reply.head.headers, body: reply.body });
        }
        replies
    }

    async fn call(&self, addr: SocketAddr) -> Reply {
        let request = self.request("POST", &format!("http://{addr}{}", self.target)).version(http::Version::HTTP_2);
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        let request = request.body(Full::from(vec![0; self.length])).expect("a request");
        let (head, body) = http2(addr).await.send_request(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Reply { status: head.status.as_u16(), headers: head.headers, body }
    }

    fn request(&self, method: &str, target: &str) -> http::request::Builder {
        let has_host = self.headers.iter().any(|(name, _)| name == "host") || self.method == "GRPC";
        let host = (!has_host).then_some(("host", "shop.example"));
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(host);
        headers
            .fold(Request::builder().method(method).uri(target), |request, (name, value)| request.header(name, value))
    }

    /// What is not as it has to be.
    pub(super) fn judge(&self, is_ours: bool, replies: &[Reply]) -> Result<(), String> {
        let outcome = self.ours.as_ref().filter(|_| is_ours).unwrap_or(&self.theirs);
        for reply in replies {
            outcome.judge(reply, self.length)?;
        }
        let of = |name: &str| replies.iter().filter(|reply| reply.text("x-backend") == name).map(|_| 1.0).sum::<f64>();
        let all = f64::from(u32::try_from(replies.len()).expect("not that many"));
        for (name, share) in &outcome.shares {
            let (found, off) = (of(name) / all, 4.0 * (share * (1.0 - share) / all).sqrt());
            if (found - share).abs() > off {
                return Err(format!("{name} has a share of {found}, which is more than {off} from {share}"));
            }
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.trim().parse().unwrap_or_else(|error| panic!("{text:?}: {error:?}"))
}

impl Outcome {
    fn read(text: &str) -> Self {
        let mut text = text.to_owned();
        let (seen, got) = (pairs(&mut text, '{', '}'), pairs(&mut text, '[', ']'));
        let mut outcome = Self { seen, got, ..Self::default() };
        if let Some((before, body)) = text.clone().split_once('"') {
            let (body, after) = body.rsplit_once('"').expect("the end of the body");
            outcome.body = Some(body.replace("\\n", "\n"));
            text = format!("{before}{after}");
        }
        let words: Vec<_> = text.split_whitespace().collect();
        let (status, rest) = words.split_first().expect("a status");
        outcome.status = number(status);
        match rest {
            [] => {}
            [name, target] if target.starts_with('/') => {
                outcome.backend = Some(((*name).to_owned(), (*target).to_owned()));
            }
            shares => {
                for share in shares.chunks(2) {
                    let [name, share] = share else { panic!("{text:?}: a share of what?") };
                    let share: f64 = number(share.strip_suffix('%').expect("per cent"));
                    outcome.shares.insert((*name).to_owned(), share / 100.0);
                }
            }
        }
        outcome
    }

    fn judge(&self, reply: &Reply, length: usize) -> Result<(), String> {
        let same = |what: &str, found: &str, wanted: &str| {
            if found == wanted { Ok(()) } else { Err(format!("{what} is {found:?}, not {wanted:?}")) }
        };
        same("the status", &reply.status.to_string(), &self.status.to_string())?;
        if let Some(body) = &self.body {
            same("the body", &String::from_utf8_lossy(&reply.body), body)?;
        }
        for (name, value) in &self.got {
            same(name, &reply.text(name), value)?;
        }
        if let Some((name, target)) = &self.backend {
            let seen: Value = serde_json::from_str(&reply.text("x-seen")).map_err(|_| "no backend was asked")?;
            same("the target", seen["target"].as_str().unwrap_or_default(), target)?;
            same("the length", &seen["length"].to_string(), &length.to_string())?;
            if name != "*" {
                same("the backend", &reply.text("x-backend"), name)?;
            }
            for (name, value) in &self.seen {
                same(&format!("{name} at the backend"), seen["headers"][name].as_str().unwrap_or("-"), value)?;
            }
        }
        Ok(())
    }
}

impl Reply {
    /// A header's lines, with `-` for none.
    fn text(&self, name: &str) -> String {
        let lines: Vec<_> = self.headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect();
        if lines.is_empty() { "-".to_owned() } else { lines.join(", ") }
    }
}
