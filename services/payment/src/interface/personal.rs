//! What the shop knows of a person, as one JSON document that is written as it is read.

use futures_util::{Stream, stream};
use salvo::oapi::schema::AdditionalProperties;
use salvo::oapi::{Object, ToSchema};
use serde::Serialize;
use shop_fault::Fault;
use shop_telemetry::context;
use shop_web::{describe, schema};

use super::view::{ItemView, PaymentView};
use crate::application::Dossier;
use crate::domain::BasketRecord;

describe! {
    Preferences = open("As `GET /users/{user_id}/notification-preferences` answers") => "KeptPreferences";
    Record = open("As in `GET /notifications`, with the address in full and the event that it tells of") => "KeptNotification";
}

/// An object whose members another service says.
fn open(description: &str) -> Object {
    Object::new().additional_properties(AdditionalProperties::FreeForm(true)).description(description)
}

/// What the shop knows of a person.
#[derive(ToSchema)]
#[salvo(schema(name = "UserData"))]
#[expect(dead_code, reason = "the document is written in pieces; this says what they come to")]
pub(super) struct UserData {
    /// Who.
    user_id: schema::UserId,
    /// When he asked.
    exported_at: describe::Time,
    /// What he means to buy; null when he has no basket.
    basket: Option<BasketView>,
    /// What he wants to be told; null where nobody is told anything.
    notification_preferences: Option<Preferences>,
    /// What he paid, or did not, the newest first.
    #[salvo(schema(max_items = 1_000_000_000))]
    payments: Vec<PaymentView>,
    /// What he was told, the newest first.
    #[salvo(schema(max_items = 1_000_000_000))]
    notifications: Vec<Record>,
}

/// A basket as it is kept.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "KeptBasket"))]
struct BasketView {
    /// Its id.
    id: describe::Id,
    /// What is in it.
    #[salvo(schema(max_items = 100))]
    items: Vec<ItemView>,
    /// What all of it costs.
    total: describe::Amount,
    /// ISO 4217 code of every amount here.
    currency: describe::CurrencyCode,
    /// When it was made.
    created_at: describe::Time,
    /// When it last changed.
    updated_at: describe::Time,
    /// When it is gone unless it is changed before.
    expires_at: describe::Time,
    /// The payment whose lines were last taken out.
    cleared_by: Option<describe::Id>,
}

impl From<&BasketRecord> for BasketView {
    fn from(basket: &BasketRecord) -> Self {
        Self {
            id: basket.id.into(),
            items: basket.items.iter().map(ItemView::from).collect(),
            total: basket.total.amount().into(),
            currency: basket.currency.into(),
            created_at: basket.created_at.into(),
            updated_at: basket.updated_at.into(),
            expires_at: basket.expires_at.into(),
            cleared_by: basket.cleared_by.map(Into::into),
        }
    }
}

/// What comes next of a document.
enum Part {
    Head,
    Payments { first: bool },
    Notifications { first: bool },
    End,
}

/// The pieces of the document. Its first page is read already; what fails later breaks it off.
pub(super) fn document(dossier: Dossier) -> impl Stream<Item = Result<Vec<u8>, Fault>> + Send + 'static {
    let asked_in = context::current();
    stream::try_unfold((dossier, Part::Head), move |(mut dossier, part)| {
        let asked_in = asked_in.clone();
        async move {
            let next = next(&mut dossier, part);
            let written = match asked_in {
                Some(context) => context::scope(context, next).await,
                None => next.await,
            };
            let written =
                written.inspect_err(|fault| tracing::warn!(cause = ?fault, "what is known of a user broke off"))?;
            Ok(written.map(|(piece, part)| (piece.into_bytes(), (dossier, part))))
        }
    })
}

/// The next piece, and what follows it.
async fn next(dossier: &mut Dossier, part: Part) -> Result<Option<(String, Part)>, Fault> {
    Ok(Some(match part {
        Part::Head => (head(dossier)?, Part::Payments { first: true }),
        Part::Payments { first } => match dossier.payments().await.map_err(Fault::from)? {
            Some(page) => {
                let views = page.into_iter().map(|payment| json(&PaymentView::from(payment)));
                listed(first, &views.collect::<Result<Vec<_>, _>>()?, |first| Part::Payments { first })
            }
            None => ("],\"notifications\":[".to_owned(), Part::Notifications { first: true }),
        },
        Part::Notifications { first } => match dossier.notifications().await.map_err(Fault::from)? {
            Some(page) => listed(first, &page, |first| Part::Notifications { first }),
            None => ("]}".to_owned(), Part::End),
        },
        Part::End => return Ok(None),
    }))
}

fn head(dossier: &Dossier) -> Result<String, Fault> {
    Ok(format!(
        "{{\"user_id\":{},\"exported_at\":{},\"basket\":{},\"notification_preferences\":{},\"payments\":[",
        json(&dossier.user.as_str())?,
        json(&describe::Time::from(dossier.asked_at))?,
        json(&dossier.basket.as_ref().map(BasketView::from))?,
        dossier.preferences.as_deref().unwrap_or("null"),
    ))
}

/// Members of a list, and what follows: more of them.
fn listed(first: bool, members: &[String], more: impl FnOnce(bool) -> Part) -> (String, Part) {
    let between = if first || members.is_empty() { "" } else { "," };
    let still_first = first && members.is_empty();
    (format!("{between}{}", members.join(",")), more(still_first))
}

fn json<T: Serialize>(value: &T) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(Fault::internal)
}
