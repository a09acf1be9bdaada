//! `shop reconcile`: payment's comparison, with the product service of this process on a port of its own for as long as it takes.
//!
//! It needs no suite that runs, and does not mind one that does.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use shop::{Config, Service};
use shop_events::MemoryBus;
use shop_payment::ReconcileFlags;
use shop_product::Product;
use shop_runtime::Shutdown;
use shop_telemetry::Metrics;
use shop_web::Doors;

/// Compares as `flags` say; whether all agrees.
pub(crate) async fn run(config: Config, flags: &ReconcileFlags) -> anyhow::Result<bool> {
    ensure!(
        config.runs(Service::Payment),
        "payment does not run in this process, see `services`: run payment-service reconcile"
    );
    let mut config = config.whole()?;
    if !config.runs(Service::Product) {
        return Box::pin(shop_payment::reconcile(config.payment, flags)).await;
    }
    let here = [127, 0, 0, 1].into();
    (config.product.http.host, config.product.grpc.host) = (here, here);
    (config.product.http.port, config.product.grpc.port) = (0, 0);
    (config.product.operations, config.product.tls) = Default::default();
    // No payment service is in this process: whoever answers at the address that product would ask may be another shop's.
    config.product.settlement.interval = shop_config::Duration::secs(365 * 86_400);
    // A look changes nothing.
    config.product.retention.released = None;
    let Config { product, mut payment, .. } = config;
    let shutdown = Shutdown::new();
    let doors = Doors::of_process(&product.http, &product.grpc, &product.operations).await?;
    // Nothing is published here, and Kafka's groups are left to those that serve.
    let bus = Arc::new(MemoryBus::new(None));
    let built = Product::build(doors, product, bus, Metrics::new("product-service"), &shutdown);
    let product = Box::pin(built).await.context("product cannot start")?;
    payment.product.url = product.grpc_addr().to_string();
    let compare = async {
        let agrees = shop_payment::reconcile(payment, flags).await;
        shutdown.soft.cancel();
        agrees
    };
    let (agrees, ended) = Box::pin(async { tokio::join!(compare, product.run(shutdown.clone())) }).await;
    ended?;
    agrees
}
