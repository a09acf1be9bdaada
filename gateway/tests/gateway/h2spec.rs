//! HTTP/2 as its RFC has it: h2spec asks, the port of the gateway answers.

use shop_testing::{Program, backend};

use crate::support::{Running, Upstream};

#[tokio::test]
async fn h2spec_passes_in_full() {
    let Some(h2spec) = backend::h2spec() else { return };
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    let port = gateway.addr.port().to_string();
    // A backend that answers when it has the whole body, because some questions expect no answer before they are put;
    // five seconds instead of two for each, because machines that test are busy.
    let arguments = ["--strict", "--timeout", "5", "--host", "127.0.0.1", "--port", &port, "--path", "/api/products"];
    let output = Program::new(&h2spec).args(arguments).output().await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains(", 0 skipped, 0 failed"), "{said}");
    let asked = said.lines().rev().find_map(|line| line.split_once(" tests, ")?.0.parse::<u32>().ok());
    assert!(asked.is_some_and(|asked| asked >= 146), "{said}");
}
