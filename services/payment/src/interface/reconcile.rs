//! What `reconcile` is told and what it says: a table for people, JSON for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::application::{Drift, Report};
use crate::domain::{Kept, Status};

/// What its help ends with.
const AFTER: &str = "\
Payments and reservations of the last days are compared, and whatever is still held. What differs is looked at again after a \
while, so that what is on its way does not count: it can be run beside running services.

With --repair the payments' word is carried out: reservations are sold, given back or taken back, and a sale that the stock \
does not cover is entered all the same, with the units that lack. Where a product's own numbers do not agree, what is held is \
what is reserved.

Exit codes: 0 when all agrees or was mended, 1 when something differs, 2 when settings or arguments are wrong, 3 when the \
comparison could not be made.";

/// Compares payments with the reservations and the stock that product keeps, and says what does not agree
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = AFTER)]
pub struct ReconcileFlags {
    /// Mends what differs, and says what it did
    #[arg(long)]
    pub repair: bool,

    /// Prints JSON and not a table
    #[arg(long)]
    pub json: bool,

    /// How far back settled payments and reservations are compared
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub days: u16,

    /// After how long what differs is looked at again, such as 5s
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub wait: shop_config::Duration,
}

impl ReconcileFlags {
    pub(crate) fn since(&self) -> Duration {
        Duration::from_hours(24 * u64::from(self.days))
    }

    /// What was found, as it was asked for.
    pub(crate) fn render(&self, report: &Report) -> String {
        if self.json { format!("{:#}\n", json(report, self.repair)) } else { table(report, self.repair) }
    }
}

fn json(report: &Report, mended: bool) -> Value {
    let line = |line: &Kept| {
        json!({ "product_id": line.product_id, "quantity": line.quantity, "state": line.state.as_str(),
                "restocked": line.restocked })
    };
    let lines = |lines: &[Kept]| lines.iter().map(line).collect::<Vec<_>>();
    let drift = |drift: &Drift| {
        let short = drift.short.iter().map(|line| json!({ "product_id": line.product_id, "quantity": line.quantity }));
        json!({ "reservation_id": drift.reservation, "payment": drift.payment.map(Status::as_str),
                "found": lines(&drift.found), "expected": lines(&drift.expected), "mended": drift.mended,
                "short": short.collect::<Vec<_>>() })
    };
    let stock = report.miscounts.iter().map(|number| {
        json!({ "product_id": number.product_id, "number": number.number, "says": number.says, "booked": number.booked,
                "mended": mended })
    });
    json!({ "payments": report.payments, "reservations": report.reservations, "left": report.left,
            "drifts": report.drifts.iter().map(drift).collect::<Vec<_>>(), "stock": stock.collect::<Vec<_>>() })
}

/// Writing to a String cannot fail.
fn table(report: &Report, mended: bool) -> String {
    let mut out = String::new();
    if !report.drifts.is_empty() {
        let _ =
            writeln!(out, "{:<38}{:<20}{:<32}{:<32}DONE", "RESERVATION", "PAYMENT", "THE SHELF HAS", "IT SHOULD HAVE");
    }
    for drift in &report.drifts {
        let payment = drift.payment.map_or("none", Status::as_str);
        let (found, expected) = (words(&drift.found), words(&drift.expected));
        let mut done = if drift.mended { "mended" } else { "-" }.to_owned();
        for line in &drift.short {
            let _ = write!(done, "; {} of product {} sold and not there", line.quantity, line.product_id);
        }
        let _ = writeln!(out, "{:<38}{payment:<20}{found:<32}{expected:<32}{done}", drift.reservation.to_string());
    }
    if !report.miscounts.is_empty() {
        let _ = writeln!(out, "{:<12}{:<46}{:>10}{:>10}  DONE", "PRODUCT", "NUMBER, AGAINST", "SAYS", "BOOKED");
    }
    for number in &report.miscounts {
        let done = if mended { "mended" } else { "-" };
        let (product, says, booked) = (number.product_id, number.says, number.booked);
        let _ = writeln!(out, "{product:<12}{:<46}{says:>10}{booked:>10}  {done}", number.number);
    }
    let (found, compared) = (report.drifts.len() + report.miscounts.len(), report.reservations);
    let _ = match found {
        0 => {
            let (payments, reservations) = (count(report.payments, "payment"), count(compared, "reservation"));
            writeln!(out, "{payments} and {reservations} agree")
        }
        _ if mended => writeln!(out, "{found} differed; {} still so", report.left),
        1 => writeln!(out, "1 differs; --repair mends it"),
        _ => writeln!(out, "{found} differ; --repair mends them"),
    };
    out
}

/// Such as `1 payment` and `2 payments`.
fn count(number: u64, of: &str) -> String {
    if number == 1 { format!("1 {of}") } else { format!("{number} {of}s") }
}

/// Such as `held 2 of 7, sold 1 of 9`: units and products.
fn words(lines: &[Kept]) -> String {
    let word = |line: &Kept| match line.restocked {
        0 => format!("{} {} of {}", line.state.as_str(), line.quantity, line.product_id),
        back => format!("{} {} of {}, {back} back", line.state.as_str(), line.quantity, line.product_id),
    };
    if lines.is_empty() { "nothing".to_owned() } else { lines.iter().map(word).collect::<Vec<_>>().join(", ") }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::{Line, LineState, Miscount};

    #[test]
    fn a_person_reads_what_differs_and_what_was_done() {
        let flags = |repair, json| ReconcileFlags { repair, json, days: 30, wait: shop_config::Duration::secs(5) };
        let line = |state| Kept { product_id: 7, quantity: 2, state, restocked: 0 };
        let drift = Drift {
            reservation: Uuid::from_u128(1),
            payment: Some(Status::Completed),
            found: vec![line(LineState::Held)],
            expected: vec![line(LineState::Sold)],
            mended: false,
            short: vec![],
        };
        let lost =
            Drift { found: vec![], mended: true, short: vec![Line { product_id: 7, quantity: 1 }], ..drift.clone() };
        let miscount =
            Miscount { product_id: 7, number: "reserved_quantity, lines held".to_owned(), says: 3, booked: 2 };
        let report =
            Report { payments: 5, reservations: 4, drifts: vec![drift, lost], miscounts: vec![miscount], left: 3 };
        insta::assert_snapshot!(flags(false, false).render(&report), @"
        RESERVATION                           PAYMENT             THE SHELF HAS                   IT SHOULD HAVE                  DONE
        00000000-0000-0000-0000-000000000001  completed           held 2 of 7                     sold 2 of 7                     -
        00000000-0000-0000-0000-000000000001  completed           nothing                         sold 2 of 7                     mended; 1 of product 7 sold and not there
        PRODUCT     NUMBER, AGAINST                                     SAYS    BOOKED  DONE
        7           reserved_quantity, lines held                          3         2  -
        3 differ; --repair mends them
        ");
        let mended = flags(true, false).render(&Report { drifts: vec![], left: 0, ..report.clone() });
        insta::assert_snapshot!(mended, @"
        PRODUCT     NUMBER, AGAINST                                     SAYS    BOOKED  DONE
        7           reserved_quantity, lines held                          3         2  mended
        1 differed; 0 still so
        ");
        let nothing = Report { payments: 5, reservations: 4, ..Report::default() };
        assert_eq!(flags(false, false).render(&nothing), "5 payments and 4 reservations agree\n");
        let one = Report { payments: 1, reservations: 1, ..Report::default() };
        assert_eq!(flags(false, false).render(&one), "1 payment and 1 reservation agree\n");
        let single = flags(false, false).render(&Report { drifts: vec![], ..report.clone() });
        assert!(single.ends_with("1 differs; --repair mends it\n"), "{single}");
        let json: Value = serde_json::from_str(&flags(false, true).render(&report)).expect("is JSON");
        assert_eq!((&json["left"], &json["drifts"][0]["expected"][0]["state"]), (&json!(3), &json!("sold")));
    }
}
