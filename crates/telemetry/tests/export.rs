//! Spans on their way to a collector, in a process of their own since the export is the process's.

use shop_config::{Log, Otel, Sampler};
use shop_telemetry::{KeyValue, RequestContext, Span, SpanKind, arrive, context};
use shop_testing::Collector;

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNRECORDED: &str = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_trace_goes_on_and_reaches_the_collector_before_the_process_ends() {
    let collector = Collector::start().await;
    let otel = Otel {
        endpoint: Some(collector.endpoint()),
        sampler: Sampler::ParentbasedTraceidratio,
        sample_ratio: 0.0,
        ..Otel::default()
    };
    let guard = shop_telemetry::init("basket", &Log::default(), &otel).expect("telemetry starts");

    let about = || ("request".into(), vec![KeyValue::new("http.route", "/x")]);
    let (span, trace) = arrive(Some(CALLER), SpanKind::Server, about);
    let request = RequestContext::new("r-1", trace);
    let handed_on = context::scope(request.clone(), async {
        let mut part = Span::child(SpanKind::Client, || ("SELECT x".into(), Vec::new()));
        part.fail("timeout");
        shop_telemetry::traceparent()
    });
    assert_eq!(handed_on.await, Some(request.traceparent()));
    assert_eq!(request.trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
    drop(span);

    let nothing = || unreachable!("nobody records it");
    let (unrecorded, trace) = arrive(Some(UNRECORDED), SpanKind::Server, nothing);
    assert!(!unrecorded.is_recorded() && trace.to_string().ends_with("-00"), "{trace}");
    let below = context::scope(RequestContext::new("r-2", trace), async { Span::child(SpanKind::Client, nothing) });
    assert!(!below.await.is_recorded());
    let (new, trace) = arrive(None, SpanKind::Server, nothing);
    assert!(!new.is_recorded() && trace.to_string().ends_with("-00"), "{trace}");
    assert!(!Span::child(SpanKind::Client, nothing).is_recorded(), "nothing is done for anybody");

    guard.shutdown().await;
    let spans = collector.spans();
    let [part, span] = &*spans else { panic!("two spans: {spans:?}") };
    assert_eq!((&*span.name, &*span.kind, &*span.service, span.failed), ("request", "SERVER", "basket", false));
    assert_eq!((&*span.trace, &*span.parent), ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"));
    assert_eq!((&*span.id, span.get("http.route")), (&request.traceparent()[36..52], "/x"));
    assert_eq!(span.resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&*part.name, &*part.parent, part.get("error.type")), ("SELECT x", &*span.id, "timeout"));
    assert!(part.failed);
}
