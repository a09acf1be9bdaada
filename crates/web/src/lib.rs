//! The HTTP edge that every service shares, on Salvo: extractors, problems, pages, idempotency, the document, the server.
//! What does not ask for a framework is in [`shop_http`], [`shop_input`], [`shop_page`] and [`shop_idempotency`].
//!
//! A service builds a [`Router`](salvo::Router) of `#[endpoint]` handlers, hands it to [`service`] and runs the
//! result with [`serve`]. Everything in between (request id, trace context, access log, metrics, limits, uniform
//! errors) happens in one hoop, so the way of a request reads top to bottom in `edge.rs`.

mod accept;
mod answer;
pub mod describe;
mod docs;
mod document;
mod doors;
mod edge;
pub mod etag;
mod extract;
pub mod idempotency;
mod metrics;
mod operations;
pub mod page;
pub mod precondition;
mod problem;
mod request_id;
pub mod schema;
mod serve;
mod service;

pub use document::About;
pub use doors::Doors;
pub use extract::{OptionalJson, Path, Query, RawBody, StrictJson};
pub use problem::Problem;
pub use request_id::request_id;
pub use serve::serve;
pub use service::{Parts, operations_service, service};
pub use shop_runtime::Health;
