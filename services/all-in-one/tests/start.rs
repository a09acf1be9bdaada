//! What a person meets who starts `shop` where it cannot start.

use std::net::TcpListener;

use shop_testing::Program;

fn shop(data: &std::path::Path) -> Program {
    let mut shop = Program::new(env!("CARGO_BIN_EXE_shop"));
    for section in ["PRODUCT", "BASKET", "PAYMENT"] {
        shop = shop.env(format!("SHOP_{section}__HTTP__PORT"), "0").env(format!("SHOP_{section}__GRPC__PORT"), "0");
    }
    shop.env("SHOP_NOTIFICATION__HTTP__PORT", "0").env("PORT", "0").env("SHOP_DATA", data)
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
        assert!(error.contains(&format!("port {port} is already in use")), "{error}");
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
