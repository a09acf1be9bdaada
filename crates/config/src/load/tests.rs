//! Layers, problems and hostile input, on settings made of two nested services.

use std::io::Write as _;

use proptest::prelude::*;

use super::*;
use crate::sample::Suite;
use crate::{Duration, LogFormat, SslMode};

fn env(list: &[(&str, &str)]) -> Sources {
    let env = list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources { env, ..Sources::default() }
}

fn good(sources: &Sources) -> Suite {
    match load::<Suite>(sources) {
        Ok(loaded) => loaded.settings,
        Err(problems) => panic!("{problems}"),
    }
}

fn bad(sources: &Sources) -> String {
    match load::<Suite>(sources) {
        Ok(_) => panic!("no problem was found"),
        Err(problems) => problems.to_string(),
    }
}

fn warned(sources: &Sources) -> String {
    match load::<Suite>(sources) {
        Ok(loaded) => loaded.warnings.sentences().join("\n"),
        Err(problems) => panic!("{problems}"),
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::with_suffix(".toml").expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

/// Problems with the name of the temporary file replaced.
fn bad_file(text: &str) -> String {
    let file = file(text);
    let sources = Sources { files: vec![file.path().to_owned()], ..Sources::default() };
    bad(&sources).replace(&file.path().display().to_string(), "x.toml")
}

#[test]
fn each_layer_wins_over_the_one_before() {
    let low = file("[product.http]\nport = 1\ntimeout = '1m'\nbody_limit = 10\n");
    let high = file("[product.http]\nport = 2\n");
    let mut sources = Sources { files: vec![low.path().to_owned(), high.path().to_owned()], ..Sources::default() };
    assert_eq!(good(&sources).product.http.port, 2);
    sources.env.push(("PORT".to_owned(), "3".to_owned()));
    assert_eq!(good(&sources).product.http.port, 3);
    sources.env.push(("SHOP_PRODUCT__HTTP__PORT".to_owned(), "4".to_owned()));
    assert_eq!(good(&sources).product.http.port, 4);
    sources.set.push(("product.http.port".to_owned(), "5".to_owned()));
    let settings = good(&sources);
    assert_eq!(settings.product.http.port, 5);
    assert_eq!(settings.product.http.timeout, Duration::secs(60));
    assert_eq!(settings.product.http.body_limit, 10);
    assert_eq!(settings.basket.http.port, 8081, "a sibling's own default stays");
}

#[test]
fn the_defaults_keep_their_secrets() {
    assert_eq!(good(&Sources::default()).product.database.password.expose(), "password");
}

#[test]
fn text_is_read_as_the_type_of_the_setting() {
    let settings = good(&env(&[
        ("DB_PASSWORD", "007"),
        ("DB_PORT", " 5433 "),
        ("DB_SSL_MODE", "false"),
        ("KAFKA_BROKERS", "a:1, b:2"),
        ("LOG_FORMAT", "text"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        ("SHOP_PRODUCT__LIMIT", "7"),
        ("SHOP_PRODUCT__HOLD", "500ms"),
        ("SHOP_OTEL__SAMPLE_RATIO", "0.5"),
        ("SHOP_PRODUCT__HTTP__HOST", "::1"),
        ("SHOP_PRODUCT__HTTP__TIMEOUT", "60"),
    ]));
    assert_eq!(settings.product.database.password.expose(), "007");
    assert_eq!(settings.product.database.port, 5433);
    assert_eq!(settings.product.database.ssl_mode, SslMode::Disable);
    assert_eq!(settings.product.kafka.brokers, ["a:1", "b:2"]);
    assert_eq!(settings.log.format, LogFormat::Text);
    assert_eq!(settings.otel.endpoint, None);
    assert_eq!(settings.product.limit, Some(7));
    assert_eq!(settings.product.hold, Some(Duration::millis(500)));
    assert!((settings.otel.sample_ratio - 0.5).abs() < f64::EPSILON);
    assert!(settings.product.http.host.is_ipv6());
    assert_eq!(settings.product.http.timeout, Duration::secs(60));
}

#[test]
fn a_list_may_be_written_as_json() {
    let settings = good(&env(&[("KAFKA_BROKERS", r#"["a:1","b:2"]"#)]));
    assert_eq!(settings.product.kafka.brokers, ["a:1", "b:2"]);
}

#[test]
fn every_problem_of_every_layer_is_reported_at_once() {
    let file = file("[product.http]\nprot = 1\nbody_limit = 'big'\n[prodcut]\nx = 1\n[log]\nformat = 'jsno'\n");
    let sources = Sources {
        files: vec![file.path().to_owned()],
        env: vec![
            ("DB_PORT".to_owned(), "70000".to_owned()),
            ("SHOP_BASKET__REDIS__PROT".to_owned(), "1".to_owned()),
            ("KAFKA_BROKERS".to_owned(), "nohost".to_owned()),
        ],
        set: vec![("basket.http.timeout".to_owned(), "soon".to_owned())],
    };
    let text = bad(&sources).replace(&file.path().display().to_string(), "x.toml");
    insta::assert_snapshot!(text, @r#"
    basket.http.timeout = "soon" (flag --set basket.http.timeout): expected a duration such as 60, 60s, 1m or 500ms
    basket.redis.prot (environment variable SHOP_BASKET__REDIS__PROT): is not a setting; did you mean basket.redis.port?
    log.format = "jsno" (file x.toml): is not one of json, text, auto; did you mean json?
    prodcut (file x.toml): is not a setting; did you mean product?
    product.database.port = "70000" (environment variable DB_PORT): expected a whole number from 0 to 65535
    product.http.body_limit = "big" (file x.toml): expected a whole number, 0 or more
    product.http.prot (file x.toml): is not a setting; did you mean product.http.port?
    product.kafka.brokers = "nohost" (environment variable KAFKA_BROKERS): use a list of host:port, such as kafka-1:9092,kafka-2:9092
    "#);
}

#[test]
fn an_unknown_key_suggests_the_nearest_one() {
    insta::assert_snapshot!(bad_file("[product.database]\nmax = 3\n"), @"product.database.max (file x.toml): is not a setting; did you mean product.database.pool.max?");
    insta::assert_snapshot!(bad(&env(&[("SHOP_PRODCUT__PORT", "1")])), @"prodcut (environment variable SHOP_PRODCUT__PORT): is not a setting; did you mean product?");
}

#[test]
fn what_there_used_to_be_is_told_from_what_never_was() {
    insta::assert_snapshot!(bad_file("[basket.cache]\nport = 3\n"), @"basket.cache (file x.toml): is not a setting any more: set basket.redis");
    for name in ["CACHE_PASSWORD", "CACHE_PASSWORD_FILE"] {
        assert_eq!(warned(&env(&[(name, "x")])), format!("{name} has no effect any more: set REDIS_PASSWORD"));
    }
}

#[test]
fn a_broken_or_missing_file_is_one_problem_among_others() {
    insta::assert_snapshot!(bad_file("[product\n"), @"file x.toml: line 1: invalid table header, expected `.`, `]`");
    let sources = Sources { files: vec!["/nowhere/x.toml".into()], ..env(&[("PORT", "x")]) };
    insta::assert_snapshot!(bad(&sources), @r#"
    file /nowhere/x.toml: No such file or directory (os error 2)
    product.http.port = "x" (environment variable PORT): expected a whole number from 0 to 65535
    "#);
}

#[test]
fn types_in_files_are_strict() {
    insta::assert_snapshot!(bad_file("[product.http]\nport = '8080'\n[product.kafka]\nbrokers = 'a:1'\n"), @r#"
    product.http.port = "8080" (file x.toml): expected a whole number from 0 to 65535
    product.kafka.brokers = "a:1" (file x.toml): expected a list
    "#);
}

#[test]
fn a_plain_value_in_place_of_a_section_takes_nothing_else_with_it() {
    let file = file("[product.http]\nport = 'x'\n");
    let sources = Sources { files: vec![file.path().to_owned()], ..env(&[("SHOP_PRODUCT__HTTP", "1")]) };
    let text = bad(&sources).replace(&file.path().display().to_string(), "x.toml");
    insta::assert_snapshot!(text, @r#"
    product.http = "1" (environment variable SHOP_PRODUCT__HTTP): expected a section with keys of its own
    product.http.port = "x" (file x.toml): expected a whole number from 0 to 65535
    "#);
}

#[test]
fn secrets_come_from_files_too() {
    let secret = file("s3cret\n");
    let path = secret.path().display().to_string();
    let settings = good(&env(&[("DB_PASSWORD_FILE", &path), ("SHOP_BASKET__REDIS__PASSWORD_FILE", &path)]));
    assert_eq!(settings.product.database.password.expose(), "s3cret");
    assert_eq!(settings.basket.redis.password.expose(), "s3cret");

    let url = file("sqlite://x.db");
    let path = url.path().display().to_string();
    let settings = good(&env(&[("DATABASE_URL_FILE", &path)]));
    assert!(settings.product.database.url.is_some(), "an absent secret has a _FILE twin too");
}

#[test]
fn a_file_for_what_is_no_secret_is_not_looked_at() {
    assert_eq!(good(&env(&[("PORT_FILE", "/nowhere")])).product.http.port, 8080);
    insta::assert_snapshot!(bad(&env(&[("SHOP_PRODUCT__HTTP__PORT_FILE", "/nowhere")])), @"product.http.port_file (environment variable SHOP_PRODUCT__HTTP__PORT_FILE): is not a setting; did you mean product.http.port?");
}

#[test]
fn a_secret_given_twice_or_not_readable_is_a_problem() {
    insta::assert_snapshot!(bad(&env(&[("DB_PASSWORD", "a"), ("DB_PASSWORD_FILE", "/nowhere")])), @"product.database.password (environment variables DB_PASSWORD and DB_PASSWORD_FILE): set only one of DB_PASSWORD and DB_PASSWORD_FILE");
    insta::assert_snapshot!(bad(&env(&[("DB_PASSWORD_FILE", "/nowhere")])), @"product.database.password (environment variable DB_PASSWORD_FILE): the file /nowhere cannot be read: No such file or directory (os error 2)");
}

#[test]
fn no_problem_shows_a_secret() {
    for text in [
        "[product.database]\npassword = 12345\n",
        "[product.database]\npasswrod = 'x12345'\n",
        "[product]\ndatabase = 'postgres://u:12345@h/d'\n",
        "[product.database]\nurl = 'postgre://u:12345@h/d'\n",
        "[product.database]\npassword = '12345\n",
    ] {
        let problems = bad_file(text);
        assert!(!problems.contains("12345"), "{text}\n{problems}");
    }
}

#[test]
fn variables_of_others_are_told_and_change_nothing() {
    let sources = env(&[
        ("SHOP_SERVICE_HOST", "10.0.0.1"),
        ("SHOP_SERVICE_PORT", "80"),
        ("SHOP_PORT", "tcp://10.0.0.1:80"),
        ("SHOP_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("SHOP_PORT_80_TCP_PROTO", "tcp"),
        ("SHOP_PRODUCT_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("SHOP_PRODUCT_SERVICE_PORT_HTTP", "8080"),
        ("SHOP__A_SERVICE_HOST", "10.0.0.1"),
        ("REDIS_PORT", "tcp://10.0.0.1:6379"),
        ("DB_PORT", "udp://10.0.0.1:5432"),
        ("SHOP_TAG", "latest"),
        ("SHOP_NAME", "/web/shop"),
        ("SHOP_DB_PORT", "1"),
        ("SHOP_HTPP__PORT", "1"),
        ("SHOP_PRODCT", "1"),
        ("SHOP_LOG_LEVEL", "debug"),
        ("SHOP_TEST_POSTGRES_URL", "x"),
        ("SHOP_CRASH_AT", "x"),
    ]);
    insta::assert_snapshot!(warned(&sources), @"
    SHOP_DB_PORT is not a setting; did you mean DB_PORT?
    SHOP_HTPP__PORT is not a setting of this program
    SHOP_LOG_LEVEL is not a setting; did you mean LOG_LEVEL?
    SHOP_NAME is not a setting of this program
    SHOP_PRODCT is not a setting of this program
    SHOP_TAG is not a setting of this program
    made by Kubernetes for a service of that name, and so no settings: DB_PORT, REDIS_PORT, SHOP_PORT, SHOP_PORT_80_TCP, SHOP_PORT_80_TCP_PROTO, SHOP_PRODUCT_PORT_8080_TCP_ADDR, SHOP_PRODUCT_SERVICE_PORT_HTTP, SHOP_SERVICE_HOST, SHOP_SERVICE_PORT, SHOP__A_SERVICE_HOST. enableServiceLinks: false in the pod leaves them out
    ");
    let settings = good(&sources);
    assert_eq!((settings.basket.redis.port, settings.product.database.port), (6379, 5432));
}

#[test]
fn what_is_set_and_has_no_effect_is_told() {
    let empty = file("");
    let path = empty.path().display().to_string();
    let sources = env(&[
        ("DATABASE_URL", "sqlite://a.db"),
        ("DB_PORT", "1"),
        ("PORT", "1"),
        ("SHOP_PRODUCT__HTTP__PORT", "2"),
        ("KAFKA_BROKERS", "a:1"),
        ("SHOP_PRODUCT__KAFKA__BROKERS", "a:1"),
        ("LOG_LEVEL_FILE", "/nowhere"),
        ("REDIS_PASSWORD_FILE", &path),
        ("PASSWORD", "hunter2"),
        ("PASSWORD_FILE", "/run/secrets/x"),
        ("GREETING", ""),
        ("KAFKA_BROKER", "a:1"),
        ("LOG_LEVLE", "debug"),
        ("PASSWORT", "x"),
        ("POST", "x"),
    ]);
    insta::assert_snapshot!(warned(&sources).replace(&path, "EMPTY"), @"
    LOG_LEVEL_FILE has no effect: only secrets are read from files; set LOG_LEVEL
    the file EMPTY (REDIS_PASSWORD_FILE) is empty, and so basket.redis.password is
    PORT has no effect: SHOP_PRODUCT__HTTP__PORT sets product.http.port too, and wins; leave one of them out
    PASSWORD has no effect: it could mean several settings here; set the one that is meant: DB_PASSWORD, REDIS_PASSWORD
    PASSWORD_FILE has no effect: it could mean several settings here; set the one that is meant: DB_PASSWORD, REDIS_PASSWORD, each also with _FILE
    KAFKA_BROKER is not a setting; did you mean KAFKA_BROKERS?
    LOG_LEVLE is not a setting; did you mean LOG_LEVEL?
    PASSWORT is not a setting; did you mean PASSWORD?
    product.database.port (environment variable DB_PORT): has no effect beside the url of that section, which has all of it
    ");
    assert_eq!(good(&sources).product.http.port, 2);
    let file = file("[product.database]\nurl = 'sqlite://a.db'\nhost = 'localhost'\n");
    let sources = Sources { files: vec![file.path().to_owned()], ..Sources::default() };
    let told = warned(&sources).replace(&file.path().display().to_string(), "x.toml");
    insta::assert_snapshot!(told, @"product.database.host (file x.toml): has no effect beside the url of that section, which has all of it");
}

#[test]
fn warnings_come_with_problems_too() {
    let problems = load::<Suite>(&env(&[("SHOP_TAG", "1"), ("PORT", "x")])).map(drop).expect_err("a problem");
    assert_eq!((problems.count().as_str(), problems.warnings().sentences().len()), ("1 problem", 1));
}

#[test]
fn empty_variables_of_opentelemetry_are_not_set() {
    let settings = good(&env(&[
        ("OTEL_TRACES_SAMPLER", ""),
        ("OTEL_TRACES_SAMPLER_ARG", ""),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
    ]));
    assert_eq!((settings.otel.sampler, settings.otel.endpoint), (crate::Sampler::default(), None));
    assert!(bad(&env(&[("PORT", "")])).contains("PORT"), "others are not that lenient");
}

#[test]
fn what_is_no_utf_8_is_refused_and_not_changed() {
    insta::assert_snapshot!(bad(&env(&[("DB_PASSWORD", "h\u{fffd}nter2")])), @"product.database.password (environment variable DB_PASSWORD): has bytes that are not UTF-8; write it in UTF-8");
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_secret_or_of_settings() {
    let secret = file("\u{feff}s3cret\r\n");
    let path = secret.path().display().to_string();
    assert_eq!(good(&env(&[("DB_PASSWORD_FILE", &path)])).product.database.password.expose(), "s3cret");
    let settings = file("\u{feff}[product.http]\nport = 1\n");
    let sources = Sources { files: vec![settings.path().to_owned()], ..Sources::default() };
    assert_eq!(good(&sources).product.http.port, 1);
    std::fs::write(secret.path(), b"\xff\xfes\0").expect("written");
    let text = bad(&env(&[("DB_PASSWORD_FILE", &path)])).replace(&path, "FILE");
    assert!(text.ends_with("the file FILE cannot be read: it is UTF-16; save it as UTF-8"), "{text}");
}

#[test]
fn all_that_is_wrong_in_a_list_is_reported_at_once() {
    insta::assert_snapshot!(bad_file("[[product.tiers]]\nname = 1\nprcie = 2\n[[product.tiers]]\nprice = 'x'\n[[product.tiers]]\nname = 'a'\nprice = 1\n[product.http]\nport = 'x'\n[prodct]\n"), @r#"
    prodct (file x.toml): is not a setting; did you mean product?
    product.http.port = "x" (file x.toml): expected a whole number from 0 to 65535
    product.tiers.0.name = 1 (file x.toml): expected a text
    product.tiers.0.prcie (file x.toml): is not a setting; did you mean product.tiers.0.price?
    product.tiers.1.price = "x" (file x.toml): expected a whole number from 0 to 4294967295
    "#);
    insta::assert_snapshot!(bad(&env(&[("SHOP_PRODUCT__TIERS", r#"[{"name":"a","price":"x"},{"name":{},"price":1.5},3]"#), ("SHOP_PRODUCT__HTTP", r#"{"prot":1,"port":70000,"host":"x"}"#), ("SHOP_BASKET", "{")])), @"
    basket = *** (environment variable SHOP_BASKET): expected JSON, which this stops being at character 1
    product.http.host (environment variable SHOP_PRODUCT__HTTP): expected an IP address, such as 0.0.0.0 or ::1
    product.http.port (environment variable SHOP_PRODUCT__HTTP): expected a whole number from 0 to 65535
    product.http.prot (environment variable SHOP_PRODUCT__HTTP): is not a setting; did you mean product.http.port?
    product.tiers.0.price (environment variable SHOP_PRODUCT__TIERS): expected a whole number from 0 to 4294967295
    product.tiers.1.name (environment variable SHOP_PRODUCT__TIERS): expected a text
    product.tiers.1.price (environment variable SHOP_PRODUCT__TIERS): expected a whole number from 0 to 4294967295
    product.tiers.2 (environment variable SHOP_PRODUCT__TIERS): expected a section with keys of its own
    ");
    insta::assert_snapshot!(bad_file("[product.kafka]\nbrokers = [1, 'a:1', true]\n"), @"
    product.kafka.brokers.0 = 1 (file x.toml): expected a text
    product.kafka.brokers.2 = true (file x.toml): expected a text
    ");
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_.]{0,20}",
        Just("product.http.port".to_owned()),
        Just("product.kafka.brokers".to_owned()),
        Just("product.http".to_owned()),
        Just("product".to_owned()),
        Just("log.format".to_owned()),
        any::<String>(),
    ]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[0-9]{0,25}", "[\\[{\",:a-z0-9}\\]]{0,12}"]
}

proptest! {
    #[test]
    fn nothing_anyone_sets_makes_it_panic(
        set in proptest::collection::vec((key(), value()), 0..4),
        env in proptest::collection::vec(
            (prop_oneof![Just("PORT".to_owned()), Just("KAFKA_BROKERS".to_owned()), "SHOP_[A-Z_]{0,20}", key().prop_map(|key| {
                format!("SHOP_{}", key.to_uppercase().replace('.', "__"))
            })], value()),
            0..4,
        ),
    ) {
        let sources = Sources { files: Vec::new(), env, set };
        match load::<Suite>(&sources) {
            Ok(loaded) => prop_assert!(!loaded.explain().is_empty()),
            Err(problems) => prop_assert!(!problems.to_string().is_empty()),
        }
    }

    #[test]
    fn no_file_makes_it_panic(text in prop_oneof![any::<String>(), "(\\[(product|log|x)(\\.http)?\\]\n|port = [0-9'a]{1,4}\n|[a-z]{1,5} = (1|'x'|\\[1\\]|\\{\\}|1.5|true)\n){0,6}"]) {
        let file = file(&text);
        let sources = Sources { files: vec![file.path().to_owned()], ..Sources::default() };
        let _ = load::<Suite>(&sources);
    }

    #[test]
    fn any_port_is_read_back(port: u16) {
        let settings = good(&env(&[("PORT", &port.to_string())]));
        prop_assert_eq!(settings.product.http.port, port);
    }
}
