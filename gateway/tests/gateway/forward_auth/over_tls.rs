//! A server that is asked over TLS: who is taken for it, and who is not.

use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;

use shop_testing::{Api, Process, eventually, free_port};

use super::{asking, authority};
use crate::routes::bare;
use crate::support::{Client, Running, Upstream, echoed, nobody, request, service};
use crate::upstream_tls::{Authority, Folder, Front, Hands};

/// A request that the server lets on.
fn allowed() -> hyper::Request<http_body_util::Full<bytes::Bytes>> {
    let mut request = request("GET", "/a", "");
    request.headers_mut().insert("cookie", "session=good".parse().expect("a value"));
    request
}

/// The section of a route that trusts `ca`, with what else it says.
fn tls(ca: &Path, more: &str) -> String {
    let more = if more.is_empty() { String::new() } else { format!(", {more}") };
    format!("headers = ['x-user'], tls = {{ ca_file = '{}'{more} }}", ca.display())
}

#[tokio::test]
async fn it_is_asked_as_who_it_has_to_be_and_connections_are_used_again() {
    let (one, (auth, asked)) = (Upstream::echo().await, authority().await);
    let (vouching, folder) = (Authority::new(), Folder::new());
    let front = Front::before(auth.addr, &Hands::of(&vouching.good("auth.internal"))).await;
    let more = tls(&folder.put("ca.pem", &vouching.pem), "server_name = 'auth.internal'");
    let gateway = asking(&one, &front.url("127.0.0.1"), &more).await;
    let mut client = Client::connect(gateway.addr).await;
    for _ in 0..5 {
        let reply = client.send(allowed()).await.expect("an answer");
        assert_eq!(echoed(&reply.json(), "x-user"), ["ada"]);
    }
    let asked = asked.lock();
    assert_eq!(asked.len(), 5);
    assert_eq!(asked[0].0.headers["host"], format!("127.0.0.1:{}", front.upstream.addr.port()), "whom the URL names");
    assert_eq!(front.upstream.connections.load(SeqCst), 1);
    assert_eq!(front.asked(), [("auth.internal".to_owned(), "http/1.1".to_owned())]);
    let server = front.url("127.0.0.1");
    let opened = format!(r#"gateway_upstream_connections_total{{backend="{server}",service="forward_auth"}}"#);
    assert_eq!(gateway.metric(&opened), Some(1.0));
}

#[tokio::test]
async fn a_server_that_knows_its_clients_takes_the_gateway_with_its_certificate_only() {
    let (one, (auth, _)) = (Upstream::echo().await, authority().await);
    let (vouching, clients, folder) = (Authority::new(), Authority::new(), Folder::new());
    let pair = vouching.good("127.0.0.1");
    let hands = Hands { clients: Some(&clients), ..Hands::of(&pair) };
    let front = Front::before(auth.addr, &hands).await;
    let client = clients.good("gateway");
    let (cert, key) = (folder.put("cert.pem", &client.cert), folder.put("key.pem", &client.key));
    let ca = folder.put("ca.pem", &vouching.pem);
    let with = format!("cert_file = '{}', key_file = '{}'", cert.display(), key.display());
    // Routes that name it alike but for this do not share connections.
    let url = front.url("127.0.0.1");
    let route = |path, more: &str| {
        format!("path = '{path}'\nto = 'one'\nforward_auth = {{ url = '{url}', {} }}", tls(&ca, more))
    };
    let (with, without) = (route("/a", &with), route("/b", ""));
    let gateway = Running::start(bare(&[("one", service(&[one.addr]))], &[("a", &with), ("b", &without)])).await;
    for _ in 0..2 {
        assert_eq!(gateway.send(allowed()).await.status(), 200);
        let mut other = allowed();
        *other.uri_mut() = "/b".parse().expect("a path");
        gateway.send(other).await.refused(503, "auth_unavailable");
    }
}

#[tokio::test]
async fn who_is_not_who_it_should_be_is_not_asked_and_the_log_says_why() {
    let (one, (auth, asked)) = (Upstream::echo().await, authority().await);
    let (vouching, other, folder) = (Authority::new(), Authority::new(), Folder::new());
    let front = Front::before(auth.addr, &Hands::of(&vouching.good("auth.internal"))).await;
    let (url, ca) = (front.url("127.0.0.1"), folder.put("ca.pem", &vouching.pem));
    let strange = folder.put("other.pem", &other.pem);
    for (tls, words) in [
        (tls(&ca, "server_name = 'sso.internal'"), "not for sso.internal"),
        (tls(&ca, ""), "not for 127.0.0.1"),
        (tls(&strange, "server_name = 'auth.internal'"), "of no authority that is trusted"),
    ] {
        let port = free_port();
        let settings = format!(
            "suite = false\n[health_check]\nenabled = false\n[services.one]\nurls = ['http://{}']\n[routes.a]\npath = '/a'\nto = 'one'\n\
             forward_auth = {{ url = '{url}', {tls} }}\n",
            one.addr
        );
        let file = folder.put("gateway.toml", &settings);
        let mut process = Process::new("gateway").env("IDENTITY_MODE", "off").env("PORT", port.to_string());
        process = process.env("ADMIN_PORT", "0").arg("--config").arg(file.display().to_string());
        process.start(port).await;
        let api = Api::new(format_args!("127.0.0.1:{port}"));
        for _ in 0..3 {
            let reply = api.send(api.request(http::Method::GET, "/a")).await;
            assert_eq!(reply.status, 503, "{}", reply.text);
            assert!(reply.text.contains("auth_unavailable") && !reply.text.contains("internal"), "{}", reply.text);
        }
        assert!(process.stop().await.success());
        let output = process.output();
        assert_eq!(output.matches(words).count(), 1, "told once: {output}");
    }
    assert!(asked.lock().is_empty());
    assert_eq!(one.requests.load(SeqCst), 0);
}

#[tokio::test]
async fn files_and_settings_that_change_hold_for_the_next_question() {
    let (one, (auth, _)) = (Upstream::echo().await, authority().await);
    let (vouching, other, folder) = (Authority::new(), Authority::new(), Folder::new());
    let front = Front::before(auth.addr, &Hands::of(&vouching.good("127.0.0.1"))).await;
    let ca = folder.put("ca.pem", &other.pem);
    let settings = |url: &str, more: &str| {
        let route = format!("path = '/a'\nto = 'one'\nforward_auth = {{ url = '{url}', {} }}", tls(&ca, more));
        let mut settings = bare(&[("one", service(&[one.addr]))], &[("a", &route)]);
        settings.tls.reload_interval = shop_config::Duration::millis(20);
        settings
    };
    let url = front.url("127.0.0.1");
    let gateway = Running::start(settings(&url, "")).await;
    gateway.send(allowed()).await.refused(503, "auth_unavailable");
    folder.put("ca.pem", &vouching.pem);
    eventually!(gateway.send(allowed()).await.status() == 200);

    gateway.handle.apply(settings(&url, "server_name = 'elsewhere'")).expect("applies");
    gateway.send(allowed()).await.refused(503, "auth_unavailable");
    gateway.handle.apply(settings(&url, "")).expect("applies");
    assert_eq!(gateway.send(allowed()).await.status(), 200);

    // Of one that nobody asks any more neither connections nor numbers are left.
    gateway.handle.apply(settings(&format!("https://{}", nobody()), "")).expect("applies");
    gateway.send(allowed()).await.refused(503, "auth_unavailable");
    eventually!(front.upstream.open.load(SeqCst) == 0);
    let opened = format!(r#"gateway_upstream_connections_total{{backend="{url}",service="forward_auth"}}"#);
    assert_eq!(gateway.metric(&opened), None);
}
