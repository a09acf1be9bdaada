//! Ports that are taken, by connections and by listeners.

use std::future::Future;
use std::net::TcpStream;
use std::pin::pin;
use std::task::Poll;

use super::*;

/// A connection on loopback, made as programs make them that know nothing of us: the near end, the far end.
fn connection() -> (TcpStream, TcpStream) {
    let far = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let near = TcpStream::connect(far.local_addr().expect("bound")).expect("connects");
    (near, far.accept().expect("accepts").0)
}

fn anywhere(stream: &TcpStream) -> SocketAddr {
    SocketAddr::new([0, 0, 0, 0].into(), stream.local_addr().expect("connected").port())
}

async fn is_pending<F: Future>(future: &mut std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

#[tokio::test]
async fn a_port_that_an_outgoing_connection_has_is_waited_for() {
    let (near, far) = connection();
    let addr = anywhere(&near);
    let mut listening = pin!(listen(addr, "http.port (PORT)"));
    assert!(is_pending(&mut listening).await, "it waits");
    // The far end closes first, so that nothing of the near one is left.
    drop(far);
    drop(near);
    let listener = listening.await.expect("has the port");
    assert_eq!(listener.local_addr().expect("bound").port(), addr.port());
}

#[tokio::test]
async fn shared_listeners_wait_like_a_single_one() {
    let (near, far) = connection();
    let addr = anywhere(&near);
    let mut listening = pin!(listen_shared(addr, 2, "http.port (PORT)"));
    assert!(is_pending(&mut listening).await, "they wait");
    drop(far);
    drop(near);
    let ports: Vec<_> =
        listening.await.expect("have the port").iter().map(|l| l.local_addr().expect("bound").port()).collect();
    assert_eq!(ports, [addr.port(); 2]);
}

/// The clock stands still and leaps over each pause.
#[tokio::test(start_paused = true)]
async fn the_wait_ends_after_a_minute_with_what_was_waited_for() {
    let (near, far) = connection();
    let begun = Instant::now();
    let error = listen(anywhere(&near), "http.port (PORT)").await.expect_err("never free").to_string();
    let took = begun.elapsed();
    assert!((Duration::from_mins(1)..Duration::from_secs(63)).contains(&took), "{took:?}");
    let to = near.peer_addr().expect("connected");
    let whose = format!("a connection of {} (pid {}) to {to}", program(), std::process::id());
    assert!(error.contains(&whose), "{error}");
    assert!(error.contains("http.port (PORT)") && error.contains("ip_local_reserved_ports"), "{error}");
    drop(far);
}

#[tokio::test(start_paused = true)]
async fn a_port_in_time_wait_is_waited_for_and_told_as_such() {
    let (near, far) = connection();
    let addr = anywhere(&near);
    // Who closes first keeps the port.
    drop(near);
    drop(far);
    let error = listen(addr, "http.port (PORT)").await.expect_err("the kernel's clock does not leap").to_string();
    assert!(error.contains("TIME_WAIT") && error.contains("after a minute"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_listener_is_an_error_at_once_that_names_its_program() {
    let begun = Instant::now();
    for taken in [
        TcpListener::bind("127.0.0.1:0").expect("a free port"),
        TcpListener::bind("0.0.0.0:0").expect("a free port"),
        listen(([127, 0, 0, 1], 0).into(), "x").await.expect("a free port"),
        listen_shared(([127, 0, 0, 1], 0).into(), 1, "x").await.expect("a free port").remove(0),
    ] {
        let addr = taken.local_addr().expect("bound");
        let alone = listen(addr, "http.port (PORT)").await.expect_err("taken").to_string();
        let shared = listen_shared(addr, 2, "http.port (PORT)").await.expect_err("taken").to_string();
        for error in [alone, shared] {
            let port = addr.port();
            let who = format!("port {port} is already in use: {} (pid {})", program(), std::process::id());
            assert!(error.starts_with(&who) && error.ends_with("http.port (PORT)"), "{error}");
        }
    }
    assert!(begun.elapsed().is_zero(), "nothing was waited for");
}

#[tokio::test]
async fn an_address_of_another_machine_is_told_as_such() {
    let error = listen("192.0.2.1:80".parse().expect("an address"), "http.port (PORT)")
        .await
        .expect_err("not ours")
        .to_string();
    assert_eq!(error, "192.0.2.1 is no address of this machine; check the host beside http.port (PORT)");
}

/// This program's name as the kernel has it.
fn program() -> String {
    std::fs::read_to_string("/proc/self/comm").expect("Linux").trim_end().to_owned()
}
