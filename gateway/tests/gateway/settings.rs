//! Every variable of the architecture document, with its default, and every mistake in one go.

use shop_config::{Sources, load};
use shop_gateway::Config;
use shop_gateway::settings::Strategy;

fn sources(env: &[(&str, &str)]) -> Sources {
    let env = [("IDENTITY_MODE", "off")]
        .iter()
        .chain(env)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Sources { env, ..Sources::default() }
}

#[test]
fn without_variables_the_documents_defaults_hold() {
    let config = load::<Config>(&sources(&[])).expect("loads").settings;
    assert_eq!(config.http.port, 8083);
    let urls = |service: &shop_gateway::settings::Service| serde_json::to_value(&service.urls).expect("serialises");
    assert_eq!(urls(&config.services["product"]), serde_json::json!(["http://product-service:8080"]));
    assert_eq!(urls(&config.services["basket"]), serde_json::json!(["http://basket-service:8081"]));
    assert_eq!(urls(&config.services["payment"]), serde_json::json!(["http://payment-service:8082"]));
    let breaker = &config.circuit_breaker;
    assert!(breaker.enabled);
    assert_eq!(
        (breaker.max_requests.get(), breaker.interval.get().as_secs(), breaker.timeout.get().as_secs()),
        (10, 60, 30)
    );
    assert!(config.load_balancer.enabled && config.load_balancer.strategy == Strategy::RoundRobin);
    let limit = &config.rate_limit;
    assert!(limit.enabled);
    assert_eq!((limit.requests.get(), limit.window.get().as_secs(), limit.burst.get()), (100, 60, 10));
}

#[test]
fn every_variable_reaches_its_setting() {
    let config = load::<Config>(&sources(&[
        ("PORT", "9000"),
        ("LOG_LEVEL", "debug"),
        ("LOG_FORMAT", "json"),
        ("PRODUCT_SERVICE_ENABLED", "false"),
        ("PRODUCT_SERVICE_URLS", "http://a:1;weight=3, http://b:2"),
        ("PRODUCT_SERVICE_GRPC_URLS", "http://a:3"),
        ("BASKET_SERVICE_ENABLED", "true"),
        ("BASKET_SERVICE_URLS", "c:4"),
        ("PAYMENT_SERVICE_URLS", "http://d:5,"),
        ("NOTIFICATION_SERVICE_URLS", "http://[::1]:6"),
        ("CIRCUIT_BREAKER_ENABLED", "false"),
        ("CIRCUIT_BREAKER_MAX_REQUESTS", "3"),
        ("CIRCUIT_BREAKER_INTERVAL", "90"),
        ("CIRCUIT_BREAKER_TIMEOUT", "5s"),
        ("LOAD_BALANCER_ENABLED", "true"),
        ("LOAD_BALANCER_STRATEGY", "weighted_round_robin"),
        ("RATE_LIMIT_ENABLED", "true"),
        ("RATE_LIMIT_REQUESTS", "50"),
        ("RATE_LIMIT_WINDOW", "30s"),
        ("RATE_LIMIT_BURST", "5"),
        ("RATE_LIMIT_REDIS_URL", "redis://:secret@r:6379/1"),
        ("CORS_ORIGINS", "https://a.example:443, https://*.B.example"),
        ("CORS_CREDENTIALS", "true"),
        ("CSRF_ENABLED", "false"),
        ("CSRF_TRUSTED_ORIGINS", "https://pay.example"),
        ("SECURITY_HEADERS_ENABLED", "false"),
        ("DOCS_ENABLED", "false"),
        ("ADMIN_HOST", "::"),
        ("ADMIN_PORT", "9001"),
        ("ADMIN_TOKEN", "secret"),
    ]))
    .expect("loads")
    .settings;
    let json = serde_json::to_value(&config).expect("serialises");
    for (pointer, expected) in [
        ("/http/port", serde_json::json!(9000)),
        ("/log/level", "debug".into()),
        ("/log/format", "json".into()),
        ("/services/product/enabled", false.into()),
        ("/services/product/urls", serde_json::json!(["http://a:1;weight=3", "http://b:2"])),
        ("/services/product/grpc_urls", serde_json::json!(["http://a:3"])),
        ("/services/basket/urls", serde_json::json!(["http://c:4"])),
        ("/services/payment/urls", serde_json::json!(["http://d:5"])),
        ("/services/notification/urls", serde_json::json!(["http://[::1]:6"])),
        ("/circuit_breaker/enabled", false.into()),
        ("/circuit_breaker/max_requests", 3.into()),
        ("/circuit_breaker/interval", "90s".into()),
        ("/circuit_breaker/timeout", "5s".into()),
        ("/load_balancer/strategy", "weighted_round_robin".into()),
        ("/rate_limit/requests", 50.into()),
        ("/rate_limit/window", "30s".into()),
        ("/rate_limit/burst", 5.into()),
        ("/rate_limit/redis/url", "***".into()),
        ("/cors/origins", serde_json::json!(["https://a.example", "https://*.b.example"])),
        ("/cors/credentials", true.into()),
        ("/csrf/enabled", false.into()),
        ("/docs/enabled", false.into()),
        ("/csrf/trusted_origins", serde_json::json!(["https://pay.example"])),
        ("/security_headers/enabled", false.into()),
        ("/admin/host", "::".into()),
        ("/admin/port", serde_json::json!(9001)),
        ("/admin/token", "***".into()),
    ] {
        assert_eq!(json.pointer(pointer), Some(&expected), "{pointer}");
    }
    assert_eq!(config.admin.token.expose(), "secret");
}

#[test]
fn all_mistakes_are_named_at_once() {
    let problems = load::<Config>(&sources(&[
        ("PORT", "many"),
        ("PRODUCT_SERVICE_URLS", "ftp://a"),
        ("LOAD_BALANCER_STRATEGY", "fastest"),
        ("RATE_LIMIT_BURST", "0"),
        ("CIRCUIT_BREAKER_INTERVAL", "soon"),
    ]))
    .expect_err("five mistakes")
    .to_string();
    for name in
        ["PORT", "PRODUCT_SERVICE_URLS", "LOAD_BALANCER_STRATEGY", "RATE_LIMIT_BURST", "CIRCUIT_BREAKER_INTERVAL"]
    {
        assert!(problems.contains(name), "no {name} in\n{problems}");
    }
    let problems = load::<Config>(&sources(&[("PRODUCT_SERVICE_URLS", "")])).expect_err("no URL").to_string();
    assert!(problems.contains("services.product.urls"), "{problems}");
}

#[test]
fn operators_and_clients_have_different_ports() {
    let problems = load::<Config>(&sources(&[("PORT", "9083")])).map(drop).expect_err("one port").to_string();
    assert!(problems.contains("http.port is 9083 too"), "{problems}");
    let everywhere = load::<Config>(&sources(&[("SHOP_HOST", "::1")])).expect("loads").settings;
    assert_eq!(everywhere.admin.host.to_string(), "127.0.0.1", "what is for clients is not for operators");
}

#[test]
fn a_header_that_is_no_proxys_cannot_be_trusted() {
    for name in ["Host", "X-Request-Id", "X_Forwarded_Host", "", "a b"] {
        let problems = load::<Config>(&sources(&[("SHOP_TRUSTED_HEADERS", &format!("[\"{name}\"]"))]));
        let problems = problems.map(drop).expect_err("no such header").to_string();
        assert!(problems.contains("trusted_headers"), "{problems}");
    }
}

#[test]
fn a_setting_of_services_that_the_gateway_does_not_have_is_refused() {
    let problems = load::<Config>(&sources(&[("SHOP_HTTP__TIMEOUT", "5s")])).map(drop).expect_err("refused");
    assert!(problems.to_string().contains("upstream.total_timeout"), "{problems}");
}

#[test]
fn a_list_of_origins_that_lets_anybody_act_for_the_user_is_refused() {
    let checked = |env: &[(&str, &str)]| load::<Config>(&sources(env)).map(drop).map_err(|error| error.to_string());
    for (env, key) in [
        (&[("CORS_ORIGINS", "*"), ("CORS_CREDENTIALS", "true")][..], "cors.origins"),
        (&[("CORS_ORIGINS", "https://a.example,null"), ("CORS_CREDENTIALS", "true")], "cors.origins"),
        (&[("CORS_ORIGINS", "https://*.com")], "CORS_ORIGINS"),
        (&[("CORS_ORIGINS", "https://a.example/")], "CORS_ORIGINS"),
        (&[("SHOP_CORS__METHODS", "get")], "cors.methods"),
        (&[("SHOP_CORS__HEADERS", "x y")], "cors.headers"),
        (&[("SHOP_CORS__HEADERS", "*"), ("CORS_CREDENTIALS", "true")], "cors.credentials"),
        (&[("CSRF_TRUSTED_ORIGINS", "*")], "csrf.trusted_origins"),
        (&[("SHOP_SECURITY_HEADERS__FRAME_OPTIONS", "ALLOW")], "security_headers.frame_options"),
        (&[("SHOP_SECURITY_HEADERS__STRICT_TRANSPORT_SECURITY", "yes")], "security_headers.strict_transport_security"),
    ] {
        let problems = checked(env).expect_err(key);
        assert!(problems.contains(key), "no {key} in\n{problems}");
    }
    assert_eq!(checked(&[("CORS_ORIGINS", "*")]), Ok(()));
    assert_eq!(checked(&[("CORS_ORIGINS", "https://a.example"), ("CORS_CREDENTIALS", "true")]), Ok(()));
}

#[test]
fn backends_are_checked_and_failed_calls_repeated_unless_settings_say_otherwise() {
    let config = load::<Config>(&sources(&[])).expect("loads").settings;
    let (check, retries) = (&config.health_check, &config.retries);
    assert!(check.enabled && retries.enabled);
    assert_eq!((check.path.as_str(), check.rise.get(), check.fall.get()), ("/health/ready", 2, 3));
    assert_eq!((retries.attempts, retries.budget_percent, retries.least_per_second), (2, 20, 3));
    assert_eq!(config.load_balancer.slow_start.get().as_secs(), 10);
    let set = [
        ("docs.path", "openapi.json"),
        ("docs.timeout", "0s"),
        ("docs.max_age", "0s"),
        ("health_check.path", "health"),
        ("health_check.interval", "0s"),
        ("health_check.timeout", "0s"),
        ("health_check.fall", "0"),
        ("retries.attempts", "0"),
        ("retries.budget_percent", "101"),
        ("retries.body_limit", "10000000"),
    ];
    for (key, value) in set {
        let set = vec![(key.to_owned(), value.to_owned())];
        let problems = load::<Config>(&Sources { set, ..Sources::default() }).expect_err(key).to_string();
        assert!(problems.contains(key), "no {key} in {problems}");
    }
}

#[test]
fn limits_that_cannot_be_meant_are_refused() {
    let config = load::<Config>(&sources(&[])).expect("loads").settings;
    assert_eq!(serde_json::json!(config.rate_limit.key), serde_json::json!(["ip"]));
    assert_eq!(config.rate_limit.max_clients, 1_000_000);
    let hash = "0".repeat(64);
    let keys = ("SHOP_RATE_LIMIT__API_KEYS__HASHES", hash.as_str());
    let checked = |env: &[(&str, &str)]| load::<Config>(&sources(env)).map(drop).map_err(|error| error.to_string());
    for (env, key) in [
        (&[("RATE_LIMIT_WINDOW", "0s")][..], "rate_limit.window"),
        (&[("SHOP_RATE_LIMIT__MAX_CLIENTS", "10")], "rate_limit.max_clients"),
        (&[("SHOP_RATE_LIMIT__KEY", "api_key"), keys], "rate_limit.key"),
        (&[("RATE_LIMIT_REDIS_URL", "http://r")], "rate_limit.redis.url"),
        (&[("RATE_LIMIT_REDIS_URL", "sqlite://r.db")], "rate_limit.redis.url"),
        (&[("SHOP_RATE_LIMIT__REDIS__TIMEOUT", "0s")], "rate_limit.redis.timeout"),
        (&[("SHOP_RATE_LIMIT__KEY", "ip,ip")], "rate_limit.key"),
        (&[("SHOP_RATE_LIMIT__KEY", "")], "rate_limit.key"),
        (&[("SHOP_RATE_LIMIT__KEY", "api_key,ip")], "rate_limit.api_keys.hashes"),
        (&[("SHOP_RATE_LIMIT__API_KEYS__HASHES", "secret")], "rate_limit.api_keys.hashes"),
        (
            &[("SHOP_RATE_LIMIT__KEY", "api_key,ip"), ("SHOP_RATE_LIMIT__API_KEYS__FILE", "/nowhere/keys")],
            "rate_limit.api_keys.file",
        ),
        (&[("IDENTITY_MODE", "off"), ("SHOP_RATE_LIMIT__KEY", "subject,ip")], "rate_limit.key"),
        (&[("SHOP_RATE_LIMIT__JWT__KEYS_FILE", "/keys")], "identity.jwks_file"),
        (&[("SHOP_RATE_LIMIT__API_KEYS__HEADER", "x y")], "rate_limit.api_keys.header"),
        (&[("SHOP_ROUTES__PAYMENTS__RATE_LIMIT__WINDOW", "0s")], "routes.payments.rate_limit.window"),
        (&[("SHOP_ROUTES__PAYMENTS__RATE_LIMIT__BURST", "0")], "routes.payments.rate_limit.burst"),
        (&[("SHOP_ROUTES__PAYMENTS__RATE_LIMIT__RATE", "7")], "routes.payments.rate_limit.rate"),
        (&[("SHOP_RATE_LIMIT__ROUTES", r#"[{"path": "/a"}]"#)], "set routes.NAME.rate_limit"),
        (&[("SHOP_BUFFER_REQUEST__ROUTES", "/a")], "set routes.NAME.buffer_request = true"),
    ] {
        let problems = checked(env).expect_err(key);
        assert!(problems.contains(key), "no {key} in\n{problems}");
    }
    assert_eq!(checked(&[("SHOP_RATE_LIMIT__KEY", "api_key,ip"), keys]), Ok(()));
    let fine = [("SHOP_ROUTES__PAYMENTS__RATE_LIMIT__BURST", "2"), ("SHOP_ROUTES__PAYMENTS__RATE_LIMIT__WINDOW", "1h")];
    assert_eq!(checked(&fine), Ok(()));
}

#[test]
fn files_may_begin_with_a_byte_order_mark() {
    let folder = tempfile::tempdir().expect("a folder");
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("\u{feff}{text}")).expect("writes");
        path.to_str().expect("text").to_owned()
    };
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (put("cert.pem", &made.cert.pem()), put("key.pem", &made.signing_key.serialize_pem()));
    let (token, keys) = (put("token", "sixteen letters."), put("keys", &"ab".repeat(32)));
    let jwks = put(
        "jwks.json",
        r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
    );
    let loaded = load::<Config>(&sources(&[
        ("TLS_CERT_FILE", &cert),
        ("TLS_KEY_FILE", &key),
        ("ADMIN_TOKEN_FILE", &token),
        ("SHOP_RATE_LIMIT__KEY", "subject,api_key,ip"),
        ("SHOP_RATE_LIMIT__API_KEYS__FILE", &keys),
        ("IDENTITY_MODE", "required"),
        ("IDENTITY_ISSUER", "https://login.example"),
        ("IDENTITY_AUDIENCE", "shop"),
        ("IDENTITY_JWKS_FILE", &jwks),
    ]));
    let config = loaded.unwrap_or_else(|problems| panic!("{problems}")).settings;
    assert_eq!(config.admin.token.expose(), "sixteen letters.");
}
