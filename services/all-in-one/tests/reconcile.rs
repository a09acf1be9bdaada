//! Books that do not agree: `shop reconcile` says so and mends them, whatever minutes the stores were restored from.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use shop_testing::{Api, Process, Program, backend, eventually, free_port};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

/// Where a shop keeps things, and how it is started there.
struct Place {
    data: PathBuf,
    env: Vec<(String, String)>,
}

/// A shop that serves.
struct Serving {
    process: Process,
    api: Api,
}

impl Place {
    fn at(data: &Path) -> Self {
        let env = [("IDENTITY_MODE", "off"), ("SHOP_DEMO", "false"), ("SHOP_GATEWAY__RATE_LIMIT__ENABLED", "false")];
        Self { data: data.to_owned(), env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec() }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    async fn serve(&self) -> Serving {
        let mut process =
            Process::new("shop").env("SHOP_DATA", self.data.display().to_string()).env("LOG_LEVEL", "warn");
        let gateway = free_port();
        process.set("SHOP_GATEWAY__HTTP__PORT", gateway.to_string());
        process.set("ADMIN_PORT", "0");
        for section in ["PRODUCT", "BASKET", "PAYMENT", "NOTIFICATION"] {
            process.set(&format!("SHOP_{section}__HTTP__PORT"), "0");
            process.set(&format!("SHOP_{section}__GRPC__PORT"), "0");
        }
        for (name, value) in &self.env {
            process.set(name, value.clone());
        }
        process.start(gateway).await;
        Serving { process, api: Api::new(format_args!("127.0.0.1:{gateway}")) }
    }

    /// `shop reconcile`: its exit code and what it says.
    fn reconcile(&self, flags: &[&str]) -> (i32, Value) {
        let program = Program::new(env!("CARGO_BIN_EXE_shop")).args(["reconcile", "--json"]).args(flags);
        let program = self.env.iter().fold(program, |program, (name, value)| program.env(name, value));
        let output = program.env("SHOP_DATA", &self.data).env("LOG_LEVEL", "warn").run();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let said = serde_json::from_str(&out).unwrap_or_else(|_| panic!("no JSON: {out} {err}"));
        (output.status.code().expect("an exit code"), said)
    }

    /// Finds something, mends it, and finds nothing any more.
    fn heals(&self, what: &str) -> Value {
        let (code, found) = self.reconcile(&["--wait", "10ms"]);
        assert_eq!(code, 1, "{what}: {found:#}");
        let (code, mended) = self.reconcile(&["--repair", "--wait", "10ms"]);
        assert_eq!((code, &mended["left"]), (0, &json!(0)), "{what}: {mended:#}");
        let (code, again) = self.reconcile(&["--wait", "10ms"]);
        assert_eq!((code, &again["drifts"], &again["stock"]), (0, &json!([]), &json!([])), "{what}: {again:#}");
        found
    }
}

impl Serving {
    async fn product(&self, name: &str, stock: u32) -> i64 {
        let body = json!({"name": name, "price": 10, "stock_quantity": stock, "category": "tests"});
        let (status, made) = self.api.post("/api/products", &body).await;
        assert_eq!(status, 201, "{made}");
        made["id"].as_i64().expect("an id")
    }

    async fn stock(&self, product: i64) -> (i64, i64) {
        let (status, found) = self.api.get(&format!("/api/products/{product}")).await;
        assert_eq!(status, 200, "{found}");
        let number = |member: &str| found[member].as_i64().expect("a number");
        (number("stock_quantity"), number("available_quantity"))
    }

    /// A pending payment of two units, and what becomes of it.
    async fn buy(&self, user: &str, product: i64, then: &[(&str, Value)]) -> String {
        let item = json!({"product_id": product, "quantity": 2});
        let (status, basket) = self.api.post(&format!("/api/baskets/{user}/items"), &item).await;
        assert_eq!(status, 200, "{basket}");
        let asked = json!({"user_id": user, "method": "credit_card"});
        let (status, payment) = self.api.post("/api/payments", &asked).await;
        assert_eq!(status, 201, "{payment}");
        let id = payment["id"].as_str().expect("an id").to_owned();
        self.go_on(&id, then).await;
        id
    }

    async fn go_on(&self, payment: &str, then: &[(&str, Value)]) {
        for (step, body) in then {
            let (status, said) = self.api.post(&format!("/api/payments/{payment}/{step}"), body).await;
            assert!([200, 402].contains(&status), "{said}");
        }
    }

    /// Until every event has taken effect.
    async fn settles(&self, product: i64, stock: (i64, i64)) {
        eventually!(within std::time::Duration::from_secs(30), self.stock(product).await == stock);
    }
}

/// A copy of a store that is in use.
async fn copy(from: &Path, to: &Path) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(from);
    let mut store = SqliteConnection::connect_with(&options).await.expect("opens");
    store.execute(AssertSqlSafe(format!("VACUUM INTO '{}'", to.display()))).await.expect("copies");
}

/// Copies of both stores at one moment.
async fn copies(place: &Place, to: &Path) {
    std::fs::create_dir(to).expect("a folder");
    for store in ["payment.db", "product.db"] {
        copy(&place.data.join(store), &to.join(store)).await;
    }
}

fn pay() -> (&'static str, Value) {
    ("process", json!({"payment_token": "tok_approve"}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_restored_from_different_minutes_agree_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place::at(&folder.path().join("data"));
    let mut shop = place.serve().await;
    let product = shop.product("desk", 40).await;
    let back = ("refund", json!({"restock": true}));
    // Something of every kind, early and late; and what moves on between the two minutes.
    shop.buy("sold-early", product, &[pay()]).await;
    shop.buy("returned-early", product, &[pay(), back.clone()]).await;
    shop.buy("declined-early", product, &[("process", json!({"payment_token": "tok_decline"}))]).await;
    let [paid, cancelled, kept, returned] = ["paid", "cancelled", "kept", "returned"];
    let (paid, cancelled) = (shop.buy(paid, product, &[]).await, shop.buy(cancelled, product, &[]).await);
    let (_kept, returned) = (shop.buy(kept, product, &[]).await, shop.buy(returned, product, &[pay()]).await);
    shop.settles(product, (36, 30)).await;
    copies(&place, &folder.path().join("early")).await;
    shop.go_on(&paid, &[pay()]).await;
    shop.go_on(&cancelled, &[("cancel", json!({}))]).await;
    shop.go_on(&returned, &[back]).await;
    shop.buy("sold-late", product, &[pay()]).await;
    shop.buy("pending-late", product, &[]).await;
    shop.settles(product, (34, 30)).await;
    copies(&place, &folder.path().join("late")).await;
    assert_eq!(place.reconcile(&[]).0, 0, "all agrees, beside a shop that serves");
    assert_eq!(shop.api.delete("/api/users/sold-early/data").await.0, 204);
    assert_eq!(place.reconcile(&[]).0, 0, "who bought is forgotten, and what he bought is not");
    assert!(shop.process.stop().await.success());
    assert_eq!(place.reconcile(&[]).0, 0, "and beside none");

    for (payment, stock) in [("early", "late"), ("late", "early")] {
        let data = folder.path().join(format!("{payment}-{stock}"));
        std::fs::create_dir(&data).expect("a folder");
        for (store, minute) in [("payment.db", payment), ("product.db", stock)] {
            std::fs::copy(folder.path().join(minute).join(store), data.join(store)).expect("copies");
        }
        let place = Place::at(&data);
        let found = place.heals(&format!("payment {payment}, product {stock}"));
        assert!(found["drifts"].as_array().is_some_and(|drifts| drifts.len() >= 4), "{found:#}");
        // What the events that wait in the outbox say is so already, and nothing of it is buried.
        let mut shop = place.serve().await;
        // What is pending and not held is held when it is charged.
        let expected = if payment == "early" { (36, 32) } else { (34, 32) };
        shop.settles(product, expected).await;
        shop.buy("afterwards", product, &[pay()]).await;
        shop.settles(product, (expected.0 - 2, expected.1 - 2)).await;
        assert_eq!(place.reconcile(&["--wait", "3s"]).0, 0);
        assert!(shop.process.stop().await.success());
        assert!(!data.join("dead-letters/stock-events.dlq.jsonl").exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shelf_that_was_changed_by_hand_is_told_and_mended() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place::at(&folder.path().join("data"));
    let mut shop = place.serve().await;
    let product = shop.product("lamp", 10).await;
    shop.buy("ada", product, &[]).await;
    assert!(shop.process.stop().await.success());
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(place.data.join("product.db"));
    let mut store = SqliteConnection::connect_with(&options).await.expect("opens");
    store.execute("UPDATE products SET reserved_quantity = 9").await.expect("is wrong now");
    store.execute("DELETE FROM stock_movements WHERE kind = 'reservation'").await.expect("is wrong, too");
    store.close().await.expect("closes");
    let found = place.heals("by hand");
    assert_eq!((&found["stock"][0]["says"], &found["stock"][0]["booked"]), (&json!(9), &json!(2)), "{found:#}");
    let mut shop = place.serve().await;
    assert_eq!(shop.stock(product).await, (10, 8));
    assert!(shop.process.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_shop_on_the_machine_has_no_say_in_whose_units_are_held() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let other = Place::at(&folder.path().join("other")).with("SHOP_PAYMENT__GRPC__PORT", port.to_string());
    let mut other = other.serve().await;
    let place = Place::at(&folder.path().join("data"))
        .with("SHOP_PRODUCT__SETTLEMENT__AFTER", "1ms")
        .with("SHOP_PRODUCT__SETTLEMENT__INTERVAL", "10ms");
    let mut shop = place.serve().await;
    let product = shop.product("desk", 10).await;
    shop.buy("ada", product, &[]).await;
    assert!(shop.process.stop().await.success());
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(place.data.join("product.db"));
    let mut store = SqliteConnection::connect_with(&options).await.expect("opens");
    store.execute("UPDATE reservation_lines SET quantity = 1").await.expect("is wrong now, so that there is a wait");
    // It knows of no payment of ours, and would have all of it freed.
    let place = place.with("SHOP_PRODUCT__PAYMENT__URL", format!("127.0.0.1:{port}"));
    assert_eq!(place.reconcile(&["--wait", "1s"]).0, 1);
    let state: (String,) =
        sqlx::query_as("SELECT state FROM reservation_lines").fetch_one(&mut store).await.expect("reads");
    assert_eq!(state.0, "held");
    assert!(other.process.stop().await.success());
}

#[test]
fn a_shop_at_home_agrees_and_a_store_that_is_away_is_no_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let shop =
        || Program::new(env!("CARGO_BIN_EXE_shop")).env("SHOP_DATA", folder.path().join("data")).arg("reconcile");
    // With a key of its own, since nobody said that anybody may call.
    let output = shop().run();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), "0 payments and 0 reservations agree\n"), "{output:?}");
    let away = shop().env("PAYMENT_DATABASE_URL", "mysql://shop@127.0.0.1:1/shop");
    let output = away.env("SHOP_PAYMENT__DATABASE__STARTUP_TIMEOUT", "100ms").run();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let help = shop().arg("--help").run();
    let said = String::from_utf8_lossy(&help.stdout).into_owned();
    for word in ["--repair", "--json", "--days", "--wait", "Exit codes"] {
        assert!(said.contains(word), "{word} in {said}");
    }
}

/// `pg_dump` of one database, and `psql` of it into another.
fn restored(from: &str, into: &str, minute: &Path) {
    let ran = |program: Program| {
        let output = program.run();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let file = minute.display().to_string();
    ran(Program::new("pg_dump").args(["--no-owner", "--file", &file, from]));
    ran(Program::new("psql").args(["--quiet", "--set", "ON_ERROR_STOP=1", "--file", &file, into]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalogue_restored_from_an_earlier_dump_sells_nothing_twice() {
    let (Some(before), Some(after), Some(payments)) =
        (backend::postgres().await, backend::postgres().await, backend::mariadb().await)
    else {
        return;
    };
    if Program::new("sh").args(["-c", "command -v pg_dump"]).run().stdout.is_empty() {
        return eprintln!("SKIPPED: there is no pg_dump");
    }
    let folder: TempDir = tempfile::tempdir().expect("a folder");
    let place = |product: String| {
        let place = Place::at(&folder.path().join("data")).with("PRODUCT_DATABASE_URL", product);
        let place = place.with("SHOP_PAYMENT__PROVIDER__SANDBOX", "true".to_owned());
        place.with("PAYMENT_DATABASE_URL", payments.url())
    };
    let mut shop = place(before.url()).serve().await;
    let product = shop.product("desk", 20).await;
    let paid = shop.buy("paid", product, &[]).await;
    shop.buy("sold", product, &[pay()]).await;
    shop.settles(product, (18, 16)).await;
    restored(&before.url(), &after.url(), &folder.path().join("early.sql"));
    shop.go_on(&paid, &[pay()]).await;
    shop.buy("late", product, &[pay()]).await;
    shop.settles(product, (14, 14)).await;
    assert!(shop.process.stop().await.success());
    assert_eq!(place(before.url()).reconcile(&[]).0, 0);

    place(after.url()).heals("an earlier dump");
    let mut connection = PgConnection::connect(&after.url()).await.expect("connects");
    let stock: (i64, i64) = sqlx::query_as("SELECT stock_quantity, reserved_quantity FROM products WHERE id = $1")
        .bind(product)
        .fetch_one(&mut connection)
        .await
        .expect("reads");
    assert_eq!(stock, (14, 0));
}
