//! The gRPC side: the same catalogue, and the stock side of a checkout.

use shop_proto::common::v1::Money;
use shop_proto::product::v1::{
    CreateProductRequest, DeleteProductRequest, GetProductRequest, GetProductsRequest, ProductSort,
    ReleaseStockRequest, ReserveStockRequest, StockLine, UpdateProductRequest,
};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::harness::Running;

fn new(name: &str, stock_quantity: i64) -> CreateProductRequest {
    CreateProductRequest {
        name: name.to_owned(),
        price: Some(Money { minor_units: 1250, currency: "USD".to_owned() }),
        stock_quantity,
        category: "things".to_owned(),
        ..CreateProductRequest::default()
    }
}

fn reserve(id: Uuid, product_id: i64, quantity: u32) -> ReserveStockRequest {
    let lines = vec![StockLine { product_id, quantity }];
    ReserveStockRequest { reservation_id: id.to_string(), lines, ..Default::default() }
}

/// The gRPC code and the stable code of a refusal.
fn codes(status: Status) -> (Code, String) {
    let code = status.code();
    (code, shop_rpc::fault(status).code().to_owned())
}

async fn add(service: &mut Running, name: &str, stock: i64) -> i64 {
    let made = service.grpc.create_product(new(name, stock)).await.expect("is made").into_inner();
    made.product.expect("a product").id
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_is_the_same_as_over_http() {
    let mut service = Running::start().await;
    let id = add(&mut service, "desk", 7).await;
    assert_eq!(service.product(id).await["price"], 12.5);
    let read = service.grpc.get_product(GetProductRequest { id }).await.expect("is there").into_inner().product;
    let read = read.expect("a product");
    assert_eq!((read.available_quantity, read.version, read.image_url), (7, 1, None));

    let edit = UpdateProductRequest {
        id,
        name: "wide desk".to_owned(),
        price: Some(Money { minor_units: 900, currency: "JPY".to_owned() }),
        stock_quantity: 9,
        category: "things".to_owned(),
        expected_version: Some(1),
        ..UpdateProductRequest::default()
    };
    let edited = service.grpc.update_product(edit.clone()).await.expect("is changed").into_inner().product;
    assert_eq!(edited.expect("a product").version, 2);
    let late = service.grpc.update_product(edit).await.expect_err("has changed");
    assert_eq!(codes(late), (Code::Aborted, "precondition_failed".to_owned()));

    let delete = |expected_version| DeleteProductRequest { id, expected_version };
    service.grpc.delete_product(delete(Some(1))).await.expect_err("has changed");
    service.grpc.delete_product(delete(Some(2))).await.expect("is removed");
    let gone = service.grpc.get_product(GetProductRequest { id }).await.expect_err("is gone");
    assert_eq!(codes(gone), (Code::NotFound, "product_not_found".to_owned()));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_is_named_field_by_field() {
    let mut service = Running::start().await;
    let refused = service.grpc.create_product(CreateProductRequest::default()).await.expect_err("is refused");
    let fault = shop_rpc::fault(refused);
    let fields: Vec<_> = fault.fields().iter().map(|field| field.field.as_str()).collect();
    assert_eq!(fields, ["name", "category", "price"]);
    let refused = service.stock.release_stock(ReleaseStockRequest { reservation_id: "x".to_owned() }).await;
    assert_eq!(codes(refused.expect_err("no id")), (Code::InvalidArgument, "validation_failed".to_owned()));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn products_are_read_by_id_and_by_filter() {
    let mut service = Running::start().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(add(&mut service, &format!("desk {n}"), n).await);
    }
    let by_id = GetProductsRequest { ids: vec![ids[3], 999, ids[0]], ..GetProductsRequest::default() };
    let found = service.grpc.get_products(by_id).await.expect("answers").into_inner().products;
    assert_eq!(found.iter().map(|product| product.id).collect::<Vec<_>>(), [ids[0], ids[3]]);

    let mut page = GetProductsRequest {
        limit: 2,
        q: Some("desk".to_owned()),
        in_stock: Some(true),
        min_price: Some(Money { minor_units: 1, currency: String::new() }),
        sort: ProductSort::NameDesc.into(),
        ..GetProductsRequest::default()
    };
    let first = service.grpc.get_products(page.clone()).await.expect("answers").into_inner();
    page.cursor.clone_from(&first.next_cursor);
    let second = service.grpc.get_products(page.clone()).await.expect("answers").into_inner();
    let names: Vec<_> = [first.products, second.products].concat().into_iter().map(|product| product.name).collect();
    assert_eq!(names, ["desk 4", "desk 3", "desk 2", "desk 1"]);
    assert_eq!(second.next_cursor, "");

    for bad in [
        GetProductsRequest { limit: 101, ..GetProductsRequest::default() },
        GetProductsRequest { sort: 99, ..GetProductsRequest::default() },
        GetProductsRequest { ids: vec![1; 101], ..GetProductsRequest::default() },
        GetProductsRequest { q: Some("other".to_owned()), ..page.clone() },
        GetProductsRequest { max_price: Some(Money { minor_units: 1, currency: "EUR".to_owned() }), ..page.clone() },
    ] {
        let refused = service.grpc.get_products(bad.clone()).await.expect_err("is refused");
        assert_eq!(refused.code(), Code::InvalidArgument, "{bad:?}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_holds_stock_and_gives_it_back() {
    let mut service = Running::start().await;
    let id = add(&mut service, "desk", 7).await;
    let reservation = Uuid::new_v4();
    let mut held = async |quantity| service.stock.reserve_stock(reserve(reservation, id, quantity)).await;
    assert!(held(3).await.expect("is held").into_inner().created);
    assert!(!held(3).await.expect("stands already").into_inner().created);
    assert_eq!(
        codes(held(4).await.expect_err("other lines")),
        (Code::FailedPrecondition, "reservation_mismatch".to_owned())
    );
    let product = service.product(id).await;
    assert_eq!((&product["stock_quantity"], &product["available_quantity"]), (&7.into(), &4.into()));

    let (status, problem) = service.api.delete(&format!("/products/{id}")).await;
    assert_eq!((status, &problem["code"]), (409, &"product_reserved".into()));

    let release = || ReleaseStockRequest { reservation_id: reservation.to_string() };
    assert!(service.stock.release_stock(release()).await.expect("is released").into_inner().released);
    assert!(!service.stock.release_stock(release()).await.expect("a repeat").into_inner().released);
    let late = service.stock.reserve_stock(reserve(reservation, id, 3)).await.expect_err("is closed");
    assert_eq!(codes(late), (Code::FailedPrecondition, "reservation_closed".to_owned()));
    assert_eq!(service.product(id).await["available_quantity"], 7);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_short_lines_come_as_violations() {
    let mut service = Running::start().await;
    let id = add(&mut service, "desk", 2).await;
    let short = service.stock.reserve_stock(reserve(Uuid::new_v4(), id, 3)).await.expect_err("is short");
    assert_eq!(short.code(), Code::FailedPrecondition);
    let fault = shop_rpc::fault(short);
    assert_eq!(fault.code(), "insufficient_stock");
    let violation = &fault.violations()[0];
    assert_eq!((violation.subject.as_str(), violation.kind.as_str()), ("products/1", "insufficient_stock"));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_currency_is_left_out_by_an_empty_text_and_not_by_a_blank_one() {
    let mut service = Running::start().await;
    let priced = |currency: &str| CreateProductRequest {
        price: Some(Money { minor_units: 1250, currency: currency.to_owned() }),
        ..new("desk", 1)
    };
    let made = service.grpc.create_product(priced("")).await.expect("is made").into_inner().product;
    assert_eq!(made.and_then(|product| product.price).map(|price| price.currency).as_deref(), Some("USD"));
    let refused = codes(service.grpc.create_product(priced(" ")).await.expect_err("a blank"));
    assert_eq!(refused, (Code::InvalidArgument, "validation_failed".to_owned()));
    let named = CreateProductRequest { name: "\u{200b}".to_owned(), ..priced("USD") };
    let refused = codes(service.grpc.create_product(named).await.expect_err("nothing to see"));
    assert_eq!(refused, (Code::InvalidArgument, "validation_failed".to_owned()));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_under_the_same_key_gets_the_same_answer() {
    let mut service = Running::start().await;
    let keyed = |name: &str| {
        let mut request = tonic::Request::new(new(name, 7));
        request.metadata_mut().insert("idempotency-key", "desk-1".parse().expect("a key"));
        request
    };
    let first = service.grpc.create_product(keyed("desk")).await.expect("is made").into_inner();
    let again = service.grpc.create_product(keyed(" desk ")).await.expect("is the same request");
    assert!(again.metadata().contains_key("idempotency-replayed"));
    assert_eq!(again.into_inner(), first);
    let other = service.grpc.create_product(keyed("lamp")).await.expect_err("is another request");
    assert_eq!(codes(other), (Code::InvalidArgument, "idempotency_key_reused".to_owned()));
    let (_, page) = service.api.get("/products").await;
    assert_eq!(page["products"].as_array().map(Vec::len), Some(1), "{page}");
    service.stop().await;
}
