//! docs/access.md is what the services do: every operation over HTTP and gRPC is asked by every kind of caller, on the service's
//! own port and through the gateway. `make access-docs` writes the page; read what changed in it.
//!
//! The operations are those that the services describe, so a new one is asked, too; without a row in its service's table it
//! is for nobody, and this test says so.

mod callers;
mod calls;
mod keys;
mod page;
mod shop;

use crate::callers::Caller;
use crate::page::{Cell, Row};
use crate::shop::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_do_what_the_page_says_and_nothing_else() {
    let shop = Shop::start().await;
    let mut http = Vec::new();
    for operation in shop.http_operations().await {
        let mut cells = Vec::new();
        for caller in Caller::ALL {
            let direct = shop.ask_http(&operation, caller, false).await;
            cells.push(direct);
            if !operation.is_routed() {
                continue;
            }
            let through = shop.ask_http(&operation, caller, true).await;
            shop.ensure(through == behind(direct, caller), || {
                format!("{operation} by {caller:?}: {direct:?}, through the gateway {through:?}")
            });
        }
        shop.refuses_bad_tokens_http(&operation).await;
        http.push(Row { name: operation.to_string(), cells });
    }
    let mut grpc = Vec::new();
    for operation in shop::grpc_operations() {
        let mut cells = Vec::new();
        for caller in Caller::ALL {
            let direct = shop.ask_grpc(&operation, caller, false).await;
            let through = shop.ask_grpc(&operation, caller, true).await;
            let expected = if operation.is_internal() { Cell::NoRoute } else { behind(direct, caller) };
            shop.ensure(through == expected, || {
                format!("{operation} by {caller:?}: {direct:?}, through the gateway {through:?}")
            });
            cells.push(direct);
        }
        shop.refuses_bad_tokens_grpc(&operation).await;
        grpc.push(Row { name: operation.to_string(), cells });
    }
    shop.stop().await;
    for row in http.iter().chain(&grpc) {
        let is_for_somebody = row.cells.contains(&Cell::LetIn);
        assert!(
            is_for_somebody,
            "{} has no row in its service's interface/access.rs, or one that is for nobody",
            row.name
        );
    }
    page::compare(&http, &grpc);
}

/// What is heard through the gateway of what a service says to `caller`: what services show each other is not good there.
fn behind(direct: Cell, caller: Caller) -> Cell {
    if caller.service().is_some() { Cell::Unauthenticated } else { direct }
}

/// What a stranger on the network can do: read products and health, and start a guest.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_can_read_products_and_start_a_guest_and_nothing_else() {
    let shop = Shop::start().await;
    let mut open = Vec::new();
    for operation in shop.http_operations().await {
        if shop.ask_http(&operation, Caller::Nobody, false).await == Cell::LetIn {
            open.push(operation.to_string());
        }
    }
    for operation in shop::grpc_operations() {
        if shop.ask_grpc(&operation, Caller::Nobody, false).await == Cell::LetIn {
            open.push(operation.to_string());
        }
    }
    shop.stop().await;
    open.sort();
    assert_eq!(
        open,
        [
            "GET /products",
            "GET /products/{id}",
            "POST /guests",
            "shop.basket.v1.BasketService/CreateGuest",
            "shop.product.v1.ProductService/GetProduct",
            "shop.product.v1.ProductService/GetProducts",
        ]
    );
}
