//! What many routes cost the gateway: to start with, to read again, to keep, and with each request.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::contestant::free_port;
use crate::process::Process;
use crate::{Routes, upstream};

/// Measures each number of routes and prints the table.
#[expect(clippy::print_stdout, reason = "the figures are the program's output")]
pub(crate) async fn run(what: &Routes) -> anyhow::Result<()> {
    let (_upstream, upstream) = upstream::start(&what.dir).await?;
    println!("| routes | ready after ms | read again ms | MiB at first | MiB later | CPU µs a request |");
    println!("|--:|--:|--:|--:|--:|--:|");
    for count in &what.counts {
        let row = measure(what, *count, upstream).await.with_context(|| format!("{count} routes"))?;
        println!("| {count} | {row} |");
    }
    Ok(())
}

async fn measure(what: &Routes, count: usize, upstream: u16) -> anyhow::Result<String> {
    let (port, file) = (free_port()?, what.dir.join("routes.toml"));
    std::fs::write(&file, settings(count, port, upstream, "first"))?;
    let began = Instant::now();
    let mut command = Command::new(&what.gateway);
    let log = what.dir.join("routes.log");
    let mut gateway = Process::start("gateway", command.arg("--config").arg(&file), &log)?;
    gateway.listens(port).await?;
    let ready = began.elapsed();
    let mut client = Client(TcpStream::connect(("127.0.0.1", port)).await?);
    // Each route once, so that all is warm that will be.
    for number in 0..count {
        ensure!(client.status(&path("first", number)).await? == 200, "route {number} does not lead to the backend");
    }
    let (_, at_first) = gateway.memory();
    let before = gateway.cpu();
    for number in 0..what.requests {
        ensure!(client.status(&path("first", number * 7 % count)).await? == 200, "the answer is another one");
    }
    let each = gateway.cpu().saturating_sub(before).as_secs_f64() * 1e6 / what.requests as f64;
    let again = reload(&gateway, &mut client, &file, &settings(count, port, upstream, "second"), count).await?;
    // What was replaced is given back a little later.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (_, later) = gateway.memory();
    let (ready, again) = (ready.as_secs_f64() * 1e3, again.as_secs_f64() * 1e3);
    Ok(format!("{ready:.0} | {again:.0} | {at_first:.0} | {later:.0} | {each:.1}"))
}

/// How long it takes from SIGHUP until the last route is the one of the `next` settings, in which all are different.
async fn reload(
    gateway: &Process,
    client: &mut Client,
    file: &Path,
    next: &str,
    count: usize,
) -> anyhow::Result<Duration> {
    std::fs::write(file, next)?;
    let began = Instant::now();
    Command::new("kill").args(["-HUP", &gateway.id().to_string()]).status()?;
    while client.status(&path("second", count - 1)).await? != 200 {
        ensure!(began.elapsed() < Duration::from_mins(1), "the settings were not read again");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(began.elapsed())
}

/// A path of the route with this number.
fn path(name: &str, number: usize) -> String {
    format!("/area{}/{name}{number}/1k", number % 100)
}

/// So many routes to a hundred services, all of them at one backend.
fn settings(count: usize, port: u16, upstream: u16, name: &str) -> String {
    let mut text = format!(
        "suite = false\nworkers = 1\n[http]\nhost = '127.0.0.1'\nport = {port}\n[admin]\nport = 0\n\
         [identity]\nmode = 'off'\n[rate_limit]\nenabled = false\n[health_check]\nenabled = false\n"
    );
    // Writing to a text cannot fail.
    for service in 0..100 {
        let _ = writeln!(text, "[services.s{service}]\nurls = ['http://127.0.0.1:{upstream}']");
    }
    for number in 0..count {
        let place = number % 100;
        let _ = writeln!(
            text,
            "[routes.r{number}]\npath = '/area{place}/{name}{number}/*'\nrewrite = '/*'\nto = 's{place}'"
        );
    }
    text
}

/// A connection, for one request after the other.
struct Client(TcpStream);

impl Client {
    /// The status of what is at `path`.
    async fn status(&mut self, path: &str) -> anyhow::Result<u16> {
        self.0.write_all(format!("GET {path} HTTP/1.1\r\nhost: shop.example\r\n\r\n").as_bytes()).await?;
        let mut read = Vec::with_capacity(4096);
        loop {
            ensure!(self.0.read_buf(&mut read).await? > 0, "the gateway closed the connection");
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut response = httparse::Response::new(&mut headers);
            let httparse::Status::Complete(head) = response.parse(&read)? else { continue };
            let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
            let length: usize = std::str::from_utf8(length.context("no length")?.value)?.parse()?;
            let status = response.code.context("no status")?;
            while read.len() < head + length {
                ensure!(self.0.read_buf(&mut read).await? > 0, "the gateway closed the connection");
            }
            return Ok(status);
        }
    }
}
