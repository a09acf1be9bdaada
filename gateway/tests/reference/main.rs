//! The reference of the gateway's settings, `docs/gateway-settings.md`, and the schema of the chart's values are made of the
//! types; here is looked whether they still say the same. `make settings-docs` writes them anew.

mod types;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use shop_gateway::Config;
use shop_gateway::settings::{Redirect, Respond, Route, Service};

use crate::types::{Kind, Types};

/// Stands for a name of one's own.
const NAME: &str = "NAME";

/// One setting.
struct Entry {
    key: String,
    kind: Kind,
    docs: String,
    default: Option<Value>,
}

/// One table of the reference.
struct Section {
    key: String,
    about: String,
    entries: Vec<Entry>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The built-in values of a section that there is only once somebody names it.
fn built_in(section: &str) -> Option<Value> {
    let of = |value: Result<Value, serde_json::Error>| value.ok();
    match section {
        "Service" => of(serde_json::to_value(Service::default())),
        "Route" => of(serde_json::to_value(Route::default())),
        "Redirect" => of(serde_json::to_value(Redirect::default())),
        "Respond" => of(serde_json::to_value(Respond::default())),
        _ => None,
    }
}

/// The section of type `name` at `key`, and those below.
fn sections(types: &Types, name: &str, key: &str, about: &str, defaults: Option<&Value>, out: &mut Vec<Section>) {
    let at = |field: &str| if key.is_empty() { field.to_owned() } else { format!("{key}.{field}") };
    let place = out.len();
    let about = if about.is_empty() { types.about(name) } else { about.to_owned() };
    out.push(Section { key: key.to_owned(), about, entries: Vec::new() });
    for (field, kind, docs) in types.fields(name) {
        let default = defaults.and_then(|defaults| defaults.get(&field));
        match &kind {
            Kind::Section(inner) => {
                let own = built_in(inner);
                let defaults = default.filter(|value| value.is_object()).or(own.as_ref());
                sections(types, inner, &at(&field), &docs, defaults, out);
            }
            Kind::Map(inner) | Kind::List(inner) if matches!(**inner, Kind::Section(_)) => {
                let Kind::Section(inner) = &**inner else { continue };
                let (end, own) = (if matches!(kind, Kind::Map(_)) { NAME } else { "0" }, built_in(inner));
                sections(types, inner, &format!("{}.{end}", at(&field)), &docs, own.as_ref(), out);
            }
            _ => {
                let default = default.filter(|value| !value.is_null()).cloned();
                out[place].entries.push(Entry { key: field, kind, docs, default });
            }
        }
    }
}

fn all() -> (Types, Vec<Section>) {
    let types = Types::read(&root());
    let defaults = serde_json::to_value(Config::default()).expect("serialises");
    let mut out = Vec::new();
    sections(&types, "Config", "", "", Some(&defaults), &mut out);
    (types, out)
}

/// The example's value at `key`, whatever the names of one's own are there.
fn example<'v>(value: &'v toml::Value, key: &str) -> Option<&'v toml::Value> {
    let Some((first, rest)) = key.split_once('.') else {
        return if key.is_empty() { Some(value) } else { inside(value, key).next() };
    };
    inside(value, first).find_map(|value| example(value, rest))
}

fn inside<'v>(value: &'v toml::Value, key: &str) -> Box<dyn Iterator<Item = &'v toml::Value> + 'v> {
    match (value, key) {
        (toml::Value::Table(table), NAME) => Box::new(table.values()),
        (toml::Value::Array(list), "0") => Box::new(list.iter()),
        (toml::Value::Table(table), key) => Box::new(table.get(key).into_iter()),
        _ => Box::new(std::iter::empty()),
    }
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", text.replace('|', "\\|")) }
}

fn takes(kind: &Kind) -> String {
    match kind {
        Kind::Flag => "true or false".to_owned(),
        Kind::Whole => "whole number".to_owned(),
        Kind::Number => "number".to_owned(),
        Kind::Text(_) => "text".to_owned(),
        Kind::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Kind::List(inner) => format!("list: {}", takes(inner)),
        Kind::Map(inner) => format!("by name: {}", takes(inner)),
        Kind::Section(name) => name.clone(),
    }
}

fn page(sections: &[Section], sample: &toml::Value) -> String {
    let mut page = "# Settings of the gateway\n\nMade of the types by `make settings-docs`; do not edit. A key is written in a TOML file \
                    given by `--config`, as `--set KEY=VALUE`, or as a variable: `services.NAME.urls` of a service `search` is \
                    `SHOP_SERVICES__SEARCH__URLS`. `NAME` stands for a name of your own, a number for the place in a list. `gateway --check` \
                    says what is wrong, `gateway --explain` what holds and why. Examples are from \
                    [gateway-settings.toml](gateway-settings.toml), which has every key once.\n"
        .to_owned();
    for section in sections.iter().filter(|section| !section.entries.is_empty()) {
        let title = if section.key.is_empty() { "At the top".to_owned() } else { code(&section.key) };
        let about = if section.key.is_empty() { String::new() } else { format!("{}\n\n", section.about) };
        let _ = write!(
            page,
            "\n## {title}\n\n{about}| key | takes | default | example | what it is |\n|---|---|---|---|---|\n"
        );
        for entry in &section.entries {
            let key = if section.key.is_empty() { entry.key.clone() } else { format!("{}.{}", section.key, entry.key) };
            let default = entry.default.as_ref().map(Value::to_string).unwrap_or_default();
            let shown = example(sample, &key).map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} | {} |",
                entry.key,
                takes(&entry.kind),
                code(&default),
                code(shown.trim()),
                entry.docs.replace('|', "\\|")
            );
        }
    }
    page
}

fn schema_of(types: &Types, kind: &Kind) -> Value {
    match kind {
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Whole => json!({"type": "integer", "minimum": 0}),
        Kind::Number => json!({"type": "number"}),
        // Some are also written as a number, a list or field by field; the program looks closer.
        Kind::Text(_) => json!({"type": ["string", "integer", "array", "object"]}),
        Kind::Choice(words) => json!({"enum": words}),
        Kind::List(inner) => json!({"type": "array", "items": schema_of(types, inner)}),
        Kind::Map(inner) => json!({"type": "object", "additionalProperties": schema_of(types, inner)}),
        Kind::Section(name) => {
            let fields = types.fields(name);
            let properties: Map<_, _> =
                fields.iter().map(|(field, kind, _)| (field.clone(), schema_of(types, kind))).collect();
            json!({"type": "object", "additionalProperties": false, "properties": properties})
        }
    }
}

/// The chart's schema with what the gateway takes on its line.
fn chart(types: &Types, text: &str) -> String {
    const BEGIN: &str = "    \"gatewaySettings\": ";
    let schema = schema_of(types, &Kind::Section("Config".to_owned()));
    let line = |line: &str| match line.strip_prefix(BEGIN) {
        Some(rest) => format!("{BEGIN}{schema}{}\n", if rest.ends_with(',') { "," } else { "" }),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// Writes, or says that it is not written.
fn keep(file: &str, wanted: &str) {
    let path = root().join(file);
    if std::env::var("SHOP_TEST_UPDATE").is_ok_and(|value| value == "1") {
        std::fs::write(&path, wanted).expect("written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == wanted, "{file} is not what the types say; run make settings-docs");
}

fn sample() -> toml::Value {
    let text = std::fs::read_to_string(root().join("docs/gateway-settings.toml")).expect("the example");
    toml::from_str(&text).expect("TOML")
}

#[test]
fn the_reference_says_what_the_types_say() {
    let (_, sections) = all();
    keep("docs/gateway-settings.md", &page(&sections, &sample()));
}

#[test]
fn the_charts_schema_says_what_the_types_say() {
    let (types, _) = all();
    let file = "k8s/obs-tools-usage/values.schema.json";
    let text = std::fs::read_to_string(root().join(file)).expect("the schema");
    let wanted = chart(&types, &text);
    assert!(wanted.contains("gatewaySettings"), "no line for it");
    serde_json::from_str::<Value>(&wanted).expect("JSON");
    keep(file, &wanted);
}

#[test]
fn the_example_has_every_key_and_is_read() {
    let (_, sections) = all();
    let sample = sample();
    let missing: Vec<_> = sections
        .iter()
        .flat_map(|section| section.entries.iter().map(move |entry| (&section.key, entry)))
        .map(|(section, entry)| if section.is_empty() { entry.key.clone() } else { format!("{section}.{}", entry.key) })
        .filter(|key| example(&sample, key).is_none())
        .collect();
    assert_eq!(missing, Vec::<String>::new(), "docs/gateway-settings.toml lacks them");
    let read = sample.try_into::<Config>().map(drop);
    assert!(read.is_ok(), "{read:?}");
}

#[test]
fn every_setting_says_what_it_is() {
    let (types, sections) = all();
    let mut silent = Vec::new();
    let mut texts = BTreeMap::new();
    for section in &sections {
        for entry in &section.entries {
            if entry.docs.is_empty() {
                silent.push(format!("{}.{}", section.key, entry.key));
            }
            if let Kind::Text(name) = &entry.kind {
                texts.insert(name.clone(), types.writing(name));
            }
        }
    }
    assert_eq!(silent, Vec::<String>::new());
    let std = ["String", "PathBuf", "IpAddr", "SocketAddr"];
    let silent: Vec<_> = texts.iter().filter(|(name, docs)| docs.is_empty() && !std.contains(&name.as_str())).collect();
    assert!(silent.is_empty(), "types of texts without a word on how they are written: {silent:?}");
}
