//! What is told of a person, and how he is forgotten.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shop_clock::{Clock as _, SystemClock};
use shop_events::{Bus as _, Context, Envelope, Event, UserErased};
use shop_proto::notification::v1::personal_service_client::PersonalServiceClient;
use shop_proto::notification::v1::{GetUserRecordsRequest, GetUserRecordsResponse};
use shop_testing::eventually;
use tonic::Status;
use uuid::Uuid;

use crate::harness::{Running, quick};

async fn page(service: &Running, user: &str, after: &str) -> Result<GetUserRecordsResponse, Status> {
    let mut client = PersonalServiceClient::connect(format!("http://{}", service.grpc)).await.expect("connects");
    let request = GetUserRecordsRequest { user_id: user.to_owned(), after: after.to_owned() };
    Ok(client.get_user_records(request).await?.into_inner())
}

/// All that is kept of `user`: preferences and notifications.
async fn records(service: &Running, user: &str) -> (Value, Vec<Value>) {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = page(service, user, &after).await.expect("is told");
        all.extend(page.notifications.iter().map(|one| serde_json::from_str(one).expect("JSON")));
        if page.next.is_empty() {
            return (serde_json::from_str(&page.preferences).expect("JSON"), all);
        }
        after = page.next;
    }
}

async fn erase(service: &Running, user: &str) {
    let event = Envelope {
        id: Uuid::now_v7(),
        time: SystemClock.now(),
        source: "payment-service".to_owned(),
        event: Event::UserErased(UserErased { user_id: user.to_owned() }),
        context: Context::default(),
    };
    service.bus.publish(&event.encode()).await.expect("takes effect");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_person_was_told_is_told_with_his_address_and_the_event() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = quick(folder.path());
    // Nobody listens there: what is kept is what waits.
    config.email.smtp_url = Some("smtp://127.0.0.1:1".to_owned().into());
    let service = Running::start(config).await;
    let body = json!({"email": "ada@shop.example"});
    assert_eq!(service.api.put("/users/ada/notification-preferences", &body).await.0, 200);
    let mut events = BTreeSet::new();
    for _ in 0..21 {
        events.insert(service.paid("ada").await.to_string());
    }
    service.paid("grace").await;

    let (preferences, told) = records(&service, "ada").await;
    assert_eq!(preferences["email"], "ada@shop.example");
    // An e-mail and a line of the log each, on more pages than one.
    assert_eq!(told.len(), 42);
    let of: BTreeSet<_> = told.iter().map(|one| one["event_id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(of, events);
    for one in &told {
        let address = if one["channel"] == "email" { json!("ada@shop.example") } else { Value::Null };
        assert_eq!((&one["recipient"], &one["event"]["user_id"]), (&address, &json!("ada")), "{one}");
        assert_eq!(one["event"]["event_id"], one["event_id"]);
    }
    let ids: BTreeSet<_> = told.iter().map(|one| one["id"].as_str().expect("an id")).collect();
    assert_eq!(ids.len(), 42, "none twice");
    for (user, after) in [("a b", ""), ("ada", "x")] {
        assert_eq!(page(&service, user, after).await.expect_err("refused").code(), tonic::Code::InvalidArgument);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_forgotten_is_told_nothing_more_of_what_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = Running::start(quick(folder.path())).await;
    let body = json!({"email": "ada@shop.example"});
    assert_eq!(service.api.put("/users/ada/notification-preferences", &body).await.0, 200);
    let late = crate::harness::completed("ada");
    service.paid("ada").await;
    erase(&service, "ada").await;
    service.bus.publish(&late.encode()).await.expect("takes effect");
    eventually!(service.listed("user_id=ada").await.is_empty());
    let (preferences, told) = records(&service, "ada").await;
    assert_eq!((&preferences["email"], &preferences["updated_at"], told.len()), (&Value::Null, &Value::Null, 0));
    service.paid("ada").await;
    eventually!(service.listed("user_id=ada").await.len() == 1);
    service.stop().await;
}
