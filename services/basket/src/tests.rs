//! The service without its ports: router, events and refresh on a real SQLite store, a catalogue that tests set, and
//! a clock that stands still.

mod catalog;
mod hostile;
mod merge;
mod refresh;
mod routes;

use std::sync::Arc;
use std::time::Duration;

use salvo::Service;
use salvo::http::Method;
use salvo::test::{RequestBuilder, ResponseExt};
use serde_json::Value;
use shop_clock::ManualClock;
use shop_config::{Http, Redis};
use shop_identity::{Identity, IdentitySettings};
use shop_runtime::Shutdown;
use shop_telemetry::Metrics;
use shop_web::Health;
use tempfile::TempDir;
use time::macros::datetime;

use self::catalog::Shelf;
use crate::application::{Commands, Queries};
use crate::domain::Baskets;
use crate::interface::{self, Api};

/// The service on a store of its own.
struct Stage {
    service: Service,
    shelf: Arc<Shelf>,
    clock: Arc<ManualClock>,
    baskets: Arc<dyn Baskets>,
    commands: Commands,
    queries: Queries,
    _folder: TempDir,
}

impl Stage {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(ManualClock::at(datetime!(2026-01-02 12:00 UTC)));
        let url = format!("sqlite://{}", folder.path().join("basket.db").display());
        let opened = crate::infrastructure::open(&Redis::at(&url), clock.clone()).await.expect("a store");
        let shelf = Arc::new(Shelf::default());
        let day = Duration::from_hours(24);
        let commands = Commands::new(opened.store.clone(), shelf.clone(), clock.clone(), day);
        let queries = Queries::new(opened.store.clone(), shelf.clone());
        let identity = Identity::open(&IdentitySettings::off(), "basket").expect("is off");
        let api = Api {
            commands: commands.clone(),
            queries: queries.clone(),
            keys: shop_idempotency::Keys::new(opened.keys),
            clock: clock.clone(),
            identity,
        };
        let parts = shop_web::Parts {
            about: interface::ABOUT,
            metrics: Metrics::new("basket-service"),
            health: Health::new(&Shutdown::new()),
            guard: shop_identity::Guard::open(),
            settings: Http::on(0),
        };
        let service = shop_web::service(interface::routes(&api), parts);
        Self { service, shelf, clock, baskets: opened.store, commands, queries, _folder: folder }
    }

    async fn call(&self, method: Method, path: &str, headers: &[(&'static str, &str)], body: Option<&str>) -> Answer {
        let mut request = RequestBuilder::new(format!("http://basket{path}"), method);
        if let Some(body) = body {
            request = request.raw_json(body.to_owned());
        }
        for (name, value) in headers {
            request = request.add_header(*name, *value, true);
        }
        let mut response = request.send(&self.service).await;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok().map(str::to_owned));
        let (etag, location, kind) = (header("etag"), header("location"), header("content-type"));
        let (retry_after, replayed) = (header("retry-after"), header("idempotency-replayed"));
        let status = response.status_code.map_or(200, |status| status.as_u16());
        let text = response.take_string().await.unwrap_or_default();
        Answer { status, etag, location, kind, retry_after, replayed, text }
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], None).await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        self.call(Method::POST, path, &[], Some(body)).await
    }

    async fn put(&self, path: &str, body: &str) -> Answer {
        self.call(Method::PUT, path, &[], Some(body)).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, &[], None).await
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    status: u16,
    etag: Option<String>,
    location: Option<String>,
    kind: Option<String>,
    retry_after: Option<String>,
    replayed: Option<String>,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// Status and stable code, or `ok`.
    fn code(&self) -> (u16, String) {
        let code = self.json()["code"].as_str().unwrap_or("ok").to_owned();
        assert_eq!(code != "ok", self.kind.as_deref() == Some("application/problem+json"), "{self:?}");
        (self.status, code)
    }

    /// Status and body to the letter, a member a line, ids replaced by what they are.
    fn shown(&self) -> String {
        let mut text = self.text.clone();
        for id in self.text.split('"').filter(|part| uuid::Uuid::parse_str(part).is_ok()) {
            text = text.replace(id, "[uuid]");
        }
        format!("{}\n{}", self.status, text.replace(",\"", ",\n\"").replace("},{", "},\n{"))
    }

    /// Lines as `product × quantity`.
    fn lines(&self) -> Vec<(i64, u64)> {
        let items = self.json()["items"].as_array().cloned().unwrap_or_default();
        let number = |item: &Value, name: &str| item[name].as_u64().unwrap_or_default();
        items.iter().map(|item| (item["product_id"].as_i64().unwrap_or_default(), number(item, "quantity"))).collect()
    }
}
