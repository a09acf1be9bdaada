//! Somebody who shops: looks around, fills a basket, and mostly pays.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shop_clock::{Clock as _, SystemClock};

use super::bank::Bank;
use super::breaks::Switches;
use super::client::{Answer, Call, Client};
use super::tokens::{Pass, Tokens};

/// Shelves with fewer free units are filled again.
const FEW: i64 = 10;
/// By so many.
const REFILL: i64 = 200;
/// Of a hundred who pay, those whose bank wants a confirmation; and while somebody looks at what comes of that.
const CONFIRM: usize = 5;
const CONFIRM_MORE: usize = 50;
/// How long that takes them; the sandbox takes two seconds.
const CONFIRMING: Duration = Duration::from_millis(2500);
/// Of a hundred orders, those that are paid when they are sent.
const LATER: usize = 10;
/// Before he knocks again where nobody is let in.
const PAUSE: Duration = Duration::from_secs(1);

/// One shopper, who comes back again and again.
pub(super) struct Shopper {
    name: String,
    /// What proves the name, and since when he has both.
    pass: Pass,
    since: Option<Instant>,
    client: Client,
    bank: Bank,
    switches: Arc<Switches>,
    /// What was seen on the shelves last.
    seen: Vec<Value>,
    /// Something may be left in the basket.
    left: bool,
}

impl Shopper {
    /// A shopper who has not come in yet.
    pub(super) fn new(client: Client, bank: Bank, switches: Arc<Switches>) -> Self {
        let (name, pass) = (String::new(), Pass::default());
        Self { name, pass, since: None, client, bank, switches, seen: Vec::new(), left: false }
    }

    /// Shops until it is time to go.
    pub(super) async fn shop(mut self) {
        while !self.client.is_over() {
            // None: something did not go as it should, and is counted. Shoppers leave then and come again.
            let _ = self.trip().await;
        }
    }

    /// Comes in as somebody with a name that nobody else has; as somebody new after a while, for tokens do not last.
    async fn come_in(&mut self) -> Option<()> {
        if self.since.is_some_and(|since| !Tokens::is_old(since)) {
            return Some(());
        }
        let Some((name, pass)) = self.client.tokens().shopper().await else {
            tokio::time::sleep(PAUSE).await;
            return None;
        };
        (self.name, self.pass, self.since, self.left) = (name, pass, Some(Instant::now()), false);
        Some(())
    }

    /// Makes a call as himself.
    async fn ask(&self, call: Call) -> Option<Answer> {
        self.client.ask(call.by(&self.pass)).await
    }

    /// Lets staff make a call.
    async fn let_staff(&self, call: Call) -> Option<Answer> {
        self.client.ask(call.by(&self.client.tokens().staff().await?)).await
    }

    async fn trip(&mut self) -> Option<()> {
        self.come_in().await?;
        if self.left {
            self.ask(Call::delete(self.path("/items"))).await?;
            self.left = false;
        }
        for _ in 0..=below(4) {
            self.browse().await?;
        }
        if below(100) < 30 {
            return Some(());
        }
        self.left = true;
        for _ in 0..=below(2) {
            self.add().await?;
        }
        if below(100) < 15 {
            self.client.tally().wish(|wishes| wishes.abandoned += 1);
            return Some(());
        }
        let payment = self.check_out().await?;
        if below(100) < 5 {
            self.ask(Call::post(format!("/api/payments/{payment}/cancel"), json!({}))).await?;
            self.client.tally().wish(|wishes| wishes.abandoned += 1);
            return Some(());
        }
        self.pay(&payment).await?;
        if below(100) < 10 {
            self.send_back(&payment).await?;
        }
        Some(())
    }

    async fn browse(&mut self) -> Option<()> {
        let word =
            self.any().and_then(|product| product["name"].as_str()?.split_whitespace().next().map(str::to_owned));
        let id = self.any().and_then(|product| product["id"].as_i64());
        let sorts = ["id", "price", "-price", "name", "-units_sold"];
        match (below(3), word, id) {
            (0, Some(word), _) => {
                let word: String = word.chars().filter(char::is_ascii_alphanumeric).collect();
                self.ask(Call::get(format!("/api/products?q={word}&limit=5"))).await?;
            }
            (1, _, Some(id)) => {
                self.ask(Call::get(format!("/api/products/{id}"))).await?;
            }
            _ => {
                let sort = sorts[below(sorts.len())];
                let answer = self.ask(Call::get(format!("/api/products?limit=20&sort={sort}"))).await?;
                let products = answer.body["products"].as_array().cloned().unwrap_or_default();
                if !products.is_empty() {
                    self.seen = products;
                }
            }
        }
        Some(())
    }

    async fn add(&mut self) -> Option<()> {
        let product = self.any()?;
        let id = product["id"].as_i64()?;
        if product["available_quantity"].as_i64().is_some_and(|free| free < FEW) {
            self.restock(id).await?;
        }
        let body = json!({"product_id": id, "quantity": 1 + below(3)});
        let answer = self.ask(Call::post(self.path("/items"), body)).await?;
        if answer.code() == Some("insufficient_stock") {
            self.restock(id).await?;
        }
        Some(())
    }

    async fn check_out(&mut self) -> Option<String> {
        let methods = ["credit_card", "debit_card", "paypal"];
        let capture = if below(100) < LATER { "manual" } else { "automatic" };
        let body = json!({"user_id": self.name, "method": methods[below(methods.len())], "capture": capture});
        let answer = self.ask(Call::post("/api/payments", body)).await?;
        if answer.code() == Some("insufficient_stock") {
            // Somebody was faster. Whoever looks at the shelves next finds them empty and has them filled.
            self.browse().await?;
            self.fill_shelves().await?;
        }
        answer.is_fine().then(|| answer.body["id"].as_str().map(str::to_owned)).flatten()
    }

    async fn pay(&mut self, payment: &str) -> Option<()> {
        let asked = if self.switches.now().webhooks.is_some() { CONFIRM_MORE } else { CONFIRM };
        let token = match self.switches.token(below(100)) {
            "tok_approve" if below(100) < asked => "tok_action",
            token => token,
        };
        let body = json!({"payment_token": token});
        let mut answer = self.ask(Call::post(format!("/api/payments/{payment}/process"), body)).await?;
        if answer.body["status"] == "requires_action" {
            tokio::time::sleep(CONFIRMING).await;
            answer = self.confirmed(payment).await?;
        }
        if answer.body["status"] == "authorised" {
            answer = self.let_staff(Call::post(format!("/api/payments/{payment}/capture"), json!({}))).await?;
        }
        match answer.status {
            200 if answer.body["status"] == "completed" => {
                // The event that tells of it empties the basket.
                self.left = false;
                self.client.tally().wish(|wishes| wishes.completed += 1);
                Some(())
            }
            402 => {
                self.client.tally().wish(|wishes| wishes.declined += 1);
                None
            }
            _ => None,
        }
    }

    /// What became of a payment that was confirmed at the bank. Who closes the tab there leaves it to the bank to tell the shop, and finds
    /// in the list of his payments whether it did: nobody asks the bank for a list.
    async fn confirmed(&self, payment: &str) -> Option<Answer> {
        let comes_back = below(2) == 0;
        let mut answer = None;
        if comes_back {
            answer = Some(self.ask(Call::get(format!("/api/payments/{payment}"))).await?);
        }
        self.bank.call(payment).await;
        if let Some(answer) = answer {
            return Some(answer);
        }
        let mut list = self.ask(Call::get(format!("/api/payments?user_id={}&limit=1", self.name))).await?;
        list.body = list.body["payments"][0].take();
        Some(list)
    }

    async fn send_back(&mut self, payment: &str) -> Option<()> {
        let body =
            if below(2) == 0 { json!({"restock": true}) } else { json!({"amount": "1.00", "reason": "a scratch"}) };
        let answer = self.let_staff(Call::post(format!("/api/payments/{payment}/refund"), body)).await?;
        if answer.is_fine() {
            self.client.tally().wish(|wishes| wishes.refunded += 1);
        }
        Some(())
    }

    async fn fill_shelves(&mut self) -> Option<()> {
        let empty = |product: &Value| product["available_quantity"].as_i64().is_some_and(|free| free < FEW);
        let ids: Vec<_> =
            self.seen.iter().filter(|product| empty(product)).filter_map(|product| product["id"].as_i64()).collect();
        for id in ids {
            self.restock(id).await?;
        }
        Some(())
    }

    /// Fills a shelf, unless somebody else just did.
    async fn restock(&mut self, id: i64) -> Option<()> {
        let path = format!("/api/products/{id}");
        let Answer { body: now, etag, status: 200, .. } = self.ask(Call::get(&path)).await? else { return None };
        if now["available_quantity"].as_i64()? < FEW {
            let stock = now["stock_quantity"].as_i64()? + REFILL;
            let mut product = json!({"stock_quantity": stock});
            for field in ["name", "description", "price", "currency", "category", "image_url"] {
                product[field] = now[field].clone();
            }
            if self.let_staff(Call::put(&path, product, etag)).await?.is_fine() {
                self.client.tally().wish(|wishes| wishes.restocked += 1);
            }
        }
        for seen in self.seen.iter_mut().filter(|seen| seen["id"] == id) {
            seen["available_quantity"] = REFILL.into();
        }
        Some(())
    }

    fn any(&self) -> Option<&Value> {
        self.seen.get(below(self.seen.len()))
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/baskets/{}{rest}", self.name)
    }
}

/// A number below `count`, by chance: the last half of an id is nothing else. 0 when there is none.
fn below(count: usize) -> usize {
    let dice = SystemClock.new_id().as_u128() & u128::from(u32::MAX);
    usize::try_from(dice).unwrap_or_default().checked_rem(count).unwrap_or_default()
}
