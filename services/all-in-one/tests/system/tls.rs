//! Everybody is called over TLS, and shows who he is: the gateway, the services, each other.

use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Value, json};
use shop::Config;
use shop_gateway::settings::ClientTls;
use shop_testing::certificates::{Authority, Folder};
use shop_testing::{Api, eventually};
use shop_tls::TlsSettings;

use crate::shop::Shop;

fn id(service: &str) -> String {
    format!("spiffe://shop/ns/default/sa/{service}")
}

/// The authority of all, and the files that it signed.
struct World {
    authority: Authority,
    folder: Folder,
}

impl World {
    fn new() -> Self {
        let world = Self { authority: Authority::new(), folder: Folder::new() };
        world.folder.put("ca.crt", world.authority.pem());
        for service in ["gateway", "product", "basket", "payment", "notification"] {
            world.folder.put_pair(service, &world.authority.good(&[&id(service)]));
        }
        world
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Of `service`, which those may call.
    fn tls(&self, service: &str, callers: &[&str]) -> TlsSettings {
        TlsSettings {
            cert_file: Some(self.file(&format!("{service}.crt"))),
            key_file: Some(self.file(&format!("{service}.key"))),
            ca_file: Some(self.file("ca.crt")),
            client_ca_file: Some(self.file("ca.crt")),
            client_names: callers.iter().map(|caller| id(caller)).collect(),
            reload_interval: shop_config::Duration::millis(20),
        }
    }

    fn settle(&self, config: &mut Config) {
        config.product.tls = self.tls("product", &["gateway", "basket", "payment"]);
        config.basket.tls = self.tls("basket", &["gateway", "payment"]);
        config.payment.tls = self.tls("payment", &["gateway", "product"]);
        config.notification.tls = self.tls("notification", &["gateway", "payment"]);
        for operations in [&mut config.product.operations, &mut config.payment.operations] {
            operations.port = Some(0);
        }
        for (neighbour, service) in [
            (&mut config.product.payment, "payment"),
            (&mut config.basket.product, "product"),
            (&mut config.payment.product, "product"),
            (&mut config.payment.basket, "basket"),
            (&mut config.payment.notification, "notification"),
        ] {
            neighbour.server_name = Some(id(service));
        }
        config.gateway.tls.reload_interval = shop_config::Duration::millis(20);
        for service in ["product", "basket", "payment", "notification"] {
            config.gateway.services[service].tls = Some(ClientTls {
                ca_file: Some(self.file("ca.crt")),
                server_name: Some(id(service)),
                cert_file: Some(self.file("gateway.crt")),
                key_file: Some(self.file("gateway.key")),
            });
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_goes_over_tls_from_end_to_end() {
    let world = World::new();
    let shop = Shop::embedded_with(|config| world.settle(config)).await;
    let product = shop.product("Lamp", "19.90", 5).await;
    shop.add("ada", product, 2).await;
    let payment = shop.checkout("ada").await;
    let paid = shop.process(&payment, "tok_approve").await;
    assert_eq!((paid.status, &paid.json["status"]), (200, &json!("completed")));
    shop.eventually("stock is sold", async || shop.stock(product).await == (3, 3, 2)).await;
    shop.eventually("the basket is empty", async || shop.basket_items("ada").await.is_empty()).await;

    // In cleartext there are probes and metrics, and nothing else.
    let operations = Api::new(shop.at.product_operations.expect("a listener of its own"));
    for (path, status) in [("/health/ready", 200), ("/metrics", 200), ("/products", 404), ("/docs", 404)] {
        let reply = operations.send(operations.request(Method::GET, path)).await;
        assert_eq!(reply.status, status, "{path}");
        assert!(
            path != "/metrics" || reply.text.contains("tls_certificate_expiry_timestamp_seconds"),
            "{}",
            reply.text
        );
    }
    let cleartext = reqwest::get(format!("http://{}/products", shop.at.product.expect("product"))).await;
    assert!(cleartext.is_err(), "{cleartext:?}");
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_not_let_in_is_let_in_with_a_certificate_that_says_so() {
    let world = World::new();
    let stranger = world.authority.good(&[&id("stranger")]);
    world.folder.put_pair("gateway", &stranger);
    let shop = Shop::embedded_with(|config| {
        world.settle(config);
        config.gateway.retries.enabled = false;
        config.gateway.circuit_breaker.enabled = false;
    })
    .await;
    let refused = shop.call(Method::GET, "/api/products", Value::Null).await;
    assert_eq!((refused.status, refused.code()), (502, "upstream_tls_failed"), "{refused:?}");
    world.folder.put_pair("gateway", &world.authority.good(&[&id("gateway")]));
    eventually!(shop.call(Method::GET, "/api/products", Value::Null).await.status == 200);
    shop.stop().await;
}
