//! Every book has to agree with every other.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;
use shop_testing::{Api, eventually};
use sqlx::{Connection as _, Executor as _};
use uuid::Uuid;

use super::shoppers::Told;
use super::{BUYERS, PATIENCE, Region, STOCK};
use crate::buyers::cents;

impl Region {
    /// Nothing is left over that was not handed to the bus, at either payment service.
    async fn outboxes_are_empty(&self) -> Result<(), String> {
        for replica in self.replicas.iter().filter(|replica| replica.name.starts_with("payment")) {
            let api = Api::new(replica.at(0));
            let text =
                api.try_send(api.request(Method::GET, "/metrics")).await.map_err(|error| error.to_string())?.text;
            let line = text.lines().find(|line| line.starts_with("payment_outbox_pending")).unwrap_or("no such metric");
            if !line.ends_with(" 0") {
                return Err(line.to_owned());
            }
        }
        Ok(())
    }

    /// All entries of a list, page by page.
    async fn all(&self, path: &str, member: &str) -> Vec<Value> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            // The last fault may have left a breaker open.
            let page = eventually!(within PATIENCE, {
                let (status, page) = self.doors[0].get(&format!("{path}{cursor}")).await;
                if status == 200 { Ok(page) } else { Err(page) }
            });
            all.extend(page[member].as_array().expect("a list").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }
}

/// Every book agrees with every other, and with what buyers were told.
#[expect(clippy::print_stderr, reason = "the figures are for whoever reads the run")]
pub(super) async fn agree(region: &Region, product: i64, told: &Told) {
    let (asked, completed) =
        (told.payments.lock().expect("no panic").clone(), told.completed.lock().expect("no panic").clone());
    assert!(completed.len() > BUYERS, "people bought: {completed:?}");
    eventually!(within PATIENCE, region.outboxes_are_empty().await);
    let settled = |payment: &Value| !matches!(payment["status"].as_str(), Some("pending" | "processing"));
    let payments = eventually!(within PATIENCE, {
        let payments = region.all("/payments?limit=100", "payments").await;
        let open = payments.iter().find(|payment| !settled(payment)).cloned();
        open.map_or(Ok(payments), |payment| Err(format!("{payment}")))
    });
    let id = |payment: &Value| payment["id"].as_str().expect("an id").to_owned();
    let known: BTreeSet<_> = payments.iter().map(id).collect();
    assert_eq!((payments.len(), &known), (asked.len(), &asked), "one payment for each that was asked for");
    let paid: Vec<_> = payments.iter().filter(|payment| payment["status"] == "completed").collect();
    let paid_ids: BTreeSet<_> = paid.iter().map(|payment| id(payment)).collect();
    let lost: Vec<_> = completed.difference(&paid_ids).collect();
    assert!(lost.is_empty(), "buyers were told that these are paid: {lost:?}");

    let mut books = sqlx::MySqlConnection::connect(&region.stores.books().await).await.expect("opens the books");
    // A node of Galera may have been told of the last ones, and not have written them down.
    books.execute("SET SESSION wsrep_sync_wait = 1").await.expect("waits for what it was told");
    let sql = "SELECT charge_key FROM sandbox_charges WHERE outcome = 'approved'";
    let charges: Vec<Uuid> = sqlx::query_scalar(sql).fetch_all(&mut books).await.expect("reads the charges");
    let approved: BTreeSet<_> = charges.iter().map(Uuid::to_string).collect();
    assert_eq!((charges.len(), &approved), (paid.len(), &paid_ids), "a charge for each payment, and no other");

    let units = |payment: &&Value| {
        payment["items"].as_array().expect("items").iter().filter_map(|item| item["quantity"].as_i64()).sum::<i64>()
    };
    let sold: i64 = paid.iter().map(units).sum();
    assert_eq!(paid.iter().map(|payment| cents(&payment["amount"])).sum::<i64>(), 1250 * sold);
    eventually!(within PATIENCE, {
        let (_, now) = region.doors[0].get(&format!("/products/{product}")).await;
        let left = STOCK - sold;
        let is_settled = now["units_sold"] == sold && now["stock_quantity"] == left && now["available_quantity"] == left;
        if is_settled { Ok(()) } else { Err(format!("{sold} were sold, but {now}")) }
    });
    eventually!(within PATIENCE, {
        let notices = region.all("/notifications?channel=log&limit=100", "notifications").await;
        let mut told: Vec<_> = notices.iter().filter(|one| one["event_type"] == "payment.completed").map(|one| one["payment_id"].as_str().unwrap_or_default().to_owned()).collect();
        told.sort_unstable();
        if told.iter().eq(&paid_ids) { Ok(()) } else { Err(format!("{} were told of {} payments", told.len(), paid_ids.len())) }
    });
    let payment = region.replicas.iter().find(|replica| replica.name.starts_with("payment")).expect("is there");
    let output = payment.process.beside(&["reconcile", "--json", "--wait", "2s"]).run();
    let drift = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{drift}");
    eprintln!(
        "region: no drift: {} payments, {} charges, {sold} units sold, {} notices; reconcile says {}",
        payments.len(),
        charges.len(),
        paid_ids.len(),
        drift.trim()
    );
}
