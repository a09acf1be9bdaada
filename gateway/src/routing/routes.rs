//! Which service a path belongs to, and what of the path it gets.

use std::sync::Arc;

use http::HeaderName;

use crate::routing::{Service, Site};
use crate::settings::HealthCheck;

/// What is cut off the path of every HTTP route.
pub(crate) const PREFIX: &str = "/api";

/// A prefix of paths and the service behind it.
struct Rule {
    /// As the backend sees it, such as `/products`.
    path: &'static str,
    /// As logs name it.
    pattern: &'static str,
    service: &'static str,
}

const HTTP: [Rule; 7] = [
    Rule { path: "/products", pattern: "/api/products/*", service: "product" },
    Rule { path: "/baskets", pattern: "/api/baskets/*", service: "basket" },
    Rule { path: "/guests", pattern: "/api/guests/*", service: "basket" },
    Rule { path: "/payments", pattern: "/api/payments/*", service: "payment" },
    Rule { path: "/users", pattern: "/api/users/*", service: "payment" },
    // For a provider that calls; those of notification are for operators, on its own port.
    Rule { path: "/webhooks/stripe", pattern: "/api/webhooks/stripe", service: "payment" },
    Rule { path: "/notifications", pattern: "/api/notifications/*", service: "notification" },
];

/// The gRPC services for clients, one by one: what else a backend has is between services.
const GRPC: [Rule; 3] = [
    Rule { path: "/shop.product.v1.ProductService/", pattern: "/shop.product.v1.ProductService/*", service: "product" },
    Rule { path: "/shop.basket.v1.BasketService/", pattern: "/shop.basket.v1.BasketService/*", service: "basket" },
    Rule { path: "/shop.payment.v1.PaymentService/", pattern: "/shop.payment.v1.PaymentService/*", service: "payment" },
];

/// gRPC services that every backend has: a header says whose is meant. They tell of what is between services, too, so that
/// [`grpc_introspection`](crate::settings::Config::grpc_introspection) has to open them.
const EVERY: [Rule; 3] = [
    Rule { path: "/grpc.health.v1.Health/", pattern: "/grpc.health.v1.Health/*", service: "" },
    Rule { path: "/grpc.reflection.v1.", pattern: "/grpc.reflection.v1.*", service: "" },
    Rule { path: "/grpc.reflection.v1alpha.", pattern: "/grpc.reflection.v1alpha.*", service: "" },
];

/// Metadata of calls to [`EVERY`]: `shop-service: product`.
pub(crate) const SHOP_SERVICE: HeaderName = HeaderName::from_static("shop-service");

/// Whether a path, as backends know it, is below one of [`PREFIX`] for clients.
pub(crate) fn is_inner(path: &str) -> bool {
    let fits = |rest: &str| rest.is_empty() || rest.starts_with(['/', '?', '#']);
    HTTP.iter().any(|rule| path.strip_prefix(rule.path).is_some_and(fits))
}

/// A route that matched.
pub(crate) struct Route {
    /// The path as the backend knows its root of this route, such as `/products`.
    path: &'static str,
    /// As logs name it, such as `/api/products/*`.
    pub(crate) pattern: &'static str,
    pub(crate) service: Arc<Service>,
}

/// All routes of one generation.
pub(crate) struct Table {
    http: Vec<Route>,
    grpc: Vec<Route>,
    /// Of each service, those of [`EVERY`], if they are open.
    every: Vec<Route>,
    pub(crate) services: Vec<Arc<Service>>,
    /// Whether and how their backends are checked.
    pub(crate) health_check: HealthCheck,
}

impl Table {
    /// The routes to the services that are desired; of the `previous` table it keeps all that is the same.
    pub(crate) fn new(site: &Site<'_>, previous: Option<&Self>) -> Self {
        let services: Vec<_> = site
            .merged
            .config
            .services
            .by_name()
            .into_iter()
            .map(|(name, settings)| {
                Service::new(name, settings, site, previous.and_then(|table| table.service(name)).map(Arc::as_ref))
            })
            .collect();
        let routes = |rules: &[Rule]| {
            let route = |rule: &Rule| {
                let service = services.iter().find(|service| service.name == rule.service)?;
                Some(Route { path: rule.path, pattern: rule.pattern, service: Arc::clone(service) })
            };
            rules.iter().filter_map(route).collect()
        };
        let of = |service: &Arc<Service>| {
            let service = Arc::clone(service);
            EVERY.map(move |Rule { path, pattern, .. }| Route { path, pattern, service: Arc::clone(&service) })
        };
        let is_open = site.merged.config.grpc_introspection;
        let every = services.iter().filter(|_| is_open).flat_map(of).collect();
        Self {
            http: routes(&HTTP),
            grpc: routes(&GRPC),
            every,
            services,
            health_check: site.merged.config.health_check.clone(),
        }
    }

    /// The route of a normalised path, and the path that its backend gets.
    pub(crate) fn http<'a>(&self, path: &'a str) -> Option<(&Route, &'a str)> {
        let inner = path.strip_prefix(PREFIX)?;
        let fits = |route: &&Route| {
            inner.strip_prefix(route.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.http.iter().find(fits).map(|route| (route, inner))
    }

    /// The route of a gRPC method.
    pub(crate) fn grpc(&self, path: &str) -> Option<&Route> {
        let is_method = |rest: &str| !rest.is_empty() && !rest.contains('/');
        self.grpc.iter().find(|route| path.strip_prefix(route.path).is_some_and(is_method))
    }

    /// The patterns of all routes to a service.
    pub(crate) fn patterns(&self, service: &str) -> Vec<&'static str> {
        let routes = self.http.iter().chain(&self.grpc);
        routes.filter(|route| route.service.name == service).map(|route| route.pattern).collect()
    }

    /// Whether a gRPC method is one that every backend has, and that clients may call.
    pub(crate) fn is_everybodys(&self, path: &str) -> bool {
        self.every.iter().any(|route| path.starts_with(route.path))
    }

    /// The route of a gRPC method that every backend has, to the service of that name.
    pub(crate) fn everybodys(&self, path: &str, service: &str) -> Option<&Route> {
        self.every.iter().find(|route| path.starts_with(route.path) && route.service.name == service)
    }

    /// The service of this name.
    pub(crate) fn service(&self, name: &str) -> Option<&Arc<Service>> {
        self.services.iter().find(|service| service.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::settings::desired::Desired;

    #[test]
    fn a_path_belongs_to_the_route_whose_whole_segments_it_begins_with() {
        let metrics = Metrics::new(shop_telemetry::Metrics::new("gateway"));
        let merged = Desired::default().merged();
        let table = Table::new(&Site { merged: &merged, workers: 1, metrics: &metrics }, None);
        let cases = [
            ("/api/products", Some(("product", "/products"))),
            ("/api/products/", Some(("product", "/products/"))),
            ("/api/products/7/x", Some(("product", "/products/7/x"))),
            ("/api/baskets/u1/items", Some(("basket", "/baskets/u1/items"))),
            ("/api/guests", Some(("basket", "/guests"))),
            ("/api/payments", Some(("payment", "/payments"))),
            ("/api/users/u1/payments", Some(("payment", "/users/u1/payments"))),
            ("/api/users/u1/data", Some(("payment", "/users/u1/data"))),
            ("/api/notifications", Some(("notification", "/notifications"))),
            ("/api/productsx", None),
            ("/api/Products", None),
            ("/api", None),
            ("/apiproducts", None),
            ("/products", None),
            ("/", None),
        ];
        for (path, expected) in cases {
            let found = table.http(path).map(|(route, inner)| (route.service.name, inner));
            assert_eq!(found, expected, "{path}");
        }
        for (path, expected) in [
            ("/shop.basket.v1.BasketService/GetBasket", Some("basket")),
            ("/shop.basket.v2.BasketService/GetBasket", None),
            ("/shop.product.v1.StockService/ReserveStock", None),
            ("/shop.payment.v1.SettlementService/GetOutcomes", None),
            ("/shop.notification.v1.PersonalService/GetUserRecords", None),
            ("/shop.product.v1.productservice/GetProduct", None),
            ("/shop.product.v1.ProductServiceX/GetProduct", None),
            ("/shop.product.v1.ProductService", None),
            ("/grpc.health.v1.Health/Check", None),
        ] {
            assert_eq!(table.grpc(path).map(|route| route.service.name), expected, "{path}");
            assert!(!table.is_everybodys(path), "{path}");
        }
    }
}
