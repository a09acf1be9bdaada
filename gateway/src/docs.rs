//! The reference of the whole API as clients call it: `/docs`, and `/openapi.json`, which is made of what the services say
//! of themselves when somebody asks. No call to a service ever waits for it.

mod ask;
mod merge;
mod names;
mod refusals;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures_util::future::join_all;
use http::request::Parts;
use http::{HeaderValue, Method, Response, header};
use serde_json::Value;
use shop_reference::Document;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use self::merge::{Part, State};
use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::routing::Service;
use crate::state::generation::Generation;

/// How long a document is good in which a service is missing: it may be back any moment.
const SHORT: Duration = Duration::from_secs(5);

/// A route of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// `/openapi.json`: the document.
    Document,
    /// `/docs` and below: the page, by the name of its part.
    Page(&'a str),
}

impl<'a> Route<'a> {
    /// The route at `path`, if the reference is switched on.
    pub(crate) fn find(generation: &Generation, path: &'a str) -> Option<Self> {
        if !generation.config.docs.enabled {
            return None;
        }
        match path {
            "/openapi.json" => Some(Self::Document),
            "/docs" => Some(Self::Page("")),
            _ => path.strip_prefix("/docs/").map(Self::Page),
        }
    }

    /// As logs name it.
    pub(crate) const fn pattern(self) -> &'static str {
        match self {
            Self::Document => "/openapi.json",
            Self::Page(_) => "/docs/*",
        }
    }

    /// Whether it costs of a client's rate. The parts of the page do not: it asks for all at once, the first time, and would
    /// use up half of what a client may do at once.
    pub(crate) fn is_counted(self) -> bool {
        matches!(self, Self::Document | Self::Page(""))
    }

    /// The answer.
    pub(crate) async fn answer(
        self,
        docs: &Docs,
        generation: &Generation,
        head: &Parts,
    ) -> Result<Response<Bytes>, Refusal> {
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Err(Refusal::of_method(self.pattern(), &head.method, "GET, HEAD"));
        }
        match self {
            Self::Document => Ok(docs.edition(generation).await.document.answer(&head.headers)),
            // The page names what is next to it, and next to `/docs/` there is nothing.
            Self::Page("") if head.uri.path().ends_with('/') => Ok(moved()),
            Self::Page(part) => shop_reference::page(part, &head.headers)
                .ok_or_else(|| Refusal::new(Reason::NoRoute, "the page has no such part")),
        }
    }
}

fn moved() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = http::StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("../docs"));
    response
}

/// The document, and what it was made of.
#[derive(Default)]
pub(crate) struct Docs {
    latest: ArcSwapOption<Edition>,
    /// What each service said when it was asked last; locked while they are asked, so that this happens once at a time.
    told: Mutex<BTreeMap<Arc<str>, Arc<Value>>>,
}

/// One making of the document.
struct Edition {
    document: Document,
    /// The generation it was made in.
    revision: u64,
    until: Instant,
}

impl Edition {
    fn holds(&self, generation: &Generation) -> bool {
        self.revision == generation.revision && Instant::now() < self.until
    }
}

impl Docs {
    /// The document of this generation, made now when it is old.
    async fn edition(&self, generation: &Generation) -> Arc<Edition> {
        let good = || self.latest.load_full().filter(|latest| latest.holds(generation));
        if let Some(latest) = good() {
            return latest;
        }
        // Should its client leave, the next in line asks again.
        let mut told = self.told.lock().await;
        if let Some(latest) = good() {
            return latest;
        }
        let is_described = |service: &&Arc<Service>| {
            generation.config.services.get(&service.name).is_some_and(|settings| settings.described)
        };
        let described = generation.table.services.iter().filter(is_described);
        let parts = join_all(described.map(|service| ask_one(generation, service, &told))).await;
        told.extend(parts.iter().filter_map(|part| Some((Arc::clone(&part.service), part.document.clone()?))));
        let is_whole = parts.iter().all(|part| matches!(part.state, State::Told | State::Disabled));
        let age = generation.config.docs.max_age.get();
        let edition = Arc::new(Edition {
            document: Document::new(
                merge::merge(&generation.table, &refusals::Refusals::of(generation), &parts).to_string(),
            ),
            revision: generation.revision,
            until: Instant::now() + if is_whole { age } else { age.min(SHORT) },
        });
        self.latest.store(Some(Arc::clone(&edition)));
        edition
    }
}

/// What a service says of itself now, or said when it last answered: names in the document must not depend on who is away.
async fn ask_one(generation: &Generation, service: &Service, told: &BTreeMap<Arc<str>, Arc<Value>>) -> Part {
    let part = |state, document| Part { service: Arc::clone(&service.name), state, document };
    if !service.enabled {
        return part(State::Disabled, None);
    }
    let settings = &generation.config.docs;
    let error = match timeout(settings.timeout.get(), ask::ask(&service.http.members, &settings.path)).await {
        Ok(Ok(document)) => return part(State::Told, Some(Arc::new(document))),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it did not answer within {}", settings.timeout),
    };
    tracing::warn!(service = &*service.name, error, "a service does not describe its API");
    match told.get(&service.name) {
        Some(before) => part(State::Earlier, Some(Arc::clone(before))),
        None => part(State::Missing, None),
    }
}
