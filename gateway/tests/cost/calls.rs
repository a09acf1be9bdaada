//! System calls, as strace sees them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use shop_testing::{Process, Program, eventually, free_port};

use super::{ALONE, Client, GET, POST, backend};

const SETTINGS: &str =
    "workers = 1\n[rate_limit]\nrequests = 1000000\nburst = 1000000\n[health_check]\nenabled = false\n";
/// What serves connections; the log's thread writes when it likes.
const COUNTED: [&str; 8] = ["recvfrom", "recvmsg", "readv", "sendto", "sendmsg", "writev", "epoll_wait", "epoll_ctl"];

/// How often each was called so far.
fn counts(log: &Path) -> BTreeMap<&'static str, usize> {
    let log = std::fs::read_to_string(log).expect("strace writes");
    let called = |line: &str| COUNTED.into_iter().find(|name| line.contains(&format!(" {name}(")));
    let mut counts = BTreeMap::new();
    log.lines().filter_map(called).for_each(|name| *counts.entry(name).or_default() += 1);
    counts
}

/// What each of the requests that `client` makes takes, rounded to whole calls.
fn each(client: &mut Client, request: &[u8], log: &Path) -> Vec<(&'static str, usize)> {
    const CALLS: usize = 100;
    client.calls(request, 10);
    let before = counts(log);
    client.calls(request, CALLS);
    let after = counts(log);
    let each = |(name, count): (&'static str, usize)| {
        (name, (count - before.get(name).copied().unwrap_or_default() + CALLS / 2) / CALLS)
    };
    after.into_iter().map(each).filter(|(_, count)| *count > 0).collect()
}

#[tokio::test]
async fn a_request_takes_two_reads_two_writes_and_two_waits() {
    if !shop_testing::backend::required()
        && Program::new("sh").args(["-c", "strace true"]).run().status.code() != Some(0)
    {
        println!("SKIPPED: strace is not here, or may not look");
        return;
    }
    let _alone = ALONE.lock().await;
    let (port, upstream) = (free_port(), backend());
    let mut settings = tempfile::NamedTempFile::new().expect("a file");
    settings.write_all(SETTINGS.as_bytes()).expect("writes");
    let log = tempfile::NamedTempFile::new().expect("a file");
    let gateway = Process::program("gateway");
    let _gateway = Program::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(log.path())
        .arg("--")
        .arg(gateway)
        .arg("--config")
        .arg(settings.path())
        .env_clear()
        .env("IDENTITY_MODE", "off")
        .env("PORT", port.to_string())
        .env("ADMIN_PORT", "0")
        .env("PRODUCT_SERVICE_URLS", format!("http://{upstream}"))
        .stdout(std::process::Stdio::null())
        .spawn();
    let addr = ([127, 0, 0, 1], port).into();
    eventually!(tokio::net::TcpStream::connect(addr).await.is_ok());
    let log = log.path().to_owned();
    let counted = tokio::task::spawn_blocking(move || {
        let mut client = Client::connect(addr);
        [GET, POST].map(|request| each(&mut client, request, &log))
    });
    let expected = vec![("epoll_wait", 2), ("recvfrom", 2), ("sendto", 2)];
    assert_eq!(counted.await.expect("answers"), [expected.clone(), expected], "system calls of GET and POST");
}
