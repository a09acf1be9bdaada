//! The binary itself: settings from the environment, a signal, an exit code.

use shop_testing::{Process, free_port};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::Upstream;

#[tokio::test]
async fn the_process_serves_and_ends_well_on_sigterm() {
    let upstream = Upstream::echo().await;
    let port = free_port();
    let mut process = Process::new("gateway")
        .env("IDENTITY_MODE", "off")
        .env("PORT", port.to_string())
        .env("LOG_FORMAT", "json")
        .env("PRODUCT_SERVICE_URLS", format!("http://{}", upstream.addr));
    process.start(port).await;
    let api = shop_testing::Api::new(format_args!("127.0.0.1:{port}"));
    let (status, seen) = api.get("/api/products/7").await;
    assert_eq!((status, &seen["target"]), (200, &"/products/7".into()));
    let mut client = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
    let made_up = format!("{} /api/products HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "MADEUP".repeat(1000));
    client.write_all(made_up.as_bytes()).await.expect("writes");
    let _ = client.read_to_end(&mut Vec::new()).await;
    let ended = process.stop().await;
    assert!(ended.success(), "{ended}\n{}", process.output());
    let output = process.output();
    assert!(output.contains("OTHER /api/products") && !output.contains("MADEUPMADEUP"), "{output}");
    let line = output.lines().find(|line| line.contains("/api/products/*")).expect("an access line");
    let line: serde_json::Value = serde_json::from_str(line).expect("json");
    let text = line.to_string();
    for word in ["/api/products/*", "request_id", "trace_id", "duration_ms", "backend"] {
        assert!(text.contains(word), "no {word} in {text}");
    }
}

#[tokio::test]
async fn a_wrong_setting_is_named_and_ends_it_with_code_2() {
    let mut process =
        Process::new("gateway").env("IDENTITY_MODE", "off").arg("--check").env("RATE_LIMIT_REQUESTS", "none");
    process.spawn();
    let ended = process.wait().await;
    assert_eq!(ended.code(), Some(2));
    assert!(process.output().contains("RATE_LIMIT_REQUESTS"), "{}", process.output());
}
