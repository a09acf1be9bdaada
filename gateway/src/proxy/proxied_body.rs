//! An answer's body on its way to the client. It carries the [`RequestRecord`], which is recorded when the body ends.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use shop_balance::Permit;
use shop_http1::response::Skip;
use tokio::time::{Instant, Sleep};

use crate::admin::events::Listener;
use crate::message::headers;
use crate::message::outcome::{Chance, Sign, judge};
use crate::message::reason::Reason;
use crate::message::refusal::grpc_status;
use crate::proxy::recoded::Recoded;
use crate::record::RequestRecord;
use crate::routing::InFlight;
use crate::server::handler::Sent;
use crate::upstream::ResponseBody;
use crate::upstream::body::Broken;

/// How long a client may take over an answer of the gateway's own.
const OWN: Duration = Duration::from_mins(5);

/// What the client is sent.
pub(crate) struct Body(Source);

enum Source {
    /// Nothing; the record goes on elsewhere.
    None,
    /// The gateway's own words.
    Own(Option<Bytes>, RequestRecord),
    /// The gateway's own, event by event.
    Events(Listener, RequestRecord),
    /// A backend's.
    Backend(Box<ProxiedBody>, RequestRecord),
}

/// A backend's body, with what must be held as long as it flows.
pub(crate) struct ProxiedBody {
    pub(crate) incoming: ResponseBody,
    /// The breaker's verdict is still open: for gRPC, trailers decide. A trial has passed by the head.
    pub(crate) permit: Option<Permit>,
    pub(crate) in_flight: InFlight,
    /// Longest pause between two pieces.
    pub(crate) longest_pause: Option<Duration>,
    /// When it must be over.
    pub(crate) end: Option<Instant>,
    pub(crate) grpc: bool,
    /// What makes another body of it, if the client gets another.
    pub(crate) recoded: Option<Box<Recoded>>,
    pub(crate) state: Flow,
}

/// The timer of a [`ProxiedBody`], made when it first has to wait.
#[derive(Default)]
pub(crate) struct Flow {
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    ended: bool,
}

impl Body {
    /// What follows a 101.
    pub(crate) const fn none() -> Self {
        Self(Source::None)
    }

    /// An answer of the gateway's own.
    pub(crate) fn own(bytes: Bytes, record: RequestRecord) -> Self {
        Self(Source::Own(Some(bytes).filter(|bytes| !bytes.is_empty()), record))
    }

    /// What the gateway has to tell as long as the client listens.
    pub(crate) fn events(listener: Listener, mut record: RequestRecord) -> Self {
        record.goes_on();
        Self(Source::Events(listener, record))
    }

    /// A backend's answer.
    pub(crate) fn backend(download: Box<ProxiedBody>, record: RequestRecord) -> Self {
        Self(Source::Backend(download, record))
    }
}

impl Skip for Body {
    fn skip(&mut self) {
        if let Source::Own(bytes, _) = &mut self.0 {
            *bytes = None;
        }
    }
}

impl Sent for Body {
    fn due(&self) -> Option<std::time::Instant> {
        match &self.0 {
            Source::Own(_, record) => Some(record.begun() + OWN),
            Source::Backend(download, _) => download.end.map(Instant::into_std),
            Source::None | Source::Events(..) => None,
        }
    }

    fn settle(&mut self) {
        let is_whole = self.is_end_stream();
        let Source::Backend(download, record) = &mut self.0 else { return };
        if is_whole && !download.state.ended {
            download.complete(None, record);
        }
        if download.state.ended
            && download.is_drained()
            && let Source::Backend(_, record) = std::mem::replace(&mut self.0, Source::None)
        {
            self.0 = Source::Own(None, record);
        }
    }

    fn lost(&mut self, bytes: usize) {
        match &mut self.0 {
            Source::Own(_, record) | Source::Backend(_, record) => record.lost(bytes),
            // Events have no end of their own, see below.
            Source::None | Source::Events(..) => {}
        }
    }
}

type Next = Option<Result<Frame<Bytes>, Broken>>;

impl ProxiedBody {
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let flow = &mut self.state;
        if !flow.waiting {
            flow.waiting = true;
            let pause = self.longest_pause.map(|longest| Instant::now() + longest);
            let Some(due) = pause.into_iter().chain(self.end).min() else { return Poll::Pending };
            match &mut flow.timer {
                Some(timer) => timer.as_mut().reset(due),
                none => *none = Some(Box::pin(tokio::time::sleep_until(due))),
            }
        }
        match &mut flow.timer {
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    /// Whether nothing is left of what came of the backend.
    fn is_drained(&self) -> bool {
        self.recoded.as_ref().is_none_or(|recoded| recoded.is_over())
    }

    /// The next frame as the client gets it.
    fn poll(&mut self, cx: &mut Context<'_>, record: &mut RequestRecord) -> Poll<Next> {
        let next = match self.recoded.take() {
            None => self.poll_incoming(cx, record),
            Some(mut recoded) => {
                let next = recoded.poll(cx, |cx| self.poll_incoming(cx, record));
                if recoded.has_failed() {
                    self.state.ended = true;
                    record.broke_off(Reason::GatewayExhausted);
                }
                self.recoded = Some(recoded);
                next
            }
        };
        let next = ready!(next);
        if let Some(Ok(frame)) = &next {
            record.sent(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(next)
    }

    /// The next frame as the backend sent it.
    fn poll_incoming(&mut self, cx: &mut Context<'_>, record: &mut RequestRecord) -> Poll<Next> {
        if self.state.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(next) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            ready!(self.poll_wait(cx));
            // A client that takes its time, or gave little of it, uses up the whole exchange's too. And who does not say how
            // much there is to come, as of events, may have nothing to say.
            let is_over = self.end.is_some_and(|end| end <= Instant::now());
            let is_owed = self.incoming.size_hint().exact().is_some();
            let chance = Chance { is_whole: record.is_upload_whole(), is_time_ours: is_owed && !is_over };
            let end = self.broke_off(Reason::UpstreamTimeout, "the backend stopped sending", chance, record);
            return Poll::Ready(Some(end));
        };
        self.state.waiting = false;
        let mut frame = match next {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                // Half a request makes half an answer.
                let (reason, detail) = match record.upload_broke_off() {
                    Some(reason) => (reason, "the request broke off"),
                    None => (Reason::UpstreamReset, "the backend broke off its answer"),
                };
                let chance = Chance { is_whole: record.is_upload_whole(), is_time_ours: true };
                return Poll::Ready(Some(self.broke_off(reason, detail, chance, record)));
            }
            None => {
                self.complete(None, record);
                return Poll::Ready(None);
            }
        };
        if let Some(trailers) = frame.trailers_mut() {
            self.complete(Some(trailers), record);
            headers::overrule(trailers);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    /// The body is whole.
    fn complete(&mut self, trailers: Option<&HeaderMap>, record: &mut RequestRecord) {
        self.state.ended = true;
        if self.grpc {
            let status = trailers.and_then(crate::message::grpc::status);
            record.grpc_status(status);
            if let Some(permit) = self.permit.take() {
                let none = HeaderMap::new();
                let chance = Chance { is_whole: record.is_upload_whole(), is_time_ours: self.end.is_none() };
                permit.judge(judge(Sign::Grpc(status, trailers.unwrap_or(&none)), chance));
            }
        }
        record.complete();
    }

    /// A gRPC client is told why in trailers; any other sees the connection break, as there is no other way to say it.
    fn broke_off(
        &mut self,
        reason: Reason,
        detail: &'static str,
        chance: Chance,
        record: &mut RequestRecord,
    ) -> Result<Frame<Bytes>, Broken> {
        self.state.ended = true;
        let outcome = judge(Sign::Failure(reason), chance);
        if let Some(permit) = self.permit.take() {
            permit.judge(outcome);
        }
        if outcome.is_ill() {
            self.in_flight.backend().failed(reason, detail);
        }
        record.broke_off(reason);
        if self.grpc {
            record.grpc_status(Some(reason.grpc()));
            return Ok(Frame::trailers(grpc_status(reason, detail)));
        }
        Err(Broken(reason))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        match &mut self.0 {
            Source::None => Poll::Ready(None),
            Source::Own(bytes, record) => {
                let bytes = bytes.take();
                record.sent(bytes.as_ref().map_or(0, Bytes::len));
                record.complete();
                Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
            Source::Events(listener, record) => {
                let event = ready!(listener.poll_recv(cx));
                record.sent(event.as_ref().map_or(0, Bytes::len));
                Poll::Ready(event.map(|event| Ok(Frame::data(event))))
            }
            Source::Backend(download, record) => download.poll(cx, record),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::None => true,
            Source::Own(bytes, _) => bytes.is_none(),
            Source::Events(..) => false,
            Source::Backend(download, _) => match &download.recoded {
                None => download.state.ended || download.incoming.is_end_stream(),
                Some(recoded) => recoded.is_over(),
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::None => SizeHint::with_exact(0),
            Source::Own(bytes, _) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(0)))
            }
            Source::Events(..) => SizeHint::default(),
            Source::Backend(download, _) if download.recoded.is_some() => SizeHint::default(),
            Source::Backend(download, _) => download.incoming.size_hint(),
        }
    }
}

impl Drop for Body {
    /// A body whose end is known is dropped without asking for the end: that is a whole body too.
    fn drop(&mut self) {
        let whole = self.is_end_stream();
        match &mut self.0 {
            Source::Backend(download, record) if whole && !download.state.ended => download.complete(None, record),
            // The backend is done; what its answer became was not taken.
            Source::Backend(download, record) if !download.is_drained() => record.lost(0),
            Source::Own(_, record) if whole => record.complete(),
            // Events have no end of their own: who leaves has heard what it wanted.
            Source::Events(_, record) => record.complete(),
            _ => {}
        }
    }
}
