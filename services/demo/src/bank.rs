//! The bank that asks some buyers: when one has confirmed it calls the shop, at once or as the switch says.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, header};
use serde_json::json;
use shop_clock::{Clock as _, SystemClock};

use super::breaks::Switches;
use super::broken::Webhooks;
use super::calls::Http;
use super::tally::Tally;

/// How late a call is that is late.
const LATE: Duration = Duration::from_secs(5);
/// How often one comes that is repeated.
const TIMES: usize = 3;
/// How long the shop may take over one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Plays the bank of the sandbox, which nobody has.
#[derive(Clone)]
pub(super) struct Bank {
    http: Http,
    /// Where the payment service is; a shop elsewhere hears nothing from here.
    payment: Option<Arc<str>>,
    switches: Arc<Switches>,
    tally: Arc<Tally>,
}

impl Bank {
    /// A bank that knows where the payment service is, or does not.
    pub(super) fn new(payment: Option<&str>, switches: Arc<Switches>, tally: Arc<Tally>) -> Self {
        Self { http: Http::new(PATIENCE), payment: payment.map(Into::into), switches, tally }
    }

    /// Tells the shop that a buyer has confirmed a payment.
    pub(super) async fn call(&self, payment: &str) {
        let Some(shop) = &self.payment else { return };
        self.tally.confirmed();
        let (after, times) = match self.switches.now().webhooks {
            None => (Duration::ZERO, 1),
            Some(Webhooks::Late) => (LATE, 1),
            Some(Webhooks::Repeated) => (Duration::ZERO, TIMES),
            Some(Webhooks::Lost) => return,
        };
        tokio::time::sleep(after).await;
        let body = json!({"id": SystemClock.new_id(), "payment": payment}).to_string();
        for _ in 0..times {
            let request = Request::post(format!("{shop}/webhooks/sandbox"));
            let answer = self.http.send(request.header(header::CONTENT_TYPE, "application/json"), body.clone()).await;
            let is_taken = answer.is_ok_and(|answer| answer.status().is_success());
            self.tally.webhook(is_taken);
        }
    }
}
