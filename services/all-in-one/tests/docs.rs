//! Runs every example of the README, of docs/api.md and of docs/operations.md, in order, against a fresh suite: a block marked `sh` must
//! succeed, a block marked `sh 404` must end in a call answered with that status.

use std::path::Path;

use shop::{Config, Suite};
use shop_runtime::Shutdown;
use shop_testing::Program;

struct Block {
    line: usize,
    expected: Option<String>,
    script: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readme_does_what_it_says() {
    run_all("README.md").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_page_does_what_it_says() {
    run_all("docs/api.md").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operations_page_does_what_it_says() {
    run_all("docs/operations.md").await;
}

async fn run_all(file: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let blocks = blocks(&std::fs::read_to_string(root.join(file)).expect("the page"));
    assert!(!blocks.is_empty(), "no examples in {file}");

    let data = tempfile::tempdir().expect("a folder");
    let mut config = Config { data: data.path().to_owned(), ..Config::default() };
    config.product.http.port = 0;
    config.basket.http.port = 0;
    config.payment.http.port = 0;
    config.notification.http.port = 0;
    (config.gateway.http.port, config.gateway.admin.port) = (0, 0);
    config.product.grpc.port = 0;
    config.basket.grpc.port = 0;
    config.payment.grpc.port = 0;
    config.notification.grpc.port = 0;
    // A person reads between two examples; the test does not.
    config.gateway.rate_limit.enabled = false;
    let suite = Box::pin(Suite::build(config)).await.expect("the suite starts");
    let at = suite.addresses();
    let ports = [at.gateway, at.gateway_admin, at.notification].map(|addr| addr.expect("it runs").port());
    let shutdown = Shutdown::new();
    let serving = tokio::spawn(suite.run(shutdown.clone()));

    // What a person has in his shell from then on.
    let mut tokens = String::new();
    for mut block in blocks {
        let own: String =
            block.script.lines().filter(|line| line.contains("/dev/token")).flat_map(|line| [line, "\n"]).collect();
        block.script.insert_str(0, &tokens);
        tokens += &own;
        let at = format!("{file}:{}", block.line);
        tokio::task::spawn_blocking(move || run(&at, &block, ports)).await.expect("an example works");
    }
    shutdown.soft.cancel();
    serving.await.expect("no panic").expect("a clean end");
}

/// Runs one block in bash with a `curl` that records each status, and fails on any it did not expect.
fn run(at: &str, block: &Block, ports: [u16; 3]) {
    let statuses = tempfile::NamedTempFile::new().expect("a file");
    let prelude = r#"
        set -eu -o pipefail
        curl() { command curl --silent --show-error --max-time 20 --write-out '%{stderr}%{http_code}\n' "$@" 2>>"$STATUSES"; }
    "#;
    let script = [8083, 9083, 8084].into_iter().zip(ports).fold(block.script.clone(), |script, (usual, port)| {
        script.replace(&format!("localhost:{usual}"), &format!("127.0.0.1:{port}"))
    });
    let output =
        Program::new("bash").arg("-c").arg(format!("{prelude}\n{script}")).env("STATUSES", statuses.path()).run();
    let seen = std::fs::read_to_string(statuses.path()).expect("statuses");
    let seen: Vec<_> = seen.lines().collect();
    let explain = || format!("{at}\n{script}\n{seen:?}\n{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", explain());
    let (last, before) = seen.split_last().unwrap_or_else(|| panic!("no call was made: {}", explain()));
    assert!(before.iter().all(|status| status.starts_with('2')), "{}", explain());
    match &block.expected {
        Some(expected) => assert_eq!(last, expected, "{}", explain()),
        None => assert!(last.starts_with('2'), "{}", explain()),
    }
}

/// The fenced blocks marked `sh`.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in page.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.script.push_str(line);
                block.script.push('\n');
            }
            (None, Some(mark)) if mark == "sh" || mark.starts_with("sh ") => {
                let expected = mark.strip_prefix("sh ").map(str::to_owned);
                open = Some(Block { line: index + 1, expected, script: String::new() });
            }
            // Another kind of block: skip to its end.
            (None, Some(_)) => open = Some(Block { line: 0, expected: None, script: String::new() }),
            (None, None) => {}
        }
    }
    blocks.retain(|block| block.line > 0);
    blocks
}
