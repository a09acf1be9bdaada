//! Every field of what the service keeps is kept by every store. No field is left to `..`: a new one has to be decided
//! upon here.

use shop_events::Envelope;
use uuid::Uuid;

use super::{POLICY, announce, at, claim, endpoint, event, opened};
use crate::domain::{
    Channel, Endpoint, EndpointSettings, Error, EventType, Expected, Failure, Filter, HookUrl, News, Notification,
    Preferences, PreferencesDraft, Recipients, SigningSecret, Status, Store,
};

contract!(
    every_field_of_a_notification_is_kept,
    every_field_of_preferences_is_kept,
    every_field_of_an_endpoint_is_kept,
);

/// A notification with nothing as in a new one.
fn notification() -> Notification {
    let mut event = event("grace");
    event.context.request_id = Some("r-1".to_owned());
    Notification {
        id: Uuid::from_u128(77),
        event,
        user_id: "grace".to_owned(),
        payment_id: Uuid::from_u128(78),
        channel: Channel::Webhook,
        target: "somewhere".to_owned(),
        status: Status::Dead,
        attempts: 3,
        due_at: at(10),
        give_up_at: at(20),
        failure: Some(Failure::new("http_status", "410")),
        version: 5,
        created_at: at(30),
        updated_at: at(40),
        sent_at: Some(at(50)),
    }
}

/// Changes whatever may change.
fn alter(one: &mut Notification) {
    let Notification {
        id: _,
        event: _,
        user_id: _,
        payment_id: _,
        channel: _,
        target: _,
        status,
        attempts,
        due_at,
        give_up_at,
        failure,
        version,
        created_at: _,
        updated_at,
        sent_at,
    } = one;
    *status = Status::Sent;
    *attempts += 1;
    *due_at = at(11);
    *give_up_at = at(21);
    *failure = Some(Failure::new("timeout", "no answer"));
    *version += 1;
    *updated_at = at(41);
    *sent_at = Some(at(51));
}

/// Everything that others have done to them, which is nothing to this one.
async fn others(store: &dyn Store) {
    announce(store, &event("ada@shop.example"), "ada@shop.example", at(1)).await;
    let mut claimed = store.claim(&claim(Channel::Webhook, 2)).await.expect("is claimed").remove(0);
    let seen = claimed.version;
    claimed.settle(crate::domain::Outcome::Sent, POLICY, 1.0, at(3));
    assert!(store.settle(&claimed, seen).await.expect("is stored"));
    let draft = PreferencesDraft::default();
    let change = |wants: &mut Preferences| wants.replace(&draft, &Expected::default(), at(4));
    store.change_preferences("bob", &change).await.expect("is changed");
    let added = store.add_endpoint(&endpoint(9)).await.expect("is added");
    store.remove_endpoint(added.id, &Expected::default()).await.expect("is removed");
    store.waiting(Channel::Webhook).await.expect("is counted");
    store.forget(at(0), 10).await.expect("is asked");
}

async fn every_field_of_a_notification_is_kept(store: &dyn Store) {
    let mut kept = notification();
    let plan = |_: &Envelope, _: &Recipients| vec![kept.clone()];
    let news = News { event: &kept.event, user_id: "grace", mails: true };
    store.announce(&[news], &plan, at(1)).await.expect("is stored");
    assert_eq!(store.get(kept.id).await.expect("is there"), kept, "announced");
    others(store).await;
    store.change(kept.id, &|_| Err(Error::VersionMismatch)).await.expect_err("is refused");
    assert_eq!(store.get(kept.id).await.expect("is there"), kept, "what others do");
    let theirs = Filter { user_id: Some("grace".to_owned()), ..Filter::default() };
    assert_eq!(store.list(&theirs, None, 10).await.expect("is listed").items, [kept.clone()]);

    let seen = kept.version;
    alter(&mut kept);
    assert!(store.settle(&kept, seen).await.expect("is stored"));
    assert_eq!(store.get(kept.id).await.expect("is there"), kept, "settled");
    let again = |one: &mut Notification| {
        alter(one);
        one.attempts += 1;
        Ok(())
    };
    store.change(kept.id, &again).await.expect("is changed");
    again(&mut kept).expect("the same");
    assert_eq!(store.get(kept.id).await.expect("is there"), kept, "changed");
}

async fn every_field_of_preferences_is_kept(store: &dyn Store) {
    let mut kept = Preferences {
        user_id: "grace".to_owned(),
        email: Some("grace@shop.example".to_owned()),
        email_enabled: false,
        event_types: [EventType::Refunded].into(),
        version: 5,
        updated_at: Some(at(9)),
    };
    for (email, enabled, types) in
        [("grace@shop.example", false, EventType::Refunded), ("g@x.example", true, EventType::Failed)]
    {
        let Preferences { user_id: _, email: address, email_enabled, event_types, version, updated_at } = &mut kept;
        *address = Some(email.to_owned());
        *email_enabled = enabled;
        *event_types = [types].into();
        *version += 1;
        *updated_at = updated_at.map(|at| at + time::Duration::SECOND);
        let change = |wants: &mut Preferences| {
            wants.clone_from(&kept);
            Ok(())
        };
        store.change_preferences("grace", &change).await.expect("is changed");
        assert_eq!(store.preferences("grace").await.expect("is there"), kept, "changed");
        others(store).await;
        store.change_preferences("grace", &|_| Err(Error::VersionMismatch)).await.expect_err("is refused");
        assert_eq!(store.preferences("grace").await.expect("is there"), kept, "what others do");
    }
}

async fn every_field_of_an_endpoint_is_kept(store: &dyn Store) {
    let mut kept = Endpoint {
        id: Uuid::from_u128(77),
        settings: EndpointSettings {
            url: HookUrl::stored("https://a.example/hooks?x=1").expect("a URL"),
            description: "the till".to_owned(),
            event_types: [EventType::Refunded].into(),
            enabled: false,
        },
        disabled_reason: Some("gone".to_owned()),
        secret: SigningSecret::from_key([7; 32]),
        old_secret: Some((SigningSecret::from_key([8; 32]), at(100))),
        rotations: vec![(Uuid::from_u128(5), at(1))],
        version: 5,
        created_at: at(1),
        updated_at: at(2),
    };
    store.add_endpoint(&kept).await.expect("is added");
    assert_eq!(store.endpoint(kept.id).await.expect("is there"), kept, "added");
    others(store).await;
    store.change_endpoint(kept.id, &|_| Err(Error::VersionMismatch)).await.expect_err("is refused");
    assert_eq!(store.endpoint(kept.id).await.expect("is there"), kept, "what others do");
    assert_eq!(store.list_endpoints(None, 10).await.expect("is listed").items, [kept.clone()]);

    let Endpoint {
        id: _,
        settings,
        disabled_reason,
        secret,
        old_secret,
        rotations,
        version,
        created_at: _,
        updated_at,
    } = &mut kept;
    let EndpointSettings { url, description, event_types, enabled } = settings;
    *url = HookUrl::stored("https://b.example/").expect("a URL");
    *description = "the shop".to_owned();
    *event_types = [EventType::Failed].into();
    *enabled = true;
    *disabled_reason = Some("elsewhere".to_owned());
    *secret = SigningSecret::from_key([9; 32]);
    *old_secret = Some((SigningSecret::from_key([7; 32]), at(200)));
    rotations.push((Uuid::from_u128(6), at(3)));
    *version += 1;
    *updated_at = at(3);
    let change = |endpoint: &mut Endpoint| {
        endpoint.clone_from(&kept);
        Ok(())
    };
    store.change_endpoint(kept.id, &change).await.expect("is changed");
    assert_eq!(store.endpoint(kept.id).await.expect("is there"), kept, "changed");
}
