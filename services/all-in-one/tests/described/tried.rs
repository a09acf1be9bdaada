//! Schemathesis makes requests of the documents, good and bad ones, and compares the answers.
//!
//! `SHOP_TEST_SCHEMATHESIS_CASES` is how many for each operation in each of the phases that make them by chance,
//! `SHOP_TEST_SCHEMATHESIS_SEED` which; `SHOP_TEST_SCHEMATHESIS_HEADER` is sent with each. What differs is printed with
//! a `curl` to see it.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::json;
use shop_identity::Mode;
use shop_testing::{Api, Program, backend, variable};
use tempfile::{NamedTempFile, TempDir};

use super::Shop;

/// Few enough for every change, on top of the some hundred that are the same in every run.
const CASES: &str = "10";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_do_what_their_documents_say() {
    let Some(tools) = backend::schemathesis() else { return };
    // At the services' own ports anybody may do anything; by the gateway comes ada, who has every role.
    let (open, closed) = (Shop::start(Mode::Off).await, Shop::start(Mode::Required).await);
    let ada = closed.token();
    something_there(&Api::new(open.gateway())).await;
    something_there(&Api::new(closed.gateway()).by(&ada)).await;
    // Two at a time: the tool and what it asks take about as long.
    let direct = async {
        let mut differences = Vec::new();
        for (name, base, _) in open.services() {
            let document = document(&tools, name, &base).await;
            differences.extend(difference(&tools, document.path(), &base, "^/", None).await);
        }
        differences
    };
    let behind = async {
        let (mut differences, gateway) = (Vec::new(), format!("{}/api", closed.gateway()));
        for (name, base, paths) in closed.services() {
            let document = document(&tools, name, &base).await;
            differences.extend(difference(&tools, document.path(), &gateway, paths, Some(&ada)).await);
        }
        differences
    };
    let (direct, behind) = tokio::join!(direct, behind);
    open.stop().await;
    closed.stop().await;
    let differences = [direct, behind].concat();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// What the service at `base` says of itself, which is OpenAPI.
async fn document(tools: &Path, name: &str, base: &str) -> NamedTempFile {
    let file = tempfile::Builder::new().prefix(name).suffix(".json").tempfile().expect("a file");
    let text = Api::new(base).get("/openapi.json").await.1.to_string();
    std::fs::write(file.path(), text).expect("writes the document");
    let validated = Program::new(tools.join("openapi-spec-validator")).arg(file.path()).output().await;
    assert!(validated.status.success(), "the document of {name} is not OpenAPI:\n{}", told(&validated));
    file
}

/// Runs all phases over the operations whose path begins so; what is said of them, if it is not that all is well.
async fn difference(tools: &Path, document: &Path, base: &str, paths: &str, who: Option<&str>) -> Option<String> {
    let given = |name: &str, default: &str| variable(name).unwrap_or_else(|| default.to_owned());
    let folder = workplace();
    // From the folder of our settings, which the tool looks for where it runs.
    let mut run = Program::new("env")
        .arg("-C")
        .arg(folder.path())
        .arg(tools.join("schemathesis"))
        .arg("run")
        .arg(document)
        .args(["--url", base, "--include-path-regex", paths, "--no-color", "--continue-on-failure"])
        .args(["--phases", "examples,coverage,fuzzing,stateful", "--generation-database", "none"])
        .args(["--max-examples", &given("SHOP_TEST_SCHEMATHESIS_CASES", CASES)])
        .args(["--seed", &given("SHOP_TEST_SCHEMATHESIS_SEED", "1")]);
    if let Some(who) = who {
        run = run.args(["--header", &format!("Authorization: Bearer {who}")]);
    }
    if let Some(header) = variable("SHOP_TEST_SCHEMATHESIS_HEADER") {
        run = run.args(["--header", &header]);
    }
    let output = run.output().await;
    let told = told(&output);
    #[expect(clippy::print_stdout, reason = "how much was tried, for whoever asks for a long run")]
    let () = println!("{base} {paths}: {}", told.lines().rfind(|line| line.contains("generated")).unwrap_or_default());
    (!output.status.success()).then(|| format!("{base} does not do what {} says:\n{told}", document.display()))
}

/// A folder with our settings for the tool, which otherwise keeps what it found, and would begin with it the next time.
fn workplace() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    for name in ["schemathesis.toml", "scripts"] {
        symlink(root.join(name), folder.path().join(name)).expect("links to our files");
    }
    folder
}

/// A basket that can be changed and a payment that was completed, so that not everything is a 404.
async fn something_there(gateway: &Api) {
    let item = json!({"product_id": 1, "quantity": 1});
    assert_eq!(gateway.post("/api/baskets/ada/items", &item).await.0, 200);
    let (status, payment) = gateway.post("/api/payments", &json!({"user_id": "ada", "method": "credit_card"})).await;
    assert_eq!(status, 201, "{payment}");
    let process = format!("/api/payments/{}/process", payment["id"].as_str().expect("an id"));
    assert_eq!(gateway.post(&process, &json!({})).await.0, 200);
    assert_eq!(gateway.post("/api/baskets/ada/items", &item).await.0, 200);
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}
