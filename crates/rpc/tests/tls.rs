//! Calls between services over TLS: each knows the other, or the call says why not.

use std::error::Error as _;
use std::fmt::Write as _;
use std::sync::Arc;

use shop_config::{Grpc, Neighbour};
use shop_proto::FILE_DESCRIPTOR_SET;
use shop_rpc::{Parts, channel, serve};
use shop_runtime::{Health, Shutdown};
use shop_telemetry::Metrics;
use shop_testing::certificates::{Authority, Folder, Pair};
use shop_tls::TlsSettings;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tonic::Status;
use tonic::service::Routes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const BASKET: &str = "spiffe://shop/ns/default/sa/basket";
const PRODUCT: &str = "spiffe://shop/ns/default/sa/product";

/// Everything of one service, and what the other needs to know.
struct World {
    authority: Authority,
    folder: Folder,
}

struct Running {
    neighbour: Neighbour,
    tls: Arc<shop_tls::Server>,
    shutdown: Shutdown,
    ended: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl World {
    fn new() -> Self {
        Self { authority: Authority::new(), folder: Folder::new() }
    }

    /// The settings of a service called `name`.
    fn settings(&self, name: &str, pair: &Pair) -> TlsSettings {
        let (cert, key) = self.folder.put_pair(name, pair);
        let ca = Some(self.folder.put("ca.crt", self.authority.pem()));
        TlsSettings { cert_file: Some(cert), key_file: Some(key), ca_file: ca, ..TlsSettings::default() }
    }

    /// Product, which lets basket in and nobody else.
    async fn product(&self, pair: &Pair) -> Running {
        let settings = self.settings("product", pair);
        let client_ca_file = settings.ca_file.clone();
        let settings = TlsSettings { client_ca_file, client_names: vec![BASKET.to_owned()], ..settings };
        let tls = Arc::new(settings.server(|_| {}).expect("good files").expect("is on"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port").into_std().expect("a socket");
        let neighbour = Neighbour::at(format!("https://{}", listener.local_addr().expect("bound")));
        let shutdown = Shutdown::new();
        let parts = Parts {
            metrics: Metrics::new("product"),
            health: Health::new(&shutdown),
            guard: shop_identity::Guard::open(),
            descriptors: FILE_DESCRIPTOR_SET,
            settings: Grpc::on(0),
            tls: Some(tls.clone()),
        };
        let ended = tokio::spawn(serve(listener, Routes::default(), parts, shutdown.clone()));
        Running { neighbour, tls, shutdown, ended }
    }

    fn basket(&self) -> TlsSettings {
        self.settings("basket", &self.authority.good(&[BASKET]))
    }
}

impl Running {
    async fn ask(&self, name: Option<&str>, tls: &TlsSettings) -> Result<ServingStatus, Status> {
        let neighbour = Neighbour { server_name: name.map(str::to_owned), ..self.neighbour.clone() };
        let mut client = HealthClient::new(channel(&neighbour, tls).expect("good files"));
        let request = HealthCheckRequest { service: String::new() };
        client.check(request).await.map(|answer| answer.into_inner().status())
    }
}

/// What a status says, and what is behind it.
fn said(status: &Status) -> String {
    let mut words = status.to_string();
    let mut next = status.source();
    while let Some(error) = next {
        let _ = write!(words, "; {error}");
        next = error.source();
    }
    words
}

#[tokio::test]
async fn two_services_call_each_other_over_tls_by_host_and_by_workload() {
    let world = World::new();
    let product = world.product(&world.authority.good(&[PRODUCT, "127.0.0.1"])).await;
    for name in [None, Some(PRODUCT), Some("127.0.0.1")] {
        assert_eq!(product.ask(name, &world.basket()).await.expect("an answer"), ServingStatus::Serving, "{name:?}");
    }
}

#[tokio::test]
async fn who_is_not_who_he_should_be_is_not_called_and_it_is_said_why() {
    let world = World::new();
    let good = world.authority.good(&[PRODUCT, "127.0.0.1"]);
    let expired = world.authority.expired(&[PRODUCT]);
    let stranger = Authority::new().good(&[PRODUCT]);
    for (pair, name, words) in [
        (&good, BASKET, "is not for spiffe://shop/ns/default/sa/basket, but for spiffe://shop/ns/default/sa/product"),
        (&good, "product.shop", "is not for product.shop, but for"),
        (&expired, PRODUCT, "has expired"),
        (&stranger, PRODUCT, "is of no authority that is trusted here: name its file in tls.ca_file"),
    ] {
        let product = world.product(pair).await;
        let status = product.ask(Some(name), &world.basket()).await.expect_err(words);
        assert!(said(&status).contains(words), "{words}: {}", said(&status));
    }
}

#[tokio::test]
async fn who_may_not_call_hears_why() {
    let world = World::new();
    let product = world.product(&world.authority.good(&[PRODUCT])).await;
    let without = TlsSettings { cert_file: None, key_file: None, ..world.basket() };
    for (tls, words) in [
        (without, "wants a certificate of ours: name one in tls.cert_file"),
        (world.settings("other", &world.authority.good(&[PRODUCT])), "does not take the certificate in tls.cert_file"),
        (world.settings("old", &world.authority.expired(&[BASKET])), "does not take the certificate in tls.cert_file"),
    ] {
        let status = product.ask(Some(PRODUCT), &tls).await.expect_err(words);
        assert!(said(&status).contains(words), "{words}: {}", said(&status));
    }
    let cleartext = Neighbour::at(product.neighbour.url.replace("https://", "http://"));
    let mut client = HealthClient::new(channel(&cleartext, &TlsSettings::default()).expect("an address"));
    client.check(HealthCheckRequest { service: String::new() }).await.expect_err("nothing goes in cleartext");
}

#[tokio::test]
async fn a_renewed_certificate_is_used_and_the_connection_that_there_is_goes_on() {
    let world = World::new();
    let product = world.product(&world.authority.good(&[PRODUCT])).await;
    let neighbour = Neighbour { server_name: Some(PRODUCT.to_owned()), ..product.neighbour.clone() };
    let mut kept = HealthClient::new(channel(&neighbour, &world.basket()).expect("good files"));
    let request = || HealthCheckRequest { service: String::new() };
    kept.check(request()).await.expect("an answer");
    world.folder.put_pair("product", &world.authority.good(&["other.shop"]));
    product.tls.reload();
    kept.check(request()).await.expect("the connection is as it was");
    let status = product.ask(Some(PRODUCT), &world.basket()).await.expect_err("it is another now");
    assert!(said(&status).contains("but for"), "{}", said(&status));
    product.ask(Some("other.shop"), &world.basket()).await.expect("an answer");
}

#[tokio::test]
async fn who_does_not_shake_hands_does_not_hold_up_the_end() {
    let world = World::new();
    let product = world.product(&world.authority.good(&[PRODUCT])).await;
    let addr = product.neighbour.url.trim_start_matches("https://").to_owned();
    let mut silent = TcpStream::connect(addr).await.expect("listens");
    product.ask(Some(PRODUCT), &world.basket()).await.expect("an answer meanwhile");
    product.shutdown.soft.cancel();
    product.ended.await.expect("does not panic").expect("ends well");
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
}
