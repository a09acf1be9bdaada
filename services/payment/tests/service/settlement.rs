//! What payment says of reservations to whoever keeps them.

use serde_json::json;
use shop_proto::payment::v1::settlement_service_client::SettlementServiceClient;
use shop_proto::payment::v1::{GetOutcomesRequest, Outcome};
use uuid::Uuid;

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_says_what_became_of_its_reservation() {
    let world = World::new().await;
    let (pending, cancelled) = (world.pending().await, world.pending().await);
    let (completed, refunded, returned) = (world.completed().await, world.completed().await, world.completed().await);
    for (path, body) in [
        (format!("/payments/{cancelled}/cancel"), json!({})),
        (format!("/payments/{refunded}/refund"), json!({})),
        (format!("/payments/{returned}/refund"), json!({ "restock": true })),
    ] {
        let reply = world.post(&path, &body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let unknown = Uuid::from_u128(404).to_string();
    let expected = [
        (pending, Outcome::Open),
        (unknown, Outcome::Unknown),
        (cancelled, Outcome::Released),
        (completed, Outcome::Sold),
        (refunded, Outcome::Sold),
        (returned, Outcome::Returned),
    ];
    let mut client = SettlementServiceClient::connect(format!("http://{}", world.grpc)).await.expect("connects");
    let reservation_ids: Vec<_> = expected.iter().map(|(id, _)| id.clone()).collect();
    let told =
        client.get_outcomes(GetOutcomesRequest { reservation_ids }).await.expect("answers").into_inner().outcomes;
    let told: Vec<_> = told
        .into_iter()
        .map(|told| {
            assert_eq!(told.lines.is_empty(), told.outcome() == Outcome::Unknown, "{told:?}");
            (told.reservation_id.clone(), told.outcome())
        })
        .collect();
    assert_eq!(told, expected);
    for reservation_ids in [vec![], vec!["x".to_owned()], vec![Uuid::nil().to_string(); 101]] {
        let refused = client.get_outcomes(GetOutcomesRequest { reservation_ids }).await.expect_err("is refused");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused:?}");
    }
}
