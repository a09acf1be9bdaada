//! The gRPC API: the same rules and codes as HTTP.

use shop_proto::common::v1::Money;
use shop_proto::payment::v1 as proto;
use shop_proto::payment::v1::payment_service_client::PaymentServiceClient;
use shop_rpc::fault;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::world::World;

async fn client(world: &World) -> PaymentServiceClient<Channel> {
    PaymentServiceClient::connect(format!("http://{}", world.grpc)).await.expect("connects")
}

fn order(key: Option<&str>) -> proto::CreatePaymentRequest {
    proto::CreatePaymentRequest {
        user_id: "ada".to_owned(),
        method: proto::PaymentMethod::CreditCard.into(),
        metadata: (0..9).map(|n| (format!("k{n}"), "v".to_owned())).collect(),
        idempotency_key: key.map(str::to_owned),
        ..proto::CreatePaymentRequest::default()
    }
}

fn usd(minor_units: i64) -> Money {
    Money { minor_units, currency: "USD".to_owned() }
}

#[tokio::test]
async fn a_payment_goes_all_the_way() {
    let world = World::new().await;
    let mut client = client(&world).await;
    let made = client.create_payment(order(None)).await.expect("makes").into_inner().payment.expect("a payment");
    assert_eq!((made.status(), made.amount, made.items.len()), (proto::PaymentStatus::Pending, Some(usd(2700)), 2));
    let id = made.id;
    let process = proto::ProcessPaymentRequest { id: id.clone(), ..Default::default() };
    let paid = client.process_payment(process.clone()).await.expect("charges").into_inner().payment.expect("a payment");
    assert_eq!(paid.status(), proto::PaymentStatus::Completed);
    let refused = client.process_payment(process).await.expect_err("once");
    assert_eq!((refused.code(), fault(refused).code()), (Code::FailedPrecondition, "invalid_state"));
    let refund = proto::RefundPaymentRequest { id: id.clone(), amount: Some(usd(700)), ..Default::default() };
    let back = client.refund_payment(refund.clone()).await.expect("pays back").into_inner().payment.expect("a payment");
    assert_eq!((back.status(), back.refunds.len()), (proto::PaymentStatus::PartiallyRefunded, 1));
    assert_eq!(back.refunded_amount, Some(usd(700)));
    let refund = proto::RefundPaymentRequest { amount: Some(usd(2001)), ..refund };
    let refused = client.refund_payment(refund).await.expect_err("too much");
    assert_eq!((refused.code(), fault(refused).code()), (Code::InvalidArgument, "refund_exceeds_payment"));
    let read = client.get_payment(proto::GetPaymentRequest { id }).await.expect("reads").into_inner();
    assert_eq!(read.payment, Some(back));
}

#[tokio::test]
async fn a_declined_charge_is_a_failed_precondition() {
    let world = World::new().await;
    let mut client = client(&world).await;
    let id = world.pending().await;
    let payment_token = Some("tok_insufficient_funds".to_owned());
    let request = proto::ProcessPaymentRequest { id, payment_token, ..Default::default() };
    let refused = fault(client.process_payment(request).await.expect_err("declined"));
    assert_eq!((refused.kind().status(), refused.code()), (402, "payment_declined"));
    assert_eq!(refused.members()["decline_code"], "insufficient_funds");
}

#[tokio::test]
async fn a_repeat_under_the_same_key_gets_the_same_answer() {
    let world = World::new().await;
    let mut client = client(&world).await;
    let first = client.create_payment(order(Some("k-1"))).await.expect("makes").into_inner();
    let again = client.create_payment(order(Some("k-1"))).await.expect("replays");
    assert!(again.metadata().contains_key("idempotency-replayed"));
    assert_eq!(again.into_inner(), first);
    let other = proto::CreatePaymentRequest { user_id: "ada2".to_owned(), ..order(Some("k-1")) };
    let refused = client.create_payment(other).await.expect_err("another request");
    assert_eq!(fault(refused).code(), "idempotency_key_reused");
    let id = first.payment.expect("a payment").id;
    let cancel = || {
        let mut request = Request::new(proto::CancelPaymentRequest { id: id.clone() });
        request.metadata_mut().insert("idempotency-key", "k-2".parse().expect("a key"));
        request
    };
    client.cancel_payment(cancel()).await.expect("cancels");
    client.cancel_payment(cancel()).await.expect("replays");
    let refusals =
        [proto::ProcessPaymentRequest { id: id.clone(), idempotency_key: Some("k-3".to_owned()), payment_token: None };
            1];
    for request in refusals.iter().chain(&refusals) {
        let refused = fault(client.process_payment(request.clone()).await.expect_err("cancelled"));
        assert_eq!((refused.kind().status(), refused.code()), (409, "invalid_state"));
    }
}

#[tokio::test]
async fn a_repeat_is_known_by_what_it_asks_for_and_by_its_door() {
    let world = World::new().await;
    let mut client = client(&world).await;
    let first = client.create_payment(order(Some("k-1"))).await.expect("makes").into_inner();
    let spelled_out = proto::CreatePaymentRequest {
        user_id: " ada".to_owned(),
        provider: Some("sandbox".to_owned()),
        description: Some(String::new()),
        ..order(Some("k-1"))
    };
    let again = client.create_payment(spelled_out).await.expect("the same request");
    assert!(again.metadata().contains_key("idempotency-replayed"));
    assert_eq!(again.into_inner(), first);

    // An answer of one door is none at the other.
    let metadata: serde_json::Value = (0..9).map(|n| (format!("k{n}"), "v")).collect();
    let body = serde_json::json!({"user_id": "ada", "method": "credit_card", "metadata": metadata});
    let _ = world.post_once("/payments", "k-1", &body).await.problem(422, "idempotency_key_reused");
    assert_eq!(world.post_once("/payments", "k-2", &body).await.status, 201);
    let refused = client.create_payment(order(Some("k-2"))).await.expect_err("the key of another door");
    assert_eq!(fault(refused).code(), "idempotency_key_reused");

    let invalid = proto::CreatePaymentRequest { user_id: "a b".to_owned(), ..order(Some("k-3")) };
    assert_eq!(client.create_payment(invalid).await.expect_err("is refused").code(), Code::InvalidArgument);
    client.create_payment(order(Some("k-3"))).await.expect("the key is still free");
}

#[tokio::test]
async fn lists_are_paged_and_what_is_wrong_is_named() {
    let world = World::new().await;
    let mut client = client(&world).await;
    for _ in 0..3 {
        world.pending().await;
    }
    let user_id = "ada".to_owned();
    let page = proto::GetUserPaymentsRequest { user_id: user_id.clone(), limit: 2, cursor: String::new() };
    let first = client.get_user_payments(page).await.expect("lists").into_inner();
    assert_eq!(first.payments.len(), 2);
    let rest = proto::GetPaymentsRequest { user_id: Some(user_id), cursor: first.next_cursor, limit: 2, status: 0 };
    let rest = client.get_payments(rest).await.expect("the same list").into_inner();
    assert_eq!((rest.payments.len(), rest.next_cursor.as_str()), (1, ""));
    let wrong = [
        proto::GetPaymentsRequest { limit: 101, ..Default::default() },
        proto::GetPaymentsRequest { status: 99, ..Default::default() },
        proto::GetPaymentsRequest { cursor: "x".to_owned(), ..Default::default() },
        proto::GetPaymentsRequest { user_id: Some(" ".to_owned()), ..Default::default() },
    ];
    for request in wrong {
        assert_eq!(client.get_payments(request).await.expect_err("wrong").code(), Code::InvalidArgument);
    }
    let missing = proto::GetPaymentRequest { id: uuid::Uuid::nil().to_string() };
    assert_eq!(client.get_payment(missing).await.expect_err("missing").code(), Code::NotFound);
}

#[tokio::test]
async fn what_is_authorised_is_captured_under_a_key() {
    let world = World::new().await;
    let mut client = client(&world).await;
    let manual = proto::CreatePaymentRequest { capture: proto::Capture::Manual.into(), ..order(None) };
    let made = client.create_payment(manual).await.expect("makes").into_inner().payment.expect("a payment");
    let process = proto::ProcessPaymentRequest { id: made.id.clone(), ..Default::default() };
    let held = client.process_payment(process).await.expect("charges").into_inner().payment.expect("a payment");
    assert_eq!((held.status(), held.capture()), (proto::PaymentStatus::Authorised, proto::Capture::Manual));
    assert!(held.authorised_until.is_some());
    let idempotency_key = Some("k-1".to_owned());
    let capture = proto::CapturePaymentRequest { id: made.id, amount: Some(usd(2000)), idempotency_key };
    let taken = client.capture_payment(capture.clone()).await.expect("captures").into_inner();
    assert_eq!(taken.payment.as_ref().and_then(|payment| payment.captured_amount.clone()), Some(usd(2000)));
    let again = client.capture_payment(capture.clone()).await.expect("replays");
    assert!(again.metadata().contains_key("idempotency-replayed"));
    assert_eq!(again.into_inner(), taken);
    let refused = client.capture_payment(proto::CapturePaymentRequest { idempotency_key: None, ..capture }).await;
    assert_eq!(fault(refused.expect_err("once")).code(), "invalid_state");
    let odd = proto::CreatePaymentRequest { capture: 9, ..order(None) };
    assert_eq!(client.create_payment(odd).await.expect_err("unknown").code(), Code::InvalidArgument);
}
