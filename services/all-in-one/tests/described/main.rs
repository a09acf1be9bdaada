//! The description of the API is the API: what the four `openapi.json` say is complete, and the services do it.

mod complete;
mod tried;

use shop::{Addresses, Config, Suite};
use shop_identity::{Mode, Role, Signer};
use shop_runtime::Shutdown;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// A suite on free ports and embedded stores, with the demo products.
struct Shop {
    at: Addresses,
    shutdown: Shutdown,
    serving: JoinHandle<anyhow::Result<()>>,
    data: TempDir,
}

impl Shop {
    async fn start(mode: Mode) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let mut config = Config { data: data.path().to_owned(), ..Config::default() };
        let (product, basket, payment) = (&mut config.product, &mut config.basket, &mut config.payment);
        for http in [&mut product.http, &mut basket.http, &mut payment.http, &mut config.notification.http] {
            (http.host, http.port) = ([127, 0, 0, 1].into(), 0);
        }
        for grpc in [&mut product.grpc, &mut basket.grpc, &mut payment.grpc, &mut config.notification.grpc] {
            (grpc.host, grpc.port) = ([127, 0, 0, 1].into(), 0);
        }
        (config.gateway.http.host, config.gateway.http.port) = ([127, 0, 0, 1].into(), 0);
        config.gateway.admin.port = 0;
        config.identity.mode = mode;
        // Thousands of calls come from one address.
        config.gateway.rate_limit.enabled = false;
        let suite = Box::pin(Suite::build(config)).await.expect("the suite starts");
        let (at, shutdown) = (suite.addresses(), Shutdown::new());
        let serving = tokio::spawn(suite.run(shutdown.clone()));
        Self { at, shutdown, serving, data }
    }

    /// Each service with where it listens, and the paths of it that the gateway leads to, as a pattern.
    fn services(&self) -> [(&'static str, String, &'static str); 4] {
        let at = |address: Option<std::net::SocketAddr>| format!("http://{}", address.expect("it runs"));
        [
            ("product", at(self.at.product), "^/products"),
            ("basket", at(self.at.basket), "^/baskets"),
            ("payment", at(self.at.payment), "^/(payments|users)"),
            ("notification", at(self.at.notification), "^/notifications"),
        ]
    }

    /// A token of ada, who has every role.
    fn token(&self) -> String {
        let signer = Signer::read(&self.data.path().join("identity.pem")).expect("the suite made a key");
        signer.person("ada", &Role::ALL, std::time::Duration::from_hours(2))
    }

    fn gateway(&self) -> String {
        format!("http://{}", self.at.gateway.expect("it runs"))
    }

    async fn stop(self) {
        self.shutdown.soft.cancel();
        self.serving.await.expect("no panic").expect("a clean end");
    }
}
