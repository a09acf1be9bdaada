//! The server and the client of this crate, talking to each other over a real connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shop_config::{Grpc, Neighbour};
use shop_fault::{Fault, FieldError, Kind, Violation};
use shop_proto::FILE_DESCRIPTOR_SET;
use shop_proto::product::v1::product_service_client::ProductServiceClient;
use shop_proto::product::v1::product_service_server::{ProductService, ProductServiceServer};
use shop_proto::product::v1::*;
use shop_rpc::{Outgoing, Parts, call, channel, fault, serve, status};
use shop_runtime::{Health, Shutdown};
use shop_telemetry::context::{self, RequestContext};
use shop_telemetry::{Metrics, TraceState};
use shop_tls::TlsSettings;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Longest any step may take; each takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Does what the id of the product asks for.
#[derive(Clone, Default)]
struct Catalogue {
    calls: Arc<AtomicUsize>,
    entered: Arc<Notify>,
    go_on: Arc<Notify>,
    seen: Arc<std::sync::Mutex<Option<Seen>>>,
}

/// What a call brought along, and the context its method ran in.
type Seen = (MetadataMap, Option<RequestContext>);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ProductService for Catalogue {
    async fn get_product(&self, request: Request<GetProductRequest>) -> Answer<GetProductResponse> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        *self.seen.lock().expect("not poisoned") = Some((request.metadata().clone(), context::current()));
        match request.get_ref().id {
            1 => panic!("secret of the method"),
            2 => std::future::pending::<()>().await,
            3 => {
                self.entered.notify_one();
                self.go_on.notified().await;
            }
            4 if call < 2 => return Err(Status::unavailable("starting")),
            404 => {
                let fault = Fault::new(Kind::NotFound, "product_not_found", "there is no product 404");
                return Err(status(fault));
            }
            409 => {
                let fault = Fault::new(Kind::Conflict, "insufficient_stock", "product 7 has only 2 left")
                    .with_field(FieldError::new("lines[0].quantity", "too_large", "only 2 left"))
                    .with_violation(Violation::new("insufficient_stock", "products/7", "2 left"));
                return Err(status(fault));
            }
            411 => {
                let change = |n: i64| {
                    serde_json::json!({"product_id": n, "kind": "price", "was": "1299.99", "is": "1399.99",
                    "detail": "the price of a product with a long name has changed since it was put into the basket"})
                };
                let changes: Vec<_> = (0..100).map(change).collect();
                let fault = Fault::new(Kind::Conflict, "basket_changed", "prices moved");
                return Err(status(fault.with_member("changes", changes.into())));
            }
            _ => {}
        }
        let product = Product { id: request.get_ref().id, ..Product::default() };
        Ok(Response::new(GetProductResponse { product: Some(product) }))
    }

    async fn create_product(&self, _: Request<CreateProductRequest>) -> Answer<CreateProductResponse> {
        Err(Status::unimplemented(""))
    }
    async fn get_products(&self, _: Request<GetProductsRequest>) -> Answer<GetProductsResponse> {
        Err(Status::unimplemented(""))
    }
    async fn update_product(&self, _: Request<UpdateProductRequest>) -> Answer<UpdateProductResponse> {
        Err(Status::unimplemented(""))
    }
    async fn adjust_stock(&self, _: Request<AdjustStockRequest>) -> Answer<AdjustStockResponse> {
        Err(Status::unimplemented(""))
    }
    async fn list_stock_movements(&self, _: Request<ListStockMovementsRequest>) -> Answer<ListStockMovementsResponse> {
        Err(Status::unimplemented(""))
    }
    async fn delete_product(&self, _: Request<DeleteProductRequest>) -> Answer<DeleteProductResponse> {
        Err(Status::unimplemented(""))
    }
}

struct Running {
    neighbour: Neighbour,
    catalogue: Catalogue,
    metrics: Metrics,
    health: Health,
    shutdown: Shutdown,
    ended: JoinHandle<anyhow::Result<()>>,
}

async fn start() -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let listener = listener.into_std().expect("a socket");
    let neighbour = Neighbour::at(listener.local_addr().expect("bound").to_string());
    let (catalogue, metrics, shutdown) = (Catalogue::default(), Metrics::new("product"), Shutdown::new());
    let health = Health::new(&shutdown);
    let parts = Parts {
        metrics: metrics.clone(),
        health: health.clone(),
        guard: shop_identity::Guard::open(),
        descriptors: FILE_DESCRIPTOR_SET,
        settings: Grpc::on(0),
        tls: None,
    };
    let routes = Routes::new(ProductServiceServer::new(catalogue.clone()));
    let ended = tokio::spawn(serve(listener, routes, parts, shutdown.clone()));
    Running { neighbour, catalogue, metrics, health, shutdown, ended }
}

impl Running {
    fn channel(&self) -> Channel {
        channel(&self.neighbour, &TlsSettings::default()).expect("an address")
    }

    async fn get(&self, id: i64) -> Result<Response<GetProductResponse>, Status> {
        ProductServiceClient::with_interceptor(self.channel(), Outgoing::default())
            .get_product(GetProductRequest { id })
            .await
    }

    async fn call(&self, id: i64) -> Result<GetProductResponse, Fault> {
        let client = ProductServiceClient::with_interceptor(self.channel(), Outgoing::default());
        call(&self.neighbour, "product", GetProductRequest { id }, |request| {
            let mut client = client.clone();
            async move { client.get_product(request).await }
        })
        .await
    }

    fn seen(&self) -> Seen {
        self.catalogue.seen.lock().expect("not poisoned").take().expect("a call came")
    }

    async fn end(self) {
        self.shutdown.soft.cancel();
        tokio::time::timeout(PATIENCE, self.ended).await.expect("ends").expect("no panic").expect("no error");
    }
}

#[tokio::test]
async fn a_refusal_arrives_with_everything_it_said() {
    let server = start().await;
    let fault = server.call(409).await.expect_err("refused");
    assert_eq!(
        (fault.kind(), fault.code(), fault.detail()),
        (Kind::Conflict, "insufficient_stock", "product 7 has only 2 left")
    );
    assert_eq!(fault.fields()[0].field, "lines[0].quantity");
    assert_eq!(fault.violations()[0].subject, "products/7");
    let missing = server.call(404).await.expect_err("refused");
    assert_eq!((missing.kind(), missing.code()), (Kind::NotFound, "product_not_found"));
    server.end().await;
}

#[tokio::test]
async fn a_refusal_with_a_hundred_details_arrives_whole() {
    let server = start().await;
    let fault = server.call(411).await.expect_err("refused");
    assert_eq!((fault.code(), fault.members()["changes"].as_array().map(Vec::len)), ("basket_changed", Some(100)));
    server.end().await;
}

#[tokio::test]
async fn a_panic_is_internal_and_shows_nothing() {
    let server = start().await;
    let status = server.get(1).await.expect_err("panics");
    assert_eq!(status.code(), Code::Internal);
    assert!(!format!("{status:?}").contains("secret"), "{status:?}");
    assert_eq!(fault(status).code(), "internal");
    assert!(server.get(7).await.is_ok(), "the server goes on");
    server.end().await;
}

#[tokio::test]
async fn the_context_of_the_caller_goes_along() {
    let server = start().await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let state = TraceState::beside(Some(traceparent), [&b"rojo=00f067aa0ba902b7,congo=t61"[..]]);
    let outer = RequestContext::new("order-17", traceparent.parse().expect("well formed")).with_state(state.clone());
    context::scope(outer, async { server.call(7).await }).await.expect("answers");
    let (metadata, inner) = server.seen();
    assert_eq!(metadata.get("x-request-id").expect("sent"), "order-17");
    let sent = metadata.get("traceparent").expect("sent").to_str().expect("ASCII");
    assert!(sent.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{sent}");
    assert_eq!(metadata.get("tracestate").expect("sent"), "rojo=00f067aa0ba902b7,congo=t61");
    assert!(metadata.contains_key("grpc-timeout"));
    let inner = inner.expect("the method runs in a context");
    assert_eq!(inner.state, state);
    assert_eq!((&*inner.request_id, inner.trace.trace_id().as_str()), ("order-17", "0af7651916cd43dd8448eb211c80319c"));
    server.end().await;
}

#[tokio::test]
async fn a_call_without_an_id_gets_one_and_it_is_echoed() {
    let server = start().await;
    let response = server.get(7).await.expect("answers");
    let id = response.metadata().get("x-request-id").expect("echoed").to_str().expect("ASCII").to_owned();
    assert_eq!((id.len(), &*server.seen().1.expect("a context").request_id), (36, id.as_str()));
    server.end().await;
}

#[tokio::test]
async fn the_deadline_of_the_caller_is_kept_on_both_sides() {
    let mut server = start().await;
    server.neighbour.timeout = shop_config::Duration::millis(100);
    let fault = tokio::time::timeout(PATIENCE, server.call(2)).await.expect("well within").expect_err("hangs");
    assert_eq!((fault.kind(), fault.code()), (Kind::Timeout, "product_timeout"));
    let mut request = Request::new(GetProductRequest { id: 2 });
    request.set_timeout(Duration::from_millis(50));
    let mut client = ProductServiceClient::new(server.channel());
    let status =
        tokio::time::timeout(PATIENCE, client.get_product(request)).await.expect("well within").expect_err("hangs");
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    server.end().await;
}

#[tokio::test]
async fn a_neighbour_that_starts_late_is_called_again() {
    let server = start().await;
    let answer = server.call(4).await.expect("the third call works");
    assert_eq!(answer.product.map(|product| product.id), Some(4));
    assert_eq!(server.catalogue.calls.load(Ordering::SeqCst), 3);
    server.end().await;
}

#[tokio::test]
async fn a_connection_that_ends_under_a_call_is_made_anew() {
    let server = start().await;
    let (doors, broken) = (TcpListener::bind("127.0.0.1:0").await.expect("a free port"), AtomicUsize::new(0));
    let neighbour = Neighbour::at(doors.local_addr().expect("bound").to_string());
    // Takes the first call and hangs up without an answer; leads to the server from then on.
    let between = async {
        loop {
            let (mut stream, _) = doors.accept().await.expect("listens");
            if broken.fetch_add(1, Ordering::SeqCst) == 0 {
                // More than a client sends before its first call.
                let mut call = [0; 120];
                stream.read_exact(&mut call).await.expect("a call");
                continue;
            }
            let mut there = TcpStream::connect(server.neighbour.url.as_str()).await.expect("listens");
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut there).await });
        }
    };
    let client = ProductServiceClient::with_interceptor(
        channel(&neighbour, &TlsSettings::default()).expect("an address"),
        Outgoing::default(),
    );
    let ask = call(&neighbour, "product", GetProductRequest { id: 7 }, |request| {
        let mut client = client.clone();
        async move { client.get_product(request).await }
    });
    tokio::select! {
        answer = ask => assert!(answer.is_ok(), "{:?}", answer.err()),
        () = between => {}
    }
    assert_eq!(broken.load(Ordering::SeqCst), 2);
    server.end().await;
}

#[tokio::test]
async fn a_neighbour_that_is_not_there_is_unavailable_by_name() {
    let server = start().await;
    let gone = Neighbour::at("127.0.0.1:1");
    let client = ProductServiceClient::with_interceptor(
        channel(&gone, &TlsSettings::default()).expect("an address"),
        Outgoing::default(),
    );
    let fault = call(&gone, "product", GetProductRequest { id: 7 }, |request| {
        let mut client = client.clone();
        async move { client.get_product(request).await }
    })
    .await
    .expect_err("nobody is there");
    assert_eq!((fault.kind(), fault.code()), (Kind::Unavailable, "product_unavailable"));
    server.end().await;
}

#[tokio::test]
async fn health_follows_the_checks() {
    let server = start().await;
    let mut client = HealthClient::new(server.channel());
    let mut ask = async |service: &str| {
        let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await;
        answer.map(|answer| answer.into_inner().status())
    };
    assert_eq!(ask("").await.expect("known"), ServingStatus::Serving);
    assert_eq!(ask("shop.product.v1.ProductService").await.expect("known"), ServingStatus::Serving);
    assert_eq!(ask("shop.tea.v1.Pot").await.expect_err("unknown").code(), Code::NotFound);
    server.end().await;

    let server = start().await;
    server.health.check("store", || async { Err("down".to_owned()) });
    let mut client = HealthClient::new(server.channel());
    let answer = client.check(HealthCheckRequest::default()).await.expect("known");
    assert_eq!(answer.into_inner().status(), ServingStatus::NotServing);
    server.end().await;
}

#[tokio::test]
async fn a_watcher_hears_of_the_drain_and_does_not_hold_it_up() {
    let server = start().await;
    let mut client = HealthClient::new(server.channel());
    let mut changes = client.watch(HealthCheckRequest::default()).await.expect("known").into_inner();
    let mut next = async || {
        let change = tokio::time::timeout(PATIENCE, changes.message()).await.expect("in time").expect("no error");
        change.map(|change| change.status())
    };
    assert_eq!(next().await, Some(ServingStatus::Serving));
    server.shutdown.soft.cancel();
    assert_eq!(next().await, Some(ServingStatus::NotServing));
    assert_eq!(next().await, None);
    server.end().await;
}

#[tokio::test]
async fn reflection_lists_the_services_in_both_versions() {
    use tonic_reflection::pb::{v1, v1alpha};
    macro_rules! services {
        ($version:ident, $channel:expr) => {{
            use $version::server_reflection_client::ServerReflectionClient;
            use $version::server_reflection_request::MessageRequest;
            use $version::server_reflection_response::MessageResponse;
            let request = $version::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let mut client = ServerReflectionClient::new($channel);
            let stream = client.server_reflection_info(tokio_stream::once(request)).await.expect("known");
            let answer = stream.into_inner().message().await.expect("no error").expect("one answer");
            match answer.message_response {
                Some(MessageResponse::ListServicesResponse(list)) => {
                    list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
                }
                other => panic!("{other:?}"),
            }
        }};
    }
    let server = start().await;
    for services in [services!(v1, server.channel()), services!(v1alpha, server.channel())] {
        for name in ["shop.product.v1.ProductService", "grpc.health.v1.Health"] {
            assert!(services.iter().any(|service| service == name), "{name}: {services:?}");
        }
    }
    server.end().await;
}

#[tokio::test]
async fn a_call_that_runs_is_finished_before_the_stop() {
    let server = Arc::new(start().await);
    let running = tokio::spawn({
        let server = server.clone();
        async move { server.get(3).await }
    });
    server.catalogue.entered.notified().await;
    server.shutdown.soft.cancel();
    server.catalogue.go_on.notify_one();
    running.await.expect("no panic").expect("answered");
    Arc::into_inner(server).expect("the last one").end().await;
}

#[tokio::test]
async fn a_connection_that_never_said_a_word_does_not_hold_up_the_stop() {
    let server = start().await;
    let _silent = tokio::net::TcpStream::connect(&server.neighbour.url).await.expect("listens");
    // Connections are accepted in order: with an answer on a later one, the silent one was taken too.
    server.get(7).await.expect("answers");
    server.end().await;
}

#[tokio::test]
async fn the_hard_stop_does_not_wait() {
    let server = Arc::new(start().await);
    let running = tokio::spawn({
        let server = server.clone();
        async move { server.get(3).await }
    });
    server.catalogue.entered.notified().await;
    server.shutdown.soft.cancel();
    server.shutdown.hard.cancel();
    tokio::time::timeout(PATIENCE, running).await.expect("ends").expect("no panic").expect_err("cut off");
    Arc::into_inner(server).expect("the last one").end().await;
}

#[tokio::test]
async fn a_method_that_takes_one_message_refuses_none_and_two() {
    let server = start().await;
    for (ids, expected) in [(&[7][..], Code::Ok), (&[], Code::InvalidArgument), (&[7, 8], Code::InvalidArgument)] {
        let mut grpc = tonic::client::Grpc::new(server.channel());
        grpc.ready().await.expect("connects");
        let messages = tokio_stream::iter(ids.iter().map(|id| GetProductRequest { id: *id }).collect::<Vec<_>>());
        let path = http::uri::PathAndQuery::from_static("/shop.product.v1.ProductService/GetProduct");
        let codec = tonic_prost::ProstCodec::<GetProductRequest, GetProductResponse>::default();
        let answer = grpc.client_streaming(Request::new(messages), path, codec).await;
        assert_eq!(answer.map_or_else(|status| status.code(), |_| Code::Ok), expected, "{ids:?}");
    }
    assert_eq!(server.catalogue.calls.load(Ordering::SeqCst), 1, "the method ran for one message only");
    server.end().await;
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code() {
    let server = start().await;
    server.get(7).await.expect("answers");
    server.get(404).await.expect_err("refused");
    let made_up = http::uri::PathAndQuery::from_static("/made.up/Method");
    let mut grpc = tonic::client::Grpc::new(server.channel());
    grpc.ready().await.expect("connects");
    let codec = tonic_prost::ProstCodec::<GetProductRequest, GetProductResponse>::default();
    let status = grpc.unary(Request::new(GetProductRequest { id: 7 }), made_up, codec).await.expect_err("unknown");
    assert_eq!(status.code(), Code::Unimplemented);
    let text = server.metrics.render();
    for line in [
        r#"rpc_server_requests_total{code="OK",method="/shop.product.v1.ProductService/GetProduct"} 1"#,
        r#"rpc_server_requests_total{code="NOT_FOUND",method="/shop.product.v1.ProductService/GetProduct"} 1"#,
        r#"rpc_server_requests_total{code="UNIMPLEMENTED",method="unmatched"} 1"#,
        "rpc_server_requests_in_flight 0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    server.end().await;
}
