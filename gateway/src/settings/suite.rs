//! The suite's own table of services and routes, which is a file: the gateway itself knows none of them.

use std::sync::LazyLock;

use serde::Deserialize;
use shop_config::Var;

use super::{Routes, Services};

/// What the file says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Suite {
    pub(super) services: Services,
    pub(super) routes: Routes,
}

/// The table.
#[expect(clippy::expect_used, reason = "it is a part of the program, and a test reads it")]
pub(super) static SUITE: LazyLock<Suite> =
    LazyLock::new(|| toml::from_str(include_str!("suite.toml")).expect("good TOML"));

/// The variables of its services, as the architecture document has them: `PRODUCT_SERVICE_URLS` and the like.
pub(super) fn vars() -> Vec<Var> {
    // Variables are named for the life of the process, and so is the table.
    static VARS: LazyLock<Vec<Var>> = LazyLock::new(|| {
        let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
        let of_service = |name: &str| {
            let upper = name.to_ascii_uppercase().replace('-', "_");
            let whether = leak(format!("whether {name} is served"));
            [("ENABLED", whether), ("URLS", "comma list of URL[;weight=N]"), ("GRPC_URLS", "the same for gRPC")].map(
                |(what, doc)| {
                    let key = format!("services.{name}.{}", what.to_ascii_lowercase());
                    Var { name: leak(format!("{upper}_SERVICE_{what}")), key: key.into(), doc }
                },
            )
        };
        SUITE.services.iter().flat_map(|(name, _)| of_service(name)).collect()
    });
    VARS.clone()
}
