//! `shop demo` as a person runs it, a few seconds of each: what is switched on has to show in the summary.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use shop::{Config, Suite};
use shop_runtime::Shutdown;
use shop_testing::Program;

/// For a few seconds of play on a machine that has much else to do.
const BOUND: Duration = Duration::from_mins(2);

fn demo(folder: &Path, flags: &[&str]) -> Program {
    of_own(Program::new(env!("CARGO_BIN_EXE_shop")), folder, flags)
}

fn of_own(shop: Program, folder: &Path, flags: &[&str]) -> Program {
    let mut shop = shop.arg("demo").args(flags).env("TMPDIR", folder).env("PORT", "0").env("ADMIN_PORT", "0");
    for section in ["PRODUCT", "BASKET", "PAYMENT", "NOTIFICATION"] {
        shop = shop.env(format!("SHOP_{section}__HTTP__PORT"), "0").env(format!("SHOP_{section}__GRPC__PORT"), "0");
    }
    shop
}

async fn ended(demo: Program) -> Output {
    tokio::time::timeout(BOUND, demo.output()).await.expect("it ends by itself")
}

async fn output(demo: Program) -> Output {
    let output = ended(demo).await;
    assert!(output.status.success(), "{output:?}");
    output
}

/// The summary of a play.
async fn play(flags: &[&str]) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let flags = [&["--json", "--rate", "40"], flags].concat();
    let output = output(demo(folder.path(), &flags)).await;
    let text = String::from_utf8(output.stdout).expect("text");
    let summary: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let log = std::fs::read_to_string(summary["log"].as_str().expect("a log")).expect("the log is there");
    assert!(log.contains("\"request_id\""), "the services log there");
    summary
}

fn number(summary: &Value, pointer: &str) -> u64 {
    summary.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer} in {summary}"))
}

#[tokio::test]
async fn shoppers_buy_and_nothing_breaks_by_itself() {
    let summary = play(&["--duration", "5s"]).await;
    assert!(number(&summary, "/purchases/completed") > 0, "{summary}");
    assert_eq!(number(&summary, "/purchases/declined"), 0, "{summary}");
    // On a machine with much else to do a few calls may come too late.
    assert!(number(&summary, "/answers/5xx") < number(&summary, "/answers/2xx") / 10, "{summary}");
    assert_eq!(summary["reasons"]["rate_limited"], Value::Null, "{summary}");
    assert!(number(&summary, "/notifications/sent") > 0, "{summary}");
    assert_eq!(number(&summary, "/outbox/left"), 0, "{summary}");
}

#[tokio::test]
async fn a_slow_product_is_felt_by_who_waits() {
    let summary = play(&["--duration", "5s", "--slow-product", "800ms"]).await;
    assert!(summary["p99_ms"].as_f64() >= Some(800.0), "{summary}");
    assert!(number(&summary, "/answers/2xx") > 0, "{summary}");
}

#[tokio::test]
async fn a_product_that_is_stuck_opens_breakers() {
    let summary = play(&["--duration", "8s", "--slow-product", "1m"]).await;
    let opened = summary["breakers_opened"].as_array().expect("a list");
    assert!(opened.contains(&"product".into()), "{summary}");
    assert!(number(&summary, "/reasons/upstream_timeout") > 0, "{summary}");
}

#[tokio::test]
async fn a_failing_provider_declines_and_the_shop_goes_on() {
    let summary = play(&["--duration", "6s", "--failing-provider", "100%"]).await;
    assert!(number(&summary, "/purchases/declined") > 0, "{summary}");
    assert!(number(&summary, "/purchases/completed") > 0, "slow charges and lost replies end well: {summary}");
    assert!(number(&summary, "/reasons/payment_declined") > 0, "{summary}");
}

#[tokio::test]
async fn who_closed_the_tab_has_paid_however_often_the_bank_calls() {
    let summary = play(&["--duration", "12s", "--webhooks", "repeated"]).await;
    let told = |summary: &Value| (number(summary, "/webhooks/sent"), number(summary, "/webhooks/confirmed"));
    // What is under way when the play ends comes once, for everything is mended then.
    let (sent, confirmed) = told(&summary);
    assert!(confirmed > 0 && sent > confirmed, "{summary}");
    assert_eq!(number(&summary, "/webhooks/refused"), 0, "{summary}");
    assert!(number(&summary, "/purchases/completed") > 0, "{summary}");
    let summary = play(&["--duration", "12s", "--webhooks", "lost"]).await;
    let (sent, confirmed) = told(&summary);
    assert!(sent < confirmed, "{summary}");
    assert!(number(&summary, "/reasons/payment_unsettled") > 0, "nobody knows yet that they have paid: {summary}");
}

#[tokio::test]
async fn events_wait_for_a_dead_consumer_and_are_not_lost() {
    let summary = play(&["--duration", "6s", "--dead-consumer", "notification"]).await;
    let most = number(&summary, "/outbox/most");
    assert!(most > 2, "{summary}");
    assert_eq!(number(&summary, "/outbox/left"), 0, "it lives again at the end: {summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_gateway_can_be_played_against_and_a_person_reads_along() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config { data: folder.path().join("data"), ..Config::default() };
    for port in [&mut config.product.http.port, &mut config.basket.http.port, &mut config.payment.http.port] {
        *port = 0;
    }
    for port in [&mut config.product.grpc.port, &mut config.basket.grpc.port, &mut config.payment.grpc.port] {
        *port = 0;
    }
    (config.notification.http.port, config.notification.grpc.port) = (0, 0);
    (config.gateway.http.port, config.gateway.admin.port) = (0, 0);
    config.gateway.rate_limit.enabled = false;
    let suite = Box::pin(Suite::build(config)).await.expect("the suite starts");
    let at = suite.addresses();
    let [url, operators] =
        [at.gateway, at.gateway_admin].map(|at| format!("http://127.0.0.1:{}", at.expect("a gateway").port()));
    let shutdown = Shutdown::new();
    let serving = tokio::spawn(suite.run(shutdown.clone()));

    let output = output(demo(folder.path(), &["--url", &url, "--operators", &operators, "--duration", "6s"])).await;
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        text.contains("breakers basket ") && text.contains("outbox ?"),
        "what the gateway tells, line by line: {text}"
    );
    assert!(text.contains("breakers opened: ") && !text.contains("2xx 0,"), "the summary: {text}");
    assert!(!text.contains('\u{1b}'), "no drawing where no terminal is: {text}");
    shutdown.soft.cancel();
    serving.await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn help_tells_of_the_demo_and_nonsense_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let help = output(demo(folder.path(), &["--help"])).await;
    let help = String::from_utf8(help.stdout).expect("text");
    for flag in [
        "--url",
        "--users",
        "--rate",
        "--duration",
        "--slow-product",
        "--failing-provider",
        "--webhooks",
        "--dead-consumer",
        "--json",
    ] {
        assert!(help.contains(flag), "{flag} in {help}");
    }
    for (wrong, word) in [
        (["--failing-provider", "130%"], "0% to 100%"),
        (["--dead-consumer", "payment"], "notification"),
        (["--url", "https://shop.example"], "http://HOST:PORT"),
        (["--users", "0"], "a whole number from 1 to 1000"),
        (["--rate", "x"], "a whole number from 1 to 100000"),
    ] {
        let refused = demo(folder.path(), &wrong).output().await;
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(word), "{refused:?}");
    }
}

#[tokio::test]
async fn an_address_where_nobody_answers_is_an_error() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("http://{free}");
    let output = ended(demo(folder.path(), &["--url", &url, "--duration", "1s"])).await;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(&format!("no gateway answers at {url}")), "{error}");
}

#[tokio::test]
async fn a_summary_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let shell = Program::new("sh").args(["-c", "exec \"$0\" \"$@\" >/dev/full", env!("CARGO_BIN_EXE_shop")]);
    let output = ended(of_own(shell, folder.path(), &["--json", "--duration", "1s"])).await;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("the summary cannot be written"), "{error}");
}
