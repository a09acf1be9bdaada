//! Letters as a terminal shows them, and as programs read them.

use std::fmt::Write as _;

use serde_json::{Value, json};
use shop_events::{Letter, LetterState};
use time::format_description::well_known::Rfc3339;

/// The most characters of a reason in a table.
const REASON: usize = 100;

/// What a table shows where there is nothing to show.
const NOTHING: &str = "-";

/// One row a letter.
pub(crate) fn table(letters: &[&Letter]) -> String {
    if letters.is_empty() {
        return "there are none\n".to_owned();
    }
    let head = ["LETTER", "BURIED", "GROUP", "TYPE", "EVENT", "STATE", "REASON"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(letters.iter().map(|letter| row(letter))).collect();
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    rows.iter().fold(String::new(), |table, row| {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        table + cells.join("  ").trim_end() + "\n"
    })
}

fn row(letter: &Letter) -> [String; 7] {
    let text = |text: Option<&str>| visible(text.unwrap_or(NOTHING));
    [
        letter.id.clone(),
        buried_at(letter).unwrap_or_else(|| NOTHING.to_owned()),
        text(Some(&letter.group)),
        text(letter.event_type()),
        text(letter.event_id()),
        state(letter).to_owned(),
        visible(&letter.reason).chars().take(REASON).collect(),
    ]
}

/// What a stranger sent must not move the cursor.
fn visible(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

/// One JSON object a line.
pub(crate) fn lines(letters: &[&Letter]) -> String {
    letters.iter().fold(String::new(), |lines, letter| lines + &object(letter).to_string() + "\n")
}

fn object(letter: &Letter) -> Value {
    let text = || Value::String(String::from_utf8_lossy(&letter.message.payload).into_owned());
    let origin = letter.origin.as_ref();
    json!({
        "letter": letter.id,
        "topic": letter.message.topic,
        "key": letter.message.key,
        "group": letter.group,
        "type": letter.event_type(),
        "event_id": letter.event_id(),
        "state": state(letter),
        "buried_at": buried_at(letter),
        "reason": letter.reason,
        "origin": origin.map(|o| json!({"topic": o.topic, "partition": o.partition, "offset": o.offset})),
        "headers": letter.message.headers,
        "whole": letter.is_whole,
        "body": serde_json::from_slice(&letter.message.payload).unwrap_or_else(|_| text()),
    })
}

/// Everything there is to know of one.
pub(crate) fn whole(letter: &Letter) -> String {
    let mut out = String::new();
    let mut say = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}", format!("{name}: {}", visible(value)).trim_end());
    };
    say("letter", &letter.id);
    say("state", state(letter));
    say("buried at", &buried_at(letter).unwrap_or_else(|| NOTHING.to_owned()));
    say("given up by", &letter.group);
    say("reason", &letter.reason);
    if let Some(origin) = &letter.origin {
        say("read from", &format!("{}/{}/{}", origin.topic, origin.partition, origin.offset));
    }
    say("key", &letter.message.key);
    say("headers", "");
    for (name, value) in &letter.message.headers {
        say(&format!("  {}", visible(name)), value);
    }
    say("body", "");
    let body = String::from_utf8_lossy(&letter.message.payload).into_owned();
    let body = if letter.is_whole {
        visible(&body)
    } else {
        "(had no room here; a replay reads it where it came from)".to_owned()
    };
    out + &body + "\n"
}

fn state(letter: &Letter) -> &'static str {
    match letter.state {
        LetterState::Open => "open",
        LetterState::Asked => "asked",
        LetterState::Replayed => "replayed",
    }
}

fn buried_at(letter: &Letter) -> Option<String> {
    letter.buried_at?.replace_nanosecond(0).ok()?.format(&Rfc3339).ok()
}
