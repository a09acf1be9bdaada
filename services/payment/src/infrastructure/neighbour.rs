//! Reading what neighbours send: ids, amounts and times, or a fault that names the neighbour.

use prost_types::Timestamp;
use shop_fault::{Fault, Kind};
use shop_money::{Currency, Money};
use shop_proto::common::v1::Money as ProtoMoney;
use time::OffsetDateTime;
use uuid::Uuid;

/// Whatever kept the neighbour from answering, the caller can only try again later. Its refusals stay what they are.
pub(super) fn away(name: &str, cause: Fault) -> Fault {
    if cause.kind().is_server() { shop_rpc::away(name, cause) } else { cause }
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
    money.try_into().map_err(|_| nonsense("currency"))
}

pub(super) fn time(at: Option<Timestamp>) -> OffsetDateTime {
    shop_proto::time(at.unwrap_or_default())
}
