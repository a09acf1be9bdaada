//! What a stock gRPC client finds at the gateway.

use tonic::Code;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::on_both;
use crate::shop::Shop;

on_both!(health_and_reflection_of_each_service_are_reachable);

async fn health_and_reflection_of_each_service_are_reachable(shop: &Shop) {
    let at = format!("http://{}", shop.at.gateway.expect("a gateway"));
    let channel = Channel::from_shared(at).expect("a URL").connect().await.expect("connects");
    for (service, interface) in [
        ("product", "shop.product.v1.ProductService"),
        ("basket", "shop.basket.v1.BasketService"),
        ("payment", "shop.payment.v1.PaymentService"),
    ] {
        let meant = MetadataValue::from_static(service);
        let mut check = tonic::Request::new(HealthCheckRequest { service: interface.to_owned() });
        check.metadata_mut().insert("shop-service", meant.clone());
        let health = HealthClient::new(channel.clone()).check(check).await.expect("answers").into_inner();
        assert_eq!(health.status(), ServingStatus::Serving, "{service}");

        let list = ServerReflectionRequest {
            message_request: Some(MessageRequest::ListServices(String::new())),
            ..ServerReflectionRequest::default()
        };
        let mut ask = tonic::Request::new(tokio_stream::once(list));
        ask.metadata_mut().insert("shop-service", meant);
        let mut answers = ServerReflectionClient::new(channel.clone())
            .server_reflection_info(ask)
            .await
            .expect("answers")
            .into_inner();
        let answer = answers.message().await.expect("a message").expect("one").message_response;
        let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
        assert!(list.service.iter().any(|known| known.name == interface), "{service}: {list:?}");
    }
    let unsaid = HealthClient::new(channel).check(HealthCheckRequest::default()).await.expect_err("nobody is meant");
    assert_eq!(unsaid.code(), Code::Unimplemented);
    assert!(unsaid.message().contains("shop-service"), "{unsaid}");
}
