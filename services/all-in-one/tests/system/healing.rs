//! The shelf heals by itself: what is held without a payment is free again, also where callers have to say who they are.

use shop_identity::{Identity, IdentitySettings};
use shop_proto::product::v1::stock_service_client::StockServiceClient;
use shop_proto::product::v1::{ReserveStockRequest, StockLine};
use tonic::Request;
use uuid::Uuid;

use crate::shop::Shop;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_held_by_a_faulty_caller_are_sold_to_others_in_the_end() {
    let mut identity = None;
    let shop = Shop::embedded_with(|config| {
        config.identity = IdentitySettings::default();
        config.demo = true;
        config.product.settlement.after = shop_config::Duration::secs(1);
        config.product.settlement.interval = shop_config::Duration::millis(50);
        identity = Some(config.identity_here().expect("the suite's own key"));
    })
    .await;
    let (_, available, _) = shop.stock(1).await;
    let payment = Identity::open(&identity.expect("settings"), "payment").expect("opens").credential("product");
    let at = shop.at.product_grpc.expect("a product service");
    let mut stock = StockServiceClient::connect(format!("http://{at}")).await.expect("connects");
    let lines = vec![StockLine { product_id: 1, quantity: u32::try_from(available).expect("few") }];
    let reservation_id = Uuid::from_u128(404).to_string();
    let mut request = Request::new(ReserveStockRequest { reservation_id, lines, replaces: String::new() });
    let shown = payment.authorization().expect("a credential").to_str().expect("is ASCII").parse().expect("a value");
    request.metadata_mut().insert("authorization", shown);
    stock.reserve_stock(request).await.expect("is held");
    shop.eventually("the units are free again", async || shop.stock(1).await.1 == available).await;
    shop.stop().await;
}
