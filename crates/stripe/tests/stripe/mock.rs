//! Every request that the client makes is one that Stripe's own description of its API knows, in the pinned version.

use shop_stripe::{CaptureMethod, Client, Confirm, NewIntent, NewRefund};
use shop_telemetry::Metrics;

use crate::{settings, soon};

#[tokio::test]
async fn every_request_is_one_that_stripe_describes() {
    let Some(url) = shop_testing::backend::stripe_mock() else { return };
    let client = Client::open(&settings(url), &Metrics::new("test")).expect("a client");
    let metadata = [("payment", "0190-1"), ("refund", "0190-2")];
    for capture in [CaptureMethod::Automatic, CaptureMethod::Manual] {
        for currency in ["USD", "jpy", "KWD"] {
            let new = NewIntent { key: "open-1", amount: 1000, currency, capture, metadata: &metadata };
            client.create(&new, soon()).await.expect("create");
        }
    }
    for method in ["pm_card_visa", "ctoken_1"] {
        let return_url = "https://shop.example/back?payment=1&x=é";
        let confirm = Confirm { key: "confirm-1-1", intent: "pi_1", method, return_url };
        client.confirm(&confirm, soon()).await.expect("confirm");
    }
    client.retrieve("pi_1", soon()).await.expect("retrieve");
    client.capture("pi_1", 600, soon()).await.expect("capture");
    client.cancel("pi_1", soon()).await.expect("cancel");
    let new = NewRefund { key: "0190-2", intent: "pi_1", amount: 600, metadata: &metadata };
    client.refund(&new, soon()).await.expect("refund");
    client.refunds("pi_1", soon()).await.expect("refunds");
    client.disputes("pi_1", soon()).await.expect("disputes");
}
