//! What a person meets who starts `shop` where it cannot start, or not yet.

use std::io::{BufRead as _, BufReader, Lines};
use std::net::{TcpListener, TcpStream};
use std::process::{ChildStdout, Stdio};

use shop_testing::{Child, Program};

fn shop(data: &std::path::Path) -> Program {
    on_any_port(Program::new(env!("CARGO_BIN_EXE_shop")), data)
}

fn on_any_port(mut shop: Program, data: &std::path::Path) -> Program {
    for section in ["PRODUCT", "BASKET", "PAYMENT", "NOTIFICATION"] {
        shop = shop.env(format!("SHOP_{section}__HTTP__PORT"), "0").env(format!("SHOP_{section}__GRPC__PORT"), "0");
    }
    shop.env("PORT", "0").env("ADMIN_PORT", "0").env("SHOP_DATA", data)
}

#[test]
fn a_taken_port_is_told_with_the_setting_and_variable_of_this_process() {
    let data = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    for (setting, variable) in [
        ("basket.http.port", "SHOP_BASKET__HTTP__PORT"),
        ("payment.grpc.port", "SHOP_PAYMENT__GRPC__PORT"),
        ("gateway.http.port", "PORT"),
    ] {
        let output = shop(data.path()).env(variable, &port).run();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        let program = std::fs::read_to_string("/proc/self/comm").expect("Linux");
        let holder = format!("{} (pid {})", program.trim_end(), std::process::id());
        assert!(error.contains(&format!("port {port} is already in use: {holder} listens on")), "{error}");
        assert!(error.contains(&format!("{setting} ({variable})")), "{error}");
    }
}

#[test]
fn a_signal_ends_the_wait_for_a_store_that_is_not_there() {
    let data = tempfile::tempdir().expect("a folder");
    // Bound and never accepting: the store seems to be there and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("postgres://shop@{}/shop", silent.local_addr().expect("bound"));
    let mut child = shop(data.path()).env("PRODUCT_DATABASE_URL", url).spawn();
    // It connects once signals are heard.
    silent.accept().expect("it asks for its store");
    child.signal("INT");
    assert_eq!(child.wait().code(), Some(0));
}

/// A process and what it says.
struct Started {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Started {
    fn new(program: Program) -> Self {
        let mut child = program.stdout(Stdio::piped()).spawn();
        let lines = BufReader::new(child.take_stdout().expect("piped")).lines();
        Self { child, lines }
    }

    /// Lines of standard output up to the first that has `part`.
    fn until(&mut self, part: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(part) {
            let line = self.lines.next().unwrap_or_else(|| panic!("it ended without {part}: {seen}")).expect("text");
            seen.push_str(&line);
            seen.push('\n');
        }
        seen
    }

    fn stop(mut self) {
        self.child.signal("INT");
        // Its pipe must not fill up.
        let rest: Vec<_> = self.lines.map_while(Result::ok).collect();
        assert_eq!(self.child.wait().code(), Some(0), "{rest:?}");
    }
}

#[test]
fn a_port_that_only_a_connection_has_is_waited_for() {
    let data = tempfile::tempdir().expect("a folder");
    let far = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let near = TcpStream::connect(far.local_addr().expect("bound")).expect("connects");
    let port = near.local_addr().expect("connected").port().to_string();
    let mut started = Started::new(shop(data.path()).env("SHOP_BASKET__GRPC__PORT", &port));
    let waits = started.until("waiting for port");
    assert!(
        waits.contains(&format!("waiting for port {port} of basket.grpc.port (SHOP_BASKET__GRPC__PORT)")),
        "{waits}"
    );
    assert!(waits.contains(&format!("(pid {})", std::process::id())), "{waits}");
    // The far end closes first, so that nothing is left of the near one.
    drop(far.accept().expect("accepts"));
    drop(near);
    let starts = started.until("Read and try");
    assert!(starts.contains(&format!("localhost:{port}")), "{starts}");
    started.stop();
}

#[test]
fn warnings_are_logged_and_shown_by_check() {
    let data = tempfile::tempdir().expect("a folder");
    let program = shop(data.path()).env("DB_HOST", "db").env("SHOP_SERVICE_HOST", "10.0.0.1");
    let checked = program.env("SHOP_PORT", "tcp://10.0.0.1:80").arg("--check").run();
    let warnings = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!((checked.status.code(), warnings.matches("shop: warning: ").count()), (Some(0), 2), "{warnings}");
    let mut started = Started::new(shop(data.path()).env("DB_HOST", "db"));
    let log = started.until("Read and try");
    let line = log.lines().find(|line| line.contains("DB_HOST has no effect")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("\"WARN\"") && line.contains("SHOP_PRODUCT__DATABASE__HOST"), "{line}");
    started.stop();
}

#[test]
fn what_cannot_be_printed_is_no_success() {
    let data = tempfile::tempdir().expect("a folder");
    for flag in ["--help", "--version", "--check", "--explain"] {
        let shell = Program::new("sh").args(["-c", "exec \"$0\" \"$1\" >/dev/full", env!("CARGO_BIN_EXE_shop"), flag]);
        let output = on_any_port(shell, data.path()).run();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{flag}: {error}");
        assert!(error.contains("standard output cannot be written"), "{flag}: {error}");
    }
}

#[test]
fn signals_that_rotate_logs_elsewhere_end_nothing() {
    let data = tempfile::tempdir().expect("a folder");
    let mut started = Started::new(shop(data.path()));
    started.until("Read and try");
    for signal in ["USR1", "USR2"] {
        started.child.signal(signal);
        started.until(&format!("SIG{signal} ends nothing"));
    }
    started.stop();
}
