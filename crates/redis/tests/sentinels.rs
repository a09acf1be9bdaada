//! Sentinels that do not agree.

use std::time::Duration;

use shop_config::{Redis, RedisTls};
use shop_redis::Source;
use shop_testing::{Child, Program, backend, eventually, free_port};
use tempfile::TempDir;

/// Any server, by its arguments, once it answers.
async fn serve(arguments: &[String], port: u16) -> Child {
    let running = Program::new("redis-server").args(arguments).stdout(std::process::Stdio::null()).spawn();
    eventually!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok());
    running
}

async fn master(folder: &TempDir) -> (Child, u16) {
    let (port, dir) = (free_port(), folder.path().display().to_string());
    let arguments =
        ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir", &dir].map(str::to_owned);
    (serve(&arguments, port).await, port)
}

/// One that names the master at `of` since the `epoch`th failover.
async fn sentinel(folder: &TempDir, of: u16, epoch: u64) -> (Child, u16) {
    let port = free_port();
    (sentinel_at(folder, port, of, epoch).await, port)
}

async fn sentinel_at(folder: &TempDir, port: u16, of: u16, epoch: u64) -> Child {
    let file = folder.path().join(format!("sentinel-{port}.conf"));
    let dir = folder.path().display();
    let settings = format!(
        "port {port}\nbind 127.0.0.1\ndir {dir}\nsentinel monitor shop 127.0.0.1 {of} 1\n\
         sentinel config-epoch shop {epoch}\n"
    );
    std::fs::write(&file, settings).expect("written");
    serve(&[file.display().to_string(), "--sentinel".to_owned()], port).await
}

/// Where a source leads now.
async fn leads(sentinels: &[u16]) -> Result<u16, redis::RedisError> {
    let places: Vec<_> = sentinels.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let target = Redis::at(&format!("redis-sentinel://{}/shop", places.join(","))).target().expect("understood");
    let patience = Duration::from_secs(30);
    let source = Source::new(&target, &RedisTls::default(), patience, Some(patience)).expect("a good one");
    let mut connection = source.connect().await?;
    let told: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
    let port = told.lines().find_map(|line| line.strip_prefix("tcp_port:")).expect("says so");
    Ok(port.trim().parse().expect("a number"))
}

#[tokio::test]
async fn who_has_not_heard_of_the_last_failover_leads_nobody_to_the_master_before() {
    if backend::redis_sentinel().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    // The one before is back, and takes itself for the master.
    let ((_before, before), (now, at)) = (master(&folder).await, master(&folder).await);
    let (_late, late) = sentinel(&folder, before, 1).await;
    let (_early, early) = sentinel(&folder, at, 2).await;
    let away = free_port();
    for sentinels in [[late, early, away], [early, away, late], [away, late, early]] {
        assert_eq!(leads(&sentinels).await.expect("leads there"), at, "{sentinels:?}");
    }
    assert_eq!(leads(&[late, away]).await.expect("there is no other word"), before);
    drop(now);
    leads(&[late, early]).await.expect_err("whoever is behind does not know better");
    let error = leads(&[away]).await.expect_err("nobody is there");
    assert!(error.is_connection_refusal(), "{error}");
}

#[tokio::test]
async fn a_master_that_is_silent_is_waited_for_no_longer_once_another_is_named() {
    if backend::redis_sentinel().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let (_now, at) = master(&folder).await;
    let (_late, late) = sentinel(&folder, silent.local_addr().expect("bound").port(), 1).await;
    let early = free_port();
    let both = [late, early];
    let another = async {
        // The sentinel looks at whom it names, and so does who asked it; neither hears a word.
        let _sentinels = [silent.accept().await.expect("called"), silent.accept().await.expect("called")];
        let _waiting = silent.accept().await.expect("called");
        let _early = sentinel_at(&folder, early, at, 2).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        led = leads(&both) => assert_eq!(led.expect("leads there"), at),
        () = another => unreachable!("it is never over"),
    }
}

#[tokio::test]
async fn a_sentinel_that_knows_no_such_master_is_as_good_as_none() {
    if backend::redis_sentinel().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (_other, other) = master(&folder).await;
    let error = leads(&[other]).await.expect_err("it is no sentinel at all");
    assert_eq!(error.kind(), redis::ErrorKind::Io, "{error}");
    assert!(error.to_string().contains("knows no such master"), "{error}");
}
