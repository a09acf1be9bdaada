//! What the shop says about itself while the shoppers are at it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use http::{Request, header};
use parking_lot::Mutex;
use serde_json::Value;
use shop_runtime::CancellationToken;
use tokio::time::Instant;

use super::calls::Http;

/// Time between two looks: breakers of the demo are open for a few seconds, and must not slip through.
const EVERY: Duration = Duration::from_millis(500);

/// Whom to ask.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The gateway.
    pub gateway: String,
    /// Where it tells operators how it is.
    pub operators: String,
    /// What its admin API asks for, if anything.
    pub token: Option<String>,
    /// The payment service, when it can be reached.
    pub payment: Option<String>,
    /// The notification service, when it can be reached.
    pub notification: Option<String>,
}

/// What was heard last. What nobody told is none.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    /// Breakers by service.
    pub(super) breakers: BTreeMap<String, String>,
    /// Services whose breaker was seen open.
    pub(super) opened: BTreeSet<String>,
    /// Calls that the gateway repeated.
    pub(super) retries: Option<u64>,
    /// Events that wait.
    pub(super) outbox: Option<u64>,
    /// The most that ever waited.
    pub(super) outbox_most: u64,
    /// Notifications sent, and waiting.
    pub(super) notified: Option<(u64, u64)>,
    /// When the outbox was last looked at.
    pub(super) at: Option<Instant>,
}

/// Makes sure that somebody answers at `gateway`.
pub(super) async fn reach(gateway: &str) -> anyhow::Result<()> {
    let request = Request::get(format!("{gateway}/health/live"));
    let answer = Http::new(Duration::from_secs(5)).send(request, "").await;
    answer.map(drop).with_context(|| format!("no gateway answers at {gateway}; start one, or correct --url"))
}

/// Looks regularly.
#[derive(Debug)]
pub(super) struct Watch {
    http: Http,
    sources: Sources,
    latest: Mutex<Figures>,
}

impl Watch {
    /// Has not looked yet.
    pub(super) fn new(sources: Sources) -> Self {
        Self { http: Http::new(Duration::from_secs(2)), sources, latest: Mutex::default() }
    }

    /// What was heard last.
    pub(super) fn latest(&self) -> Figures {
        self.latest.lock().clone()
    }

    /// Looks until `stop`.
    pub(super) async fn run(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let next = Instant::now() + EVERY;
            if stop.run_until_cancelled(self.look()).await.is_none() {
                return;
            }
            let _ = stop.run_until_cancelled(tokio::time::sleep_until(next)).await;
        }
    }

    async fn look(&self) {
        let at = Instant::now();
        let Sources { operators, payment, notification, .. } = &self.sources;
        let (services, metrics, payment, notification) = tokio::join!(
            self.read(Some(operators), "/admin/services"),
            self.read(Some(operators), "/metrics"),
            self.read(payment.as_ref(), "/metrics"),
            self.read(notification.as_ref(), "/metrics"),
        );
        let mut latest = self.latest.lock();
        if let Some(services) = services.and_then(|text| serde_json::from_str(&text).ok()) {
            latest.breakers = breakers(&services);
            let open = latest.breakers.iter().filter(|(_, state)| *state != "closed").map(|(name, _)| name.clone());
            let open: Vec<_> = open.collect();
            latest.opened.extend(open);
        }
        if let Some(text) = metrics {
            latest.retries = sum(&text, "gateway_retries_total", "");
        }
        if let Some(text) = payment {
            latest.outbox = sum(&text, "payment_outbox_pending", "");
            latest.outbox_most = latest.outbox_most.max(latest.outbox.unwrap_or_default());
            latest.at = Some(at);
        }
        if let Some(text) = notification {
            let sent = sum(&text, "notification_attempts_total", "outcome=\"sent\"").unwrap_or_default();
            latest.notified = Some((sent, sum(&text, "notification_pending", "").unwrap_or_default()));
        }
    }

    async fn read(&self, base: Option<&String>, path: &str) -> Option<String> {
        let mut request = Request::get(format!("{}{path}", base?));
        if let Some(token) = self.sources.token.as_ref().filter(|_| path.starts_with("/admin/")) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let answer = self.http.send(request, "").await.ok().filter(|answer| answer.status().is_success())?;
        String::from_utf8(answer.into_body().into()).ok()
    }
}

/// The worst state among a service's breakers.
fn breakers(services: &Value) -> BTreeMap<String, String> {
    let order = ["closed", "half_open", "open"];
    let worst = |service: &Value| {
        let backends = ["backends", "grpc_backends"].into_iter().filter_map(|list| service[list].as_array()).flatten();
        let states = backends.filter_map(|backend| backend["circuit_breaker"].as_str());
        states.max_by_key(|state| order.iter().position(|known| known == state)).map(str::to_owned)
    };
    let list = services["services"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|service| Some((service["name"].as_str()?.to_owned(), worst(service)?))).collect()
}

/// All series of a metric whose labels contain `label`, summed up; none when there is no such metric.
fn sum(text: &str, name: &str, label: &str) -> Option<u64> {
    let series = text.lines().filter_map(|line| line.strip_prefix(name)).filter_map(|rest| {
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.split_once('}')?,
            None => ("", rest.strip_prefix(' ')?),
        };
        Some((labels, value.split_whitespace().next()?.parse::<f64>().ok()?))
    });
    let found: Vec<_> = series.collect();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole numbers that are never negative"
    )]
    let total = found.iter().filter(|(labels, _)| labels.contains(label)).map(|(_, value)| *value).sum::<f64>() as u64;
    (!found.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn series_are_summed_by_name_and_label() {
        let text = "# HELP sent_total Sent.\nsent_total{how=\"mail\",outcome=\"sent\"} 3\nsent_total{outcome=\"dead\"} 4\n\
            sent_total_more 9\nwaiting 2\n";
        assert_eq!(sum(text, "sent_total", ""), Some(7));
        assert_eq!(sum(text, "sent_total", "outcome=\"sent\""), Some(3));
        assert_eq!(sum(text, "sent_total", "outcome=\"later\""), Some(0));
        assert_eq!(sum(text, "waiting", ""), Some(2));
        assert_eq!(sum(text, "sent", ""), None);
    }

    #[test]
    fn a_service_is_as_open_as_the_worst_of_its_breakers() {
        let one = |states: &[&str]| -> Value { states.iter().map(|state| json!({"circuit_breaker": state})).collect() };
        let services = json!({"services": [
            {"name": "product", "backends": one(&["closed", "open"]), "grpc_backends": one(&["half_open"])},
            {"name": "basket", "backends": one(&["closed"]), "grpc_backends": []},
            {"name": "payment", "backends": [{"circuit_breaker": null}]},
        ]});
        let expected = [("basket".to_owned(), "closed".to_owned()), ("product".to_owned(), "open".to_owned())];
        assert_eq!(breakers(&services), expected.into());
    }
}
