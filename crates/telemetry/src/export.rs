//! The way of spans to a collector: which are recorded, and how they leave without anybody waiting for it.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::trace::{
    SpanBuilder, SpanId, SpanKind, TraceContextExt as _, TraceId, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_otlp::{WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    IdGenerator, RandomIdGenerator, Sampler as Decider, SamplingDecision, SdkTracer, SdkTracerProvider,
    ShouldSample as _, Span, SpanData, SpanExporter,
};
use shop_config::{Otel, Sampler};
use shop_tls::{Client, ClientTls, Connector, H2, Peer};
use tonic::transport::{Channel, Endpoint};

use crate::TraceParent;

/// What a span says when it begins: its name, of which there must be few, and attributes in the words of OpenTelemetry's
/// semantic conventions.
pub type About = (Cow<'static, str>, Vec<KeyValue>);

/// The edition of the semantic conventions that our attributes keep to.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.42.0";

/// Set once, when export starts: spans are made from then on.
static EXPORTING: OnceLock<Exporting> = OnceLock::new();

/// The process's export, if there is one.
pub(crate) fn exporting() -> Option<&'static Exporting> {
    EXPORTING.get()
}

/// Makes spans, of traces that are recorded.
pub(crate) struct Exporting {
    tracer: SdkTracer,
    sampler: Sampler,
    ratio: Decider,
}

impl Exporting {
    /// Whether a request's trace is recorded. By its id, so that all processes with the same settings choose the same ones.
    pub(crate) fn samples(&self, caller: Option<TraceParent>, trace: TraceParent) -> bool {
        let by_ratio = || {
            let result = self.ratio.should_sample(None, trace.id(), "", &SpanKind::Server, &[], &[]);
            result.decision == SamplingDecision::RecordAndSample
        };
        match (self.sampler, caller) {
            (Sampler::AlwaysOn, _) | (Sampler::ParentbasedAlwaysOn, None) => true,
            (Sampler::AlwaysOff, _) | (Sampler::ParentbasedAlwaysOff, None) => false,
            (Sampler::Traceidratio, _) | (Sampler::ParentbasedTraceidratio, None) => by_ratio(),
            (
                Sampler::ParentbasedAlwaysOn | Sampler::ParentbasedAlwaysOff | Sampler::ParentbasedTraceidratio,
                Some(caller),
            ) => caller.is_recorded(),
        }
    }

    /// A span below `parent`.
    pub(crate) fn begin(&self, parent: TraceParent, is_remote: bool, kind: SpanKind, about: About) -> Span {
        let parent = Context::new().with_remote_span_context(parent.span_context(is_remote));
        self.build(&parent, kind, about)
    }

    /// The first span of `trace`.
    pub(crate) fn begin_root(&self, trace: TraceParent, kind: SpanKind, about: About) -> Span {
        CHOSEN.set(Some(trace.id()));
        let span = self.build(&Context::new(), kind, about);
        CHOSEN.set(None);
        span
    }

    fn build(&self, parent: &Context, kind: SpanKind, (name, attributes): About) -> Span {
        let builder = SpanBuilder::from_name(name).with_kind(kind).with_attributes(attributes);
        self.tracer.build_with_context(builder, parent)
    }
}

thread_local! {
    /// The id of the trace whose first span is made next: it was sampled by that id, which must stay.
    static CHOSEN: Cell<Option<TraceId>> = const { Cell::new(None) };
}

/// Random ids, but for a trace that has its id already.
#[derive(Debug, Default)]
struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        CHOSEN.take().unwrap_or_else(|| self.0.new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        self.0.new_span_id()
    }
}

/// An export under way.
#[derive(Debug)]
pub(crate) struct Export {
    provider: SdkTracerProvider,
    timeout: Duration,
}

impl Export {
    /// Sends what is left, but waits no longer than the time-out: a dead collector must not hold the process up.
    pub(crate) fn finish(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(self.timeout) {
            tracing::warn!(%error, "the last spans did not reach the collector");
        }
    }
}

/// Starts to export to `endpoint`; nothing when the process does so already, which is what tests need.
pub(crate) fn start(service: &'static str, endpoint: &str, otel: &Otel) -> anyhow::Result<Option<Export>> {
    tokio::runtime::Handle::try_current().context("traces can be exported only inside a runtime")?;
    let timeout = otel.timeout.get();
    let otlp = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(timeout);
    let otlp = if endpoint.starts_with("https://") { otlp.with_channel(encrypted(endpoint, otel)?) } else { otlp };
    let otlp = otlp.build().with_context(|| format!("otel.endpoint {endpoint:?} cannot be used"))?;
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder()
        // What is not sampled never gets here.
        .with_sampler(Decider::AlwaysOn)
        .with_id_generator(Ids::default())
        .with_resource(resource)
        // A thread of its own sends; a queue that is full drops spans, so that nobody waits.
        .with_batch_exporter(Telling { inner: otlp, place: endpoint.to_owned(), is_down: AtomicBool::new(false) })
        .build();
    let scope = InstrumentationScope::builder("shop").with_version(env!("CARGO_PKG_VERSION")).with_schema_url(SCHEMA);
    let exporting = Exporting {
        tracer: provider.tracer_with_scope(scope.build()),
        sampler: otel.sampler,
        ratio: Decider::TraceIdRatioBased(otel.sample_ratio),
    };
    Ok(EXPORTING.set(exporting).is_ok().then_some(Export { provider, timeout }))
}

/// The way to a collector over TLS. The certificates are read with each connection.
fn encrypted(endpoint: &str, otel: &Otel) -> anyhow::Result<Channel> {
    let to = Endpoint::from_shared(endpoint.to_owned());
    let to = to.with_context(|| format!("otel.endpoint {endpoint:?} cannot be used"))?.timeout(otel.timeout.get());
    let Otel { ca_file, cert_file, key_file, .. } = otel.clone();
    let settings = ClientTls { ca_file, server_name: None, cert_file, key_file };
    let client = Client::open(settings, H2).map_err(|unfit| anyhow!("otel.{unfit}"))?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(otel.timeout.get()));
    let peer = Peer {
        place: to.uri().authority().map_or("", |authority| authority.as_str()).to_owned(),
        name: to.uri().host().unwrap_or_default().to_owned(),
        rename: "call it in otel.endpoint by a name that it is for",
        section: "otel",
    };
    Ok(to.connect_with_connector_lazy(Connector::new(tcp, client, peer)))
}

/// Tells once that the collector is away, and once that it is back.
#[derive(Debug)]
struct Telling<E> {
    inner: E,
    place: String,
    is_down: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Telling<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.inner.export(batch).await;
        let place = &self.place;
        match (&sent, self.is_down.swap(sent.is_err(), Ordering::Relaxed)) {
            (Err(error), false) => {
                tracing::warn!(%error, "the collector at {place} does not take spans; they are lost until it does");
            }
            (Ok(()), true) => tracing::info!("the collector at {place} takes spans again"),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry_sdk::error::OTelSdkError;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn choosing(sampler: Sampler, ratio: f64) -> Exporting {
        let provider = SdkTracerProvider::builder().build();
        Exporting { tracer: provider.tracer("test"), sampler, ratio: Decider::TraceIdRatioBased(ratio) }
    }

    #[test]
    fn each_sampler_heeds_its_caller_or_not() {
        let trace = TraceParent::random();
        let (recorded, unrecorded): (TraceParent, _) =
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().expect("well formed"), trace);
        for (sampler, ratio, fresh, of_recorded, of_unrecorded) in [
            (Sampler::AlwaysOn, 0.0, true, true, true),
            (Sampler::AlwaysOff, 1.0, false, false, false),
            (Sampler::Traceidratio, 1.0, true, true, true),
            (Sampler::Traceidratio, 0.0, false, false, false),
            (Sampler::ParentbasedAlwaysOn, 0.0, true, true, false),
            (Sampler::ParentbasedAlwaysOff, 1.0, false, true, false),
            (Sampler::ParentbasedTraceidratio, 1.0, true, true, false),
            (Sampler::ParentbasedTraceidratio, 0.0, false, true, false),
        ] {
            let exporting = choosing(sampler, ratio);
            let chosen = [None, Some(recorded), Some(unrecorded)]
                .map(|caller| exporting.samples(caller, caller.unwrap_or(trace)));
            assert_eq!(chosen, [fresh, of_recorded, of_unrecorded], "{sampler:?} {ratio}");
        }
    }

    /// A collector that answers as told.
    #[derive(Debug)]
    struct Moody(Mutex<Vec<OTelSdkResult>>);

    impl SpanExporter for Moody {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().expect("not poisoned").pop().expect("asked as often as planned")
        }
    }

    /// Keeps the levels of what is logged.
    #[derive(Clone, Default)]
    struct Levels(Arc<Mutex<Vec<tracing::Level>>>);

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Levels {
        fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            self.0.lock().expect("not poisoned").push(*event.metadata().level());
        }
    }

    #[tokio::test]
    async fn a_collector_that_goes_away_is_told_once_and_its_return_too() {
        let away = || Err(OTelSdkError::InternalFailure("away".to_owned()));
        let answers = vec![away(), Ok(()), Ok(()), away(), away(), away(), Ok(())];
        let times = answers.len();
        let inner = Moody(Mutex::new(answers));
        let telling = Telling { inner, place: "here".to_owned(), is_down: AtomicBool::new(false) };
        let levels = Levels::default();
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(levels.clone()));
        for _ in 0..times {
            let _ = telling.export(Vec::new()).await;
        }
        let (warn, info) = (tracing::Level::WARN, tracing::Level::INFO);
        assert_eq!(*levels.0.lock().expect("not poisoned"), [warn, info, warn]);
    }

    #[test]
    fn about_the_asked_share_of_new_traces_is_recorded_and_the_same_ones_everywhere() {
        let (one, other) = (choosing(Sampler::Traceidratio, 0.1), choosing(Sampler::ParentbasedTraceidratio, 0.1));
        let mut recorded = 0;
        for _ in 0..10_000 {
            let trace = TraceParent::random();
            let chosen = one.samples(None, trace);
            assert_eq!(chosen, other.samples(None, trace));
            recorded += i32::from(chosen);
        }
        // Six standard deviations to both sides.
        assert!((820..1180).contains(&recorded), "{recorded}");
    }
}
