//! The binary itself: settings from the environment, a signal, an exit code.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use http::Method;
use serde_json::Value;
use shop_testing::{Api, Process, eventually, free_port};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use crate::support::{Upstream, read_head};

#[tokio::test]
async fn the_process_serves_and_ends_well_on_sigterm() {
    let upstream = Upstream::echo().await;
    let port = free_port();
    let mut process = Process::new("gateway")
        .env("IDENTITY_MODE", "off")
        .env("PORT", port.to_string())
        .env("ADMIN_PORT", "0")
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
async fn the_access_log_says_of_who_asked_what_settings_want() {
    let upstream = Upstream::echo().await;
    let line = async |fields: Option<&str>| {
        let port = free_port();
        let mut process = Process::new("gateway")
            .env("IDENTITY_MODE", "off")
            .env("PORT", port.to_string())
            .env("ADMIN_PORT", "0")
            .env("LOG_FORMAT", "json")
            .env("PRODUCT_SERVICE_URLS", format!("http://{}", upstream.addr));
        if let Some(fields) = fields {
            process.set("SHOP_ACCESS_LOG__FIELDS", fields);
        }
        process.start(port).await;
        let api = Api::new(format_args!("127.0.0.1:{port}"));
        let asked = api.request(Method::GET, "/api/products/7?token=hidden").header("user-agent", "probe/1");
        assert_eq!(api.send(asked).await.status, 200);
        assert!(process.stop().await.success());
        let output = process.output();
        assert!(!output.contains("hidden"), "{output}");
        let line = output.lines().find(|line| line.contains("/api/products/*")).expect("an access line");
        let line: Value = serde_json::from_str(line).expect("json");
        let port = format!("127.0.0.1:{port}");
        ["client", "host", "path", "user_agent"].map(|name| match line[name].as_str().unwrap_or("-") {
            host if *host == port => "host".to_owned(),
            other => other.to_owned(),
        })
    };
    assert_eq!(line(None).await, ["127.0.0.1", "-", "-", "-"]);
    assert_eq!(line(Some("[]")).await, ["-", "-", "-", "-"]);
    let all = r#"["client", "host", "path", "user_agent"]"#;
    assert_eq!(line(Some(all)).await, ["127.0.0.1", "host", "/api/products/7", "probe/1"]);
}

#[tokio::test]
async fn the_access_log_says_where_the_time_went() {
    let (gate, opened) = watch::channel(0);
    let (tell, mut asked) = mpsc::channel(1);
    let upstream = Upstream::raw(move |mut stream| {
        let (mut opened, tell) = (opened.clone(), tell.clone());
        async move {
            for round in 0..2 {
                read_head(&mut stream).await;
                tell.send(()).await.expect("somebody waits");
                opened.wait_for(|gate| *gate > 2 * round).await.expect("opens");
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha").await.expect("writes");
                opened.wait_for(|gate| *gate > 2 * round + 1).await.expect("opens");
                stream.write_all(b"lf").await.expect("writes");
            }
        }
    })
    .await;
    let port = free_port();
    let mut process = Process::new("gateway")
        .env("IDENTITY_MODE", "off")
        .env("PORT", port.to_string())
        .env("ADMIN_PORT", "0")
        .env("SHOP_WORKERS", "1")
        .env("LOG_FORMAT", "json")
        .env("SHOP_HEALTH_CHECK__ENABLED", "false")
        .env("PRODUCT_SERVICE_URLS", format!("http://{}", upstream.addr));
    process.start(port).await;
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
    let held = Duration::from_millis(20);
    for round in 0..2 {
        client.write_all(b"GET /api/products HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("writes");
        asked.recv().await.expect("the backend is asked");
        let begun = Instant::now();
        eventually!(begun.elapsed() > held);
        gate.send(2 * round + 1).expect("somebody waits");
        // The first half of the body.
        let mut answer = Vec::new();
        while !answer.ends_with(b"ha") {
            assert!(client.read_buf(&mut answer).await.expect("reads") > 0);
        }
        let begun = Instant::now();
        eventually!(begun.elapsed() > held);
        gate.send(2 * round + 2).expect("somebody waits");
        assert_eq!([client.read_u8().await.expect("reads"), client.read_u8().await.expect("reads")], *b"lf");
    }
    client.write_all(b"GET /nowhere HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("writes");
    client.read_to_end(&mut Vec::new()).await.expect("closes");
    assert!(process.stop().await.success());
    let output = process.output();
    let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines: Vec<_> = lines.filter(|line| line["target"] == "http.access" && line["backend"].is_string()).collect();
    assert_eq!(lines.len(), 2, "{output}");
    let held = held.as_secs_f64() * 1000.0;
    for (line, connects) in lines.iter().zip([true, false]) {
        assert_eq!(line["backend"], format!("http://{}", upstream.addr));
        let [connect, first_byte, whole] =
            ["connect_ms", "first_byte_ms", "duration_ms"].map(|name| line[name].as_f64());
        assert_eq!(connect.is_some(), connects, "{line}");
        let (first_byte, whole) = (first_byte.expect("is said"), whole.expect("is said"));
        assert!(connect.is_none_or(|connect| connect <= first_byte), "{line}");
        assert!(first_byte >= held && whole >= first_byte + held, "{line}");
    }
    let own = output.lines().find(|line| line.contains("no_route")).expect("a line of the gateway's own answer");
    assert!(own.contains("duration_ms") && !own.contains("first_byte_ms") && !own.contains("connect_ms"), "{own}");
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

#[tokio::test]
async fn a_reader_of_the_log_that_stalls_stops_no_request() {
    let port = free_port();
    let gateway = Process::new("gateway")
        .env("IDENTITY_MODE", "off")
        .env("PORT", port.to_string())
        .env("ADMIN_PORT", "0")
        .env("LOG_FORMAT", "json")
        .beside(&[]);
    let mut gateway = gateway.stdout(Stdio::piped()).spawn();
    let api = Api::new(format_args!("127.0.0.1:{port}"));
    let ready = || api.try_send(api.request(Method::GET, "/health/ready"));
    eventually!(ready().await.is_ok_and(|reply| reply.status == 200));
    // A pipe takes 64 KiB; behind it a megabyte of each thread waits, and one is being written.
    let all = stream::iter(0..12_000).map(|_| api.get("/nowhere")).buffer_unordered(16);
    let answered = all.filter(|(status, _)| std::future::ready(*status == 404)).count();
    let answered = tokio::time::timeout(Duration::from_mins(2), answered).await;
    assert_eq!(answered, Ok(12_000), "in time");
    let metrics = api.send(api.request(Method::GET, "/metrics")).await.text;
    let lost = metrics.lines().find_map(|line| line.strip_prefix("log_lines_lost_total ")).expect("is counted");
    assert!(lost.parse::<u64>().is_ok_and(|lost| lost > 100), "{lost}");

    // Who reads again is told; who stops once more does not hold up the end.
    let mut lines = BufReader::new(gateway.take_stdout().expect("is piped")).lines();
    let (told, lines) = tokio::task::spawn_blocking(move || {
        let is_told = |line: std::io::Result<String>| {
            let line: Value = serde_json::from_str(&line.expect("text")).expect("a whole line");
            line["message"].as_str().is_some_and(|message| message.contains("log lines were lost"))
        };
        (lines.by_ref().any(is_told), lines)
    })
    .await
    .expect("lines are whole");
    assert!(told);
    let again = stream::iter(0..500).map(|_| api.get("/nowhere")).buffer_unordered(16);
    assert_eq!(again.count().await, 500);
    gateway.signal("TERM");
    eventually!(gateway.exited()).success().then_some(()).expect("ends well");
    drop(lines);
}
