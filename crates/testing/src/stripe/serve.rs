//! The double's HTTP: requests are read, faults are made, answers are written.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::books::Answer;
use super::{Call, Desk, Fault, Request};

/// Serves one connection until it ends, or a fault ends it.
pub(super) async fn serve(mut stream: TcpStream, desk: Arc<Desk>) {
    let mut bytes = Vec::new();
    while let Some(request) = read(&mut stream, &mut bytes).await {
        let Some(answer) = desk.answer(&request).await else { return };
        if stream.write_all(&written(&answer)).await.is_err() {
            return;
        }
    }
}

impl Desk {
    /// What is answered; nothing when the connection ends instead.
    async fn answer(&self, request: &Request) -> Option<Answer> {
        let fault = self.note(request);
        if matches!(fault, Some(Fault::LoseRequest)) {
            return None;
        }
        let is_lost = matches!(fault, Some(Fault::LoseReply));
        if let Some(known) = self.state().books.arrive(request, fault.as_ref()) {
            return (!is_lost).then_some(known);
        }
        if matches!(fault, Some(Fault::Hold)) {
            self.held.acquire().await.expect("never closed").forget();
        }
        let (answer, events) = {
            let mut state = self.state();
            let before = state.books.events.len();
            let answer = state.books.finish(request, fault.as_ref());
            (answer, state.books.events[before..].to_vec())
        };
        self.tell(events).await;
        (!is_lost).then_some(answer)
    }

    /// Notes that a request came; what is to go wrong with it.
    fn note(&self, request: &Request) -> Option<Fault> {
        let mut state = self.state();
        state.requests.push(request.clone());
        let place = state.faults.iter().position(|(call, _)| Some(*call) == request.call)?;
        state.faults.remove(place).map(|(_, fault)| fault)
    }

    async fn tell(&self, events: Vec<super::Event>) {
        let (before, at_once) = {
            let state = self.state();
            (state.webhooks.is_sent_before(), state.webhooks.is_sent_at_once())
        };
        for event in events {
            if before {
                self.deliver(&event).await;
            } else if at_once {
                self.outbox.send(event).ok();
            }
        }
    }
}

fn written(answer: &Answer) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} Whatever\r\ncontent-type: application/json\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.extend(["content-length: ", &answer.body.len().to_string(), "\r\n\r\n"]);
    [head.as_bytes(), answer.body.as_bytes()].concat()
}

/// The next request; none at the end of the connection.
async fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Request> {
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = header(&head, "content-length").map_or(0, |length| length.parse().expect("a number"));
            let whole = end + 4 + length;
            if bytes.len() >= whole {
                let body = String::from_utf8_lossy(&bytes[end + 4..whole]).into_owned();
                bytes.drain(..whole);
                return Some(request(&head, &body));
            }
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

fn request(head: &str, body: &str) -> Request {
    let mut line = head.split(' ');
    let (method, target) = (line.next().unwrap_or_default(), line.next().unwrap_or_default());
    Request::new(method, target, body, |name| header(head, name).map(str::to_owned))
}

impl Request {
    /// As it came: the target with its query, the form, and the headers by name.
    pub fn new(method: &str, target: &str, body: &str, header: impl Fn(&str) -> Option<String>) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let form = if method == "POST" { body } else { query };
        let url = reqwest::Url::parse(&format!("http://double/?{form}")).expect("a form");
        let mut parameters: Vec<_> =
            url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        parameters.sort();
        Self {
            call: call(method, path),
            method: method.to_owned(),
            path: path.to_owned(),
            parameters,
            key: header("idempotency-key").filter(|_| method == "POST"),
            version: header("stripe-version"),
            authorization: header("authorization").unwrap_or_default(),
        }
    }
}

fn call(method: &str, path: &str) -> Option<Call> {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match (method, parts.as_slice()) {
        ("POST", ["v1", "payment_intents"]) => Some(Call::Create),
        ("POST", ["v1", "payment_intents", _, "confirm"]) => Some(Call::Confirm),
        ("POST", ["v1", "payment_intents", _, "capture"]) => Some(Call::Capture),
        ("POST", ["v1", "payment_intents", _, "cancel"]) => Some(Call::Cancel),
        ("GET", ["v1", "payment_intents", _]) => Some(Call::Retrieve),
        ("POST", ["v1", "refunds"]) => Some(Call::Refund),
        ("GET", ["v1", "refunds"]) => Some(Call::ListRefunds),
        ("GET", ["v1", "disputes"]) => Some(Call::ListDisputes),
        _ => None,
    }
}
