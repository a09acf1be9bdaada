//! Who buys, and what they were told.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use shop_testing::{Api, Reply, eventually};
use tokio::time::Instant;

use super::PATIENCE;

/// What buyers did and were told.
#[derive(Default)]
pub(super) struct Told {
    /// The number of requests to pay that were answered: a payment each.
    pub(super) payments: Mutex<BTreeSet<String>>,
    /// Payments that were said to be completed.
    pub(super) completed: Mutex<BTreeSet<String>>,
    /// The longest that one of their requests took, repeats and all, and what it was.
    pub(super) longest: Mutex<(Duration, String)>,
    /// The shop closes: nobody begins another purchase, and nobody watches any more.
    pub(super) closed: AtomicBool,
}

impl Told {
    async fn insist(&self, doors: &[Api; 2], path: &str, key: &str, body: &Value) -> Reply {
        let since = Instant::now();
        let reply = insist(doors, path, key, body).await;
        let mut longest = self.longest.lock().expect("no panic");
        if since.elapsed() > longest.0 {
            *longest = (since.elapsed(), format!("{key} ({path})"));
        }
        reply
    }
}

/// By either door, until it is answered for good.
pub(super) async fn insist(doors: &[Api; 2], path: &str, key: &str, body: &Value) -> Reply {
    let mut turn = key.len();
    eventually!(within PATIENCE, {
        turn += 1;
        let door = &doors[turn % 2];
        let request = door.request(Method::POST, path).header("idempotency-key", key).json(body);
        match door.try_send(request.timeout(Duration::from_secs(10))).await {
            Ok(reply) if reply.status < 500 && reply.header("retry-after").is_empty() => Ok(reply),
            other => Err(format!("{path}: {other:?}")),
        }
    })
}

/// One purchase after the other, each as somebody else.
pub(super) async fn buy(doors: &[Api; 2], number: usize, product: i64, told: &Told) {
    for n in 0.. {
        if told.closed.load(Ordering::SeqCst) {
            return;
        }
        let user = format!("buyer-{number}-{n}");
        let line = json!({"product_id": product, "quantity": 1 + n % 3});
        let added = told.insist(doors, &format!("/baskets/{user}/items"), &format!("{user}-add"), &line).await;
        assert_eq!(added.status, 200, "{added:?}");
        let order = json!({"user_id": user, "method": "credit_card"});
        let made = told.insist(doors, "/payments", &format!("{user}-pay"), &order).await;
        assert_eq!(made.status, 201, "{made:?}");
        let id = made.json()["id"].as_str().expect("an id").to_owned();
        told.payments.lock().expect("no panic").insert(id.clone());
        if n % 11 == 7 {
            told.insist(doors, &format!("/payments/{id}/cancel"), &format!("{user}-cancel"), &json!({})).await;
            continue;
        }
        let token = ["tok_approve", "tok_decline", "tok_lost_reply"]
            [if n % 10 == 9 { 1 } else { 2 * usize::from(n % 10 == 3) }];
        let token = json!({"payment_token": token});
        let paid = told.insist(doors, &format!("/payments/{id}/process"), &format!("{user}-go"), &token).await;
        if paid.status == 200 && paid.json()["status"] == "completed" {
            told.completed.lock().expect("no panic").insert(id);
        }
    }
}
