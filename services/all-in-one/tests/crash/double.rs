//! Kills the shop at each point of a payment that Stripe takes, for each thing that Stripe may say: nobody is charged twice, and
//! what was taken is known to its payment.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use shop_testing::stripe::Webhooks;
use shop_testing::{Api, Process, Stripe, eventually, free_port};
use tempfile::TempDir;

use crate::buyers::{cents, insist};
use crate::world::IMPATIENT;

const SECRET: &str = "whsec_abcdefghijklmnop";
/// What one thing costs, in cents.
const PRICE: i64 = 1250;

/// What becomes of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    Paid,
    Refused,
    /// The first card is refused, the second is taken.
    PaidWithAnother,
    /// The buyer's bank asks him, and he says yes.
    Confirmed,
    Captured,
    LetGo,
    /// The money comes in some days.
    PaidLate,
    /// It does not.
    NeverPaid,
    PaidBack,
}

/// A shop that sells by Stripe, in a process of its own.
struct Shop {
    process: Process,
    port: u16,
    product: Api,
    basket: Api,
    payment: Api,
    stripe: Stripe,
    _data: TempDir,
}

impl Shop {
    async fn open() -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let stripe = Stripe::start().await;
        let ports = [(); 6].map(|()| free_port());
        let mut process = Process::new("shop")
            .env("IDENTITY_MODE", "off")
            .env("SHOP_DATA", data.path().display().to_string())
            .env("SHOP_DEMO", "false")
            .env("SHOP_GATEWAY__HTTP__PORT", "0")
            .env("ADMIN_PORT", "0")
            .env("SHOP_NOTIFICATION__HTTP__PORT", "0")
            .env("SHOP_NOTIFICATION__GRPC__PORT", "0")
            .env("STRIPE_SECRET_KEY", shop_testing::stripe::KEY)
            .env("STRIPE_WEBHOOK_SECRETS", SECRET)
            .env("STRIPE_RETURN_URL", "https://shop.example/paid/{payment}")
            .env("STRIPE_BASE_URL", stripe.url());
        for (name, value) in IMPATIENT {
            process.set(&format!("SHOP_PAYMENT__{name}"), value);
        }
        for (index, service) in ["PRODUCT", "BASKET", "PAYMENT"].into_iter().enumerate() {
            process.set(&format!("SHOP_{service}__HTTP__PORT"), ports[2 * index].to_string());
            process.set(&format!("SHOP_{service}__GRPC__PORT"), ports[2 * index + 1].to_string());
        }
        let port = ports[4];
        process.start(port).await;
        let [product, basket, payment] =
            [ports[0], ports[2], port].map(|port| Api::new(format_args!("127.0.0.1:{port}")));
        stripe.send_webhooks(Webhooks::AtOnce(payment.url("/webhooks/stripe"), SECRET.to_owned()));
        Self { process, port, product, basket, payment, stripe, _data: data }
    }

    /// Starts it once more, to die at that point.
    async fn start_to_die(&mut self, point: &str) {
        self.process.kill();
        self.process.set("SHOP_CRASH_AT", point);
        self.process.start(self.port).await;
        self.process.unset("SHOP_CRASH_AT");
    }

    /// One buyer's payment, over which the shop dies and comes back.
    async fn survives(&mut self, story: Story, point: &str) {
        let user = format!("{story:?}-{}", point.replace(['.', ':'], "-")).to_lowercase();
        self.fill_the_basket(&user).await;
        self.start_to_die(point).await;
        let (basket, payment, stripe, port) = (self.basket.clone(), self.payment.clone(), &self.stripe, self.port);
        let teller = Teller { user: &user, payment: &payment, stripe };
        let mut told = std::pin::pin!(teller.tell(story));
        let (mut deaths, process) = (0, &mut self.process);
        let id = loop {
            tokio::select! {
                biased;
                id = &mut told => break id,
                () = died(process) => {}
            }
            deaths += 1;
            process.start(port).await;
        };
        // The last points come after the last answer.
        if deaths == 0 {
            process.wait().await;
            deaths += 1;
            process.start(port).await;
        }
        assert_eq!(deaths, 1, "{point} was not reached once by {story:?}");
        self.books_agree(story, point, &id).await;
        let left = basket.get(&format!("/baskets/{user}")).await;
        assert_eq!(left.0, 200, "{left:?}");
    }

    async fn fill_the_basket(&self, user: &str) {
        let body = json!({"name": "Anvil", "price": "12.50", "stock_quantity": 1, "category": "smithy"});
        let (status, made) = self.product.post("/products", &body).await;
        assert_eq!(status, 201, "{made}");
        let line = json!({"product_id": made["id"], "quantity": 1});
        assert_eq!(self.basket.post(&format!("/baskets/{user}/items"), &line).await.0, 200);
    }

    /// Once the payment has come to its end, both books say the same.
    async fn books_agree(&self, story: Story, point: &str, id: &str) {
        let (known, taken) = eventually!(within Duration::from_mins(1), {
            let known = self.payment.get(&format!("/payments/{id}")).await.1;
            let taken = self.stripe.taken(id);
            let booked = (cents(&known["captured_amount"]), cents(&known["refunded_amount"]));
            let is_over = !matches!(known["status"].as_str(), Some("processing" | "requires_action" | "authorised"));
            let agrees = booked == (taken, self.stripe.refunded(id)) && self.stripe.authorised(id) == 0;
            if is_over && agrees { Ok((known, taken)) } else { Err(format!("{story:?} at {point}: {taken}: {known}")) }
        });
        let intents = self.stripe.intents_of(id).len();
        assert!(self.stripe.charges(id) <= 1 && intents <= 1, "{story:?} at {point}: {intents} intents");
        assert!([0, PRICE].contains(&taken), "{story:?} at {point}: {taken}");
        let may_be_paid = !matches!(story, Story::Refused | Story::LetGo | Story::NeverPaid);
        assert!(may_be_paid || taken == 0, "{story:?} at {point}: {known}");
    }
}

async fn died(process: &mut Process) {
    eventually!(within Duration::from_mins(10), process.exited().is_some());
    process.kill();
}

/// A buyer, or whoever acts for him, who repeats every call until it is answered.
struct Teller<'a> {
    user: &'a str,
    payment: &'a Api,
    stripe: &'a Stripe,
}

impl Teller<'_> {
    /// Plays the story and answers the payment's id.
    async fn tell(&self, story: Story) -> String {
        let capture = if matches!(story, Story::Captured | Story::LetGo) { "manual" } else { "automatic" };
        let order = json!({"user_id": self.user, "method": "credit_card", "capture": capture});
        let made = insist(self.payment, "/payments", &format!("{}-order", self.user), &order).await;
        assert_eq!(made.status, 201, "{made:?}");
        let id = made.json()["id"].as_str().expect("an id").to_owned();
        match story {
            Story::Paid => self.pay(&id, "pm_card_visa").await,
            Story::Refused => self.pay(&id, "pm_card_visa_chargeDeclinedLostCard").await,
            Story::PaidWithAnother => {
                self.pay(&id, "pm_card_visa_chargeDeclinedInsufficientFunds").await;
                self.pay(&id, "pm_card_visa").await;
            }
            Story::Confirmed => {
                self.pay(&id, "pm_card_threeDSecure2Required").await;
                self.go_on(&id, "requires_action", |intent| self.stripe.authenticate(intent, true)).await;
            }
            Story::Captured | Story::LetGo => {
                self.pay(&id, "pm_card_visa").await;
                self.settled(&id).await;
                self.call(&id, if story == Story::Captured { "capture" } else { "cancel" }, &json!({})).await;
            }
            Story::PaidLate | Story::NeverPaid => {
                self.pay(&id, "ctoken_sepaDebit").await;
                self.go_on(&id, "processing", |intent| self.stripe.settle(intent, story == Story::PaidLate)).await;
            }
            Story::PaidBack => {
                self.pay(&id, "pm_card_visa").await;
                self.settled(&id).await;
                self.call(&id, "refund", &json!({"amount": "5.00"})).await;
            }
        }
        id
    }

    async fn pay(&self, id: &str, method: &str) {
        self.call(id, "process", &json!({"payment_token": method})).await;
    }

    async fn call(&self, id: &str, what: &str, body: &Value) {
        let key = format!("{}-{what}-{}", self.user, body["payment_token"].as_str().unwrap_or_default());
        insist(self.payment, &format!("/payments/{id}/{what}"), &key, body).await;
    }

    /// When nobody has it in hand any more.
    async fn settled(&self, id: &str) {
        eventually!(within Duration::from_mins(1), {
            let request = self.payment.request(Method::GET, &format!("/payments/{id}"));
            match self.payment.try_send(request).await {
                Ok(reply) if reply.status == 200 && reply.json()["status"] != "processing" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    /// At the provider it goes on, where it waits there.
    async fn go_on(&self, id: &str, status: &str, act: impl Fn(&str)) {
        let intents = self.stripe.intents_of(id);
        let waiting = intents.iter().find(|intent| intent["status"] == status);
        if let Some(intent) = waiting.and_then(|intent| intent["id"].as_str()) {
            act(intent);
        }
        self.settled(id).await;
    }
}

/// Each story with the points it comes by; the number says which time.
macro_rules! survives {
    ($($test:ident: $story:ident at $($point:literal)+;)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let mut shop = Shop::open().await;
            for point in [$($point),+] {
                shop.survives(Story::$story, point).await;
            }
            assert!(shop.process.stop().await.success());
        })+
    };
}

survives! {
    a_payment_is_taken_once: Paid at
        "create.after_insert" "create.after_reserve" "process.after_reserve" "process.after_open" "process.before_commit1"
        "process.after_processing" "process.after_charge" "process.before_commit2" "process.after_commit2";
    a_refused_one_is_not_taken: Refused at
        "process.after_open" "process.before_commit1" "process.after_processing" "process.after_charge" "process.after_commit2";
    another_card_is_charged_once: PaidWithAnother at
        "process.after_processing" "process.after_charge" "process.after_commit2" "process.after_processing:2"
        "process.after_charge:2" "process.before_commit2";
    what_the_buyer_confirms_is_taken_once: Confirmed at
        "process.after_charge" "process.before_commit2" "process.after_commit2" "action.before_commit";
    what_is_authorised_is_captured_once: Captured at
        "process.after_charge" "process.before_commit2" "process.after_commit2" "capture.before_commit"
        "capture.after_request" "capture.after_capture" "capture.after_settle";
    what_is_let_go_is_not_taken: LetGo at
        "process.after_charge" "cancel.after_commit" "cancel.after_void";
    what_comes_late_is_taken_once: PaidLate at
        "process.after_processing" "process.after_charge" "process.after_commit2" "process.before_commit2";
    what_never_comes_is_not_booked: NeverPaid at
        "process.after_processing" "process.after_charge" "process.after_commit2";
    a_refund_is_made_once: PaidBack at
        "refund.before_commit" "refund.after_request" "refund.after_payback" "refund.after_settle";
}
