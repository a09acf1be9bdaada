//! The ports of all services in this process.

use shop_config::{Grpc, Http, Operations, Settings as _};

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
            of(config, Service::Product, &config.product.http, &config.product.grpc, &config.product.operations),
            of(config, Service::Basket, &config.basket.http, &config.basket.grpc, &config.basket.operations),
            of(config, Service::Payment, &config.payment.http, &config.payment.grpc, &config.payment.operations),
            of(
                config,
                Service::Notification,
                &config.notification.http,
                &config.notification.grpc,
                &config.notification.operations
            ),
            gateway,
        )?;
        Ok(Self { product, basket, payment, notification, gateway })
    }
}

async fn of(
    config: &Config,
    service: Service,
    http: &Http,
    grpc: &Grpc,
    operations: &Operations,
) -> anyhow::Result<Option<shop_web::Doors>> {
    if !config.runs(service) {
        return Ok(None);
    }
    let [http_setting, grpc_setting, operations_setting] =
        ["http", "grpc", "operations"].map(|kind| setting(&format!("{}.{kind}.port", service.section())));
    let settings = [&*http_setting, &grpc_setting, &operations_setting];
    shop_web::Doors::open(http, grpc, operations, settings).await.map(Some)
}

/// A setting with its variable, such as `product.grpc.port (SHOP_PRODUCT__GRPC__PORT)`.
fn setting(key: &str) -> String {
    let variable = Config::vars().into_iter().find(|var| var.key == key);
    let variable = variable
        .map_or_else(|| format!("SHOP_{}", key.replace('.', "__").to_ascii_uppercase()), |var| var.name.to_owned());
    format!("{key} ({variable})")
}
