//! Call metrics with bounded labels: methods come from the interface, everything else is `unmatched`.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;
use std::time::Duration;

use prometheus::{IntCounter, IntCounterVec, IntGauge};
use prost::Message;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use shop_telemetry::{Histogram, Histograms, Metrics, TraceParent};
use tonic::Code;

/// The label of a path that no service has.
pub(crate) const UNMATCHED: &str = "unmatched";

/// Number of gRPC codes, `OK` to `UNAUTHENTICATED`.
const CODES: usize = 17;

/// What an interface offers, read from its descriptors.
#[derive(Default)]
pub(crate) struct Interface {
    /// `shop.basket.v1.BasketService`.
    pub(crate) services: HashSet<String>,
    /// `/shop.basket.v1.BasketService/GetBasket`.
    methods: Vec<String>,
    /// Those of them that take one message, not a stream.
    pub(crate) unary: HashSet<String>,
}

impl Interface {
    pub(crate) fn read(descriptors: &[&[u8]]) -> Result<Self, prost::DecodeError> {
        let mut interface = Self::default();
        for set in descriptors {
            for file in FileDescriptorSet::decode(*set)?.file {
                for service in &file.service {
                    let name = format!("{}.{}", file.package(), service.name());
                    let path = |method: &MethodDescriptorProto| format!("/{name}/{}", method.name());
                    interface.methods.extend(service.method.iter().map(path));
                    interface.unary.extend(service.method.iter().filter(|method| !method.client_streaming()).map(path));
                    interface.services.insert(name);
                }
            }
        }
        Ok(interface)
    }
}

/// The `rpc_server_*` metrics of one listener.
pub(crate) struct RpcMetrics {
    requests: IntCounterVec,
    duration: Histograms,
    pub(crate) in_flight: IntGauge,
    methods: HashMap<String, OnceLock<Series>>,
}

struct Series {
    duration: Histogram,
    codes: [OnceLock<IntCounter>; CODES],
}

impl RpcMetrics {
    pub(crate) fn new(metrics: &Metrics, interface: &Interface) -> Self {
        let names = interface.methods.iter().map(String::as_str).chain([UNMATCHED]);
        Self {
            requests: metrics.counters("rpc_server_requests_total", "gRPC calls answered", &["method", "code"]),
            duration: metrics.histograms(
                "rpc_server_request_duration_seconds",
                "Time to answer a gRPC call",
                &["method"],
            ),
            in_flight: metrics.gauge("rpc_server_requests_in_flight", "gRPC calls being served"),
            methods: names.map(|name| (name.to_owned(), OnceLock::new())).collect(),
        }
    }

    /// The label of `path`.
    pub(crate) fn method(&self, path: &str) -> &str {
        self.methods.get_key_value(path).map_or(UNMATCHED, |(name, _)| name)
    }

    /// Counts one answered call of `path`.
    pub(crate) fn record(&self, path: &str, code: Code, took: Duration, trace: TraceParent) {
        let method = self.method(path);
        let series = self.methods[method]
            .get_or_init(|| Series { duration: self.duration.with_label_values(&[method]), codes: Default::default() });
        series.duration.observe_in(took.as_secs_f64(), trace);
        let count = || self.requests.with_label_values(&[method, name(code)]);
        series.codes[code as usize % CODES].get_or_init(count).inc();
    }
}

/// The code as it is written in the gRPC documents.
pub(crate) fn name(code: Code) -> &'static str {
    shop_fault::grpc_word(code as usize)
}
