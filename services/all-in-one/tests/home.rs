//! Who may do what in `shop` as a person starts it: closed, with a key of its own, on this machine alone.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use shop_testing::Program;

fn shop(data: &Path, arguments: &[&str]) -> Program {
    Program::new(env!("CARGO_BIN_EXE_shop")).args(arguments).env("SHOP_DATA", data)
}

/// What it says on standard output and on standard error.
fn said(program: Program, code: i32) -> (String, String) {
    let output = program.run();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    (out, err)
}

#[test]
fn a_token_is_all_that_is_printed_and_each_leaves_a_line_for_the_audit() {
    let data = tempfile::tempdir().expect("a folder");
    let arguments = ["token", "--user", "ada", "--role", "catalogue", "--role", "support", "--for", "2h"];
    let (token, audit) = said(shop(data.path(), &arguments), 0);
    let parts: Vec<_> = token.strip_suffix('\n').expect("one line").split('.').collect();
    assert!(parts.len() == 3 && parts.iter().all(|part| !part.is_empty()), "{token}");
    let mut line: serde_json::Value = serde_json::from_str(&audit).expect("one line");
    assert_eq!(line["timestamp"].take().as_str().map(|time| time.ends_with('Z')), Some(true));
    insta::assert_snapshot!(line, @r#"{"level":"INFO","lifetime":"2h","message":"token for ada","object":"ada","operation":"token","roles":["catalogue","support"],"target":"audit","timestamp":null}"#);
    let key = std::fs::metadata(data.path().join("identity.pem")).expect("the key");
    assert_eq!(key.permissions().mode() & 0o777, 0o600);

    let (help, _) = said(shop(data.path(), &["token", "--help"]), 0);
    for part in ["--user <NAME>", "--role <ROLE>", "--for <TIME>", "catalogue", "support", "operator", "--config"] {
        assert!(help.contains(part), "{part} in {help}");
    }
    for (wrong, word) in [
        (&["token"][..], "--user"),
        (&["token", "--user", "ada", "--role", "king"], "catalogue"),
        (&["token", "--user", "ada", "--for", "8d"], "1s to 7d"),
    ] {
        let (_, error) = said(shop(data.path(), wrong), 2);
        assert!(error.contains(word), "{error}");
    }
    for name in ["", "me", "guest-1", "service:payment"] {
        let (token, error) = said(shop(data.path(), &["token", "--user", name]), 1);
        assert!(token.is_empty() && error.starts_with("error: "), "{error}");
    }
}

#[test]
fn what_others_can_reach_does_not_start_open_and_says_what_to_set() {
    let data = tempfile::tempdir().expect("a folder");
    let check = || shop(data.path(), &["--check"]);
    let (_, off) = said(check().env("SHOP_HOST", "0.0.0.0").env("IDENTITY_MODE", "off"), 2);
    insta::assert_snapshot!(off, @r#"
    shop: 1 problem in the settings
      identity.mode = "off" (environment variable IDENTITY_MODE): with off, anybody who reaches 0.0.0.0 (product.http.host) may do anything: set identity.mode = required and say whose tokens are trusted, listen on 127.0.0.1, or set identity.allow_anonymous = true if that is meant
    "#);
    let (_, nobody) = said(check().env("SHOP_HOST", "0.0.0.0"), 2);
    insta::assert_snapshot!(nobody, @r#"
    shop: 1 problem in the settings
      identity.issuer = "" (default): say whose tokens are trusted: identity.issuer and identity.audience (IDENTITY_ISSUER, IDENTITY_AUDIENCE), or the suite's own key in identity.internal.key_file (IDENTITY_KEY_FILE); or, on 127.0.0.1, identity.mode = off (IDENTITY_MODE=off)
    "#);
    let (_, one) = said(check().env("SHOP_BASKET__GRPC__HOST", "::"), 2);
    assert!(one.contains("identity.issuer"), "one listener is enough: {one}");
    let named = |address: &str| check().args(["--set", &format!("gateway.listeners.edge.address={address}")]);
    let (_, one) = said(named("0.0.0.0:1"), 2);
    assert!(one.contains("identity.issuer"), "by its name, too: {one}");
    let (_, clash) = said(named("127.0.0.1:50050"), 2);
    assert!(
        clash.contains("gateway.listeners.edge.address") && clash.contains("product.grpc.port is 50050"),
        "{clash}"
    );
    let (_, apart) = said(check().env("SHOP_BUS", "kafka").env("SHOP_SERVICES", "payment"), 2);
    assert!(apart.contains("identity.issuer"), "others have another key: {apart}");
    assert!(!data.path().join("identity.pem").exists(), "to look at settings makes nothing");

    said(shop(data.path(), &["token", "--user", "ada"]), 0);
    let key = data.path().join("identity.pem");
    said(check().env("SHOP_HOST", "0.0.0.0").env("IDENTITY_KEY_FILE", &key), 0);
    said(
        check().env("SHOP_HOST", "0.0.0.0").env("IDENTITY_MODE", "off").env("SHOP_IDENTITY__ALLOW_ANONYMOUS", "true"),
        0,
    );
    said(check().env("SHOP_HOST", "127.0.0.1").env("IDENTITY_MODE", "off"), 0);
    let development = check().env("SHOP_HOST", "::").env("SHOP_IDENTITY__DEVELOPMENT", "true");
    let (_, development) = said(development.env("IDENTITY_KEY_FILE", &key), 2);
    assert!(development.contains("identity.development"), "{development}");
}

#[test]
fn the_address_of_one_listener_wins_over_that_of_all() {
    let data = tempfile::tempdir().expect("a folder");
    let program =
        shop(data.path(), &["--explain"]).env("IDENTITY_MODE", "off").env("SHOP_IDENTITY__ALLOW_ANONYMOUS", "1");
    let program = program.env("SHOP_HOST", "127.0.0.9").env("SHOP_GATEWAY__HTTP__HOST", "127.0.0.8");
    let (out, _) = said(program, 0);
    for (key, host) in [("gateway", "127.0.0.8"), ("product", "127.0.0.9"), ("notification", "127.0.0.9")] {
        let line = out.lines().find(|line| line.starts_with(&format!("{key}.http.host "))).expect(key);
        assert!(line.contains(host), "{line}");
    }
}

#[test]
fn the_process_has_one_identity_and_one_address() {
    let data = tempfile::tempdir().expect("a folder");
    let settings = ["--check", "--set", "basket.identity.issuer=x", "--set", "payment.host=127.0.0.2"];
    let (_, error) = said(shop(data.path(), &settings), 2);
    for part in ["basket.identity", "set `identity` at the top level", "payment.host", "set `host` at the top level"] {
        assert!(error.contains(part), "{part} in {error}");
    }
}
