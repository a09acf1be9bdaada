//! What every store must do. The same tests run on SQLite and, where there is one, on a real PostgreSQL.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use futures_util::future::join_all;
use shop_config::Database;
use shop_events::Envelope;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Opened;
use crate::config::SecretsSettings;
use crate::domain::tests::completed;
use crate::domain::{
    Channel, Channels, Claim, Endpoint, EndpointDraft, EndpointSettings, Error, Expected, Failure, Filter,
    MAX_ENDPOINTS, News, Notification, Outcome, Policy, Preferences, PreferencesDraft, Reach, Recipients,
    SigningSecret, Status, Store, UserId, plan,
};

const ALL: Channels = Channels { email: true, webhook: true, log: true };
const POLICY: Policy =
    Policy { first: Duration::from_secs(10), longest: Duration::from_mins(10), give_up_after: Duration::from_hours(1) };

/// Runs each of these functions on a fresh store of either engine.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let folder = tempfile::tempdir().expect("a folder");
                let url = format!("sqlite://{}", folder.path().join("notification.db").display());
                super::$name(super::opened(&url).await.store.as_ref()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let Some(database) = shop_testing::backend::postgres().await else { return };
                super::$name(super::opened(&database.url()).await.store.as_ref()).await;
            })*
        }
    };
}

mod entity;
mod replays;
mod sealed;

contract!(
    an_event_is_announced_once_however_often_and_at_once,
    only_channels_with_something_to_send_are_told_of_it,
    events_that_come_together_are_announced_each_to_its_own,
    what_is_stored_is_read_as_it_was,
    lists_are_filtered_and_paged_newest_first,
    no_two_claims_get_the_same_notification,
    a_claim_is_left_to_others_when_its_lease_is_over,
    targets_that_are_busy_are_passed_over,
    an_outcome_that_comes_too_late_changes_nothing,
    what_is_finished_is_forgotten_and_nothing_else,
    preferences_are_kept_and_changed_one_after_the_other,
    the_longest_user_id_has_room,
    endpoints_are_added_once_changed_and_removed,
    there_is_an_end_to_endpoints,
    who_was_forgotten_is_not_there_and_does_not_come_back,
    who_was_forgotten_and_buys_again_is_told_again,
    nobody_slips_through_who_is_forgotten_while_he_is_told,
);

async fn opened(url: &str) -> Opened {
    super::open(&Database::at(url), &SecretsSettings::default()).await.expect("opens")
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(seconds)
}

fn event(user: &str) -> Envelope {
    Envelope { id: Uuid::new_v4(), ..completed(user) }
}

/// Announces what `user` bought, by all channels; the channels by which something is to be sent.
async fn announce(store: &dyn Store, event: &Envelope, user: &str, now: OffsetDateTime) -> BTreeSet<Channel> {
    announce_all(store, &[News { event, user_id: user, mails: true }], now).await
}

async fn announce_all(store: &dyn Store, news: &[News<'_>], now: OffsetDateTime) -> BTreeSet<Channel> {
    let made = |event: &Envelope, to: &Recipients| plan(event, ALL, to, POLICY.give_up_after, now, Uuid::now_v7);
    store.announce(news, &made, now).await.expect("is stored")
}

fn claim(channel: Channel, now: i64) -> Claim<'static> {
    Claim { channel, except: &[], now: at(now), until: at(now + 60), limit: 10 }
}

async fn all(store: &dyn Store, filter: &Filter) -> Vec<Notification> {
    store.list(filter, None, 100).await.expect("is listed").items
}

async fn an_event_is_announced_once_however_often_and_at_once(store: &dyn Store) {
    let event = event("ada@shop.example");
    let tries = (0..8).map(|_| announce(store, &event, "ada@shop.example", at(1)));
    let new = join_all(tries).await.into_iter().filter(|told| !told.is_empty()).count();
    assert_eq!(new, 1);
    assert_eq!(all(store, &Filter::default()).await.len(), 3);
}

async fn only_channels_with_something_to_send_are_told_of_it(store: &dyn Store) {
    let event = event("ada");
    // She has no address, so that no e-mail goes out.
    assert_eq!(announce(store, &event, "ada", at(1)).await, [Channel::Webhook, Channel::Log].into());
    assert_eq!(announce(store, &event, "ada", at(1)).await, [].into());
}

async fn events_that_come_together_are_announced_each_to_its_own(store: &dyn Store) {
    let draft = PreferencesDraft { email: Some("bob@shop.example".to_owned()), ..PreferencesDraft::default() };
    let change = |wants: &mut Preferences| wants.replace(&draft, &Expected::default(), at(1));
    store.change_preferences("bob", &change).await.expect("is changed");
    let known = event("eve@shop.example");
    announce(store, &known, "eve@shop.example", at(1)).await;
    let events = ["ada@shop.example", "bob", "bob", "eve"].map(event);
    let mut news: Vec<_> = events.iter().zip(["ada@shop.example", "bob", "bob", "eve"]).collect();
    // One was there before, and one comes twice.
    news.extend([(&known, "eve@shop.example"), (&events[1], "bob")]);
    let news: Vec<_> = news.into_iter().map(|(event, user)| News { event, user_id: user, mails: true }).collect();
    assert_eq!(announce_all(store, &news, at(2)).await, [Channel::Email, Channel::Webhook, Channel::Log].into());
    assert_eq!(announce_all(store, &news, at(3)).await, [].into());
    let mails = all(store, &Filter { channel: Some(Channel::Email), ..Filter::default() }).await;
    let mut told: Vec<_> = mails.iter().map(|mail| (mail.target.as_str(), mail.event.id, mail.status)).collect();
    let mut expected = vec![
        ("ada@shop.example", events[0].id, Status::Pending),
        ("bob@shop.example", events[1].id, Status::Pending),
        ("bob@shop.example", events[2].id, Status::Pending),
        ("", events[3].id, Status::Skipped),
        ("eve@shop.example", known.id, Status::Pending),
    ];
    told.sort_unstable_by_key(|(_, id, _)| *id);
    expected.sort_unstable_by_key(|(_, id, _)| *id);
    assert_eq!(told, expected);
    assert_eq!(all(store, &Filter::default()).await.len(), 15);
}

async fn what_is_stored_is_read_as_it_was(store: &dyn Store) {
    let mut event = event("ada@shop.example");
    event.context.request_id = Some("r-1".to_owned());
    event.context.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    announce(store, &event, "ada@shop.example", at(5)).await;
    let mail = all(store, &Filter { channel: Some(Channel::Email), ..Filter::default() }).await.pop().expect("one");
    assert_eq!((&mail.event, mail.target.as_str(), mail.status), (&event, "ada@shop.example", Status::Pending));
    assert_eq!((mail.created_at, mail.due_at, mail.version), (at(5), at(5), 1));
    assert_eq!(mail.give_up_at, at(0) + POLICY.give_up_after);
    assert_eq!(store.get(mail.id).await.expect("is there"), mail);
    assert!(matches!(store.get(Uuid::nil()).await, Err(Error::NotFound(_))));
    let waiting = store.waiting(Channel::Email).await.expect("is counted");
    assert_eq!((waiting.count, waiting.oldest), (1, Some(at(5))));
}

async fn lists_are_filtered_and_paged_newest_first(store: &dyn Store) {
    for user in ["ada", "bob", "ada"] {
        announce(store, &event(user), user, at(1)).await;
    }
    let count = |filter: Filter| async move { all(store, &filter).await.len() };
    assert_eq!(count(Filter::default()).await, 9);
    assert_eq!(count(Filter { user_id: Some("ada".to_owned()), ..Filter::default() }).await, 6);
    // Who reaches his own alone gets nothing of others, whoever he asks for.
    let owner = Some("ada".to_owned());
    assert_eq!(count(Filter { owner: owner.clone(), ..Filter::default() }).await, 6);
    assert_eq!(count(Filter { owner, user_id: Some("bob".to_owned()), ..Filter::default() }).await, 0);
    // No address: the e-mails are skipped.
    assert_eq!(count(Filter { status: Some(Status::Skipped), ..Filter::default() }).await, 3);
    let both = Filter { user_id: Some("ada".to_owned()), channel: Some(Channel::Log), ..Filter::default() };
    assert_eq!(count(both).await, 2);

    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(&Filter::default(), after, 2).await.expect("is listed");
        ids.extend(page.items.iter().map(|one| one.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(ids.len(), 9);
    assert!(ids.is_sorted_by(|a, b| a > b), "{ids:?}");
}

async fn no_two_claims_get_the_same_notification(store: &dyn Store) {
    for n in 0..20 {
        let user = format!("u{n}@shop.example");
        announce(store, &event(&user), &user, at(1)).await;
    }
    assert_eq!(store.claim(&claim(Channel::Email, 0)).await.expect("nothing is due").len(), 0);
    assert_eq!(store.due(at(0)).await.expect("is looked"), [].into());
    assert_eq!(store.due(at(1)).await.expect("is looked"), [Channel::Email, Channel::Webhook, Channel::Log].into());
    let claim = Claim { limit: 5, ..claim(Channel::Email, 2) };
    let claimed = join_all((0..8).map(|_| store.claim(&claim))).await;
    let claimed: Vec<_> = claimed.into_iter().flat_map(|claimed| claimed.expect("is claimed")).collect();
    let distinct: HashSet<_> = claimed.iter().map(|one| one.id).collect();
    assert_eq!((claimed.len(), distinct.len()), (20, 20));
    for one in &claimed {
        assert_eq!((one.status, one.attempts, one.version, one.due_at), (Status::Sending, 1, 2, at(62)));
    }
}

async fn a_claim_is_left_to_others_when_its_lease_is_over(store: &dyn Store) {
    announce(store, &event("ada@shop.example"), "ada@shop.example", at(1)).await;
    let first = store.claim(&claim(Channel::Email, 2)).await.expect("is claimed");
    assert_eq!(first.len(), 1);
    assert_eq!(store.claim(&claim(Channel::Email, 61)).await.expect("is asked").len(), 0);
    assert_eq!(store.due(at(61)).await.expect("is looked"), [Channel::Webhook, Channel::Log].into());
    assert!(store.due(at(62)).await.expect("is looked").contains(&Channel::Email), "who has it may be dead");
    let second = store.claim(&claim(Channel::Email, 62)).await.expect("is claimed");
    assert_eq!((second[0].id, second[0].attempts), (first[0].id, 2));
}

async fn targets_that_are_busy_are_passed_over(store: &dyn Store) {
    for user in ["ada@shop.example", "bob@shop.example"] {
        announce(store, &event(user), user, at(1)).await;
    }
    let busy = ["ada@shop.example".to_owned(), "eve@shop.example".to_owned()];
    let others = store.claim(&Claim { except: &busy, ..claim(Channel::Email, 2) }).await.expect("is claimed");
    assert_eq!(others.iter().map(|one| one.target.as_str()).collect::<Vec<_>>(), ["bob@shop.example"]);
}

async fn an_outcome_that_comes_too_late_changes_nothing(store: &dyn Store) {
    announce(store, &event("ada@shop.example"), "ada@shop.example", at(1)).await;
    let slow = store.claim(&claim(Channel::Email, 2)).await.expect("is claimed").remove(0);
    let quick = store.claim(&claim(Channel::Email, 62)).await.expect("is claimed").remove(0);
    let settled = |claimed: &Notification, outcome| {
        let mut settled = claimed.clone();
        settled.settle(outcome, POLICY, 1.0, at(63));
        settled
    };
    assert!(store.settle(&settled(&quick, Outcome::Sent), quick.version).await.expect("is stored"));
    let late = settled(&slow, Outcome::retry("timeout", "no answer"));
    assert!(!store.settle(&late, slow.version).await.expect("is refused"));
    let kept = store.get(quick.id).await.expect("is there");
    assert_eq!((kept.status, kept.sent_at, kept.failure), (Status::Sent, Some(at(63)), None));
}

async fn what_is_finished_is_forgotten_and_nothing_else(store: &dyn Store) {
    // The e-mail is skipped, webhook and log wait.
    announce(store, &event("ada"), "ada", at(1)).await;
    let claimed = store.claim(&claim(Channel::Webhook, 2)).await.expect("is claimed").remove(0);
    let mut dead = claimed.clone();
    dead.settle(Outcome::give_up("http_status", "400"), POLICY, 1.0, at(3));
    assert!(store.settle(&dead, claimed.version).await.expect("is stored"));
    assert_eq!(store.get(dead.id).await.expect("is there").failure, Some(Failure::new("http_status", "400")));
    assert_eq!(store.forget(at(1), 10).await.expect("is asked"), 0);
    assert_eq!(store.forget(at(100), 1).await.expect("is deleted"), 1);
    assert_eq!(store.forget(at(100), 10).await.expect("is deleted"), 1);
    let left = all(store, &Filter::default()).await;
    assert_eq!(left.iter().map(|one| one.channel).collect::<Vec<_>>(), [Channel::Log]);
}

async fn preferences_are_kept_and_changed_one_after_the_other(store: &dyn Store) {
    let draft = PreferencesDraft { email: Some("ada@shop.example".to_owned()), ..PreferencesDraft::default() };
    let change = |n: i64| {
        let draft = draft.clone();
        async move {
            let changed =
                store.change_preferences("ada", &|wants| wants.replace(&draft, &Expected::default(), at(n))).await;
            changed.expect("is changed").version
        }
    };
    let versions: HashSet<i64> = join_all((1..=8).map(change)).await.into_iter().collect();
    assert_eq!(versions, (1..=8).collect());
    let kept = store.preferences("ada").await.expect("is there");
    assert_eq!((kept.version, kept.email.as_deref()), (8, Some("ada@shop.example")));
    let seen = store.change_preferences("ada", &|wants| wants.replace(&draft, &Some(7).into(), at(9))).await;
    assert!(matches!(seen, Err(Error::VersionMismatch)));

    announce(store, &event("ada"), "ada", at(10)).await;
    let mail = all(store, &Filter { channel: Some(Channel::Email), ..Filter::default() }).await.pop().expect("one");
    assert_eq!(mail.target, "ada@shop.example");
}

async fn the_longest_user_id_has_room(store: &dyn Store) {
    let user = "u".repeat(UserId::MAX);
    announce(store, &event(&user), &user, at(1)).await;
    assert!(!all(store, &Filter { user_id: Some(user.clone()), ..Filter::default() }).await.is_empty());
    let draft = PreferencesDraft::default();
    store
        .change_preferences(&user, &|wants| wants.replace(&draft, &Expected::default(), at(2)))
        .await
        .expect("is kept");
    assert_eq!(store.preferences(&user).await.expect("is there").user_id, user);
}

fn endpoint(n: u8) -> Endpoint {
    let draft = EndpointDraft { url: format!("https://a.example/{n}"), ..EndpointDraft::default() };
    let settings = EndpointSettings::parse(&draft, Reach::default()).expect("is fine");
    Endpoint::new(Uuid::now_v7(), settings, SigningSecret::from_key([n; 32]), at(1))
}

async fn endpoints_are_added_once_changed_and_removed(store: &dyn Store) {
    let (first, second) = (endpoint(1), endpoint(2));
    for endpoint in [&first, &second] {
        assert_eq!(&store.add_endpoint(endpoint).await.expect("is added"), endpoint);
    }
    let again = Endpoint { id: first.id, ..endpoint(3) };
    assert_eq!(store.add_endpoint(&again).await.expect("is found"), first, "a repeat finds the first one");
    let page = store.list_endpoints(None, 1).await.expect("is listed");
    assert_eq!((page.items, page.next), (vec![second.clone()], Some(second.id)));
    let page = store.list_endpoints(Some(second.id), 1).await.expect("is listed");
    assert_eq!((page.items, page.next), (vec![first.clone()], None));

    let rotated = store.change_endpoint(first.id, &|endpoint| {
        let (operation, secret) = (Uuid::from_u128(1), SigningSecret::from_key([9; 32]));
        endpoint.rotate(operation, &Expected::default(), secret, time::Duration::DAY, at(2))
    });
    let rotated = rotated.await.expect("is changed");
    assert_eq!(store.endpoint(first.id).await.expect("is there"), rotated);
    assert_eq!(rotated.secrets(at(3)).len(), 2);

    announce(store, &event("ada"), "ada", at(3)).await;
    let hooks = all(store, &Filter { channel: Some(Channel::Webhook), ..Filter::default() }).await;
    let targets: HashSet<_> = hooks.into_iter().map(|one| one.target).collect();
    assert_eq!(targets, ["settings".to_owned(), first.id.to_string(), second.id.to_string()].into());

    assert!(matches!(store.remove_endpoint(first.id, &Some(1).into()).await, Err(Error::VersionMismatch)));
    store.remove_endpoint(first.id, &Some(2).into()).await.expect("is removed");
    assert!(matches!(store.endpoint(first.id).await, Err(Error::EndpointNotFound(_))));
    assert!(matches!(store.remove_endpoint(first.id, &Expected::default()).await, Err(Error::EndpointNotFound(_))));
}

async fn there_is_an_end_to_endpoints(store: &dyn Store) {
    for _ in 0..MAX_ENDPOINTS {
        store.add_endpoint(&endpoint(1)).await.expect("is added");
    }
    assert!(matches!(store.add_endpoint(&endpoint(1)).await, Err(Error::TooManyEndpoints)));
}

/// `user` bought something at that time.
fn bought(user: &str, seconds: i64) -> Envelope {
    Envelope { time: at(seconds), ..event(user) }
}

async fn of(store: &dyn Store, user: &str) -> usize {
    let filter = Filter { user_id: Some(user.to_owned()), ..Filter::default() };
    store.list(&filter, None, 1000).await.expect("is listed").items.len()
}

async fn who_was_forgotten_is_not_there_and_does_not_come_back(store: &dyn Store) {
    let draft = PreferencesDraft { email: Some("ada@shop.example".to_owned()), ..PreferencesDraft::default() };
    for user in ["ada", "grace"] {
        store
            .change_preferences(user, &|wants| wants.replace(&draft, &Expected::default(), at(1)))
            .await
            .expect("kept");
        // More than are looked at in one go.
        for _ in 0..70 {
            announce(store, &bought(user, 2), user, at(2)).await;
        }
    }
    let (erased, late) = (Uuid::new_v4(), bought("ada", 5));
    for _ in 0..2 {
        store.erase(erased, "ada", at(5), at(6)).await.expect("is forgotten");
        assert_eq!((of(store, "ada").await, of(store, "grace").await), (0, 210));
    }
    assert_eq!(store.preferences("ada").await.expect("read"), Preferences::unsaid("ada"));
    assert_eq!(store.preferences("grace").await.expect("read").email.as_deref(), Some("ada@shop.example"));

    // Kafka has no order between a payment's events and a user's: one of before comes now, and from a dead letter once more.
    for _ in 0..2 {
        announce(store, &late, "ada", at(7)).await;
        assert_eq!(of(store, "ada").await, 0);
    }
    store.forget_erasures(at(5) + shop_sql::INBOX_KEPT).await.expect("nothing is old enough");
    announce(store, &bought("ada", 4), "ada", at(8)).await;
    assert_eq!(of(store, "ada").await, 0);
    assert_eq!(store.forget_erasures(at(6) + shop_sql::INBOX_KEPT).await.expect("forgotten that he was"), 1);
}

async fn who_was_forgotten_and_buys_again_is_told_again(store: &dyn Store) {
    announce(store, &bought("ada", 1), "ada", at(1)).await;
    store.erase(Uuid::new_v4(), "ada", at(5), at(5)).await.expect("is forgotten");
    announce(store, &bought("ada", 6), "ada", at(6)).await;
    let draft = PreferencesDraft::default();
    store.change_preferences("ada", &|wants| wants.replace(&draft, &Expected::default(), at(6))).await.expect("kept");
    // One that was asked for before, and is heard of now, and one of before that takes nothing back.
    for asked in [5, 3] {
        store.erase(Uuid::new_v4(), "ada", at(asked), at(7)).await.expect("is heard");
        assert_eq!((of(store, "ada").await, store.preferences("ada").await.expect("read").version), (3, 1));
        assert!(announce(store, &bought("ada", 4), "ada", at(7)).await.is_empty());
        assert_eq!(of(store, "ada").await, 3, "what was before stays forgotten");
    }
}

async fn nobody_slips_through_who_is_forgotten_while_he_is_told(store: &dyn Store) {
    for round in 0..20 {
        let user = format!("u{round}");
        let events: Vec<_> = (0..8).map(|_| bought(&user, 1)).collect();
        let told = join_all(events.iter().map(|event| announce(store, event, &user, at(2))));
        let (_, erased) = tokio::join!(told, store.erase(Uuid::new_v4(), &user, at(5), at(5)));
        erased.expect("is forgotten");
        assert_eq!(of(store, &user).await, 0, "{user}");
    }
}
