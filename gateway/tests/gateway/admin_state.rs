//! Changes that outlive a restart, and the lines that say who made them.

use shop_testing::{Api, Process, free_port};

use crate::support::Mortal;

#[tokio::test]
async fn changes_outlive_a_restart_and_the_log_says_who_made_them() {
    let (one, two) = (Mortal::start(), Mortal::start());
    let folder = tempfile::tempdir().expect("a folder");
    let (state, port) = (folder.path().join("state.json"), free_port());
    let mut process = Process::new("gateway")
        .env("IDENTITY_MODE", "off")
        .env("PORT", port.to_string())
        .env("ADMIN_PORT", "0")
        .env("SHOP_HTTP__HOST", "127.0.0.1")
        .env("LOG_FORMAT", "json")
        .env("PRODUCT_SERVICE_URLS", format!("http://{}", one.addr))
        .env("ADMIN_TOKEN", "correct-horse-battery")
        .env("ADMIN_STATE_FILE", state.display().to_string());
    process.start(port).await;
    let api = Api::new(format_args!("127.0.0.1:{port}"));
    let call = |method: &str, path: &str| {
        api.request(method.parse().expect("a method"), path).bearer_auth("correct-horse-battery")
    };
    let added = call("POST", "/admin/services/product/backends")
        .json(&serde_json::json!({"url": format!("http://{}", two.addr), "weight": 5}));
    assert_eq!(api.send(added).await.status, 201);
    let gone = call("DELETE", &format!("/admin/services/product/backends/{}", one.addr));
    let gone = api.send(gone).await;
    assert_eq!(gone.status, 200);
    let old_tag = gone.header("etag").to_owned();
    let refused = call("DELETE", &format!("/admin/services/product/backends/{}", two.addr));
    assert_eq!(api.send(refused).await.status, 422);
    for (method, path, status) in [
        ("POST", "/admin/circuitbreaker/search/reset", 404),
        ("PUT", "/admin/ratelimit", 415),
        ("DELETE", "/admin/changes?dryrun=true", 400),
    ] {
        assert_eq!(api.send(call(method, path)).await.status, status, "{method} {path}");
    }

    process.kill();
    process.start(port).await;
    let (status, _) = api.get("/api/products").await;
    assert_eq!((status, one.count(), two.count()), (200, 0, 1));
    let shown = api.send(call("GET", "/admin/services/product")).await.json();
    assert_eq!((&shown["backends"][0]["source"], &shown["backends"][0]["weight"]), (&"admin".into(), &5.into()));
    let outdated = call("DELETE", "/admin/changes").header("if-match", old_tag);
    assert_eq!(api.send(outdated).await.status, 412, "a tag from before the restart");

    assert_eq!(api.send(call("DELETE", "/admin/changes")).await.status, 200);
    process.kill();
    process.start(port).await;
    let (status, _) = api.get("/api/products").await;
    assert_eq!((status, one.count()), (200, 1));

    let output = process.output();
    let line = |word: &str| {
        let found = output.lines().find(|line| line.contains("admin.audit") && line.contains(word));
        serde_json::from_str::<serde_json::Value>(found.unwrap_or_else(|| panic!("no {word} in\n{output}")))
            .expect("json")
    };
    let audited = line("add backend");
    let text = audited.to_string();
    for part in ["127.0.0.1", "\"token\":\"", "request_id", "\"before\":1", "\"after\":2", "services.product.urls"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    for (what, reason) in [
        ("refused: remove backend", "validation_failed"),
        ("refused: reset circuit breakers of search", "not_found"),
        ("refused: PUT /admin/ratelimit", "unsupported_media_type"),
        ("refused: DELETE /admin/changes", "invalid_parameter"),
    ] {
        assert!(line(what).to_string().contains(reason), "{what}");
    }
    assert!(!output.contains("correct-horse"), "the token is not in the log");

    process.kill();
    std::fs::write(&state, "{\"version\": 1, \"chan").expect("writes");
    process.spawn();
    let ended = process.wait().await;
    assert!(!ended.success());
    let output = process.output();
    assert!(output.contains("state.json") && output.contains("admin.state_file"), "{output}");
}
