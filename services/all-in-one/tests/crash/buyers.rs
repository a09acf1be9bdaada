//! Buyers who insist: they repeat every call with its key until it is answered, as a client of a shop that may die
//! at any moment has to.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use reqwest::Method;
use serde_json::{Value, json};
use shop_testing::{Api, Reply, eventually};

use crate::chance::Chance;
use crate::world::{Apis, World};

const STOCK: i64 = 40;

/// What every buyer is going to do.
pub(crate) struct Plan {
    products: Vec<i64>,
    buyers: Vec<Buyer>,
}

#[derive(Clone)]
struct Buyer {
    user: String,
    product: i64,
    quantity: i64,
    ending: Ending,
}

#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Buy,
    Decline,
    LoseTheReply,
    Cancel,
    BuyAndRefund,
    /// Pays what is taken when it is sent.
    Capture,
    /// The same, and changes his mind.
    CancelHeld,
    /// Has to confirm at his bank.
    Confirm,
    /// Puts one more in after it has been asked to pay, and pays for that.
    BuyOneMore,
}

impl Plan {
    /// Twelve buyers of two products; every ending happens at least once.
    pub(crate) async fn make(name: &str, world: &World, chance: &mut Chance) -> Self {
        let apis = world.apis();
        let mut products = Vec::new();
        for name in ["Anvil", "Bellows"] {
            let body = json!({"name": name, "description": "", "price": "12.50", "stock_quantity": STOCK,
                "category": "smithy", "image_url": null});
            let (status, made) = apis.product.post("/products", &body).await;
            assert_eq!(status, 201, "{made}");
            products.push(made["id"].as_i64().expect("an id"));
        }
        let endings = [
            Ending::Buy,
            Ending::Decline,
            Ending::LoseTheReply,
            Ending::Cancel,
            Ending::BuyAndRefund,
            Ending::BuyOneMore,
            Ending::Capture,
            Ending::CancelHeld,
            Ending::Confirm,
        ];
        let buyers = (0..12).map(|number| Buyer {
            user: format!("{name}-{number}"),
            product: products[usize::from(chance.below(2) == 0)],
            quantity: 1 + i64::try_from(chance.below(3)).expect("small"),
            ending: match number {
                0..9 => endings[number],
                _ => endings[usize::try_from(chance.below(9)).expect("small")],
            },
        });
        Self { buyers: buyers.collect(), products }
    }

    /// Both plans, for one balance.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.products.extend(other.products);
        self.buyers.extend(other.buyers);
        self
    }

    /// Four buyers at a time, until each has what they came for.
    pub(crate) async fn carry_out(&self, apis: &Apis) {
        stream::iter(&self.buyers).for_each_concurrent(4, |buyer| buyer.shop(apis)).await;
    }

    /// Waits until everything has settled, then checks every book against every other.
    pub(crate) async fn balance(&self, world: &World) {
        let apis = world.apis();
        eventually!(within Duration::from_secs(90), apis.outbox_is_empty().await);
        let mut payments = apis.payments().await;
        payments.retain(|payment| payment["failure"]["code"] != "superseded");
        assert_eq!(payments.len(), self.buyers.len(), "one payment a buyer, however often they asked");
        for &product in &self.products {
            let bought = |status: &[&str]| -> i64 {
                payments
                    .iter()
                    .filter(|payment| status.contains(&payment["status"].as_str().expect("a status")))
                    .flat_map(|payment| payment["items"].as_array().expect("items"))
                    .filter(|item| item["product_id"] == product)
                    .map(|item| item["quantity"].as_i64().expect("a quantity"))
                    .sum()
            };
            let sold = bought(&["completed", "partially_refunded", "refunded"]);
            assert_eq!(bought(&["pending", "processing", "requires_action", "authorised"]), 0, "{payments:?}");
            eventually!(within Duration::from_secs(90), {
                let (_, now) = apis.product.get(&format!("/products/{product}")).await;
                let left = STOCK - sold;
                let settled =
                    now["units_sold"] == sold && now["stock_quantity"] == left && now["available_quantity"] == left;
                if settled { Ok(()) } else { Err(format!("{sold} were sold, but {now}")) }
            });
        }
        for buyer in &self.buyers {
            let payment = payments.iter().find(|payment| payment["user_id"] == buyer.user.as_str()).expect("one");
            buyer.is_satisfied_with(payment);
            let left = if is_unpaid(payment) && payment["authorised_until"].is_null() { buyer.bought() } else { 0 };
            eventually!(within Duration::from_secs(90), {
                let (_, basket) = apis.basket.get(&format!("/baskets/{}", buyer.user)).await;
                let items = basket["items"].as_array().map(Vec::as_slice).unwrap_or_default();
                let quantity: i64 = items.iter().filter_map(|item| item["quantity"].as_i64()).sum();
                if quantity == left { Ok(()) } else { Err(format!("{left} should be left of {payment}: {basket}")) }
            });
        }
        self.charges_match(world, &payments).await;
        everybody_was_told(&apis, &payments).await;
    }

    /// The provider's books: one approved charge a payment that went through, none besides, and refunds alike.
    async fn charges_match(&self, world: &World, payments: &[Value]) {
        let mut charged: Vec<_> = world.approved_charges().await;
        charged.sort();
        let paid = |payment: &&Value| !matches!(payment["status"].as_str(), Some("failed" | "cancelled"));
        let mut completed: Vec<String> =
            payments.iter().filter(paid).map(|payment| payment["id"].as_str().expect("an id").to_owned()).collect();
        completed.sort();
        assert_eq!(charged, completed, "charges at the provider and payments that went through");
        let refunded: BTreeMap<String, i64> = payments
            .iter()
            .filter(|payment| payment["refunds"].as_array().is_some_and(|refunds| !refunds.is_empty()))
            .map(|payment| (payment["id"].as_str().expect("an id").to_owned(), cents(&payment["refunded_amount"])))
            .collect();
        assert_eq!(world.paid_back().await, refunded, "refunds at the provider and on the payments");
    }
}

/// One notification an event, each sent.
async fn everybody_was_told(apis: &Apis, payments: &[Value]) {
    let mut due: Vec<(String, &str)> = Vec::new();
    for payment in payments {
        let id = payment["id"].as_str().expect("an id");
        match payment["status"].as_str().expect("a status") {
            "cancelled" => due.push((id.to_owned(), "payment.cancelled")),
            "failed" if is_over(payment) => due.push((id.to_owned(), "payment.expired")),
            "failed" => due.push((id.to_owned(), "payment.failed")),
            _ => due.push((id.to_owned(), "payment.completed")),
        }
        if !payment["authorised_until"].is_null() {
            due.push((id.to_owned(), "payment.authorised"));
        }
        let refunds = payment["refunds"].as_array().map_or(0, Vec::len);
        due.extend(std::iter::repeat_n((id.to_owned(), "payment.refunded"), refunds));
    }
    due.sort();
    eventually!(within Duration::from_secs(90), {
        let (_, page) = apis.notification.get("/notifications?channel=log&limit=100").await;
        let listed = page["notifications"].as_array().map(Vec::as_slice).unwrap_or_default();
        let text = |one: &Value, member: &str| one[member].as_str().unwrap_or_default().to_owned();
        let mut told: Vec<_> = listed.iter().map(|one| (text(one, "payment_id"), text(one, "event_type"))).collect();
        // Who was told to confirm is not told again when he is back before the shop is.
        told.retain(|(_, kind)| kind != "payment.action_required");
        told.sort();
        let sent = listed.iter().all(|one| one["status"] == "sent");
        if sent && told.iter().map(|(id, kind)| (id.clone(), kind.as_str())).eq(due.iter().cloned()) {
            Ok(())
        } else {
            Err(format!("{due:?} should be told, but {listed:?}"))
        }
    });
}

impl Buyer {
    async fn shop(&self, apis: &Apis) {
        let Self { user, product, quantity, .. } = self;
        let body = json!({"product_id": product, "quantity": quantity});
        let added = insist(&apis.basket, &format!("/baskets/{user}/items"), &format!("{user}-add"), &body).await;
        assert_eq!(added.status, 200, "{added:?}");

        let held = matches!(self.ending, Ending::Capture | Ending::CancelHeld);
        let capture = if held { "manual" } else { "automatic" };
        let body = json!({"user_id": user, "method": "credit_card", "capture": capture});
        let made = insist(&apis.payment, "/payments", &format!("{user}-pay"), &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        let made = if self.ending == Ending::BuyOneMore {
            let one = json!({"product_id": product, "quantity": 1});
            insist(&apis.basket, &format!("/baskets/{user}/items"), &format!("{user}-add-2"), &one).await;
            let again = insist(&apis.payment, "/payments", &format!("{user}-pay-2"), &body).await;
            assert_eq!(again.status, 201, "{again:?}");
            again
        } else {
            made
        };
        let id = made.json()["id"].as_str().expect("an id").to_owned();

        if self.ending == Ending::Cancel {
            insist(&apis.payment, &format!("/payments/{id}/cancel"), &format!("{user}-cancel"), &json!({})).await;
        } else {
            let token = match self.ending {
                Ending::Decline => "tok_decline",
                Ending::LoseTheReply => "tok_lost_reply",
                Ending::Confirm => "tok_action",
                Ending::Buy
                | Ending::BuyOneMore
                | Ending::BuyAndRefund
                | Ending::Cancel
                | Ending::Capture
                | Ending::CancelHeld => "tok_approve",
            };
            let body = json!({"payment_token": token});
            insist(&apis.payment, &format!("/payments/{id}/process"), &format!("{user}-go"), &body).await;
        }
        // Whatever was answered: in the end the payment is in a state that stays.
        eventually!(within Duration::from_secs(90), {
            match apis.payment.try_send(apis.payment.request(Method::GET, &format!("/payments/{id}"))).await {
                Ok(reply) if matches!(reply.json()["status"].as_str(), None | Some("pending" | "processing" | "requires_action")) => {
                    Err(format!("{reply:?}"))
                }
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        });
        match self.ending {
            Ending::Capture => {
                insist(&apis.payment, &format!("/payments/{id}/capture"), &format!("{user}-send"), &json!({})).await;
            }
            Ending::CancelHeld => {
                insist(&apis.payment, &format!("/payments/{id}/cancel"), &format!("{user}-keep"), &json!({})).await;
            }
            _ => {}
        }
        if self.ending == Ending::BuyAndRefund {
            let body = json!({"amount": "5.00", "reason": "a dent"});
            let path = format!("/payments/{id}/refund");
            let refunded = insist(&apis.payment, &path, &format!("{user}-refund"), &body).await;
            assert!(matches!(refunded.status, 200 | 409), "{refunded:?}");
        }
    }

    /// Units in the end.
    const fn bought(&self) -> i64 {
        if matches!(self.ending, Ending::BuyOneMore) { self.quantity + 1 } else { self.quantity }
    }

    fn is_satisfied_with(&self, payment: &Value) {
        let status = payment["status"].as_str().expect("a status");
        let fine = match self.ending {
            // Killed before the charge, a payment may also fail: then nothing was charged.
            Ending::Buy | Ending::BuyOneMore | Ending::LoseTheReply | Ending::Capture | Ending::Confirm => {
                matches!(status, "completed" | "failed")
            }
            Ending::CancelHeld => matches!(status, "cancelled" | "failed"),
            Ending::Decline => status == "failed",
            Ending::Cancel => status == "cancelled",
            Ending::BuyAndRefund => matches!(status, "partially_refunded" | "failed"),
        };
        assert!(fine, "{payment}");
        let amount = 1250 * self.bought();
        assert_eq!(cents(&payment["amount"]), amount, "{payment}");
        assert!(cents(&payment["refunded_amount"]) <= amount, "{payment}");
        let refunds = usize::from(status == "partially_refunded");
        assert_eq!(payment["refunds"].as_array().map(Vec::len), Some(refunds), "{payment}");
    }
}

/// Sends it again until it is answered for good: not by silence, a server error, or that it is still being done.
pub(crate) async fn insist(api: &Api, path: &str, key: &str, body: &Value) -> Reply {
    eventually!(within Duration::from_secs(90), {
        let request = api.request(Method::POST, path).header("idempotency-key", key).json(body);
        match api.try_send(request.timeout(Duration::from_secs(10))).await {
            Ok(reply) if reply.status < 500 && reply.header("retry-after").is_empty() => Ok(reply),
            other => Err(format!("{path}: {other:?}")),
        }
    })
}

/// Whether its time was over: for the buyer to pay, or for what was authorised to be captured.
fn is_over(payment: &Value) -> bool {
    matches!(payment["failure"]["code"].as_str(), Some("payment_expired" | "authorisation_lapsed"))
}

/// Whether no money was taken for it.
fn is_unpaid(payment: &Value) -> bool {
    payment["status"] == "failed" || payment["status"] == "cancelled"
}

/// An amount of money in cents.
pub(crate) fn cents(amount: &Value) -> i64 {
    let text = amount.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}{fraction:0<2}").parse().expect("an amount")
}
