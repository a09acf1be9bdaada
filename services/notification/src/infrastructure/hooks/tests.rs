//! Webhooks to receivers that behave, and to those that do not.

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use shop_events::{Context, Envelope, Event, PaymentFailed};
use shop_testing::eventually;
use time::macros::datetime;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use super::receiver::{Act, Pretended, Receiver};
use super::*;
use crate::domain::SigningSecret;

/// Long enough for everything that ends by itself.
const LONG: Duration = Duration::from_secs(20);
/// For what does not.
const SHORT: Duration = Duration::from_millis(300);
const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:06 UTC);
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// Public by its number; nothing is ever sent there.
const PUBLIC: &str = "192.0.1.7";

fn event() -> Envelope {
    Envelope {
        id: Uuid::from_u128(7),
        time: datetime!(2026-01-02 03:04:05.678 UTC),
        source: "payment-service".to_owned(),
        event: Event::PaymentFailed(PaymentFailed {
            payment_id: Uuid::from_u128(1),
            user_id: "ada".to_owned(),
            basket_id: None,
            amount: "12.50".parse().expect("decimal"),
            currency: shop_money::Currency::USD,
            items: Vec::new(),
            metadata: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
            reason: "declined".to_owned(),
            error_code: "payment_declined".to_owned(),
        }),
        context: Context::default(),
    }
}

fn settings(timeout: Duration, reach: Reach) -> WebhookSettings {
    WebhookSettings {
        timeout: shop_config::Duration::millis(timeout.as_millis().try_into().expect("is short")),
        allow_private: reach.private,
        allow_http: reach.plain,
        ..WebhookSettings::default()
    }
}

const ANYWHERE: Reach = Reach { private: true, plain: true };
const PUBLIC_ONLY: Reach = Reach { private: false, plain: true };

fn hooks(timeout: Duration, reach: Reach, network: Arc<dyn Network>) -> HttpHooks {
    HttpHooks::with(&settings(timeout, reach), network, RootCertStore::empty()).expect("is built")
}

/// Sends the event; the outcome must not tell what is in the URL's path and query.
async fn send(hooks: &HttpHooks, url: &str) -> Outcome {
    let secrets = [SigningSecret::from_key([1; 32]), SigningSecret::from_key([2; 32])];
    let outcome = hooks.send(Call { id: Uuid::from_u128(9), url, secrets: &secrets, at: NOW, event: &event() }).await;
    assert!(!format!("{outcome:?}").contains("s3cr3t"), "{outcome:?}");
    outcome
}

/// The code of a failure, and what follows.
fn failed(outcome: Outcome) -> (String, Next) {
    let Outcome::Failed { failure, next } = outcome else { panic!("was sent") };
    (failure.code, next)
}

fn retried(outcome: Outcome) -> String {
    let (code, next) = failed(outcome);
    assert_eq!(next, Next::Retry(None), "{code}");
    code
}

/// What becomes of a message to a receiver that does `act`.
async fn told(act: Act, timeout: Duration) -> (Outcome, Receiver) {
    let receiver = Receiver::start(&[act], None).await;
    let outcome = send(&hooks(timeout, ANYWHERE, Arc::new(Internet)), &receiver.url()).await;
    (outcome, receiver)
}

#[tokio::test]
async fn a_message_is_signed_by_every_secret_and_the_same_on_every_attempt() {
    let receiver =
        Receiver::start(&[Act::Answer("HTTP/1.1 500 no\r\ncontent-length: 4\r\n\r\noops"), Act::Answer(OK)], None)
            .await;
    let hooks = hooks(LONG, ANYWHERE, Arc::new(Internet));
    assert_eq!(retried(send(&hooks, &receiver.url()).await), "http_status");
    assert_eq!(send(&hooks, &receiver.url()).await, Outcome::Sent);
    let [first, second] = receiver.seen().try_into().expect("two requests");
    assert_eq!(first.body, second.body);
    assert_eq!(
        String::from_utf8_lossy(&first.body),
        concat!(
            r#"{"type":"payment.failed","timestamp":"2026-01-02T03:04:05.678Z","data":{"#,
            r#""payment_id":"00000000-0000-0000-0000-000000000001","user_id":"ada","basket_id":null,"#,
            r#""amount":12.50,"currency":"USD","items":[],"metadata":{"a":"1","b":"2"},"#,
            r#""reason":"declined","error_code":"payment_declined"}}"#
        )
    );
    assert!(first.head.starts_with("POST /hooks/s3cr3t?key=s3cr3t HTTP/1.1\r\n"), "{}", first.head);
    let id = Uuid::from_u128(9).to_string();
    let secrets = [SigningSecret::from_key([1; 32]), SigningSecret::from_key([2; 32])];
    let signatures = message::signatures(&id, NOW.unix_timestamp(), &first.body, &secrets);
    assert_eq!(signatures.split(' ').count(), 2);
    for (name, value) in [
        ("webhook-id", id.as_str()),
        ("webhook-timestamp", "1767323046"),
        ("webhook-signature", &signatures),
        ("content-type", "application/json"),
        ("user-agent", "shop-notification/0.1.0"),
        ("host", &receiver.address.to_string()),
    ] {
        assert_eq!(first.header(name), Some(value), "{name}");
    }
    assert_eq!(receiver.connections().0, 1, "the connection is used again");
}

#[tokio::test]
async fn what_a_receiver_answers_decides_what_follows() {
    let wait = |seconds| Next::Retry(Some(Duration::from_secs(seconds)));
    for (answer, code, next) in [
        ("400 no\r\n", "http_status", Next::Retry(None)),
        ("401 no\r\n", "http_status", Next::Retry(None)),
        ("404 no\r\n", "http_status", Next::Retry(None)),
        ("500 no\r\nretry-after: 60\r\n", "http_status", Next::Retry(None)),
        ("410 gone\r\n", "endpoint_gone", Next::Disable),
        ("429 slow\r\nretry-after: 60\r\n", "http_status", wait(60)),
        ("503 slow\r\nretry-after:  7 \r\n", "http_status", wait(7)),
        ("503 slow\r\nretry-after: Fri, 02 Jan 2026 03:05:06 GMT\r\n", "http_status", wait(60)),
        ("503 slow\r\nretry-after: Fri, 02 Jan 2015 03:05:06 GMT\r\n", "http_status", wait(0)),
        ("429 slow\r\nretry-after: 99999999999999999999999\r\n", "http_status", wait(u64::from(u32::MAX))),
        ("429 slow\r\nretry-after: -5\r\n", "http_status", Next::Retry(None)),
        ("429 slow\r\nretry-after: soon\r\n", "http_status", Next::Retry(None)),
        ("301 moved\r\nlocation: http://169.254.169.254/\r\n", "redirect", Next::Retry(None)),
        ("307 moved\r\nlocation: http://127.0.0.1:1/\r\n", "redirect", Next::Retry(None)),
    ] {
        let text: &'static str = format!("HTTP/1.1 {answer}content-length: 0\r\n\r\n").leak();
        let (outcome, receiver) = told(Act::Answer(text), LONG).await;
        assert_eq!(failed(outcome), (code.to_owned(), next), "{answer}");
        assert_eq!(receiver.seen().len(), 1, "{answer}");
    }
    for status in ["200 ok", "202 later", "204 no content"] {
        let text: &'static str = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").leak();
        assert_eq!(told(Act::Answer(text), LONG).await.0, Outcome::Sent, "{status}");
    }
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let private = Receiver::start(&[], None).await;
    let location = private.url();
    let text = format!("HTTP/1.1 308 moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n").leak();
    let (outcome, _) = told(Act::Answer(text), LONG).await;
    assert_eq!(retried(outcome), "redirect");
    assert_eq!(private.connections().0, 0);
}

#[tokio::test]
async fn who_answers_nonsense_or_leaves_early_is_tried_again() {
    for (act, code) in [
        (Act::Last(""), "connection_lost"),
        (Act::Last("HTTP/1.1 200"), "connection_lost"),
        (Act::Last("HTTP/1.1 200 OK\r\ncontent-le"), "connection_lost"),
        (Act::Last("220 mail.example ESMTP\r\n\r\n"), "bad_answer"),
        (Act::Last("\0\x01\x02\x03\x04\x05\x06\x07\r\n\r\n"), "bad_answer"),
        (Act::Last("HTTP/1.1 999999 OK\r\n\r\n"), "bad_answer"),
        (Act::Last("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"), "bad_answer"),
        (Act::Last("HTTP/1.1 200 OK\r\nbad header\r\n\r\n"), "bad_answer"),
        (Act::Flood("HTTP/1.1 200 OK\r\n", "x-filler: 0123456789012345678901234567890123456789\r\n"), "bad_answer"),
        (Act::Flood("HTTP/1.1 200 ", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), "bad_answer"),
    ] {
        let (outcome, receiver) = told(act, LONG).await;
        assert_eq!(retried(outcome), code, "{act:?}");
        eventually!(receiver.connections() == (1, 1));
    }
}

#[tokio::test]
async fn who_never_ends_is_left_at_the_bound() {
    for act in [
        Act::Stall(""),
        Act::Stall("HTTP/1.1 200 OK\r\n"),
        Act::Flood("", "HTTP/1.1 100 Continue\r\n\r\n"),
        Act::Flood("", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
    ] {
        let (outcome, receiver) = told(act, SHORT).await;
        assert_eq!(retried(outcome), "timeout", "{act:?}");
        eventually!(receiver.connections() == (1, 1));
    }
}

#[tokio::test]
async fn a_body_changes_nothing_and_is_not_waited_for() {
    for act in [
        Act::Stall("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
        Act::Stall("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel"),
        Act::Flood("HTTP/1.1 200 OK\r\n\r\n", "for ever and ever, for ever and ever, for ever and ever "),
        Act::Flood("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "5\r\nhello\r\n"),
        Act::Last("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nshort"),
        Act::Last("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n"),
    ] {
        let begun = Instant::now();
        let (outcome, receiver) = told(act, LONG).await;
        assert_eq!(outcome, Outcome::Sent, "{act:?}");
        assert!(begun.elapsed() < LONG / 2, "{act:?} took {:?}", begun.elapsed());
        eventually!(receiver.connections() == (1, 1));
    }
}

#[tokio::test]
async fn who_is_not_there_is_tried_again() {
    let port = shop_testing::free_port();
    let anywhere = hooks(LONG, ANYWHERE, Arc::new(Internet));
    assert_eq!(retried(send(&anywhere, &format!("http://127.0.0.1:{port}/s3cr3t")).await), "connection_refused");
    let receiver = Receiver::start(&[], None).await;
    let nowhere = hooks(LONG, ANYWHERE, Pretended::new(&receiver, &[]));
    assert_eq!(retried(send(&nowhere, "http://shop.example/s3cr3t").await), "lookup_failed");
    let empty = hooks(LONG, ANYWHERE, Pretended::new(&receiver, &[&[]]));
    assert_eq!(retried(send(&empty, "http://shop.example/s3cr3t").await), "lookup_failed");
}

#[tokio::test]
async fn names_that_lead_inside_are_not_connected_to() {
    let receiver = Receiver::start(&[], None).await;
    for inside in [&["127.0.0.1"][..], &["::1", "10.0.0.1"], &["::ffff:169.254.169.254"], &["0.0.0.0", "fe80::1"]] {
        let network = Pretended::new(&receiver, &[inside]);
        let (code, next) = failed(send(&hooks(LONG, PUBLIC_ONLY, network.clone()), "http://hooks.example/").await);
        assert_eq!((code.as_str(), next), ("address_refused", Next::Retry(None)), "{inside:?}");
        assert!(network.dialled().is_empty(), "{inside:?}");
    }
    let allowed = Pretended::new(&receiver, &[&["10.0.0.1"]]);
    assert_eq!(send(&hooks(LONG, ANYWHERE, allowed.clone()), "http://hooks.example/").await, Outcome::Sent);
    assert_eq!(allowed.dialled(), ["10.0.0.1:80"]);
}

#[tokio::test]
async fn of_several_addresses_only_public_ones_are_connected_to() {
    let receiver = Receiver::start(&[], None).await;
    let mixed = Pretended::stuck(&receiver, &[&["127.0.0.1", PUBLIC, "10.1.1.1", "2600::7", "::1"]]);
    let slow = hooks(Duration::from_secs(4), PUBLIC_ONLY, mixed.clone());
    assert_eq!(send(&slow, "http://hooks.example:8080/").await, Outcome::Sent, "the second address answers");
    assert_eq!(mixed.dialled(), [format!("{PUBLIC}:8080"), "[2600::7]:8080".to_owned()]);
}

#[tokio::test]
async fn a_name_that_changes_its_mind_gains_nothing() {
    let close = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let receiver = Receiver::start(&[Act::Last(close)], None).await;
    let network = Pretended::new(&receiver, &[&[PUBLIC], &["127.0.0.1"], &[PUBLIC]]);
    let hooks = hooks(LONG, PUBLIC_ONLY, network.clone());
    assert_eq!(send(&hooks, "http://hooks.example/").await, Outcome::Sent);
    assert_eq!(network.dialled(), [format!("{PUBLIC}:80")], "one look-up, and exactly that was connected to");
    eventually!(receiver.connections() == (1, 1));
    assert_eq!(retried(send(&hooks, "http://hooks.example/").await), "address_refused");
    assert_eq!(network.dialled().len(), 1);
    assert_eq!(send(&hooks, "http://hooks.example/").await, Outcome::Sent, "the public address is back");
}

#[tokio::test]
async fn what_is_written_as_an_inner_address_is_given_up() {
    let receiver = Receiver::start(&[], None).await;
    let network = Pretended::new(&receiver, &[]);
    let public = hooks(LONG, PUBLIC_ONLY, network.clone());
    for url in [
        "http://127.0.0.1/s3cr3t",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://127.0.0.1./",
        "http://[::ffff:7f00:1]/",
        "http://[::1]:80/",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost/",
    ] {
        assert_eq!(failed(send(&public, url).await), ("address_refused".to_owned(), Next::GiveUp), "{url}");
    }
    let encrypted = hooks(LONG, Reach::default(), network.clone());
    for url in ["http://hooks.example/", "ftp://hooks.example/", "s3cr3t", "https://u:s3cr3t@hooks.example/"] {
        assert_eq!(failed(send(&encrypted, url).await), ("url_refused".to_owned(), Next::GiveUp), "{url}");
    }
    assert!(network.dialled().is_empty());
}

#[tokio::test]
async fn the_gate_judges_addresses_that_got_past_the_url() {
    let receiver = Receiver::start(&[], None).await;
    let network = Pretended::new(&receiver, &[]);
    for uri in ["http://127.0.0.1/", "http://[::1]:8080/", "https://[::ffff:10.0.0.1]/"] {
        let mut gate = Gate::new(network.clone(), PUBLIC_ONLY, LONG);
        let refused = tower::Service::call(&mut gate, uri.parse().expect("a URI")).await;
        assert!(matches!(refused, Err(connect::Trouble::Refused)), "{uri}: {refused:?}");
    }
    assert!(network.dialled().is_empty());
}

/// A certificate for `hooks.example`, and what accepts with it.
fn certificate() -> (CertificateDer<'static>, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(["hooks.example".to_owned()]).expect("makes a certificate");
    let der = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(vec![der.clone()], key.into()))
        .expect("is fine");
    (der, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn only_receivers_with_a_trusted_certificate_get_anything() {
    let (der, acceptor) = certificate();
    let receiver = Receiver::start(&[], Some(acceptor)).await;
    let mut roots = RootCertStore::empty();
    roots.add(der).expect("is a certificate");
    let network = Pretended::new(&receiver, &[&[PUBLIC], &[PUBLIC], &[PUBLIC]]);
    let trusting = HttpHooks::with(&settings(LONG, Reach::default()), network.clone(), roots).expect("is built");
    assert_eq!(retried(send(&trusting, "https://other.example/").await), "tls_failed", "another name");
    assert_eq!(send(&trusting, "https://hooks.example/").await, Outcome::Sent);
    assert_eq!(network.dialled()[1], format!("{PUBLIC}:443"));
    let wary = hooks(LONG, Reach::default(), network);
    let Outcome::Failed { failure, .. } = send(&wary, "https://hooks.example/").await else { panic!("was sent") };
    assert_eq!(failure, Failure::new("tls_failed", "TLS failed: the certificate's issuer is not trusted"));
    assert_eq!(receiver.seen().len(), 1);
}

#[tokio::test]
async fn who_cannot_speak_tls_is_tried_again() {
    let receiver = Receiver::start(&[Act::Last("HTTP/1.1 400 no\r\n\r\n")], None).await;
    let url = format!("https://{}/", receiver.address);
    // It waits for the end of a request head that never comes.
    assert_eq!(retried(send(&hooks(SHORT, ANYWHERE, Arc::new(Internet)), &url).await), "timeout");
    eventually!(receiver.connections() == (1, 1));
}

#[test]
fn the_real_one_opens() {
    HttpHooks::open(&WebhookSettings::default()).expect("opens");
}
