//! Who may do what, asked of the service's own ports.

use std::time::Duration;

use serde_json::Value;
use shop_identity::{Identity, IdentitySettings, Mode, Role, Signer};
use shop_proto::common::v1::Money;
use shop_proto::product::v1::{
    CreateProductRequest, DeleteProductRequest, GetProductRequest, GetProductsRequest, ReleaseStockRequest,
    ReserveStockRequest, StockLine, UpdateProductRequest,
};
use shop_testing::Reply;
use tonic::{Code, Request, Status};
use uuid::Uuid;

use crate::harness::{Running, desk};

/// A service that wants to know who calls.
struct Shop {
    service: Running,
    settings: IdentitySettings,
    signer: Identity,
}

impl Shop {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key.pem");
        std::fs::write(&file, Signer::generate().expect("a key")).expect("writes");
        let mut settings = IdentitySettings { mode: Mode::Required, ..IdentitySettings::default() };
        settings.internal.key_file = Some(file);
        let url = format!("sqlite://{}", folder.path().join("product.db").display());
        let signer = Identity::open(&settings, "test").expect("opens");
        let service = Running::start_with(&url, folder, settings.clone()).await;
        Self { service, settings, signer }
    }

    /// What a person shows.
    fn person(&self, roles: &[Role]) -> String {
        let token = self.signer.signer().expect("a key").person("ada", roles, Duration::from_hours(1));
        format!("Bearer {token}")
    }

    /// What the service `name` shows to `callee`.
    fn service(&self, name: &'static str, callee: &'static str) -> String {
        let shown = Identity::open(&self.settings, name).expect("opens").credential(callee).authorization();
        shown.expect("a credential").to_str().expect("is ASCII").to_owned()
    }

    async fn ask(&self, shown: &str, method: &str, path: &str, body: &Value) -> Reply {
        let request = self.service.api.request(method.parse().expect("a method"), path);
        let request = if shown.is_empty() { request } else { request.header("authorization", shown) };
        self.service.api.send(if body.is_null() { request } else { request.json(body) }).await
    }
}

fn by<T>(shown: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if !shown.is_empty() {
        request.metadata_mut().insert("authorization", shown.parse().expect("a value"));
    }
    request
}

fn said(refused: Result<impl Sized, Status>) -> (Code, String) {
    let status = refused.map(drop).expect_err("is refused");
    (status.code(), shop_rpc::fault(status).code().to_owned())
}

fn new() -> CreateProductRequest {
    CreateProductRequest {
        name: "desk".to_owned(),
        price: Some(Money { minor_units: 1250, currency: "USD".to_owned() }),
        stock_quantity: 7,
        category: "things".to_owned(),
        ..CreateProductRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_reads_the_catalogue_and_its_keepers_change_it() {
    let mut shop = Shop::start().await;
    let keeper = shop.person(&[Role::Catalogue]);
    let made = shop.ask(&keeper, "POST", "/products", &desk()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.json()["id"].as_i64().expect("an id");
    let one = format!("/products/{id}");
    for path in ["/products", &one] {
        assert_eq!(shop.ask("", "GET", path, &Value::Null).await.status, 200, "{path}");
        let bad = shop.ask("Bearer a.b.c", "GET", path, &Value::Null).await;
        let _ = bad.problem(401, "token_invalid");
    }
    shop.service.grpc.get_product(GetProductRequest { id }).await.expect("is read");
    shop.service.grpc.get_products(GetProductsRequest::default()).await.expect("are read");

    let (shopper, support, basket) =
        (shop.person(&[]), shop.person(&[Role::Support]), shop.service("basket", "product"));
    for (shown, status, code, grpc) in [
        ("", 401, "token_missing", Code::Unauthenticated),
        (&*shopper, 403, "forbidden", Code::PermissionDenied),
        (&*support, 403, "forbidden", Code::PermissionDenied),
        (&*basket, 403, "forbidden", Code::PermissionDenied),
    ] {
        for (method, path, body) in [
            ("POST", "/products", desk()),
            ("PUT", &*one, desk()),
            ("DELETE", &*one, Value::Null),
            // Who may not ask hears nothing of what is there.
            ("DELETE", "/products/999", Value::Null),
        ] {
            let refused = shop.ask(shown, method, path, &body).await;
            let _ = refused.problem(status, code);
            assert!(refused.header("www-authenticate").starts_with("Bearer"), "{refused:?}");
        }
        let grpc = (grpc, code.to_owned());
        assert_eq!(said(shop.service.grpc.create_product(by(shown, new())).await), grpc);
        let update = UpdateProductRequest { id, ..UpdateProductRequest::default() };
        assert_eq!(said(shop.service.grpc.update_product(by(shown, update)).await), grpc);
        let delete = DeleteProductRequest { id, ..DeleteProductRequest::default() };
        assert_eq!(said(shop.service.grpc.delete_product(by(shown, delete)).await), grpc);
    }
    let seen = shop.ask("", "GET", &one, &Value::Null).await;
    assert_eq!(seen.header("etag"), "\"v1\"", "nothing changed it");
    assert_eq!(shop.ask(&keeper, "PUT", &one, &desk()).await.status, 200);
    assert_eq!(shop.ask(&keeper, "DELETE", &one, &Value::Null).await.status, 204);
    shop.service.grpc.create_product(by(&keeper, new())).await.expect("is made");
    shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_says_what_asks_for_a_token() {
    let shop = Shop::start().await;
    let document = shop.ask("", "GET", "/openapi.json", &Value::Null).await.json();
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let reply = shop.ask("", &method.to_uppercase(), &path.replace("{id}", "1"), &Value::Null).await;
            let is_open = operation["security"][0] == serde_json::json!({});
            assert_eq!(reply.status != 401, is_open, "{method} {path}: {reply:?}");
            assert_eq!(operation["responses"]["403"].is_null(), is_open, "{method} {path}");
            assert!(operation["responses"]["401"].is_object(), "{method} {path}");
            asked += usize::from(!is_open);
        }
    }
    assert_eq!(asked, 5, "who changes the catalogue says who he is");
    let said = &document["paths"]["/products"]["post"]["responses"]["403"]["description"];
    assert_eq!(said, "`forbidden`: for the role `catalogue`");
    shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_is_reserved_by_the_payment_service_alone() {
    let mut shop = Shop::start().await;
    let made = shop.service.grpc.create_product(by(&shop.person(&[Role::Catalogue]), new())).await.expect("is made");
    let product_id = made.into_inner().product.expect("a product").id;
    let reservation = Uuid::new_v4().to_string();
    let reserve = || ReserveStockRequest {
        reservation_id: reservation.clone(),
        lines: vec![StockLine { product_id, quantity: 3 }],
        ..Default::default()
    };
    let release = || ReleaseStockRequest { reservation_id: reservation.clone() };
    let payment = shop.service("payment", "product");
    let strangers = [
        (String::new(), Code::Unauthenticated, "token_missing"),
        (shop.person(&[]), Code::PermissionDenied, "forbidden"),
        (shop.person(&Role::ALL), Code::PermissionDenied, "forbidden"),
        (shop.service("basket", "product"), Code::PermissionDenied, "forbidden"),
        (shop.service("payment", "basket"), Code::Unauthenticated, "token_invalid"),
    ];
    for held in [false, true] {
        for (shown, code, reason) in &strangers {
            let refused = (*code, (*reason).to_owned());
            assert_eq!(said(shop.service.stock.reserve_stock(by(shown, reserve())).await), refused);
            assert_eq!(said(shop.service.stock.release_stock(by(shown, release())).await), refused);
        }
        let available = if held { 4 } else { 7 };
        assert_eq!(shop.service.product(product_id).await["available_quantity"], available);
        if !held {
            let created = shop.service.stock.reserve_stock(by(&payment, reserve())).await.expect("is held");
            assert!(created.into_inner().created);
        }
    }
    let released = shop.service.stock.release_stock(by(&payment, release())).await.expect("is released");
    assert!(released.into_inner().released);
    shop.service.stop().await;
}
