//! What e-mails say: templates, built in or from a folder, and what is put into them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value};
use serde::Serialize;
use shop_events::{Envelope, Event, Item};
use shop_money::{Currency, Decimal, Money};
use shop_text::is_line_safe;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use uuid::Uuid;

use super::samples;

/// The templates, by the names of the files that may stand in for them.
const BUILT_IN: [(&str, &str); 29] = [
    ("layout.html", include_str!("../../../templates/layout.html")),
    ("items.txt", include_str!("../../../templates/items.txt")),
    ("payment.completed.subject", include_str!("../../../templates/payment.completed.subject")),
    ("payment.completed.txt", include_str!("../../../templates/payment.completed.txt")),
    ("payment.completed.html", include_str!("../../../templates/payment.completed.html")),
    ("payment.failed.subject", include_str!("../../../templates/payment.failed.subject")),
    ("payment.failed.txt", include_str!("../../../templates/payment.failed.txt")),
    ("payment.failed.html", include_str!("../../../templates/payment.failed.html")),
    ("payment.refunded.subject", include_str!("../../../templates/payment.refunded.subject")),
    ("payment.refunded.txt", include_str!("../../../templates/payment.refunded.txt")),
    ("payment.refunded.html", include_str!("../../../templates/payment.refunded.html")),
    ("payment.refund_failed.subject", include_str!("../../../templates/payment.refund_failed.subject")),
    ("payment.refund_failed.txt", include_str!("../../../templates/payment.refund_failed.txt")),
    ("payment.refund_failed.html", include_str!("../../../templates/payment.refund_failed.html")),
    ("payment.authorised.subject", include_str!("../../../templates/payment.authorised.subject")),
    ("payment.authorised.txt", include_str!("../../../templates/payment.authorised.txt")),
    ("payment.authorised.html", include_str!("../../../templates/payment.authorised.html")),
    ("payment.action_required.subject", include_str!("../../../templates/payment.action_required.subject")),
    ("payment.action_required.txt", include_str!("../../../templates/payment.action_required.txt")),
    ("payment.action_required.html", include_str!("../../../templates/payment.action_required.html")),
    ("payment.expired.subject", include_str!("../../../templates/payment.expired.subject")),
    ("payment.expired.txt", include_str!("../../../templates/payment.expired.txt")),
    ("payment.expired.html", include_str!("../../../templates/payment.expired.html")),
    ("payment.cancelled.subject", include_str!("../../../templates/payment.cancelled.subject")),
    ("payment.cancelled.txt", include_str!("../../../templates/payment.cancelled.txt")),
    ("payment.cancelled.html", include_str!("../../../templates/payment.cancelled.html")),
    ("payment.disputed.subject", include_str!("../../../templates/payment.disputed.subject")),
    ("payment.disputed.txt", include_str!("../../../templates/payment.disputed.txt")),
    ("payment.disputed.html", include_str!("../../../templates/payment.disputed.html")),
];

/// The longest text from outside, such as a product's name, in characters: the rest would only push the e-mail apart.
const MAX_TEXT: usize = 120;
/// The longest subject, in characters; most programs show fewer.
const MAX_SUBJECT: usize = 160;

/// The templates, compiled.
#[derive(Debug)]
pub(super) struct Templates {
    engine: Environment<'static>,
}

/// One e-mail's words.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
}

/// What templates may use.
#[derive(Debug, Default, Serialize)]
struct Facts {
    payment_id: Uuid,
    /// With its currency.
    amount: String,
    /// When it happened, in words; UTC.
    date: String,
    items: Vec<Line>,
    /// Why it failed, or why money went back; empty when nobody said.
    reason: String,
    /// Empty unless the payment failed.
    error_code: String,
    /// Empty unless money went back, or did not arrive.
    refund_id: String,
    /// Where the buyer has to confirm; empty unless he has to.
    url: String,
    /// How long he may take, or how long the money is held, in words; UTC. Empty otherwise.
    until: String,
    /// How a dispute ended, `won` or `lost`; empty otherwise.
    outcome: String,
}

#[derive(Debug, Serialize)]
struct Line {
    product_id: i64,
    name: String,
    quantity: u32,
    price: String,
    subtotal: String,
}

impl Templates {
    /// Reads and compiles the templates, those in `folder` in place of the built-in ones of the same names, and tries
    /// them on an event of each kind. The error names everything that is wrong.
    pub(super) fn load(folder: Option<&Path>) -> Result<Self, Vec<String>> {
        let mut sources: BTreeMap<String, String> =
            BUILT_IN.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let mut wrong = Vec::new();
        if let Some(folder) = folder {
            let unread = |error: io::Error| vec![format!("cannot read {}: {error}", folder.display())];
            for file in fs::read_dir(folder).map_err(unread)? {
                let file = file.map_err(unread)?;
                let name = file.file_name().to_string_lossy().into_owned();
                match (sources.get_mut(&name), shop_config::read_text(file.path())) {
                    (Some(source), Ok(text)) => *source = text,
                    (Some(_), Err(error)) => wrong.push(format!("cannot read {name}: {error}")),
                    (None, _) if is_template(&name) => wrong.push(format!("{name} is none of {}", names())),
                    // A README, a backup: whatever else lies there.
                    (None, _) => {}
                }
            }
        }
        let mut engine = Environment::new();
        engine.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        engine.set_syntax(syntax.map_err(|error| vec![error.to_string()])?);
        for (name, source) in sources {
            // Its words name the template and the line.
            if let Err(error) = engine.add_template_owned(name, source) {
                wrong.push(error.to_string());
            }
        }
        let templates = Self { engine };
        if wrong.is_empty() {
            let tried = samples::events().into_iter().filter_map(|event| templates.write(&event).err());
            wrong.extend(tried.map(|error| error.to_string()));
            // A mistake in the layout is one mistake, however many e-mails share it.
            wrong.dedup();
        }
        if wrong.is_empty() { Ok(templates) } else { Err(wrong) }
    }

    /// The e-mail about `event`.
    pub(super) fn write(&self, event: &Envelope) -> Result<Written, minijinja::Error> {
        let facts = Value::from(Serde(facts(event)));
        let write = |part| {
            let name = format!("{}.{part}", event.event.event_type());
            self.engine.get_template(&name)?.render(facts.clone())
        };
        Ok(Written { subject: one_line(&write("subject")?, MAX_SUBJECT), text: write("txt")?, html: write("html")? })
    }
}

fn is_template(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| ["subject", "txt", "html"].iter().any(|known| end == *known))
}

fn names() -> String {
    BUILT_IN.map(|(name, _)| name).join(", ")
}

fn facts(event: &Envelope) -> Facts {
    let common = |payment_id, amount: &Decimal, currency, items: &[Item]| Facts {
        payment_id,
        amount: money(amount, currency),
        date: words(event.time),
        items: items.iter().map(|item| line(item, currency)).collect(),
        ..Facts::default()
    };
    match &event.event {
        Event::PaymentCompleted(body) => common(body.payment_id, &body.amount, body.currency, &body.items),
        Event::PaymentFailed(body) => Facts {
            reason: sentence(&body.reason),
            error_code: one_line(&body.error_code, MAX_TEXT),
            ..common(body.payment_id, &body.amount, body.currency, &body.items)
        },
        Event::PaymentRefunded(body) => Facts {
            reason: sentence(body.reason.as_deref().unwrap_or_default()),
            refund_id: body.refund_id.to_string(),
            ..common(body.payment_id, &body.amount, body.currency, &body.items)
        },
        Event::PaymentRefundFailed(body) => Facts {
            reason: sentence(body.reason.as_deref().unwrap_or_default()),
            refund_id: body.refund_id.to_string(),
            ..common(body.payment_id, &body.amount, body.currency, &body.items)
        },
        Event::PaymentAuthorised(body) => Facts {
            until: moment(&body.authorised_until),
            ..common(body.payment_id, &body.amount, body.currency, &body.items)
        },
        Event::PaymentActionRequired(body) => Facts {
            url: address(&body.url),
            until: moment(&body.expires_at),
            ..common(body.payment_id, &body.amount, body.currency, &body.items)
        },
        Event::PaymentExpired(body) => Facts {
            reason: sentence(&body.reason),
            error_code: one_line(&body.error_code, MAX_TEXT),
            ..common(body.payment_id, &body.amount, body.currency, &body.items)
        },
        Event::PaymentCancelled(body) => common(body.payment_id, &body.amount, body.currency, &body.items),
        Event::PaymentDisputed(body) => Facts {
            reason: sentence(&body.reason),
            outcome: one_line(body.outcome.as_deref().unwrap_or_default(), MAX_TEXT),
            ..common(body.payment_id, &body.amount, body.currency, &body.items)
        },
        // Nobody is told about these.
        Event::StockUpdated(_) | Event::BasketCleared(_) | Event::UserErased(_) => Facts::default(),
    }
}

/// A moment in words.
fn words(at: OffsetDateTime) -> String {
    let format = format_description!("[day padding:none] [month repr:long] [year], [hour]:[minute] UTC");
    at.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default()
}

/// The same of what an event says; nothing when that is no moment.
fn moment(text: &str) -> String {
    OffsetDateTime::parse(text, &Rfc3339).map_or_else(|_| String::new(), words)
}

/// Where a link may lead; nothing when that is no page.
fn address(url: &str) -> String {
    let fine = url.starts_with("https://") && url.bytes().all(|byte| byte.is_ascii_graphic());
    if fine { url.to_owned() } else { String::new() }
}

fn line(item: &Item, currency: Currency) -> Line {
    Line {
        product_id: item.product_id,
        name: one_line(&item.name, MAX_TEXT),
        quantity: item.quantity,
        price: money(&item.price, currency),
        subtotal: money(&item.subtotal, currency),
    }
}

/// An amount with as many decimals as its currency has, and the currency.
fn money(amount: &Decimal, currency: Currency) -> String {
    match Money::parse(amount, currency) {
        Ok(money) => format!("{money} {currency}"),
        Err(_) => format!("{} {currency}", amount.as_str()),
    }
}

/// A text that a template puts a full stop behind.
fn sentence(text: &str) -> String {
    one_line(text, MAX_TEXT).trim_end_matches('.').to_owned()
}

/// A text from outside, on one line and not longer than `most` characters: nothing that ends a line or turns the
/// direction of what follows.
fn one_line(text: &str, most: usize) -> String {
    let unwanted = |c: char| !is_line_safe(c) || matches!(c, '\u{200e}' | '\u{200f}' | '\u{feff}');
    let clean = text.replace(unwanted, " ");
    let line = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= most {
        return line;
    }
    let mut short: String = line.chars().take(most - 1).collect();
    short.truncate(short.trim_end().len());
    short + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str) -> [Written; 9] {
        let templates = Templates::load(None).expect("the built-in ones are fine");
        samples::events_of(name).map(|event| templates.write(&event).expect("is written"))
    }

    #[test]
    fn an_order_is_told_in_both_forms() {
        let [completed, failed, refunded, ..] = written("Laptop");
        insta::assert_snapshot!(completed.subject, @"Your order of Laptop and 1 more: 2612.30 USD paid");
        insta::assert_snapshot!(completed.text, @r"
        Thank you for your order!

        Your payment of 2612.30 USD went through.

          2 × Laptop: 2599.80 USD
          1 × Mouse & pad: 12.50 USD

          Total: 2612.30 USD

        Payment 00000000-0000-0000-0000-000000000001, 2 January 2026, 03:04 UTC.
        This message was sent automatically; nobody reads answers to it.
        ");
        insta::assert_snapshot!(failed.subject, @"Your payment of 2612.30 USD did not go through");
        insta::assert_snapshot!(failed.text, @r"
        Your payment did not go through

        We could not take your payment of 2612.30 USD: the card was declined.
        You were not charged, and your basket is as you left it: please try again, or pay another way.

          2 × Laptop: 2599.80 USD
          1 × Mouse & pad: 12.50 USD

          Not paid: 2612.30 USD

        Payment 00000000-0000-0000-0000-000000000001, 2 January 2026, 03:04 UTC.
        This message was sent automatically; nobody reads answers to it.
        ");
        insta::assert_snapshot!(refunded.subject, @"12.50 USD is on its way back to you");
        insta::assert_snapshot!(refunded.text, @r"
        Your refund is on its way

        We have sent 12.50 USD back to you (arrived broken).
        It may take your bank a few days to show it.

        It was part of this order:

          2 × Laptop: 2599.80 USD
          1 × Mouse & pad: 12.50 USD

          Refunded: 12.50 USD

        Payment 00000000-0000-0000-0000-000000000001, 2 January 2026, 03:04 UTC.
        This message was sent automatically; nobody reads answers to it.
        ");
        let body = completed.html.split_once("<body>").expect("has a body").1.trim();
        insta::assert_snapshot!(body, @r#"
        <div class="card">
        <h1>Thank you for your order!</h1>
        <p>Your payment of <strong>2612.30 USD</strong> went through.</p>
        <table>
        <thead><tr><th scope="col">What</th><th scope="col" class="amount">Price</th></tr></thead>
        <tbody>
        <tr><td>2 × Laptop</td><td class="amount">2599.80 USD</td></tr>
        <tr><td>1 × Mouse &amp; pad</td><td class="amount">12.50 USD</td></tr>
        <tr class="total"><td>Total</td><td class="amount">2612.30 USD</td></tr>
        </tbody>
        </table>
        <p class="small">Payment 00000000-0000-0000-0000-000000000001, 2 January 2026, 03:04 UTC.<br>This message was sent automatically; nobody reads answers to it.</p>
        </div>
        </body>
        </html>
        "#);
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        // What the buyer clicks on is fetched by him.
        let link = "<a href=\"https:&#x2f;&#x2f;bank.example&#x2f;confirm?id=1&amp;lang=en\">";
        let mails = written("Laptop").map(|mail| Written { html: mail.html.replacen(link, "<a>", 1), ..mail });
        assert_eq!(mails.iter().filter(|mail| mail.html.contains("<a>")).count(), 1, "one asks for something");
        for mail in mails {
            for word in ["http:", "https:", "src=", "href=", "url(", "@import", "<script"] {
                assert!(!mail.html.contains(word), "{word}: {}", mail.html);
            }
            assert!(mail.html.contains("prefers-color-scheme: dark") && mail.html.contains("viewport"));
        }
    }

    #[test]
    fn a_name_from_outside_stays_a_name() {
        let name = "<img src=x onerror=alert(1)>\r\nBcc: eve@x.example\r\n\r\n\u{202e}{{ amount }} & \"q\" 'r'";
        let plain = "<img src=x onerror=alert(1)> Bcc: eve@x.example {{ amount }} & \"q\" 'r'";
        for mail in written(name) {
            assert!(!mail.html.contains("<img"), "{}", mail.html);
            assert!(mail.html.contains("&lt;img src"), "{}", mail.html);
            assert!(mail.text.contains(plain), "{}", mail.text);
            assert!(!mail.subject.contains(char::is_control), "{}", mail.subject);
        }
    }

    #[test]
    fn a_long_name_is_cut() {
        let [completed, ..] = written(&"ä".repeat(5000));
        assert!(completed.subject.chars().count() <= MAX_SUBJECT, "{}", completed.subject);
        assert!(completed.subject.contains("ä… and 1 more: 2612.30 USD"), "{}", completed.subject);
    }

    #[test]
    fn own_templates_win_and_their_mistakes_are_named() {
        let folder = tempfile::tempdir().expect("makes a folder");
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("is written");
        put("payment.failed.subject", "Sorry: {{ reason }}");
        put("README.md", "{{ not a template }}");
        let templates = Templates::load(Some(folder.path())).expect("is fine");
        let [completed, failed, ..] = samples::events().map(|event| templates.write(&event).expect("is written"));
        assert_eq!(failed.subject, "Sorry: the card was declined");
        assert!(completed.subject.starts_with("Your order"));

        put("payment.complete.txt", "a name that is wrong");
        put("payment.failed.txt", "{% if %}");
        let wrong = Templates::load(Some(folder.path())).expect_err("is not fine").join("\n");
        assert!(wrong.contains("payment.complete.txt is none of layout.html"), "{wrong}");
        assert!(wrong.contains("in payment.failed.txt:1"), "{wrong}");

        fs::remove_file(folder.path().join("payment.complete.txt")).expect("is removed");
        put("payment.failed.txt", "{{ resaon }}");
        let wrong = Templates::load(Some(folder.path())).expect_err("is not fine").join("\n");
        assert!(wrong.contains("undefined value (in payment.failed.txt:1)"), "{wrong}");

        let missing = folder.path().join("nowhere");
        let wrong = Templates::load(Some(&missing)).expect_err("is not fine").join("\n");
        assert!(wrong.contains("cannot read"), "{wrong}");
    }
}
