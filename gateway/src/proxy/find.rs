//! Which route a request is for.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderValue;
use shop_http1::request_head;

use super::grpc_web::Web;
use super::visit::Visit;
use crate::message::path;
use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::routing::operation::SERVER;
use crate::routing::routes::{Route, Table};

impl<'g> Visit<'g> {
    pub(super) fn route(
        &mut self,
        table: &'g Table,
        path: &str,
        host: &HeaderValue,
        head: &request_head::Parts,
    ) -> Result<&'g Route, Refusal> {
        let web = if table.has_grpc_web && !self.is_grpc { Web::of(head) } else { None };
        if web.is_some() && table.find(true, path, host, head).is_some_and(|route| route.grpc_web) {
            self.web = web;
            self.is_grpc = true;
        }
        let Some(route) = table.find(self.is_grpc, path, host, head) else {
            let detail = if self.is_grpc && table.is_everybodys(path) {
                "every service has this one; say whose with the metadata shop-service".to_owned()
            } else {
                format!("no route leads to {path}")
            };
            return Err(Refusal::new(Reason::NoRoute, detail));
        };
        if let Some(other) = path::other_reading(path) {
            let guarded = table.find(self.is_grpc, &other, host, head).filter(|route| route.is_guarded());
            if guarded.is_some_and(|guarded| !Arc::ptr_eq(guarded, route)) {
                let detail = "some servers would read the path as another one, which not everybody may use";
                return Err(Refusal::new(Reason::BadPath, detail));
            }
        }
        let service = route.destinations().next().map(|to| &to.service.metrics);
        self.record.routed(&route.numbers, service);
        self.route = Some(route);
        Ok(route)
    }
}

/// The one form of `path`; that of the server itself stays.
pub(super) fn normal(path: &str) -> Result<Cow<'_, str>, Refusal> {
    if path == SERVER {
        return Ok(path.into());
    }
    path::normalise(path).map_err(|error| Refusal::new(Reason::BadPath, error.to_string()))
}
