//! `/openapi.json`, and `/docs`, where people read it and try it out.

use salvo::{Depot, FlowCtrl, Handler, Request, Response, Router, async_trait};
use shop_identity::Guard;
use shop_reference::Document;

use crate::answer::answer;
use crate::document::{self, About};

/// The routes for what `router` documents about itself.
pub(crate) fn routes(about: About, guard: &Guard, router: &Router) -> Router {
    let document = document::of(about, guard, router);
    Router::new()
        .push(Router::with_path("openapi.json").get(Described(Document::new(document))))
        .push(Router::with_path("docs").get(Page))
        .push(Router::with_path("docs/{part}").get(Page))
}

/// The document.
struct Described(Document);

#[async_trait]
impl Handler for Described {
    async fn handle(&self, req: &mut Request, _depot: &mut Depot, res: &mut Response, _ctrl: &mut FlowCtrl) {
        answer(self.0.answer(req.headers()), res);
    }
}

/// The page and its parts.
struct Page;

#[async_trait]
impl Handler for Page {
    async fn handle(&self, req: &mut Request, _depot: &mut Depot, res: &mut Response, _ctrl: &mut FlowCtrl) {
        let part = req.params().get("part").map_or("", String::as_str);
        match shop_reference::page(part, req.headers()) {
            Some(page) => answer(page, res),
            None => {
                res.status_code(http::StatusCode::NOT_FOUND);
            }
        }
    }
}
