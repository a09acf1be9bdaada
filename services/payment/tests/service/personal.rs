//! What a person may ask for: to be told everything, and to be forgotten.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use shop_proto::payment::v1::payment_service_client::PaymentServiceClient;
use shop_proto::payment::v1::{EraseUserDataRequest, ExportUserDataRequest};
use shop_testing::eventually;
use tonic::Code;

use crate::world::World;

/// Two notifications as the notification service hands them on.
fn two(first: u32) -> [String; 2] {
    [first, first + 1].map(|number| json!({ "number": number }).to_string())
}

/// The document over gRPC, put together.
async fn called(world: &World, user: &str) -> Result<Value, tonic::Status> {
    let mut client = PaymentServiceClient::connect(format!("http://{}", world.grpc)).await.expect("connects");
    let mut pieces = client.export_user_data(ExportUserDataRequest { user_id: user.to_owned() }).await?.into_inner();
    let mut text = Vec::new();
    while let Some(piece) = pieces.message().await? {
        text.extend(piece.json);
    }
    Ok(serde_json::from_slice(&text).expect("a document"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_gets_everything_however_many_pages_it_has() {
    let world = World::new().await;
    *world.neighbours.told.lock().expect("no panic") = vec![Some(two(0)), Some(two(2)), Some(two(4))];
    let mut paid = BTreeSet::new();
    for _ in 0..101 {
        paid.insert(world.pending().await);
    }
    let noted = json!({
        "user_id": "ada", "method": "credit_card", "description": "for Byron", "metadata": { "gift": "yes" },
    });
    let made = world.post("/payments", &noted).await;
    paid.insert(made.json()["id"].as_str().expect("an id").to_owned());

    let reply = world.api.send(world.api.request(Method::GET, "/users/ada/data")).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/json; charset=utf-8"), "{reply:?}");
    let told = reply.json();
    assert_eq!((&told["user_id"], &told["exported_at"]), (&json!("ada"), &json!("2026-03-01T12:00:00.000Z")));
    assert_eq!(told["notification_preferences"], json!({ "email": "ada@shop.example" }));
    assert_eq!((&told["basket"]["total"], &told["basket"]["items"][0]["name"]), (&json!(27.0), &json!("Laptop")));
    let payments = told["payments"].as_array().expect("payments");
    let ids: BTreeSet<_> = payments.iter().map(|one| one["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!((payments.len(), ids), (102, paid));
    let noted = payments.iter().find(|one| one["id"] == made.json()["id"]).expect("is there");
    assert_eq!(noted, &made.json(), "as it is shown by itself");
    let numbers: Vec<_> = told["notifications"].as_array().expect("a list").iter().map(|one| &one["number"]).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
    let mut over_grpc = called(&world, "ada").await.expect("is told");
    // Each that is shown here is another basket.
    over_grpc["basket"]["id"] = told["basket"]["id"].clone();
    assert_eq!(over_grpc, told, "the same over gRPC");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_whom_nothing_is_known_that_is_said() {
    let world = World::new().await;
    let (status, told) = world.api.get("/users/nobody/data").await;
    assert_eq!(status, 200);
    assert_eq!([&told["basket"], &told["payments"], &told["notifications"]], [&json!(null), &json!([]), &json!([])]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_told_half_of_it() {
    let world = World::new().await;
    *world.neighbours.told.lock().expect("no panic") = vec![None];
    let reply = world.api.send(world.api.request(Method::GET, "/users/ada/data")).await;
    let _ = reply.problem(503, "notification_service_unavailable");
    assert_eq!(called(&world, "ada").await.expect_err("is away").code(), Code::Unavailable);

    // One that goes away in the middle leaves no answer that could be taken for one.
    *world.neighbours.told.lock().expect("no panic") = vec![Some(two(0)), None];
    let broken = world.api.try_send(world.api.request(Method::GET, "/users/ada/data")).await;
    broken.expect_err("the connection breaks off");
    assert_eq!(called(&world, "ada").await.expect_err("breaks off").code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_forgotten_leaves_what_he_paid_and_nothing_of_himself() {
    let world = World::new().await;
    let noted = json!({
        "user_id": "ada", "method": "credit_card", "description": "for Byron", "metadata": { "gift": "yes" },
    });
    let id = world.post("/payments", &noted).await.json()["id"].as_str().expect("an id").to_owned();
    let path = format!("/payments/{id}");
    assert_eq!(world.post(&format!("{path}/process"), &json!({})).await.status, 200);
    let refund = json!({ "amount": 1, "reason": "Byron has one" });
    let before = world.post(&format!("{path}/refund"), &refund).await.json();

    for _ in 0..2 {
        assert_eq!(world.api.delete("/users/ada/data").await, (204, Value::Null), "a repeat says the same");
    }
    let (_, kept) = world.api.get(&path).await;
    assert_eq!(
        (&kept["user_id"], &kept["description"], &kept["metadata"]),
        (&json!("guest-forgotten"), &json!(null), &json!({}))
    );
    assert_eq!(kept["refunds"][0]["reason"], json!(null));
    for member in ["id", "amount", "refunded_amount", "status", "items", "provider_id", "created_at", "processed_at"] {
        assert_eq!(kept[member], before[member], "{member}");
    }
    assert!(!kept.to_string().contains("\"ada") && !kept.to_string().contains("Byron"), "{kept}");
    assert_eq!(world.api.get("/users/ada/payments").await.1["payments"], json!([]));
    eventually!(world.events.kinds().iter().filter(|kind| *kind == "user.erased").count() == 2);

    let mut client = PaymentServiceClient::connect(format!("http://{}", world.grpc)).await.expect("connects");
    client.erase_user_data(EraseUserDataRequest { user_id: "ada".to_owned() }).await.expect("over gRPC as well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_forgotten_while_he_may_still_pay() {
    let world = World::new().await;
    let id = world.pending().await;
    let reply = world.api.send(world.api.request(Method::DELETE, "/users/ada/data")).await;
    assert_eq!(reply.problem(409, "payment_open")["payment_id"], json!(id));
    let mut client = PaymentServiceClient::connect(format!("http://{}", world.grpc)).await.expect("connects");
    let refused = client.erase_user_data(EraseUserDataRequest { user_id: "ada".to_owned() }).await;
    assert_eq!(refused.expect_err("is refused").code(), Code::FailedPrecondition);
    assert_eq!(world.api.get(&format!("/payments/{id}")).await.1["user_id"], json!("ada"), "nothing was done");
    assert_eq!(world.post(&format!("/payments/{id}/cancel"), &json!({})).await.status, 200);
    assert_eq!(world.api.delete("/users/ada/data").await.0, 204);
}
