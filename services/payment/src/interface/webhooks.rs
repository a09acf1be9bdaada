//! Providers that call. What they say is not believed; the provider is asked, and nobody learns anything from the answer.

use prometheus::IntCounterVec;
use salvo::prelude::*;
use shop_fault::{Fault, Kind};
use shop_rpc::detached;
use shop_telemetry::Metrics;
use shop_web::{Problem, RawBody};

use super::Api;
use crate::application::{Bells, Rung};
use crate::domain::{SANDBOX, STRIPE};

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
        let calls = metrics.counters("payment_webhooks_total", help, &["provider", "outcome"]);
        for provider in [STRIPE, SANDBOX] {
            // An alert looks for the first one, too, which is none more than nothing.
            calls.with_label_values(&[provider, Rung::Amiss.as_str()]);
        }
        Self { bells, calls }
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
        self.called(STRIPE, signature, body, res).await
    }

    /// Takes the calls of whoever plays the sandbox's bank: `{"id": …, "payment": …}`. Neither an operation; the gateway does not pass
    /// it on.
    #[craft(handler)]
    pub(super) async fn sandbox_webhook(&self, body: RawBody<LONGEST>, res: &mut Response) -> Result<(), Problem> {
        self.called(SANDBOX, String::new(), body, res).await
    }
}

impl Api {
    async fn called(
        &self,
        provider: &'static str,
        signature: String,
        body: RawBody<LONGEST>,
        res: &mut Response,
    ) -> Result<(), Problem> {
        let Webhooks { bells, calls } = self.webhooks.clone();
        let rung = detached(&self.tasks, async move { bells.ring(provider, &signature, &body.0).await }).await??;
        calls.with_label_values(&[provider, rung.as_str()]).inc();
        match rung {
            Rung::Unsigned => {
                let message = "the signature is missing, too old, or not made with a secret that is known here";
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
