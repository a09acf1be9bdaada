//! Providers that call. What they say is not believed; the provider is asked, and nobody learns anything from the answer.

use prometheus::IntCounterVec;
use salvo::prelude::*;
use shop_fault::{Fault, Kind};
use shop_rpc::detached;
use shop_telemetry::Metrics;
use shop_web::{Problem, RawBody};

use super::Api;
use crate::application::{Bells, Rung};
use crate::domain::STRIPE;

/// The longest call. Stripe's are a few thousand bytes.
const LONGEST: usize = 256 * 1024;

/// Who listens, and what the metrics say of it.
#[derive(Clone)]
pub(crate) struct Webhooks {
    bells: Bells,
    calls: IntCounterVec,
}

impl Webhooks {
    pub(crate) fn new(bells: Bells, metrics: &Metrics) -> Self {
        let help = "Webhooks of payment providers, by what became of them.";
        Self { bells, calls: metrics.counters("payment_webhooks_total", help, &["provider", "outcome"]) }
    }
}

#[craft]
impl Api {
    /// Takes Stripe's webhooks. It is told 200 for whatever is nobody's business here, too: otherwise it would send that for days. Not
    /// an operation of the interface: its form is Stripe's, and nobody else has a use for it.
    #[craft(handler)]
    pub(super) async fn stripe_webhook(
        &self,
        body: RawBody<LONGEST>,
        req: &mut Request,
        res: &mut Response,
    ) -> Result<(), Problem> {
        let signature = req.header::<String>("stripe-signature").unwrap_or_default();
        let Webhooks { bells, calls } = self.webhooks.clone();
        let rung = detached(&self.tasks, async move { bells.ring(STRIPE, &signature, &body.0).await }).await??;
        calls.with_label_values(&[STRIPE, rung.as_str()]).inc();
        match rung {
            Rung::Unsigned => {
                let message = "Stripe-Signature is missing, too old, or not made with a secret that is known here";
                Err(Fault::new(Kind::Malformed, "signature_invalid", message).into())
            }
            Rung::Again => {
                let message = "the provider does not answer, and what it called about is not known yet";
                Err(Fault::new(Kind::Unavailable, "provider_unavailable", message).into())
            }
            Rung::Booked | Rung::Repeated | Rung::Foreign | Rung::Later | Rung::Amiss | Rung::Unreadable => {
                res.status_code(StatusCode::OK);
                Ok(())
            }
        }
    }
}
