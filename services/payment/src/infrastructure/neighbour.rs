//! Reading what neighbours send: ids, amounts and times, or a fault that names the neighbour.

use std::time::Duration;

use prost_types::Timestamp;
use shop_clock::from_millis;
use shop_fault::{Fault, Kind};
use shop_money::{Currency, Money};
use shop_proto::common::v1::Money as ProtoMoney;
use time::OffsetDateTime;
use uuid::Uuid;

/// When a neighbour that is away is worth another try.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Whatever kept the neighbour from answering, the caller can only try again later. Its refusals stay what they are.
pub(super) fn away(name: &str, cause: Fault) -> Fault {
    if !cause.kind().is_server() {
        return cause;
    }
    let detail = format!("the {name} service cannot be reached just now");
    Fault::new(Kind::Unavailable, format!("{name}_service_unavailable"), detail)
        .with_retry_after(RETRY_AFTER)
        .with_source(cause)
}

/// The basket service answered something that cannot be.
fn nonsense(what: &str) -> Fault {
    let detail = "the basket service sent an answer that cannot be read";
    Fault::new(Kind::BadGateway, "basket_failed", detail).with_source(format!("unreadable {what}"))
}

pub(super) fn id(text: &str) -> Result<Uuid, Fault> {
    Uuid::try_parse(text).map_err(|_| nonsense("id"))
}

pub(super) fn currency(code: &str) -> Result<Currency, Fault> {
    code.parse().map_err(|_| nonsense("currency"))
}

pub(super) fn money(money: Option<ProtoMoney>) -> Result<Money, Fault> {
    let money = money.ok_or_else(|| nonsense("amount"))?;
    Ok(Money::new(money.minor_units, currency(&money.currency)?))
}

pub(super) fn time(at: Option<Timestamp>) -> OffsetDateTime {
    let at = at.unwrap_or_default();
    from_millis(at.seconds.saturating_mul(1000).saturating_add(i64::from(at.nanos) / 1_000_000))
}
