//! Which variables `shop` hears: its own, and those of each program in it as far as they mean one thing here.

use shop_config::{Kafka, Log, Otel, Settings, Var};
use shop_identity::IdentitySettings;

use crate::service::Service;

/// Variables of several programs that nevertheless mean one thing: where a service answers, to all who ask it.
const SHARED: [&str; 1] = ["PRODUCT_SERVICE_URL"];

/// Variables of every program, those of each below its section.
pub(crate) fn all() -> Vec<Var> {
    let mut vars = own();
    for (service, theirs) in programs() {
        let heard = theirs.into_iter().filter(|var| !is_own(var.name) && has_one_meaning(var.name));
        vars.extend(heard.map(|var| var.within(service.section())));
    }
    vars.extend(Otel::vars());
    vars
}

/// Variables that would mean several settings here, each with those that mean one of these.
pub(crate) fn unheard() -> Vec<(&'static str, Vec<String>)> {
    let mut found: Vec<(&'static str, Vec<String>)> = Vec::new();
    let own = own();
    for (service, theirs) in programs() {
        for var in theirs.into_iter().filter(|var| !is_own(var.name) && !has_one_meaning(var.name)) {
            let name = var.name;
            let key = var.within(service.section()).key;
            let short = own.iter().find(|var| var.key == key).map(|var| var.name.to_owned());
            let instead = short.unwrap_or_else(|| format!("SHOP_{}", key.replace('.', "__").to_ascii_uppercase()));
            match found.iter_mut().find(|(known, _)| *known == name) {
                Some((_, all)) => all.push(instead),
                None => found.push((name, vec![instead])),
            }
        }
    }
    found
}

/// What each program alone hears.
pub(crate) fn programs() -> [(Service, Vec<Var>); 5] {
    [
        (Service::Product, shop_product::Config::vars()),
        (Service::Basket, shop_basket::Config::vars()),
        (Service::Payment, shop_payment::Config::vars()),
        (Service::Notification, shop_notification::Config::vars()),
        (Service::Gateway, shop_gateway::Config::vars()),
    ]
}

fn has_one_meaning(name: &str) -> bool {
    let meanings = programs().iter().filter(|(_, vars)| vars.iter().any(|var| var.name == name)).count();
    meanings == 1 || SHARED.contains(&name)
}

fn is_own(name: &str) -> bool {
    own().iter().any(|var| var.name == name) || Otel::vars().iter().any(|var| var.name == name)
}

/// Those that have a meaning of their own here, or that the process has one of.
fn own() -> Vec<Var> {
    let mut vars = vec![
        Var::new("PORT", "gateway.http.port", "port of the gateway, HTTP and gRPC"),
        Var::new(
            "TLS_CERT_FILE",
            "gateway.tls.cert_file",
            "PEM file with the gateway's certificate; no TLS when unset",
        ),
        Var::new("TLS_KEY_FILE", "gateway.tls.key_file", "PEM file with its key"),
        Var::new("SHOP_PRODUCT__HTTP__PORT", "product.http.port", "port of the product service, HTTP"),
        Var::new("SHOP_PRODUCT__GRPC__PORT", "product.grpc.port", "the same, gRPC"),
        Var::new("SHOP_BASKET__HTTP__PORT", "basket.http.port", "port of the basket service, HTTP"),
        Var::new("SHOP_BASKET__GRPC__PORT", "basket.grpc.port", "the same, gRPC"),
        Var::new("SHOP_PAYMENT__HTTP__PORT", "payment.http.port", "port of the payment service, HTTP"),
        Var::new("SHOP_PAYMENT__GRPC__PORT", "payment.grpc.port", "the same, gRPC"),
        Var::new("SHOP_NOTIFICATION__HTTP__PORT", "notification.http.port", "port of the notification service, HTTP"),
        Var::new("SHOP_NOTIFICATION__GRPC__PORT", "notification.grpc.port", "the same, gRPC"),
        Var::new("SHOP_DATA", "data", "folder of the embedded stores, of dead letters and of the suite's own key"),
        Var::new("SHOP_HOST", "host", "address that everything listens on; 127.0.0.1, this machine alone, by default"),
        Var::new(
            "KAFKA_BROKERS",
            "kafka.brokers",
            "Kafka's addresses, comma between them, with bus = kafka (SHOP_BUS)",
        ),
        Var::new("PRODUCT_DATABASE_URL", "product.database.url", "store of the product service"),
        Var::new("BASKET_REDIS_URL", "basket.redis.url", "store of the basket service"),
        Var::new("PAYMENT_DATABASE_URL", "payment.database.url", "store of the payment service"),
        Var::new("NOTIFICATION_DATABASE_URL", "notification.database.url", "store of the notification service"),
    ];
    // The brokers stand above, with what they need here.
    vars.extend(Kafka::vars().into_iter().filter(|var| var.name != "KAFKA_BROKERS"));
    vars.extend(IdentitySettings::vars());
    vars.extend(Log::vars());
    vars
}

#[cfg(test)]
mod tests;
