//! The ports of all services in this process.

use shop_config::{Grpc, Http, Settings as _};

use crate::config::Config;
use crate::service::Service;

/// The ports of this process, all taken before any of its parts connects anywhere: none of its own connections can get one.
pub(crate) struct Doors {
    pub(crate) product: Option<shop_web::Doors>,
    pub(crate) basket: Option<shop_web::Doors>,
    pub(crate) payment: Option<shop_web::Doors>,
    pub(crate) notification: Option<shop_web::Doors>,
    pub(crate) gateway: Option<shop_gateway::Doors>,
}

impl Doors {
    /// Takes them, waiting as [`shop_runtime::listen()`] does.
    pub(crate) async fn open(config: &Config) -> anyhow::Result<Self> {
        let gateway = async {
            if !config.runs(Service::Gateway) {
                return Ok(None);
            }
            shop_gateway::Doors::open(&config.gateway, "gateway.").await.map(Some)
        };
        let (product, basket, payment, notification, gateway) = tokio::try_join!(
            pair(config, Service::Product, &config.product.http, &config.product.grpc),
            pair(config, Service::Basket, &config.basket.http, &config.basket.grpc),
            pair(config, Service::Payment, &config.payment.http, &config.payment.grpc),
            pair(config, Service::Notification, &config.notification.http, &config.notification.grpc),
            gateway,
        )?;
        Ok(Self { product, basket, payment, notification, gateway })
    }
}

async fn pair(config: &Config, service: Service, http: &Http, grpc: &Grpc) -> anyhow::Result<Option<shop_web::Doors>> {
    if !config.runs(service) {
        return Ok(None);
    }
    let [http_setting, grpc_setting] =
        ["http", "grpc"].map(|kind| setting(&format!("{}.{kind}.port", service.section())));
    shop_web::Doors::open(http, grpc, [&http_setting, &grpc_setting]).await.map(Some)
}

/// A setting with its variable, such as `product.grpc.port (SHOP_PRODUCT__GRPC__PORT)`.
fn setting(key: &str) -> String {
    let variable =
        Config::vars().into_iter().find(|var| var.key == key).map_or_else(String::new, |var| var.name.to_string());
    format!("{key} ({variable})")
}
