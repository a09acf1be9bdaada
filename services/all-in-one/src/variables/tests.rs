//! No variable that one of the programs knows is without effect in `shop` and without a word about it.

use std::collections::HashMap;

use shop_config::{Loaded, Problems, RedisTarget, Sources, Target, load};

use super::*;
use crate::Config;

fn with(variables: &[(&str, &str)]) -> Result<Loaded<Config>, Problems> {
    let env = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    load(&Sources { env, ..Sources::default() })
}

fn good(variables: &[(&str, &str)]) -> (Config, Vec<String>) {
    let loaded = with(variables).unwrap_or_else(|problems| panic!("{variables:?}: {problems}"));
    (loaded.settings, loaded.warnings.sentences().to_vec())
}

/// Whether a value got from the variable to a setting: it is in force, or wrong there.
fn is_heard(name: &str) -> bool {
    let source = format!("environment variable {name}");
    // Some are judged together with others only.
    let beside = [
        ("TLS_CERT_FILE", ("TLS_KEY_FILE", "1")),
        ("WEBHOOK_URL", ("WEBHOOK_SECRET", "1")),
        ("IDENTITY_AUDIENCE", ("IDENTITY_MODE", "off")),
    ];
    let beside = beside.into_iter().find(|(one, _)| *one == name).map(|(_, other)| other);
    match with(&std::iter::once((name, "1")).chain(beside).collect::<Vec<_>>()) {
        Ok(loaded) => loaded.explain().contains(&source),
        Err(problems) => problems.to_string().contains(&source),
    }
}

#[test]
fn every_variable_of_every_program_is_heard_or_warned_about_with_the_names_that_are() {
    let mut told = Vec::new();
    // Most programs share most names.
    let mut known = HashMap::new();
    let mut is_heard = |name: &str| *known.entry(name.to_owned()).or_insert_with(|| is_heard(name));
    for (service, vars) in programs() {
        for name in vars.iter().map(|var| var.name) {
            if is_heard(name) {
                continue;
            }
            let (_, warnings) = good(&[(name, "1")]);
            let instead = unheard().into_iter().find(|(known, _)| *known == name).expect(name).1;
            assert!(!instead.is_empty() && instead.iter().all(|name| is_heard(name)), "{name}: {instead:?}");
            assert!(instead.iter().any(|other| other.contains(&service.section().to_ascii_uppercase())), "{instead:?}");
            let said = format!("set the one that is meant: {}", instead.join(", "));
            assert!(matches!(&*warnings, [one] if one.starts_with(name) && one.ends_with(&said)), "{warnings:?}");
            told.push(name);
        }
    }
    told.sort_unstable();
    told.dedup();
    // What several services have one each of. A name more here means that somebody has to choose it.
    let several = [
        "DATABASE_DIRECT_URL",
        "DATABASE_URL",
        "DB_CA_FILE",
        "DB_CERT_FILE",
        "DB_HOST",
        "DB_KEY_FILE",
        "DB_NAME",
        "DB_PASSWORD",
        "DB_PORT",
        "DB_SSL_MODE",
        "DB_USER",
        "GRPC_PORT",
        "OPERATIONS_PORT",
        "TLS_CA_FILE",
        "TLS_CLIENT_CA_FILE",
        "TLS_CLIENT_NAMES",
    ];
    assert_eq!(told, several);
}

#[test]
fn the_gateways_variables_do_what_they_do_there() {
    let (config, warnings) = good(&[
        ("RATE_LIMIT_ENABLED", "false"),
        ("RATE_LIMIT_REQUESTS", "7"),
        ("CIRCUIT_BREAKER_TIMEOUT", "5"),
        ("LOAD_BALANCER_STRATEGY", "random"),
        ("CORS_ORIGINS", "https://shop.example"),
        ("SECURITY_HEADERS_ENABLED", "false"),
        ("PRODUCT_SERVICE_ENABLED", "false"),
    ]);
    let gateway = &config.gateway;
    assert!(!gateway.rate_limit.enabled && !gateway.security_headers.enabled && !gateway.services["product"].enabled);
    assert_eq!((gateway.rate_limit.requests.get(), gateway.circuit_breaker.timeout.get().as_secs()), (7, 5));
    assert_eq!(gateway.load_balancer.strategy, shop_gateway::settings::Strategy::Random);
    assert_eq!(gateway.cors.origins.len(), 1);
    assert_eq!(warnings, Vec::<String>::new());
    let tls = [("TLS_CERT_FILE", "/nowhere.pem"), ("TLS_KEY_FILE", "/nowhere.key")];
    let problems = with(&tls).map(drop).expect_err("there is none").to_string();
    assert!(problems.contains("TLS_CERT_FILE"), "{problems}");
}

#[test]
fn a_store_is_a_server_once_any_part_of_one_is_given() {
    let (mut config, _) = good(&[
        ("REDIS_HOST", "localhost"),
        ("SHOP_PRODUCT__DATABASE__HOST", "db"),
        ("PAYMENT_DATABASE_URL", "mysql://a@b/c"),
    ]);
    config.embed();
    assert_eq!(config.basket.redis.target(), Ok(RedisTarget::Redis("redis://localhost:6379/0".into())));
    assert!(matches!(config.product.database.target(), Ok(Target::Postgres(url)) if url.contains("@db:5432/")));
    assert!(matches!(config.payment.database.target(), Ok(Target::MariaDb(_))));
    assert!(matches!(config.notification.database.target(), Ok(Target::Sqlite(_))), "the rest stays embedded");
}

#[test]
fn the_sandbox_approves_by_itself_on_an_embedded_store_only() {
    for (variables, sandbox, approves) in [
        (&[][..], Some(true), true),
        (&[("SHOP_PAYMENT__PROVIDER__SANDBOX", "false")], Some(false), false),
        (&[("PAYMENT_DATABASE_URL", "mysql://a@b/c")], None, false),
        (&[("PAYMENT_DATABASE_URL", "mysql://a@b/c"), ("SHOP_PAYMENT__PROVIDER__SANDBOX", "true")], Some(true), false),
    ] {
        let (mut config, _) = good(variables);
        config.embed();
        let provider = &config.payment.provider;
        assert_eq!((provider.sandbox, provider.approves_without_token), (sandbox, approves), "{variables:?}");
    }
}

#[test]
fn any_folder_can_have_the_data() {
    for folder in ["d#x", "d?x", "100%", ":x", "a b/ä", "/var/lib/shop"] {
        let (mut config, _) = good(&[("SHOP_DATA", folder)]);
        config.embed();
        let file = std::path::Path::new(folder).join("product.db");
        assert_eq!(config.product.database.target(), Ok(Target::Sqlite(file)));
    }
    let problems = with(&[("SHOP_DATA", "")]).map(drop).expect_err("no folder");
    assert_eq!(problems.count(), "1 problem");
    assert!(problems.to_string().contains("SHOP_DATA"), "{problems}");
}

#[test]
fn what_does_nothing_in_this_process_is_told() {
    let warned = |variables: &[(&str, &str)]| good(variables).1.join("\n");
    insta::assert_snapshot!(warned(&[("KAFKA_BROKERS", "kafka:9092")]), @"kafka.brokers (environment variable KAFKA_BROKERS): has no effect with bus = memory; set bus = kafka (SHOP_BUS=kafka)");
    assert_eq!(warned(&[("KAFKA_BROKERS", "kafka:9092"), ("SHOP_BUS", "kafka")]), "");
    insta::assert_snapshot!(warned(&[("PRODUCT_SERVICE_URLS", "http://p:1"), ("BASKET_SERVICE_URL", "b:1")]), @"
    gateway.services.product.urls (environment variable PRODUCT_SERVICE_URLS): has no effect: product runs in this process, where it is found by itself
    payment.basket.url (environment variable BASKET_SERVICE_URL): has no effect: basket runs in this process, where it is found by itself
    ");
    let parts = [("SHOP_SERVICES", "gateway,basket"), ("SHOP_BUS", "kafka"), ("IDENTITY_MODE", "off")];
    let elsewhere = [("PRODUCT_SERVICE_URL", "p:1"), ("PRODUCT_SERVICE_URLS", "http://p:1")];
    assert_eq!(warned(&[&parts[..], &elsewhere].concat()), "");
    let not_here = [("SHOP_PAYMENT__HTTP__PORT", "1"), ("SMTP_URL", "smtps://u:p@mail.example")];
    insta::assert_snapshot!(warned(&[&parts[..], &not_here].concat()), @"
    payment.http.port (environment variable SHOP_PAYMENT__HTTP__PORT): has no effect: payment does not run in this process, see `services`
    notification.email.smtp_url (environment variable SMTP_URL): has no effect: notification does not run in this process, see `services`
    ");
    insta::assert_snapshot!(warned(&[("PRODUCT_DATABASE_URL", "sqlite://a.db"), ("SHOP_PRODUCT__DATABASE__HOST", "db")]), @"product.database.host (environment variable SHOP_PRODUCT__DATABASE__HOST): has no effect beside the url of that section, which has all of it");
    insta::assert_snapshot!(warned(&[("REDIS_URL", "redis://a"), ("BASKET_REDIS_URL", "redis://b")]), @"REDIS_URL has no effect: BASKET_REDIS_URL sets basket.redis.url too, and wins; leave one of them out");
}

#[test]
fn no_two_services_share_a_port() {
    let problems = |variables: &[(&str, &str)]| with(variables).map(drop).expect_err("shared").to_string();
    insta::assert_snapshot!(problems(&[("PORT", "8080")]), @r#"gateway.http.port = "8080" (environment variable PORT): product.http.port is 8080 too; choose another port for one of them"#);
    insta::assert_snapshot!(problems(&[("SHOP_BASKET__GRPC__PORT", "50050"), ("SHOP_NOTIFICATION__HTTP__PORT", "50050")]), @r#"
    basket.grpc.port = "50050" (environment variable SHOP_BASKET__GRPC__PORT): product.grpc.port is 50050 too; choose another port for one of them
    notification.http.port = "50050" (environment variable SHOP_NOTIFICATION__HTTP__PORT): product.grpc.port is 50050 too; choose another port for one of them
    "#);
    good(&[("PORT", "8080"), ("SHOP_SERVICES", "gateway"), ("IDENTITY_MODE", "off")]);
    good(&[("PORT", "0"), ("SHOP_PRODUCT__HTTP__PORT", "0")]);
    good(&[("PORT", "8443")]);
}
